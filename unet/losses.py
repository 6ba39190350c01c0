"""Losses and scores of masks: Dice, IoU and cross-entropy, for training and for reports.

Masks and predictions are (B, H, W, C) in [0, 1]; sums run in float32 under every precision policy,
and over the whole batch where it is split among devices. Where masks have pixels that do not count
(data.py --ignore; y_true is IGNORED there), `ignoring` wraps each so that it sees only the others;
`counted`, bool (B, H, W), is their mask. With `class_weights`, a number for each class, a
cross-entropy ce of a batch's pixels has the mean sum(w * ce) / sum(w), w the weight of a pixel's
true class; 0 where all w are.
"""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

from unet.jobs.settings import IGNORED, THRESHOLD
from unet.lazy import lazy

keras = lazy("keras")
ops = lazy("keras.ops")
devices = lazy("unet.machine.devices")


def dice_coef(y_true, y_pred, smooth=1.0):
    """Soft Dice overlap over a whole batch, as the nerve document defines it.

        (2 * sum(y_true * y_pred) + smooth) / (sum(y_true) + sum(y_pred) + smooth)

    y_true, y_pred: (B, H, W, C) in [0, 1]. Two empty masks score 1. Returns a scalar in (0, 1].
    """
    y_true, y_pred = _float32(y_true, y_pred)
    intersection = _sum(y_true * y_pred)
    return (2 * intersection + smooth) / (_sum(y_true) + _sum(y_pred) + smooth)


def dice_coef_loss(y_true, y_pred):
    """-dice_coef, in [-1, 0): the nerve document's loss."""
    return -dice_coef(y_true, y_pred)


def dice_loss(y_true, y_pred):
    """1 - dice_coef, in [0, 1): the noise document's loss."""
    return 1 - dice_coef(y_true, y_pred)


def binary_cross_entropy(y_true, y_pred, counted=None, class_weights=None):
    """-(y log p + (1 - y) log(1 - p)) averaged over the batch's pixels, on TensorFlow from the
    logits, elsewhere with p kept 1e-7 away from 0 and 1. class_weights: of background and
    foreground.
    """
    y_true, y_pred = _float32(y_true, y_pred)
    pixels = keras.losses.binary_crossentropy(y_true, y_pred)
    return _mean_of_pixels(pixels, y_true, counted, class_weights)


def bce_dice_loss(y_true, y_pred, counted=None, class_weights=None):
    """binary_cross_entropy + dice_loss; class_weights are of the first alone."""
    masks = _without_ignored(y_true, y_pred, counted)
    return binary_cross_entropy(y_true, y_pred, counted, class_weights) + dice_loss(*masks)


def bce_image_dice_loss(y_true, y_pred, counted=None, class_weights=None):
    """binary_cross_entropy + 1 - the mean of each image's own dice_coef: a small mask counts as
    much as a large one. class_weights are of the first alone.
    """
    cross_entropy = binary_cross_entropy(y_true, y_pred, counted, class_weights)
    y_true, y_pred = _float32(*_without_ignored(y_true, y_pred, counted))
    intersection, a, b = (ops.sum(x, axis=(1, 2, 3)) for x in (y_true * y_pred, y_true, y_pred))
    dice = (2 * intersection + 1) / (a + b + 1)
    return cross_entropy + 1 - _mean(dice)


def softmax_cross_entropy(y_true, y_pred, counted=None):
    """-log of the probability of each pixel's class: (B, H, W), for weighting pixel by pixel.

    y_true: (B, H, W, 1), class 0, 1, ... of a pixel; y_pred: (B, H, W, K), a softmax. A map of
    weights (B, H, W), the paper's equation 1, goes to Keras as the batch's sample weights.
    """
    y_true, y_pred = _float32(y_true, y_pred)
    entropy = keras.losses.sparse_categorical_crossentropy
    if keras.backend.backend() == "torch":  # whose gradient fails on maps with the channels last
        flat = ops.reshape(y_true, (-1,)), ops.reshape(y_pred, (-1, y_pred.shape[-1]))
        pixels = ops.reshape(entropy(*flat), y_pred.shape[:-1])
    else:
        pixels = entropy(y_true, y_pred)
    return _of_counted(pixels, counted)


def cross_entropy(y_true, y_pred, counted=None, class_weights=None):
    """softmax_cross_entropy averaged over the batch's pixels: of more than two classes."""
    pixels = softmax_cross_entropy(y_true, y_pred)
    return _mean_of_pixels(pixels, y_true, counted, class_weights)


def class_dice_loss(y_true, y_pred, smooth=1.0):
    """1 - the mean over the classes but the background, class 0, of their soft Dice over a batch.

    For each class as dice_coef, its probability against whether it is the pixel's class.
    y_true, y_pred: as for softmax_cross_entropy. A class that is in no pixel of the batch and is
    not predicted scores 1.
    """
    y_true, y_pred = _one_hot(y_true, y_pred.shape[-1]), ops.cast(y_pred, "float32")
    pixels = [_sum(x, axis=(0, 1, 2))[1:] for x in (y_true * y_pred, y_true, y_pred)]
    intersection, a, b = pixels
    return 1 - ops.mean((2 * intersection + smooth) / (a + b + smooth))


def cross_entropy_dice_loss(y_true, y_pred, counted=None, class_weights=None):
    """cross_entropy + class_dice_loss; class_weights are of the first alone."""
    masks = _without_ignored(y_true, y_pred, counted)
    return cross_entropy(y_true, y_pred, counted, class_weights) + class_dice_loss(*masks)


def class_dice_per_image(y_true, y_pred):
    """Dice of each image, (B,) in [0, 1]: the mean over those classes but the background that are
    in its mask or its prediction, each pixel's class being the most probable; 1 where none is.

    y_true, y_pred: as for softmax_cross_entropy.
    """
    count = y_pred.shape[-1]
    a, b = _one_hot(y_true, count), ops.one_hot(ops.argmax(y_pred, axis=-1), count)
    both, total = (ops.sum(x, axis=(1, 2))[:, 1:] for x in (a * b, a + b))
    is_there = ops.cast(total > 0, "float32")
    dice = ops.sum(2 * both / ops.maximum(total, 1), axis=1)
    count = ops.sum(is_there, axis=1)
    return ops.where(count > 0, dice / ops.maximum(count, 1), 1)


def _one_hot(y_true, count):
    return ops.one_hot(_class_numbers(y_true), count)


def _class_numbers(y_true):
    return ops.cast(y_true[..., 0], "int32")


def iou_coef(y_true, y_pred, smooth=1.0):
    """Soft intersection over union over a whole batch.

        (i + smooth) / (sum(y_true) + sum(y_pred) - i + smooth), i = sum(y_true * y_pred)

    Shapes and degenerate case as dice_coef.
    """
    y_true, y_pred = _float32(y_true, y_pred)
    intersection = _sum(y_true * y_pred)
    return (intersection + smooth) / (_sum(y_true) + _sum(y_pred) - intersection + smooth)


def iou_loss(y_true, y_pred):
    """1 - iou_coef, in [0, 1): the cadastre document watches it."""
    return 1 - iou_coef(y_true, y_pred)


def tversky_loss(y_true, y_pred, alpha=0.3, beta=0.7, smooth=1.0):
    """1 - the Tversky index over a whole batch, in [0, 1): alpha weighs false foreground, beta
    what is missed, by default more. Salehi et al. 2017, arXiv:1706.05721, there without smooth.

        1 - (i + smooth) / (i + alpha * false + beta * missed + smooth), i = sum(y_true * y_pred),
        false = sum((1 - y_true) * y_pred), missed = sum(y_true * (1 - y_pred))

    Shapes as dice_coef. Empty against empty is 0. alpha = beta = smooth = 0.5 is dice_loss.
    """
    y_true, y_pred = _float32(y_true, y_pred)
    intersection = _sum(y_true * y_pred)
    false, missed = _sum((1 - y_true) * y_pred), _sum(y_true * (1 - y_pred))
    weighted = alpha * false + beta * missed
    return 1 - (intersection + smooth) / (intersection + weighted + smooth)


def dice_per_image(y_true, y_pred, threshold=THRESHOLD):
    """Dice of each image's foreground, for reports: (B,) in [0, 1].

        2 |A and B| / (|A| + |B|), A and B the pixels above the threshold in y_true and in y_pred

    The foreground is the last channel, of two classes as of one. Empty against empty scores 1.
    """
    a, b = _float32(y_true[..., -1] > threshold, y_pred[..., -1] > threshold)
    total = ops.sum(a, axis=(1, 2)) + ops.sum(b, axis=(1, 2))
    return ops.where(total > 0, 2 * ops.sum(a * b, axis=(1, 2)) / ops.maximum(total, 1), 1)


def accuracy(y_true, y_pred, counted):
    """Share of each image's pixels that count whose class is right, (B,) in [0, 1], 1 where none
    counts: Keras's "accuracy", which knows no such pixels, for `ignoring`.

    y_true: (B, H, W, 1), class 0, 1, ... of a pixel; y_pred: (B, H, W, C), one channel of 0 to 1
    or a softmax.
    """
    has_classes = y_pred.shape[-1] > 1
    numbers = ops.argmax(y_pred, axis=-1) if has_classes else y_pred[..., 0] > THRESHOLD
    numbers, counted = _float32(numbers, counted)
    right = ops.cast(numbers == ops.cast(y_true[..., 0], "float32"), "float32")
    count = ops.sum(counted, axis=(1, 2))
    share = ops.sum(right * counted, axis=(1, 2)) / ops.maximum(count, 1)
    return ops.where(count > 0, share, 1)


def ignoring(function):
    """A loss or a metric of the pixels that count: those whose y_true is not IGNORED. No
    prediction elsewhere changes its value or its gradient.

    A function with a parameter `counted` receives their mask, and y_true 0 elsewhere; for any
    other, y_true and y_pred are 0 elsewhere, which adds nothing to an overlap.
    """
    takes_counted = _takes(function, "counted")

    @functools.wraps(function)
    def ignore(y_true, y_pred):
        counted = y_true[..., 0] != IGNORED
        y_true, without = _without_ignored(y_true, y_pred, counted)
        return function(y_true, y_pred, counted) if takes_counted else function(y_true, without)

    return ignore


def _takes(function, argument):
    return argument in inspect.signature(function).parameters


def _without_ignored(y_true, y_pred, counted):
    """Both 0 in all channels where a pixel does not count."""
    if counted is None:
        return y_true, y_pred
    return [ops.where(counted[..., None], tensor, 0) for tensor in (y_true, y_pred)]


def _of_counted(x, counted):
    """A map (B, H, W) whose mean over all of a batch's pixels is that over those which count; 0
    where none does.
    """
    if counted is None:
        return x
    share = _mean(ops.cast(counted, "float32"))
    return ops.where(counted, x, 0) / ops.maximum(share, 1e-12)  # a pixel's is at least 1e-9


def _mean_of_pixels(pixels, y_true, counted, class_weights):
    """The mean of a map (B, H, W) over the batch's pixels that count, 0 where none does, as the
    classes in y_true (B, H, W, 1) weigh.
    """
    if not class_weights:
        return _mean(_of_counted(pixels, counted))
    shares = [weight / max(class_weights) for weight in class_weights]  # no float32 overflows
    weights = ops.take(ops.convert_to_tensor(shares, "float32"), _class_numbers(y_true))
    if counted is not None:
        weights = ops.where(counted, weights, 0)
    total = _sum(weights)
    return _sum(weights * pixels) / ops.where(total > 0, total, 1)


def _sum(x, axis=None):
    return devices.sum_over_devices(ops.sum(x, axis=axis))


def _mean(x):
    # Each has as many images.
    return devices.sum_over_devices(ops.mean(x)) / devices.num_replicas()


def _float32(*tensors):
    return [ops.cast(tensor, "float32") for tensor in tensors]


def shared(loss):
    """A loss over the whole batch as one that adds up over the devices: Keras divides only losses
    of single pixels or images by how many there are.
    """

    @functools.wraps(loss)
    def share(*tensors):
        return loss(*tensors) / devices.num_replicas()

    return share


class Loss(NamedTuple):
    """A row of LOSSES."""

    function: Callable  # (y_true, y_pred) and, where it takes them, counted and class_weights
    channels: int  # that its network puts out; 1: foreground or not, 2: membrane's, 3: classes
    of_classes: str = "cross_entropy"  # row that takes its place for more than two classes
    is_map: bool = False  # of pixels, which Keras averages; False: one number for a whole batch


LOSSES = {
    "dice": Loss(dice_loss, 1),
    "negative_dice": Loss(dice_coef_loss, 1),
    "binary_cross_entropy": Loss(binary_cross_entropy, 1),
    "bce_dice": Loss(bce_dice_loss, 1, "cross_entropy_dice"),
    "bce_image_dice": Loss(bce_image_dice_loss, 1, "cross_entropy_dice"),
    "iou": Loss(iou_loss, 1),
    "tversky": Loss(tversky_loss, 1),
    "weighted_cross_entropy": Loss(softmax_cross_entropy, 2, is_map=True),
    "cross_entropy": Loss(cross_entropy, 3),
    "cross_entropy_dice": Loss(cross_entropy_dice_loss, 3),
}
METRICS = {
    "dice_coef": dice_coef,
    "iou_loss": iou_loss,
    "dice_per_image": dice_per_image,
    "class_dice_per_image": class_dice_per_image,
}


def fitting_losses(channels):
    """Names of the losses that fit a network of so many output channels; more than two: classes of
    one's own.
    """
    return [name for name, loss in LOSSES.items() if loss.channels == min(channels, 3)]


def weighing_losses():
    """Names of the losses that weigh classes: those with a cross-entropy, but for the map."""
    return [name for name, loss in LOSSES.items() if _takes(loss.function, "class_weights")]


def make_loss(name, class_weights=None):
    """The loss of a row of LOSSES as a model is compiled with it, on any number of devices;
    class_weights: for one of weighing_losses, None or () for none.
    """
    loss = LOSSES[name]
    function = loss.function
    if class_weights:
        weighing = functools.partial(function, class_weights=class_weights)
        function = functools.update_wrapper(weighing, function)
    return function if loss.is_map else shared(function)
