"""The same scripts and weights on JAX and PyTorch, where they are installed."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, make_nerve, run_well

from model import build_unet
from unet.jobs import RECIPES

BACKENDS = [
    pytest.param(name, marks=pytest.mark.skipif(not find_spec(name), reason="not installed"))
    for name in ("jax", "torch")
]
UNPADDED = (204, 220)  # height and width, for the paper's network
SIZE = (64, 96)
PREDICT = """
from dataclasses import replace
from pathlib import Path
import numpy as np
from model import build_unet
from unet.jobs import RECIPES
from unet.weights import load_weights
for path in Path().glob("*.weights.h5"):
    recipe, name = path.name.split(".")[:2]
    model = build_unet(replace(RECIPES[recipe][name].network, image_size=(None, None)))
    load_weights(model, path)
    predicted = model.predict_on_batch(np.load(f"{recipe}.{name}.npy"))
    np.save(f"{recipe}.{name}.predicted.npy", predicted)
"""


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """A folder with weights and images for each of the documents' networks (SLOW=1: and of the
    modern ones, which have the same layers), and what this backend makes of them: arrays by the
    files' names. Biases and normalization are not as initialized.
    """
    folder, expected, rng = tmp_path_factory.mktemp("weights"), {}, np.random.default_rng(1)
    keras.utils.set_random_seed(1)  # else an unlucky network is saturated in every pixel
    recipes = ("document", "modern") if "SLOW" in os.environ else ("document",)
    for recipe, jobs in ((recipe, RECIPES[recipe]) for recipe in recipes):
        for name, job in jobs.items():
            model = build_unet(replace(job.network, image_size=(None, None)))
            for weight in model.weights:
                if len(weight.shape) == 1:
                    lowest, highest = (-0.2, 0.2) if weight.name == "bias" else (0.5, 1.5)
                    weight.assign(rng.uniform(lowest, highest, weight.shape))
            size = UNPADDED if job.network.padding == "valid" else SIZE
            images = rng.normal(size=(2, *size, job.network.channels)).astype(np.float32)
            file = f"{recipe}.{name}"
            np.save(folder / f"{file}.npy", images)
            model.save_weights(folder / f"{file}.weights.h5")
            expected[file] = np.asarray(model.predict_on_batch(images))
    return folder, expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_weights_give_the_same_probabilities(backend, predictions):
    folder, expected = predictions
    subprocess.run(
        [sys.executable, "-c", PREDICT],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        check=True,
        timeout=280,
    )
    for file, probabilities in expected.items():
        assert np.ptp(probabilities) > 0.01 and 0.001 < probabilities.mean() < 0.999, file
        predicted = np.load(folder / f"{file}.predicted.npy")
        np.testing.assert_allclose(predicted, probabilities, rtol=0, atol=1e-4, err_msg=file)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_job_runs_from_images_to_a_submission(backend, place, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    make_nerve(place / "raw")
    run_well("data.py", "nerve", "--raw", "raw")
    small = "--set", "network.filters=8,8,16,16", "network.bottleneck=16"
    options = "--epochs", 2, "--batch-size", 4, "--precision", "float32"
    run_well("train.py", "nerve", "--recipe", "modern", *options, *small)
    assert f'"backend": "{backend}"' in Path("weights/nerve.json").read_text()
    assert "Dice " in run_well("test.py", "nerve", "--num-images", 1)
    assert "3 rows" in run_well("submission.py", "nerve")
