"""One file to rows of an array: at one size, or cut into tiles."""

import itertools
from dataclasses import dataclass, replace

import cv2
import numpy as np

from unet.errors import InputError, error_text
from unet.jobs.own import zoomed
from unet.reading.classes import decode_classes, resize_classes
from unet.reading.frames import check_sizes
from unet.reading.masks import UnitedMask, decode_mask, decode_united, find_kind
from unet.reading.pixels import NeedsLevels, decode_image, resize
from unet.reading.values import FULL, IGNORED, IGNORED_GREY, PLAIN, Reading


@dataclass(frozen=True)
class Form:
    """What the arrays are to look like, and how files are read into them."""

    image_size: tuple[int, int]  # (H, W) in pixels
    channels: int
    reading: Reading = PLAIN  # what their values mean
    keep_size: bool = False  # every file has to have that size already
    classes: tuple = ()  # SegmentClass, more than two; (): a mask is foreground or not
    is_colored: bool = False  # masks are in the classes' colours
    is_tiled: bool = False  # files of any size are cut into rows of image_size
    is_open: bool = False  # size, and channels where they are 0, are still to be chosen


def decode(file, is_mask, data, form):
    """The size (H, W) of an image or a mask and its rows (N, H, W, C) of the array."""
    if is_mask:
        pixels = decode_truth(file, data, form)
    else:
        pixels = decode_image(data, file.path, form.channels, file.page, form.reading)
    size = pixels.shape[:2]
    if form.is_tiled:
        pixels = resize_part(pixels, zoomed(size, form.reading.zoom), is_mask, form)
        return size, cut_tiles(pixels, form.image_size)
    if form.keep_size and size != form.image_size:
        raise InputError(
            f"{file.path}: is {size[0]}x{size[1]}, the first image {form.image_size[0]}x"
            f"{form.image_size[1]}; pass --image-size H W to make them one size"
        )
    return size, resize_part(pixels, form.image_size, is_mask, form)[None]


def resize_part(pixels, image_size, is_mask, form):
    """An image or a mask, uint8 (H, W, C), at another (H, W)."""
    if is_mask and form.classes:
        return resize_classes(pixels, image_size)
    if is_mask:
        return resize_mask(pixels, image_size, form.reading.ignore)
    return resize(pixels, image_size)


def decode_truth(file, data, form):
    """The pixels of a mask, uint8 (H, W, 1), at its own size, as decode_mask or decode_classes
    have them.
    """
    if isinstance(file, UnitedMask):
        part_form = replace(form, classes=()) if file.numbers else form
        ignored = IGNORED if part_form.classes else IGNORED_GREY
        return decode_united(
            file, data, lambda part, encoded: decode_truth(part, encoded, part_form), ignored
        )
    if form.classes:
        return decode_classes(
            data, file.path, form.classes, file.page, form.is_colored, form.reading.ignore
        )
    return decode_mask(data, file.path, file.page, form.reading)


def resize_mask(pixels, image_size, ignores=False):
    """A mask of 0 and 255, and IGNORED_GREY where it ignores pixels, at another (H, W): of each
    new pixel what has more than half of its area.
    """
    if pixels.shape[:2] == tuple(image_size):
        return pixels
    if not ignores:
        mask = cv2.compare(resize(pixels, image_size), 127, cv2.CMP_GT)
        return mask.reshape(*image_size, 1)
    mask, ignored = (
        cv2.compare(resize(part, image_size), 127, cv2.CMP_GT).reshape(*image_size, 1)
        for part in (
            np.where(pixels == 255, pixels, 0),
            (pixels == IGNORED_GREY).view(np.uint8) * np.uint8(255),
        )
    )
    return np.where(ignored, np.uint8(IGNORED_GREY), mask)


def why_bad(frame, form):
    """What is wrong with the files of a frame, a text; None where they can become rows."""
    try:
        files = [(frame.image, False), *([(frame.mask, True)] if frame.mask else [])]
        sizes = [decode(file, is_mask, file.read(), form)[0] for file, is_mask in files]
        if frame.mask:
            check_sizes(frame, *sizes)
    except NeedsLevels:
        raise
    except (InputError, OSError) as error:
        return error_text(error)
    return None


def tile_places(size, tile_size):
    """Row and column where the tiles of an image of a size (H, W) begin: they cover it side by
    side, the last ones aligned with its end.
    """
    rows, columns = (
        [*range(0, length - tile, tile), max(length - tile, 0)]
        for length, tile in zip(size, tile_size)
    )
    return list(itertools.product(rows, columns))


def cut_tiles(pixels, tile_size):
    """The tiles (N, H, W, C) of pixels, in the order of tile_places; an image that is smaller is
    mirrored out.
    """
    places = tile_places(pixels.shape[:2], tile_size)
    missing = [max(tile - length, 0) for tile, length in zip(tile_size, pixels.shape)]
    pixels = np.pad(pixels, [*((0, n) for n in missing), (0, 0)], mode="symmetric")
    return np.stack([pixels[y : y + tile_size[0], x : x + tile_size[1]] for y, x in places])


def endless_batches(frames, batch_size, image_size, rng):
    """Yield what data.keras_generator does, of random frames."""
    reading = find_kind([frame.mask for frame in frames], FULL)
    form = Form(image_size, channels=3, reading=reading)
    while True:
        images, masks = [], []
        for frame in (frames[row] for row in rng.integers(0, len(frames), batch_size)):
            size, image = decode(frame.image, False, frame.image.read(), form)
            mask_size, mask = decode(frame.mask, True, frame.mask.read(), form)
            check_sizes(frame, size, mask_size)
            images.append(image)
            masks.append(mask)
        yield tuple(np.concatenate(part).astype(np.float32) / 255 for part in (images, masks))
