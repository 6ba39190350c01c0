"""The arrays that a training reads, and the options of one that was interrupted; no Keras."""

import contextlib
import json
import sys
from dataclasses import replace

from unet.data.arrays import FILES, find_arrays, has_arrays
from unet.errors import InputError, Stopped
from unet.options import flag
from unet.runs import Paths, command, from_json, read_record, run_name
from unet.training.checkpoint import find_checkpoint, read_progress, told
from unet.training.ends import ENDS, check_ends, describe_more, has_ended

# Options that may change when a training goes on: they say where it runs, not what it does.
FREE = ("resume", "devices", "hosts", "process_id", "tensorboard")
# Those that the recipe of a training has, which goes on with its own.
OF_RECIPE = (*ENDS, "steps_per_epoch")  # the last one as --minutes planned it


def options_to_resume(given, kind):
    """The options of the training that --resume goes on with, and those of FREE and ENDS that are
    given; where there is none, those given. Exits where that training is finished; raises
    InputError where other options differ.

    given: {name: value} on the command line; kind: the class of the options.
    """
    name = run_name(given["job"], given.get("name"))
    paths, path = Paths(name), find_checkpoint(name)
    progress = read_progress(path)
    if not progress and not paths.record.exists():
        print(f"weights/: no training of {name} was interrupted; a new one starts")
        return kind(**{**given, "resume": False})
    record = progress.record if progress else read_record(name)
    check_given(given, record.options, path if progress else paths.record)
    if not progress or progress.has_steps:
        check_ends(given, record, progress)
    more = ""
    if progress:
        with told(path):
            options = from_json(kind, record.options)
        ends = {key: getattr(record.recipe, key) for key in OF_RECIPE}
        new = {key: value for key, value in given.items() if key in (*FREE, *ENDS)}
        options = replace(options, job=given["job"], name=given.get("name"), **{**ends, **new})
        if path == paths.checkpoint or not has_ended(progress, options.epochs, options.patience):
            return options
        more = f"; {describe_more(progress)}"
    print(f"{paths.record}: this training is finished; next: python test.py {name}{more}")
    sys.exit(0)


def check_given(given, stored, path):
    """Raise InputError naming those options, {name: value}, that are given and not FREE nor ENDS
    and differ from the stored ones of a training, which `path` keeps.
    """

    def words(value):
        return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value

    differ = [
        f"{flag(name)} {words(value)} (it has {words(stored.get(name))})"
        for name, value in given.items()
        if name not in (*FREE, *ENDS)
        and json.loads(json.dumps(value)) != stored.get(name)
        and (name, value) != ("precision", "auto")  # it was chosen when the training began
    ]
    if differ:
        raise InputError(
            f"{path}: a training with other options: {', '.join(differ)}; leave these out, or "
            "start anew without --resume"
        )


def find_source(name, job, given, resume):
    """The folder in output/ that a training reads: that of an interrupted one, the given one, of
    --arrays, or what find_arrays says now. Raises InputError where --arrays names no arrays.
    """
    progress = read_progress(find_checkpoint(name)) if resume else None
    if given and not progress and not has_arrays(given):
        folder = Paths(given).arrays
        names = sorted(path.parent.name for path in folder.parent.glob(f"*/{FILES}"))
        there = f"there are those of {', '.join(names)}" if names else "first run data.py"
        raise InputError(f"--arrays {given}: there are none in {folder}; {there}")
    return progress.record.arrays if progress else given or find_arrays(name, job)


@contextlib.contextmanager
def told_how(name, job):
    """Context whose Stopped says how the training of a run goes on, where it can."""
    try:
        yield
    except Stopped as stop:
        if str(stop) == "stopped" and Paths(name).checkpoint.exists():  # not inside a step
            stop.args = (f"stopped; {command('train.py', name, job)} --resume goes on",)
        raise
