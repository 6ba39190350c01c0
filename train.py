"""Train a job's network by its document's recipe and predict its test images.

python train.py nerve
"""

import dataclasses
from dataclasses import dataclass, replace

from arrays import load_arrays
from jobs import JOBS, InputError, job_option, one_line_errors, option, parse_options


@dataclass(frozen=True)
class Options:
    job: str = job_option()
    epochs: int | None = option(
        None, "passes of --steps-per-epoch steps (default: the document's)", least=1
    )
    steps_per_epoch: int | None = option(
        None,
        "steps in an epoch (default: the document's, or as many as show each image once)",
        least=1,
    )
    batch_size: int | None = option(None, "images in a step (default: the document's)", least=1)
    learning_rate: float | None = option(
        None, "of the optimizer, above 0 (default: the document's)", least=1e-12
    )
    loss: str | None = option(
        None,
        "what training lowers; the weighted one is for two classes (default: the document's)",
        choices=(
            "dice",
            "negative_dice",
            "binary_cross_entropy",
            "bce_dice",
            "iou",
            "weighted_cross_entropy",
        ),
    )
    seed: int = option(
        1,
        "of weights, split and order, and of the noise images where there are none yet",
        least=0,
        most=2**32 - 1,
    )
    precision: str = option(
        "float32",
        "of the layers; the last layer and the loss stay float32",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    validation_split: float | None = option(
        None, "share of the images held out, 0..0.9 (default: the document's)", least=0, most=0.9
    )
    split_by_subject: bool = option(
        True, "hold out whole subjects; without it the last images, as Keras does"
    )
    weights: str | None = option(None, "HDF5 file to start from")


if __name__ == "__main__":
    with one_line_errors():  # before Keras, which takes seconds to load
        OPTIONS = parse_options(Options, "train.py", __doc__)
        if OPTIONS.job != "noise":
            load_arrays(OPTIONS.job)

import json
import math
import platform
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import data
from augment import border_weights, sample_window
from files import csv_text, replace_file, write_text
from losses import LOSSES, METRICS
from model import build_unet, load_weights
from predict import FORMAT, load_run, predict_test, standardize


# ---- what to train on


def split_rows(files, share, by_subject, seed):
    """Numbers of the training and of the validation rows of files.csv, two int arrays.

    A split that the files state (noise, tables) stands. Else subjects are drawn and held out whole
    as long as that brings their images nearer to the share; or, not by subject, the last rows are,
    as Keras's validation_split does. Raises ValueError where a side would stay empty.
    """
    rows = np.arange(len(files))
    held_out = np.array([row["split"] == "validation" for row in files])
    if held_out.any() or share == 0:
        return rows[~held_out], rows[held_out]
    count = math.ceil(share * len(rows))
    if by_subject:
        subjects = np.array([row["subject"] for row in files])
        held_out = np.isin(subjects, draw_subjects(subjects, count, seed))
    else:
        held_out = rows >= len(rows) - count
    if held_out.all():
        what = "image; pass"
        if by_subject and len(rows) > 1:
            what = "subject; pass --no-split-by-subject or"
        raise InputError(f"a validation split needs more than one {what} --validation-split 0")
    return rows[~held_out], rows[held_out]


def draw_subjects(subjects, count, seed):
    """Some of the subjects of `subjects` (N,), drawn so that they have about `count` rows; at
    least one, and not all if there are several.
    """
    names, sizes = np.unique(subjects, return_counts=True)
    drawn, total = [], 0
    for number in np.random.default_rng(seed).permutation(len(names)):
        nearer = abs(total + sizes[number] - count) < abs(total - count)
        if nearer and len(drawn) < len(names) - 1:
            drawn, total = [*drawn, names[number]], total + sizes[number]
    return drawn or [names[np.argmin(sizes)]]


def mean_and_std(images, rows):
    """Mean and standard deviation of all pixels of some rows, in grey values 0..255."""
    count = total = squares = 0
    for start in range(0, len(rows), 64):
        part = images[rows[start : start + 64]].astype(np.float64)
        count, total, squares = count + part.size, total + part.sum(), squares + (part**2).sum()
    mean = total / count
    return float(mean), float(math.sqrt(max(squares / count - mean**2, 0))) or 1.0


class Batches(keras.utils.PyDataset):
    """Batches (images, masks) out of the arrays: float32 (B, H, W, C) standardized, float32
    (B, H, W, 1) 0 or 1; `count` images an epoch, the last batch short if they do not divide.

    With a seed the rows come in a new order each epoch, all of them before one comes again. With a
    window, as the recipe that deforms has it, a third part is the border weights float32
    (B, H', W').
    """

    def __init__(self, arrays, rows, count, batch_size, scale, seed=None, window=None):
        super().__init__()
        self.arrays, self.rows, self.count, self.batch_size = arrays, rows, count, batch_size
        self.scale, self.seed, self.window = scale, seed, window
        self.epoch = -1
        self.on_epoch_end()

    def __len__(self):
        return math.ceil(self.count / self.batch_size)

    def on_epoch_end(self):
        self.epoch += 1
        order = [self.rows] * math.ceil(self.count / len(self.rows))
        if self.seed is not None:
            rng = np.random.default_rng((self.seed, self.epoch))
            order = [rng.permutation(rows) for rows in order]
        self.order = np.concatenate(order)[: self.count]

    def __getitem__(self, step):
        places = range(self.count)[step * self.batch_size : (step + 1) * self.batch_size]
        if self.window:
            return tuple(np.stack(part) for part in zip(*map(self.sample, places)))
        rows = self.order[places.start : places.stop]
        masks = self.arrays.masks[rows].astype(np.float32) / 255
        return standardize(self.arrays.images[rows], *self.scale), masks

    def sample(self, place):
        """Image, mask and weights of one window, as the paper trains on them."""
        rng = None if self.seed is None else np.random.default_rng((self.seed, self.epoch, place))
        (height, width), (out_height, out_width) = self.window
        row = self.order[place]
        image, mask = sample_window(
            self.arrays.images[row], self.arrays.masks[row], (height, width), rng
        )
        top, left = (height - out_height) // 2, (width - out_width) // 2
        mask = mask[top : top + out_height, left : left + out_width]
        return standardize(image, *self.scale), mask.astype(np.float32) / 255, border_weights(mask)


# ---- what a run leaves behind


class RunFiles(keras.callbacks.Callback):
    """After each epoch: last weights, best weights by validation loss, weights/JOB.json and
    JOB.csv, each whole.
    """

    def __init__(self, job, record):
        super().__init__()
        self.folder, self.job, self.record = Path("weights"), job, record
        self.history, self.best = [], math.inf

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        loss = logs.get("val_loss", logs["loss"])
        if not math.isfinite(logs["loss"] + loss):
            rate = self.record["recipe"]["learning_rate"]
            raise InputError(
                f"loss is {logs['loss']}, of validation {loss}, in epoch {epoch + 1}; the weights "
                f"of before are kept; pass a lower --learning-rate than {rate}"
            )
        row = {"epoch": epoch + 1, "seconds": round(time.monotonic() - self.start, 2), **logs}
        history = [*self.history, row]
        best, last = (self.folder / f"{self.job}{kind}.weights.h5" for kind in ("", ".last"))
        with replace_file(last) as temporary:
            self.model.save_weights(temporary)
        if loss < self.best:
            self.best, self.record["best"] = loss, row
            with replace_file(best) as temporary:
                shutil.copyfile(last, temporary)
            write_text(self.folder / f"{self.job}.json", json.dumps(self.record, indent=1))
        text = csv_text(row, [row.values() for row in history])
        write_text(self.folder / f"{self.job}.csv", text)
        self.history = history


def describe_run(options, recipe, config, arrays, files, scale):
    """What weights/JOB.json says: how to rebuild and feed the network, and to repeat the run."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None  # not a clone
    backend = keras.backend.backend()
    return {
        "format": FORMAT,
        "job": options.job,
        "network": dataclasses.asdict(config),
        "mean": scale[0],
        "std": scale[1],
        "array_size": arrays.images.shape[1:3],
        "is_resized": arrays.is_resized,
        "validation": [row["id"] for row in files],
        "recipe": dataclasses.asdict(recipe),
        "options": dataclasses.asdict(options),
        "command": shlex.join(["python", *sys.argv]),
        "seed": options.seed,
        "commit": commit,
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "numpy": np.__version__,
            "backend": backend,
            "backend_version": sys.modules[backend].__version__,
        },
    }


def draw_curves(history, path):
    """Loss and scores of each epoch, training and validation, as a picture."""
    names = [
        name
        for name in history[0]
        if name not in ("epoch", "seconds") and not name.startswith("val_")
    ]
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(5 * len(names), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        for key, label in ((name, "training"), ("val_" + name, "validation")):
            if key in history[0]:
                axes.plot(
                    epochs,
                    [row[key] for row in history],
                    marker="." if len(epochs) < 30 else "",
                    label=label,
                )
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.grid(alpha=0.3)
        axes.legend()
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


# ---- the run


def choose_recipe(options):
    """The document's recipe with what the options change; raises ValueError for a loss that does
    not fit.
    """
    given = {
        name: value for name, value in dataclasses.asdict(options).items() if value is not None
    }
    job = JOBS[options.job]
    fields = {field.name for field in dataclasses.fields(job.recipe)}
    recipe = replace(
        job.recipe, **{name: value for name, value in given.items() if name in fields}
    )
    if (recipe.loss == "weighted_cross_entropy") != (job.network.classes > 1):
        raise InputError(
            f"--loss {recipe.loss} does not fit the {job.network.classes} output channels of "
            f"{options.job}; weighted_cross_entropy is for more than one, the others are for one"
        )
    return recipe


def compile_model(model, recipe):
    """Give a model the optimizer, the loss and the metrics of its recipe."""
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(recipe.learning_rate, momentum=recipe.momentum)
    else:
        optimizer = keras.optimizers.Adam(recipe.learning_rate)
    model.compile(
        optimizer,
        LOSSES[recipe.loss],
        metrics=[METRICS.get(name, name) for name in recipe.metrics],
    )


def fit_network(job, arrays):
    """The job's UNetConfig for its arrays, and the (input, output) size of the windows that it
    trains on, None for whole images. Raises InputError for arrays of a size that does not fit.
    """
    config = replace(JOBS[job].network, channels=arrays.images.shape[3])
    if JOBS[job].recipe.deform:
        return config, (config.image_size, tuple(map(config.output_length, config.image_size)))
    config = replace(config, image_size=arrays.images.shape[1:3])
    try:
        config.check_size(*config.image_size)
    except InputError as error:
        remedy = f"run python data.py {job} with another --image-size"
        raise InputError(f"output/{job}: {error}; {remedy}") from error
    return config, None


def make_batches(arrays, split, recipe, scale, seed, window):
    """Batches for training and for validation (None where the split holds nothing out)."""
    rows, validation_rows = split
    size, count = recipe.batch_size, len(rows) * recipe.repeats
    if recipe.steps_per_epoch:
        count = recipe.steps_per_epoch * size
    training = Batches(arrays, rows, count, size, scale, seed, window)
    if not len(validation_rows):
        return training, None
    count = len(validation_rows)
    if recipe.validation_steps:
        count = min(count, recipe.validation_steps * size)
    return training, Batches(arrays, validation_rows, count, size, scale, None, window)


def train_predict(options):
    """Train a job's network and write the probabilities of its test images, imgs_mask_test.npy."""
    job, recipe = options.job, choose_recipe(options)
    if job == "noise" and not Path("output/noise/files.csv").exists():
        data.prepare(data.Options(seed=options.seed))
    arrays = load_arrays(job)
    share, seed = recipe.validation_split, options.seed
    split = split_rows(arrays.files, share, options.split_by_subject, seed)
    scale = mean_and_std(arrays.images, split[0]) if recipe.standardize else (0.0, 255.0)
    config, window = fit_network(job, arrays)
    for folder in (Path("weights"), Path("vis", job)):
        folder.mkdir(parents=True, exist_ok=True)  # that this fails shows now, not after an epoch

    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(options.precision)
    model = build_unet(config, name=job)
    if options.weights:
        load_weights(model, options.weights)
    compile_model(model, recipe)
    training, validation = make_batches(arrays, split, recipe, scale, seed, window)
    held_out = [arrays.files[row] for row in split[1]]
    files = RunFiles(job, describe_run(options, recipe, config, arrays, held_out, scale))
    print(
        f"{job}: {len(split[0])} training and {len(held_out)} validation images of "
        f"{arrays.images.shape[1]}x{arrays.images.shape[2]}, {model.count_params():,} parameters"
    )
    try:
        model.fit(training, validation_data=validation, epochs=recipe.epochs, callbacks=[files])
    except KeyboardInterrupt:
        kept = f"hold {len(files.history)} whole epochs" if files.history else "are as they were"
        print(f"\nweights/{job}.* {kept}")
        raise

    draw_curves(files.history, Path("vis", job, "curves.png"))
    if len(arrays.test_images):
        predict_test(load_run(job), arrays, Path("output", job, "imgs_mask_test.npy"))
    best = files.record["best"]
    scores = [f"{name} {best[name]:.4f}" for name in best if name not in ("epoch", "seconds")]
    print(f"best epoch {best['epoch']}: {', '.join(scores)}")
    print(f"weights/{job}.weights.h5, vis/{job}/curves.png; next: python test.py {job}")


def main(options):
    train_predict(options)


if __name__ == "__main__":
    with one_line_errors():
        main(OPTIONS)
