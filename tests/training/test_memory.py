"""A training for which there is not enough memory."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import data
import train
from unet.errors import is_out_of_memory, one_line_errors
from unet.training.callbacks import RunFiles

SMALL = ("network.filters=4,8", "network.bottleneck=8", "network.decoder_filters=")


@pytest.fixture
def noise(place):
    data.prepare(data.Options(image_size=(64, 64), num_images=2))
    return train.Options(job="noise", epochs=2, steps_per_epoch=2, set=SMALL)


def test_memory_that_is_gone_in_the_second_epoch_costs_nothing(noise, place, monkeypatch):
    train.train_predict(noise)
    whole = train.load_run("noise").networks[0].model.get_weights()
    shutil.rmtree("weights")
    begin = RunFiles.on_epoch_begin

    def fail(files, epoch, logs=None):
        if epoch:
            raise MemoryError("std::bad_alloc")
        begin(files, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "on_epoch_begin", fail)
        with pytest.raises(ValueError, match=r"MemoryError.* --resume goes on after noise, 1 ep"):
            train.train_predict(noise)
    train.train_predict(replace(noise, resume=True))
    left = train.load_run("noise").networks[0].model.get_weights()
    assert all(map(np.array_equal, left, whole))


# A step that asks the backend for a petabyte.
SCRIPT = """
import runpy, sys
sys.path.insert(0, {root!r})
import keras
from unet.training import fit
fit.fit = lambda *arguments: keras.ops.zeros((2**20, 2**20, 2**8)) + 1
sys.argv = ["train.py", *sys.argv[1:]]
runpy.run_path({root!r} + "/train.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    "backend", [name for name in ("tensorflow", "jax", "torch") if find_spec(name)]
)
def test_what_a_backend_raises_is_one_line(noise, place, monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    command = [sys.executable, "-c", SCRIPT.format(root=str(ROOT)), "noise", "--set", *SMALL]
    done = subprocess.run(
        [*command, "--batch-size", "4"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr[-3000:]
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: a step of 4 images of 64x64 by 4,8 filters takes more memory ")
    assert f" on the processor, {backend} (" in line
    assert line.endswith(
        "; pass --batch-size 2, or --set network.filters=2,4, or data.py smaller images, by "
        "--tile-size or --image-size"
    )
    assert "Traceback" not in done.stderr
    assert not list(Path("weights").glob("noise.*"))  # nothing to go on from


ERRORS = [
    MemoryError("Unable to allocate 3.5 GiB for an array with shape (1, 2)"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 34359738368 bytes."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
    RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    OSError(12, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_of_memory_is_known(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes (1, 2) and (3, 4) do not match"))


@pytest.mark.parametrize("error", ERRORS[:-1])
def test_memory_that_is_gone_outside_a_step_is_one_line(error, capsys):
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert ended.value.code == 2
    name = type(error).__name__
    assert re.fullmatch(
        f"error: not enough memory \\({name}: .*\\); end other programs, or take smaller images: "
        "data.py's --tile-size or --image-size\n",
        capsys.readouterr().err,
    )
