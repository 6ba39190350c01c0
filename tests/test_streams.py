"""What a script's error stream shows, and what it does not."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec

import pytest
from conftest import ROOT, run_anew

SCRIPT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from unet.errors import one_line_errors
with one_line_errors():
    import tensorflow
    tensorflow.log.warning("later")
"""
# What TensorFlow does as it is imported, as far as the error stream can tell.
TENSORFLOW = """
import logging, os, sys, warnings
os.write(2, b"oneDNN custom operations are on\\n")
print("print \\u00fc", file=sys.stderr)
warnings.warn("a warning")
log = logging.getLogger("x")
log.addHandler(logging.StreamHandler(sys.stderr))
"""


@pytest.fixture
def start(place, monkeypatch):
    """Runs SCRIPT with a package tensorflow that does as it is told; the error stream's lines."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(place))

    def start(text="", status=0, **environment):
        (place / "tensorflow.py").write_text(TENSORFLOW + text)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stderr.splitlines()

    return start


def test_what_python_writes_while_tensorflow_is_imported_is_shown(start):
    lines = start()
    assert lines[0] == "print ü"
    assert "UserWarning: a warning" in lines[1]
    assert lines[-1] == "later"
    assert not any("oneDNN" in line for line in lines)
    assert start(PYTHONIOENCODING="ascii", LC_ALL="C")[-1] == "later"


@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_a_level_of_the_users_own_shows_what_tensorflow_writes(start, level):
    assert any("oneDNN" in line for line in start(TF_CPP_MIN_LOG_LEVEL=level))


def test_what_an_import_wrote_that_fails_is_shown_whole(start):
    long = "import os\nos.write(2, b'x' * 99_999 + b'\\n')\n"
    lines = start(long + "raise ImportError('no such symbol')", status=2)
    assert "oneDNN custom operations are on" in lines
    assert "x" * 99_999 in lines
    assert lines[-1].startswith("error: a package cannot be loaded (no such symbol)")
    lines = start(long + "1 / 0", status=1)
    assert "x" * 99_999 in lines
    assert lines[-1].startswith("ZeroDivisionError")


def test_a_signal_during_the_import_says_stopped(start):
    lines = start("os.kill(os.getpid(), 2)", status=128 + signal.SIGINT)
    assert lines[-1] == "stopped"


def test_a_child_of_a_script_is_as_quiet_as_it(start):
    lines = start("if os.fork(): os._exit(os.waitstatus_to_exitcode(os.wait()[1]))")
    assert lines.count("later") == 1
    assert not any("oneDNN" in line for line in lines)


def test_a_script_runs_with_its_error_stream_closed(start, place):
    start()  # writes the package
    (place / "script.py").write_text(SCRIPT + "    open('file', 'w').write('whole')\n")
    command = f"{sys.executable} script.py 2>&-"
    assert subprocess.run(command, shell=True, check=False).returncode == 0
    assert (place / "file").read_text() == "whole"


@pytest.mark.parametrize(
    "backend", [name for name in ("tensorflow", "jax", "torch") if find_spec(name)]
)
def test_a_backend_says_nothing_of_itself(place, monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert run_anew("model.py", "noise").stderr == ""
