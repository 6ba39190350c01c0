"""How files become pixels: what data.py was told of them or found, kept with arrays and runs."""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np

from unet.errors import InputError
from unet.runs import Paths

READING = "reading.json"  # in output/NAME
IGNORED = 255  # in place of a class number: a pixel that does not count
IGNORED_GREY = 128  # the same in arrays of masks of 0 and 255


@dataclass(frozen=True)
class Reading:
    """What a file's values mean.

    threshold: mask values above it are foreground; None: a mask holds 0 and `foreground`, which is
    None for the largest value of its type. in_alpha: masks are in the files' alpha. invert: what
    would be foreground is background. ignore: the mask value, (V,), or the colour, (R, G, B), of
    pixels that do not count; () where all do. black_level, white_level: the values of images of
    more than 8 bit that become 0 and 255; white_level None: not known. zoom: what the rows of the
    arrays, and what a network sees of new images, are shrunk by, 0 to 1.
    """

    threshold: float | None = None
    foreground: float | None = None
    in_alpha: bool = False
    invert: bool = False
    ignore: tuple[int, ...] = ()
    black_level: float = 0.0
    white_level: float | None = None
    zoom: float = 1.0


PLAIN = Reading()
FULL = Reading(white_level=65535)  # of earlier versions


def class_numbers(mask):
    """A mask (H, W) of 0, 255 and IGNORED_GREY as 0, 1 and IGNORED."""
    return np.where(mask == IGNORED_GREY, np.uint8(IGNORED), mask // 255)


def read_reading(name):
    """The Reading of the arrays in output/NAME, with which data.py wrote them; raises
    InputError.
    """
    path = Paths(name).arrays / READING
    if not path.exists():  # of an earlier data.py
        return FULL
    try:
        return parse_reading(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); run data.py again") from error


def parse_reading(fields):
    """A Reading from what JSON has of it; raises ValueError, TypeError for what it should not."""
    reading = Reading(**{**fields, "ignore": tuple(fields.get("ignore", ()))})
    numbers = [reading.black_level, reading.threshold or 0, reading.white_level or 0]
    if not all(isinstance(n, (int, float)) for n in (*numbers, *reading.ignore)):
        raise ValueError("levels that are no numbers")
    if not 0 < reading.zoom <= 1:
        raise ValueError(f"zoom {reading.zoom}")
    return reading


def reading_text(reading):
    """What read_reading reads."""
    return json.dumps(dataclasses.asdict(reading), indent=1)
