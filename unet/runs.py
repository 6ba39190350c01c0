"""A run: its name, where its files lie, what a training notes of it in weights/NAME.json, and how
its probabilities become a mask.
"""

import dataclasses
import json
import math
import re
import types
import typing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from unet import LARGEST_IMAGE
from unet.errors import InputError, check_name, refuse
from unet.jobs import JOBS
from unet.jobs.settings import PLAIN, SYMMETRIES, THRESHOLD, Reading, Recipe, UNetConfig
from unet.machine.disk import write_text

FORMAT = 2  # of weights/*.json
LARGEST_RECORD = 2**28  # bytes of such a file
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")  # Keras's, of layers


def run_name(job, name=None):
    """The name of the run that a job and --name speak of; raises InputError."""
    # Some file systems do not tell Nerve from nerve.
    if (name or "").lower() in JOBS and name != job:
        raise InputError(f"--name {name}: is a job of its own; take another name")
    return name or job


def fold_name(run, number):
    """The name of the network of a cross-validation's fold, 1, 2, ..."""
    return f"{run}.fold{number}"


def command(script, name, job="JOB"):
    """The command line for the run of some name, "python train.py cadastre --name roads"; test.py
    and submission.py find the job themselves.
    """
    if script in ("test.py", "submission.py") or name in JOBS:
        return f"python {script} {name}"
    return f"python {script} {job} --name {name}"


class Paths:
    """Every file and folder of a run, seen from the present folder.

    name: of a run, or of the network of a fold, "nerve.fold1", which has weights and pictures of
    its own; all else belongs to the run.
    """

    def __init__(self, name):
        self.name = name
        self.run, _, self.fold = name.partition(".")
        weights, output, vis = Path("weights"), Path("output"), Path("vis")
        # what train.py keeps
        self.record = weights / f"{name}.json"
        self.weights = weights / f"{name}.weights.h5"  # of the epoch that the recipe keeps
        self.last_weights = weights / f"{name}.last.weights.h5"
        self.table = weights / f"{name}.csv"  # loss and scores of each epoch
        self.checkpoint = weights / f"{self.run}.checkpoint.h5"
        # of an interrupted training, whose place another one's has taken
        self.old_checkpoint = weights / f"{self.run}.checkpoint.old.h5"
        # of a training that ended and can go on, until the next one of that name
        self.finished_checkpoint = weights / f"{self.run}.finished.h5"
        self.weights_lock = weights / f".{self.run}.lock"
        # what data.py writes, and what is predicted of it
        self.arrays = output / self.run
        self.arrays_lock = output / f".{self.run}.lock"
        self.probabilities = self.arrays / "imgs_mask_test.npy"  # of the test images
        self.masks = self.arrays / "masks"
        self.submission = self.arrays / "submission.csv"
        # what is to be looked at
        self.vis = vis / self.run
        self.vis_lock = vis / f".{self.run}.lock"
        self.tensorboard = self.vis / "tensorboard"

    def picture(self, what):
        """vis/nerve/WHAT.png, of a fold vis/nerve/WHAT.fold1.png."""
        return self.vis / (f"{what}.{self.fold}.png" if self.fold else f"{what}.png")


@dataclass(frozen=True)
class Decision:
    """The rule that makes a mask of probabilities."""

    threshold: float = THRESHOLD  # a probability above it is foreground
    min_area: float = 0.0  # a smaller mask, as a share of its image, counts as empty

    def mask(self, probability, counted=None):
        """bool (H, W): the foreground of probabilities (H, W, 1), empty if it is smaller than
        min_area; counted, bool (H, W): of these pixels (default: of all). Of classes (H, W, K) the
        number of the most probable, uint8 (H, W).
        """
        if probability.shape[-1] > 1:
            return probability.argmax(axis=-1).astype(np.uint8)
        mask = probability[..., 0] > self.threshold
        part = mask if counted is None else mask[counted]
        num_pixels = np.count_nonzero(part)  # sum takes six times as long
        return mask & (num_pixels >= self.min_area * part.size)

    def describe(self):
        """The rule, for a reader."""
        digits = 2 if round(self.threshold, 2) == self.threshold else 4
        rule = f"foreground above {self.threshold:.{digits}f}"
        return f"{rule}, from {self.min_area:.2%} of the image on" if self.min_area else rule


@dataclass
class Record:
    """Content of weights/NAME.json: how to rebuild, feed and repeat a trained network, or the
    networks of a cross-validation, of which each has a record of its own.
    """

    name: str
    job: str
    arrays: str  # folder in output/ that it was trained on
    recipe: Recipe
    options: dict  # of train.Options, as JSON has them
    command: str
    pixels: str = ""  # Arrays.pixels_digest, of images and masks
    classes: list[dict] = field(default_factory=list)  # name and color of each
    is_colored: bool = False  # masks in the files were in these colours
    reading: Reading = PLAIN  # of the files that it was trained on
    decision: Decision = Decision()
    precision: str = "float32"  # of the predictions that the decision is for, a Keras dtype policy
    constant_dice: float | None = None  # of one mask for all held-out images; None: not scored
    # of a network
    network: UNetConfig | None = None
    mean: float | None = None  # of what images are standardized with; None: each has its own
    std: float | None = None
    array_size: tuple[int, int] | None = None  # (H, W) in pixels
    is_resized: bool = False  # whether files had another size than that
    validation: list[str] = field(default_factory=list)  # ids of the images held out
    best: dict | None = None  # losses and scores of the epoch whose weights are kept
    seed: int | None = None
    commit: str | None = None
    versions: dict = field(default_factory=dict)
    # of a cross-validation
    folds: list[dict] | None = None  # name and, once they are scored, dice and num_images
    dice: float | None = None  # mean of the folds, and its spread
    spread: float | None = None

    @property
    def train_command(self):
        """Command that trains the run again on the same arrays, without its other options."""
        given = self.options.get("arrays")
        of_arrays = f" --arrays {given}" if given else ""
        return command("train.py", Paths(self.name).run, self.job) + of_arrays

    @property
    def network_names(self):
        """The names of the trained networks: its own, or those of its folds."""
        return [fold["name"] for fold in self.folds] if self.folds else [self.name]

    def decision_at(self, threshold=None):
        """The Decision, with another threshold where one is given, 0 to 1; raises InputError for
        that of a run of several classes.
        """
        if threshold is None:
            return self.decision
        if self.classes:
            raise InputError(
                f"--threshold {threshold:g}: {Paths(self.name).record} is of {len(self.classes)} "
                "classes, of which the most probable counts; leave it out"
            )
        return replace(self.decision, threshold=threshold)

    def network_of_any_size(self):
        """The UNetConfig, for images of any size."""
        return replace(self.network, image_size=(None, None))

    def of_folds(self, name, networks):
        """The Record of the cross-validation that a network's Record is part of."""
        folds = [{"name": name} for name in networks]
        own = dict(network=None, mean=None, std=None, validation=[], best=None)
        return replace(self, name=name, folds=folds, **own)

    @property
    def lacks_threshold(self):
        """Whether threshold and smallest area are still to be chosen on held-out images, which the
        end of a training does.
        """
        is_chosen = self.constant_dice is not None or self.decision != Decision()
        return self.recipe.decide and bool(self.folds or self.validation) and not is_chosen

    def text(self):
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)

    def write(self):
        write_text(Paths(self.name).record, self.text())


def from_json(kind, value):
    """A value of some type from what JSON has of it: a dataclass from a dict of all its fields, a
    tuple from a list. Raises ValueError, TypeError for anything else.
    """
    if isinstance(kind, types.UnionType):  # X | None
        return None if value is None else from_json(typing.get_args(kind)[0], value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if set(value) != set(hints):
            differ = ", ".join(sorted(set(value) ^ set(hints)))
            raise ValueError(f"{kind.__name__} without, or with other fields: {differ}")
        return kind(**{name: from_json(hints[name], value[name]) for name in hints})
    container, items = typing.get_origin(kind), typing.get_args(kind)
    if container in (tuple, list):
        if not isinstance(value, list | tuple) or (
            container is tuple and items[-1] is not ... and len(value) != len(items)
        ):
            raise ValueError(f"{value!r}: expected {kind}")
        return container(from_json(items[0], item) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r}: expected {kind.__name__}")
    return value


def parse_record(fields, name):
    """The Record of a run or a fold from the fields of its file, whose name it takes; raises
    ValueError, TypeError, KeyError, AttributeError for what it should not hold.
    """
    fields = dict(fields)
    if (found := fields.pop("format")) != FORMAT:
        raise ValueError(f"format {found}, expected {FORMAT}")
    record = from_json(Record, fields)
    check_record(record)
    # The file may be a copy, and its folds then are copies, too; it stays one of the arrays that
    # it was trained on.
    old, run = Paths(record.name).run, Paths(name).run
    if old != run:
        for fold in record.folds or ():
            fold["name"] = run + fold["name"].removeprefix(old)
        record.options = {**record.options, "name": run, "arrays": record.arrays}
    record.name = name
    check_record(record)
    return record


def check_record(record):
    """Raise ValueError, TypeError, KeyError for values that a Record's types allow and that give
    wrong results.
    """
    run = Paths(record.name).run
    check_name(run)
    check_name(record.arrays)
    threshold, constant = record.decision.threshold, record.constant_dice
    colors = [label["color"] for label in record.classes if type(label["name"]) is str]
    rules = {
        "job": record.job in JOBS and (run == record.job or run not in JOBS),
        "decision": 0 <= threshold <= 1 and record.decision.min_area >= 0,
        "precision": record.precision in POLICIES,
        "constant_dice": constant is None or 0 <= constant <= 1,
        "classes": len(colors) == len(record.classes),
        "colors": all(len(c) == 3 and all(0 <= int(n) < 256 for n in c) for c in colors),
        "symmetry": record.recipe.augmentation.symmetry in SYMMETRIES,
    }
    if record.folds is not None:
        pattern = rf"{run}\.fold[0-9]+"
        are_named = all(re.fullmatch(pattern, name) for name in record.network_names)
        rules["folds"] = bool(record.folds) and record.name == run and are_named
    else:
        height, width = record.array_size
        num_classes = record.network.classes
        rules["std"] = record.std is None or 0 < record.std < math.inf
        rules["mean"] = record.mean is None or math.isfinite(record.mean)
        rules["array_size"] = min(height, width) > 0 and height * width <= LARGEST_IMAGE
        rules["number of classes"] = len(record.classes) == (num_classes > 2) * num_classes
    if broken := [name for name, is_kept in rules.items() if not is_kept]:
        raise ValueError(f"{broken[0]} is damaged")


def read_record(name):
    """The Record that train.py wrote to weights/NAME.json; raises InputError where it is missing
    or damaged.
    """
    paths = Paths(name)
    path, train = paths.record, command("train.py", paths.run)
    if not path.exists():
        trained = sorted(p.stem for p in path.parent.glob("*.json") if "." not in p.stem)
        others = f"; trained are {', '.join(trained)}" if trained else ""
        refuse(
            (
                paths.checkpoint.exists(),
                f"{path}: missing, its training was interrupted; run {train} --resume",
            ),
            (paths.fold, f"{path}: missing; run {train} --folds again, as before"),
            (True, f"{path.absolute()}: no trained network there yet{others}; first run: {train}"),
        )
    try:
        if path.stat().st_size > LARGEST_RECORD:
            raise ValueError("too large")
        return parse_record(json.loads(path.read_text(encoding="utf-8")), name)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a run of this version ({error!r}); run {train} again, with the options "
            "of before"
        ) from error


def weights_of_run(given):
    """The end of an InputError where --weights names a run in place of a file; "" else."""
    own = Paths(given).weights
    return f"; {own} is that of the run {given}" if own.is_file() else ""
