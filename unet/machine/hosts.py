"""Several machines that train or predict together: a process of each, which ends when one is gone.

Nothing heavy is imported here: the processes are there before JAX is.
"""

import contextlib
import ctypes
import os
import re
import signal
import socket
import sys
import time

from unet.errors import InputError, check_range, one_line_errors, refuse

JOIN_TIMEOUT = 60  # seconds that hosts wait for each other to start
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def check_devices(devices, hosts, process_id):
    """Raise InputError for --devices, --hosts and --process-id that mean nothing."""
    is_number = devices.isdecimal() and int(devices) > 0
    addresses = [] if hosts is None else hosts.split(",")
    refuse(
        (
            devices != "all" and not is_number,
            f"--devices {devices}: expected a number from 1 on, or all",
        ),
        (hosts is None and process_id, f"--process-id {process_id}: goes with --hosts; pass both"),
        (
            hosts is not None and len(set(addresses)) < max(2, len(addresses)),
            f"--hosts {hosts}: expected two addresses or more, each once",
        ),
    )
    for address in addresses:
        found = re.fullmatch(".+:([0-9]+)", address)
        if not found or not 0 < int(found[1]) < 65536:
            raise InputError(f"--hosts {hosts}: {address!r} is not HOST:PORT")
    if addresses:
        check_range("--process-id", process_id, 0, len(addresses) - 1)


def watch_process(hosts, process_id):
    """With --hosts, go on in a child process. JAX aborts a process whose leader is gone, from
    within and with a dump of its stack; the parent ends that with one line and exit status 1.
    """
    if not hosts or not hasattr(os, "fork"):
        return
    child = os.fork()
    if not child:
        if sys.platform == "linux":  # not to go on when the parent is killed
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        return

    def stop(number, frame):
        os.kill(child, signal.SIGKILL)  # JAX takes SIGTERM for itself and goes on
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child has it, too
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        say_gone(process_id, f"signal {os.WTERMSIG(status)}")
        os._exit(1)
    os._exit(os.waitstatus_to_exitcode(status))


def meet(addresses, process_id):
    """Wait until a process of each host is there, at the first address; raises InputError naming
    who is not after JOIN_TIMEOUT. JAX would abort then, and is deaf to Ctrl-C while it waits.
    """
    host, _, port = addresses[0].rpartition(":")
    deadline = time.monotonic() + JOIN_TIMEOUT
    hosts = f"--hosts {','.join(addresses)}"
    remedy = "start one process on each host with the same --hosts and its own --process-id"
    if process_id == 0:
        _wait_for_all(hosts, len(addresses), int(port), deadline, remedy)
        return
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host, int(port)), timeout=5) as leader,
        ):
            leader.sendall(bytes([process_id]))
            leader.settimeout(max(deadline - time.monotonic(), 0.01))
            if leader.recv(1):
                return
        time.sleep(0.5)
    raise InputError(f"{hosts}: process 0 did not answer within {JOIN_TIMEOUT} s; {remedy}")


def _wait_for_all(hosts, count, port, deadline, remedy):
    """The first process's part of meet: let all of them go once they are there."""
    others = {}
    try:
        with socket.create_server(("", port)) as server:
            while len(others) < count - 1:
                server.settimeout(max(deadline - time.monotonic(), 0.01))
                other = server.accept()[0]
                other.settimeout(5)
                with contextlib.suppress(OSError):  # a stranger, who says nothing or hangs up
                    number = int.from_bytes(other.recv(1), "big")
                    if 0 < number < count:
                        others[number] = other
    except TimeoutError as error:
        missing = ", ".join(str(n) for n in range(1, count) if n not in others)
        raise InputError(
            f"{hosts}: process {missing} did not come within {JOIN_TIMEOUT} s; {remedy}"
        ) from error
    except OSError as error:
        raise InputError(f"{hosts}: port {port} here: {error.strerror}; pass another") from error
    for other in others.values():
        with other, contextlib.suppress(OSError):  # JAX finds out who has gone since
            other.sendall(b"!")


@contextlib.contextmanager
def stop_with_hosts(hosts, process_id):
    """With --hosts, end this process at once when the block fails: as
    one_line_errors does for a user's mistake and Ctrl-C, else with say_gone and exit status 1.
    """
    if not hosts:
        yield
        return
    try:
        with one_line_errors():
            yield
    except SystemExit as end:
        status = end.code
    except Exception as error:
        message = " ".join(str(error).split())[:200]
        say_gone(process_id, f"{type(error).__name__}: {message}")
        status = 1
    else:
        return
    sys.stdout.flush()
    os._exit(status)  # an ordinary exit would wait for the others


def say_gone(process_id, reason):
    """The line with which a process ends because another is gone, or because it failed itself."""
    print(
        f"\nerror: process {process_id}: another host is gone, or this one failed ({reason}); "
        "what process 0 wrote is whole; start all of them again",
        file=sys.stderr,
        flush=True,
    )
