"""weights/JOB.checkpoint.h5: all that a training needs to go on after its death, in one file; no
Keras.
"""

import contextlib
import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from disk import replace_file, reserve
from jobs import JOBS, InputError

FORMAT = 1  # of weights/*.checkpoint.h5
WEIGHTS_FORMAT = 1  # of weights/*.weights.h5, an attribute beside what Keras writes
ROOM = 4096  # bytes that HDF5 takes for name and place of a data set, at the most
LARGEST_STATE = 2**28  # bytes of what Progress is kept in
# Options that may change when a training goes on: they say where it runs, not what it does.
FREE = ("resume", "devices", "hosts", "process_id", "tensorboard")
# What a damaged file raises when it is read.
DAMAGES = (KeyError, TypeError, AttributeError, ValueError, OSError, RuntimeError)


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
    record: dict | None = None  # weights/NAME.json; None before the first step

    def describe(self):
        """Where it is, for a reader."""
        inside = f" and {self.step} steps" if self.step else ""
        return f"{self.name}, {self.epoch} epochs{inside}"


def checkpoint_path(run):
    return Path("weights", f"{run}.checkpoint.h5")


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
    old = path.with_name(path.name.replace(".checkpoint", ".checkpoint.old"))
    if not has_steps(path):
        return
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


@contextlib.contextmanager
def replace_hdf5(path, sizes):
    """replace_file for an HDF5 file of data sets of these sizes, in bytes."""
    need = sum(sizes) + ROOM * (len(sizes) + 8)
    with replace_file(path, need) as temporary:
        reserve(temporary, need)
        try:
            yield temporary
        except RuntimeError as error:  # as HDF5 has it for a disk that another process filled
            raise OSError(None, f"cannot be written ({error})") from error


def read_progress(path):
    """The Progress of a checkpoint, None where there is no such file; raises InputError for one
    that is damaged or of another version.
    """
    if not path.exists():
        return None
    try:
        with open_hdf5(path) as file:
            state = file["state"]
            if state.dtype != np.uint8 or not 0 < state.size < LARGEST_STATE:
                raise ValueError("state is damaged")
            fields = json.loads(state[()].tobytes())
        if fields.pop("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}")
        progress = Progress(**fields)
        if not all(type(n) is int and n >= 0 for n in (progress.epoch, progress.step)):
            raise ValueError("epoch or step is damaged")
        run, job = path.name.partition(".")[0], progress.options["job"]
        names = {progress.name.partition(".")[0], progress.options.get("name") or job}
        if names != {run} or job not in JOBS:
            raise ValueError(f"of {progress.name}, job {job}")
    except DAMAGES as error:
        raise _damaged(path, error) from error
    return progress


def read_variables(path, shapes):
    """The values that write_checkpoint kept, arrays; raises InputError where they are not of these
    shapes.
    """
    try:
        with open_hdf5(path) as file:
            group = file["variables"]
            if len(group) != len(shapes):
                raise ValueError(f"{len(group)} variables, expected {len(shapes)}")
            arrays = []
            for number, shape in enumerate(shapes):
                if group[f"{number}"].shape != tuple(shape):  # before any memory is taken
                    raise ValueError(f"variable {number} is not of shape {tuple(shape)}")
                arrays.append(group[f"{number}"][()])
    except DAMAGES as error:
        raise _damaged(path, error) from error
    return arrays


def check_weights(path, most_bytes):
    """Raise ValueError for a file of weights that open_hdf5 refuses, or of a later version."""
    with open_hdf5(path, most_bytes) as file:
        number = file.attrs.get("format", WEIGHTS_FORMAT)  # not there: Keras alone wrote it
        if number != WEIGHTS_FORMAT:
            raise ValueError(f"format {number}, expected {WEIGHTS_FORMAT}")


def open_hdf5(path, most_bytes=math.inf):
    """An open HDF5 file whose data are its own; raises ValueError for one that links to other
    files, or whose data would take more memory than `most_bytes`, and OSError.
    """
    file, total = h5py.File(path, "r"), 0

    def problem(name, link):  # anything but None ends the visit
        nonlocal total
        if not isinstance(link, h5py.HardLink):
            return f"{name} is a link to somewhere else"
        item = file[name]
        if isinstance(item, h5py.Dataset):
            total += item.nbytes
            if item.external or item.is_virtual:
                return f"the data of {name} lie in another file"
        return None

    try:
        found = file.visititems_links(problem)
        if found is None and total > most_bytes:
            found = f"{total:,} bytes of data, expected {most_bytes:,} at the most"
        if found:
            raise ValueError(found)
    except BaseException:
        file.close()
        raise
    return file


def _damaged(path, error):
    if isinstance(error, OSError):  # HDF5's are long
        error = "not a whole HDF5 file"
    return InputError(
        f"{path}: not a training to go on with, by this version ({error}); start anew without "
        "--resume"
    )


def _flag(name):
    return name if name == "job" else f"--{name.replace('_', '-')}"


def _words(value):
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def interrupted_options(given, stored, path):
    """The options, a dict, of the training that `path` keeps, with those of FREE that are given
    now; raises InputError naming the others that are given and differ.
    """
    differ = [
        f"{_flag(name)} {_words(value)} (it has {_words(stored.get(name))})"
        for name, value in given.items()
        if name not in FREE
        and json.loads(json.dumps(value)) != stored.get(name)
        and (name, value) != ("precision", "auto")  # it was chosen when the training began
    ]
    if differ:
        raise InputError(
            f"{path}: a training with other options: {', '.join(differ)}; leave these out, or "
            "start anew without --resume"
        )
    stored = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
    return {**stored, **{name: value for name, value in given.items() if name in FREE}}
