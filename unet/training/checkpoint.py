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

from unet.errors import InputError, check_name, is_of_system
from unet.jobs import JOBS
from unet.runs import Paths
from unet.weights import DAMAGES, open_hdf5, replace_hdf5

FORMAT = 1  # of weights/*.checkpoint.h5
LARGEST_STATE = 2**28  # bytes of what Progress is kept in


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    options: dict  # of train.py, as they were given to the training that was interrupted
    data: str  # digest of its images and masks
    name: str  # of the network in training; with --folds those before it are trained
    backend: str = "tensorflow"  # of Keras
    arrays: str | None = None  # folder in output/ that they are in
    epoch: int = 0  # whole epochs behind it
    step: int = 0  # and steps of the next one
    seconds: float = 0.0  # that those steps took
    history: list = field(default_factory=list)  # a dict for each whole epoch
    best: float | None = None  # lowest validation loss
    record: dict | None = None  # fields of weights/NAME.json; None before the first step

    def describe(self):
        """Where it is, for a reader."""
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
    return bool(progress and progress.record)


def put_aside(path, progress):
    """Rename a checkpoint that has steps, before that of another training's Progress takes its
    place; one of an earlier fold of the same training stays.
    """
    if not has_steps(path):
        return
    old = Paths(progress.name).old_checkpoint
    with contextlib.suppress(InputError):
        kept = read_progress(path)
        is_same = (kept.options, kept.data) == (progress.options, progress.data)
        if is_same and kept.name != progress.name:
            return
    os.replace(path, old)
    print(f"\n{path} of an interrupted training is now {old}")


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
    that is damaged, of another version or of another run, OSError for one that may not be read.
    """
    if not path.exists():
        return None
    with told(path), open_hdf5(path) as file:
        state = file["state"]
        if state.dtype != np.uint8 or not 0 < state.size < LARGEST_STATE:
            raise ValueError("state is damaged")
        fields = json.loads(state[()].tobytes())
        if fields.pop("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}")
        progress = Progress(**fields)
        if not all(type(n) is int and n >= 0 for n in (progress.epoch, progress.step)):
            raise ValueError("epoch or step is damaged")
        job, run = progress.options["job"], Paths(progress.name).run
        check_name(run)
        if run != (progress.options.get("name") or job) or job not in JOBS:
            raise ValueError(f"of {progress.name}, job {job}")
    own = Paths(path.name)
    if run != own.run and path == own.finished_checkpoint:
        return None  # a copied run is finished, too
    if run != own.run:
        raise InputError(
            f"{path}: of the run {run}; rename it back to {Paths(run).checkpoint} or, if it is a "
            "copy, delete it"
        )
    return progress


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
        raise damaged(path, error) from error


def damaged(path, error):
    if isinstance(error, OSError):  # HDF5's are long
        error = "not a whole HDF5 file"
    return InputError(
        f"{path}: not a training to go on with, by this version ({error}); start anew without "
        "--resume"
    )
