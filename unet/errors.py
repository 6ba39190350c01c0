"""Mistakes that a user can fix: the error, checks that raise it, and its one line at the end."""

import contextlib
import importlib.util
import json
import logging
import math
import numbers
import os
import re
import signal
import sys
import threading

from unet.streams import error_stream

BACKENDS = ("tensorflow", "jax", "torch")  # of Keras, that the project runs on
# In the texts of TensorFlow, XLA, PyTorch, CUDA and C++, in small letters.
SIGNS = (
    "resource_exhausted",
    "out of memory",
    "out_of_memory",
    "oom when",
    "allocate memory",
    "alloc_failed",
    "bad_alloc",
)


class InputError(ValueError):
    """A mistake that the user can fix; the message names the file, what was found, what is allowed
    and what to do.
    """


def refuse(*rules):
    """Raise InputError with the text of the first of the rules, (whether it is broken, text), that
    is broken.
    """
    for is_broken, text in rules:
        if is_broken:
            raise InputError(text)


class Stopped(KeyboardInterrupt):
    """SIGINT (Ctrl-C) or SIGTERM asked a script to end; the text says what is kept."""

    def __init__(self, number=signal.SIGINT, message="stopped"):
        super().__init__(message)
        self.status = 128 + number  # as shells have it


def check_range(name, value, least, most=math.inf):
    """Raise InputError for a number outside least..most; None passes."""
    if value is not None and not least <= value <= most:  # not a number, too
        allowed = f"at least {least}" if most == math.inf else f"{least} to {most}"
        raise InputError(f"{name} {value}: expected {allowed}")


def check_whole(name, value, least=1):
    """Raise InputError for what is no whole number of at least `least`."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise InputError(f"{name} {value!r}: expected a whole number of at least {least}")


def check_image_size(size):
    """Raise InputError for what is no pair of lengths in pixels, (H, W), None for any."""
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise InputError(f"image size {size!r}: expected height and width")
    for length in size:
        if length is not None:
            check_whole("image size", length)


def split_input_size(size):
    """((H, W), C) of an input size (H, W, C), H and W None for any; raises InputError."""
    if not isinstance(size, tuple | list) or len(size) != 3:
        raise InputError(f"input_size {size!r}: expected height, width and channels")
    check_image_size(size[:2])
    check_whole("channels", size[2])
    return tuple(size[:2]), size[2]


def check_name(name):
    """Raise InputError for a run's name that cannot name files; None passes."""
    if name is None:
        return
    is_device = re.fullmatch("con|prn|aux|nul|com[0-9]|lpt[0-9]", name.lower())  # of Windows
    if is_device or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise InputError(
            f"{name!r} cannot name a run: expected up to 64 letters, digits, - and _, a letter or "
            "a digit first"
        )


def check_backend():
    """Raise InputError where KERAS_BACKEND, or else keras.json, names a backend that the project
    does not run on, or one that is not installed.
    """
    backend, known = os.environ.get("KERAS_BACKEND"), ", ".join(BACKENDS)
    named = f"KERAS_BACKEND={backend}"
    if not backend:
        home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
        path = os.path.join(home, "keras.json")
        with contextlib.suppress(OSError, ValueError, AttributeError):  # which Keras ignores, too
            with open(path, encoding="utf-8") as file:
                backend = json.load(file).get("backend")
            named = f"{path}: backend {backend}"
    if not backend or named.endswith("keras.json: backend tensorflow"):
        return
    is_missing = backend in BACKENDS and not importlib.util.find_spec(backend)
    refuse(
        (backend not in BACKENDS, f"{named}: expected {known}"),
        (
            is_missing,
            f"{named}: the package {backend} is not installed; pip install {backend}, or set "
            f"KERAS_BACKEND to another of {known}",
        ),
    )


def error_text(error):
    """An error in one line; an OSError with its file's name."""
    if isinstance(error, OSError) and error.filename:
        error = f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def is_of_system(error):
    """True for an error of the system about a file, one that may not be read, say, and False for
    what is wrong in its content.
    """
    return isinstance(error, OSError) and error.filename is not None


def is_out_of_memory(error):
    """True for an error of a backend, or Python's own, that says that memory ran out."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in SIGNS)


def import_text(error):
    """An ImportError in one line: the package that is not there, or cannot be loaded."""
    if not isinstance(error, ModuleNotFoundError):
        return (
            f"a package cannot be loaded ({error_text(error)}); pip install -r requirements.txt "
            "in a new virtual environment"
        )
    package = error.name or "".join(re.findall("'(.*)'", str(error)))  # some leave the name out
    package = package.partition(".")[0]
    remedy = "activate the virtual environment, or pip install -r requirements.txt"
    if package in BACKENDS[1:]:
        remedy = f"pip install {package}"
    return f"the package {package} is not installed; {remedy}"


@contextlib.contextmanager
def one_line_errors():
    """Turn a user's mistake inside the block, a package that is missing, or memory, into one line
    and exit status 2, a training that computed no number into status 1, SIGINT and SIGTERM into
    130 and 143.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its hints about retracing
    # Its hint at a card without CUDA, which unet.machine.cards gives with what to install.
    logging.getLogger("jax._src.xla_bridge").addFilter(
        lambda record: "NVIDIA GPU may be" not in record.getMessage()
    )
    status = 2
    try:
        with error_stream(), stop_signals():
            yield
    except (InputError, OSError) as error:
        message = error_text(error)
    except ImportError as error:
        if (error.name or "").startswith("unet"):  # ours, not the user's
            raise
        message = import_text(error)
    except FloatingPointError as error:
        message, status = error_text(error), 1
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message = (
            f"not enough memory ({type(error).__name__}: {error_text(error)[:200]}); end other "
            "programs, or take smaller images: data.py's --tile-size or --image-size"
        )
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'stopped'}", file=sys.stderr)
        sys.exit(getattr(stop, "status", 130))
    else:
        return
    print("error: " + "".join(c if c.isprintable() else "?" for c in message), file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def stop_signals():
    """Context in which SIGINT and SIGTERM raise Stopped; while modules are imported, which may
    swallow that, they end the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number, frame):
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(sys.stderr.fileno(), b"\nstopped\n")
            os._exit(128 + number)
        frame = frame.f_back
    raise Stopped(number)
