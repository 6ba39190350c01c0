"""A batch shared by several devices and by several hosts, on processors that stand for them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, make_nerve, refusal, run, run_well, slow

from unet.jobs.settings import IGNORED, Reading
from unet.reading.values import reading_text
from unet.training.checkpoint import read_progress

pytestmark = slow
jax_only = pytest.mark.skipif(not find_spec("jax"), reason="not installed")
# Runs a script as `python SCRIPT ...` would, where asked for with TensorFlow's processor as two
# devices, and leaves the weights that a training starts and ends with in *.npz.
SCRIPT = """
import os, runpy, sys
import keras, numpy as np
if os.environ.get("TWO_PROCESSORS"):
    import tensorflow as tf
    half = [tf.config.LogicalDeviceConfiguration()]
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], half * 2)
fit = keras.Model.fit
def fit_and_save(model, *arguments, **options):
    np.savez("before.npz", *map(np.asarray, model.weights))
    fit(model, *arguments, **options)
    np.savez("weights.npz", *map(np.asarray, model.weights))
keras.Model.fit = fit_and_save
if os.environ.get("JOIN_TIMEOUT"):
    sys.path.insert(0, os.path.dirname(sys.argv[1]))
    from unet.machine import hosts
    hosts.JOIN_TIMEOUT = int(os.environ["JOIN_TIMEOUT"])
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# No Adam, which makes whole steps of what is but rounding.
TRAIN = ["train.py", "nerve", "--recipe", "modern", "--epochs", "2", "--learning-rate", "3e-3"]
TRAIN += ["--precision", "float32"]
TRAIN += ["--no-split-by-subject", "--set", "network.filters=4,8", "network.bottleneck=8"]
TRAIN += ["recipe.optimizer=sgd", "recipe.cosine=false"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two working directories with the same arrays: 9 images to train and to validate, 35 to
    test, more than are predicted at once.
    """
    pair = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    make_nerve(pair[0] / "raw", subjects=3, frames=3, num_test=35)
    for folder in pair:
        command = [sys.executable, ROOT / "data.py", "nerve", "--raw", pair[0] / "raw"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return pair


@pytest.fixture
def start():
    """Starts processes, whose groups are killed after the test, however it ends."""
    processes = []

    def start_one(folder, arguments, environment):
        script, *rest = arguments
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(ROOT / script), *rest],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(process, status=0):
    output = process.communicate(timeout=280)[0]
    assert process.returncode == status, output[-4000:]
    return output


def last_line(output):
    return [line for line in output.splitlines() if line][-1]


def trained(folder, name="weights.npz"):
    with np.load(folder / name) as file:
        return [file[name] for name in file.files]


def assert_equal(weights, expected, tolerance):
    assert len(weights) == len(expected)
    for a, b in zip(weights, expected):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def hosts():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return ["--hosts", f"127.0.0.1:{port},127.0.0.1:{port + 1}"]


@jax_only
def test_two_hosts_go_on_where_one_was_killed(start, folders):
    """And end with the weights that one would have come to."""
    first, second = folders
    environment = {"KERAS_BACKEND": "jax"}
    whole = [*TRAIN, "--epochs", "8", "--batch-size", "4"]
    finish(start(first, whole, environment))
    expected = trained(first)
    for folder in folders:
        shutil.rmtree(folder / "weights", ignore_errors=True)
    killed, path = start(first, whole, environment), first / "weights/nerve.checkpoint.h5"
    deadline = time.monotonic() + 100
    while not (path.exists() and read_progress(path).epoch):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    shutil.copytree(first / "weights", second / "weights")
    together = ["train.py", "nerve", "--resume", *hosts()]
    both = [
        start(folder, [*together, "--process-id", str(number)], environment)
        for number, folder in enumerate(folders)
    ]
    assert "; goes on after " in finish(both[0])
    finish(both[1])
    for folder in folders:
        assert_equal(trained(folder), expected, 1e-4)


ON_TENSORFLOW = pytest.param(  # 4 of 6 images, then 2
    {"KERAS_BACKEND": "tensorflow"},
    {"TWO_PROCESSORS": "1"},
    ["--batch-size", "4", "--split-by-subject", "--loss", "bce_dice"],
    id="tensorflow",
)
ON_JAX = pytest.param(  # 4 of 7 images, then 3, which two devices cannot share
    {"KERAS_BACKEND": "jax"},
    {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
    ["--batch-size", "4", "--validation-split", "0.2"],
    id="jax",
    marks=jax_only,
)


@pytest.mark.parametrize(("environment", "virtual", "sizes"), [ON_JAX])
def test_two_devices_train_the_weights_of_one(start, folders, environment, virtual, sizes):
    compare_devices(start, folders, environment, virtual, sizes)


@pytest.mark.parametrize(("environment", "virtual", "sizes"), [ON_TENSORFLOW, ON_JAX])
def test_two_devices_train_the_weights_of_one_where_pixels_do_not_count(
    start, folders, tmp_path, environment, virtual, sizes
):
    """Of which each image has another share, and one has nothing else; with weights of classes."""
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in folders]
    for folder in copies:
        masks = np.load(folder / "output/nerve/imgs_mask_train.npy")
        for number, mask in enumerate(masks):
            mask //= 255
            mask[: number * len(mask) // 8] = IGNORED
        np.save(folder / "output/nerve/imgs_mask_train.npy", masks)
        reading = reading_text(Reading(ignore=(9,)))
        (folder / "output/nerve/reading.json").write_text(reading)
    loss = ["--loss", "bce_dice", "--class-weights", "0.3,2"]
    compare_devices(start, copies, environment, virtual, [*sizes, *loss])


def compare_devices(start, folders, environment, virtual, sizes):
    first, second = folders
    finish(start(first, [*TRAIN, *sizes], environment))
    shared = [*TRAIN, *sizes, "--devices", "2"]
    assert "on 2 devices" in finish(start(second, shared, {**environment, **virtual}))
    assert_equal(trained(second), trained(first), 1e-4)
    before = zip(trained(second), trained(second, "before.npz"))
    assert max(np.abs(new - old).max() for new, old in before) > 3e-3


@jax_only
def test_two_hosts_train_the_weights_of_one_and_submit_its_file(start, folders, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.chdir(folders[0])
    arguments = [*TRAIN, "--batch-size", "4", "--validation-split", "0.2"]
    finish(start(folders[0], arguments, {}))
    alone, submitted = trained(folders[0]), Path("output/nerve/submission.csv")
    run_well("submission.py", "nerve")
    expected = submitted.read_text()
    probabilities = np.load("output/nerve/imgs_mask_test.npy")
    for path in (folders[1] / "weights").glob("nerve.*"):
        path.unlink()

    pair = hosts()
    processes = [
        start(folder, [*arguments, *pair, "--process-id", str(number)], {})
        for number, folder in enumerate(folders)
    ]
    outputs = [finish(process) for process in processes]
    assert "on 2 devices of 2 hosts" in outputs[0]
    assert_equal(trained(folders[0]), alone, 1e-4)
    assert_equal(trained(folders[1]), trained(folders[0]), 0)
    assert not list((folders[1] / "weights").glob("nerve.*"))  # the first alone writes
    assert (folders[0] / "vis/nerve/curves.png").exists()

    run_well("submission.py", "nerve")
    again = np.load("output/nerve/imgs_mask_test.npy")
    np.testing.assert_allclose(again, probabilities, rtol=0, atol=1e-4)
    expected = submitted.read_text()
    submitted.unlink()
    pair = hosts()
    processes = [
        start(folders[0], ["submission.py", "nerve", *pair, "--process-id", str(number)], {})
        for number in range(2)
    ]
    for process in processes:
        finish(process)
    assert submitted.read_text() == expected
    np.testing.assert_array_equal(np.load("output/nerve/imgs_mask_test.npy"), again)


def start_pair(start, folders, *arguments, second=()):
    """Two hosts that train together, the second with more options."""
    pair = hosts()
    return [
        start(
            folder,
            [*TRAIN, *arguments, *pair, "--process-id", str(number), *(second if number else ())],
            {"KERAS_BACKEND": "jax", "PYTHONUNBUFFERED": "1"},
        )
        for number, folder in enumerate(folders)
    ]


@jax_only
@pytest.mark.parametrize(("victim", "number"), [(0, signal.SIGKILL), (1, signal.SIGTERM)])
def test_a_host_that_dies_ends_the_others_with_a_line(start, folders, victim, number):
    processes = start_pair(start, folders, "--epochs", "100000")
    for line in processes[0].stdout:
        if "epoch 1/" in line:
            break
    began = time.monotonic()
    processes[victim].send_signal(number)
    line = last_line(finish(processes[1 - victim], status=1))
    assert line.startswith(f"error: process {1 - victim}: another host is gone")
    assert time.monotonic() - began < 30
    processes[victim].communicate(timeout=10)  # till nobody of it holds its output


@jax_only
def test_hosts_with_other_options_or_images_are_refused(start, folders, tmp_path):
    shutil.copytree(folders[1] / "output", tmp_path / "output")
    path = tmp_path / "output/nerve/imgs_mask_train.npy"
    np.save(path, 255 - np.load(path))
    processes = start_pair(start, [folders[0], tmp_path], second=["--seed", "2"])
    for process in processes:
        line = last_line(finish(process, status=2))
        assert "the hosts differ in --seed, output/nerve; start each" in line


@jax_only
def test_a_host_that_waits_in_vain_says_for_whom(start, folders, monkeypatch):
    monkeypatch.setenv("JOIN_TIMEOUT", "3")
    process = start_pair(start, folders[:1], "--epochs", "1")[0]
    assert "process 1 did not come within 3 s; start one" in last_line(finish(process, status=2))


@jax_only
def test_what_stops_one_host_stops_all_of_them(start, folders, tmp_path):
    pair = [tmp_path / folder.name for folder in folders]
    for folder, copy in zip(folders, pair):
        shutil.copytree(folder / "output", copy / "output")
    (pair[0] / "weights").touch()  # not a folder
    processes = start_pair(start, pair)
    assert "error: weights: File exists" in last_line(finish(processes[0], status=2))
    assert "another host is gone" in last_line(finish(processes[1], status=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "0"], "--devices 0: expected a number from 1 on, or all"),
        (["--devices", "two"], "--devices two: expected a number from 1 on, or all"),
        (["--hosts", "a:1,b"], "--hosts a:1,b: 'b' is not HOST:PORT"),
        (["--hosts", "a:1,b:2", "--process-id", "2"], "--process-id 2: expected 0 to 1"),
        (["--process-id", "1"], "--process-id 1: goes with --hosts; pass both"),
        (["--hosts", "a:1"], "--hosts a:1: expected two addresses or more, each once"),
    ],
)
@pytest.mark.parametrize("script", ["train.py", "submission.py"])
def test_devices_that_mean_nothing_are_refused(place, script, arguments, message):
    assert message in refusal(script, "noise", *arguments)


def test_more_devices_than_there_are_and_hosts_of_tensorflow_are_refused(folders, monkeypatch):
    monkeypatch.chdir(folders[0])
    assert "tensorflow has 1 here (CPU:0); pass all" in refusal(*TRAIN, "--devices", "9")
    done = run(*TRAIN, "--hosts", "a:1,b:2")
    assert done.returncode == 2
    line = "error: --hosts needs the JAX backend, this is tensorflow; set KERAS_BACKEND=jax"
    assert line in done.stderr


def test_hosts_do_not_draw_each_their_own_images(place):
    line = refusal("train.py", "noise", "--hosts", "127.0.0.1:5000,127.0.0.1:5001")
    assert "output/noise: no arrays there yet; first run: python data.py noise" in line
    assert not list(place.iterdir())
