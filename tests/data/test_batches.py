"""Which rows a network is trained on, and the batches that it sees."""

from collections import Counter
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import make_nerve
from keras.src.trainers.data_adapters import get_data_adapter

import data
from unet.data.arrays import load_arrays
from unet.data.augment import border_weights
from unet.data.batches import Batches, BorderWeights, make_batches
from unet.data.scale import find_scale, mean_and_std, standardize
from unet.data.split import fold_rows, split_rows
from unet.jobs import JOBS
from unet.jobs.settings import IGNORED, Augmentation, Reading
from unet.machine.devices import Devices
from unet.reading.classes import number_classes

RECIPE = JOBS["nerve"].recipe
WEIGHTED = JOBS["membrane"].recipe
WHOLE = ((64, 80), (64, 80))


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


def test_folds_hold_each_row_out_once_and_no_subject_twice():
    files = rows_of([str(n // 7) for n in range(100)])
    folds = fold_rows(files, 5, True, seed=1)
    held_out = np.concatenate([rows for _, rows in folds])
    assert sorted(held_out) == list(range(100))
    for training, rows in folds:
        assert sorted([*training, *rows]) == list(range(100))
        subjects = [{files[row]["subject"] for row in part} for part in (training, rows)]
        assert not subjects[0] & subjects[1]
        assert 16 <= len(rows) <= 23  # 15 subjects, 14 of 7 frames
    assert set(fold_rows(files, 5, True, seed=2)[0][1]) != set(folds[0][1])


def test_folds_not_by_subject_are_blocks_of_neighbours():
    folds = fold_rows(rows_of("aaaaaaabcd"), 3, False, seed=1)
    assert [rows.tolist() for _, rows in folds] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_folds_that_there_are_not_subjects_or_a_free_split_for_are_refused():
    with pytest.raises(ValueError, match="--folds 4: there are only 3 subjects"):
        fold_rows(rows_of("abcabc"), 4, True, seed=1)
    stated = [{"subject": name, "split": name} for name in ("train", "validation")]
    with pytest.raises(ValueError, match="validation share of their own"):
        fold_rows(stated, 2, True, seed=1)


def test_the_scale_is_that_of_the_training_images_of_each_image_or_none():
    images = np.random.default_rng(0).integers(0, 200, (4, 9, 7, 3), dtype=np.uint8)
    rows = np.arange(2)
    assert find_scale(images, rows, "training") == mean_and_std(images, rows)
    assert find_scale(images, rows, "none") == (0.0, 255.0)
    own = standardize(images, *find_scale(images, rows, "image"))
    np.testing.assert_allclose(own.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(own.std(axis=(1, 2, 3)), 1, atol=1e-6)
    np.testing.assert_allclose(standardize(images[3], None, None), own[3], atol=1e-6)
    assert (standardize(np.full((2, 4, 4, 1), 7, np.uint8)) == 0).all()


@pytest.fixture
def arrays(place):
    make_nerve(place / "raw")
    data.prepare(data.Options(job="nerve"))
    return load_arrays("nerve")


def test_batches_are_standardized_images_and_masks_of_0_and_1(arrays):
    images, masks = Batches(
        arrays, np.arange(12), 12, replace(RECIPE, batch_size=5), (100.0, 50.0), WHOLE
    )[1]
    np.testing.assert_allclose(images, (arrays.images[5:10] - 100.0) / 50.0, rtol=1e-6)
    np.testing.assert_array_equal(masks, arrays.masks[5:10] > 0)
    assert images.dtype == masks.dtype == np.float32


def test_an_epoch_shows_each_row_once_in_an_order_of_its_own(arrays):
    batches = Batches(
        arrays, np.arange(3, 12), 9, replace(RECIPE, batch_size=4), (0.0, 255.0), WHOLE, seed=1
    )
    orders = []
    for _ in range(2):
        orders.append(batches.order.tolist())
        assert sorted(orders[-1]) == list(range(3, 12))
        assert [len(batches[step][0]) for step in range(len(batches))] == [4, 4, 1]
        batches.on_epoch_end()
    assert orders[0] != orders[1]
    again = Batches(
        arrays, np.arange(3, 12), 9, replace(RECIPE, batch_size=4), (0.0, 255.0), WHOLE, seed=1
    )
    assert again.order.tolist() == orders[0]


def test_one_row_repeats_as_often_as_the_steps_need(arrays):
    batches = Batches(
        arrays, np.array([4]), 100, replace(RECIPE, batch_size=1), (0.0, 255.0), WHOLE, 1
    )
    assert len(batches) == 100
    assert batches.order.tolist() == 100 * [4]


def test_validation_shows_each_row_once_and_the_last_batch_short(arrays):
    batches = Batches(arrays, np.arange(7), 7, replace(RECIPE, batch_size=4), (0.0, 255.0), WHOLE)
    assert [len(batches[step][0]) for step in range(2)] == [4, 3]


def test_windows_come_with_weights_and_the_masks_middle(arrays):
    rows, window = np.arange(4), ((60, 44), (28, 20))
    recipe, weights_of = replace(WEIGHTED, batch_size=2), BorderWeights(arrays, rows)
    batches = Batches(arrays, rows, 4, recipe, (0.0, 255.0), window, weights=weights_of)
    images, masks, weights = batches[0]
    assert (images.shape, masks.shape) == ((2, 60, 44, 1), (2, 28, 20, 1))
    assert weights.shape == (2, 28, 20)
    np.testing.assert_array_equal(masks, arrays.masks[:2, 18:46, 30:50] > 0)
    moved = Batches(arrays, rows, 4, recipe, (0.0, 255.0), window, 7, weights=weights_of)
    first = moved[0][0].copy()
    np.testing.assert_array_equal(moved[0][0], first)
    moved.on_epoch_end()
    assert not np.array_equal(moved[0][0], first)


def test_each_set_is_standardized_by_itself_where_the_recipe_says_so(arrays):
    split = np.arange(4), np.arange(4, 12)
    recipe = replace(RECIPE, batch_size=8, standardize="set")
    scale = find_scale(arrays.images, split[0], "set")
    training, validation = make_batches(arrays, split, recipe, scale, 1, WHOLE)
    for batches, rows in ((training, split[0]), (validation, split[1])):
        images = batches[0][0]
        assert images.shape[0] == len(rows)
        assert images.mean() == pytest.approx(0, abs=1e-4)
        assert images.std() == pytest.approx(1, abs=1e-4)
    assert training.scale != validation.scale


def test_whole_images_get_weights_where_the_loss_has_them(arrays):
    recipe = replace(RECIPE, batch_size=2, loss="weighted_cross_entropy")
    split = np.arange(4), np.arange(4, 8)
    for batches in make_batches(arrays, split, recipe, (0.0, 255.0), 1, WHOLE):
        images, masks, weights = batches[0]
        assert weights.shape == masks.shape[:3]


def test_weights_are_made_once_a_mask_with_the_training_sets_balance_and_move_with_it(arrays):
    rows, square = np.arange(4), ((64, 64), (64, 64))
    recipe = replace(
        RECIPE,
        batch_size=4,
        loss="weighted_cross_entropy",
        augmentation=Augmentation(symmetry="turns"),
    )
    masks = np.ascontiguousarray(arrays.masks[:, :, 8:72])
    arrays = replace(arrays, images=arrays.images[:, :, 8:72], masks=masks)
    training, _ = make_batches(arrays, (rows, []), recipe, (0.0, 255.0), 1, square)
    share = np.mean(masks[rows] > 0)
    assert not any(np.isclose(np.mean(masks[row] > 0), share, rtol=0.01) for row in rows)
    for _ in range(3):
        _, moved, weights = training[0]
        for mask, of_mask in zip(moved, weights):  # a turned mask has the turned mask's map
            np.testing.assert_allclose(of_mask, border_weights(mask, share), rtol=1e-5)
        training.on_epoch_end()
    info = training.weights.of_row.cache_info()
    assert (info.misses, info.hits) == (4, 8)


def test_whole_images_are_moved_where_the_recipe_says_so(arrays):
    recipe = replace(RECIPE, batch_size=12, augmentation=Augmentation(symmetry="turns"))
    square = ((64, 64), (64, 64))
    images, masks = Batches(arrays, np.arange(12), 12, recipe, (0.0, 255.0), square, 1)[0]
    assert images.shape == masks.shape == (12, 64, 64, 1)
    still = Batches(arrays, np.arange(12), 12, recipe, (0.0, 255.0), square)[0][1]
    np.testing.assert_array_equal(still, arrays.masks[:, :, 8:72] > 0)
    assert not np.array_equal(masks, still)


def test_training_gets_all_batches_of_an_epoch_before_one_of_the_next(arrays):
    seen = []

    class Watched(Batches):
        def __getitem__(self, step):
            seen.append((self.epoch, step))
            return super().__getitem__(step)

    recipe = replace(RECIPE, batch_size=2)
    batches = Watched(arrays, np.arange(6), 6, recipe, (0.0, 255.0), WHOLE, seed=1)
    model = keras.Sequential([keras.Input((64, 80, 1)), keras.layers.Conv2D(1, 1)])
    model.compile("sgd", "mse")
    model.fit(batches, epochs=5, verbose=0)
    of_each = np.reshape(seen[-15:], (5, 3, 2))  # before them Keras looks at some for their shape
    for number, epoch in enumerate(of_each, start=batches.epoch - 5):
        assert sorted(map(tuple, epoch)) == [(number, 0), (number, 1), (number, 2)]


def test_batches_keep_tf_data_from_autotuning(arrays):
    batches = Batches(arrays, np.arange(6), 6, RECIPE, (0.0, 255.0), WHOLE)
    data_set = get_data_adapter(batches).get_tf_dataset()
    assert data_set.options().autotune.enabled is False


def test_several_devices_share_each_batch_without_overlap_or_loss(arrays, monkeypatch):
    monkeypatch.setattr(Devices, "pads_batches", True)
    rows, recipe = np.arange(len(arrays.images)), replace(RECIPE, batch_size=8)
    for count in range(1, 25):
        parts = [
            Batches(
                arrays,
                rows,
                count,
                recipe,
                (0.0, 1.0),
                WHOLE,
                1,
                Devices(tuple("abcd"), 2, number),
            )
            for number in range(2)
        ]
        for step in range(len(parts[0])):
            first, second = (part.places(step) for part in parts)
            assert len(first) == len(second) and len(first) % 2 == 0
            (real,) = parts[0].cut((np.array([*first, *second]),))
            assert real.tolist() == list(range(count)[8 * step : 8 * step + 8])
            assert len(parts[0][step][0]) == len(first)


def test_batches_that_devices_cannot_share_are_refused(arrays):
    rows, pair = np.arange(len(arrays.images)), Devices(("a", "b"))
    with pytest.raises(ValueError, match="batches of 5 images equally; pass --batch-size 4"):
        Batches(arrays, rows, 9, replace(RECIPE, batch_size=5), (0.0, 1.0), WHOLE, 1, pair)
    with pytest.raises(ValueError, match="2 devices cannot share 1 training images; pass fewer"):
        Batches(arrays, rows, 1, replace(RECIPE, batch_size=4), (0.0, 1.0), WHOLE, 1, pair)
    odd = Batches(arrays, rows, 9, replace(RECIPE, batch_size=4), (0.0, 1.0), WHOLE, 1, pair)
    assert [len(odd.places(step)) for step in range(len(odd))] == [4, 4]  # TensorFlow drops one


def ignoring_part(arrays):
    """The arrays, with a part of each mask that does not count: foreground, background, both."""
    masks = arrays.masks[:] // 255
    masks[:, 20:50, 30:60] = IGNORED
    return replace(arrays, masks=masks, reading=Reading(ignore=(200,)))


def test_pixels_that_do_not_count_are_255(arrays):
    arrays = ignoring_part(arrays)
    expected = arrays.masks.astype(np.float32)
    rows, moved = np.arange(4), replace(RECIPE, augmentation=Augmentation(symmetry="flips"))
    plain = Batches(arrays, rows, 4, RECIPE, (0.0, 255.0), WHOLE)[0][1]
    np.testing.assert_array_equal(plain, expected[:4])
    cropped = Batches(arrays, rows, 4, RECIPE, (0.0, 255.0), ((60, 44), (28, 20)))[0][1]
    np.testing.assert_array_equal(cropped, expected[:4, 18:46, 30:50])
    flipped = Batches(arrays, rows, 4, moved, (0.0, 255.0), WHOLE, 1)[0][1]
    assert np.unique(flipped).tolist() == [0, 1, 255]
    assert np.count_nonzero(flipped == 255) == 4 * 30 * 30


def test_class_numbers_that_do_not_count_are_255(arrays):
    numbers = np.random.default_rng(0).integers(0, 4, arrays.masks.shape, np.uint8)
    numbers[:, :9] = IGNORED
    reading, classes = Reading(ignore=(200,)), number_classes(4)
    arrays = replace(arrays, masks=numbers, classes=classes, reading=reading)
    truth = Batches(arrays, np.arange(4), 4, RECIPE, (0.0, 255.0), WHOLE)[0][1]
    assert (truth[:, :9] == 255).all()
    np.testing.assert_array_equal(truth[:, 9:], numbers[:4, 9:])


def test_pixels_that_do_not_count_are_no_cell_weigh_nothing_and_tip_no_balance(arrays):
    arrays, rows = ignoring_part(arrays), np.arange(4)
    recipe = replace(RECIPE, batch_size=4, loss="weighted_cross_entropy")
    training, _ = make_batches(arrays, (rows, []), recipe, (0.0, 255.0), 1, WHOLE)
    _, truth, weights = training[0]
    masks = arrays.masks[rows]
    share = np.count_nonzero(masks == 1) / np.count_nonzero(masks != IGNORED)
    for mask, of_mask in zip(truth[..., 0], weights):
        expected = border_weights(mask == 1, share)
        expected[mask == IGNORED] = 0
        np.testing.assert_allclose(of_mask, expected, rtol=1e-5)
    assert (weights == 0).sum() == 4 * 30 * 30


def shown_of(labels):
    """bool (N, K): the classes that rows show, from a set for each."""
    classes = sorted(set().union(*labels))
    return np.array([[label in of_row for label in classes] for of_row in labels])


def of_split(rows, labels):
    return Counter(label for row in rows for label in labels[row] or {"none"})


@pytest.mark.parametrize("seed", range(10))
def test_images_with_and_without_foreground_are_spread_over_both_sides_and_folds(seed):
    """4 of 20 images show an object: each of 5 folds has at most one, and one fold has none."""
    files = rows_of([str(n) for n in range(20)])
    labels = [{1} if n in (2, 3, 11, 17) else set() for n in range(20)]
    train_rows, held_out = split_rows(files, 0.2, True, seed, shown_of(labels))
    assert sorted([*train_rows, *held_out]) == list(range(20))
    assert of_split(held_out, labels) == {1: 1, "none": 3}
    folds = fold_rows(files, 5, True, seed, shown_of(labels))
    assert sorted(row for _, fold in folds for row in fold) == list(range(20))
    assert sorted(of_split(fold, labels)[1] for _, fold in folds) == [0, 1, 1, 1, 1]
    assert [len(fold) for _, fold in folds] == [4] * 5


def test_classes_are_spread_and_subjects_stay_whole():
    rng = np.random.default_rng(3)
    files = rows_of([str(n // 3) for n in range(90)])
    labels = [{label for label in range(1, 5) if rng.random() < 0.15 * label} for _ in range(90)]
    labels[30:33] = [{9}] * 3
    train_rows, held_out = split_rows(files, 0.2, True, 1, shown_of(labels))
    sides = [{files[row]["subject"] for row in side} for side in (train_rows, held_out)]
    assert not sides[0] & sides[1] and 15 <= len(held_out) <= 21
    found, of_all = of_split(held_out, labels), of_split(range(90), labels)
    for label in range(1, 5):
        assert 0.1 < found[label] / of_all[label] < 0.35
    assert not found[9]  # one subject alone shows it: the training has to see it
    for _, fold in fold_rows(files, 5, True, 1, shown_of(labels)):
        assert set(range(1, 5)) <= set(of_split(fold, labels))


def test_where_all_subjects_show_the_same_they_are_drawn_as_without_labels():
    files = rows_of([str(n // 4) for n in range(80)])
    labels = [{1} if n % 2 else set() for n in range(80)]
    for seed in range(3):
        for a, b in zip(
            split_rows(files, 0.2, True, seed),
            split_rows(files, 0.2, True, seed, shown_of(labels)),
        ):
            assert np.array_equal(a, b)
        for a, b in zip(
            fold_rows(files, 4, True, seed), fold_rows(files, 4, True, seed, shown_of(labels))
        ):
            assert np.array_equal(a[1], b[1])


@pytest.mark.parametrize("seed", range(5))
def test_of_two_subjects_that_show_something_one_is_held_out(seed):
    for count, size in ((4, 5), (10, 1)):
        files = rows_of([str(n // size) for n in range(count * size)])
        labels = [{1} if n // size < 2 else set() for n in range(count * size)]
        train_rows, held_out = split_rows(files, 0.2, True, seed, shown_of(labels))
        assert of_split(train_rows, labels)[1] == of_split(held_out, labels)[1] == size
        assert len(held_out) in (5, 2, 3)


def test_a_class_that_two_images_show_is_on_both_sides_and_no_fold_is_empty():
    rng = np.random.default_rng(0)
    for seed in range(100):
        shown = rng.random((int(rng.integers(6, 40)), int(rng.integers(1, 5)))) < rng.uniform(
            0, 0.5
        )
        files = rows_of([str(n) for n in range(len(shown))])
        train_rows, held_out = split_rows(files, 0.2, True, seed, shown)
        counts = shown.sum(axis=0)
        assert shown[train_rows].any(axis=0)[counts > 0].all()
        assert shown[held_out].any(axis=0)[counts > 1].all()
        folds = fold_rows(files, 5, True, seed, shown)
        assert all(len(rows) for _, rows in folds)
        assert sorted(row for _, rows in folds for row in rows) == list(range(len(shown)))
