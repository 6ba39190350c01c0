"""Losses and scores, against formulas in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from unet import losses


def masks(kind, size=(24, 20)):
    """Truth of 0 and 1, and a prediction in [0, 1]; both float32 (3, H, W, 1)."""
    rng = np.random.default_rng(len(kind))
    truth = np.zeros((3, *size, 1), np.float32)
    if kind == "random":
        truth = (rng.random(truth.shape) > 0.7).astype(np.float32)
    elif kind == "full":
        truth += 1
    elif kind == "single pixel":
        truth[:, 5, 7] = 1
    return truth, rng.random(truth.shape).astype(np.float32)


KINDS = ["random", "empty", "full", "single pixel"]


def numpy_dice(a, b, smooth=1.0):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (2 * (a * b).sum() + smooth) / (a.sum() + b.sum() + smooth)


def numpy_iou(a, b, smooth=1.0):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return ((a * b).sum() + smooth) / ((a + b - a * b).sum() + smooth)


def numpy_cross_entropy(truth, p):
    tiny = np.float32(1e-7)
    p = np.clip(p, tiny, 1 - tiny).astype(np.float64)
    return -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()


ORACLES = {
    losses.dice_coef: numpy_dice,
    losses.dice_coef_loss: lambda a, b: -numpy_dice(a, b),
    losses.dice_loss: lambda a, b: 1 - numpy_dice(a, b),
    losses.iou_coef: numpy_iou,
    losses.iou_loss: lambda a, b: 1 - numpy_iou(a, b),
    losses.binary_cross_entropy: numpy_cross_entropy,
    losses.bce_dice_loss: lambda a, b: numpy_cross_entropy(a, b) + 1 - numpy_dice(a, b),
    losses.bce_image_dice_loss: lambda a, b: (
        numpy_cross_entropy(a, b) + 1 - np.mean([numpy_dice(x, y) for x, y in zip(a, b)])
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ORACLES, ids=lambda loss: loss.__name__)
def test_a_loss_is_its_formula(loss, kind):
    truth, prediction = masks(kind)
    expected = ORACLES[loss](truth, prediction)
    assert float(loss(truth, prediction)) == pytest.approx(expected, rel=1e-5)
    hard = (prediction > 0.5).astype(np.float32)
    assert float(loss(truth, hard)) == pytest.approx(ORACLES[loss](truth, hard), rel=1e-4)


@pytest.mark.parametrize("loss", ORACLES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_does_not_overflow_in_half_precision(loss, kind):
    truth, prediction = masks(kind, size=(1024, 1024))
    half = ops.cast(prediction, "float16")  # sums beyond 65504 are infinite in this type
    value = ops.convert_to_numpy(loss(ops.cast(truth, "float16"), half))
    assert value.dtype == np.float32
    exact = ORACLES[loss](truth, ops.convert_to_numpy(half))
    assert value == pytest.approx(exact, rel=1e-3)


def test_a_network_trains_under_a_half_precision_policy_at_1024(request):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layers = keras.layers
        model = keras.Sequential([
            keras.Input((1024, 1024, 1)),
            layers.Conv2D(1, 1),
            layers.Activation("sigmoid", dtype="float32"),
        ])  # fmt: skip
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("sgd", losses.dice_loss, metrics=[losses.dice_coef, losses.dice_per_image])
    truth, image = masks("full", size=(1024, 1024))
    history = model.fit(image[:2], truth[:2], epochs=2, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][1] < history["loss"][0] < 1


@pytest.mark.parametrize("kind", KINDS)
def test_scores_count_pixels_image_by_image(kind):
    truth, prediction = masks(kind)
    prediction[0] = truth[0]
    dice = ops.convert_to_numpy(losses.dice_per_image(truth, prediction))
    for i in range(3):
        a, b = truth[i] > 0.5, prediction[i] > 0.5
        total = a.sum() + b.sum()
        assert dice[i] == pytest.approx(2 * (a & b).sum() / total if total else 1)
    assert dice[0] == 1


def test_empty_against_empty_scores_1_and_against_one_pixel_0():
    empty, pixel = np.zeros((1, 8, 8, 1)), masks("single pixel", (8, 8))[0][:1]
    assert losses.dice_per_image(empty, empty)[0] == 1
    assert losses.dice_per_image(empty, pixel)[0] == 0


def test_scores_of_two_classes_take_the_last_as_foreground():
    truth, prediction = masks("random")
    two = np.concatenate([1 - prediction, prediction], axis=-1)
    np.testing.assert_array_equal(
        losses.dice_per_image(truth, two), losses.dice_per_image(truth, prediction)
    )


def test_softmax_cross_entropy_is_minus_log_of_the_true_class():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (2, 6, 5, 1))
    p = rng.random((2, 6, 5, 3)).astype(np.float32)
    p /= p.sum(axis=-1, keepdims=True)
    expected = -np.log(np.take_along_axis(p, classes, axis=-1)[..., 0])
    got = ops.convert_to_numpy(losses.softmax_cross_entropy(classes.astype(np.float32), p))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_a_weight_map_weights_each_pixel_of_the_training_loss():
    rng = np.random.default_rng(0)
    images = rng.random((2, 6, 5, 1)).astype(np.float32)
    classes = rng.integers(0, 2, (2, 6, 5, 1)).astype(np.float32)
    weights = rng.random((2, 6, 5)).astype(np.float32) * 10
    model = keras.Sequential(
        [keras.Input((6, 5, 1)), keras.layers.Conv2D(2, 1, activation="softmax")]
    )
    model.compile("sgd", losses.LOSSES["weighted_cross_entropy"])
    p = model.predict(images, verbose=0)
    per_pixel = -np.log(np.take_along_axis(p, classes.astype(int), axis=-1)[..., 0])
    loss = model.evaluate(images, classes, sample_weight=weights, verbose=0)
    assert loss == pytest.approx((weights * per_pixel).mean(), rel=1e-4)
