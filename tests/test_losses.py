"""Losses and scores, against formulas in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

import train
from unet import losses
from unet.errors import InputError
from unet.jobs import RECIPES
from unet.jobs.settings import IGNORED
from unet.options import parse_options
from unet.reading.classes import number_classes
from unet.training.plan import change_job


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


def numpy_tversky(a, b, alpha, beta, smooth=1.0):
    a, b = a.astype(np.float64), b.astype(np.float64)
    false, missed = b.sum() - (a * b).sum(), a.sum() - (a * b).sum()
    return ((a * b).sum() + smooth) / ((a * b).sum() + alpha * false + beta * missed + smooth)


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
    losses.tversky_loss: lambda a, b: 1 - numpy_tversky(a, b, 0.3, 0.7),
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


def test_of_tversky_alpha_weighs_false_pixels_and_beta_missed_ones():
    half = masks("empty", (8, 8))[0]
    half[:, :4] = 1
    more, less = half.copy(), half.copy()
    more[:, 4] = 1  # 3 images of 8 false pixels
    less[:, 3] = 0
    loss = lambda *pair: float(losses.tversky_loss(*pair, alpha=0.2, beta=0.9))  # noqa: E731
    assert loss(half, half) == 0
    assert loss(half, more) == pytest.approx(0.2 * 24 / (96 + 0.2 * 24 + 1), rel=1e-5)
    assert loss(half, less) == pytest.approx(0.9 * 24 / (72 + 0.9 * 24 + 1), rel=1e-5)


def test_tversky_of_equal_halves_is_the_dice_loss():
    pair = masks("random")
    tversky = losses.tversky_loss(*pair, alpha=0.5, beta=0.5, smooth=0.5)
    assert float(tversky) == pytest.approx(float(losses.dice_loss(*pair)), rel=1e-5)


def test_empty_against_empty_is_no_loss_of_tversky():
    empty = np.zeros((2, 8, 8, 1), np.float32)
    assert float(losses.tversky_loss(empty, empty)) == 0


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
    model.compile("sgd", losses.make_loss("weighted_cross_entropy"))
    p = model.predict(images, verbose=0)
    per_pixel = -np.log(np.take_along_axis(p, classes.astype(int), axis=-1)[..., 0])
    loss = model.evaluate(images, classes, sample_weight=weights, verbose=0)
    assert loss == pytest.approx((weights * per_pixel).mean(), rel=1e-4)


# ---- pixels that do not count

IGNORED_COLUMNS = 5  # at the right of every image, so that the others are images, too
CHANNELS = {name: loss.channels for name, loss in losses.LOSSES.items()}
WEIGHING = losses.weighing_losses()
CLASS_WEIGHTS = {1: (0.3, 4.0), 3: (0.1, 1.0, 5.0)}  # by channels
EVERY = pytest.mark.parametrize(
    ("name", "class_weights"),
    [(name, None) for name in losses.LOSSES]
    + [(name, CLASS_WEIGHTS[CHANNELS[name]]) for name in WEIGHING],
)


def pixel_logits(channels, seed=0):
    """Logits (2, 6, 9, C), some of them saturated, and classes (2, 6, 9, 1) float32."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (2, 6, 9, channels)).astype(np.float32)
    logits[:, 0, :, -1] = 60
    return logits, rng.integers(0, max(channels, 2), (2, 6, 9, 1)).astype(np.float32)


def with_ignored(classes):
    """Classes whose last columns do not count, as Batches has them."""
    classes = classes.copy()
    classes[:, :, -IGNORED_COLUMNS:] = IGNORED
    return classes


def crop(pixels):
    return pixels[:, :, :-IGNORED_COLUMNS]


def train_step(loss, logits, classes, weights=None):
    """The loss of a network that has these logits, and minus its gradient to each of them."""
    count, channels = logits[..., 0].size, logits.shape[-1]
    images = np.eye(count, dtype=np.float32).reshape(*logits.shape[:3], count)
    model = keras.Sequential([
        keras.Input((None, None, count)),
        keras.layers.Conv2D(channels, 1, use_bias=False),
        keras.layers.Activation("softmax" if channels > 1 else "sigmoid"),
    ])  # fmt: skip
    model.set_weights([logits.reshape(1, 1, count, channels)])
    model.compile(keras.optimizers.SGD(1.0), loss)
    value = model.train_on_batch(images, classes, weights)
    after = ops.convert_to_numpy(model.weights[0]).reshape(logits.shape)
    return float(np.ravel(value)[0]), after - logits


def weights_for(name, shape):
    weights = np.random.default_rng(1).uniform(0.5, 9, shape).astype(np.float32)
    return weights if name == "weighted_cross_entropy" else None


@EVERY
def test_predictions_at_pixels_that_do_not_count_change_neither_loss_nor_gradient(
    name, class_weights
):
    logits, classes = pixel_logits(CHANNELS[name])
    loss, weights = (
        losses.ignoring(losses.make_loss(name, class_weights)),
        weights_for(name, (2, 6, 9)),
    )
    value, change = train_step(loss, logits, with_ignored(classes), weights)
    assert not change[:, :, -IGNORED_COLUMNS:].any()
    assert crop(change).any()
    for garbage in (-1000, 0, 7, 1000):
        other = logits.copy()
        other[:, :, -IGNORED_COLUMNS:, -1] = garbage
        again, change_again = train_step(loss, other, with_ignored(classes), weights)
        assert again == value
        np.testing.assert_array_equal(change_again, change)


@EVERY
def test_a_loss_and_its_gradient_are_those_of_the_images_without_what_does_not_count(
    name, class_weights
):
    logits, classes = pixel_logits(CHANNELS[name])
    loss, weights = losses.make_loss(name, class_weights), weights_for(name, (2, 6, 9))
    value, change = train_step(losses.ignoring(loss), logits, with_ignored(classes), weights)
    small, cropped = crop(logits), None if weights is None else crop(weights)
    expected, expected_change = train_step(loss, small, crop(classes), cropped)
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(crop(change), expected_change, rtol=1e-3, atol=1e-5)


@EVERY
def test_a_batch_of_which_nothing_counts_has_a_finite_loss_and_no_gradient(name, class_weights):
    logits, classes = pixel_logits(CHANNELS[name])
    value, change = train_step(
        losses.ignoring(losses.make_loss(name, class_weights)), logits, 0 * classes + IGNORED
    )
    assert value == (-1 if name == "negative_dice" else 0)
    assert not change.any()


def probabilities(channels, seed=0):
    logits, classes = pixel_logits(channels, seed)
    odds = np.exp(logits)
    return (odds / odds.sum(-1, keepdims=True) if channels > 1 else odds / (1 + odds)), classes


@pytest.mark.parametrize(
    ("name", "channels"),
    [*((name, 4 if name.startswith("class") else 1) for name in losses.METRICS)]
    + [("dice_per_image", 2)],
)
def test_a_metric_is_that_of_the_images_without_what_does_not_count(name, channels):
    metric = losses.METRICS[name]
    p, classes = probabilities(channels)
    value = ops.convert_to_numpy(losses.ignoring(metric)(with_ignored(classes), p))
    expected = ops.convert_to_numpy(metric(crop(classes), crop(p)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    p[:, :, -IGNORED_COLUMNS:] = 1 - p[:, :, -IGNORED_COLUMNS:]
    again = ops.convert_to_numpy(losses.ignoring(metric)(with_ignored(classes), p))
    np.testing.assert_array_equal(again, value)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_accuracy_is_kerass_of_the_pixels_that_count(channels):
    p, classes = probabilities(channels)
    share = ops.convert_to_numpy(losses.ignoring(losses.accuracy)(with_ignored(classes), p))
    kinds = keras.metrics.SparseCategoricalAccuracy, keras.metrics.BinaryAccuracy
    for image in range(2):
        expected = kinds[channels == 1]()
        expected.update_state(crop(classes)[image], crop(p)[image])
        assert share[image] == pytest.approx(float(expected.result()), rel=1e-6)


def test_an_image_of_which_nothing_counts_scores_1():
    for metric in (losses.dice_per_image, losses.class_dice_per_image, losses.accuracy):
        p, classes = probabilities(3)
        classes[1] = IGNORED
        scores = ops.convert_to_numpy(losses.ignoring(metric)(classes, p))
        assert scores[0] < scores[1] == 1


# ---- class weights


def even_probabilities(channels):
    """Probabilities (2, 6, 9, C) of which none is near 0 or 1, and classes (2, 6, 9, 1)."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.1, 0.9, (2, 6, 9, channels)).astype(np.float32)
    classes = rng.integers(0, max(channels, 2), (2, 6, 9, 1)).astype(np.float32)
    return (p / p.sum(-1, keepdims=True) if channels > 1 else p), classes


def weighed_by_hand(p, classes, class_weights):
    """sum(w * ce) / sum(w), pixel by pixel."""
    total = weight = 0.0
    for place in np.ndindex(classes.shape[:3]):
        number = int(classes[place][0])
        odds = p[place].astype(np.float64)
        of_class = odds[number] if len(odds) > 1 else (1 - odds[0], odds[0])[number]
        total -= class_weights[number] * np.log(of_class)
        weight += class_weights[number]
    return total / weight


def dice_part(name, p, classes):
    """What the loss of some name has beside its cross-entropy."""
    if name == "bce_dice":
        return 1 - numpy_dice(classes, p)
    if name == "bce_image_dice":
        return 1 - np.mean([numpy_dice(a, b) for a, b in zip(classes, p)])
    if name == "cross_entropy_dice":
        pairs = [((classes[..., 0] == n) * 1.0, p[..., n]) for n in range(1, p.shape[-1])]
        return 1 - np.mean([numpy_dice(a, b) for a, b in pairs])
    return 0


def value_of(loss, classes, p):
    return float(ops.convert_to_numpy(loss(classes, p)))


def test_the_losses_with_a_cross_entropy_of_their_own_weigh_classes():
    entropies = {name for name in losses.LOSSES if "cross_entropy" in name or "bce" in name}
    assert set(WEIGHING) == entropies - {"weighted_cross_entropy"}


@pytest.mark.parametrize("name", WEIGHING)
def test_class_weights_weigh_each_pixels_cross_entropy_but_no_dice(name):
    p, classes = even_probabilities(CHANNELS[name])
    class_weights = CLASS_WEIGHTS[CHANNELS[name]]
    loss = losses.make_loss(name, class_weights)
    expected = weighed_by_hand(p, classes, class_weights) + dice_part(name, p, classes)
    assert value_of(loss, classes, p) == pytest.approx(expected, rel=1e-5)
    some, few = crop(p), crop(classes)
    expected = weighed_by_hand(some, few, class_weights) + dice_part(name, some, few)
    counted = value_of(losses.ignoring(loss), with_ignored(classes), p)
    assert counted == pytest.approx(expected, rel=1e-5)
    assert losses.make_loss(name, class_weights).__name__ == losses.make_loss(name).__name__


@pytest.mark.parametrize("name", WEIGHING)
def test_equal_class_weights_are_none(name):
    logits, classes = pixel_logits(CHANNELS[name])
    value, change = train_step(losses.make_loss(name), logits, classes)
    equal = (2.0,) * max(2, CHANNELS[name])
    same, same_change = train_step(losses.make_loss(name, equal), logits, classes)
    assert same == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(same_change, change, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", WEIGHING)
def test_the_scale_of_class_weights_does_not_matter(name):
    p, classes = even_probabilities(CHANNELS[name])
    class_weights = CLASS_WEIGHTS[CHANNELS[name]]
    expected = value_of(losses.make_loss(name, class_weights), classes, p)
    for scale in (1e-60, 1e60):  # beyond float32
        scaled = [weight * scale for weight in class_weights]
        value = value_of(losses.make_loss(name, scaled), classes, p)
        assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "cross_entropy"])
def test_pixels_of_a_class_that_weighs_nothing_have_no_gradient(name):
    logits, classes = pixel_logits(CHANNELS[name])
    loss = losses.make_loss(name, (0.0, 1.0, 1.0)[: max(2, CHANNELS[name])])
    change = train_step(loss, logits, classes)[1]
    background = classes[..., 0] == 0
    assert not change[background].any()
    assert change[~background].any()
    value, change = train_step(loss, logits, 0 * classes)  # a batch of nothing else
    assert value == 0
    assert not change.any()


def changed(job, loss=None, class_weights=None, classes=(), recipe="modern", assignments=()):
    given = {"loss": loss, "class_weights": class_weights}
    return change_job(job, RECIPES[recipe][job], assignments, given, classes).recipe


def test_class_weights_are_an_option_and_a_field_of_the_recipe():
    recipe = changed("own", class_weights=(0.1, 1.0, 5.0), classes=number_classes(3))
    assert recipe.class_weights == (0.1, 1.0, 5.0)
    assignment = "recipe.class_weights=0.1,1,5"
    assert changed("own", classes=number_classes(3), assignments=[assignment]) == recipe
    for nothing in ("", "none"):
        assignments = [f"recipe.class_weights={nothing}"]
        assert not changed("own", assignments=assignments).class_weights


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(job="own", loss="tversky"), "tversky has no cross-entropy; leave them out, or pass "
         "--loss binary_cross_entropy or bce_dice or bce_image_dice$"),
        (dict(job="nerve", recipe="document"), "negative_dice has no cross-entropy"),
        (dict(job="membrane", recipe="document"),
         "weighted_cross_entropy has a map of weights of its own; leave them out$"),
        (dict(job="own", classes=number_classes(3)),
         "2 given, expected one for each of class 0, class 1, class 2"),
        (dict(job="own", class_weights=(1.0,)),
         "1 given, expected one for each of background, foreground"),
        (dict(job="own", class_weights=(1.0, -2.0)),
         "1,-2: expected finite numbers of at least 0, not all of them 0"),
        (dict(job="own", class_weights=(0.0, 0.0)), "0,0: expected finite numbers"),
        (dict(job="own", class_weights=(1.0, np.inf)), "1,inf: expected finite numbers"),
        (dict(job="own", class_weights=(np.nan, 1.0)), "nan,1: expected finite numbers"),
    ],
)  # fmt: skip
def test_class_weights_that_do_not_fit_are_refused(given, message):
    with pytest.raises(InputError, match=f"^--class-weights:? {message}"):
        changed(**{"class_weights": (0.2, 1.0), **given})


@pytest.mark.parametrize("text", ["1,x", ""])
def test_class_weights_that_are_no_numbers_are_refused(text):
    with pytest.raises(InputError, match=f"--class-weights: '{text}': expected numbers with com"):
        parse_options(train.Options, "train.py", "", ["noise", "--class-weights", text])
