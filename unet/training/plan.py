"""What a training is to be: its job with what the options change, its network for the arrays, and
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

from unet.data.scale import find_scale
from unet.data.split import are_tiled
from unet.data.survey import read_report
from unet.encoders import IMAGENET, NONE
from unet.errors import InputError
from unet.jobs import RECIPES, choose_recipe, own
from unet.jobs.settings import IGNORED, SYMMETRIES
from unet.losses import LOSSES, fitting_losses, weighing_losses
from unet.machine.precision import find_precision
from unet.options import flag
from unet.reading.classes import TWO_CLASSES
from unet.runs import Paths, Record, command, weights_of_run

SCALES = ("training", "set", "image", "none", "raw")
PLANNED = ("recipe.epochs", "recipe.steps_per_epoch")  # by --minutes


def choose(options, arrays):
    """The Job as train.Options change it, for some Arrays, and the options with the recipe and the
    precision that they come to; raises InputError for what does not go together.
    """
    for name in ("weights", "validation_split"):
        if options.folds and getattr(options, name) is not None:
            raise InputError(
                f"{flag(name)} does not go with --folds, whose networks start anew and hold out a "
                "share each; pass one of the two"
            )
    if not options.resume:  # which needs them no more, or finds them where they are read
        check_weights(options)
    if options.job != "own" and not options.upright:
        raise InputError(
            f"--no-upright is of own; pass --set augmentation.symmetry=turns to {options.job}"
        )
    if options.minutes:
        check_minutes(options)
    options = replace(options, recipe=choose_recipe(options.job, options.recipe))
    base, reasons = RECIPES[options.recipe][options.job], {}
    if options.job == "own":
        base, reasons = fit_own(arrays, options.upright, options.split_by_subject)
    job = change_job(options.job, base, options.set, vars(options), arrays.classes)
    if options.encoder_weights and not job.network.encoder:
        raise InputError(
            f"--encoder-weights {options.encoder_weights}: this network has no encoder of its "
            "own; pass --set network.encoder=EfficientNetV2B0, or leave it out"
        )
    size_network(options.job, job, arrays)  # a size that does not fit is refused now
    base = change_job(options.job, base, classes=arrays.classes)
    if options.minutes:
        reasons.pop("steps", None)
    for reason in still_true(reasons, base, job):
        print(reason)
    if line := describe_size(options, arrays):
        print(line)
    return job, replace(options, precision=choose_precision(options))


def check_weights(options):
    """Raise InputError for files of weights that there are not, or for two of the encoder's."""
    if options.weights and options.encoder_weights:
        raise InputError(
            "--encoder-weights does not go with --weights, which has the encoder's, too; pass one "
            "of the two"
        )
    if options.weights and not Path(options.weights).exists():
        hint = weights_of_run(options.weights)
        raise InputError(f"--weights {options.weights}: no such HDF5 file of weights{hint}")
    source = options.encoder_weights
    if source not in (None, IMAGENET, NONE) and not Path(source).exists():
        raise InputError(
            f"--encoder-weights {source}: no such file; expected HDF5 of weights, {IMAGENET} or "
            f"{NONE}"
        )


def check_minutes(options):
    """Raise InputError for options that do not go with --minutes, which plans the epochs."""
    sets = [word.partition("=")[0] for word in options.set]
    planned = () if options.resume else ("epochs", "steps_per_epoch")  # then they are its plan
    refused = [flag(name) for name in (*planned, "hosts") if getattr(options, name)]
    refused += [f"--set {word}" for word in sets if word in PLANNED]
    if refused:
        raise InputError(
            f"--minutes plans the epochs of one machine, so {refused[0]} does not go with it; "
            "pass one of the two"
        )


def choose_precision(options):
    """The Keras dtype policy of --precision; auto, the modern recipe's default, says why. Raises
    InputError where hosts, of which none may look at its devices yet, are to choose.
    """
    is_auto = options.recipe == "modern" and not options.hosts
    wanted = options.precision or ("auto" if is_auto else "float32")
    if wanted != "auto":
        return wanted
    if options.hosts:
        raise InputError(
            "--precision auto: hosts have to train in the same; pass float32 or mixed_bfloat16"
        )
    precision, reason = find_precision()
    print(f"precision: {precision}, for {reason}")
    return precision


def fit_own(arrays, is_upright, by_subject):
    """The Job of one's own images for some Arrays, and its reasons, as own.choose_job has them."""
    facts = read_report(arrays.name).get("facts", {})  # of an earlier data.py there are none
    share = (facts.get("shares") or [0, 0])[1]
    if classes := facts.get("class_shares"):
        share = 1 - next(iter(classes.values()))
    size, channels = arrays.images.shape[1:3], arrays.images.shape[3]
    num_rows = sum(row["split"] != "validation" for row in arrays.files)
    classes = len(arrays.classes)
    job, reasons = own.choose_job(size, channels, num_rows, classes, share, is_upright)
    what = "subject" if by_subject else "id"
    if len({(row[what], row["split"]) for row in arrays.files}) == 1:
        job = replace(job, recipe=replace(job.recipe, validation_split=0))
        reasons["validation"] = "validation: none, for there is one image, or subject, only"
    return job, reasons


def still_true(reasons, base, job):
    """Those reasons for a Job that hold after options have changed it."""
    recipe, new = base.recipe, job.recipe
    holds = {
        "network": (base.network, recipe.window) == (job.network, new.window),
        "steps": all(
            getattr(recipe, name) == getattr(new, name)
            for name in ("batch_size", "epochs", "steps_per_epoch")
        ),
        "loss": (recipe.loss, recipe.class_weights) == (new.loss, new.class_weights),
        "augmentation": recipe.augmentation == new.augmentation,
        "validation": recipe.validation_split == new.validation_split,
    }
    return [text for name, text in reasons.items() if holds[name]]


def change_job(name, job, assignments=(), given=None, classes=()):
    """The job, its network and recipe, with what the options change, for masks of these classes,
    () for foreground and background; raises ValueError for a name or value that there is not, and
    for a loss that does not fit.

    assignments: of --set; given: {name: value} of options, of which those that are fields of the
    recipe and not None replace its own, and those that --set has.
    """
    if classes:
        job = job.with_classes(len(classes))
    fields = {field.name for field in dataclasses.fields(job.recipe)}
    changes = {key: v for key, v in (given or {}).items() if key in fields and v is not None}
    job = job.change(assignments)
    job = replace(job, recipe=replace(job.recipe, **changes))
    check_job(name, job, classes)
    return job


def check_job(name, job, classes):
    """Raise InputError for a value that there is not, and for a loss that does not fit."""
    recipe, channels = job.recipe, job.network.classes
    for field, value, allowed in (
        ("recipe.loss", recipe.loss, LOSSES),
        ("recipe.optimizer", recipe.optimizer, ("sgd", "adam")),
        ("recipe.standardize", recipe.standardize, SCALES),
        ("recipe.keep", recipe.keep, ("best", "last")),
        ("augmentation.symmetry", recipe.augmentation.symmetry, SYMMETRIES),
    ):
        if value not in allowed:
            raise InputError(f"{field} {value!r}: expected one of {', '.join(allowed)}")
    encoder = job.network.encoder
    if bool(encoder) != (recipe.standardize == "raw"):
        what = f"{encoder} takes raw images" if encoder else "raw images are for an encoder"
        raise InputError(f"recipe.standardize {recipe.standardize}: {what}; leave it out")
    if channels > 2 and channels != len(classes):
        raise InputError(
            f"network.classes {channels}: the masks have {len(classes) or 2}, which data.py "
            "--classes says"
        )
    fitting = fitting_losses(channels)
    if recipe.loss not in fitting:
        raise InputError(
            f"--loss {recipe.loss} does not fit the {channels} output channels of {name}; "
            f"expected {' or '.join(fitting)}"
        )
    check_weighing(recipe, fitting, class_names(classes))


def check_weighing(recipe, fitting, names):
    """Raise InputError where a recipe has class weights that its loss does not take, or not one
    for each class of these names; fitting: names of the losses that it could have.
    """
    if not recipe.class_weights:
        return
    weighing = [name for name in fitting if name in weighing_losses()]
    if recipe.loss not in weighing:
        reason = "a map of weights of its own" if recipe.is_weighted else "no cross-entropy"
        other = f", or pass --loss {' or '.join(weighing)}" if weighing else ""
        raise InputError(f"--class-weights: {recipe.loss} has {reason}; leave them out{other}")
    if len(recipe.class_weights) != len(names):
        count = len(recipe.class_weights)
        raise InputError(
            f"--class-weights: {count} given, expected one for each of {', '.join(names)}"
        )


def size_network(name, job, arrays):
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
        if job.image_size and all(map(config.output_length, job.image_size)):
            remedy += ", such as {} {}".format(*job.image_size)
        raise InputError(f"{Paths(arrays.name).arrays}: {error}; {remedy}") from error
    return config, window


def describe_size(options, arrays):
    """A line where a document's modern recipe was measured with another size than that of Arrays,
    else "". Of tiles, and of a training that goes on, there is nothing to say.
    """
    size, wanted = arrays.images.shape[1:3], RECIPES[options.recipe][options.job].image_size
    is_wanted = size == wanted if wanted else not arrays.is_resized
    is_documents = options.job != "own" and options.recipe == "modern"
    if is_wanted or not is_documents or options.resume or are_tiled(arrays.files):
        return ""
    what = "{}x{}".format(*wanted) if wanted else "the files' own size"
    height, width = wanted or (0, 0)
    return (
        f"arrays of {size[0]}x{size[1]}: the modern recipe was measured with {what}, as data.py "
        f"makes them with --image-size {height} {width}"
    )


def check_masks(arrays, splits):
    """Say again what data.py warned of; raises InputError where a network of `splits`, {name:
    training and validation rows}, would see no foreground. Of arrays without a report, which an
    earlier data.py wrote, nothing is said.
    """
    report = read_report(arrays.name)
    for warning in report.get("warnings", ()):
        print(warning, flush=True)
    for rows, _ in splits.values() if report else ():
        if any(has_foreground(arrays, row) for row in rows):  # mostly the first one has
            continue
        values = "that they are white, or pass data.py another --threshold"
        if arrays.classes:
            values = "that their values or colours are those of the classes"
        raise InputError(
            f"{Paths(arrays.name).arrays}: no foreground in any mask of the {len(rows)} images "
            f"to train on, so there is nothing to learn; look at the files of the masks: {values}"
        )


def has_foreground(arrays, row):
    """Whether a row's mask has a pixel that counts and is no background."""
    numbers = arrays.numbers(row)
    return bool(((numbers > 0) & (numbers != IGNORED)).any())


def is_scored(options, recipe):
    """Whether a training ends with a score of what it held out: no document's does."""
    return bool(options.folds or recipe.decide or options.recipe == "modern")


def describe_run(session, progress):
    """The Record of a Session's network that is about to be trained."""
    options, arrays, recipe = session.options, session.arrays, session.job.recipe
    training_rows, validation_rows = session.splits[progress.name]
    mean, std = find_scale(arrays.images, training_rows, recipe.standardize)
    network, _ = size_network(options.job, session.job, arrays)
    backend = keras.backend.backend()
    return Record(
        name=progress.name,
        job=options.job,
        arrays=arrays.name,
        recipe=dataclasses.asdict(recipe),
        options=dataclasses.asdict(options),
        command=shlex.join(["python", *sys.argv]),
        data=progress.data,
        pixels=arrays.pixels_digest,
        classes=[dataclasses.asdict(label) for label in arrays.classes],
        is_colored=arrays.is_colored,
        reading=dataclasses.asdict(arrays.reading),
        network=network,
        mean=mean,
        std=std,
        array_size=arrays.images.shape[1:3],
        is_resized=arrays.is_resized,
        validation=[arrays.files[row]["id"] for row in validation_rows],
        seed=options.seed,
        commit=find_commit(),
        versions={
            "python": platform.python_version(),
            "keras": keras.__version__,
            "numpy": np.__version__,
            "backend": backend,
            "backend_version": sys.modules[backend].__version__,
        },
    )


def find_commit():
    """The git commit of the project; None where it is not a clone."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def class_names(classes):
    """Names of the classes of masks, () for foreground and background."""
    return [label.name for label in classes or TWO_CLASSES]


def describe_loss(recipe, names):
    """The loss of a recipe, with what the classes of these names weigh where that is set."""
    weights = [f"{name} {weight:g}" for name, weight in zip(names, recipe.class_weights or ())]
    return f"{recipe.loss} (weights: {', '.join(weights)})" if weights else recipe.loss


def describe_plan(session, progress, model, batches):
    """Say what the training of a Session's network, from a Progress on, is about to do."""
    split, arrays, recipe = session.splits[progress.name], session.arrays, session.job.recipe
    since = f"; goes on after {progress.describe()}" if progress.record else ""
    classes = f" and {len(arrays.classes)} classes" if arrays.classes else ""
    folder = Paths(arrays.name).arrays
    unit = "tiles" if are_tiled(arrays.files) else "images"
    source = "" if arrays.name == Paths(progress.name).run else f" of {folder}"
    loss = describe_loss(recipe, class_names(arrays.classes))
    epochs = f"{recipe.epochs} epochs" if recipe.epochs > 1 else "1 epoch"
    patience = f" (patience {recipe.patience})" if recipe.patience else ""
    print(
        f"{progress.name}: {len(split[0])} training and {len(split[1])} validation {unit} of "
        f"{arrays.images.shape[1]}x{arrays.images.shape[2]}{classes}{source}, "
        f"{model.count_params():,} parameters\n"
        f"{epochs}{patience} of {batches.num_steps} steps of {recipe.batch_size} images, "
        f"{loss}, {recipe.optimizer} at {recipe.learning_rate:g}, "
        f"{keras.config.dtype_policy().name} on {session.devices.describe()}{since}",
        flush=True,
    )
