"""What the benchmarks of speed share: alternating timings as lines of Markdown tables, and how
many operations and bytes a network needs.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np

from train import get_unet
from unet.data.arrays import Arrays
from unet.errors import InputError
from unet.jobs import JOBS
from unet.machine.disk import read_csv
from unet.runs import Record
from unet.training.fit import build_variables

ROOT = Path(__file__).parent.parent


def alternate(ways, repeats, warm_up=True):
    """Seconds of each way, {name: its timed runs}: all of them once untimed, then in turns."""
    seconds = {name: [] for name in ways}
    for round_number in range(repeats + warm_up):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if round_number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def row(label, seconds, ours="ours", unit=1, digits=3):
    """A line of a Markdown table: the median of each way with its range, and how many times as
    long as ours each other way takes.
    """
    cells = [label]
    own = statistics.median(seconds[ours])
    for name, runs in seconds.items():
        runs = [run / unit for run in runs]
        cells.append(f"{statistics.median(runs):.{digits}f} ({min(runs):.{digits}f} to ")
        cells[-1] += f"{max(runs):.{digits}f})"
        if name != ours:
            cells[-1] += f", {statistics.median(runs) * unit / own:.2f}×"
    return f"| {' | '.join(cells)} |"


def head(*names):
    return f"| {' | '.join(names)} |\n{'|---' * len(names)}|"


def random_arrays(network, count):
    """Arrays of so many random images of a network's size, with random masks, in memory."""
    rng, size = np.random.default_rng(1), network.image_size
    images = rng.integers(0, 256, (count, *size, network.channels), np.uint8)
    masks = np.where(rng.random((count, *size, 1)) > 0.5, np.uint8(255), np.uint8(0))
    return Arrays(images, masks, images[:0], [], [])


def compiled_unet(network, recipe, precision, steps):
    """A network in a precision, compiled as train.py does it for so many steps."""
    keras.config.set_dtype_policy(precision)
    model = get_unet("noise", network, recipe, steps)
    keras.config.set_dtype_policy("float32")
    build_variables(model)
    return model


def count_operations(model, batch_size, training=True):
    """Multiplications and additions of a step's convolutions: forward, and backward twice as many,
    but for the first layer, whose input has no gradient.
    """
    forward = []
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv2DTranspose)):
            is_wider = isinstance(layer, keras.layers.Conv2DTranspose)
            places = (layer.input if is_wider else layer.output).shape[1:3]
            forward.append(2 * int(np.prod(layer.kernel.shape)) * int(np.prod(places)))
    return batch_size * (3 * sum(forward) - forward[0] if training else sum(forward))


def count_bytes(model, batch_size, item_size, training=True):
    """Bytes that a step moves if each layer reads its inputs from memory and writes its output
    there: forward, and twice as many backward. Weights are not counted.
    """
    total = 0
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            total += sum(int(np.prod(x.shape[1:])) for x in (*inputs, layer.output))
    return batch_size * total * item_size * (3 if training else 1)


def matrix_rate(precision, size):
    """Operations a second of the backend's own product of two square matrices, the best of six."""
    dtype = "bfloat16" if "bfloat16" in precision else "float32"
    a = keras.ops.cast(keras.random.normal((size, size)), dtype)
    return 2 * size**3 / _best_of_six(lambda: keras.ops.matmul(a, a))


def memory_rate(size):
    """Bytes a second of adding one to `size` float32 numbers in memory, the best of six."""
    a = keras.ops.zeros((size,))
    return 8 * size / _best_of_six(lambda: a + 1)


def _best_of_six(way):
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        float(keras.ops.ravel(way())[0])  # a card's answer: it has worked till here
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def processor():
    """The processor's name."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in info if line.startswith("model name")]
    return names[0] if names else platform.machine()


def describe_machine():
    """One line: processor, cores, versions, commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    backend = keras.backend.backend()
    return (
        f"{processor()}, {os.cpu_count()} cores; Python "
        f"{platform.python_version()}, Keras {keras.__version__}, {backend} "
        f"{sys.modules[backend].__version__}; commit {commit}"
    )


def read_numbers(path, columns, names, whole=()):
    """Rows of a CSV file, dicts of text, [] where there is none yet; raises InputError where one
    of `columns` is missing, or a number in those of `names`, a whole one in those of `whole`.
    """
    rows = read_csv(path, columns) if os.path.exists(path) else []
    for number, row in enumerate(rows, 2):
        for name in names:
            try:
                int(row[name]) if name in whole else float(row[name])
            except ValueError as error:
                expected = "a whole number" if name in whole else "a number"
                raise InputError(
                    f"{path}: line {number}: {name} is {row[name]!r}, expected {expected}; "
                    "delete the line, or the file"
                ) from error
    return rows


def scale_record(network, mean, std):
    """A Record of a UNetConfig that knows nothing more but what images are standardized with."""
    given = dict(
        recipe=JOBS["noise"].recipe, options={}, command="", network=network, mean=mean, std=std
    )
    return Record("", "noise", "", **given)
