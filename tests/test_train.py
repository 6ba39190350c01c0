"""What a network is trained on: the split, the scale, the batches, the recipe."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_folders, make_nerve

import data
import train
from arrays import load_arrays
from jobs import JOBS, parse_options
from losses import LOSSES
from train import Options, choose_job


@pytest.fixture
def arrays(place):
    make_nerve(place / "raw")
    data.prepare(data.Options(job="nerve"))
    return load_arrays("nerve")


@pytest.mark.parametrize(
    ("job", "expected"),
    [  # optimizer, rate, momentum, loss, batch, epochs, steps, validation steps, repeats
        ("noise", ("sgd", 1e-3, 0.0, "dice", 1, 20, None, None, 100)),
        ("membrane", ("sgd", 1e-3, 0.99, "weighted_cross_entropy", 1, 20, None, None, 1)),
        ("nerve", ("adam", 1e-5, 0.0, "negative_dice", 32, 20, None, None, 1)),
        ("car", ("adam", 1e-3, 0.0, "binary_cross_entropy", 16, 100, 100, 50, 1)),
        ("cadastre", ("adam", 1e-3, 0.0, "binary_cross_entropy", 8, 50, None, None, 1)),
    ],
)
def test_the_recipe_is_the_documents(job, expected):
    recipe = choose_job(Options(job=job))
    assert recipe == JOBS[job].recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum, recipe.loss,
            recipe.batch_size, recipe.epochs, recipe.steps_per_epoch, recipe.validation_steps,
            recipe.repeats) == expected  # fmt: skip


def test_options_change_the_recipe():
    recipe = choose_job(Options(job="car", epochs=3, loss="dice", validation_split=0.0))
    expected = replace(JOBS["car"].recipe, epochs=3, loss="dice", validation_split=0.0)
    assert recipe == expected


@pytest.mark.parametrize(
    ("job", "loss"), [("membrane", "dice"), ("nerve", "weighted_cross_entropy")]
)
def test_a_loss_for_another_number_of_classes_is_refused(job, loss):
    with pytest.raises(ValueError, match=f"--loss {loss} does not fit"):
        choose_job(Options(job=job, loss=loss))


def test_the_command_line_knows_every_loss():
    for loss in LOSSES:
        assert parse_options(Options, "train.py", train.__doc__, ["--loss", loss]).loss == loss
    with pytest.raises(ValueError, match="invalid choice: 'hinge'"):
        parse_options(Options, "train.py", train.__doc__, ["--loss", "hinge"])


@pytest.mark.parametrize("job", JOBS)
def test_the_compiled_model_has_the_recipes_optimizer_and_rate(job):
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 1)])
    recipe = JOBS[job].recipe
    train.compile_model(model, recipe)
    assert type(model.optimizer).__name__.lower() == recipe.optimizer
    assert float(model.optimizer.learning_rate) == pytest.approx(recipe.learning_rate)
    if recipe.optimizer == "sgd":
        assert model.optimizer.momentum == recipe.momentum


def small_run(monkeypatch, **options):
    """Train a small nerve network on the arrays here."""
    network = replace(JOBS["nerve"].network, filters=(4, 6), bottleneck=8)
    monkeypatch.setitem(JOBS, "nerve", replace(JOBS["nerve"], network=network))
    defaults = dict(job="nerve", epochs=2, batch_size=4, learning_rate=1e-3)
    train.train_predict(Options(**{**defaults, **options}))


def read_weights(path):
    from model import build_unet, load_weights

    model = build_unet(JOBS["nerve"].network)
    load_weights(model, path)
    return [np.asarray(weight) for weight in model.weights]


def test_a_run_can_start_from_the_weights_of_another(arrays, place, monkeypatch):
    small_run(monkeypatch)
    first = read_weights("weights/nerve.last.weights.h5")
    (place / "weights/nerve.last.weights.h5").rename("start.weights.h5")
    small_run(monkeypatch, weights="start.weights.h5", learning_rate=1e-12, epochs=1)
    for old, new in zip(first, read_weights("weights/nerve.last.weights.h5")):
        np.testing.assert_allclose(new, old, atol=1e-6)


def test_the_best_weights_are_those_of_the_lowest_validation_loss(arrays, monkeypatch):
    small_run(monkeypatch, epochs=6, learning_rate=0.3)  # so high that the loss goes up and down
    record = json.loads(Path("weights/nerve.json").read_text())
    with open("weights/nerve.csv") as file:
        rows = [line.split(",") for line in file.read().splitlines()]
    column = rows[0].index("val_loss")
    losses = [float(row[column]) for row in rows[1:]]
    assert len(losses) == 6
    assert record["best"]["epoch"] == 1 + int(np.argmin(losses))
    assert record["best"]["val_loss"] == pytest.approx(min(losses))


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_weights(arrays, place, monkeypatch):
    small_run(monkeypatch)
    before = (place / "weights/nerve.weights.h5").read_bytes()
    monkeypatch.setitem(train.LOSSES, "dice", lambda y_true, y_pred: keras.ops.log(-y_pred - 1))
    with pytest.raises(ValueError, match="loss is nan, .* in epoch 1; .* lower --learning-rate"):
        small_run(monkeypatch, loss="dice")
    assert (place / "weights/nerve.weights.h5").read_bytes() == before


def test_a_validation_loss_that_is_no_number_ends_the_run_too(place):
    files = train.RunFiles("nerve", {"recipe": {"learning_rate": 0.5}})
    files.on_epoch_begin(0)
    with pytest.raises(ValueError, match="of validation nan, in epoch 1; .* lower .* than 0.5"):
        files.on_epoch_end(0, {"loss": 1.0, "val_loss": float("nan")})
    assert not list(place.iterdir())


def test_the_same_seed_gives_the_same_weights(arrays, monkeypatch):
    runs = []
    for seed in (3, 3, 4):
        small_run(monkeypatch, seed=seed, validation_split=0.0)
        runs.append(read_weights("weights/nerve.last.weights.h5"))
    for first, again in zip(*runs[:2]):
        np.testing.assert_allclose(first, again, atol=1e-6)
    assert not np.allclose(runs[0][0], runs[2][0])


def test_a_network_takes_the_channels_of_its_arrays(place, monkeypatch):
    make_folders(place, size=(64, 96))
    data.prepare(data.Options(job="nerve", images="images", masks="masks", channels=3))
    small_run(monkeypatch, epochs=1)
    assert json.loads(Path("weights/nerve.json").read_text())["network"]["channels"] == 3


def test_arrays_of_a_size_that_does_not_fit_are_refused_with_the_sizes_that_do(place):
    make_nerve(place / "raw")
    data.prepare(data.Options(job="nerve", image_size=(60, 80)))
    with pytest.raises(ValueError, match="height 60 .* multiple of 16; nearest: 48 and 64"):
        train.train_predict(Options(job="nerve"))
