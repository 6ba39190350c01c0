"""What a training is made of: its job with what the options change, network, batches and fit, and
what is noted and said of it.
"""

import dataclasses
import platform
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from augment import SYMMETRIES
from batches import Batches
from devices import ONE_DEVICE, num_devices
from jobs import FITTING_LOSSES, RECIPES, InputError, command
from losses import LOSSES, METRICS
from runs import FORMAT, Decision


def choose_job(options, classes=()):
    """The job, its network and recipe as --recipe names them, with what the options change, for
    masks of these classes, () for foreground and background; raises ValueError for a name or value
    that there is not, and for a loss that does not fit.
    """
    given = {
        name: value for name, value in dataclasses.asdict(options).items() if value is not None
    }
    job = RECIPES[options.recipe][options.job]
    if classes:
        job = job.with_classes(len(classes))
    fields = {field.name for field in dataclasses.fields(job.recipe)}
    recipe = replace(
        job.recipe, **{name: value for name, value in given.items() if name in fields}
    )
    job = replace(job, recipe=recipe).change(options.set)
    recipe, channels = job.recipe, job.network.classes
    for name, value, allowed in (
        ("recipe.loss", recipe.loss, LOSSES),
        ("recipe.optimizer", recipe.optimizer, ("sgd", "adam")),
        ("recipe.standardize", recipe.standardize, ("training", "image", "none")),
        ("augmentation.symmetry", recipe.augmentation.symmetry, SYMMETRIES),
    ):
        if value not in allowed:
            raise InputError(f"{name} {value!r}: expected one of {', '.join(allowed)}")
    if channels > 2 and channels != len(classes):
        raise InputError(
            f"network.classes {channels}: the masks have {len(classes) or 2}, which data.py "
            "--classes says"
        )
    fitting = FITTING_LOSSES[min(channels, 3)]
    if recipe.loss not in fitting:
        raise InputError(
            f"--loss {recipe.loss} does not fit the {channels} output channels of {options.job}; "
            f"expected {' or '.join(fitting)}"
        )
    return job


def fit_network(name, job, arrays):
    """The UNetConfig of the job of some name for its arrays, and the window that it trains on,
    (H, W). Raises InputError for a size that does not fit.
    """
    window = job.recipe.window or arrays.images.shape[1:3]
    config = replace(job.network, channels=arrays.images.shape[3], image_size=window)
    try:
        config.check_size(*window)
    except InputError as error:
        if job.recipe.window:
            raise InputError(f"recipe.window {window[0]},{window[1]}: {error}") from error
        remedy = f"run {command('data.py', arrays.name, name)} with another --image-size"
        raise InputError(f"output/{arrays.name}: {error}; {remedy}") from error
    return config, window


def compile_model(model, recipe, num_steps):
    """Give a model the optimizer, the loss and the metrics of its recipe, for so many steps."""
    rate = recipe.learning_rate
    if recipe.cosine:
        warmup = max(1, num_steps // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, num_steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum)
    else:
        optimizer = keras.optimizers.Adam(rate)
    model.compile(
        optimizer,
        LOSSES[recipe.loss],
        metrics=[METRICS.get(name, name) for name in recipe.metrics],
    )
    if num_devices() == 1:  # what the first step would make, and be traced twice for
        optimizer.build(model.trainable_variables)
        model.compute_metrics(
            None, np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, model.output_shape[-1]))
        )
        model.reset_metrics()


def make_batches(arrays, split, recipe, scale, seed, sizes, devices=ONE_DEVICE):
    """Batches for training and for validation (None where the split holds nothing out); sizes: of
    their windows and of the masks in those.
    """
    rows, validation_rows = split
    size, count = recipe.batch_size, len(rows) * recipe.repeats
    if recipe.steps_per_epoch:
        count = recipe.steps_per_epoch * size
    training = Batches(arrays, rows, count, recipe, scale, sizes, seed, devices)
    if not len(validation_rows):
        return training, None
    count = len(validation_rows)
    if recipe.validation_steps:
        count = min(count, recipe.validation_steps * size)
    return training, Batches(arrays, validation_rows, count, recipe, scale, sizes, devices=devices)


def fit(model, training, validation, num_epochs, callbacks, progress):
    """Keras's fit, from a Progress on. It takes the number of steps from its first epoch, so what
    is left of one is a fit of its own.
    """
    epoch, step = progress.epoch, progress.step
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: setattr(model, "stop_training", True)
    )
    while epoch < num_epochs:
        training.go_to(epoch, step)
        try:
            model.fit(
                training,
                validation_data=validation,
                initial_epoch=epoch,
                epochs=num_epochs,
                callbacks=[*callbacks, stop] if step else callbacks,
                shuffle=False,  # of batches, which already have a new order of images
                verbose=0,
            )
        except BaseException:
            if sys.stderr.isatty():
                print(file=sys.stderr)  # the progress bar has not ended its line
            raise
        epoch, step = epoch + 1 if step else num_epochs, 0


def describe_run(name, options, recipe, config, arrays, files, scale, data):
    """What weights/NAME.json says: how to rebuild and feed the network, and to repeat the run.
    data: the Progress's digest of images and masks.
    """
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
        "name": name,
        "job": options.job,
        "arrays": arrays.name,
        "data": data,
        "network": dataclasses.asdict(config),
        "mean": scale[0],
        "std": scale[1],
        "classes": [dataclasses.asdict(one) for one in arrays.classes],
        "is_colored": arrays.is_colored,
        "array_size": arrays.images.shape[1:3],
        "is_resized": arrays.is_resized,
        "validation": [row["id"] for row in files],
        "decision": dataclasses.asdict(Decision()),
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


def describe_plan(name, split, arrays, model, recipe, training, devices, progress):
    """Say what a training is about to do."""
    since = f"; goes on after {progress.describe()}" if progress.record else ""
    classes = f" and {len(arrays.classes)} classes" if arrays.classes else ""
    print(
        f"{name}: {len(split[0])} training and {len(split[1])} validation images of "
        f"{arrays.images.shape[1]}x{arrays.images.shape[2]}{classes}, {model.count_params():,} "
        f"parameters\n"
        f"{recipe.epochs} epochs of {training.num_steps} steps of {recipe.batch_size} images, "
        f"{recipe.loss}, {recipe.optimizer} at {recipe.learning_rate:g}, "
        f"{keras.config.dtype_policy().name} on {devices.describe()}{since}",
        flush=True,
    )
