"""Meaning of the values in files: what data.py was told or found, kept with arrays and runs."""

import dataclasses
import json
from dataclasses import dataclass

from unet.errors import InputError
from unet.runs import Paths, from_json

READING = "reading.json"  # in output/NAME


@dataclass(frozen=True)
class Reading:
    """Meaning of a file's values.

    mask_threshold: mask values above it are foreground; None: a mask holds 0 and `foreground`,
    which is None for the largest value of its type. in_alpha: masks are in the files' alpha.
    invert: foreground and background are swapped. ignore: the mask value, (V,), or the colour,
    (R, G, B), of pixels that do not count; () where all do. black_level, white_level: the values
    of images of more than 8 bit that become 0 and 255; white_level None: not known. zoom: factor,
    0 to 1, by which the arrays, and new images before prediction, are shrunk.
    """

    mask_threshold: float | None = None
    foreground: float | None = None
    in_alpha: bool = False
    invert: bool = False
    ignore: tuple[int, ...] = ()
    black_level: float = 0.0
    white_level: float | None = None
    zoom: float = 1.0


PLAIN = Reading()


def are_numbers(classes, reading):
    """True where the masks of arrays hold class numbers, and IGNORED; else they hold 0 and 255."""
    return bool(classes or reading.ignore)


def read_reading(name):
    """The Reading of the arrays in output/NAME, as data.py wrote it; raises InputError."""
    path = Paths(name).arrays / READING
    try:
        return parse_reading(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: missing or damaged ({error}); run data.py again") from error


def parse_reading(fields):
    """A Reading from its fields in JSON; raises ValueError, TypeError for wrong ones."""
    reading = from_json(Reading, fields)
    if not 0 < reading.zoom <= 1:
        raise ValueError(f"zoom {reading.zoom}")
    return reading


def reading_text(reading):
    """The text that read_reading reads."""
    return json.dumps(dataclasses.asdict(reading), indent=1)
