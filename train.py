"""Train a job's network, by its document's recipe or the modern one, and predict its test images.

python train.py nerve
"""

import dataclasses
import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from hosts import check_devices, stop_with_hosts, watch_process
from jobs import FITTING_LOSSES, RECIPES, InputError, command
from options import (
    devices_option,
    hosts_option,
    Stopped,
    job_option,
    name_option,
    one_line_errors,
    option,
    parse_given,
    process_option,
    run_name,
    stop_in_one_line,
)


@dataclass(frozen=True)
class Options:
    job: str = job_option()
    name: str | None = name_option(
        "of this run in weights/, vis/ and output/, beside others of its job; trains on "
        "data.py's arrays of that name, or else the job's (default: the job)"
    )
    resume: bool = option(
        False, "go on with the training that was stopped or killed, with its options"
    )
    weights: str | None = option(
        None, "HDF5 file to start from; Keras 3 wants its name to end in .weights.h5"
    )
    seed: int = option(
        1,
        "of weights, split and order, and of the noise images where there are none yet",
        least=0,
        most=2**32 - 1,
    )
    tensorboard: bool = option(
        False, "log to vis/NAME/tensorboard/ too; needs the package tensorboard"
    )
    recipe: str = option(
        "document",
        "its own training, or the best that we know today",
        choices=tuple(RECIPES),
        group="the training",
    )
    set: tuple[str, ...] = option(
        (),
        "fields of the network, the recipe or the augmentation, as jobs.py lists them, such as "
        "network.filters=16,32,64,128 augmentation.elastic=0",
        metavar="FIELD=VALUE",
    )
    epochs: int | None = option(
        None, "passes of --steps-per-epoch steps (default: the recipe's)", least=1
    )
    steps_per_epoch: int | None = option(
        None,
        "steps in an epoch (default: the recipe's, or as many as show each image once)",
        least=1,
    )
    batch_size: int | None = option(None, "images in a step (default: the recipe's)", least=1)
    learning_rate: float | None = option(
        None, "of the optimizer, above 0 (default: the recipe's)", least=1e-12
    )
    loss: str | None = option(
        None,
        "what training lowers; weighted_cross_entropy is for membrane, the two after it for "
        "data.py --classes (default: the recipe's)",
        choices=tuple(loss for losses in FITTING_LOSSES.values() for loss in losses),
    )
    precision: str = option(
        "float32",
        "of all layers but the last; auto: half precision where the hardware has instructions "
        "for it",
        choices=("float32", "mixed_bfloat16", "mixed_float16", "auto"),
    )
    validation_split: float | None = option(
        None,
        "share of the images held out, 0..0.9 (default: the recipe's)",
        least=0,
        most=0.9,
        group="the validation",
    )
    folds: int | None = option(
        None,
        "cross-validation: so many networks, each trained without another share of the images",
        least=2,
    )
    split_by_subject: bool = option(
        True, "hold out whole subjects; without it the last images, as Keras does"
    )
    devices: str = devices_option()
    hosts: str | None = hosts_option()
    process_id: int = process_option()


def read_options(given):
    """The options of a training, {name: value} being given: those of the interrupted one where it
    is to go on. Exits where that one is finished; raises InputError where they differ.
    """
    if not given.get("resume"):
        return Options(**given)
    from checkpoint import checkpoint_path, interrupted_options, read_progress  # not for --help
    from runs import read_record

    name = run_name(Options(**given))
    path, finished = checkpoint_path(name), Path("weights", f"{name}.json")
    progress = read_progress(path)
    if progress:
        try:
            return Options(**interrupted_options(given, progress.options, path))
        except TypeError as error:
            raise InputError(f"{path}: its options are damaged; leave --resume out") from error
    if not finished.exists():
        print(f"weights/: no training of {name} was interrupted; a new one starts")
        return Options(**{**given, "resume": False})
    interrupted_options(given, read_record(name).get("options", given), finished)
    print(f"{finished}: this training is finished; next: python test.py {name}")
    sys.exit(0)


def check_tensorboard(options):
    """Raise InputError where --tensorboard lacks a package."""
    packages = "tensorflow", "tensorboard"
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if options.tensorboard and missing:
        raise InputError(
            f"--tensorboard: the package {missing[0]} is missing; pip install {missing[0]}, or "
            "leave it out: vis/NAME/progress.png shows the curves, too"
        )


if __name__ == "__main__":
    stop_in_one_line()
    with one_line_errors():  # before OpenCV and Keras, which take seconds to load
        OPTIONS = read_options(parse_given(Options, "train.py", __doc__))
        RECIPES[OPTIONS.recipe][OPTIONS.job].change(OPTIONS.set)
        check_tensorboard(OPTIONS)
        check_devices(OPTIONS)
        run_name(OPTIONS)

from arrays import IMAGES, find_arrays, load_arrays
from checkpoint import checkpoint_path, read_progress


def find_source(options):
    """The folder in output/ that a training reads: that of an interrupted one, or what find_arrays
    says now.
    """
    name = run_name(options)
    progress = read_progress(checkpoint_path(name)) if options.resume else None
    return progress and progress.arrays or find_arrays(name, options.job)


if __name__ == "__main__":
    with one_line_errors():
        if OPTIONS.job != "noise" or OPTIONS.hosts:
            load_arrays(find_source(OPTIONS), OPTIONS.job)
        watch_process(OPTIONS)

import contextlib
import hashlib
import json
import os
import time
import zlib

import keras
import numpy as np

import data
from batches import find_scale, fold_rows, split_rows
from callbacks import RunFiles
from classes import find_classes
from checkpoint import Progress, has_steps, write_checkpoint
from devices import find_devices, find_precision
from disk import lock, write_text
from files import write_image
from model import build_unet, load_weights
from monitor import Monitor, ProgressLines, choose_samples, draw_curves, picture_path
from predict import load_run, measure_classes, measure_held_out, predict_test
from runs import Decision
from training import (
    choose_job,
    compile_model,
    describe_plan,
    describe_run,
    fit,
    fit_network,
    make_batches,
)


def train_network(name, job, options, arrays, split, devices, progress):
    """Train one network on some Devices, from its Progress on; the first process writes
    weights/NAME.* and its pictures in vis/NAME/. Returns its record.
    """
    recipe, seed = job.recipe, options.seed
    scale = find_scale(arrays.images, split[0], recipe.standardize)
    config, window = fit_network(options.job, job, arrays)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(options.precision)
    sizes = window, tuple(map(config.output_length, window))
    training, validation = make_batches(arrays, split, recipe, scale, seed, sizes, devices)
    held_out = [arrays.files[row] for row in split[1]]
    digest = progress.data
    record = describe_run(name, options, recipe, config, arrays, held_out, scale, digest)
    files = RunFiles(progress, record, can_pause=len(devices) == 1)
    with devices.scope():
        model = build_unet(config, name=options.job)
        if options.weights and not progress.record:
            load_weights(model, options.weights)
        compile_model(model, recipe, recipe.epochs * len(training))
        model.short_batches = training.short_batch, validation.short_batch if validation else {}
        files.set_model(model)
        files.restore()
        if devices.process_id == 0:
            files.check_room()
        callbacks = [files, ProgressLines(training)] if devices.process_id == 0 else []
        monitor = None
        if devices.num_processes == 1:  # one alone cannot predict with what all of them hold
            rows = split[1] if len(held_out) else split[0]
            samples = choose_samples(arrays, rows, sizes, scale)
            monitor = Monitor(files, samples, recipe, config, arrays.classes)
            callbacks.append(monitor)
        if options.tensorboard and devices.process_id == 0:
            logs = Path("vis", run_name(options), "tensorboard", time.strftime("%Y%m%d-%H%M%S"))
            callbacks.append(keras.callbacks.TensorBoard(logs / name, write_graph=False))
        describe_plan(name, split, arrays, model, recipe, training, devices, progress)
        with files.signals() if devices.num_processes == 1 else contextlib.nullcontext():
            fit(model, training, validation, recipe.epochs, callbacks, progress)
        files.stop_if_asked()  # after the last epoch's files
    keras.config.set_dtype_policy("float32")  # what test.py predicts in
    if devices.process_id == 0:
        report_training(files, monitor)
    return files.record


def report_training(files, monitor):
    """Draw the curves of what RunFiles kept and print the best epoch."""
    write_image(picture_path(files.name, "curves"), draw_curves(files.history))
    if monitor:
        monitor.finish()
    best = files.record["best"]
    scores = [f"{key} {best[key]:.4f}" for key in best if key not in ("epoch", "seconds")]
    print(f"best epoch {best['epoch']}: {', '.join(scores)}")


def decide(name, recipe, arrays, record, run):
    """Choose threshold and smallest area where the recipe says so, score the held-out images with
    them, and note both in weights/NAME.json.
    """
    if arrays.classes:
        decision, (folds, dice) = Decision(), measure_classes(run, arrays)
    else:
        measured = measure_held_out(run, arrays)
        decision = measured.choose() if recipe.decide else Decision()
        folds, dice = measured.fold, measured.dice(decision)
    record["decision"] = dataclasses.asdict(decision)
    area = f", from {decision.min_area:.2%} of the image on" if decision.min_area else ""
    rule = f"foreground above {decision.threshold:.2f}{area}"
    print(
        f"held out: Dice {dice.mean():.4f} (worst {dice.min():.4f}), mean of {len(dice)} images, "
        + ("of the classes in each" if arrays.classes else rule)
    )
    if "folds" in record:
        for number, fold in enumerate(record["folds"]):
            of_fold = dice[folds == number]
            fold.update(dice=float(of_fold.mean()), num_images=len(of_fold))
        means = [fold["dice"] for fold in record["folds"]]
        record.update(dice=float(np.mean(means)), spread=float(np.std(means, ddof=1)))
        each = ", ".join(f"{mean:.4f}" for mean in means)
        print(f"folds {each}: mean of the folds {record['dice']:.4f} ± {record['spread']:.4f}")
    write_text(Path("weights", f"{name}.json"), json.dumps(record, indent=1))


def train_predict(options):
    """Train a job's network, or one a fold, and write the probabilities of its test images,
    imgs_mask_test.npy.
    """
    name = run_name(options)
    source = find_source(options)
    job = choose_job(options, find_classes(source)[0])
    for option_name in ("weights", "validation_split"):
        if options.folds and getattr(options, option_name) is not None:
            raise InputError(
                f"--{option_name.replace('_', '-')} does not go with --folds, whose networks "
                "start anew and hold out a share each; pass one of the two"
            )
    # Arrays without files.csv are those of before an interrupted data.py: load_arrays says so
    if source == "noise" and not Path("output/noise", IMAGES).exists():
        data.prepare(data.Options(seed=options.seed))
    arrays = load_arrays(source, options.job)
    by_subject, seed = options.split_by_subject, options.seed
    if options.precision == "auto":
        precision, reason = find_precision()
        print(f"precision {precision}: {reason}")
        options = replace(options, precision=precision)
    fit_network(options.job, job, arrays)
    if options.weights and not Path(options.weights).is_file():
        raise InputError(f"--weights {options.weights}: no such HDF5 file of weights")
    if options.folds:
        names = [f"{name}.fold{number}" for number in range(1, options.folds + 1)]
        splits = fold_rows(arrays.files, options.folds, by_subject, seed)
    else:
        names = [name]
        splits = [split_rows(arrays.files, job.recipe.validation_split, by_subject, seed)]
    with contextlib.ExitStack() as held:  # the lock of weights/, to the end
        devices, record = train_networks(options, job, arrays, names, splits, held)
        if devices.process_id:
            print(f"process {devices.process_id} is done; process 0 writes what was trained")
            return
        if options.folds:
            keys = "format", "job", "arrays", "data", "classes", "is_colored", "decision"
            keys += "recipe", "options", "command"
            record = {
                **{key: record[key] for key in keys},
                "folds": [{"name": network_name} for network_name in names],
            }
            write_text(Path("weights", f"{name}.json"), json.dumps(record, indent=1))
        is_to_decide = options.folds or (job.recipe.decide and record["validation"])
        if is_to_decide or len(arrays.test_images):
            with devices.alone.scope():
                predict_after(name, job.recipe, arrays, record, is_to_decide)
        checkpoint_path(name).unlink(missing_ok=True)
    print(f"weights/{name}.json, vis/{name}/; next: python test.py {name}")


def train_networks(options, job, arrays, names, splits, held):
    """Train the networks of some names, each on its split; returns the Devices and the last one's
    record. The first process locks weights/ until `held`, an ExitStack, ends.
    """
    with stop_with_hosts(options):
        devices = find_devices(options.devices, options.hosts, options.process_id)
        if options.hosts:
            devices.check_same(what_hosts_share(options, arrays))
        is_first = devices.process_id == 0
        if is_first:
            held.enter_context(lock(Path("weights", f".{run_name(options)}.lock")))
        progress = begin(options, arrays, names, is_first)
        for name, split in zip(names, splits):
            if names.index(name) < names.index(progress.name):
                continue  # trained before the interruption
            if name != progress.name:
                progress = Progress(
                    progress.options, progress.data, name, progress.backend, progress.arrays
                )
            record = train_network(name, job, options, arrays, split, devices, progress)
            keras.backend.clear_session()
        devices.leave()
    return devices, record


def begin(options, arrays, names, is_first):
    """The Progress that a training of networks with these names goes on from; the first process
    notes it. Raises InputError for a folder that cannot be written, and where the images are not
    those that the interrupted training had.
    """
    name = run_name(options)
    path, source = checkpoint_path(name), arrays.name
    for folder in (path.parent, Path("vis", name), Path("output", name)):
        folder.mkdir(parents=True, exist_ok=True)
        if is_first and not os.access(folder, os.W_OK):  # a failure shows now, not after an epoch
            raise InputError(f"{folder}: cannot be written to")
    progress = read_progress(path) if options.resume else None
    # Lists in place of tuples, as a checkpoint gives them back, for the two are compared.
    given = json.loads(json.dumps(dataclasses.asdict(replace(options, resume=False))))
    backend = keras.backend.backend()
    data = hashlib.sha256(repr(what_is_trained_on(arrays)).encode()).hexdigest()
    if options.resume and progress is None:
        raise InputError(f"{path}: gone since this training was told to go on with it")
    if progress is None:
        progress = Progress(given, data, names[0], backend, source)
        if is_first and not has_steps(path):  # else RunFiles puts it aside once it has steps, too
            write_checkpoint(path, progress)
    elif progress.backend != backend:
        raise InputError(
            f"{path}: a training on {progress.backend}, this is {backend}; set KERAS_BACKEND="
            f"{progress.backend}"
        )
    elif progress.data != data or progress.name not in names:
        raise InputError(
            f"output/{source}: other images than the training in {path} had; run "
            f"{command('data.py', source, options.job)} as before, or start anew without --resume"
        )
    return progress


def what_hosts_share(options, arrays):
    """{name: value} of what has to be the same on all hosts: options, images, masks and the
    weights to start from.
    """
    share = {f"--{key.replace('_', '-')}": value for key, value in vars(options).items()}
    del share["--process-id"]
    if options.weights and Path(options.weights).is_file():
        share["--weights"] = zlib.crc32(Path(options.weights).read_bytes())
    if options.resume:
        path = checkpoint_path(run_name(options))
        share[str(path)] = zlib.crc32(path.read_bytes()) if path.exists() else None
    return {**share, f"output/{arrays.name}": what_is_trained_on(arrays)}


def what_is_trained_on(arrays):
    """The images' shape and names, and checksums of images and masks."""
    return arrays.images.shape, arrays.files, arrays.images.checksum(), arrays.masks.checksum()


def predict_after(name, recipe, arrays, record, is_to_decide):
    """What follows a training: the decision on held-out images, and the test images' file."""
    run = load_run(name)
    if is_to_decide:
        decide(name, recipe, arrays, record, run)
    if len(arrays.test_images):
        with lock(Path("output", f".{name}.lock"), wait=True):
            if arrays.test_images.is_replaced():
                source = run.record["arrays"]
                print(f"output/{source}: other test images than at the start; not predicted")
            else:
                predict_test(run, arrays, Path("output", name, "imgs_mask_test.npy"))


def main(options):
    try:
        train_predict(options)
    except Stopped as stop:
        name = run_name(options)
        if str(stop) == "stopped" and checkpoint_path(name).exists():  # not inside a step
            again = command("train.py", name, options.job)
            stop.args = (f"stopped; {again} --resume goes on",)
        raise


if __name__ == "__main__":
    with one_line_errors():
        main(OPTIONS)
