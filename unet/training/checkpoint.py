"""weights/JOB.checkpoint.h5: all that a training needs to go on after its death, in one file; no
Keras.
"""

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass, field

import h5py
import numpy as np

from unet.errors import InputError, is_of_system
from unet.runs import Paths, Record, check_record, from_json
from unet.weights import DAMAGES, open_hdf5, replace_hdf5

FORMAT = 2  # of weights/*.checkpoint.h5
LARGEST_STATE = 2**28  # bytes of what Progress is kept in


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    record: Record  # of the network in training; with --folds those before it are trained
    epoch: int = 0  # whole epochs behind it
    step: int = 0  # and steps of the next one
    seconds: float = 0.0  # that those steps took
    history: list[dict] = field(default_factory=list)  # one for each whole epoch

    @property
    def name(self):
        """The name of the network in training."""
        return self.record.name

    @property
    def has_steps(self):
        """Whether there is anything to go on from but options."""
        return self.epoch + self.step > 0

    def describe(self):
        """Epochs and steps, for a reader."""
        inside = f" and {self.step} steps" if self.step else ""
        return f"{self.name}, {self.epoch} epochs{inside}"


def find_checkpoint(name):
    """The checkpoint that --resume goes on from: of a run's interrupted training, else of the one
    that ended.
    """
    paths = Paths(name)
    return paths.checkpoint if paths.checkpoint.exists() else paths.finished_checkpoint


def has_steps(path):
    """Whether a training could go on from a checkpoint, or it cannot be read."""
    try:
        progress = read_progress(path)
    except InputError:
        return True
    return bool(progress and progress.has_steps)


def put_aside(paths):
    """Rename a run's checkpoint that has steps, before another training's takes its place."""
    if has_steps(paths.checkpoint):
        os.replace(paths.checkpoint, paths.old_checkpoint)
        print(f"\n{paths.checkpoint} of an interrupted training is now {paths.old_checkpoint}")


def write_checkpoint(path, progress, arrays=()):
    """Write a Progress and the values of variables, NumPy arrays in the model's order, whole or
    not at all. Raises InputError, OSError for a full disk.
    """
    state = json.dumps({"format": FORMAT, **dataclasses.asdict(progress)}).encode()
    sizes = [len(state), *(array.nbytes for array in arrays)]
    with replace_hdf5(path, sizes) as temporary, h5py.File(temporary, "w") as file:
        file["state"] = np.frombuffer(state, np.uint8)
        for number, array in enumerate(arrays):
            file[f"variables/{number}"] = array


def read_progress(path):
    """The Progress of a checkpoint, None where there is no such file; raises InputError for one
    that is damaged or of another run, OSError for one that may not be read.
    """
    if not path.exists():
        return None
    with told(path), open_hdf5(path) as file:
        state = file["state"]
        if state.dtype != np.uint8 or not 0 < state.size < LARGEST_STATE:
            raise ValueError("state is damaged")
        fields = json.loads(state[()].tobytes())
        if (found := fields.pop("format")) != FORMAT:
            raise ValueError(f"format {found}, expected {FORMAT}")
        progress = from_json(Progress, fields)
        check_record(progress.record)
        if min(progress.epoch, progress.step) < 0:
            raise ValueError("epoch or step is damaged")
    own, run = Paths(path.name), Paths(progress.name).run
    if run == own.run:
        return progress
    if path == own.finished_checkpoint:
        return None  # a copied run is finished, too
    raise InputError(
        f"{path}: of the run {run}; rename it back to {Paths(run).checkpoint} or, if it is a "
        "copy, delete it"
    )


def read_variables(path, shapes):
    """The values that write_checkpoint kept, arrays; raises InputError where they are not of these
    shapes, OSError where the file may not be read.
    """
    with told(path), open_hdf5(path) as file:
        group = file["variables"]
        if len(group) != len(shapes):
            raise ValueError(f"{len(group)} variables, expected {len(shapes)}")
        arrays = []
        for number, shape in enumerate(shapes):
            if group[f"{number}"].shape != tuple(shape):  # before any memory is taken
                raise ValueError(f"variable {number} is not of shape {tuple(shape)}")
            arrays.append(group[f"{number}"][()])
    return arrays


@contextlib.contextmanager
def told(path):
    """Context in which what a damaged checkpoint raises becomes an InputError."""
    try:
        yield
    except DAMAGES as error:
        if is_of_system(error):
            raise
        # HDF5's own texts are long.
        text = "not a whole HDF5 file" if isinstance(error, OSError) else error
        raise InputError(
            f"{path}: not a training to go on with, by this version ({text}); start anew without "
            "--resume"
        ) from error
