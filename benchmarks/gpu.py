"""Images a second of the networks on one graphics card, Keras against plain PyTorch (compiled,
channels last) on the same card in one run, with what limits them; and the nerve document's whole
training.

pip install -r requirements-bench.txt && KERAS_BACKEND=jax python -m benchmarks.gpu
"""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import keras
import numpy as np
import torch

from benchmarks import plain
from benchmarks.measure import (
    alternate,
    compiled_unet,
    count_bytes,
    count_operations,
    describe_machine,
    head,
    matrix_rate,
    memory_rate,
    random_arrays,
)
from unet.data.on_device import choose_batches
from unet.errors import one_line_errors
from unet.jobs import JOBS
from unet.machine.devices import ONE_DEVICE
from unet.machine.precision import card_name
from unet.options import option, parse_options

CASES = {
    f"{name}-{batch_size}": (name, batch_size)
    for name, batch_sizes in (
        ("nerve", (32, 256, 1024)),
        ("car", (16, 64)),
        ("cadastre", (16, 64)),
        ("membrane", (1, 8)),  # the paper's network, 572x572
    )
    for batch_size in batch_sizes
}

PRECISIONS = ("float32", "mixed_bfloat16")


@dataclass(frozen=True)
class Options:
    case: str = option(
        "all",
        "network and batch size, or document: nerve's training of 20 epochs of 5,635 images",
        choices=("all", *CASES, "document"),
    )
    precision: str = option(
        "all", "of the layers; float32 is TF32 on a card that has it", choices=("all", *PRECISIONS)
    )
    repeats: int = option(5, "timed runs of each way, after one untimed", least=1)
    tiny: bool = option(False, "small sizes and no compiling, to see that this script works")


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COLUMNS = ("network, batch", "", "ours, images/s", "PyTorch", "ratio", "share of the limit")
COLUMNS += ("which is", "ours, GB at the most", "PyTorch")


class Repeated(keras.utils.PyDataset):
    """The same batch, so many times: what feeding costs without reading or augmenting."""

    def __init__(self, batch, steps):
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        return self.batch


def measure_case(name, batch_size, options):
    """Rows of training and of inference; peak memory is that of training."""
    job, steps = JOBS[name], 2 if options.tiny else 50
    if options.tiny:
        small = (188, 188) if job.network.padding == "valid" else (32, 32)
        job = replace(job, network=replace(job.network, image_size=small))
        batch_size = 1
    rng = np.random.default_rng(1)
    size = job.network.image_size
    mask_size = tuple(map(job.network.output_length, size))
    x = rng.normal(size=(batch_size, *size, job.network.channels)).astype(np.float32)
    y = (rng.random((batch_size, *mask_size, 1)) > 0.5).astype(np.float32)
    model, ours = keras_ways(job, x, y, options.precision, steps)
    other = torch_ways(name, x, y, options.precision, steps, is_compiled=not options.tiny)
    memory = peak_memory(ours["training"], other["training"])
    seconds = {
        what: alternate({"ours": ours[what], "PyTorch": other[what]}, options.repeats)
        for what in ours
    }
    side, count = (256, 10**5) if options.tiny else (8192, 10**9)
    rates = matrix_rate(options.precision, side), memory_rate(count)
    item_size = 2 if "bfloat16" in options.precision else 4
    for what, of_each in seconds.items():
        own, others = (statistics.median(runs) / steps for runs in of_each.values())
        is_training = what == "training"
        limits = {
            f"{rates[0] / 1e12:.3g} TFLOP/s": count_operations(model, batch_size, is_training)
            / rates[0],
            f"{rates[1] / 1e9:.0f} GB/s": count_bytes(model, batch_size, item_size, is_training)
            / rates[1],
        }
        limit = max(limits, key=limits.get)
        cells = [f"{name}, {batch_size}", f"{what}, {options.precision}"]
        cells += [f"{batch_size / own:.1f}", f"{batch_size / others:.1f}"]
        cells += [f"{others / own:.2f}×", f"{limits[limit] / own:.0%}", limit]
        cells += [f"{size / 1e9:.2f}" if size and is_training else "" for size in memory]
        print(f"| {' | '.join(cells)} |", flush=True)


def keras_ways(job, x, y, precision, steps):
    """The model, and what runs so many steps of its training and of its inference: through fit and
    predict, as the scripts do, batches going to the card one by one.
    """
    model = compiled_unet(job.network, replace(job.recipe, metrics=()), precision, steps)
    weights = (np.ones_like(y[..., 0]),) if job.recipe.is_weighted else ()
    training, inference = Repeated((x, y, *weights), steps), Repeated((x,), steps)
    return model, {
        "training": lambda: model.fit(training, shuffle=False, verbose=0),
        "inference": lambda: model.predict(inference, verbose=0),
    }


def torch_ways(name, x, y, precision, steps, is_compiled):
    """What runs so many steps of PyTorch's training and inference, on one batch on the card."""
    model = plain.torch_unet(name).to(DEVICE)
    forward = torch.compile(model) if is_compiled else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    x, y = (torch.from_numpy(part).permute(0, 3, 1, 2).to(DEVICE) for part in (x, y))

    def training():
        model.train()
        for _ in range(steps):
            loss = plain.torch_step(name, forward, optimizer, x, y, precision)
        float(loss)  # waits for the card

    def inference():
        model.eval()
        half = torch.autocast(DEVICE, torch.bfloat16, enabled="bfloat16" in precision)
        with torch.inference_mode(), half:
            for _ in range(steps):
                logits = forward(x)
            float(logits.float().sum())

    return {"training": training, "inference": inference}


def peak_memory(ours, other):
    """Bytes on the card that each training's allocator held at the most; None where it is not
    counted.
    """
    other()
    of_torch = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ours()
    return own_peak_memory(), of_torch


def own_peak_memory():
    """Bytes on the card that Keras's backend held at the most; None where it is not counted."""
    if not card_name():
        return None
    if keras.backend.backend() == "torch":
        return torch.cuda.max_memory_allocated()
    if keras.backend.backend() == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def measure_document(options):
    """Seconds of the nerve document's training after its first epoch, fed as train.py does."""
    count, job = 4 if options.tiny else 5635, JOBS["nerve"]
    arrays, sizes = random_arrays(job.network, count), (job.network.image_size,) * 2
    kind = choose_batches(arrays, job.recipe, ONE_DEVICE)
    batches = kind(arrays, np.arange(count), count, job.recipe, (0.0, 255.0), sizes, 1)
    steps = len(batches) * job.recipe.epochs
    model = compiled_unet(job.network, job.recipe, options.precision, steps)
    batches.attach(model, None)
    model.fit(batches, shuffle=False, verbose=0)
    epochs = 1 if options.tiny else job.recipe.epochs
    with card_use() as use:
        start = time.perf_counter()
        model.fit(batches, epochs=epochs, shuffle=False, verbose=0)
        seconds = time.perf_counter() - start
    idle = f"{100 - statistics.mean(use):.0f}%" if use else ""
    memory = own_peak_memory()
    cells = options.precision, f"{epochs} epochs of {count} images", f"{seconds:.1f}", idle
    print(f"| {' | '.join(cells)} | {f'{memory / 1e6:.0f}' if memory else ''} |", flush=True)


@contextlib.contextmanager
def card_use():
    """Context whose list has, after it, how busy the card was five times a second, in percent, by
    its own counter; empty without an NVIDIA card.
    """
    use = []
    if not shutil.which("nvidia-smi"):
        yield use
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with subprocess.Popen([*query, "--id=0", "-lms", "200"], stdout=-1, text=True) as watch:
        yield use
        watch.terminate()
        use += [int(line) for line in watch.stdout.read().split() if line.isdecimal()]


def main(options):
    # Before JAX looks for devices: PyTorch needs memory, too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    precisions = PRECISIONS if options.precision == "all" else (options.precision,)
    if options.case != "all" and len(precisions) == 1:
        if options.case == "document":
            measure_document(options)
        else:
            measure_case(*CASES[options.case], options)
        return
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else "no graphics card"
    print(f"{card}; PyTorch {torch.__version__}; {describe_machine()}\n")
    print(head(*COLUMNS), flush=True)
    again = [sys.executable, "-m", "benchmarks.gpu", "--repeats", str(options.repeats)]
    again += ["--tiny"] if options.tiny else []
    for case in (*CASES, "document") if options.case == "all" else (options.case,):
        if case == "document":
            columns = "nerve document", "", "ours, s after the first epoch", "card idle", "MB"
            print(f"\n{head(*columns)}", flush=True)
        for precision in precisions:  # each in a process, whose memory counts from zero
            done = subprocess.run([*again, "--case", case, "--precision", precision])
            if done.returncode:
                print(f"| {case} | {precision}: ended with status {done.returncode} |", flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.gpu", __doc__))
