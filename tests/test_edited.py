"""Who edits get_unet() in train.py or create_data() in data.py, as the documents say, changes what
the scripts run.
"""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, fork, make_folders, slow, what_a_run_left

import data
from model import build_unet
from unet.jobs import JOBS
from unet.runs import read_record
from unet.weights import load_weights

# What a reader types into get_unet: a layer more, which makes it a plain Keras model, another
# optimizer and another loss.
LAYER = """
    x = keras.layers.Conv2D(1, 3, padding="same", name="edited")(model.output)
    model = keras.Model(model.inputs, keras.layers.Activation("sigmoid")(x), name=job)
"""
COMPILE = 'model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", metrics=metrics)'
# And into create_data: a constant in place of the noise.
DRAWN = "        images[row], masks[row] = image, mask\n"
CONSTANT = "        images[row] = 7\n"
OPTIONS = [
    "nerve",
    "--epochs",
    "2",
    "--batch-size",
    "2",
    "--set",
    "network.filters=4",
    "network.bottleneck=4",
]
NARROW = ["network.filters=2,2,2,2,2", "network.bottleneck=2", "network.decoder_filters="]
HELD_OUT = ["--validation-split", "0.4"]


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """The project with another get_unet, and beside it a folder with arrays."""
    root = tmp_path_factory.mktemp("edited")
    for script in ("data", "model", "train", "test", "submission"):
        shutil.copy(ROOT / f"{script}.py", root)
    shutil.copytree(ROOT / "unet", root / "unet", ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / "train.py").read_text()
    built = "    model = build_unet(network or JOBS[job].network, name=job)\n"
    compiled = "model.compile(optimizer, loss, metrics=metrics)"
    assert text.count(built) == text.count(compiled) == 1
    text = text.replace(built, built + LAYER).replace(compiled, COMPILE)
    (root / "train.py").write_text(text)
    text = (root / "data.py").read_text()
    assert text.count(DRAWN) == 1
    (root / "data.py").write_text(text.replace(DRAWN, DRAWN + CONSTANT))
    return root


@pytest.fixture
def prepared(edited, place):
    make_folders(place, count=6, size=(64, 80), channels=1)
    make_folders(place / "new", count=2, size=(64, 80), channels=1)
    given = dict(images="images", masks="masks", test_images="new/images")
    data.prepare(data.Options(job="nerve", **given))
    return edited


def run(root, script, *arguments, **death):
    """The status of a script of the edited project, in a fork."""
    often = {"unet.training.callbacks.INTERVAL": 0.3}
    partial = "weights/.partial.nerve.checkpoint.h5"
    done = fork(root / script, ".", *arguments, attributes=often, partial=partial, **death)
    return done["status"]


def trained(name="nerve"):
    """The edited network with the weights in weights/NAME.weights.h5, built here."""
    network = replace(JOBS["nerve"].network, filters=(4,), bottleneck=4, image_size=(64, 80))
    model = build_unet(network)
    x = keras.layers.Conv2D(1, 3, padding="same", name="edited")(model.output)
    model = keras.Model(model.inputs, keras.layers.Activation("sigmoid")(x))
    load_weights(model, f"weights/{name}.weights.h5")
    return model


def predict(images):
    """Probabilities of uint8 images by the network of `trained`."""
    record = read_record("nerve")
    return trained().predict((images - np.float32(record.mean)) / np.float32(record.std))


@slow
def test_an_edited_get_unet_is_trained_resumed_scored_encoded_and_exported(prepared, place):
    assert run(prepared, "train.py", *OPTIONS, *HELD_OUT) == 0
    expected = what_a_run_left(place, "nerve")
    (place / "weights").rename("whole")
    killed = run(prepared, "train.py", *OPTIONS, *HELD_OUT, inside=3)
    assert killed == -signal.SIGKILL
    # Of SGD, a momentum for each weight, the rate and the number of steps.
    slots = [path for path in expected[0] if path.startswith("optimizer/")]
    assert len(slots) == len(expected[0]) - len(slots) + 2
    assert run(prepared, "train.py", *OPTIONS, *HELD_OUT, "--resume") == 0
    assert what_a_run_left(place, "nerve") == expected
    assert f" {trained().count_params()} parameters\n" in Path("log").read_text()
    shutil.rmtree("weights")
    assert run(prepared, "train.py", *OPTIONS, "--folds", 2) == 0
    assert "mean of the folds" in Path("log").read_text()
    trained("nerve.fold2")  # its file is of the edited network
    shutil.rmtree("weights")
    Path("whole").rename("weights")

    assert run(prepared, "test.py", "nerve", "--num-images", "0") == 0
    images, masks = (np.load(f"output/nerve/imgs_{name}.npy") for name in ("train", "mask_train"))
    rows = [int(id) - 1 for id in read_record("nerve").validation]
    found, truth = predict(images[rows]) > 0.5, masks[rows] > 0
    total = (found.sum((1, 2, 3)) + truth.sum((1, 2, 3))).clip(1)
    dice = 2 * (found & truth).sum((1, 2, 3)) / total
    assert json.loads(Path("vis/nerve/scores.json").read_text())["dice"] == pytest.approx(
        dice.mean(), abs=1e-3
    )

    assert run(prepared, "submission.py", "nerve") == 0
    new = np.load("output/nerve/imgs_test.npy")
    saved = np.load("output/nerve/imgs_mask_test.npy")
    np.testing.assert_allclose(saved, predict(new), atol=1e-3)

    assert run(prepared, "model.py", "nerve", "--export", "exported") == 0
    exported = keras.layers.TFSMLayer("exported", call_endpoint="serve")(new)
    np.testing.assert_allclose(exported["probability"], predict(new), atol=1e-3)


@slow
def test_an_edited_create_data_draws_what_data_and_train_take(edited, place):
    assert run(edited, "data.py", "--image-size", "64", "64") == 0
    assert (np.load("output/noise/imgs_test.npy") == 7).all()
    shutil.rmtree("output")
    options = ["--epochs", "1", "--steps-per-epoch", "1", "--set", *NARROW]
    assert run(edited, "train.py", *options) == 0
    assert (np.load("output/noise/imgs_train.npy") == 7).all()
