"""Four folders of images and masks as people bring them, drawn: no job has such ones.

python -m benchmarks.folders --output DIR

Writes DIR/NAME/images and masks, and new_images and new_masks that no training has seen:
  cracks   few large photos of concrete and asphalt; some masks are empty
  cells    many small images of three microscopes, grey or RGB, a size each
  classes  leaves (1) and what has befallen them (2); masks of the values 0, 1 and 2
  vessels  round images of the back of an eye; masks as gif
What looks like the foreground without being it is drawn on purpose, as in scenes.py.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
from PIL import Image

from benchmarks.blobs import draw_cells, draw_classes
from benchmarks.lines import draw_cracks, draw_vessels
from unet.errors import InputError, one_line_errors
from unet.options import option, parse_options


@dataclass(frozen=True)
class Options:
    output: str = option(
        "raw/folders", "folder for the four, which has none of them", metavar="DIR"
    )
    seed: int = option(1, "of the images", least=0, most=2**32 - 1)
    tiny: bool = option(False, "three images of each and a new one, to see that this script works")


SETTINGS = {  # of which the one that makes the smallest file is taken
    ".jpg": [[cv2.IMWRITE_JPEG_QUALITY, 90]],
    ".png": [  # for masks, and for images with noise
        [
            cv2.IMWRITE_PNG_COMPRESSION,
            9,
            cv2.IMWRITE_PNG_STRATEGY,
            cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
        ],
        [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
        + [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH],
    ],
}


@dataclass(frozen=True)
class Folder:
    """How the images of a folder are drawn, how many of them, and what kind of file they are."""

    draw: object  # (seed, number) -> image, mask
    count: int
    new: int  # and so many that are for the test
    image: str  # ending
    mask: str = ".png"


FOLDERS = {
    "cracks": Folder(draw_cracks, 12, 4, ".jpg"),
    "cells": Folder(draw_cells, 150, 30, ".png"),
    "classes": Folder(draw_classes, 60, 20, ".jpg"),
    "vessels": Folder(draw_vessels, 20, 10, ".jpg", ".gif"),
}


def save(path, pixels):
    """Write pixels, grey or RGB, as small as the kind of file allows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":  # OpenCV's has more values than two
        Image.fromarray(pixels).save(path)
        return
    pixels = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    files = [cv2.imencode(path.suffix, pixels, setting)[1] for setting in SETTINGS[path.suffix]]
    path.write_bytes(min(files, key=len))


def main(options):
    root = Path(options.output)
    for name in FOLDERS:
        if (root / name).exists():
            raise InputError(f"{root / name}: is there already; pass another --output")
    for name, folder in FOLDERS.items():
        count, new = (3, 1) if options.tiny else (folder.count, folder.new)
        for number in range(1, count + new + 1):
            image, mask = folder.draw(options.seed, number)
            kind = "new_" if number > count else ""
            save(root / name / f"{kind}images" / f"{number:03}{folder.image}", image)
            save(root / name / f"{kind}masks" / f"{number:03}{folder.mask}", mask)
        print(f"{root / name}: {count} images and {new} new ones")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.folders", __doc__))
