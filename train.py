"""Train a job's network, by its document's recipe or the modern one, and predict its test images.

python train.py nerve
"""

import contextlib
from dataclasses import dataclass, fields, replace

from model import build_unet, load_run
from unet import BEGAN
from unet.errors import check_backend, check_name, one_line_errors
from unet.jobs import JOBS, RECIPES, choose_recipe
from unet.jobs.settings import check_class_weights
from unet.lazy import lazy
from unet.losses import LOSSES, dice_coef, dice_coef_loss, fitting_losses, weighing_losses
from unet.machine.hosts import check_devices, watch_process
from unet.options import (
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

keras = lazy("keras")
runs = lazy("unet.runs")
pixels = lazy("unet.reading.pixels")
split = lazy("unet.data.split")
curves = lazy("unet.pictures.curves")
resume = lazy("unet.training.resume")
plan = lazy("unet.training.plan")
sessions = lazy("unet.training.session")
steps = lazy("unet.training.steps")
budget = lazy("unet.training.budget")
fit = lazy("unet.training.fit")
callbacks = lazy("unet.training.callbacks")
decide = lazy("unet.training.decide")

__all__ = ["dice_coef", "dice_coef_loss", "get_unet", "train_predict"]


@dataclass(frozen=True)
class Options:
    job: str = job_option()
    name: str | None = name_option(
        "of this run in weights/, vis/ and output/, beside others of its job; trains on "
        "data.py's arrays of that name, or else the job's (default: the job)"
    )
    arrays: str | None = option(
        None,
        "name of the run whose arrays, output/NAME/, this one trains on (default: its own, or the "
        "job's)",
        metavar="NAME",
        check=check_name,
    )
    resume: bool = option(
        False,
        "go on with the training that was stopped or killed, with its options, or with a finished "
        "one for more --epochs",
    )
    weights: str | None = option(
        None,
        "file to start from, HDF5 of any Keras or a .keras: the layers whose shapes fit are "
        "taken, the others start anew",
        metavar="FILE",
    )
    encoder_weights: str | None = option(
        None,
        "what an encoder, --set network.encoder=EfficientNetV2B0, starts from: imagenet, which "
        "Keras fetches, a file as --weights takes, or none (default: imagenet)",
        metavar="FILE",
    )
    seed: int = option(
        1,
        "of weights, split and order; that of noise's images is data.py's",
        least=0,
        most=2**32 - 1,
    )
    tensorboard: bool = option(
        False, "log to vis/NAME/tensorboard/ too; needs the package tensorboard"
    )
    recipe: str | None = option(
        None,
        "the document's own training, or the best that we know today (default: document; of own, "
        "which has none, modern)",
        choices=tuple(RECIPES),
        group="the training",
    )
    upright: bool = option(
        True, "of own: what the images show has an up and a down, so that they are turned little"
    )
    set: tuple[str, ...] = set_option(
        "fields of the network, the recipe or the augmentation",
        "network.filters=16,32,64,128 augmentation.elastic=0",
    )
    epochs: int | None = option(
        None, "passes of --steps-per-epoch steps (default: the recipe's)", least=1
    )
    patience: int | None = option(
        None,
        "end once so many epochs have brought no lower loss, the validation's where there is one "
        "(default: never)",
        least=1,
    )
    minutes: float | None = option(
        None,
        "plan --epochs and --steps-per-epoch so that all of it ends in about so many minutes, by "
        "the time that a step takes here",
        least=0.01,
        most=10**6,
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
        f"what training lowers; {' and '.join(fitting_losses(2))} is for membrane, "
        f"{' and '.join(fitting_losses(3))} for data.py --classes (default: the recipe's)",
        choices=tuple(LOSSES),
    )
    class_weights: tuple[float, ...] | None = option(
        None,
        "a number of 0 or more for each class, background first, that its pixels weigh in the "
        f"cross-entropy of {', '.join(weighing_losses())} (default: all alike)",
        metavar="W,W,...",
        check=check_class_weights,
        parse=comma_numbers,
    )
    precision: str | None = option(
        None,
        "of all layers but the last; auto: half precision where the hardware has instructions "
        "for it (default: float32; of the modern recipe auto)",
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


def get_unet():
    """The nerve document's network, compiled: Adam 1e-5, -dice_coef; get_unet of model.py has any
    job's.
    """
    job = JOBS["nerve"]
    recipe = replace(job.recipe, metrics=("dice_coef",))
    return fit.compile_unet(build_unet(job.network, name="nerve"), recipe)


def train_predict(options=Options(job="nerve"), begun=None):
    """Train a job's network, or one a fold, and write the probabilities of its test images,
    imgs_mask_test.npy. begun: the time.monotonic() that --minutes counts from (default: now).
    Raises InputError, FloatingPointError, Stopped.
    """
    name, seed = runs.run_name(options.job, options.name), options.seed
    arrays = resume.read_arrays(name, options.job, options.arrays, options.resume)
    job, options = plan.choose(options, arrays)
    share, by_subject = job.recipe.validation_split, options.split_by_subject
    splits = split.split_networks(name, arrays.files, share, options.folds, by_subject, seed)
    plan.check_masks(arrays, splits)
    with sessions.start(options, job, arrays, splits, begun) as session:
        with session.together():
            session = budget.fit_in(session, build_unet, build_training)
            for progress in session.networks():
                record = train_network(session, progress)
        if not session.is_first:
            print(f"process {options.process_id} is done; process 0 writes what was trained")
            return
        predict_after(session, record)
    paths = runs.Paths(name)
    print(f"{paths.record}, {paths.vis}/; next: {runs.command('test.py', name)}")


def train_network(session, progress):
    """Train the network of a Progress on its split, from there on; the first process writes
    weights/NAME.* and pictures in vis/NAME/. Returns its Record.
    """
    options, devices, recipe = session.options, session.devices, session.job.recipe
    record = plan.describe_run(session, progress)
    files = callbacks.RunFiles(progress, record, can_pause=len(devices) == 1)  # what is kept
    with devices.scope(), steps.memory_errors(record.network, recipe.batch_size, files):
        model, training, validation = build_training(session, record)
        steps.check_memory(model, recipe.batch_size, devices)
        if not progress.record:
            fit.take_weights(model, options.weights, options.encoder_weights)
        files.begin(model, session.is_first)
        watching = session.callbacks(files, training, validation)
        plan.describe_plan(session, progress, model, training)
        with files.signals.caught() if not options.hosts else contextlib.nullcontext():
            fit.fit(model, training, validation, recipe, watching, progress)
        files.signals.stop_if_asked()  # after the last epoch's files
    keras.config.set_dtype_policy("float32")
    if session.is_first:
        pixels.write_image(files.paths.picture("curves"), curves.draw_curves(files.history))
        print(files.describe_best())
        files.record.write()  # its recipe may have a new end, though no epoch was better
    return files.record


def build_training(session, record):
    """The compiled network of a Record before its first step, and its Batches for training and for
    validation.
    """
    recipe, ignores = session.job.recipe, bool(session.arrays.reading.ignore)
    keras.utils.set_random_seed(session.options.seed)
    keras.config.set_dtype_policy(session.options.precision)
    training, validation = session.make_batches(record)
    model, num_steps = build_unet(record.network, record.job), recipe.epochs * len(training)
    fit.compile_unet(model, recipe, num_steps, ignores)
    training.attach(model, validation)
    return model, training, validation


def predict_after(session, record):
    """What follows a training: the decision on the held-out images, and the probabilities of the
    test images. record: of the network that was trained last.
    """
    arrays, recipe, has_folds = session.arrays, session.job.recipe, session.options.folds
    is_to_score = has_folds or (record.validation and plan.is_scored(session.options, recipe))
    if has_folds:
        record = record.of_folds(session.name, list(session.splits))
        record.write()
    if is_to_score or len(arrays.test_images):
        with session.devices.alone.scope():
            run = load_run(session.name, precision="float32")
            if is_to_score:
                run = decide.choose_precision(record, run, load_run, arrays)
                decide.decide(record, run, arrays, recipe.decide)
            if len(arrays.test_images):
                sessions.predict_test_images(run, arrays)
    session.finish()


def read_options(given):
    """The Options of what the command line gives, {name: value}; with --resume those of the
    training that was interrupted. Exits where that one is finished; raises InputError.
    """
    if given.get("resume"):
        given = resume.options_to_resume(given, [field.name for field in fields(Options)])
    return Options(**given)


def main(options):
    name = runs.run_name(options.job, options.name)
    RECIPES[choose_recipe(options.job, options.recipe)][options.job].change(options.set)
    check_tensorboard(options.tensorboard)
    check_devices(options.devices, options.hosts, options.process_id)
    check_backend()
    if options.job != "noise" or options.arrays or options.hosts:  # before Keras, which is slow
        source = resume.find_source(name, options.job, options.arrays, options.resume)
        resume.load_arrays(source, options.job)
    watch_process(options.hosts, options.process_id)
    with resume.told_how(name, options.job):
        train_predict(options, BEGAN)


if __name__ == "__main__":
    with one_line_errors():
        main(read_options(parse_given(Options, "train.py", __doc__)))
