"""A training that died goes on and ends as one that did not."""

import contextlib
import csv
import dataclasses
import json
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, fork, make_folders, make_record, refusal, slow, what_a_run_left

import data
import train
from train import Options, load_run
from unet.data.arrays import load_arrays
from unet.jobs import JOBS
from unet.runs import Paths, read_record
from unet.training import fit as fitting
from unet.training.callbacks import RunFiles
from unet.training.checkpoint import Progress, read_progress, write_checkpoint
from unet.training.session import what_hosts_share

pytestmark = pytest.mark.usefixtures("undrawn")

DEATHS = 2  # of each of two trainings
NETWORK = "--set network.filters=4,8 network.bottleneck=8 network.dropout=0,0.1,0.2 "
NOISE = f"noise --recipe modern --epochs 3 --steps-per-epoch 12 {NETWORK}".split() + [
    "network.decoder_filters=4,8",
    "network.batch_normalization=true",
]
FOLDERS = f"nerve --recipe modern --epochs 4 --batch-size 2 {NETWORK}".split() + [
    "recipe.repeats=3"
]


def in_fork(folder, name, *arguments, **death):
    """The status of train.py in a folder, where it writes its checkpoint every 0.3 s."""
    often = {"unet.training.callbacks.INTERVAL": 0.3}
    partial = f"weights/.partial.{name}.checkpoint.h5"
    done = fork("train.py", folder, name, *arguments, attributes=often, partial=partial, **death)
    return done["status"]


RECORD = make_record(network=JOBS["nerve"].network, array_size=[64, 80])


def test_a_training_killed_again_and_again_ends_as_one_that_was_not(place):
    """At random moments, half of them while a checkpoint is being written."""
    name, whole, killed = NOISE[0], place / "whole", place / "killed"
    prepare(whole, NOISE)
    shutil.copytree(whole, killed)
    start = time.monotonic()
    assert in_fork(whole, *NOISE) == 0
    seconds = time.monotonic() - start
    expected = what_a_run_left(whole, name)

    rng, deaths, halves, ends, again = random.Random(DEATHS), 0, 0, 0, []
    while True:
        kill = dict(after=rng.uniform(0.1, 1) * seconds)
        if (deaths + ends) % 2:
            kill = dict(inside=rng.randint(1, 3))
        is_over = deaths == DEATHS
        status = in_fork(killed, *NOISE, *again, **({} if is_over else kill))
        again = ["--resume"]
        halves += bool(list((killed / "weights").glob(".partial.*.checkpoint.h5")))
        if status == -signal.SIGKILL:
            deaths += 1
            continue
        assert status == 0  # it came to its end before it was to be killed
        assert what_a_run_left(killed, name) == expected
        assert not (killed / f"weights/{name}.checkpoint.h5").exists()
        ends += 1
        if is_over:
            break
        shutil.rmtree(killed / "weights")
    print(f"{name}: {deaths} deaths, {halves} inside a checkpoint, {ends} ends")
    assert halves >= DEATHS // 4
    assert in_fork(killed, *NOISE, "--resume") == 0
    assert f"weights/{name}.json: this training is finished" in (killed / "log").read_text()


def prepare(folder, arguments):
    """Write a job's arrays."""
    folder.mkdir()
    make_folders(folder, count=8, size=(64, 80), channels=1)
    with contextlib.chdir(folder):
        if arguments is NOISE:
            data.prepare(data.Options(image_size=(64, 64)))
        else:
            data.prepare(data.Options(job="nerve", images="images", masks="masks"))


def stop_in(monkeypatch, number):
    """Have the so-manieth network that is trained from now on be stopped before its first step."""
    calls, fit = [], fitting.fit

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise KeyboardInterrupt
        fit(*arguments)

    monkeypatch.setattr(fitting, "fit", stop)


@slow
def test_folds_go_on_where_they_were_interrupted(small, place, monkeypatch):
    small(folds=3)
    expected = [what_a_run_left(place, f"nerve.fold{n}")[:4] for n in (1, 2, 3)]
    whole = json.loads((place / "weights/nerve.json").read_text())
    shutil.rmtree("weights")
    with monkeypatch.context() as patch:
        stop_in(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            small(folds=3)
    first = (place / "weights/nerve.fold1.weights.h5").stat().st_mtime_ns
    small(folds=3, resume=True)
    assert (place / "weights/nerve.fold1.weights.h5").stat().st_mtime_ns == first
    assert [what_a_run_left(place, f"nerve.fold{n}")[:4] for n in (1, 2, 3)] == expected
    assert json.loads((place / "weights/nerve.json").read_text())["folds"] == whole["folds"]


def test_a_training_that_died_after_its_last_epoch_still_predicts(small, place, monkeypatch):
    make_folders(place / "new", count=2, size=(64, 80), channels=1)
    given = dict(images="images", masks="masks", test_images="new/images")
    data.prepare(data.Options(job="nerve", **given))

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("unet.training.session.predict_test", stop)
        with pytest.raises(KeyboardInterrupt):
            small()
    before = what_a_run_left(place, "nerve")
    small(resume=True)
    assert what_a_run_left(place, "nerve") == before
    assert np.load("output/nerve/imgs_mask_test.npy").shape == (2, 64, 80, 1)


def test_other_images_than_the_interrupted_training_had_are_refused(small, place, monkeypatch):
    with monkeypatch.context() as patch:
        stop_in(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            small()
    make_folders(place, count=5, size=(64, 80), channels=1)
    data.prepare(data.Options(job="nerve", images="images", masks="masks"))
    with pytest.raises(ValueError, match="output/nerve: other images than the training in weigh"):
        small(resume=True)


def test_the_same_images_in_another_folder_go_on(small, place, monkeypatch):
    """As on a new machine, where the data is unpacked elsewhere."""
    small()
    before = what_a_run_left(place, "nerve")
    with monkeypatch.context() as patch:
        stop_in(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            small()
    here = what_hosts_share(Options(job="nerve"), load_arrays("nerve"))
    Path("mnt").mkdir()
    for folder in ("images", "masks"):
        Path(folder).rename(Path("mnt", folder))
    data.prepare(data.Options(job="nerve", images="mnt/images", masks="mnt/masks"))
    assert what_hosts_share(Options(job="nerve"), load_arrays("nerve")) == here
    small(resume=True)
    assert what_a_run_left(place, "nerve") == before


def test_a_new_training_puts_the_checkpoint_of_an_interrupted_one_aside(
    small, capsys, monkeypatch
):
    path = Paths("nerve").checkpoint
    write_checkpoint(path, Progress(RECORD, epoch=57))
    for _ in range(2):  # starts that come to nothing take nothing away
        with pytest.raises(ValueError, match="no such HDF5 file"):
            small(weights="typo.weights.h5")
        with monkeypatch.context() as patch:
            stop_in(patch, 1)
            with pytest.raises(KeyboardInterrupt):
                small()
        assert read_progress(path).epoch == 57
    small()
    assert (
        "weights/nerve.checkpoint.h5 of an interrupted training is now" in capsys.readouterr().out
    )
    assert read_progress(path.with_name("nerve.checkpoint.old.h5")).epoch == 57


def test_a_training_that_cannot_begin_leaves_nothing_to_go_on_with(small):
    small(epochs=1)
    shutil.rmtree("weights")
    Path("start.weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match="start.weights.h5: damaged, or not Keras's weights"):
        small(weights="start.weights.h5")
    assert not list(Path("weights").glob("*.checkpoint*"))
    with pytest.raises(ValueError, match="no trained network there yet"):
        read_record("nerve")


def test_a_training_with_steps_goes_on_without_the_weights_that_it_began_with(small, monkeypatch):
    small(epochs=1)
    start = Path("weights/nerve.weights.h5").rename("start.weights.h5")
    begin = RunFiles.on_epoch_begin

    def stop(files, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        begin(files, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            small(weights=str(start))
    start.unlink()
    small(weights=str(start), resume=True)
    with open("weights/nerve.csv") as file:
        assert len(list(csv.DictReader(file))) == 2


def test_the_next_fold_takes_the_place_of_the_one_before(small, capsys):
    small(folds=2)
    assert not list(Path("weights").glob("*.checkpoint*"))
    assert "interrupted" not in capsys.readouterr().out


def test_a_checkpoint_of_no_step_is_not_kept(small):
    write_checkpoint(Paths("nerve").checkpoint, Progress(RECORD))
    small()
    assert not list(Path("weights").glob("*.checkpoint*"))


def test_a_checkpoint_inside_an_epoch_is_for_one_device(place):
    write_checkpoint(Paths("nerve").checkpoint, Progress(RECORD, step=3))
    progress = read_progress(Paths("nerve").checkpoint)
    with pytest.raises(ValueError, match="inside an epoch, .* leave --devices and --hosts out"):
        RunFiles(progress, can_pause=False).begin(None, is_first=False)


def test_another_backend_is_refused(small):
    record = replace(RECORD, versions={"backend": "theano"})
    write_checkpoint(Paths("nerve").checkpoint, Progress(record))
    message = "a training on theano, this is .*; set KERAS_BACKEND=theano"
    with pytest.raises(ValueError, match=message):
        small(resume=True)


def test_other_test_images_than_at_the_start_are_not_predicted(small, monkeypatch, capsys):
    make_folders(Path("new"), count=2, size=(64, 80), channels=1)
    given = dict(images="images", masks="masks", test_images="new/images")
    data.prepare(data.Options(job="nerve", **given))
    fit = fitting.fit

    def fit_and_prepare(*arguments):
        fit(*arguments)
        data.prepare(data.Options(job="nerve", **given))

    monkeypatch.setattr(fitting, "fit", fit_and_prepare)
    small()
    assert "other test images than at the start; not predicted" in capsys.readouterr().out
    assert not Path("output/nerve/imgs_mask_test.npy").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks there for the handler")
@pytest.mark.parametrize("script", ["train.py", "model.py"])
def test_a_signal_while_modules_are_imported_ends_a_script_in_one_line(place, script):
    data.prepare(data.Options(image_size=(64, 64)))
    command = [sys.executable, str(ROOT / script), "noise"]
    for number, seconds in ((signal.SIGTERM, 0), (signal.SIGINT, 0.5)):
        with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
            wait_for(lambda pid=process.pid: catches_sigterm(pid))
            time.sleep(seconds)
            process.send_signal(number)
            errors = process.communicate(timeout=30)[1]
        assert process.returncode == 128 + number, errors
        lines = [line for line in errors.splitlines() if line]
        assert lines[-1].startswith("stopped"), errors
        assert "Traceback" not in errors


def catches_sigterm(pid):
    """Whether a process has a handler of its own for SIGTERM, as Linux says it."""
    caught = re.search(r"SigCgt:\s*(\w+)", read(f"/proc/{pid}/status"))[1]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


class TestOptions:
    """Of a training that goes on."""

    stored = train.Options(job="nerve", epochs=9, set=("network.filters=4,6",))

    @pytest.fixture
    def interrupted(self, place):
        options = json.loads(json.dumps(dataclasses.asdict(self.stored)))
        recipe = replace(RECORD.recipe, epochs=9)
        record = replace(RECORD, options=options, recipe=recipe)
        write_checkpoint(Paths("nerve").checkpoint, Progress(record))

    def test_are_those_that_it_had(self, interrupted):
        read = train.read_options({"job": "nerve", "resume": True, "devices": "2"})
        assert read == replace(self.stored, resume=True, devices="2")

    def test_may_be_repeated(self, interrupted):
        given = {"job": "nerve", "resume": True, "epochs": 9, "set": ("network.filters=4,6",)}
        assert train.read_options(given).epochs == 9

    def test_are_refused_by_name_where_they_differ(self, interrupted):
        given = {"job": "nerve", "resume": True, "batch_size": 8, "loss": "dice", "seed": 1}
        with pytest.raises(
            ValueError, match=r"--batch-size 8 \(it has None\), --loss dice \(it has None"
        ):
            train.read_options(given)

    def test_of_a_job_without_an_interrupted_training_start_one(self, interrupted, capsys):
        assert train.read_options({"job": "car", "resume": True}).job == "car"
        assert "no training of car was interrupted" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=slow)])
def test_a_signal_ends_the_step_and_a_second_run_is_refused(place, number):
    data.prepare(data.Options(image_size=(64, 64)))
    command = [sys.executable, str(ROOT / "train.py"), *NOISE, "--epochs", "500"]
    with open("log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        wait_for(lambda: "epoch 1/" in read("log"))
        second = refusal("train.py", "noise")
        assert f"weights/.noise.lock: process {process.pid} is at work there" in second
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    line = r"^stopped; (python train.py noise --resume) goes on after (.*)$"
    found = re.search(line, read("log"), re.M)  # after it TensorFlow may say something of its own
    assert found, read("log")
    progress = read_progress(Paths("noise").checkpoint)
    assert found[2] == progress.describe()
    assert 0 < progress.step < 12 or progress.epoch > 1
    assert "--batch-size 2 (it has None)" in refusal(
        "train.py", "noise", "--resume", "--batch-size", 2
    )
    shutil.rmtree("weights")  # the lock that the dead process left does not count
    Path("weights").mkdir()
    Path("weights/.noise.lock").write_text(str(process.pid))
    assert "no training of noise was interrupted" in run_until("epochs of", "--resume", *NOISE)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, read("log")
        time.sleep(0.05)


def read(path):
    return Path(path).read_text()


def run_until(text, *arguments):
    """What train.py prints until it prints a text."""
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    with open("log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        wait_for(lambda: text in read("log"))
        process.kill()
    return read("log")


def test_a_rate_that_gives_no_numbers_ends_the_run_with_status_1(place):
    prepare(place / "run", FOLDERS)
    rate = ["--recipe", "document", "--learning-rate", "1e5", "--loss", "binary_cross_entropy"]
    rate += ["--set", "recipe.optimizer=sgd", "network.batch_normalization=false"]
    assert in_fork(place / "run", *FOLDERS, *rate) == 1
    lines = (place / "run/log").read_text().splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    pattern = r"error: nerve: .* in epoch \d+, step \d+, at a rate of 100000; nothing was written"
    assert any(re.match(pattern, line) for line in lines), lines
    assert "Traceback" not in (place / "run/log").read_text()


def test_a_full_disk_costs_nothing_but_time(place):
    """The disk is filled while a training runs; what was written before is whole."""
    data.prepare(data.Options(image_size=(64, 64)))
    Path("weights").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", "weights"]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        command = [sys.executable, str(ROOT / "train.py"), *NOISE, "--epochs", "500"]
        with open("log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            wait_for(lambda: "epoch 2/" in read("log"))
            with contextlib.suppress(OSError), open("weights/filler", "wb", 0) as filler:
                while True:
                    filler.write(bytes(1000))
            assert process.wait(30) == 2
        last = read("log").splitlines()[-1]
        message = r"error: weights/noise\S+: needs .* kB, the disk has \S+ kB free; make room"
        assert re.fullmatch(message, last), last
        assert not list(Path("weights").glob(".partial*"))
        Path("weights/filler").unlink()
        assert len(load_run("noise").networks) == 1  # the best weights are whole
        done = read_progress(Paths("noise").checkpoint).describe()
        assert f"goes on after {done}" in run_until("epochs of", "noise", "--resume")
    finally:
        subprocess.run(["umount", "-l", "weights"], check=True)


def test_a_limit_of_file_sizes_is_named(place):
    prepare(place / "run", NOISE)
    command = [sys.executable, str(ROOT / "train.py"), *NOISE]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)  # noqa: E731
    done = subprocess.run(
        command, cwd="run", preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert re.search(
        r"error: weights/noise.last.weights.h5: File too large \(it needs \S+ kB\); what stood",
        done.stderr.splitlines()[-1],
    )
    assert read_progress(Path("run/weights/noise.checkpoint.h5")).epoch == 0
