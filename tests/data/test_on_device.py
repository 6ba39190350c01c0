"""Windows that are cut by keras.ops, on whatever backend, against those that OpenCV cuts."""

import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from unet.data.arrays import Arrays
from unet.data.batches import Batches, make_batches
from unet.data.on_device import MOST_BYTES, DrawnBatches, choose_batches, room_on_card, standardize
from unet.jobs import JOBS, RECIPES
from unet.jobs.settings import IGNORED, Augmentation, Reading
from unet.machine.devices import ONE_DEVICE, Devices
from unet.reading.classes import number_classes
from unet.training.fit import build_variables
from unet.training.lines import steps_done

RECIPE = replace(RECIPES["modern"]["nerve"].recipe, batch_size=4, steps_per_epoch=2)
TURNS = Augmentation(symmetry="turns")
EVERYTHING = Augmentation("turns", 0.3, True, 180, 0.5, 5, 0.2, 0.2, 0.3, 0.2)
EACH = dict.fromkeys(
    [  # every field alone, all together, and what jobs have
        Augmentation(),
        TURNS,
        Augmentation(shift=0.5),
        Augmentation(shift=0.5, wrap=True),
        Augmentation(rotation=180),
        Augmentation(scale=0.5),
        Augmentation(elastic=10),
        Augmentation(contrast=0.2),
        Augmentation(brightness=0.2),
        Augmentation(gamma=0.3),
        Augmentation(color=0.3),
        EVERYTHING,
        *(job.recipe.augmentation for recipe in RECIPES.values() for job in recipe.values()),
    ]
)


def noise(size, channels, count=6):
    """Images of noise, whose neighbours differ most, and masks like them."""
    images = np.random.default_rng(1).integers(0, 256, (count, *size, channels), np.uint8)
    return images, np.where(images[..., :1] > 127, np.uint8(255), np.uint8(0))


def both(arrays, recipe, window, mask_size=None, scale=(0.0, 1.0), seed=1):
    """A training step's parts as OpenCV makes them and as the device does, NumPy arrays."""
    split, sizes = (np.arange(len(arrays.images)), np.arange(3)), (window, mask_size or window)
    pairs = []
    for number in range(2):
        kinds = []
        for kind in (Batches, DrawnBatches):
            batches = make_batches(arrays, split, recipe, scale, seed, sizes, kind=kind)
            if kind is DrawnBatches:
                batches[0].attach(keras.Sequential(), batches[1])
                batch = {k: ops.convert_to_tensor(v) for k, v in batches[number][0].items()}
                kinds.append([ops.convert_to_numpy(p) for p in batches[number].cut(batch)])
            else:
                kinds.append(batches[number][0])
        pairs.append(list(zip(*kinds, strict=True)))
    return pairs


def check(pairs, greys=1.0):
    for images, truths, *weights in pairs:
        assert images[0].shape == images[1].shape and truths[0].shape == truths[1].shape
        assert np.abs(images[0] - images[1]).max() < greys
        assert np.mean(truths[0] != truths[1]) < 0.001
        for ours, other in weights:
            seen = ours.shape == other.shape and (truths[0] == truths[1])[..., 0]
            np.testing.assert_allclose(ours[seen], other[seen], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("augmentation", "channels"), [*((each, 3) for each in EACH), (EVERYTHING, 1)], ids=str
)
def test_the_same_windows_but_for_rounding(augmentation, channels):
    """Of the image's size, smaller and larger ones, grey and RGB."""
    arrays = Arrays(*noise((64, 80), channels), [], [], [])
    for window in ((64, 80), (41, 32), (96, 100)):
        check(both(arrays, replace(RECIPE, augmentation=augmentation), window))


@pytest.mark.parametrize("augmentation", [TURNS, EVERYTHING], ids=str)
@pytest.mark.parametrize(("has_classes", "ignores"), [(True, False), (True, True), (False, True)])
def test_classes_and_pixels_that_do_not_count(augmentation, has_classes, ignores):
    images, masks = noise((64, 64), 1)
    if has_classes:
        masks = images // 86
    if ignores:
        masks = masks if has_classes else masks // 255
        masks[:, 10:30, 20:50] = IGNORED
    arrays = Arrays(
        images,
        masks,
        [],
        [],
        [],
        classes=number_classes(3) if has_classes else (),
        reading=Reading(ignore=(200,)) if ignores else Reading(),
    )
    pairs = both(arrays, replace(RECIPE, augmentation=augmentation), (48, 50), (30, 32))
    check(pairs)
    assert (pairs[0][1][1] == IGNORED).any() == ignores


@pytest.mark.parametrize("augmentation", [TURNS, EVERYTHING], ids=str)
def test_border_weights_move_with_the_mask(augmentation):
    arrays = Arrays(*noise((64, 64), 1), [], [], [])
    recipe = replace(JOBS["membrane"].recipe, batch_size=4, augmentation=augmentation)
    pairs = both(arrays, recipe, (60, 44), (28, 20))
    assert len(pairs[0]) == 3
    check(pairs)


@pytest.mark.parametrize("standardize", [(100.0, 50.0), (None, None)])
def test_images_are_standardized(standardize):
    arrays = Arrays(*noise((64, 64), 3), [], [], [])
    check(both(arrays, RECIPE, (48, 48), scale=standardize), greys=0.02)


def test_an_image_of_one_grey_level_becomes_0():
    for level in range(256):
        images = ops.full((2, 64, 80, 3), float(level))
        assert np.abs(ops.convert_to_numpy(standardize(images))).max() < 1e-3


def small_training(kind, steps, shapes=((48, 48),) * 2):
    """The history, the weights and the steps that a callback sees, of a small network trained for
    two epochs of so many steps.
    """
    keras.utils.set_random_seed(3)
    arrays = Arrays(*noise((64, 64), 1), [], [], [])
    split, recipe = (np.arange(4), np.arange(4, 6)), replace(RECIPE, batch_size=2)
    training, validation = make_batches(
        arrays, split, replace(recipe, steps_per_epoch=steps), (127.0, 50.0), 1, shapes, kind=kind
    )
    model = keras.Sequential(
        [
            keras.Input((*shapes[0], 1)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    build_variables(model)
    training.attach(model, validation)
    told = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: told.append(steps_done(batch, {"steps": steps}))
    )
    history = model.fit(
        training,
        validation_data=validation,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[callback],
    ).history
    return history, model.get_weights(), told


def test_a_training_is_the_same_whichever_cuts_the_windows():
    (first, weights, _), (other, other_weights, _) = (
        small_training(kind, 4) for kind in (Batches, DrawnBatches)
    )
    assert sorted(first) == sorted(other) == ["loss", "val_loss"]
    for name in first:
        np.testing.assert_allclose(first[name], other[name], rtol=1e-3)
    for one, two in itertools.zip_longest(weights, other_weights):
        np.testing.assert_allclose(one, two, atol=2e-3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others take one at a time")
def test_several_steps_at_once_are_the_same_training(monkeypatch):
    """Of ten, eight and then the two that are left: those beyond the epoch are none."""
    other, other_weights, at_once = small_training(DrawnBatches, 10)
    monkeypatch.setattr("unet.data.on_device.STEPS_PER_CALL", 1)
    first, weights, told = small_training(DrawnBatches, 10)
    assert (told, at_once) == ([*range(1, 11)] * 2, [8, 10] * 2)
    for name in first:
        np.testing.assert_allclose(first[name], other[name], rtol=1e-6)
    for one, two in zip(weights, other_weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a device of PyTorch's")
@pytest.mark.parametrize("augmentation", [TURNS, EVERYTHING], ids=str)
def test_nothing_that_a_step_needs_stays_off_the_device(augmentation):
    """On a device of its own, as a card is: PyTorch moves nothing there by itself."""
    arrays = Arrays(*noise((64, 64), 3), [], [], [])
    recipe = replace(RECIPE, augmentation=augmentation)
    with keras.device("meta"):
        split, sizes = (np.arange(6), []), ((48, 50), (48, 50))
        batches, _ = make_batches(arrays, split, recipe, (0, 1), 1, sizes, kind=DrawnBatches)
        batches.attach(keras.Sequential(), None)
        batch = {name: ops.convert_to_tensor(part) for name, part in batches[0].items()}
        for part in batches.cut(batch):
            assert part.device.type == "meta" and part.shape[:3] == (4, 48, 50)


def test_a_card_cuts_what_fits_on_it_and_several_devices_nothing(monkeypatch, capsys):
    room = "unet.data.on_device.room_on_card"
    small = Arrays(np.zeros((2, 64, 64, 3), np.uint8), [], [], [], [])
    assert choose_batches(small, RECIPE, ONE_DEVICE) is Batches
    monkeypatch.setattr("unet.data.on_device.card_name", lambda: "NVIDIA T4")
    monkeypatch.setattr(room, lambda: MOST_BYTES)
    assert choose_batches(small, RECIPE, ONE_DEVICE) is DrawnBatches
    assert choose_batches(small, RECIPE, Devices(("0", "1"))) is Batches
    count, weighted = MOST_BYTES // (64 * 64 * 4), JOBS["membrane"].recipe
    for number, recipe in ((count, RECIPE), (count // 2, weighted)):
        images = np.broadcast_to(np.uint8(0), (number, 64, 64, 3))
        assert choose_batches(replace(small, images=images), recipe, ONE_DEVICE) is DrawnBatches
    assert not capsys.readouterr().out
    for number, recipe in ((count + 1, RECIPE), (count // 2 + 1, weighted)):
        large = replace(small, images=np.broadcast_to(np.uint8(0), (number, 64, 64, 3)))
        assert choose_batches(large, recipe, ONE_DEVICE) is Batches
        assert "windows are cut by the processor: more than" in capsys.readouterr().out
    monkeypatch.setattr(room, lambda: 2 * MOST_BYTES)
    assert choose_batches(large, weighted, ONE_DEVICE) is DrawnBatches


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others tell what is free")
def test_a_card_of_tensorflow_takes_two_gigabytes():
    assert room_on_card() == 2**31
