"""Scripts in processes of their own, without a wait for their imports in each: a process that has
imported one of them forks another for each line of JSON that it reads, and answers with JSON.

python tests/forks.py train

A line: arguments; folder; and when to kill it: `after` seconds, or `inside` the writing of its
so-manieth checkpoint. The answer: status, seconds, and the megabytes that it took at most.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from unet.errors import one_line_errors
from unet.options import parse_given

SCRIPT = importlib.import_module(sys.argv[1])
if sys.argv[1] == "train":
    from unet.training import callbacks

    callbacks.INTERVAL = 0.3


def run(arguments):
    """What python SCRIPT does, but for what it does before its imports."""
    name = f"{SCRIPT.__name__}.py"
    sys.argv = [name, *arguments]
    with one_line_errors():
        given = parse_given(SCRIPT.Options, name, SCRIPT.__doc__, arguments)
        read_options = getattr(SCRIPT, "read_options", lambda given: SCRIPT.Options(**given))
        SCRIPT.main(read_options(given))


def kill_inside(child, partial, count):
    """Kill a process when it has begun to write a file for the count-th time."""
    was_there = False
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        is_there = partial.exists()
        count -= is_there and not was_there
        was_there = is_there
        if count == 0:
            os.kill(child, signal.SIGKILL)
            return


for line in sys.stdin:
    task, start = json.loads(line), time.monotonic()
    child = os.fork()
    if not child:
        os.chdir(task["folder"])
        log = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        run(task["arguments"])
        sys.stdout.flush()
        os._exit(0)
    if "after" in task:
        time.sleep(task["after"])
        os.kill(child, signal.SIGKILL)
    elif "inside" in task:
        partial = Path(task["folder"], "weights", f".partial.{task['arguments'][0]}.checkpoint.h5")
        kill_inside(child, partial, task["inside"])
    _, status, usage = os.wait4(child, 0)
    answer = dict(
        status=os.waitstatus_to_exitcode(status),
        seconds=time.monotonic() - start,
        megabytes=usage.ru_maxrss / 1000,
    )
    print(json.dumps(answer), flush=True)
