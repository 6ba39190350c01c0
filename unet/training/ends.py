"""When a training ends: after its epochs, or once its loss has stopped falling; no Keras."""

from unet.errors import InputError
from unet.runs import Paths, command

ENDS = ("epochs", "patience")  # options of a training that may change when it goes on


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


def describe_more(name, job, recipe):
    """How a finished training goes on, from its recipe, a dict."""
    more = "--patience N" if recipe["cosine"] else "--epochs N"
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
    option = " ".join(f"--{name} {value}" for name, value in ends.items())
    job, arrays = record["job"], record["arrays"]
    anew = (
        f"train from its weights under another name: {command('train.py', 'NAME', job)} --arrays "
        f"{arrays} --weights {paths.last_weights} {option}"
    )
    path = paths.checkpoint if progress else paths.record
    if paths.fold or record["options"].get("folds"):
        raise InputError(f"{option}: {path} is of folds, which all end alike; leave it out")
    if "epochs" in ends and recipe.get("cosine"):
        use = f"use it as it is, {command('test.py', paths.run)}, or "
        raise InputError(
            f"{option}: the rate of {path} falls along a cosine over {recipe['epochs']} epochs, "
            f"no others; {use if progress else ''}{anew}"
        )
    if not progress:
        raise InputError(f"{option}: {paths.finished_checkpoint} is gone; {anew}")
    begun = progress.epoch + bool(progress.step)
    if ends.get("epochs", begun) < begun:
        raise InputError(f"{option}: {path} is in epoch {begun} already; pass more")
