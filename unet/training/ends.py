"""When a training ends: after its epochs, or once its loss has stopped falling; no Keras."""

import shlex

from unet.errors import InputError
from unet.options import flag
from unet.runs import Paths, command
from unet.training.checkpoint import find_checkpoint

ENDS = ("epochs", "patience")  # options of a training that may change when it goes on
# Those that another training needs to be of the same network and recipe.
KEPT = ("recipe", "set", "upright", "batch_size", "steps_per_epoch", "learning_rate", "loss")
KEPT += ("class_weights", "precision", "validation_split", "split_by_subject", "seed")


def ends_of(values):
    """Those of ENDS, {name: value}, of a recipe or of options, which have others, too."""
    return {name: values.get(name) for name in ENDS}


def stagnates(history, patience):
    """Whether the loss, the validation's where there is one, has had no new low for `patience`
    epochs, after a history of them, a dict each; never where that is None.
    """
    losses = [row.get("val_loss", row["loss"]) for row in history]
    return bool(losses and patience) and len(losses) - losses.index(min(losses)) > patience


def has_ended(progress, epochs, patience):
    """Whether a Progress is at its end, with so many epochs and that patience."""
    is_through = progress.epoch >= epochs or stagnates(progress.history, patience)
    return bool(progress.record) and not progress.step and is_through


def describe_more(name, job, progress):
    """How a finished training with a Progress goes on."""
    patience = progress.record["recipe"].get("patience")
    more = "--patience N" if stagnates(progress.history, patience) else "--epochs N"
    return f"{command('train.py', name, job)} --resume {more} goes on"


def check_ends(given, record, progress=None):
    """Raise InputError where options of ENDS that are given, {name: value}, cannot be those of a
    training that goes on.

    record: the fields of its Record; progress: its Progress, None where no checkpoint is left.
    """
    paths, recipe = Paths(record["name"]), record["recipe"] or {}
    ends = {name: given[name] for name in ENDS if given.get(name) not in (None, recipe.get(name))}
    if not ends:
        return
    option = as_options(ends)
    path = find_checkpoint(paths.run) if progress else paths.record
    begun = progress.epoch + bool(progress.step) if progress else recipe.get("epochs", 0)
    if paths.fold or record["options"].get("folds"):
        raise InputError(f"{option}: {path} is of folds, which all end alike; leave it out")
    left = {**ends, "epochs": ends["epochs"] - begun} if ends.get("epochs", 0) > begun else ends
    anew = f"train from its weights under another name: {command_anew(record)} {as_options(left)}"
    if recipe.get("cosine") and ("epochs" in ends or not progress):
        use = f"use it as it is, {command('test.py', paths.run)}, or "
        raise InputError(
            f"{option}: the rate of {path} falls along a cosine over {recipe['epochs']} epochs, "
            f"no others; {use if progress else ''}{anew}"
        )
    if not progress:
        raise InputError(f"{option}: {path} has no checkpoint to go on from; {anew}")
    if ends.get("epochs", begun) < begun:
        raise InputError(f"{option}: {path} is of {begun} epochs already; pass more")
    patience = ends.get("patience", recipe.get("patience"))
    if "epochs" in ends and stagnates(progress.history, patience):
        raise InputError(
            f"{option}: {path} ended for {patience} epochs without a lower loss; pass more "
            "--patience, too"
        )


def as_options(values):
    """{name: value} as the command line has them."""
    return " ".join(f"{flag(name)} {value}" for name, value in values.items())


def command_anew(record):
    """The command of a training of the same network and recipe from the last weights of one whose
    Record has these fields.
    """
    words = ["--arrays", record["arrays"], "--weights", str(Paths(record["name"]).last_weights)]
    for name in KEPT:
        value = record["options"].get(name)
        if value is False:
            words.append(flag(f"no_{name}"))
        elif name == "class_weights" and value:
            words += [flag(name), ",".join(f"{weight:g}" for weight in value)]
        elif isinstance(value, list | tuple) and value:
            words += [flag(name), *value]
        elif value not in (None, True, [], ()):
            words += [flag(name), str(value)]
    return f"{command('train.py', 'NAME', record['job'])} {shlex.join(words)}"
