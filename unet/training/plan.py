"""The plan of a training: its job with what the options change, its network for the arrays, and
what is noted and said of it.
"""

import dataclasses
import json
import platform
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from unet.data.arrays import has_foreground
from unet.data.scale import find_scale
from unet.data.split import are_tiled, split_networks
from unet.data.survey import read_report
from unet.encoders import IMAGENET, NONE
from unet.errors import InputError, refuse
from unet.jobs import RECIPES, choose_recipe, own
from unet.jobs.settings import SYMMETRIES
from unet.losses import LOSSES, fitting_losses, weighing_losses
from unet.machine.precision import find_precision
from unet.options import flag
from unet.reading.classes import TWO_CLASSES
from unet.runs import Paths, Record, command, weights_of_run

SCALES = ("training", "set", "image", "none", "raw")


def choose(options, arrays):
    """The Job as train.Options change it, for some Arrays, and the options with the recipe and the
    precision that they come to; raises InputError for what does not go together.
    """
    check_options(options)
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
    return job, replace(options, precision=find_policy(options))


def check_options(options):
    """Raise InputError for train.Options that contradict each other, and for files of weights that
    there are not.
    """
    weights, encoder, folds = options.weights, options.encoder_weights, options.folds
    is_new = not options.resume  # else the weights are not read, and --minutes has its plan
    apart = "does not go with --folds, whose networks start anew and hold out a share each; pass"
    sets = {word.partition("=")[0] for word in options.set}
    planned = [flag(n) for n in ("epochs", "steps_per_epoch") if is_new and getattr(options, n)]
    planned += ["--hosts"] * bool(options.hosts)
    planned += [f"--set {n}" for n in ("recipe.epochs", "recipe.steps_per_epoch") if n in sets]
    hint = weights_of_run(weights) if weights else ""
    is_file = encoder in (None, IMAGENET, NONE) or Path(encoder).exists()
    refuse(
        (folds and weights, f"--weights {apart} one of the two"),
        (
            folds and options.validation_split is not None,
            f"--validation-split {apart} one of the two",
        ),
        (
            is_new and weights and encoder,
            "--encoder-weights does not go with --weights, which has the encoder's, too; pass one "
            "of the two",
        ),
        (
            is_new and weights and not Path(weights).exists(),
            f"--weights {weights}: no such HDF5 file of weights{hint}",
        ),
        (
            is_new and not is_file,
            f"--encoder-weights {encoder}: no such file; expected HDF5 of weights, {IMAGENET} or "
            f"{NONE}",
        ),
        (
            options.job != "own" and not options.upright,
            f"--no-upright is of own; pass --set augmentation.symmetry=turns to {options.job}",
        ),
        (
            options.minutes and planned,
            "--minutes plans the epochs of one machine, so "
            f"{' or '.join(planned)} does not go with it; pass one of the two",
        ),
    )


def find_policy(options):
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
    facts = read_report(arrays.name).get("facts", {})
    share = (facts.get("shares") or [0, 0])[1]
    if classes := facts.get("class_shares"):
        share = 1 - next(iter(classes.values()))
    size, channels = arrays.images.shape[1:3], arrays.images.shape[3]
    num_rows = sum(row["split"] != "validation" for row in arrays.files)
    job, reasons = own.choose_job(size, channels, num_rows, is_upright)
    loss = LOSSES[job.recipe.loss].of_classes if arrays.classes else job.recipe.loss
    reasons["loss"] = f"loss: {loss}, whatever the share of the foreground, here {share:.1%}"
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
        job = job.with_classes(len(classes), LOSSES[job.recipe.loss].of_classes)
    fields = {field.name for field in dataclasses.fields(job.recipe)}
    changes = {key: v for key, v in (given or {}).items() if key in fields and v is not None}
    job = job.change(assignments)
    job = replace(job, recipe=replace(job.recipe, **changes))
    check_job(name, job, classes)
    return job


def check_job(name, job, classes):
    """Raise InputError for a value that there is not, and for a loss that does not fit."""
    recipe, channels, encoder = job.recipe, job.network.classes, job.network.encoder
    fitting = fitting_losses(channels)
    what = f"{encoder} takes raw images" if encoder else "raw images are for an encoder"
    refuse(
        *(
            (value not in allowed, f"{field} {value!r}: expected one of {', '.join(allowed)}")
            for field, value, allowed in (
                ("recipe.loss", recipe.loss, LOSSES),
                ("recipe.optimizer", recipe.optimizer, ("sgd", "adam")),
                ("recipe.standardize", recipe.standardize, SCALES),
                ("recipe.keep", recipe.keep, ("best", "last")),
                ("augmentation.symmetry", recipe.augmentation.symmetry, SYMMETRIES),
            )
        ),
        (
            bool(encoder) != (recipe.standardize == "raw"),
            f"recipe.standardize {recipe.standardize}: {what}; leave it out",
        ),
        (
            channels > 2 and channels != len(classes),
            f"network.classes {channels}: the masks have {len(classes) or 2}, which data.py "
            "--classes says",
        ),
        (
            recipe.loss not in fitting,
            f"--loss {recipe.loss} does not fit the {channels} output channels of {name}; "
            f"expected {' or '.join(fitting)}",
        ),
    )
    if recipe.class_weights:
        names, weighing = class_names(classes), [n for n in fitting if n in weighing_losses()]
        reason = "a map of weights of its own" if recipe.is_weighted else "no cross-entropy"
        other = f", or pass --loss {' or '.join(weighing)}" if weighing else ""
        count = len(recipe.class_weights)
        refuse(
            (
                recipe.loss not in weighing,
                f"--class-weights: {recipe.loss} has {reason}; leave them out{other}",
            ),
            (
                count != len(names),
                f"--class-weights: {count} given, expected one for each of {', '.join(names)}",
            ),
        )


def class_names(classes):
    """Names of the classes of masks, () for foreground and background."""
    return [label.name for label in classes or TWO_CLASSES]


def size_network(name, job, arrays):
    """The UNetConfig of the job of some name for its arrays, or for the windows that it trains on.
    Raises InputError for a size that does not fit.
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
    return config


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


def split(name, options, job, arrays):
    """{name of a network of the run: its training and its validation rows} of some Arrays; raises
    InputError where a network would see no foreground.
    """
    share, by_subject = job.recipe.validation_split, options.split_by_subject
    files, folds, shown = arrays.files, options.folds, None
    is_stated = len({row["split"] for row in files}) > 1
    is_drawn = by_subject and not is_stated and (share or folds)
    if options.job == "own" and is_drawn:  # the documents' splits stay as they are
        shown = np.array([arrays.shown(row) for row in range(len(files))])
    splits = split_networks(name, files, share, folds, by_subject, options.seed, shown)
    check_masks(arrays, splits)
    for network, (_, held_out) in splits.items():
        subjects = sorted({files[row]["subject"] for row in held_out})
        if shown is not None and len(subjects) < len(held_out):
            some = f"{len(subjects)} subjects are held out, such as {', '.join(subjects[:3])}"
            print(f"{network}: all images of {some}")
    return splits


def check_masks(arrays, splits):
    """Say again what data.py warned of; raises InputError where a network of `splits`, {name:
    training and validation rows}, would see no foreground.
    """
    for warning in read_report(arrays.name).get("warnings", ()):
        print(warning, flush=True)
    for name, (rows, held_out) in splits.items():
        is_shown = [
            any(has_foreground(arrays.numbers(row)) for row in side)  # mostly the first one has
            for side in (rows, held_out)
        ]
        if len(held_out) and not is_shown[1]:
            print(
                f"warning: {name}: none of the {len(held_out)} held-out images shows any "
                "foreground, so weights and threshold are chosen on nothing; pass another --seed, "
                "fewer --folds, or --table with a column split",
                flush=True,
            )
        if is_shown[0]:
            continue
        values = "that they are white, or pass data.py another --mask-threshold"
        if arrays.classes:
            values = "that their values or colours are those of the classes"
        raise InputError(
            f"{Paths(arrays.name).arrays}: no foreground in any mask of the {len(rows)} images "
            f"to train on, so there is nothing to learn; look at the files of the masks: {values}"
        )


def describe_run(options, job, arrays, split, name):
    """The Record of the network of some name that is about to be trained on a split of Arrays."""
    training_rows, validation_rows = split
    mean, std = find_scale(arrays.images, training_rows, job.recipe.standardize)
    backend = keras.backend.backend()
    return Record(
        name=name,
        job=options.job,
        arrays=arrays.name,
        recipe=job.recipe,
        options=json.loads(json.dumps(dataclasses.asdict(replace(options, resume=False)))),
        command=shlex.join(["python", *sys.argv]),
        pixels=arrays.pixels_digest,
        classes=[dataclasses.asdict(label) for label in arrays.classes],
        is_colored=arrays.is_colored,
        reading=arrays.reading,
        network=size_network(options.job, job, arrays),
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


def describe_plan(session, progress, model, batches):
    """Say what the training of a Session's network, from a Progress on, is about to do."""
    split, arrays, recipe = session.splits[progress.name], session.arrays, progress.record.recipe
    since = f"; goes on after {progress.describe()}" if progress.has_steps else ""
    classes = f" and {len(arrays.classes)} classes" if arrays.classes else ""
    unit = "tiles" if are_tiled(arrays.files) else "images"
    is_own = arrays.name == Paths(progress.name).run
    source = "" if is_own else f" of {Paths(arrays.name).arrays}"
    weighed = zip(class_names(arrays.classes), recipe.class_weights or ())
    weights = ", ".join(f"{name} {weight:g}" for name, weight in weighed)
    loss = f"{recipe.loss} (weights: {weights})" if weights else recipe.loss
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
