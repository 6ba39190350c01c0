"""When a training ends: after its epochs, or once its loss has stopped falling; no Keras."""

from unet.errors import refuse
from unet.options import flag
from unet.runs import Paths, command
from unet.training.checkpoint import find_checkpoint

ENDS = ("epochs", "patience")  # fields of a recipe that may change when a training goes on


def loss_of(row):
    """The loss of a history's row: the validation's where there is one."""
    return row.get("val_loss", row["loss"])


def stagnates(history, patience):
    """Whether the loss, the validation's where there is one, has had no new low for `patience`
    epochs, after a history of them, a dict each; never where that is None.
    """
    losses = [loss_of(row) for row in history]
    return bool(losses and patience) and len(losses) - losses.index(min(losses)) > patience


def has_ended(progress, epochs, patience):
    """Whether a Progress is at its end, with so many epochs and that patience."""
    is_through = progress.epoch >= epochs or stagnates(progress.history, patience)
    return progress.has_steps and not progress.step and is_through


def describe_more(progress):
    """The command that goes on with a finished training, for a reader."""
    record = progress.record
    more = "--patience N" if stagnates(progress.history, record.recipe.patience) else "--epochs N"
    return f"{command('train.py', Paths(record.name).run, record.job)} --resume {more} goes on"


def check_ends(given, record, progress=None):
    """Raise InputError where epochs or patience that are given, {name: value}, cannot be those of
    a training that goes on.

    record: of the run; progress: its Progress, None where no checkpoint is left.
    """
    paths, recipe = Paths(record.name), record.recipe
    changed = {name: given.get(name, getattr(recipe, name)) for name in ENDS}
    ends = {name: value for name, value in changed.items() if value != getattr(recipe, name)}
    if not ends:
        return
    path = find_checkpoint(paths.run) if progress else paths.record
    begun = progress.epoch + bool(progress.step) if progress else recipe.epochs
    option = " ".join(f"{flag(name)} {value}" for name, value in ends.items())
    anew = (
        "train another from its weights: "
        f"{command('train.py', 'NAME', record.job)} --arrays {record.arrays} --weights "
        f"{paths.last_weights}, with the options of {paths.record}"
    )
    has_stopped = progress and stagnates(progress.history, changed["patience"])
    refuse(
        (
            paths.fold or record.folds,
            f"{option}: {path} is of folds, which all end alike; leave it out",
        ),
        (
            recipe.cosine and ("epochs" in ends or not progress),
            f"{option}: the rate of {path} falls along a cosine over {recipe.epochs} epochs, no "
            f"others; {anew}",
        ),
        (not progress, f"{option}: {path} has no checkpoint to go on from; {anew}"),
        (changed["epochs"] < begun, f"{option}: {path} is of {begun} epochs already; pass more"),
        (
            "epochs" in ends and has_stopped,
            f"{option}: {path} ended for {changed['patience']} epochs without a lower loss; pass "
            "more --patience, too",
        ),
    )
