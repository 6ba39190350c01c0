"""Scripts in processes of their own, without a wait for their imports in each: a process that has
imported TensorFlow and the project, but computed nothing, forks another for each line of JSON that
it reads, and answers with JSON.

python tests/forks.py FOLDER-OF-THE-SCRIPTS

A line has: script, a file or "-m benchmarks.NAME"; arguments; folder; environment; out and err,
files that its output is added to; limit, in seconds; attributes to set, {"module.name": value};
and what kills it: `after` seconds, or `inside` the so-manieth writing of the file `partial`. The
answer: status, seconds, and the megabytes that it took at most.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import sys
import time
import traceback
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # as a script sets it before TensorFlow reads it
sys.path[0] = sys.argv[1]  # the folder of the scripts, as these have it

import unet  # noqa: E402

for room in pkgutil.walk_packages(unet.__path__, "unet."):
    importlib.import_module(room.name)
for name in ("data", "model", "train", "test", "submission"):
    for value in list(vars(importlib.import_module(name)).values()):
        if isinstance(value, type(sys)):  # what it imports at its first use
            importlib.import_module(value.__name__)
del name, room, value
import tensorflow  # noqa: E402, F401


def begin(task):
    """Make a child of this process what `python SCRIPT` would be."""
    os.chdir(task["folder"])
    os.environ.clear()
    os.environ.update(task["environment"])
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
    streams = os.open(os.devnull, os.O_RDONLY), *(os.open(task[o], flags) for o in ("out", "err"))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    unet.BEGAN = time.monotonic()
    for path, value in task["attributes"].items():
        module, _, name = path.rpartition(".")
        setattr(importlib.import_module(module), name, value)


def run(script, arguments):
    """Run a script; returns its exit status."""
    sys.argv = [script, *arguments]
    try:
        if script.startswith("-m "):
            runpy.run_module(script.removeprefix("-m "), run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def watch(child, task):
    """Wait for a child, and kill it when it is to die; returns status, seconds and megabytes."""
    start, ended = time.monotonic(), os.pidfd_open(child)
    if "inside" in task:
        wait_inside(child, Path(task["folder"], task["partial"]), task["inside"])
        os.kill(child, signal.SIGKILL)  # no error where it has ended: nobody has waited for it
    if not select.select([ended], [], [], task.get("after", task["limit"]))[0]:
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    _, status, usage = os.wait4(child, 0)
    return dict(
        status=os.waitstatus_to_exitcode(status),
        seconds=time.monotonic() - start,
        megabytes=usage.ru_maxrss / 1000,
    )


def wait_inside(child, partial, count):
    """Until a file is begun for the count-th time, or the child has ended."""
    was_there = False
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        is_there = partial.exists()
        count -= is_there and not was_there
        was_there = is_there
        if count == 0:
            return


gc.collect()
gc.freeze()  # so that a child's collections do not copy its pages
while line := sys.stdin.readline():
    task = json.loads(line)
    child = os.fork()
    if not child:
        begin(task)
        status = run(task["script"], task["arguments"])
        sys.stdout.flush()
        os._exit(status)  # without 0.2 s in which Python would take all of it down
    print(json.dumps(watch(child, task)), flush=True)
