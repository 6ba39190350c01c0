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
from conftest import ROOT, refusal

import data
import train
from model import build_unet
from unet.errors import is_out_of_memory, one_line_errors
from unet.jobs import RECIPES
from unet.machine import memory
from unet.machine.devices import Devices
from unet.training import steps
from unet.training.callbacks import RunFiles

SMALL = ("network.filters=4,8", "network.bottleneck=8", "network.decoder_filters=")


@pytest.fixture
def noise(place):
    data.prepare(data.Options(image_size=(64, 64), num_images=2))
    return train.Options(job="noise", epochs=2, steps_per_epoch=2, set=SMALL)


@pytest.mark.skipif(not Path(memory.MEMINFO).exists(), reason="looks there")
def test_a_batch_that_cannot_fit_is_refused_before_the_first_step(noise, place):
    line = refusal("train.py", "noise", "--batch-size", 10**6)
    found = re.search(
        r"a step of 1000000 images of 64x64 by 32,64,128,256,512 filters takes at least ([\d.]+) "
        r"GB, and ([\d.]+) GB are free on the processor, \w+; pass --batch-size (\d+), or --set "
        r"network.filters=16,32,64,128,256, or data.py smaller images, by --tile-size",
        line,
    )
    assert found, line
    need, free, batch = map(float, found.groups())
    assert need > free
    assert 0 < batch < 10**6 * free / need
    assert not list(Path("weights").glob("noise.*"))


def test_a_batch_of_one_that_does_not_fit_gets_no_smaller_one(noise, monkeypatch):
    monkeypatch.setattr(steps, "free_memory", lambda: 10**5)
    with pytest.raises(ValueError, match="0.0 GB are free .*; pass --set network.filters=2,4,"):
        train.train_predict(noise)


# Bytes that two steps took beyond what there was before them, the most at any time, on TensorFlow
# on a processor.
MEASURED = [
    ("document", "noise", (256, 256), 4, 522e6),
    ("document", "noise", (256, 256), 24, 3119e6),
    ("document", "nerve", (64, 96), 32, 617e6),
    ("document", "car", (256, 384), 12, 2821e6),
    ("document", "membrane", (572, 572), 1, 1243e6),
    ("modern", "own", (256, 256), 4, 625e6),
    ("modern", "own", (256, 256), 16, 1829e6),
]


@pytest.mark.parametrize(("recipe", "job", "size", "batch", "taken"), MEASURED)
def test_what_fits_is_not_refused(monkeypatch, recipe, job, size, batch, taken):
    network = replace(RECIPES[recipe][job].network, image_size=size)
    model = build_unet(network)
    monkeypatch.setattr(steps, "free_memory", lambda: 0.7 * taken)
    steps.check_memory(model, batch, Devices())
    monkeypatch.setattr(steps, "free_memory", lambda: taken / 4)
    with pytest.raises(ValueError, match=f"a step of {batch} images"):
        steps.check_memory(model, batch, Devices())


def test_a_host_has_its_part_of_a_batch_and_its_processors_share_one_memory(monkeypatch):
    model = build_unet(RECIPES["document"]["noise"].network)
    need = steps.LEAST * steps.image_bytes(model) * 8 + 4 * model.count_params()
    monkeypatch.setattr(steps, "free_memory", lambda: 1.1 * need)
    steps.check_memory(model, 16, Devices(("0", "1"), 2, 0))
    with pytest.raises(ValueError, match="a step of 16 images"):
        steps.check_memory(model, 16, Devices(("0", "1")))


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


@pytest.fixture
def linux(place, monkeypatch):
    """A machine with 8 GB and 1 GB of swap that are free, in files."""
    (place / "meminfo").write_text("MemAvailable:    8000000 kB\nSwapFree: 1000000 kB\n")
    (place / "cgroup").write_text("4:memory:/of/host\n3:cpu:/\n0::/a/b\n")
    monkeypatch.setattr(memory, "MEMINFO", str(place / "meminfo"))
    monkeypatch.setattr(memory, "CGROUP", str(place / "cgroup"))
    monkeypatch.setattr(memory, "CGROUP_FOLDERS", (str(place / "two"), str(place / "one")))
    return place


def test_free_is_what_the_system_and_the_process_group_have_left(linux):
    assert memory.free_beside_processor() == 9_000_000 * 1024
    inner = linux / "two/a"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("3000\n")
    (inner / "memory.stat").write_text("anon 2000\ninactive_file 400\nactive_file 200\n")
    assert memory.free_beside_processor() == 9_000_000 * 1024
    (inner / "memory.max").write_text("5000\n")
    assert memory.free_beside_processor() == 2600
    (linux / "one").mkdir()  # where a container sees its own group
    (linux / "one/memory.limit_in_bytes").write_text("2500\n")
    (linux / "one/memory.usage_in_bytes").write_text("1000\n")
    (linux / "one/memory.stat").write_text("total_inactive_file 100\ninactive_file 9\n")
    assert memory.free_beside_processor() == 1600
    (linux / "one/memory.limit_in_bytes").write_text("9223372036854771712\n")  # none
    assert memory.free_beside_processor() == 2600
    (linux / "meminfo").unlink()
    assert memory.free_beside_processor() is None
