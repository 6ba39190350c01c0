"""The error stream, without what TensorFlow's C++ writes there as it is imported."""

import contextlib
import importlib.machinery
import os
import shutil
import sys
import tempfile

QUIET = "3"  # of TF_CPP_MIN_LOG_LEVEL: nothing but what ends the process


@contextlib.contextmanager
def divert(file):
    """Context in which all but Python writes to an open file, not to the error stream."""
    python = sys.stderr
    python.flush()
    # Closed when nobody has it any more: what is imported meanwhile may keep it to log to.
    stderr = open(os.dup(2), "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    if python is sys.__stderr__:
        sys.stderr = stderr
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr.fileno(), 2)
        sys.stderr = python


@contextlib.contextmanager
def hold_back():
    """Context in which that is held back, and shown whole where the block fails."""
    with tempfile.TemporaryFile() as held:
        try:
            with divert(held):
                yield
        except BaseException:
            held.seek(0)
            with open(2, "wb", closefd=False) as stderr:
                shutil.copyfileobj(held, stderr)
            raise


class QuietTensorFlow(importlib.machinery.PathFinder):
    """Finds TensorFlow, whoever imports it, so that its first lines are held back: it writes them
    before it reads TF_CPP_MIN_LOG_LEVEL.
    """

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "tensorflow" or os.environ.get("TF_CPP_MIN_LOG_LEVEL") != QUIET:
            return None
        spec = super().find_spec(name, path, target)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def exec_module(module):
                with hold_back():
                    execute(module)

            spec.loader.exec_module = exec_module
        return spec


@contextlib.contextmanager
def error_stream():
    """Context in which a script has an error stream, where TensorFlow writes nothing of its own;
    a TF_CPP_MIN_LOG_LEVEL that is set stays, and any but 3 lets its first lines through.
    """
    if sys.stderr is None:  # closed; else the next file gets its number, and what C++ writes
        sys.stderr = sys.__stderr__ = open(os.devnull, "w")  # noqa: SIM115
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", QUIET)
    sys.meta_path.insert(0, QuietTensorFlow)
    try:
        yield
    finally:
        sys.meta_path.remove(QuietTensorFlow)
