"""What the user waits for, against what one would run instead (benchmarks/plain.py): alternating
runs, medians, ratios, as lines of Markdown tables.

pip install -r requirements-bench.txt && python -m benchmarks.speed

benchmarks/SPEED.md keeps what it measured. Linux only: it reads /proc.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import keras
import numpy as np
from keras import ops

from benchmarks import plain
from benchmarks.measure import (
    alternate,
    compiled_unet,
    count_operations,
    describe_machine,
    head,
    matrix_rate,
    random_arrays,
    row,
    scale_record,
)
from model import get_unet
from unet.data.arrays import FILES, FILES_HEADER
from unet.data.batches import Batches, BorderWeights, prepare_feeding
from unet.data.on_device import DrawnBatches
from unet.data.survey import REPORT
from unet.errors import one_line_errors
from unet.jobs import JOBS, RECIPES
from unet.jobs.settings import PLAIN
from unet.losses import dice_per_image
from unet.machine.disk import create_array, csv_text
from unet.machine.precision import find_precision, in_precision
from unet.options import option, parse_options
from unet.prediction.predict import TILE, predict_arrays, predict_image
from unet.prediction.run import Network, Run
from unet.reading.values import READING, reading_text
from unet.runs import Decision

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent

PARTS = ("step", "feed", "predict", "data", "submission", "tiles", "start", "memory")


@dataclass(frozen=True)
class Options:
    part: str = option("all", "what is measured", choices=("all", *PARTS))
    repeats: int = option(
        5,
        "timed runs of each way, after one untimed (data, memory: 1; submission: 2; tiles: at "
        "most 3)",
        least=1,
    )
    precision: str = option(
        "auto", "of training and predicting, ours", choices=("auto", "float32", "mixed_bfloat16")
    )
    tiny: bool = option(False, "small sizes, to see that this script works")


FASTER = (1, 10, 100)
FED = {False: ("noise", "nerve", "car", "cadastre", "membrane"), True: ("noise",)}
BATCHES = {"nerve": 32, "car": 16, "cadastre": 16, "noise": 1}
TORCH = {False: ("PyTorch", "compiled"), True: ("PyTorch",)}  # compiling takes a minute


# A process of its own, for the kernel counts the memory of the one that starts another to it.
WAIT = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000)
sys.exit(status)
"""


def run_script(script, *arguments, folder):
    """Run a script to its end; returns the most memory that it held, in MB."""
    command = [sys.executable, "-c", WAIT, sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def peak_memory(way):
    """The most memory that this process holds during a call, in MB, beyond what it held before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = _memory("VmRSS")
    way()
    return _memory("VmHWM") - before


def _memory(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"no {field} in /proc/self/status")


def choose_precision(options):
    """The Keras dtype policy of --precision, and for auto the reason for it."""
    return find_precision() if options.precision == "auto" else (options.precision, "")


def measure_step(options):
    """Seconds of a training step of the document networks: ours with the making of its batch,
    plain Keras in float32 and PyTorch from arrays in memory; share of the matrix rate.
    """
    precision, reason = choose_precision(options)
    print(f"\nTraining step, ours and PyTorch's in {precision} {reason}\n")
    print(head("network", "ours, s", "plain Keras, float32", *TORCH[options.tiny], "ours, share"))
    for name, batch_size in [("nerve", 2)] if options.tiny else BATCHES.items():
        steps = {"noise": 10, "nerve": 4}.get(name, 1)
        side = 256 if options.tiny else 3072
        before = matrix_rate(precision, side)
        ways, operations = training_ways(name, batch_size, steps, precision, options.tiny)
        seconds = alternate(ways, options.repeats)
        rate = max(before, matrix_rate(precision, side))
        own = statistics.median(seconds["ours"]) / steps
        line = row(f"{name}, batch {batch_size}", seconds, unit=steps)
        print(f"{line} {operations / own / rate:.0%} of {rate / 1e9:.0f} GFLOP/s |", flush=True)


def training_ways(name, batch_size, steps, precision, tiny):
    """The ways to train so many steps, and how many operations a step has."""
    count, job = batch_size * 2, JOBS[name]
    arrays, sizes = random_arrays(job.network, count), (job.network.image_size,) * 2
    recipe = replace(job.recipe, batch_size=batch_size)
    ours = compiled_unet(job.network, recipe, precision, steps)
    batches = Batches(arrays, np.arange(count), count, recipe, (0.0, 255.0), sizes, 1)

    other = plain.unet(name)
    assert other.count_params() == ours.count_params(), name
    optimizer = keras.optimizers.get({"class_name": recipe.optimizer, "config": {}})
    other.compile(optimizer, plain.LOSSES[name])
    x, y = (part[:batch_size].astype(np.float32) / 255 for part in (arrays.images, arrays.masks))

    # Not fit: at an epoch's end TensorFlow makes the plain way wait (RESULTS.md, Feeding).
    def train_ours():
        for step in range(steps):
            ours.train_on_batch(*batches[step % 2])

    def train_plain():
        for _ in range(steps):
            other.train_on_batch(x, y)

    return {
        "ours": train_ours,
        "plain": train_plain,
        **torch_ways(name, x, y, steps, precision, ours, tiny),
    }, count_operations(ours, batch_size)


def torch_ways(name, images, masks, steps, precision, ours, tiny):
    """PyTorch's ways to train so many steps, eager and compiled, on one batch in memory."""
    import torch

    torch.set_num_threads(os.cpu_count())
    x, y = (torch.from_numpy(part).permute(0, 3, 1, 2) for part in (images, masks))
    ways = {}
    for way in TORCH[tiny]:
        model = plain.torch_unet(name)
        trained = sum(p.numel() for p in model.parameters())
        assert trained == sum(int(np.prod(w.shape)) for w in ours.trainable_weights), name
        kind = torch.optim.SGD if name == "noise" else torch.optim.Adam
        optimizer = kind(model.parameters(), lr=1e-5)
        forward = torch.compile(model) if way == "compiled" else model

        def train(forward=forward, optimizer=optimizer):
            for _ in range(steps):
                plain.torch_step(name, forward, optimizer, x, y, precision)

        ways[way] = train
    return ways


def measure_feed(options):
    """Images a second of each job and recipe: cut by OpenCV on one and on two threads, and by the
    device; milliseconds of a step; and the share of its time that a device so many times as fast
    would wait for the better of one and two threads.
    """
    precision, _ = choose_precision(options)
    print(f"\nFeeding, images a second, and a step in {precision}\n")
    waits = [f"{times}× as fast waits" for times in FASTER]
    print(head("job", "recipe", "1 thread", "2 threads", "device", "step, ms", *waits))
    jobs = [(job, recipe) for recipe in RECIPES for job in FED[options.tiny]]
    for name, recipe in jobs:
        rates, step, batch_size = feed_rates(RECIPES[recipe][name], precision, options)
        best = batch_size / max(rates[:2])
        cells = [f"{rate:.0f}" for rate in rates] + [f"{1000 * step:.0f}"]
        cells += [f"{max(0, 1 - step / times / best):.0%}" for times in FASTER]
        print(f"| {name} | {recipe} | {' | '.join(cells)} |", flush=True)
        keras.backend.clear_session()


def feed_rates(job, precision, options):
    """Images a second on one thread, on two and of the device, medians; seconds of a training
    step; images in a batch.
    """
    recipe, shape, batch_size = job.recipe, job.image_size or (512, 512), job.recipe.batch_size
    count, window = 4 * batch_size, recipe.window or shape
    arrays = random_arrays(replace(job.network, image_size=shape), max(count, 16))
    rows, sizes = (
        np.arange(len(arrays.images)),
        (window, tuple(map(job.network.output_length, window))),
    )
    given = arrays, rows, count, recipe, (100.0, 50.0), sizes, 1
    weights = BorderWeights(arrays, rows) if recipe.is_weighted else None
    batches, drawn = (kind(*given, weights=weights) for kind in (Batches, DrawnBatches))
    prepare_feeding()
    model = compiled_unet(replace(job.network, image_size=window), recipe, precision, 100)
    drawn.attach(keras.Sequential(), None)
    cut, rates = on_backend(drawn.cut), ([], [], [])
    on_processor, on_device = batches.__getitem__, lambda step: cut(drawn[step])
    ways = (on_processor, 1), (on_processor, 2), (on_device, 1)
    for _ in range(options.repeats):
        for rate, (make, threads) in zip(rates, ways):
            rate.append(batch_size * batches_a_second(make, threads, 0.05 if options.tiny else 1))
    step = alternate(
        {"step": lambda batch=batches[0]: model.train_on_batch(*batch)}, options.repeats
    )
    return [statistics.median(rate) for rate in rates], statistics.median(step["step"]), batch_size


def batches_a_second(make, threads, seconds):
    """How many of four batches so many threads make in a second, tried for about so many."""
    make(0)  # untimed
    start, made = time.perf_counter(), [0] * threads

    def work(number):
        while time.perf_counter() < start + seconds:
            make((number + made[number]) % 4)
            made[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(made) / (time.perf_counter() - start)


def on_backend(cut):
    """A function of tensors as the backend compiles it inside a step, waited for."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(cut)
        return lambda batch: compiled(batch)[0][0, 0, 0, 0].numpy()
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(cut)
        return lambda batch: compiled(batch)[0].block_until_ready()
    return lambda batch: float(
        cut({k: ops.convert_to_tensor(v) for k, v in batch.items()})[0][0, 0, 0, 0]
    )


def measure_predict(options):
    """Seconds to predict and score 100 images: as test.py does it, and image after image."""
    precision, reason = choose_precision(options)
    print(f"\nPredicting and scoring 100 images, ours in {precision} {reason}\n")
    print(head("network", "ours, s", "plain: `predict` of one image at a time"))
    for name in ("nerve",) if options.tiny else ("nerve", "noise", "car"):
        network = JOBS[name].network
        count = 3 if options.tiny else 100
        rng = np.random.default_rng(1)
        images = rng.integers(0, 256, (count, *network.image_size, network.channels), np.uint8)
        truths = rng.random((count, *network.image_size, 1)) > 0.5
        with in_precision(precision):
            trained = Network(get_unet(name), scale_record(network, 0.0, 255.0))
        run = Run((trained,), Decision())
        model = plain.unet(name)

        def ours(run=run, images=images, truths=truths):
            for probability, truth in zip(predict_arrays(run, images), truths):
                float(dice_per_image(truth[None], probability[None])[0])

        def one_by_one(model=model, images=images, truths=truths):
            for image, truth in zip(images, truths):
                mask = model.predict(image[None].astype(np.float32) / 255, verbose=0)[0] > 0.5
                (2 * (mask & truth).sum() + 1) / (mask.sum() + truth.sum() + 1)

        print(row(name, alternate({"ours": ours, "plain": one_by_one}, options.repeats)))


def measure_tiles(options):
    """Seconds and memory to predict one large image in tiles and as a whole."""
    side = 512 if options.tiny else 4096
    tile = 256 if options.tiny else TILE
    print(f"\nOne image of {side}x{side}, the cadastre document's network\n")
    print(head("", "in tiles, s", "as a whole"))
    model, config = get_unet("cadastre", image_size=(None, None)), JOBS["cadastre"].network
    image = np.random.default_rng(1).normal(size=(side, side, 3)).astype(np.float32)
    ways = {
        "ours": lambda: predict_image(model, config, image, tile),
        "whole": lambda: predict_image(model, config, image, side),
    }
    predict_image(model, config, image[:tile, :tile])
    memory = [peak_memory(way) for way in ways.values()]
    print(row("seconds", alternate(ways, min(options.repeats, 3)), digits=1))
    print(f"| memory, MB | {memory[0]:.0f} | {memory[1]:.0f} |", flush=True)


def link_images(folder, num_train, num_test):
    """Kaggle's nerve tree of 420x580 frames: 50 different ones, the others links to them."""
    rng = np.random.default_rng(1)
    for split in ("train", "test"):
        Path(folder, split).mkdir(parents=True)
    for number in range(1, max(num_train, num_test) + 1):
        first = (number - 1) % 50 + 1
        mask = np.zeros((420, 580), np.uint8)
        if number == first:
            if number % 2:
                cv2.ellipse(mask, (200 + 3 * number, 200), (60, 40), number, 0, 360, 255, -1)
            frame = cv2.GaussianBlur(rng.integers(0, 256, mask.shape, np.uint8), (0, 0), 2)
            cv2.imwrite(str(folder / f"frame{first}.tif"), frame, TIF)
            cv2.imwrite(str(folder / f"mask{first}.tif"), mask, TIF)
        subject, position = divmod(number - 1, 120)
        if number <= num_train:
            name = f"{subject + 1}_{position + 1}"
            os.link(folder / f"frame{first}.tif", folder / f"train/{name}.tif")
            os.link(folder / f"mask{first}.tif", folder / f"train/{name}_mask.tif")
        if number <= num_test:
            os.link(folder / f"frame{first}.tif", folder / f"test/{number}.tif")


TIF = [cv2.IMWRITE_TIFF_COMPRESSION, 1]  # none, as Kaggle's


def measure_data(options):
    """Seconds and memory of data.py nerve against plain.py data."""
    counts = (20, 40) if options.tiny else (1000, 5635, 10000)
    print("\ndata.py nerve, images and masks of 420x580\n")
    print(head("images", "ours, s", "plain, s", "ours, MB at the most"))
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder, "raw")
            raw.mkdir()
            link_images(raw, count, 1)
            memory = []
            ways = {
                "ours": lambda raw=raw, folder=folder, memory=memory: memory.append(
                    run_script(ROOT / "data.py", "nerve", "--raw", raw, folder=folder)
                ),
                "plain": lambda raw=raw, folder=folder: run_script(
                    FOLDER / "plain.py", "data", raw, folder, folder=folder
                ),
            }
            seconds = alternate(ways, 1, warm_up=False)
            print(f"{row(str(count), seconds, digits=1)} {max(memory):.0f} |", flush=True)


def measure_submission(options):
    """Seconds of submission.py nerve against plain.py submission, from the same probabilities."""
    count = 20 if options.tiny else 5508
    print(f"\nsubmission.py nerve, {count} masks\n")
    print(head("", "ours, s", "plain"))
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        raw.mkdir()
        link_images(raw, 240, count)
        run_script(ROOT / "data.py", "nerve", "--raw", raw, folder=folder)
        small = ["--epochs", 1, "--steps-per-epoch", 1, "--set", "network.filters=2,2,2,2"]
        run_script(ROOT / "train.py", "nerve", *small, "network.bottleneck=2", folder=folder)
        path = Path(folder, "output/nerve/imgs_mask_test.npy")
        probabilities = np.zeros((count, 64, 80, 1), np.float32)
        for number in range(0, count, 2):
            centre = (20 + number % 40, 20 + number % 25)
            picture = np.zeros((64, 80), np.float32)
            cv2.ellipse(picture, centre, (12, 7), number, 0, 360, 1.0, cv2.FILLED)
            probabilities[number, ..., 0] = cv2.GaussianBlur(picture, (0, 0), 2)
        np.save(path, probabilities)
        ways = {
            "ours": lambda: run_script(ROOT / "submission.py", "nerve", folder=folder),
            "plain": lambda: run_script(
                FOLDER / "plain.py", "submission", path, "plain.csv", folder=folder
            ),
        }
        print(row("seconds", alternate(ways, 2, warm_up=False), digits=1), flush=True)


def measure_start(options):
    """Seconds of each script's --help, and to the first training step of noise."""
    print("\nSeconds until it answers\n")
    print(head("", "ours, s", "plain"))
    with tempfile.TemporaryDirectory() as folder:
        scripts = ("data", "model", "train", "test", "submission")
        for script in scripts[:1] if options.tiny else scripts:
            ways = {"ours": lambda s=script: run_script(ROOT / f"{s}.py", "-h", folder=folder)}
            print(row(f"{script}.py --help", alternate(ways, options.repeats)) + " |", flush=True)
        ways = {
            "ours": lambda: first_step([str(ROOT / "train.py"), "noise"], folder),
            "plain": lambda: first_step([str(FOLDER / "plain.py"), "noise"], folder),
        }
        seconds = alternate(ways, options.repeats, warm_up=not options.tiny)
        print(row("first step of noise", seconds, digits=1), flush=True)


def first_step(command, folder):
    """Run a training until Keras's progress bar has its first step, and stop it."""
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    seen = b""
    while b"step" not in seen:
        part = os.read(process.stdout.fileno(), 65536)
        if not part:
            raise RuntimeError(f"{command}: ended without a step")
        seen += part
    process.kill()
    process.wait()


def measure_memory(options):
    """The most memory of a training on sparse arrays of 256x256x3, and its seconds."""
    counts = (32, 64) if options.tiny else (2048, 20480, 204800)
    print("\ntrain.py car on arrays of 256x256x3, small network, 100 steps of 16\n")
    print(head("images", "array, GB", "most memory, MB", "s"))
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "output/car")
            output.mkdir(parents=True)
            for name, rows, channels in (
                ("imgs_train.npy", count, 3),
                ("imgs_mask_train.npy", count, 1),
                ("imgs_test.npy", 0, 3),
            ):
                write = create_array(output / name, (rows, 256, 256, channels), np.uint8)
                if name == "imgs_mask_train.npy":
                    for row in range(0, rows, 16):  # without any foreground there is no training
                        write(row, 255)
            np.save(output / "imgs_id_test.npy", np.array([], str))
            report = {"warnings": [], "lines": [], "facts": {"marked": []}}
            (output / REPORT).write_text(json.dumps(report), encoding="utf-8")
            (output / READING).write_text(reading_text(PLAIN), encoding="utf-8")
            files = [
                ("train", f"{n}", f"{n // 16}", f"{n}.jpg", f"{n}.gif", 256, 256)
                for n in range(count)
            ]
            (output / FILES).write_text(csv_text(FILES_HEADER, files), encoding="utf-8")
            arguments = ["--epochs", 1, "--steps-per-epoch", 2 if options.tiny else 100]
            arguments += ["--set", "network.filters=4,4,4,4", "recipe.validation_steps=2"]
            start = time.perf_counter()
            memory = run_script(ROOT / "train.py", "car", *arguments, folder=folder)
            seconds = time.perf_counter() - start
            size = os.stat(output / "imgs_train.npy").st_size / 1e9
            print(f"| {count} | {size:.1f} | {memory:.0f} | {seconds:.0f} |", flush=True)


def main(options):
    print(describe_machine(), flush=True)
    for part in PARTS:
        if options.part in ("all", part):
            globals()[f"measure_{part}"](options)


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.speed", __doc__))
