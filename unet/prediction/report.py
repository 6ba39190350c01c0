"""Report of test.py on a run: scores, pictures, and the page that shows them."""

import contextlib
import json
import re
import shlex
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from unet.machine.disk import csv_text, write_text
from unet.pictures.gallery import VIEWS, new_layers, visible, write_layers, write_page
from unet.pictures.panels import draw, draw_channels
from unet.prediction.scores import (
    THRESHOLDS,
    HeldOut,
    class_counts,
    class_dice,
    count_pixels,
    mean_dice,
    precision_and_recall,
)
from unet.prediction.scoring import SCORES, score
from unet.reading.classes import TWO_CLASSES, colors_of
from unet.reading.pixels import write_image
from unet.runs import Paths

MEANS = SCORES[:3]  # of which the mean over images is told, of the others that over pixels
OF_TRAINING = ("curves", "progress", "filmstrip")  # pictures in vis/NAME that are train.py's
OF_DATA = "data"  # and data.py's


def classes_of(run):
    """SegmentClass of each class of a run, two where it has foreground and background."""
    return run.classes or TWO_CLASSES


class Scores:
    """The scores of a run's Results, one image after the other, or one tile; unit: which of the
    two, for a reader.
    """

    def __init__(self, run, unit="images"):
        self.run, self.unit = run, unit
        self.rows = []  # (id, *SCORES)
        self.is_seen = []  # whether the run was trained on it
        self.confusion = 0  # count_confusion of all
        self.levels = []  # rows of HeldOut, of two classes

    def __len__(self):
        return len(self.rows)

    def add(self, result):
        """Score a Result; returns its Dice, None without a truth."""
        if result.truth is None:
            return None
        scores, confusion = score(result, len(classes_of(self.run)), self.run.first_class)
        self.rows.append((result.id, *scores))
        self.is_seen.append(self.run.name in result.seen_by)
        self.confusion = self.confusion + confusion
        if not self.run.classes:
            self.levels.append((0, *count_pixels(result.truth, result.probability)))
        return scores[0]

    def means(self):
        """The mean of each of MEANS, precision and recall over the pixels of all images, and the
        decision; of more than two classes the Dice of each, over all pixels, too, and which is
        taken for which: a dict.
        """
        columns = list(zip(*self.rows))[1:]
        means = {name: float(np.mean(values)) for name, values in zip(MEANS, columns)}
        means |= zip(
            SCORES[len(MEANS) :], precision_and_recall(self.confusion, self.run.first_class)
        )
        means["worst_dice"] = min(row[1] for row in self.rows)
        if not self.run.classes:
            return {**means, **asdict(self.run.decision)}
        dice = class_dice(*class_counts(self.confusion))
        names = [label.name for label in self.run.classes]
        values = [None if np.isnan(value) else float(value) for value in dice]
        return {
            **means,
            "classes": dict(zip(names, values)),
            "mean_of_classes": mean_dice(dice, self.run.first_class),
            "confusion": {
                "rows": "true class",
                "columns": "predicted class",
                "classes": names,
                "pixels": self.confusion.tolist(),
            },
        }

    def write(self, folder):
        """Write each image's scores to scores.csv and their means to scores.json."""
        header, rows = ("image", *SCORES), self.rows
        if any(self.is_seen):
            seen = ["yes" if is_seen else "no" for is_seen in self.is_seen]
            header, rows = (*header, "seen_in_training"), [(*r, s) for r, s in zip(rows, seen)]
        write_text(folder / "scores.csv", csv_text(header, rows))
        means = {"num_images": len(self), "seen_in_training": sum(self.is_seen), **self.means()}
        write_text(folder / "scores.json", json.dumps(means, indent=1))

    def figures(self):
        """The page's figures: Dice of each image, and its mean at each of THRESHOLDS; of more than
        two classes, which have no threshold, the Dice of each.
        """
        dice, decision = [row[1] for row in self.rows], self.run.decision
        if self.run.classes:
            return {"dice": dice, "curve": None, "classes": self.means()["classes"]}
        measured, curve = HeldOut(*map(np.array, zip(*self.levels))), []
        for threshold in map(float, THRESHOLDS):
            mean = measured.dice(replace(decision, threshold=threshold)).mean()
            curve.append((threshold, float(mean)))
        return {"dice": dice, "curve": curve, "threshold": decision.threshold, "classes": {}}

    def describe_seen(self):
        """Number of images that the run was trained on, and the Dice of the others; "" of none."""
        others = [row[1] for row, is_seen in zip(self.rows, self.is_seen) if not is_seen]
        number = len(self) - len(others)
        if not number:
            return ""
        if others:
            mean = f"Dice {np.mean(others):.3f} of the other {len(others)}"
            return f"{number} of them seen in training, {mean}"
        why = "" if self.run.holds_out else ", which held none out"
        return f"all of them seen in training{why}: expect less of other images"

    def describe(self):
        """The means, for a reader."""
        means, lines = self.means(), []
        rule = self.run.decision.describe()
        if self.run.classes:
            rule = "of the classes in each"
            dice = ", ".join(
                f"{name} {'-' if value is None else format(value, '.3f')}"
                for name, value in means["classes"].items()
            )
            mean = means["mean_of_classes"]
            which = "without the background" if self.run.first_class else "of all classes"
            lines.append(f"Dice of all pixels: {dice}; mean {which} {mean:.3f}")
        precision, recall = (f"{name} {means[name]:.3f}" for name in ("precision", "recall"))
        lines.append(f"{precision}, {recall} of the foreground's pixels in all images")
        worst = f"worst {means['worst_dice']:.3f}"
        seen = self.describe_seen()
        line = f"Dice {means['dice']:.3f} ({worst}) over {len(self)} {self.unit}, {rule}"
        if self.unit == "tiles":
            lines.append("of tiles, empty ones count 1; --images and --masks score whole images")
        return "\n".join([*lines, f"{line}; {seen}" if seen else line])


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

    def add(self, result, predictions, dice, pictures, facts=None):
        """Show an image with its predictions, masks of class numbers.

        pictures: uint8 (H, W, 3) at its own size by the end of their names, of which the page
        links to the last.
        """
        name = picture_name(result.id, self.names)
        for end, picture in pictures.items():
            write_image(self.folder / f"{name}{end}.png", picture)
        shown = dict(name=result.id, dice=dice, picture=f"{name}{end}.png")
        if facts:
            shown["facts"] = facts
        number, colors = len(self.images) + 1, colors_of(self.classes)
        masks = result.truth, predictions, colors
        self.images.append(shown | write_layers(self.layers, number, result.image, *masks))

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
    name = stem = re.sub(r"[\\/:]", "_", id)  # a table's ids are paths
    number = 1
    while name.lower() in {OF_DATA, *taken} or name.lower().startswith(OF_TRAINING):
        number += 1
        name = f"image {stem} {number}"
    taken.add(name.lower())
    return name


def draw_result(result, dice, run):
    """Pictures of a Result, as Page.add takes them: side by side; of noise the document's, too."""
    caption = result.id if dice is None else f"{result.id}  Dice {dice:.3f}"
    panels = draw(result, caption, run.classes)
    if run.record.job == "noise" and dice is not None:
        return {"": draw_channels(result), "_panels": panels}
    return {"": panels}


def describe_run(name, record, num_networks, decision=None):
    """The page's text about a run: its training, from weights/NAME.json and its network's Record,
    the command that runs now, and its Decision.
    """
    trained = time.localtime(Paths(name).record.stat().st_mtime)
    networks = f"{num_networks} folds; what follows is of the first" if num_networks > 1 else "1"
    rows = {
        "tested by": shlex.join(["python", *sys.argv]),
        "masks": None if decision is None or record.classes else decision.describe(),
        "trained by": record.command,
        "trained until": time.strftime("%Y-%m-%d %H:%M", trained),
        "networks": networks,
        "seed": record.seed,
        "commit": record.commit,
        "versions": ", ".join(f"{key} {value}" for key, value in (record.versions or {}).items()),
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
