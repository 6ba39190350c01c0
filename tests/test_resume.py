"""A training that died goes on and ends as one that did not."""

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import h5py
import pytest
from conftest import ROOT, make_folders

import data

DEATHS = int(os.environ.get("DEATHS", "10"))  # of each of the two trainings
NETWORK = "--set network.filters=4,8 network.bottleneck=8 network.dropout=0,0.1,0.2 "
NOISE = f"noise --recipe modern --epochs 3 --steps-per-epoch 12 {NETWORK}".split() + [
    "network.decoder_filters=4,8",
    "network.batch_normalization=true",
]
FOLDERS = f"nerve --recipe modern --epochs 4 --batch-size 2 {NETWORK}".split() + [
    "recipe.repeats=3"
]


class Trainer:
    """tests/trainer.py at work."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/trainer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, folder, *arguments, **death):
        """The exit status of a training in a folder."""
        task = dict(folder=str(folder), arguments=arguments, **death)
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def trainer():
    trainer = Trainer()
    yield trainer
    trainer.process.kill()


def what_a_run_left(folder, name):
    """Weights, last weights, history without seconds, and the best epoch."""
    left = []
    for kind in ("", ".last"):
        with h5py.File(folder / f"weights/{name}{kind}.weights.h5") as file:
            found = {}
            file.visititems(
                lambda path, item, found=found: (
                    found.update({path: item[()].tobytes()})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
            left.append(found)
    with open(folder / f"weights/{name}.csv") as file:
        left.append([{**row, "seconds": None} for row in csv.DictReader(file)])
    record = json.loads((folder / f"weights/{name}.json").read_text())
    left.append({**record["best"], "seconds": None})
    left.append(record["decision"])
    return left


@pytest.mark.parametrize("arguments", [NOISE, FOLDERS], ids=["noise", "folders"])
def test_a_training_killed_again_and_again_ends_as_one_that_was_not(trainer, place, arguments):
    """At random moments, half of them while a checkpoint is being written."""
    name, whole, killed = arguments[0], place / "whole", place / "killed"
    prepare(whole, arguments)
    shutil.copytree(whole, killed)
    start = time.monotonic()
    assert trainer(whole, *arguments) == 0
    seconds = time.monotonic() - start
    expected = what_a_run_left(whole, name)

    rng, deaths, halves, ends, again = random.Random(DEATHS), 0, 0, 0, []
    while True:
        kill = dict(after=rng.uniform(0.1, 1) * seconds)
        if (deaths + ends) % 2:
            kill = dict(inside=rng.randint(1, 3))
        is_over = deaths == DEATHS
        status = trainer(killed, *arguments, *again, **({} if is_over else kill))
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
    assert trainer(killed, *arguments, "--resume") == 0
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
