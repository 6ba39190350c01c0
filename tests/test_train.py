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
from train import Batches, Options, choose_recipe, mean_and_std, split_rows


def rows_of(subjects):
    return [{"subject": subject, "split": "train"} for subject in subjects]


def test_whole_subjects_are_held_out():
    files = rows_of([str(n // 10) for n in range(200)])
    train_rows, validation_rows = split_rows(files, 0.2, True, seed=1)
    assert sorted([*train_rows, *validation_rows]) == list(range(200))
    assert len(validation_rows) == 40
    subjects = [{files[row]["subject"] for row in part} for part in (train_rows, validation_rows)]
    assert not subjects[0] & subjects[1]
    other = split_rows(files, 0.2, True, seed=2)[1]
    assert set(other) != set(validation_rows)


def test_of_a_large_and_a_small_subject_the_one_nearer_to_the_share_is_held_out():
    files = rows_of(["large"] * 41 + ["small"] * 16)
    for seed in range(10):
        assert len(split_rows(files, 0.2, True, seed)[1]) == 16
        assert len(split_rows(files, 0.9, True, seed)[1]) in (16, 41)


def test_the_plain_split_takes_the_last_images_as_keras_does():
    train_rows, validation_rows = split_rows(rows_of("aabbccddee"), 0.2, False, seed=1)
    assert validation_rows.tolist() == [8, 9]
    assert train_rows.tolist() == list(range(8))


def test_a_stated_split_stands():
    files = [{"subject": "a", "split": split} for split in ("train", "validation", "train")]
    for by_subject in (True, False):
        train_rows, validation_rows = split_rows(files, 0.5, by_subject, seed=1)
        assert (train_rows.tolist(), validation_rows.tolist()) == ([0, 2], [1])


def test_no_share_holds_nothing_out():
    train_rows, validation_rows = split_rows(rows_of("abc"), 0, True, seed=1)
    assert (len(train_rows), len(validation_rows)) == (3, 0)


@pytest.mark.parametrize("by_subject", [True, False])
def test_one_subject_or_image_cannot_be_split(by_subject):
    files = rows_of("aaaa" if by_subject else "a")
    with pytest.raises(ValueError, match="--validation-split 0"):
        split_rows(files, 0.2, by_subject, seed=1)


def test_mean_and_standard_deviation_are_those_of_the_rows():
    images = np.random.default_rng(0).integers(0, 256, (150, 9, 7, 3), dtype=np.uint8)
    rows = np.arange(10, 145)
    mean, std = mean_and_std(images, rows)
    assert mean == pytest.approx(images[rows].mean(), rel=1e-9)
    assert std == pytest.approx(images[rows].std(), rel=1e-9)
    assert mean_and_std(np.full((2, 4, 4, 1), 7, np.uint8), np.arange(2)) == (7.0, 1.0)


@pytest.fixture
def arrays(place):
    make_nerve(place / "raw")
    data.prepare(data.Options(job="nerve"))
    return load_arrays("nerve")


def test_batches_are_standardized_images_and_masks_of_0_and_1(arrays):
    images, masks = Batches(arrays, np.arange(12), 12, 5, (100.0, 50.0))[1]
    np.testing.assert_allclose(images, (arrays.images[5:10] - 100.0) / 50.0, rtol=1e-6)
    np.testing.assert_array_equal(masks, arrays.masks[5:10] > 0)
    assert images.dtype == masks.dtype == np.float32


def test_an_epoch_shows_each_row_once_in_an_order_of_its_own(arrays):
    batches = Batches(arrays, np.arange(3, 12), 9, 4, (0.0, 255.0), seed=1)
    orders = []
    for _ in range(2):
        orders.append(batches.order.tolist())
        assert sorted(orders[-1]) == list(range(3, 12))
        assert [len(batches[step][0]) for step in range(len(batches))] == [4, 4, 1]
        batches.on_epoch_end()
    assert orders[0] != orders[1]
    again = Batches(arrays, np.arange(3, 12), 9, 4, (0.0, 255.0), seed=1)
    assert again.order.tolist() == orders[0]


def test_one_row_repeats_as_often_as_the_steps_need(arrays):
    batches = Batches(arrays, np.array([4]), 100, 1, (0.0, 255.0), seed=1)
    assert len(batches) == 100
    assert batches.order.tolist() == 100 * [4]


def test_validation_shows_each_row_once_and_the_last_batch_short(arrays):
    batches = Batches(arrays, np.arange(7), 7, 4, (0.0, 255.0))
    assert [len(batches[step][0]) for step in range(2)] == [4, 3]


def test_windows_come_with_weights_and_the_masks_middle(arrays):
    rows, window = np.arange(4), ((60, 44), (28, 20))
    batches = Batches(arrays, rows, 4, 2, (0.0, 255.0), None, window)
    images, masks, weights = batches[0]
    assert (images.shape, masks.shape) == ((2, 60, 44, 1), (2, 28, 20, 1))
    assert weights.shape == (2, 28, 20)
    np.testing.assert_array_equal(masks, arrays.masks[:2, 18:46, 30:50] > 0)
    moved = Batches(arrays, rows, 4, 2, (0.0, 255.0), 7, window)
    first = moved[0][0].copy()
    np.testing.assert_array_equal(moved[0][0], first)
    moved.on_epoch_end()
    assert not np.array_equal(moved[0][0], first)


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
    recipe = choose_recipe(Options(job=job))
    assert recipe == JOBS[job].recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum, recipe.loss,
            recipe.batch_size, recipe.epochs, recipe.steps_per_epoch, recipe.validation_steps,
            recipe.repeats) == expected  # fmt: skip


def test_options_change_the_recipe():
    recipe = choose_recipe(Options(job="car", epochs=3, loss="dice", validation_split=0.0))
    expected = replace(JOBS["car"].recipe, epochs=3, loss="dice", validation_split=0.0)
    assert recipe == expected


@pytest.mark.parametrize(
    ("job", "loss"), [("membrane", "dice"), ("nerve", "weighted_cross_entropy")]
)
def test_a_loss_for_another_number_of_classes_is_refused(job, loss):
    with pytest.raises(ValueError, match=f"--loss {loss} does not fit"):
        choose_recipe(Options(job=job, loss=loss))


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
