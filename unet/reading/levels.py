"""Which values of images of more than 8 bit become black and white."""

from dataclasses import replace

import numpy as np

from unet.errors import InputError
from unet.machine.terminal import map_in_threads, quiet, with_progress
from unet.reading.pixels import decode_pixels

MOST_BELOW = 0.999  # of all pixels: what lies above may be a few broken ones
DARK = 16  # times darker than white: not one in 16 of the grey levels is left
LEAST_OF_UNIT = 0.25  # values up to 1 whose largest is less are no share of 1


def find_levels(files, reading, skip_bad=False):
    """The reading with the levels of all images of more than 8 bit among the files, and a line
    that says so.

    16-bit values are taken for those of a camera of the fewest bits that hold them all; others
    from 0 to 1, or from the smallest to the largest. Raises InputError for a mixture of both.
    """

    def measure(file):
        try:
            return value_range(file)
        except (InputError, OSError):
            if not skip_bad:
                raise
            return None

    files = list(files)
    ranges = map_in_threads(measure, ((file,) for file in files))
    ranges = list(quiet(with_progress(ranges, len(files), "levels")))
    of_file = {found[0]: file for file, found in zip(files, ranges) if found}
    ranges = [found for found in ranges if found and found[0] != EIGHT_BIT]
    kinds = {kind for kind, *_ in ranges}
    if EIGHT_BIT in of_file and kinds - {"u"}:
        odd = of_file[min(kinds - {"u"})]
        raise InputError(
            f"{odd.path}: {KINDS[min(kinds - {'u'})]} among images of 8 bit; save all in one way, "
            "or pass --white-level"
        )
    if {"u", "f"} <= kinds:
        raise InputError(
            f"images of {' and '.join(sorted(KINDS[kind] for kind in kinds))} among each other; "
            "save them in one way, or pass --white-level"
        )
    black = min(least for _, least, _, _ in ranges)
    white = most = max(most for _, _, most, _ in ranges)
    bulk = max(high for *_, high in ranges)
    if kinds == {"u"}:
        black, white = 0, max(255, 2 ** int(most).bit_length() - 1)
    elif kinds == {"f"} and black >= 0 and LEAST_OF_UNIT <= most <= 1:
        black, white = 0.0, 1.0
    elif black == white:
        white = black + 1
    return replace(reading, black_level=black, white_level=white), describe(
        most, white, black, bulk
    )


EIGHT_BIT = "8 bit"
KINDS = {"u": "whole numbers", "i": "signed values", "f": "float values"}


def describe(most, white, black, bulk):
    """What was found, for a reader."""
    text = (
        f"values of the images of more than 8 bit: the brightest is {most:g}; {black:g} becomes "
        f"black, {white:g} white"
    )
    if black < bulk < black + (white - black) / DARK:
        return (
            f"{text}, but {MOST_BELOW:.1%} of each image's pixels lie below {bulk:g}: "
            f"--white-level {bulk:g} shows more of them"
        )
    return f"{text} (--white-level {most:g} would use every grey level)" if most < white else text


def value_range(file):
    """The kind of an image's numbers, its smallest and largest, and what MOST_BELOW of its pixels
    do not exceed. Raises InputError.
    """
    pixels = decode_pixels(file.read(), file.path, file.page)
    if pixels.dtype == np.uint8:
        return EIGHT_BIT, 0, 255, 255
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    least, most = pixels.min().item(), pixels.max().item()
    if not np.isfinite([least, most]).all():
        raise InputError(f"{file.path}: has pixels that are no number (nan or inf); fill them")
    place = int(MOST_BELOW * (pixels.size - 1))
    return pixels.dtype.kind, least, most, np.partition(pixels, place, axis=None)[place].item()
