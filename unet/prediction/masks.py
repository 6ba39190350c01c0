"""The files that test.py --images writes for each image: its mask, and the objects in it."""

import contextlib
import csv
import os
import re
from pathlib import Path

import cv2
import numpy as np

from unet.errors import InputError, refuse
from unet.machine.disk import replace_file
from unet.reading.classes import colors_of
from unet.reading.pixels import write_image, write_numbers

OBJECTS = "objects.csv"  # beside the masks
CONNECTIVITY = 8  # pixels that touch at a corner are of one object


def mask_path(folder, id):
    """Path of an image's mask, below the masks' folder as the image's is below its own."""
    return Path(folder) / (re.sub(r"[\\:]", "_", id) + ".png")


def check_apart(folder, sources):
    """Raise InputError for a folder that would mix new masks with what is read.

    sources: what --images and --masks name, None where there is none.
    """
    own = Path(folder).resolve()
    for source in map(Path, filter(None, sources)):
        taken = (source if source.is_dir() else source.parent).resolve()
        if own == taken or (source.is_dir() and taken in own.parents):
            raise InputError(
                f"{folder}: new masks go there, and the images or their true masks lie in "
                f"{taken}; name another folder with --output"
            )


def check_output(folder, ids):
    """Raise InputError for a folder that masks of images of some ids are not to be written to: one
    that holds such files and no OBJECTS.
    """
    folder = Path(folder)
    paths = [] if (folder / OBJECTS).exists() else [mask_path(folder, id) for id in ids]
    foreign = [path.name for path in paths if path.exists()]
    refuse(
        (folder.exists() and not folder.is_dir(), f"--output {folder}: is a file; name a folder"),
        (
            foreign,
            f"--output {folder}: holds a {''.join(foreign[:1])} that test.py did not write to its "
            f"end (no {OBJECTS} beside it); empty the folder, or name another",
        ),
    )


@contextlib.contextmanager
def new_masks(folder, classes, first=1):
    """write(result), which writes the mask of a Result to a folder, 0 and 255, or class numbers
    with the classes' colours as their palette, and its objects to objects.csv there, which takes
    its place when the block ends well; prints how many masks there are then.
    """
    folder, written = Path(folder), set()
    header = ("image", *(["class"] if classes else []), "object", "area", "x", "y")
    with replace_file(folder / OBJECTS) as new, open(new, "w", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow((*header, "left", "top", "width", "height"))

        def write(result):
            path = mask_path(folder, result.id)
            if classes:
                write_numbers(path, result.prediction, colors_of(classes))
            else:
                write_image(path, np.uint8(255) * result.prediction)
            written.add(path)
            table.writerows(
                (result.id, *row) for row in find_objects(result.prediction, classes, first)
            )

        yield write
    older = sum(path not in written for path in folder.rglob("*.png"))
    more = f"; older .png files there: {older}" if older else ""
    print(f"{len(written)} masks in {folder}{os.sep}, their objects in {OBJECTS}{more}")


def find_objects(prediction, classes=(), first=1):
    """The objects in a mask of class numbers, uint8 (H, W): pixels of one class, from the first
    one on, so not of the background, 0, that touch, at a side or a corner. A tuple for each, those
    of a class from top to bottom: class name (only where there are classes), number in this mask,
    area in pixels, x and y of its centre, and left, top, width and height of its box, in pixels
    from the image's top left one.
    """
    rows = []
    for number in range(first, len(classes) or 2):
        name = [classes[number].name] if classes else []
        mask = (prediction == number).astype(np.uint8)
        _, _, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=CONNECTIVITY)
        stats, centres = stats[1:].tolist(), centres[1:].tolist()  # 0 is what lies around
        found = sorted(zip(stats, centres), key=lambda pair: (pair[0][cv2.CC_STAT_TOP], pair[0]))
        for (*box, area), (x, y) in found:
            rows.append((*name, len(rows) + 1, area, round(x, 2), round(y, 2), *box))
    return rows
