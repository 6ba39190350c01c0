"""Trainings in processes of their own, without a wait for Keras in each: one that has imported
train.py forks another for each line of JSON that it reads, and answers with the exit status.

A line: arguments; folder; and when to kill it: `after` seconds, or `inside` the writing of its
so-manieth checkpoint.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import callbacks
import options
import train

callbacks.INTERVAL = 0.3


def run(arguments):
    """What python train.py does, but for what it does before Keras is there."""
    sys.argv = ["train.py", *arguments]
    given = options.parse_given(train.Options, "train.py", train.__doc__, arguments)
    with options.one_line_errors():
        train.main(train.read_options(given))


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
    task = json.loads(line)
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
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
