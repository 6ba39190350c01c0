"""One file to rows of an array: at one size, or cut into tiles."""

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

from unet.errors import InputError, error_text
from unet.jobs.own import zoomed
from unet.jobs.settings import PLAIN, Reading
from unet.reading.classes import resize_classes
from unet.reading.frames import check_sizes
from unet.reading.mask_sources import find_kind
from unet.reading.pixels import NeedsLevels, decode_image, resize
from unet.reading.values import are_numbers


@dataclass(frozen=True)
class Form:
    """Size and content of the arrays, and how files are read into them."""

    image_size: tuple[int, int]  # (H, W) in pixels
    channels: int
    reading: Reading = PLAIN  # of the files' values
    keep_size: bool = False  # every file has to have that size already
    classes: tuple = ()  # SegmentClass, more than two; (): a mask is foreground or not
    is_colored: bool = False  # masks are in the classes' colours
    is_tiled: bool = False  # files of any size are cut into rows of image_size
    is_open: bool = False  # size, and channels where they are 0, are still to be chosen


def decode(frame, is_mask, form, data=None):
    """The size (H, W) of a frame's image or mask and its rows (N, H, W, C) of the array.

    data: the bytes of the image, or of each part of the mask, in a list; None: they are read.
    Raises InputError, OSError, NeedsLevels.
    """
    file = frame.mask if is_mask else frame.image
    if is_mask:
        pixels = file.decode(form.reading, form.classes, form.is_colored, data)[..., None]
        has_numbers = are_numbers(form.classes, form.reading)
        pixels = pixels if has_numbers else pixels * np.uint8(255)
        change_size = resize_classes if has_numbers else resize_mask
    else:
        (encoded,) = data or [file.read()]
        pixels = decode_image(encoded, file.path, form.channels, file.page, form.reading)
        change_size = resize
    size = pixels.shape[:2]
    if form.is_tiled:
        pixels = change_size(pixels, zoomed(size, form.reading.zoom))
        return size, cut_tiles(pixels, form.image_size)
    if form.keep_size and size != form.image_size:
        raise InputError(
            f"{file.path}: is {size[0]}x{size[1]}, the first image {form.image_size[0]}x"
            f"{form.image_size[1]}; pass --image-size H W to make them one size"
        )
    return size, change_size(pixels, form.image_size)[None]


def resize_mask(pixels, image_size):
    """A mask of 0 and 255 at another (H, W): of each new pixel what has more than half of it."""
    if pixels.shape[:2] == tuple(image_size):
        return pixels
    mask = cv2.compare(resize(pixels, image_size), 127, cv2.CMP_GT)
    return mask.reshape(*image_size, 1)


def why_bad(frame, form):
    """The fault of the files of a frame, a text; None where they can become rows."""
    try:
        size = decode(frame, False, form)[0]
        if frame.mask:
            check_sizes(frame, size, decode(frame, True, form)[0])
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
    reading = find_kind(frames, Reading(white_level=65535))
    form = Form(image_size, channels=3, reading=reading)
    while True:
        images, masks = [], []
        for frame in (frames[row] for row in rng.integers(0, len(frames), batch_size)):
            size, image = decode(frame, False, form)
            mask_size, mask = decode(frame, True, form)
            check_sizes(frame, size, mask_size)
            images.append(image)
            masks.append(mask)
        yield tuple(np.concatenate(part).astype(np.float32) / 255 for part in (images, masks))
