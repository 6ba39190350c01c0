"""What test.py says of a run: scores, pictures, and the page that shows them."""

import contextlib
import json
import re
import shlex
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from unet.machine.disk import csv_text, write_text
from unet.pictures.gallery import VIEWS, new_layers, visible, write_layers, write_page
from unet.pictures.panels import draw, draw_channels
from unet.prediction.scores import THRESHOLDS, HeldOut, class_dice, count_pixels, mean_dice
from unet.prediction.scoring import SCORES, score
from unet.reading.classes import TWO_CLASSES, colors_of
from unet.reading.pixels import write_image
from unet.runs import Paths

SEEN = "all of them seen in training, which held none out: expect less of other images"
OF_TRAINING = ("curves", "progress", "filmstrip")  # pictures in vis/NAME that are train.py's
OF_DATA = "data"  # and data.py's


def classes_of(run):
    """SegmentClass of each class of a run, two where it has foreground and background."""
    return run.classes or TWO_CLASSES


def file_path(id):
    """Where an image's mask lies below the masks' folder: as the image does below its own."""
    return re.sub(r"[\\:]", "_", id)


def file_name(id):
    """The name of an image's files: a table's ids are paths."""
    return re.sub(r"[\\/:]", "_", id)


class Scores:
    """The scores of a run's Results, one image after the other; are_seen: they are of images that
    it was trained on.
    """

    def __init__(self, run, are_seen=False):
        self.run, self.are_seen = run, are_seen
        self.rows = []  # (id, *SCORES)
        self.pixels = []  # count_classes of each
        self.levels = []  # rows of HeldOut, of two classes

    def __len__(self):
        return len(self.rows)

    def add(self, result):
        """Score a Result; returns its Dice, None without a truth."""
        if result.truth is None:
            return None
        scores, pixels = score(result, len(classes_of(self.run)))
        self.rows.append((result.id, *scores))
        self.pixels.append(pixels)
        if not self.run.classes:
            self.levels.append((0, *count_pixels(result.truth, result.probability)))
        return scores[0]

    def means(self):
        """The mean of each score, and of more than two classes the Dice of each over the pixels of
        all images: a dict.
        """
        columns = list(zip(*self.rows))[1:]
        means = {name: float(np.mean(values)) for name, values in zip(SCORES, columns)}
        means["worst_dice"] = min(row[1] for row in self.rows)
        if self.run.classes:
            dice = class_dice(*np.sum(self.pixels, axis=0))
            means["classes"] = {
                label.name: None if np.isnan(value) else float(value)
                for label, value in zip(self.run.classes, dice)
            }
            means["mean_of_classes"] = mean_dice(dice)
        return means

    def write(self, folder):
        """Write each image's scores to scores.csv and their means to scores.json."""
        header, rows = ("image", *SCORES), self.rows
        if self.are_seen:
            header, rows = (*header, "seen_in_training"), [(*row, "yes") for row in rows]
        write_text(folder / "scores.csv", csv_text(header, rows))
        means = {"num_images": len(self), "seen_in_training": self.are_seen, **self.means()}
        write_text(folder / "scores.json", json.dumps(means, indent=1))

    def figures(self):
        """What the page shows of them: Dice of each image, and its mean at each of THRESHOLDS; of
        more than two classes, which have no threshold, the Dice of each.
        """
        measured = HeldOut(*map(np.array, zip(*self.levels))) if self.levels else None
        figures = summarize([row[1] for row in self.rows], measured, self.run.decision)
        return {**figures, "classes": self.means().get("classes", {})}

    def describe(self):
        """The means, for a reader."""
        means, lines = self.means(), []
        rule = f"foreground above {self.run.decision.threshold:.2f}"
        if self.run.classes:
            rule = "of the classes in each"
            dice = ", ".join(
                f"{name} {'-' if value is None else format(value, '.3f')}"
                for name, value in means["classes"].items()
            )
            mean = means["mean_of_classes"]
            lines.append(f"Dice of all pixels: {dice}; mean without the background {mean:.3f}")
        worst = f"worst {means['worst_dice']:.3f}"
        seen = f"; {SEEN}" if self.are_seen else ""
        lines.append(f"Dice {means['dice']:.3f} ({worst}) over {len(self)} images, {rule}{seen}")
        return "\n".join(lines)


def summarize(dice, measured, decision):
    """The page's figures: Dice of each scored image, and its mean at each of THRESHOLDS, from
    their HeldOut; None of more than two classes, which have no threshold.
    """
    if measured is None:
        return {"dice": dice, "curve": None}
    curve = [
        (float(threshold), float(measured.dice(replace(decision, threshold=threshold)).mean()))
        for threshold in THRESHOLDS
    ]
    return {"dice": dice, "curve": curve, "threshold": decision.threshold}


@dataclass
class Page:
    """Pictures of images in a folder of vis/, and the page that shows them."""

    folder: Path
    layers: Path  # of new_layers
    most: int  # images that it shows
    classes: tuple
    images: list = field(default_factory=list)  # dicts, as write_page takes them
    names: set = field(default_factory=set)  # of pictures, lower case

    @property
    def is_full(self):
        return len(self.images) >= self.most

    def add(self, result, predictions, dice, draw_picture, facts=None):
        """Show an image with its predictions, masks of class numbers; draw_picture(path) writes
        the picture at its own size and returns where it lies.
        """
        path = self.folder / f"{picture_name(result.id, self.names)}.png"
        picture = draw_picture(path).name
        sizes = write_layers(
            self.layers,
            len(self.images) + 1,
            result.image,
            result.truth,
            predictions,
            colors_of(self.classes),
        )
        shown = dict(name=result.id, dice=dice, picture=picture, **sizes)
        if facts:
            shown["facts"] = facts
        self.images.append(shown)

    def write(self, about, figures=None, views=VIEWS):
        write_page(self.folder, about, self.images, figures, self.classes, views)


@contextlib.contextmanager
def new_page(folder, most, classes):
    """A Page whose pictures take the place of an older one's when the block ends well."""
    with new_layers(folder) as layers:
        yield Page(folder, layers, most, classes)


def picture_name(id, taken):
    """The name of an image's picture, apart from those that are taken, lower case, to which it is
    added: from a/b and a_b, and from what a training draws.
    """
    name = stem = file_name(id)
    number = 1
    while name.lower() in {OF_DATA, *taken} or name.lower().startswith(OF_TRAINING):
        number += 1
        name = f"image {stem} {number}"
    taken.add(name.lower())
    return name


def draw_result(result, dice, path, run):
    """Write the side-by-side picture of a Result and return its path; of noise the document's
    picture to `path` and the side-by-side one to NAME_panels.png.
    """
    caption = result.id if dice is None else f"{result.id}  Dice {dice:.3f}"
    if run.record.job == "noise" and dice is not None:
        write_image(path, draw_channels(result))
        path = path.with_name(f"{path.stem}_panels.png")
    write_image(path, draw(result, caption, run.classes))
    return path


def describe(name, record, num_networks):
    """What the page says of a run: how it was trained, from weights/NAME.json and its network's
    Record, and the command that runs now.
    """
    trained = time.localtime(Paths(name).record.stat().st_mtime)
    versions = record.versions or {}
    networks = "1"
    if num_networks > 1:
        networks = f"{num_networks} folds; what follows is of the first"
    rows = {
        "tested by": shlex.join(["python", *sys.argv]),
        "trained by": record.command,
        "trained until": time.strftime("%Y-%m-%d %H:%M", trained),
        "networks": networks,
        "seed": record.seed,
        "commit": record.commit,
        "versions": ", ".join(f"{key} {value}" for key, value in versions.items()),
    }
    return {
        "title": visible(name),
        "rows": {key: visible(str(value)) for key, value in rows.items() if value},
        "options": {
            key: visible(" ".join(map(str, value)) if isinstance(value, list) else str(value))
            for key, value in record.options.items()
            if value not in (None, [], ())
        },
    }
