"""Files of weights: read as data only, whichever Keras wrote them, and written whole."""

import contextlib
import io
import os
import re
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np

from unet.errors import InputError, is_of_system
from unet.machine.disk import replace_file
from unet.matching import (
    Layer,
    adapt,
    describe_taken,
    difference,
    find_mismatch,
    leaf_layers,
    natural,
    place_layers,
)

WEIGHTS_FORMAT = 1  # of weights/*.weights.h5, an attribute beside what Keras writes
ROOM = 4096  # bytes that HDF5 takes for name and place of a data set, at the most
ENTRY = "model.weights.h5"  # in a .keras file
LARGEST_ENTRY = 2**31  # bytes of it, which are read into memory
ROOTS = ("layers", "_layer_checkpoint_dependencies")  # of Keras 3, and of the last Keras 2
# What a damaged file raises when it is read.
DAMAGES = (KeyError, TypeError, AttributeError, ValueError, OSError, RuntimeError)
DAMAGES += (EOFError, zipfile.BadZipFile, zlib.error)


def load_weights(model, path):
    """Load weights from a file into a model, which has to be of the same layers; raises InputError
    naming the file where that fails.
    """
    with open_layers(path) as stored:
        pairs = place_layers(layers_of(model), stored)
        if found := find_mismatch(pairs, stored):
            raise InputError(f"{path}: not weights of this network: {found}")
        for own, other in pairs:
            assign(own, other, path)


def start_from(model, path):
    """Give a model's layers the weights of those in a file that have their shape, its first one
    those for images of other channels, too, and print what starts anew. Raises InputError where no
    layer fits, where the file lacks a layer of the model's encoder, and so is of another network,
    whose layers may fit by chance, or is damaged.
    """
    parts = [layer for layer in model.layers if hasattr(layer, "layers")]
    in_encoder = {layer.name for part in parts for layer in leaf_layers(part)}
    with open_layers(path) as stored:
        pairs = place_layers(layers_of(model), stored)
        first, there = pairs[0]
        taken = [pair for pair in pairs if pair[0].fits(pair[1])]
        if first.is_adapted(there) and not first.fits(there):
            taken.append(pairs[0])
        if not taken:
            raise InputError(
                f"{path}: no layer of it fits this network: {difference(first, there)}; pass "
                "--set with the filters of its training, or leave --weights out"
            )
        for pair in pairs:
            if pair[0].name in in_encoder and pair not in taken:
                raise InputError(
                    f"{path}: not of a network with the encoder {parts[0].name} "
                    f"({difference(*pair)}); leave --weights out"
                )
        for own, other in taken:
            assign(own, other, path)
    print(f"{path}: {describe_taken(pairs, stored)}", flush=True)


def layers_of(model):
    """The Layers of a network, in Keras's order."""
    layers = []
    for layer in leaf_layers(model):
        # "conv2d_transpose" of Conv2DTranspose, as Keras has it.
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", type(layer).__name__)
        if layer.weights:
            layers.append(Layer(layer.name, kind.lower(), layer.weights))
    return layers


def assign(layer, stored, path):
    """Give a network's Layer the weights of a file's; a kernel for images of other channels is
    adapted. Raises InputError.
    """
    kernel, *rest = read_values(stored, path)
    if kernel.shape != layer.shapes[0]:
        kernel = adapt(kernel, layer.shapes[0][2])
    for variable, value in zip(layer.weights, [kernel, *rest]):
        variable.assign(value)


@contextlib.contextmanager
def open_layers(path):
    """Context with the Layers of a file, known by its content: Keras's HDF5, old or new, or a
    .keras, of which nothing but the weights is read. Raises InputError, OSError.
    """
    if not Path(path).is_file():
        what = "is a folder, expected" if Path(path).is_dir() else "no such"
        raise InputError(f"{path}: {what} HDF5 file of weights")
    with contextlib.ExitStack() as held:
        with refuse_damaged(path):
            layers = find_layers(held.enter_context(open_weights(path)))
        yield layers


@contextlib.contextmanager
def refuse_damaged(path):
    """Context in which the errors of a damaged file become an InputError."""
    try:
        yield
    except DAMAGES as error:
        if is_of_system(error):
            raise
        # HDF5's own text is long.
        text = "no whole HDF5 file, no .keras" if isinstance(error, OSError) else error
        raise InputError(f"{path}: damaged, or not Keras's weights ({text})") from error


def open_weights(path):
    """open_hdf5 of the file at a path, or of the one inside a .keras."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return open_hdf5(path)
        with zipfile.ZipFile(file) as archive:
            if ENTRY not in archive.namelist():
                raise ValueError(f"a zip without {ENTRY}")
            entry = archive.getinfo(ENTRY)
            if entry.file_size > LARGEST_ENTRY:
                raise ValueError(f"{ENTRY} of {entry.file_size:,} bytes")
            with archive.open(entry) as content:
                return open_hdf5(io.BytesIO(content.read(entry.file_size)))


def find_layers(file):
    """The Layers in an open HDF5 file, in the network's order within each kind; raises ValueError
    for one of a later version, and where there are none.
    """
    number = file.attrs.get("format", WEIGHTS_FORMAT)  # not there: Keras alone wrote it
    if number != WEIGHTS_FORMAT:
        raise ValueError(f"format {number}, expected {WEIGHTS_FORMAT}")
    if {"state", "variables"} <= set(file):
        raise ValueError("a checkpoint; take NAME.weights.h5, beside it")
    root = next((file[name] for name in ROOTS if name in file), None)
    layers = old_layers(file.get("model_weights", file)) if root is None else new_layers(root)
    if not layers:
        raise ValueError("there are no layers in it")
    for layer in layers:
        for data in layer.weights:
            if not isinstance(data, h5py.Dataset) or data.shape is None:
                raise ValueError(f"{layer.name} has no numbers")
    return layers


def new_layers(root):
    """The Layers that Keras 3 wrote to a group: NAME/vars/0, 1, ... of each; those of a network
    inside the network, an encoder, first.
    """
    groups, layers = {}, []

    def note(name, item):
        folder, _, last = name.rpartition("/")
        if last == "vars" and isinstance(item, h5py.Group):
            groups[folder] = item

    root.visititems(note)
    for name in sorted(groups, key=lambda name: (-name.count("/"), natural(name))):
        kind = re.sub(r"_[0-9]+$", "", name.rpartition("/")[2])
        weights = [groups[name][number] for number in sorted(groups[name], key=int)]
        if weights and kind != "seed_generator":  # of dropout
            layers.append(Layer(name, kind, weights))
    return layers


def old_layers(group):
    """The Layers that older Keras wrote to a group, of which attributes give the names."""
    layers = []
    for name in read_names(group, "layer_names"):
        weights = [group[name][weight] for weight in read_names(group[name], "weight_names")]
        layers += [Layer(name, "", weights)] if weights else []
    return layers


def read_names(group, attribute):
    """The names in an attribute or, where there are many, in several with a number behind."""
    keys = [key for key in group.attrs if re.fullmatch(f"{attribute}[0-9]*", key)]
    names = [name for key in sorted(keys, key=natural) for name in group.attrs[key]]
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def read_values(layer, path):
    """The values of a file's Layer, float32 arrays; raises InputError."""
    values = []
    with refuse_damaged(path):
        for data in layer.weights:
            if data.dtype.kind != "f":
                raise ValueError(f"{layer.name} is {data.dtype}, expected floating-point numbers")
            with np.errstate(over="ignore"):
                values.append(np.asarray(data[()], np.float32))
            if not np.isfinite(values[-1]).all():
                raise ValueError(f"{layer.name} has numbers that are not finite")
    return values


@contextlib.contextmanager
def open_hdf5(source):
    """Context with an open HDF5 file, at a path or in memory, whose data are its own; raises
    ValueError for one that links to other files, and OSError, with the file's name where it cannot
    be opened at all.
    """
    if not isinstance(source, io.BytesIO):
        open(source, "rb").close()  # HDF5 does not say that it may not be read
    with h5py.File(source, "r") as file:

        def problem(name, link):  # anything but None ends the visit
            if not isinstance(link, h5py.HardLink):
                return f"{name} is a link to somewhere else"
            item = file[name]
            if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                return f"the data of {name} lie in another file"
            return None

        if found := file.visititems_links(problem):
            raise ValueError(found)
        yield file


@contextlib.contextmanager
def replace_hdf5(path, sizes):
    """replace_file for an HDF5 file of data sets of these sizes, in bytes. Their room on the disk
    is taken before, for HDF5 leaves the process damaged when a write fails.
    """
    need = sum(sizes) + ROOM * (len(sizes) + 8)
    with replace_file(path, need) as temporary:
        with open(temporary, "wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, need)
            else:
                file.write(bytes(need))
            file.truncate(0)
        try:
            yield temporary
        except RuntimeError as error:  # as HDF5 has it for a disk that another process filled
            raise OSError(None, f"cannot be written ({error})") from error
