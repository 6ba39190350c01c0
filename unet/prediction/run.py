"""A trained run, loaded from its files."""

from dataclasses import dataclass, replace
from pathlib import Path

import keras

from unet.data.scale import mean_and_std, standardize
from unet.errors import InputError, refuse
from unet.machine.precision import in_precision, usable_precision
from unet.reading.classes import SegmentClass
from unet.runs import Decision, Paths, Record, command, read_record, weights_of_run
from unet.weights import load_weights

LARGE = 2**28  # bytes of weights; a network of fewer is built before they are looked at


@dataclass(frozen=True)
class Network:
    """A trained network and what train.py noted of it in weights/NAME.json."""

    model: keras.Model
    record: Record

    def standardize(self, images):
        """uint8 images as the network was fed with: float32, (x - mean) / std."""
        return standardize(images, self.record.mean, self.record.std)


@dataclass(frozen=True)
class Run:
    """The network of a job, or one for each fold of its cross-validation, and the decision."""

    networks: tuple[Network, ...]
    decision: Decision
    symmetry: str = "none"  # key of SYMMETRIES: predictions are averaged over these

    @property
    def record(self):
        """The Record of the first network; job, network, array_size, is_resized and arrays are the
        same for all.
        """
        return self.networks[0].record

    @property
    def num_maps(self):
        return self.record.network.num_maps

    @property
    def classes(self):
        """SegmentClass of each class, () for foreground and background."""
        return tuple(SegmentClass(c["name"], tuple(c["color"])) for c in self.record.classes)

    @property
    def first_class(self):
        """The class that means and objects begin with: 1, where 0 is no background 0."""
        return int(self.record.reading.has_background)

    @property
    def holds_out(self):
        """Whether the training held any image out."""
        return any(network.record.validation for network in self.networks)

    @property
    def held_nothing_out(self):
        """The text of an InputError where it has to have held images out."""
        return (
            f"{Paths(self.name).record}: training held no image out; {self.remedy} with "
            "--validation-split 0.2 or --folds 5"
        )

    @property
    def name(self):
        return Paths(self.record.name).run

    def of_set(self, images, rows=None):
        """This run for a set of uint8 images (N, H, W, C), some rows or all, which has a mean and
        std of its own where the recipe says so.
        """
        if self.record.recipe.standardize != "set":
            return self
        mean, std = mean_and_std(images, range(len(images)) if rows is None else rows)
        records = [replace(n.record, mean=mean, std=std) for n in self.networks]
        networks = (replace(n, record=r) for n, r in zip(self.networks, records))
        return replace(self, networks=tuple(networks))

    @property
    def remedy(self):
        """The end of an InputError about the run."""
        return f"run {self.record.train_command} again"


def load_run(name, build, weights=None, average=True, threshold=None, precision=None):
    """The Run of some name, for images of any size; raises InputError where it was not trained
    yet.

    build: makes the Keras model of a Record, as train.get_unet has it. weights: an HDF5 file in
    place of the run's own; average: over the turns and flips that were among the training's
    augmentations; threshold: in place of the one that the training chose; precision: a Keras dtype
    policy of the layers, None for the one that the threshold was chosen in, where this hardware
    has instructions for it, else float32.
    """
    record = read_record(name)
    decision = record.decision_at(threshold)
    if weights:
        hint = weights_of_run(weights) or "; pass an HDF5 file of weights"
        refuse(
            (not Path(weights).exists(), f"--weights {weights}: no such file{hint}"),
            (
                record.folds,
                f"--weights {weights}: {Paths(name).record} is of {len(record.folds or ())} folds "
                f"with weights of their own; run {record.train_command} without --folds first",
            ),
        )
    with in_precision(precision or usable_precision(record.precision)):
        networks = tuple(
            load_network(network, build, weights or Paths(network).weights)
            for network in record.network_names
        )
    symmetry = networks[0].record.recipe.augmentation.symmetry if average else "none"
    return Run(networks, decision, symmetry)


def load_network(name, build, weights):
    """The Network of weights/NAME.json with weights from an HDF5 file."""
    record, paths = read_record(name), Paths(name)
    remedy = f"run {command('train.py', paths.run, record.job)} again, with the options of before"
    is_own = Path(weights) == paths.weights
    mend = remedy if is_own else f"pass a file of the network that {paths.record} names"
    smallest = record.network.least_bytes
    there = Path(weights).stat().st_size if Path(weights).is_file() else smallest
    if smallest > max(there, LARGE):
        raise InputError(
            f"{weights}: smaller than the {smallest:,} bytes of the network that {paths.record} "
            f"names; {mend}"
        )
    model = build(record)
    model.compiled = False  # a copy for an export needs no loss, which Keras would look for
    try:
        load_weights(model, weights)
    except InputError as error:
        raise InputError(f"{error}; {mend}") from error
    return Network(model, record)


def check_arrays(run, arrays):
    """Raise InputError for arrays of another size than the run's."""
    size = [*arrays.images.shape[1:3], arrays.images.shape[3]]
    trained = [*run.record.array_size, run.record.network.channels]
    if size != trained:
        raise InputError(
            f"the arrays are of {size}, the network was trained on {trained} (height, width, "
            f"channels); {run.remedy}"
        )


def validation_rows(run, arrays):
    """Numbers of the rows that the training held out, a list for each network; raises InputError
    where the arrays are not those of the run, and where it held none out.
    """
    check_arrays(run, arrays)
    check_images(run, arrays)
    row_of = {file["id"]: row for row, file in enumerate(arrays.files)}
    held_out = [network.record.validation for network in run.networks]
    have_shared = len({id for ids in held_out for id in ids}) < sum(map(len, held_out))
    refuse(
        (have_shared, f"weights/{run.name}.*: folds of two trainings; {run.remedy}"),
        (
            not any(held_out),
            f"{run.held_nothing_out}, or give images: test.py --images, data.py --test-images",
        ),
    )
    return [sorted(row_of[id] for id in ids) for ids in held_out]


def check_images(run, arrays):
    """Raise InputError for arrays of other images than those that the run was trained on."""
    ids = {file["id"] for file in arrays.files}
    held_out = {id for network in run.networks for id in network.record.validation}
    refuse(
        (
            not held_out <= ids,
            f"the arrays are of other images than those of the training; {run.remedy}",
        ),
        (
            run.record.pixels != arrays.pixels_digest,
            f"{Paths(arrays.name).arrays}: holds other images than those of the training, under "
            f"the same names; run data.py as before, or {run.remedy}",
        ),
    )
