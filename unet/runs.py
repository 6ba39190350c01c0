"""A run: its name, where its files lie, what a training notes of it in weights/NAME.json, and how
its probabilities become a mask.
"""

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet import LARGEST_IMAGE
from unet.errors import InputError, check_name
from unet.jobs import JOBS
from unet.jobs.settings import SYMMETRIES, THRESHOLD, UNetConfig
from unet.machine.disk import write_text

FORMAT = 2  # of weights/*.json; 1 had no decision
LARGEST_RECORD = 2**28  # bytes of such a file
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")  # Keras's, of layers
# What only a network's own record has, and what only that of a cross-validation has.
OF_NETWORK = ("network", "mean", "std", "array_size", "is_resized", "validation", "best", "seed")
OF_NETWORK += ("commit", "versions")
OF_FOLDS = ("folds", "dice", "spread")


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
    """What to type for the run of some name, "python train.py cadastre --name roads"; test.py and
    submission.py find the job themselves.
    """
    if script in ("test.py", "submission.py") or name in JOBS:
        return f"python {script} {name}"
    return f"python {script} {job} --name {name}"


@dataclass(frozen=True)
class Paths:
    """Every file and folder of a run, seen from the present folder.

    name: of a run, or of the network of a fold, "nerve.fold1", which has weights and pictures of
    its own; all else belongs to the run.
    """

    name: str

    @property
    def run(self):
        return self.name.partition(".")[0]

    @property
    def fold(self):
        """ "fold1" of the network of a fold, "" else."""
        return self.name.partition(".")[2]

    # weights/: what train.py keeps

    @property
    def record(self):
        return Path("weights", f"{self.name}.json")

    @property
    def weights(self):
        """Of the best epoch, or of the last where the recipe keeps that."""
        return Path("weights", f"{self.name}.weights.h5")

    @property
    def last_weights(self):
        return Path("weights", f"{self.name}.last.weights.h5")

    @property
    def table(self):
        """Loss and scores of each epoch."""
        return Path("weights", f"{self.name}.csv")

    @property
    def checkpoint(self):
        return Path("weights", f"{self.run}.checkpoint.h5")

    @property
    def old_checkpoint(self):
        """An interrupted training's, that another one's has taken the place of."""
        return Path("weights", f"{self.run}.checkpoint.old.h5")

    @property
    def finished_checkpoint(self):
        """Of a training that ended and can go on, until the next one of that name."""
        return Path("weights", f"{self.run}.finished.h5")

    @property
    def weights_lock(self):
        return Path("weights", f".{self.run}.lock")

    # output/: what data.py writes, and what is predicted of it

    @property
    def arrays(self):
        return Path("output", self.run)

    @property
    def arrays_lock(self):
        return Path("output", f".{self.run}.lock")

    @property
    def probabilities(self):
        """Of the test images."""
        return self.arrays / "imgs_mask_test.npy"

    @property
    def masks(self):
        return self.arrays / "masks"

    @property
    def submission(self):
        return self.arrays / "submission.csv"

    # vis/: what is to be looked at

    @property
    def vis(self):
        return Path("vis", self.run)

    @property
    def vis_lock(self):
        return Path("vis", f".{self.run}.lock")

    @property
    def tensorboard(self):
        return self.vis / "tensorboard"

    def picture(self, what):
        """vis/nerve/WHAT.png, of a fold vis/nerve/WHAT.fold1.png."""
        return self.vis / (f"{what}.{self.fold}.png" if self.fold else f"{what}.png")

    def versus(self, other):
        """Where test.py --compare puts what two runs make of the same images."""
        return Path("vis", f"{self.run}+{other.run}")


@dataclass(frozen=True)
class Decision:
    """What makes a mask of probabilities."""

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
        """What is foreground, for a reader."""
        digits = 2 if round(self.threshold, 2) == self.threshold else 4
        rule = f"foreground above {self.threshold:.{digits}f}"
        return f"{rule}, from {self.min_area:.2%} of the image on" if self.min_area else rule


@dataclass
class Record:
    """What weights/NAME.json says of a trained network, or of the networks of a cross-validation,
    of which each has one of its own: how to rebuild, feed and repeat it.
    """

    name: str
    job: str
    arrays: str  # folder in output/ that it was trained on
    recipe: dict
    options: dict  # of train.py
    command: str
    data: str | None = None  # digest of images and masks, and of the list of their files
    pixels: str | None = None  # Arrays.pixels_digest; None: noted by an earlier version
    classes: list = dataclasses.field(default_factory=list)  # dicts of name and color
    is_colored: bool = False  # masks in the files were in these colours
    reading: dict | None = None  # of data.reading.Reading; None: noted by an earlier version
    decision: Decision = Decision()
    precision: str = "float32"  # of the predictions that the decision is for, a Keras dtype policy
    constant_dice: float | None = None  # of one mask for all held-out images; None: not scored
    # of a network
    network: UNetConfig | None = None
    mean: float | None = None  # of what images are standardized with; None: each has its own
    std: float | None = None
    array_size: tuple[int, int] | None = None  # (H, W) in pixels
    is_resized: bool = False  # whether files had another size than that
    validation: list = dataclasses.field(default_factory=list)  # ids of the images held out
    best: dict | None = None  # losses and scores of the epoch whose weights are kept
    seed: int | None = None
    commit: str | None = None
    versions: dict | None = None
    # of a cross-validation
    folds: list | None = None  # dicts of name and, once they are scored, dice and num_images
    dice: float | None = None  # mean of the folds, and its spread
    spread: float | None = None

    @property
    def symmetry(self):
        """Key of SYMMETRIES: the turns and flips that were in the training."""
        return self.recipe["augmentation"]["symmetry"]

    @property
    def train_command(self):
        """What trains the run again, on the same arrays; other options are the reader's."""
        given = self.options.get("arrays")
        of_arrays = f" --arrays {given}" if given else ""
        return command("train.py", Paths(self.name).run, self.job) + of_arrays

    @property
    def network_names(self):
        """The names of the trained networks: its own, or those of its folds."""
        return [fold["name"] for fold in self.folds] if self.folds else [self.name]

    def decide(self, threshold=None):
        """The Decision, with another threshold where one is given, 0 to 1; raises InputError for
        that of a run of several classes.
        """
        if threshold is None:
            return self.decision
        if self.classes:
            raise InputError(
                f"--decision {threshold:g}: {Paths(self.name).record} is of {len(self.classes)} "
                "classes, of which the most probable counts; leave it out"
            )
        return dataclasses.replace(self.decision, threshold=threshold)

    def network_of_any_size(self):
        """The UNetConfig, for images of any size."""
        return dataclasses.replace(self.network, image_size=(None, None))

    def of_folds(self, name, networks):
        """The Record of the cross-validation that a network's Record is part of."""
        own = {key: getattr(self, key) for key in vars(self) if key not in OF_NETWORK}
        return Record(**{**own, "name": name, "folds": [{"name": name} for name in networks]})

    @property
    def is_undecided(self):
        """Whether threshold and smallest area are still to be chosen, on what was held out, as the
        end of the training would have.
        """
        is_chosen = self.constant_dice is not None or self.decision != Decision()
        has_held_out = bool(self.folds or self.validation)
        return bool((self.recipe or {}).get("decide")) and has_held_out and not is_chosen

    def fields(self):
        """What the file holds, as JSON has it."""
        left_out = OF_NETWORK if self.folds else OF_FOLDS
        fields = dataclasses.asdict(self)
        fields = {key: value for key, value in fields.items() if key not in left_out}
        if not self.folds and self.best is None:
            del fields["best"]  # before the first epoch's end
        return {"format": FORMAT, **fields}

    def text(self):
        return json.dumps(self.fields(), indent=1)

    def write(self):
        write_text(Paths(self.name).record, self.text())


def parse_record(fields, name):
    """The Record of a run or a fold from the fields of its file, whose name it takes; raises
    ValueError, TypeError, KeyError, AttributeError for what it should not hold.
    """
    if fields["format"] != FORMAT:
        raise ValueError(f"format {fields['format']}, expected {FORMAT}")
    run = Paths(name).run
    known = {field.name for field in dataclasses.fields(Record)}
    fields = {key: value for key, value in fields.items() if key in known}
    if "folds" in fields:
        _check(len(fields["folds"]) > 0, "folds")
    else:
        for key in ("name", "network", "mean", "std", "array_size", "is_resized", "validation"):
            _check(key in fields, key)
        network = {key: _as_tuple(value) for key, value in fields["network"].items()}
        fields["network"] = UNetConfig(**network)
        fields["array_size"] = tuple(fields["array_size"])
    fields["decision"] = Decision(**fields["decision"])
    own = {"name": None, "arrays": fields["job"], "options": {}, "recipe": None}
    record = Record(**{**own, **fields})
    _rename(record, name)
    _check(record.job in JOBS and (run == record.job or run not in JOBS), "job")
    _check(record.arrays is not None, "arrays")
    check_name(record.arrays)
    _check(isinstance(record.options, dict), "options")
    _check(0 <= record.decision.threshold <= 1 and record.decision.min_area >= 0, "decision")
    _check(record.precision in POLICIES, "precision")
    constant = record.constant_dice
    _check(isinstance(constant, float | None), "constant_dice")
    _check(constant is None or 0 <= constant <= 1, "constant_dice")
    _check(all(set(label) == {"name", "color"} for label in record.classes), "classes")
    colors = [label["color"] for label in record.classes]
    _check(all(len(c) == 3 and all(0 <= int(n) < 256 for n in c) for c in colors), "colors")
    if record.folds:
        names = record.network_names
        _check(name == run, "folds")
        _check(all(re.fullmatch(rf"{run}\.fold[0-9]+", n) for n in names), "folds")
    else:
        _check_network(record)
    return record


def _rename(record, name):
    """Give a Record the name of its file, which may be a copy, and its folds, which then are
    copies, too; it stays one of the arrays that it was trained on.
    """
    noted = record.name or record.folds[0]["name"]  # an earlier version left out that of folds
    old, run = Paths(noted).run, Paths(name).run
    check_name(old)
    if old != run:
        for fold in record.folds or ():
            fold["name"] = run + fold["name"].removeprefix(old)
        if record.options:
            record.options = {**record.options, "name": run, "arrays": record.arrays}
    record.name = name


def _check_network(record):
    """Raise what parse_record raises for what only a network's own record has."""
    _check(all(isinstance(n, float | None) for n in (record.mean, record.std)), "scale")
    _check(record.std is None or 0 < record.std < math.inf, "std")
    _check(record.mean is None or math.isfinite(record.mean), "mean")
    height, width = record.array_size
    _check(all(type(n) is int and n > 0 for n in record.array_size), "array_size")
    _check(height * width <= LARGEST_IMAGE, "array_size")
    _check(all(isinstance(id, str) for id in record.validation), "validation")
    _check(record.symmetry in SYMMETRIES, "symmetry")
    network = record.network
    numbers = (network.channels, network.bottleneck, *network.filters, *network.decoder_filters)
    _check(all(type(n) is int for n in numbers) and isinstance(network.encoder, str), "network")
    _check(len(record.classes) == (network.classes if network.classes > 2 else 0), "classes")


def read_record(name):
    """The Record that train.py wrote to weights/NAME.json; raises InputError where it is missing
    or not of this version.
    """
    paths = Paths(name)
    path, train = paths.record, command("train.py", paths.run)
    if not path.exists() and paths.checkpoint.exists():
        raise InputError(f"{path}: missing, its training was interrupted; run {train} --resume")
    if not path.exists() and paths.fold:
        raise InputError(f"{path}: missing; run {train} --folds again, as before")
    if not path.exists():
        raise InputError(
            f"{path.absolute()}: no trained network there yet{_trained()}; first run: {train}"
        )
    try:
        _check(path.stat().st_size < LARGEST_RECORD, "size")
        return parse_record(json.loads(path.read_text(encoding="utf-8")), name)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a run of this version ({error!r}); run {train} again, with the options "
            "of before"
        ) from error


def weights_of_run(given):
    """What an InputError says more where --weights names a run in place of a file; "" else."""
    own = Paths(given).weights
    return f"; {own} is that of the run {given}" if own.is_file() else ""


def _trained():
    """The names of the runs that there are, for an error message."""
    names = sorted(p.stem for p in Path("weights").glob("*.json") if "." not in p.stem)
    return f"; trained are {', '.join(names)}" if names else ""


def _check(is_right, name):
    if not is_right:
        raise ValueError(f"{name} is damaged")


def _as_tuple(value):
    """JSON's list as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value
