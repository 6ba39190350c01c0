"""Masks of foreground and background, in every dress in which files have them."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from unet.errors import InputError
from unet.reading.pixels import decode_pixels, palette_numbers
from unet.reading.values import IGNORED, IGNORED_GREY, PLAIN

MOST_OVERLAP = 0.05  # of the smaller mask: objects touch, annotators agree
LEAST_COLOUR = 32  # between the channels of a pixel; less is grey with noise
MOST_COLOURS = 16  # brightnesses of a mask in colours; more are noise, as of JPEG
MOST_OBJECTS = 64  # whole numbers up to this are taken for numbers, not for soft edges


@dataclass(frozen=True, slots=True)
class UnitedMask:
    """A mask in several files, one an object, or one of each class of these numbers."""

    parts: tuple  # of ImageFile
    numbers: tuple[int, ...] = ()
    page: None = None

    @property
    def path(self):
        return self.parts[0].path

    @property
    def place(self):
        return self.parts[0].place

    def read(self):
        """The bytes of each file."""
        return tuple(part.read() for part in self.parts)


def decode_united(mask, data, decode, ignored):
    """The parts of a UnitedMask as one, uint8 (H, W, 1), as decode(part, data) has them, or with
    their class numbers; ignored: what decode gives pixels that do not count. Raises InputError for
    parts that overlap: two opinions on one object, not two objects.
    """
    owners, areas, result = None, [0], None
    for number, (part, encoded) in enumerate(zip(mask.parts, data), 1):
        pixels = decode(part, encoded)
        if result is None:
            result, owners = np.zeros_like(pixels), np.zeros(pixels.shape, np.int32)
        if pixels.shape != result.shape:
            sizes = "{}x{}, {}x{}".format(*pixels.shape[:2], *result.shape[:2])
            raise InputError(f"{part.path} and {mask.path}: masks of one image, but {sizes}")
        is_ignored = pixels == ignored
        is_part = (pixels > 0) & ~is_ignored
        areas.append(np.count_nonzero(is_part))
        common = np.bincount(owners[is_part], minlength=number)
        for other in range(1, number):
            if common[other] > MOST_OVERLAP * min(areas[other], areas[number]):
                raise InputError(
                    f"{mask.parts[other - 1].path} and {part.path}: masks of one image that "
                    "overlap, so they are no two objects; choose one for each image with a "
                    "pattern such as --masks 'masks/*_a.png', or with --table FILE"
                )
        owners[is_part] = number
        result[is_part] = mask.numbers[number - 1] if mask.numbers else pixels[is_part]
        result[is_ignored] = IGNORED if mask.numbers else ignored
    return result


def find_kind(masks, reading, skip_bad=False):
    """The reading with what the first of a set's masks that is not empty says of all: whether
    alpha holds them, and which value is foreground. skip_bad: pass over what cannot be read.
    """
    for mask in masks:
        for part in mask.parts if isinstance(mask, UnitedMask) else [mask]:
            try:
                data = part.read()
                is_drawn = isinstance(data, np.ndarray)
                pixels = None if is_drawn else decode_pixels(data, part.path, part.page)
            except (InputError, OSError):
                if not skip_bad:
                    raise
                continue
            if is_drawn:
                return reading
            kind = mask_kind(pixels, reading)
            if kind:
                return replace(reading, in_alpha=kind[0], foreground=kind[1])
    return reading


def decode_mask(data, path, page=None, reading=PLAIN):
    """An encoded mask, or drawn class numbers (H, W), as uint8 (H, W, 1) of 0 and 255, and
    IGNORED_GREY where a pixel does not count; what is transparent counts as 0.

    Without a threshold it may hold 0 and the reading's foreground only. Raises InputError.
    """
    if isinstance(data, np.ndarray):
        return np.where((data > 0) != reading.invert, np.uint8(255), np.uint8(0))[..., None]
    pixels = decode_pixels(data, path, page)
    ignored = find_ignored(pixels, reading.ignore, data, page)
    grey = grey_of_mask(pixels, path, reading, ignored)
    full, threshold = largest_value(grey), reading.threshold
    if threshold is None:
        check_one_value(grey, path, reading.foreground or full, ignored)
        threshold = 0
    elif threshold >= full and grey.dtype.kind == "u":
        raise InputError(f"{path}: no value above --threshold {threshold:g}; pass 0 to {full - 1}")
    mask = above(grey, threshold)
    if not np.count_nonzero(mask):  # any takes ten times as long
        check_palette(data, path, page)
    if reading.invert:
        mask = ~mask
    if ignored is not None:
        mask[ignored] = IGNORED_GREY
    return mask[..., None]


def check_one_value(grey, path, white, ignored=None):
    """Raise InputError for a mask of more than 0 and one value, `white`; 255 in 16 bit, too."""
    num_foreground = np.count_nonzero(grey)
    if np.count_nonzero(grey == white) == num_foreground:
        return
    if white == largest_value(grey) and np.count_nonzero(grey == 255) == num_foreground:
        return
    raise InputError(
        f"{path}: {describe_values(grey if ignored is None else grey[~ignored], white)}"
    )


def above(grey, threshold):
    """255 where a value is above a threshold, else 0: uint8 (H, W)."""
    if grey.dtype in (np.uint8, np.uint16):  # half of NumPy's time
        return cv2.inRange(grey, math.floor(threshold) + 1, np.iinfo(grey.dtype).max)
    return (grey > threshold).view(np.uint8) * np.uint8(255)


def check_palette(data, path, page):
    """Raise InputError for a mask that is empty by its palette's colours, not by its numbers."""
    numbers = palette_numbers(data, page)
    if numbers is not None and numbers.min() < numbers.max():
        counted = numbers[numbers < 255]
        most = int(counted.max()) if counted.size else 0
        raise InputError(
            f"{path}: mask is black, but has numbers up to {numbers.max()} in its palette, whose "
            f"colours are black; pass --classes {max(most + 1, 3)} to read the numbers"
        )


def largest_value(pixels):
    """The full scale of pixels' type; of numbers with a point 1."""
    return np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1.0


def find_ignored(pixels, ignore, data=b"", page=None):
    """Which pixels of a mask do not count, bool (H, W), by their value, or number in the palette
    of the encoded mask, or by their BGR colour; None where all do.
    """
    if not ignore:
        return None
    numbers = palette_numbers(data, page) if len(ignore) == 1 else None
    if numbers is not None:
        return numbers == ignore[0]
    if pixels.ndim == 2:
        return pixels == ignore[0] if len(set(ignore)) == 1 else np.zeros(pixels.shape, bool)
    colours = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
    return (colours == np.array(ignore[::-1])).all(axis=2)


def has_alpha(pixels):
    """Whether pixels have an alpha that is not 0 everywhere, which would say nothing."""
    return pixels.ndim == 3 and pixels.shape[2] in (2, 4) and pixels[..., -1].any()


def without_alpha(pixels):
    """Colours (H, W, C) of pixels with alpha, 0 where they are transparent; others as they are."""
    if pixels.ndim == 2 or pixels.shape[2] not in (2, 4):
        return pixels
    colours, alpha = pixels[..., :-1], pixels[..., -1:]
    return colours * (alpha > 0) if has_alpha(pixels) else colours


def blank(pixels, ignored):
    """Pixels with 0 where they are ignored, bool (H, W) or None."""
    if ignored is None:
        return pixels
    return np.where(ignored if pixels.ndim == 2 else ignored[..., None], 0, pixels)


def check_one_hot(pixels, path):
    """Raise InputError for four channels of which each pixel has one: a class each, no colours."""
    if pixels.ndim == 2 or pixels.shape[2] < 4:
        return
    is_used = pixels > 0
    if (is_used.sum(axis=2) == 1).all() and is_used.any(axis=(0, 1)).sum() > 1:
        raise InputError(
            f"{path}: has a class in each of 4 channels (one-hot); save class numbers, with "
            "np.argmax(mask, axis=-1)"
        )


def grey_of_mask(pixels, path, reading, ignored=None):
    """The values (H, W) of a mask's pixels that say what is foreground, 0 where it is ignored."""
    check_one_hot(pixels, path)
    if has_alpha(pixels):
        alpha = pixels[..., -1]
        is_black = not pixels[..., :-1].any()
        if reading.in_alpha and is_black and alpha.all():
            raise InputError(
                f"{path}: mask is black and nowhere transparent, but the masks before it are in "
                "alpha: is it empty, or full? save it as they are"
            )
        if reading.in_alpha:
            return alpha
        if is_black and not alpha.all():
            raise InputError(
                f"{path}: mask is black, its alpha is not, but the masks before it hold colours; "
                "save all in one way"
            )
    pixels = blank(without_alpha(pixels), ignored)
    if pixels.ndim == 2:
        return pixels
    grey = pixels.max(axis=2)
    if reading.threshold is None and (pixels != pixels[..., :1]).any():
        is_grey = (grey - pixels.min(axis=2)).max() <= LEAST_COLOUR
        is_noisy = is_grey or len(np.unique(grey)) > MOST_COLOURS  # then black is not all 0
        threshold = int(grey.max()) // 2 if is_noisy else 0
        raise InputError(
            f"{path}: mask has colours, expected grey 0 and 255; pass --threshold {threshold} to "
            f"take every {'brighter one' if is_noisy else 'colour but black'} as foreground, or "
            "--colors FILE to tell them apart"
        )
    return grey


def mask_kind(pixels, reading):
    """What a mask's pixels say of all masks of its set: (whether alpha holds the mask, the value
    that is foreground, None for the largest of its type); None where they say nothing, for the
    mask is empty.
    """
    if has_alpha(pixels) and pixels[..., -1].min() < pixels[..., -1].max():
        alpha = pixels[..., -1]
        colours = pixels[alpha > 0][:, :-1]
        visible = np.unique(colours, axis=0)
        is_grey = len(visible) == 2 and (visible == visible[:, :1]).all() and not visible[0].any()
        if not is_grey:
            return True, one_value(alpha)
    pixels = blank(without_alpha(pixels), find_ignored(pixels, reading.ignore))
    if not pixels.any():
        return None
    is_grey = pixels.ndim == 2 or (pixels == pixels[..., :1]).all()
    return False, one_value(pixels) if is_grey else None


def one_value(pixels):
    """The one value beside 0 in a mask; None where it is the largest of its type, and where there
    are several.
    """
    value = pixels.max()
    is_one = (
        value > 0 and value != largest_value(pixels) and ((pixels == 0) | (pixels == value)).all()
    )
    return value.item() if is_one else None


def describe_values(grey, white):
    """What is wrong with a mask that holds more than 0 and one other value, and what to do."""
    values, full = np.unique(grey), largest_value(grey)
    if len(values) == 2 and values.tolist() == [0, full]:
        return (
            f"mask has 0 and {full:g}, those before it 0 and {white:g}; save all in one way, or "
            "pass --threshold 0"
        )
    least, most = values[0].item(), values[-1].item()
    text = f"mask has values {least:g}..{most:g}, expected 0 and {white:g}"
    if not np.isfinite(values).all():
        return f"{text}; fill those that are no number"
    if least < 0:
        return f"{text}; save it with 0 for the background and nothing below"
    if (values != np.rint(values)).any():
        return f"{text}; pass --threshold {most / 2:g} to binarise it"
    small = values[values <= MOST_OBJECTS]
    if len(small) > 1 and most == 255 and len(small) == len(values) - 1:
        numbers = f", and --classes {int(small[-1]) + 1} for the rest" if small[-1] > 1 else ""
        return f"{text}; if 255 is what does not count, pass --ignore 255{numbers}"
    if most <= MOST_OBJECTS or (full > 255 and len(values) == most - least + 1):
        if len(values) == 2:
            return (
                f"{text}; pass --threshold {least:g} to take {most:g} as foreground, with "
                f"--invert {least:g}"
            )
        missing = "" if least == 0 else " (0, the background, is not among them)"
        return (
            f"{text}: numbers of objects or classes{missing}? pass --threshold 0 to take every "
            f"number above 0 as foreground, or --classes {int(most) + 1} to tell them apart"
        )
    if len(values) <= 8:
        listed = ", ".join(f"{value:g}" for value in values)
        return (
            f"{text}: {listed}. If they are classes, name them with --colors FILE; "
            f"--threshold {int(most) // 2} takes what is above it as foreground"
        )
    return f"{text}; pass --threshold {int(most) // 2} to binarise it"
