"""What a training reads, and the options of one that was interrupted; no Keras."""

import contextlib
import json
import sys

from unet.data.arrays import FILES, find_arrays, has_arrays, load_arrays
from unet.errors import InputError, Stopped
from unet.options import flag
from unet.runs import Paths, command, read_record, run_name
from unet.training.checkpoint import find_checkpoint, read_progress
from unet.training.ends import ENDS, check_ends, describe_more, has_ended

# Options that may change when a training goes on: they say where it runs, not what it does.
FREE = ("resume", "devices", "hosts", "process_id", "tensorboard")


def options_to_resume(given, known):
    """The options, {name: value}, of the training that --resume goes on with, and those of FREE
    and ENDS that are given; where there is none those given. Exits where that training is
    finished; raises InputError where other options differ.

    given: {name: value} on the command line; known: names of all options.
    """
    name = run_name(given["job"], given.get("name"))
    paths, path = Paths(name), find_checkpoint(name)
    progress = read_progress(path)
    if progress:
        if not set(progress.options) <= set(known):
            raise InputError(f"{path}: its options are damaged; leave --resume out")
        options = options_that_go_on(given, progress.options, path)
        if progress.record:
            check_ends(given, progress.record, progress)
        if path == paths.checkpoint or not is_at_its_end(progress, options):
            return options
    elif not paths.record.exists():
        print(f"weights/: no training of {name} was interrupted; a new one starts")
        return {**given, "resume": False}
    else:
        record = read_record(name)
        options_that_go_on(given, record.options or given, paths.record)
        check_ends(given, vars(record))
    more = ""
    if progress:
        more = f"; {describe_more(name, given['job'], progress)}"
    print(f"{paths.record}: this training is finished; next: python test.py {name}{more}")
    sys.exit(0)


def is_at_its_end(progress, options):
    """Whether a finished training has nothing to do with these options, {name: value}."""
    epochs, patience = (options.get(name) or progress.record["recipe"].get(name) for name in ENDS)
    return has_ended(progress, epochs, patience)


def options_that_go_on(given, stored, path):
    """The options, a dict, of the training that `path` keeps, with those of FREE and ENDS that are
    given now; raises InputError naming the others that are given and differ.
    """
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
    stored = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
    return {**stored, **{name: v for name, v in given.items() if name in (*FREE, *ENDS)}}


def words(value):
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def find_source(name, job, given, resume):
    """The folder in output/ that a training reads: that of an interrupted one, the given one, of
    --arrays, or what find_arrays says now. Raises InputError where --arrays names no arrays.
    """
    progress = read_progress(find_checkpoint(name)) if resume else None
    if progress and progress.arrays:
        return progress.arrays
    if given and not has_arrays(given):
        folder = Paths(given).arrays
        names = sorted(path.parent.name for path in folder.parent.glob(f"*/{FILES}"))
        there = f"there are those of {', '.join(names)}" if names else "first run data.py"
        raise InputError(f"--arrays {given}: there are none in {folder}; {there}")
    return given or find_arrays(name, job)


def read_arrays(name, job, given, resume):
    """The Arrays that a training reads."""
    source = find_source(name, job, given, resume)
    arrays = load_arrays(source, job)
    first = arrays.test_files[0] if arrays.test_files else None
    if first and first["mask"] and not first["id"].startswith("test_"):  # only noise has masks
        print(
            f"{Paths(source).arrays}: drawn by an earlier version, not as the document draws; for "
            f"its own images run {command('data.py', source, job)} first"
        )
    return arrays


@contextlib.contextmanager
def told_how(name, job):
    """Context whose Stopped says how the training of a run goes on, where it can."""
    try:
        yield
    except Stopped as stop:
        if str(stop) == "stopped" and Paths(name).checkpoint.exists():  # not inside a step
            stop.args = (f"stopped; {command('train.py', name, job)} --resume goes on",)
        raise
