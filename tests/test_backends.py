"""The same scripts and weights on every backend of Keras that is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, make_nerve, run_well

from jobs import JOBS
from model import get_unet

SIZES = {"membrane": (204, 220)}  # the unpadded network's
SIZE = (64, 96)
PREDICT = """
import sys, numpy as np
from model import get_unet, load_weights
for job in sys.argv[1:]:
    images = np.load(f"{job}.npy")
    model = get_unet(job, image_size=images.shape[1:3])
    load_weights(model, f"{job}.weights.h5")
    np.save(f"{job}.predicted.npy", np.asarray(model.predict_on_batch(images)))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_same_weights_give_the_same_probabilities(backend, place):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    expected = {}
    for job in JOBS:
        keras.utils.set_random_seed(1)
        model = get_unet(job, image_size=SIZES.get(job, SIZE))
        images = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
        expected[job] = np.asarray(model.predict_on_batch(images.astype(np.float32)))
        np.save(f"{job}.npy", images.astype(np.float32))
        model.save_weights(f"{job}.weights.h5")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", PREDICT, *JOBS], env=environment, check=True)
    for job, probabilities in expected.items():
        predicted = np.load(f"{job}.predicted.npy")
        np.testing.assert_allclose(predicted, probabilities, rtol=0, atol=1e-4)
        assert np.ptp(predicted) > 0.01  # not all one grey value


def test_training_and_prediction_run_on_this_backend(place):
    make_nerve(place / "raw")
    run_well("data.py", "nerve", "--raw", "raw")
    run_well("train.py", "nerve", "--recipe", "modern", "--epochs", 2, "--batch-size", 4)
    assert f'"backend": "{keras.backend.backend()}"' in Path("weights/nerve.json").read_text()
    assert "Dice " in run_well("test.py", "nerve", "--num-images", 1)
    assert "3 rows" in run_well("submission.py", "nerve")
