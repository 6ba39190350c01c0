"""Sizes, colours and outlines in a person's files, from which size and channels are chosen."""

import math

import numpy as np

from unet.jobs.own import Measured
from unet.jobs.settings import IGNORED
from unet.machine.terminal import map_in_threads, quiet, with_progress
from unet.reading.pixels import decode_image

# An image has colours where its channels are so many grey levels apart on average, or further
# apart in a share of its pixels; JPEG makes some of grey.
COLORED, VIVID, FEW = 1.0, 24, 0.001


def measure_files(frames, form):
    """The Measured of Frames, by all of their files; raises InputError, OSError, NeedsLevels."""
    measured = map_in_threads(measure_frame, ((frame, form) for frame in frames))
    measured = list(quiet(with_progress(measured, len(frames), "measured")))
    sizes, colored, counts = zip(*measured)
    area, outline = np.sum(counts, axis=0)
    is_there = outline > 0
    width = float((2 * area[is_there] / outline[is_there]).min()) if is_there.any() else None
    return Measured(tuple(sizes), width, sum(colored))


def measure_frame(frame, form):
    """The size (H, W) of a frame's image, True where it has colours, and of each class (K,) the
    area and the length of the outline in its mask, in pixels.
    """
    image = decode_image(frame.image.read(), frame.image.path, 3, frame.image.page, form.reading)
    if frame.split == "test":  # of which nothing is known
        return image.shape[:2], is_colored(image), np.zeros((2, len(form.classes) or 2))
    numbers = np.zeros(image.shape[:2], np.uint8)
    if frame.mask:
        numbers = frame.mask.decode(form.reading, form.classes, form.is_colored)
    return image.shape[:2], is_colored(image), measure_outlines(numbers, len(form.classes) or 2)


def is_colored(image):
    """True for an RGB image (H, W, 3) that is more than a grey one in three channels."""
    red, green, blue = (image[..., channel] for channel in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return False
    spread = image.max(axis=2).astype(np.int16) - image.min(axis=2)
    return bool(spread.mean() > COLORED or (spread > VIVID).mean() > FEW)


def measure_outlines(numbers, num_classes):
    """Area and length of the outline of each class in a mask of class numbers (H, W), float
    (2, K), in pixels.

    The length is pi / 4 of the pairs of neighbours, one of them of the class and the other of
    another: that of a circle (Crofton). So 2 area / length is the radius of a disc, and about the
    width of a stripe. Pixels that do not count have no outline.
    """
    area = np.bincount(numbers.ravel(), minlength=IGNORED + 1)[:num_classes]
    pairs = np.zeros(IGNORED + 1)
    for first, second in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        differ = (first != second) & (first != IGNORED) & (second != IGNORED)
        for side in (first, second):
            pairs += np.bincount(side[differ], minlength=IGNORED + 1)
    return np.stack([area, math.pi / 4 * pairs[:num_classes]])
