"""Files of weights, HDF5: read as data only, and written whole."""

import contextlib
import math
import warnings
from pathlib import Path

import h5py
import numpy as np

from unet.errors import InputError
from unet.machine.disk import replace_file, reserve

WEIGHTS_FORMAT = 1  # of weights/*.weights.h5, an attribute beside what Keras writes
ROOM = 4096  # bytes that HDF5 takes for name and place of a data set, at the most
LARGEST_REST = 2**24  # bytes in a file of weights beside these and the optimizer's


def load_weights(model, path):
    """Load weights from an HDF5 file into a model; raises ValueError naming the file where that
    fails.
    """
    if not Path(path).is_file():
        what = "is a folder, expected" if Path(path).is_dir() else "no such"
        raise InputError(f"{path}: {what} HDF5 file of weights")
    sizes = [4 * math.prod(weight.shape) for weight in model.weights]
    try:
        check_weights(path, most_bytes=4 * sum(sizes) + LARGEST_REST)
        with warnings.catch_warnings():  # Keras only warns of layers that the file does not have
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
        if not all(np.isfinite(weight).all() for weight in model.get_weights()):
            raise ValueError("numbers that are not finite")
    except UserWarning as error:
        raise InputError(f"{path}: not weights of this network, it lacks layers") from error
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: not weights of this network ({error})") from error


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
