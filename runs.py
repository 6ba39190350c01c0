"""What a training notes in weights/NAME.json, and how probabilities become a mask; no Keras."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augment import SYMMETRIES
from jobs import JOBS, THRESHOLD, InputError, UNetConfig, command

FORMAT = 2  # of weights/*.json; 1 had no decision
LARGEST_RECORD = 2**28  # bytes of such a file
THRESHOLDS = np.arange(1, 20) / 20  # of the probability, that HeldOut.choose tries


@dataclass(frozen=True)
class Decision:
    """What makes a mask of probabilities."""

    threshold: float = THRESHOLD  # a probability above it is foreground
    min_area: float = 0.0  # a smaller mask, as a share of its image, counts as empty

    def mask(self, probability, min_pixels=0):
        """bool (H, W): the foreground of probabilities (H, W, 1), empty if it is smaller than
        min_area or min_pixels. Of classes (H, W, K) the number of the most probable, uint8 (H, W).
        """
        if probability.shape[-1] > 1:
            return probability.argmax(axis=-1).astype(np.uint8)
        mask = probability[..., 0] > self.threshold
        num_pixels = np.count_nonzero(mask)  # sum takes six times as long
        return mask & (num_pixels >= max(self.min_area * mask.size, min_pixels))


@dataclass(frozen=True)
class HeldOut:
    """Pixels of each image that a training held out: what every Decision is scored with."""

    fold: np.ndarray  # (N,) number of the network that did not see it
    truth: np.ndarray  # (N,) in the true mask
    predicted: np.ndarray  # (N, 19) above each of THRESHOLDS
    right: np.ndarray  # (N, 19) in both
    num_pixels: int | np.ndarray  # of an image, (N,) where their sizes differ

    def dice(self, decision):
        """Dice of each image with a Decision whose threshold is among THRESHOLDS, (N,); empty
        against empty 1.
        """
        column = int(np.argmin(np.abs(THRESHOLDS - decision.threshold)))
        is_empty = self.predicted[:, column] < decision.min_area * self.num_pixels
        total = self.truth + self.predicted[:, column]
        dice = np.where(total > 0, 2 * self.right[:, column] / np.maximum(total, 1), 1.0)
        return np.where(is_empty, self.truth == 0, dice)

    def choose(self):
        """The Decision with the highest mean Dice, the competitions' score; of equal ones that
        with the threshold nearest to 0.5 and the smallest area.
        """
        best, chosen = -1, Decision()
        for column in np.argsort(np.abs(THRESHOLDS - THRESHOLD), kind="stable"):
            threshold = float(THRESHOLDS[column])
            dice = self.dice(Decision(threshold))
            order = np.argsort(self.predicted[:, column], kind="stable")
            areas, kept, is_empty = (
                self.predicted[order, column],
                dice[order],
                self.truth[order] == 0,
            )
            # what all images score when the n smallest masks become empty, n = 0, 1, ...
            scores = np.append(0, is_empty.cumsum()) + kept.sum() - np.append(0, kept.cumsum())
            scores[1:-1][areas[1:] == areas[:-1]] = -1  # no limit lies between equal areas
            number = int(np.argmax(scores))
            if scores[number] > best + 1e-9:
                limits = np.append(areas, areas[-1] + 2)
                area = (limits[number - 1] + limits[number]) / 2 if number else 0
                best, chosen = scores[number], Decision(threshold, float(area / self.num_pixels))
        return chosen


def count_pixels(truth, probability):
    """Pixels of a true mask, bool (H, W, 1), then (19,) of those of its probabilities that are
    above each of THRESHOLDS, and (19,) of those in both: a row of HeldOut.
    """
    level = np.digitize(probability, THRESHOLDS, right=True)  # thresholds below it
    counts = [np.count_nonzero(truth)]
    for levels in (level, level[truth]):
        of_level = np.bincount(levels.ravel(), minlength=len(THRESHOLDS) + 1)
        counts.append(of_level[::-1].cumsum()[::-1][1:])
    return counts


def read_record(name):
    """What train.py noted in weights/NAME.json; raises InputError where it is missing or not of
    this version.
    """
    path, run = Path("weights", f"{name}.json"), name.partition(".")[0]
    again = command("train.py", run)
    if not path.exists() and Path("weights", f"{run}.checkpoint.h5").exists():
        raise InputError(f"{path}: missing, its training was interrupted; run {again} --resume")
    if not path.exists() and name != run:
        raise InputError(f"{path}: missing; run {again} --folds again, as before")
    if not path.exists():
        raise InputError(f"{path}: no trained network there yet{_trained()}; first run: {again}")
    try:
        _check(path.stat().st_size < LARGEST_RECORD, "size")
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, expected {FORMAT}")
        record["command"]
        job = record["job"]
        record.setdefault("arrays", job)
        _check(job in JOBS and (run == job or run not in JOBS), "job")
        classes = record.setdefault("classes", [])
        _check(all(set(c) == {"name", "color"} for c in classes), "classes")
        colors = [c["color"] for c in classes]
        _check(all(len(c) == 3 and all(0 <= int(n) < 256 for n in c) for c in colors), "colors")
        record.setdefault("is_colored", False)
        _check(record["arrays"] in (run, job), "arrays")
        _check(isinstance(record.get("options", {}), dict), "options")
        decision = Decision(**record["decision"])
        _check(0 <= decision.threshold <= 1 and decision.min_area >= 0, "decision")
        if "folds" in record:
            names = [fold["name"] for fold in record["folds"]]
            _check(name == run and names, "folds")
            _check(all(re.fullmatch(rf"{run}\.fold[0-9]+", n) for n in names), "folds")
        else:
            for key in ("name", "mean", "std", "array_size", "is_resized", "validation"):
                record[key]
            _check(record["name"] == name, "name")
            _check(all(isinstance(record[k], float | None) for k in ("mean", "std")), "scale")
            _check(record["std"] is None or 0 < record["std"] < math.inf, "std")
            _check(record["mean"] is None or math.isfinite(record["mean"]), "mean")
            _check(len(record["array_size"]) == 2, "array_size")
            _check(all(isinstance(id, str) for id in record["validation"]), "validation")
            _check(record["recipe"]["augmentation"]["symmetry"] in SYMMETRIES, "symmetry")
            config = UNetConfig(**{k: _tuple(v) for k, v in record["network"].items()})
            numbers = (config.channels, config.bottleneck, *config.filters)
            _check(all(type(n) is int for n in (*numbers, *config.decoder_filters)), "network")
            _check(len(classes) == (config.classes if config.classes > 2 else 0), "classes")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a run of this version ({error!r}); run {again} again, with the options "
            "of before"
        ) from error
    return record


def _trained():
    """The names of the runs that there are, for an error message."""
    names = sorted(p.stem for p in Path("weights").glob("*.json") if "." not in p.stem)
    return f"; trained are {', '.join(names)}" if names else ""


def _check(is_right, name):
    if not is_right:
        raise ValueError(f"{name} is damaged")


def _tuple(value):
    """JSON's list as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value


def read_network(record):
    """The UNetConfig of a record, for images of any size."""
    fields = {key: _tuple(value) for key, value in record["network"].items()}
    return UNetConfig(**{**fields, "image_size": (None, None)})
