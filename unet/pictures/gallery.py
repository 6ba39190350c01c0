"""The page of test.py: image, truth, prediction and error of many images, with their scores."""

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from unet.jobs.settings import IGNORED
from unet.machine.disk import write_text
from unet.pictures.panels import FALSE, MISSED, NOT_COUNTED, error_kinds, with_not_counted
from unet.reading.classes import TWO_CLASSES, colors_of
from unet.reading.pixels import resize, write_image

TEMPLATE = Path(__file__).with_name("gallery.html")
PLACE = "{}"  # of the data in the template, the whole content of its element
LONGEST = 768  # pixels of a layer's longer side
GAP = 8  # clear rows between the masks of a file, so that a shrunk one has nothing of the next
VIEWS = ("truth", "prediction", "error")
COLORS = colors_of(TWO_CLASSES)
ERROR = np.array(  # RGBA of error_kinds
    [(0, 0, 0, 0), (255, 255, 255, 110), (*FALSE, 255), (*MISSED, 255), (*NOT_COUNTED, 255)],
    np.uint8,
)
# Characters that a reader cannot see or that turn the text around them; halves of surrogate pairs
# are what Python makes of a file name's bytes that are no text.
HIDDEN = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@contextlib.contextmanager
def new_layers(folder):
    """A folder for write_layers, which takes the place of FOLDER/gallery when the block ends well.
    The page that showed the old one is gone then, until write_page.
    """
    layers, old = Path(folder, ".partial.gallery"), Path(folder, "gallery")
    shutil.rmtree(layers, ignore_errors=True)  # of a run that was killed
    try:
        yield layers
        layers.mkdir(parents=True, exist_ok=True)
        Path(folder, "index.html").unlink(missing_ok=True)
        if old.exists():
            shutil.rmtree(old)
        layers.rename(old)
    finally:
        shutil.rmtree(layers, ignore_errors=True)


def draw_masks(truth, predictions, colors):
    """RGBA uint8, to lie over the image, one below the other with GAP clear rows between: of one
    prediction the truth, the prediction and its error; of several the truth and the error of each;
    without a truth the prediction alone.

    truth (or None), predictions: class numbers uint8 (H, W), of which 0, the background, is clear,
    and IGNORED grey; colors: RGB uint8 (K, 3) of the classes.
    """
    table = np.pad(with_not_counted(colors), [(0, 0), (0, 1)], constant_values=255)
    table[0] = 0
    if truth is None:
        return table[predictions[0]]
    gap = np.zeros((GAP, truth.shape[1], 4), np.uint8)
    masks = [table[truth]]
    if len(predictions) == 1:
        masks += [gap, table[predictions[0]]]
    for prediction in predictions:
        masks += [gap, ERROR[error_kinds(truth, prediction)]]
    return np.concatenate(masks)


def write_layers(folder, number, image, truth, predictions, colors=COLORS):
    """Write the layers of one image to FOLDER/NUMBER.png and NUMBER.masks.png, at most LONGEST
    pixels high and wide; returns what the page says of it: sizes, areas, the share of those
    pixels that count that are no background, and has_ignored where some do not count.

    image: uint8 (H, W, C); the rest as in draw_masks.
    """
    height, width = image.shape[:2]
    factor = min(1, LONGEST / max(height, width))
    size = tuple(max(1, round(length * factor)) for length in (height, width))
    small = [
        mask if mask is None else cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)
        for mask in (truth, *predictions)
    ]
    write_image(folder / f"{number}.png", resize(image, size))
    write_image(folder / f"{number}.masks.png", draw_masks(small[0], small[1:], colors))
    masks = truth, predictions[-1]
    counted = np.full((height, width), True) if truth is None else truth != IGNORED
    num_pixels = max(np.count_nonzero(counted), 1)
    areas = [None if m is None else np.count_nonzero(m[counted]) / num_pixels for m in masks]
    shown = dict(number=number, width=width, height=height, true_area=areas[0], area=areas[1])
    return shown if counted.all() else {**shown, "has_ignored": True}


def visible(text):
    r"""Text whose control, direction and undecodable characters are written out as \u202e is."""
    return HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def write_page(folder, about, images, figures=None, classes=TWO_CLASSES, views=VIEWS):
    """Write FOLDER/index.html, which shows FOLDER/gallery.

    about: of report.describe_run, and perhaps a line "summary"; images: a dict for each, of
    write_layers, with its "name", "dice" (None without a truth) and "picture", the file of FOLDER
    that shows it at its own size; figures: of report.Scores, None without a truth; classes:
    SegmentClass of each; views: what the masks of draw_masks are called. Where images have
    "facts", "dice" is a difference between two runs.
    """
    shown = []
    for image in images:
        url = quote(os.fsencode(image["picture"]), safe="")  # whatever the name's characters
        shown.append({**image, "name": visible(image["name"]), "picture": url})
    palette = {
        "classes": [[visible(label.name), label.color] for label in classes[1:]],
        "error": ERROR.tolist(),
        "views": [visible(view) for view in views],
    }
    text = json.dumps({"about": about, "images": shown, "figures": figures, **palette})
    for character in "<>&":  # so that no name ends the element that holds them
        text = text.replace(character, f"\\u{ord(character):04x}")
    before, after = TEMPLATE.read_text(encoding="utf-8").split(f">{PLACE}<")
    write_text(Path(folder, "index.html"), f"{before}>{text}<{after}")
