"""Meaning of the values in files: what data.py was told or found, kept with arrays and runs."""

import dataclasses
import json

from unet.errors import InputError
from unet.jobs.settings import Reading
from unet.runs import Paths, from_json

READING = "reading.json"  # in output/NAME


def are_numbers(classes, reading):
    """True where the masks of arrays hold class numbers, and IGNORED; else they hold 0 and 255."""
    return bool(classes or reading.ignore)


def read_reading(name):
    """The Reading of the arrays in output/NAME, as data.py wrote it; raises InputError."""
    path = Paths(name).arrays / READING
    try:
        return from_json(Reading, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: missing or damaged ({error}); run data.py again") from error


def reading_text(reading):
    """The text that read_reading reads."""
    return json.dumps(dataclasses.asdict(reading), indent=1)
