"""Train a job's network, by its document's recipe or the modern one, and predict its test images.

python train.py nerve
"""

from dataclasses import dataclass

import data
from model import build_unet
from unet import BEGAN
from unet.errors import check_backend, check_name, one_line_errors
from unet.jobs import JOBS, RECIPES, choose_recipe
from unet.jobs.settings import check_class_weights
from unet.lazy import lazy
from unet.losses import LOSSES, dice_coef, dice_coef_loss, fitting_losses, weighing_losses
from unet.machine.hosts import check_devices, watch_process
from unet.options import (
    Checked,
    check_tensorboard,
    comma_numbers,
    devices_option,
    hosts_option,
    job_option,
    name_option,
    option,
    parse_given,
    process_option,
    set_option,
)

keras = lazy("keras")  # for what you change in get_unet
runs = lazy("unet.runs")
arrays = lazy("unet.data.arrays")
trained = lazy("unet.prediction.run")
resume = lazy("unet.training.resume")
plan = lazy("unet.training.plan")
sessions = lazy("unet.training.session")
steps = lazy("unet.training.steps")
budget = lazy("unet.training.budget")
fit = lazy("unet.training.fit")
callbacks = lazy("unet.training.callbacks")
decide = lazy("unet.training.decide")

__all__ = ["dice_coef", "dice_coef_loss", "get_unet", "load_run", "train_predict"]


@dataclass(frozen=True)
class Options(Checked):
    job: str = job_option()
    name: str | None = name_option(
        "name of the run in weights/, vis/ and output/; trains on the arrays of that name, if "
        "data.py wrote any, otherwise on the job's (default: the job)"
    )
    arrays: str | None = option(
        None,
        "name of the arrays in output/ to train on (default: those of --name, or the job's)",
        metavar="NAME",
        check=check_name,
    )
    resume: bool = option(
        False,
        "resume a training that was stopped or killed, with its options, or a finished one with "
        "more --epochs",
    )
    weights: str | None = option(
        None,
        "weights to start from, HDF5 of any Keras version or .keras; layers with matching shapes "
        "are loaded, all others start from random weights",
        metavar="FILE",
    )
    encoder_weights: str | None = option(
        None,
        "initial weights of a pretrained encoder (--set network.encoder=EfficientNetV2B0): "
        "imagenet, downloaded by Keras, a file as for --weights, or none (default: imagenet)",
        metavar="FILE",
    )
    seed: int = option(
        1,
        "seed of weights, split and order of images; the images of noise have the seed of data.py",
        least=0,
        most=2**32 - 1,
    )
    tensorboard: bool = option(
        False,
        "write TensorBoard logs to vis/NAME/tensorboard/; requires the package tensorboard",
        check=check_tensorboard,
    )
    recipe: str | None = option(
        None,
        "training as in the document, or the best known today (default: document; modern for own)",
        choices=tuple(RECIPES),
        group="training",
    )
    upright: bool = option(True, "own only: orientation matters, so rotate only slightly")
    set: tuple[str, ...] = set_option(
        "fields of the network, the recipe or the augmentation",
        "network.filters=16,32,64,128 augmentation.elastic=0",
    )
    epochs: int | None = option(None, "number of epochs (default: the recipe's)", least=1)
    patience: int | None = option(
        None,
        "stop after N epochs without a lower loss, that of the validation if there is one "
        "(default: never)",
        least=1,
        metavar="N",
    )
    minutes: float | None = option(
        None,
        "fit the whole training into about this many minutes: sets --epochs and "
        "--steps-per-epoch from the time that a step takes on this machine",
        least=0.01,
        most=10**6,
    )
    steps_per_epoch: int | None = option(
        None,
        "number of steps per epoch (default: the recipe's, or one pass over the images)",
        least=1,
    )
    batch_size: int | None = option(
        None, "number of images per step (default: the recipe's)", least=1
    )
    learning_rate: float | None = option(
        None, "learning rate of the optimizer, above 0 (default: the recipe's)", least=1e-12
    )
    loss: str | None = option(
        None,
        f"loss to minimise; {' and '.join(fitting_losses(2))} is for membrane, "
        f"{' and '.join(fitting_losses(3))} for data.py --classes (default: the recipe's)",
        choices=tuple(LOSSES),
    )
    class_weights: tuple[float, ...] | None = option(
        None,
        "weight of each class, 0 or more, background first, in the cross-entropy of "
        f"{', '.join(weighing_losses())} (default: equal weights)",
        metavar="W,W,...",
        check=check_class_weights,
        parse=comma_numbers,
    )
    precision: str | None = option(
        None,
        "precision of all layers but the last; auto uses half precision if the hardware supports "
        "it (default: float32; auto with the modern recipe)",
        choices=("float32", "mixed_bfloat16", "mixed_float16", "auto"),
    )
    validation_split: float | None = option(
        None,
        "share of the images to hold out, 0 to 0.9 (default: the recipe's)",
        least=0,
        most=0.9,
        group="validation",
    )
    folds: int | None = option(None, "number of cross-validation folds, one network each", least=2)
    split_by_subject: bool = option(
        True, "hold out whole subjects; otherwise the last images, as in Keras"
    )
    devices: str = devices_option()
    hosts: str | None = hosts_option()
    process_id: int = process_option()


def get_unet(job="nerve", network=None, recipe=None, num_steps=1, ignores=False):
    """The compiled U-Net of a job, which is trained, resumed, scored and exported: change network,
    optimizer and loss here. Without arguments the nerve document's: Adam 1e-5, -dice_coef.

    network, recipe: UNetConfig and Recipe (default: the document's); num_steps: of the training,
    for a rate that falls; ignores: masks have ignored pixels. Raises ValueError for a size that
    does not fit.
    """
    recipe = recipe or JOBS[job].recipe
    model = build_unet(network or JOBS[job].network, name=job)
    optimizer = fit.make_optimizer(recipe, num_steps)
    loss, metrics = fit.make_loss(recipe, ignores), fit.make_metrics(recipe, ignores)
    model.compile(optimizer, loss, metrics=metrics)
    return model


def load_run(name, weights=None, average=True, threshold=None, precision=None):
    """The trained run of a name, its networks by get_unet; as unet.prediction.run.load_run."""

    def build(record):
        return get_unet(record.job, record.network_of_any_size(), record.recipe)

    return trained.load_run(name, build, weights, average, threshold, precision)


def train_predict(options=Options(job="nerve"), begun=None):
    """Train a job's network, or one a fold, and predict its test images; begun: time.monotonic()
    that --minutes counts from (default: now). Raises InputError, FloatingPointError, Stopped.
    """
    # 1. load the arrays; those of noise are drawn where there are none
    name = runs.run_name(options.job, options.name)
    source = resume.find_source(name, options.job, options.arrays, options.resume)
    is_there = (runs.Paths(source).arrays / "imgs_train.npy").exists()
    if source == "noise" and not (is_there or options.hosts):  # hosts would draw one each
        data.prepare(data.Options())
    prepared = arrays.load_arrays(source, options.job)
    # 2. plan: the recipe with the options, and the images that are held out
    job, options = plan.choose(options, prepared)
    splits = plan.split(name, options, job, prepared)
    with sessions.start(options, job, prepared, splits, begun) as session:
        # 3. build, compile and fit each network
        with session.together():
            if options.minutes and not options.resume:
                session = budget.plan_epochs(session, build_training)
            for progress in session.networks():
                record = train_network(session, progress)
        # 4. score and predict
        if session.is_first:
            predict_after(session, record)
        else:
            print(f"process {options.process_id} is done; process 0 writes what was trained")


def build_training(session, record):
    """The compiled network of a Record before its first step, and its two Batches."""
    training, validation = session.prepare(record)
    num_steps = record.recipe.epochs * training.num_steps
    ignores = bool(session.arrays.reading.ignore)
    model = get_unet(record.job, record.network, record.recipe, num_steps, ignores)
    fit.build_variables(model)
    training.attach(model, validation)
    return model, training, validation


def train_network(session, progress):
    """Train the network of a Progress on its split, from there on; returns its Record."""
    options, devices, record = session.options, session.devices, progress.record
    is_new = progress is session.progress and not options.resume
    files = callbacks.RunFiles(progress, is_new, can_pause=len(devices) == 1)  # what is kept
    with devices.scope(), steps.memory_errors(record, files):
        model, training, validation = build_training(session, record)
        if not progress.has_steps:
            fit.take_weights(model, record.network, options.weights, options.encoder_weights)
        files.begin(model, session.is_first)
        watching = session.callbacks(files, training, validation)
        plan.describe_plan(session, progress, model, training)
        with files.signals.caught(is_alone=not options.hosts):
            fit.fit(model, training, validation, watching, progress)
    if session.is_first:
        files.finish()
    return files.progress.record


def predict_after(session, record):
    """Choose the threshold on the held-out images, score them, and predict the test images."""
    prepared, options = session.arrays, session.options
    is_to_score = record.validation and (record.recipe.decide or options.recipe == "modern")
    if options.folds:
        is_to_score, record = True, record.of_folds(session.name, list(session.splits))
        record.write()
    if is_to_score or len(prepared.test_images):
        with session.devices.alone.scope():
            run = load_run(session.name, precision="float32")
            if is_to_score:
                if (policy := decide.half_precision(record)) != "float32":
                    half = load_run(session.name, precision=policy)
                    run = decide.take_half_precision(record, run, half, prepared)
                decide.score_held_out(record, run, prepared)
            sessions.predict_test_images(run, prepared)
    session.finish()


def read_options(given):
    """The Options of what is given, {name: value}, or with --resume of the interrupted training,
    where a finished one exits; raises InputError.
    """
    given = {"job": Options.job, **given}
    return resume.options_to_resume(given, Options) if given.get("resume") else Options(**given)


def main(options):
    RECIPES[choose_recipe(options.job, options.recipe)][options.job].change(options.set)
    check_devices(options.devices, options.hosts, options.process_id)
    check_backend()
    watch_process(options.hosts, options.process_id)
    with resume.told_how(runs.run_name(options.job, options.name), options.job):
        train_predict(options, BEGAN)


if __name__ == "__main__":
    with one_line_errors():
        main(read_options(parse_given(Options, "train.py", __doc__)))
