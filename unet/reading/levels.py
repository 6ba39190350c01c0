"""Black and white points of images of more than 8 bit."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from unet.errors import InputError
from unet.machine.terminal import map_in_threads, quiet, with_progress
from unet.reading.pixels import check_finite, decode_pixels

MOST_BELOW = 0.999  # of all pixels: what lies above may be a few broken ones
DARK = 16  # times darker than white: not one in 16 of the grey levels is left
LEAST_OF_UNIT = 0.25  # values up to 1 whose largest is less are no share of 1
APART = 0.5  # of the whole range: one value that far from all others is none, but says "no data"
EIGHT_BIT = "8 bit"
KINDS = {"u": "whole numbers", "i": "signed values", "f": "float values"}


class Range(NamedTuple):
    """The values of an image: their kind (a key of KINDS, or EIGHT_BIT), the two smallest and the
    two largest that differ, and what MOST_BELOW of its pixels do not exceed.
    """

    kind: str
    least: float = 0
    second_least: float = 0
    second_most: float = 0
    most: float = 0
    bulk: float = 0


def find_levels(files, reading, skip_bad=False):
    """The reading with the levels of all images of more than 8 bit among the files, and a line
    that says so.

    16-bit values are taken for those of a camera of the fewest bits that hold them all; others
    from 0 to 1, or from the smallest to the largest, a single value APART from all others not
    counted. Raises InputError for a mixture of kinds.
    """

    files = list(files)
    ranges = map_in_threads(find_range, ((file, skip_bad) for file in files))
    ranges = list(quiet(with_progress(ranges, len(files), "levels")))
    file_of = {found.kind: file for file, found in zip(files, ranges) if found}
    for first, second in ((EIGHT_BIT, "f"), (EIGHT_BIT, "i"), ("u", "f")):
        if {first, second} <= set(file_of):
            raise InputError(
                f"{file_of[second].path}: {KINDS[second]} among images of "
                f"{KINDS.get(first, first)}; save all in one way, or pass --white-level"
            )
    ranges = [found for found in ranges if found and found.kind != EIGHT_BIT]
    black, most, odd = limits(ranges)
    white, kinds = most, {found.kind for found in ranges}
    if kinds == {"u"}:
        black, white = 0, max(255, 2 ** int(most).bit_length() - 1)
    elif kinds == {"f"} and black >= 0 and LEAST_OF_UNIT <= most <= 1:
        black, white = 0.0, 1.0
    elif black == white:
        white = black + 1
    black = reading.black_level or black  # what is stated stands
    if black >= white:
        raise InputError(f"--black-level {black:g}: no image is brighter than {most:g}")
    bulk = max(found.bulk for found in ranges)
    text = describe(most, white, black, bulk, odd)
    return replace(reading, black_level=black, white_level=white), text


def check_levels(files, reading, skip_bad=False):
    """Raise InputError for stated levels where all images have 8 bit, which know none: an export
    of the run would take their values for others.
    """
    if not reading.black_level and reading.white_level is None:
        return
    ranges = (find_range(file, skip_bad) for file in files)
    if all(found is None or found.kind == EIGHT_BIT for found in ranges):
        raise InputError(
            "--black-level and --white-level apply to images of more than 8 bit; here all have 8"
        )


def limits(ranges):
    """The smallest and the largest value of Ranges, and a list of the one that was not counted, as
    it is APART from all others.
    """
    least, most = min(r.least for r in ranges), max(r.most for r in ranges)
    apart, odd = APART * (most - least), []
    next_least = min(r.second_least if r.least == least else r.least for r in ranges)
    next_most = max(r.second_most if r.most == most else r.most for r in ranges)
    if next_least - least > apart:
        least, odd = next_least, [least]
    elif most - next_most > apart:
        most, odd = next_most, [most]
    return least, most, odd


def describe(most, white, black, bulk, odd):
    """The levels in words."""
    text = (
        f"values of the images of more than 8 bit: the brightest is {most:g}; {black:g} becomes "
        f"black, {white:g} white"
    )
    if odd:
        return f"{text}; {odd[0]:g}, far from all others, is taken for no data"
    if black < bulk < black + (white - black) / DARK:
        return (
            f"{text}, but {MOST_BELOW:.1%} of each image's pixels lie below {bulk:g}: "
            f"--white-level {bulk:g} shows more of them"
        )
    return f"{text} (--white-level {most:g} would use every grey level)" if most < white else text


def find_range(file, skip_bad=False):
    """The Range of an image; raises InputError, OSError, or with skip_bad returns None."""
    try:
        pixels = decode_pixels(file.read(), file.path, file.page)
        check_finite(pixels, file.path)
    except (InputError, OSError):
        if not skip_bad:
            raise
        return None
    if pixels.dtype == np.uint8:
        return Range(EIGHT_BIT)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    least, most = pixels.min(), pixels.max()
    place = int(MOST_BELOW * (pixels.size - 1))
    bulk = np.partition(pixels, place, axis=None)[place]
    inner = pixels[(pixels > least) & (pixels < most)]
    second_least, second_most = (inner.min(), inner.max()) if inner.size else (most, least)
    values = (least, second_least, second_most, most, bulk)
    return Range(pixels.dtype.kind, *(value.item() for value in values))
