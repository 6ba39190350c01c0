"""Masks of foreground and background, in every dress in which image files have them."""

from dataclasses import replace

import cv2
import numpy as np

from unet.errors import InputError
from unet.jobs.settings import IGNORED, PLAIN
from unet.reading.files import NPY, is_one_hot
from unet.reading.pixels import decode_pixels, has_colored_palette, palette_numbers

LEAST_COLOUR = 32  # between the channels of a pixel; less is grey with noise
MOST_COLOURS = 16  # brightnesses of a mask in colours; more are noise, as of JPEG
MOST_OBJECTS = 64  # whole numbers up to this are taken for numbers, not for soft edges


def decode_mask(data, path, page=None, reading=PLAIN):
    """Class numbers of an encoded mask, uint8 (H, W): 0, 1, and IGNORED where a pixel does not
    count; what is transparent is 0.

    Without a mask_threshold it may hold 0 and the reading's foreground only. Raises InputError.
    """
    pixels = one_hot_numbers(decode_pixels(data, path, page), data)
    is_open = reading.mask_threshold is None and not reading.invert
    if is_open and (named := two_numbers(data, pixels, page)) is not None:
        pixels = named
    ignored = find_ignored(pixels, reading.ignore, data, page)
    grey = grey_of_mask(pixels, path, reading, ignored)
    full, threshold = largest_value(grey), reading.mask_threshold
    white, num_foreground = reading.foreground or full, np.count_nonzero(grey)
    whites = (white, 255) if white == full else (white,)  # 255 in 16 bit, too
    if threshold is None and all(np.count_nonzero(grey == w) != num_foreground for w in whites):
        counted = grey if ignored is None else grey[~ignored]
        raise InputError(f"{path}: {describe_values(counted, white)}")
    threshold = threshold or 0
    if threshold >= full and grey.dtype.kind == "u":
        raise InputError(
            f"{path}: no value above --mask-threshold {threshold:g}; pass 0 to {full - 1}"
        )
    if grey.dtype == np.uint8:  # half of NumPy's time
        numbers = cv2.threshold(grey, threshold, 1, cv2.THRESH_BINARY)[1]
    else:
        numbers = (grey > threshold).view(np.uint8)
    if not np.count_nonzero(numbers):  # any takes ten times as long
        check_palette(data, path, page)
    if reading.invert:
        numbers = 1 - numbers
    if ignored is not None:
        numbers[ignored] = IGNORED
    return numbers


def two_numbers(data, pixels, page):
    """The mask, uint8 (H, W) of 0 and 255, of a palette in colours of which 0 and at most one
    other number are used: the colours are for looking at. None for any other mask.
    """
    numbers = None if pixels.ndim == 2 else palette_numbers(data, page)
    if numbers is None or numbers.min() > 0 or len(np.unique(numbers)) > 2:
        return None
    is_grey = (pixels[..., :3] == pixels[..., :1]).all()
    if is_grey and (numbers.any() or not has_colored_palette(data)):
        return None
    return np.uint8(255) * (numbers > 0)


def check_palette(data, path, page):
    """Raise InputError for a mask that is empty by its palette's colours, not by its numbers."""
    numbers = palette_numbers(data, page)
    if numbers is not None and numbers.min() < numbers.max():
        most = int(numbers[numbers < IGNORED].max(initial=0))
        raise InputError(
            f"{path}: mask is black, but has numbers up to {numbers.max()} in its palette, whose "
            f"colours are black; pass --classes {max(most + 1, 3)} to read the numbers"
        )


def largest_value(pixels):
    """The full scale of pixels' type; of numbers with a point 1."""
    return np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1.0


def find_ignored(pixels, ignore, data=b"", page=None):
    """True where a mask's pixel does not count, bool (H, W): by its value, or number in the
    palette of the encoded mask, or BGR colour; None where all count.
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
    """True for pixels with an alpha that is not 0 everywhere, which would say nothing."""
    return pixels.ndim == 3 and pixels.shape[2] in (2, 4) and pixels[..., -1].any()


def without_alpha(pixels, ignored=None):
    """Values (H, W) or colours (H, W, C) of pixels, 0 where they are transparent or ignored, bool
    (H, W).
    """
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        colours, alpha = pixels[..., :-1], pixels[..., -1:]
        pixels = colours * (alpha > 0) if has_alpha(pixels) else colours
    if ignored is None:
        return pixels
    return np.where(ignored if pixels.ndim == 2 else ignored[..., None], 0, pixels)


def one_hot_numbers(pixels, data):
    """The class numbers, uint8 (H, W), of a mask's pixels in OpenCV's order where a .npy file has
    a class in each channel; the pixels as they are of any other.
    """
    if not data.startswith(NPY) or not is_one_hot(pixels):
        return pixels
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]].argmax(axis=2).astype(np.uint8)


def grey_of_mask(pixels, path, reading, ignored=None):
    """The values (H, W) of a mask's pixels that tell the foreground, 0 where it is ignored."""
    if has_alpha(pixels):
        alpha = pixels[..., -1]
        is_opaque = bool(alpha.all())
        if is_opaque == reading.in_alpha and not pixels[..., :-1].any():
            raise InputError(
                f"{path}: mask is black and {'nowhere' if is_opaque else 'in part'} transparent, "
                f"but the masks before it {'are in alpha' if is_opaque else 'hold colours'}; save "
                "all in one way"
            )
        if reading.in_alpha:
            return alpha
    pixels = without_alpha(pixels, ignored)
    if pixels.ndim == 2:
        return pixels
    grey = pixels.max(axis=2)
    if reading.mask_threshold is None and (pixels != pixels[..., :1]).any():
        is_grey = (grey - pixels.min(axis=2)).max() <= LEAST_COLOUR
        is_noisy = is_grey or len(np.unique(grey)) > MOST_COLOURS  # then black is not all 0
        threshold = int(grey.max()) // 2 if is_noisy else 0
        which, remedy = "brighter one" if is_noisy else "colour but black", ""
        if grey.min() <= threshold:  # else all of the mask would be foreground
            remedy = f"pass --mask-threshold {threshold} to take every {which} as foreground, or "
        raise InputError(
            f"{path}: mask has colours, {describe_colours(pixels)}; expected grey 0 and 255; "
            f"{remedy or 'pass '}--colors FILE to tell them apart"
        )
    return grey


def describe_colours(pixels):
    """The most frequent colours of pixels (H, W, 3), BGR, as RGB with their shares, in words."""
    colours, counts = np.unique(pixels[..., ::-1].reshape(-1, 3), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:8]
    shares = counts / counts.sum()
    listed = [f"{' '.join(map(str, colours[n]))} ({shares[n]:.1%})" for n in order]
    return ", ".join(listed) + (f" and {len(colours) - 8} more" if len(colours) > 8 else "")


def mask_kind(pixels, reading):
    """The reading with what a mask's pixels say of all masks of its set: whether alpha holds the
    mask, and the value that is foreground, None for the largest of its type. None where they say
    nothing, for the mask is empty.
    """
    if has_alpha(pixels) and pixels[..., -1].min() < pixels[..., -1].max():
        alpha = pixels[..., -1]
        visible = np.unique(pixels[alpha > 0][:, :-1], axis=0)
        is_grey = len(visible) == 2 and (visible == visible[:, :1]).all() and not visible[0].any()
        if not is_grey:
            return replace(reading, in_alpha=True, foreground=one_value(alpha))
    pixels = without_alpha(pixels, find_ignored(pixels, reading.ignore))
    if not pixels.any():
        return None
    is_grey = pixels.ndim == 2 or (pixels == pixels[..., :1]).all()
    return replace(reading, in_alpha=False, foreground=one_value(pixels) if is_grey else None)


def one_value(pixels):
    """The one value beside 0 in a mask; None where it is the largest of its type, and where there
    are several.
    """
    value = pixels.max()
    is_one = value > 0 and ((pixels == 0) | (pixels == value)).all()
    return value.item() if is_one and value != largest_value(pixels) else None


def describe_values(grey, white):
    """The fault of a mask that holds more than 0 and one other value, and what to do."""
    values, full = np.unique(grey), largest_value(grey)
    count, least, most = len(values), values[0].item(), values[-1].item()
    text = f"mask has values {least:g}..{most:g}, expected 0 and {white:g}; "
    if not np.isfinite(values).all():
        return f"{text}fill those that are no number"
    small, half = values[values <= MOST_OBJECTS], int(most) // 2
    most_small = int(small.max(initial=0))
    are_numbers = most <= MOST_OBJECTS or (full > 255 and count == most - least + 1)
    more = f", and --classes {most_small + 1} for the rest" if most_small > 1 else ""
    missing = "" if least == 0 else " (0, the background, is not among them)"
    listed = ", ".join(f"{value:g}" for value in values[:8])
    advice = (
        (
            values.tolist() == [0, full],
            f"the masks before it hold 0 and {white:g}: save all in one way, or pass "
            "--mask-threshold 0",
        ),
        (least < 0, "save it with 0 for the background and nothing below"),
        ((values != np.rint(values)).any(), f"pass --mask-threshold {most / 2:g} to binarise it"),
        (
            most == IGNORED and 1 < len(small) == count - 1,
            f"if 255 is what does not count, pass --ignore 255{more}",
        ),
        (
            are_numbers and count == 2,
            f"pass --mask-threshold {least:g} to take {most:g} as foreground, with --invert "
            f"{least:g}",
        ),
        (
            are_numbers,
            f"are they numbers of objects or classes{missing}? pass --mask-threshold 0 to take "
            f"every number above 0 as foreground, or --classes {int(most) + 1} to tell them apart",
        ),
        (
            count <= 8,
            f"they are {listed}. If they are classes, name them with --colors FILE; "
            f"--mask-threshold {half} takes what is above it as foreground",
        ),
        (True, f"pass --mask-threshold {half} to binarise it"),
    )
    return text + next(words for is_so, words in advice if is_so)
