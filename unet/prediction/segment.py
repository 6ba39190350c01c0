"""A trained run as one Keras layer of any image size, from raw pixels to the mask, in operations
that ONNX, LiteRT and SavedModel can express.
"""

import keras
from keras import ops

from unet.data.on_device import standardize
from unet.jobs.settings import SYMMETRIES

BATCH, CLASSES = 0, 3  # axes of images and probabilities


class Segment(keras.layers.Layer):
    """predict.predict_file and runs.Decision.mask as one layer: uint8 images (B, H, W, C) to a
    dict of mask, uint8 (B, H, W, 1), 0 and 255, and probability, float32 (B, H, W, 1).

    With K > 2 classes probability is (B, H, W, K) and mask the number of the most probable one.
    Unlike predict_file it never cuts an image into tiles, and where the training images were
    resized it averages areas in exact arithmetic and rounds halves to even; OpenCV, which does
    that there, is off by a grey level here and there.
    """

    def __init__(self, run, **kwargs):
        super().__init__(**kwargs)
        self.run = run
        self.models = [with_plain_upsampling(network.model) for network in run.networks]

    def call(self, images):
        height, width = ops.shape(images)[1:3]
        pixels, run, total = ops.cast(images, "float32"), self.run, 0
        if has_levels(run):
            black, white = run.record.reading.black_level, run.record.reading.white_level
            pixels = ops.clip(ops.round((pixels - black) * (255 / (white - black))), 0, 255)
        # The size at which the networks see the images, as predict_file has it; None: their own.
        seen = run.record.array_size if run.record.is_resized else None
        if not seen and run.record.reading.zoom != 1:
            lengths = [ops.cast(length, "float32") for length in (height, width)]
            shrunk = [ops.maximum(ops.round(n * run.record.reading.zoom), 1) for n in lengths]
            seen = [ops.cast(length, "int32") for length in shrunk]
        if seen:
            pixels = ops.round(resize(pixels, *seen))
        for network, model in zip(run.networks, self.models):
            record = network.record
            standardized = standardize(pixels, record.mean, record.std)
            total = total + predict(model, record.network, standardized, SYMMETRIES[run.symmetry])
        probability = total / len(self.models)
        if seen:
            probability = resize(probability, height, width)
        return {"mask": self.mask(probability, height, width), "probability": probability}

    def mask(self, probability, height, width):
        if probability.shape[CLASSES] > 1:
            return first_maximum(probability)
        mask = probability > self.run.decision.threshold
        area = ops.sum(ops.cast(mask, "float32"), axis=2, keepdims=True)
        area = ops.sum(area, axis=1, keepdims=True)
        least = self.run.decision.min_area * ops.cast(height * width, "float32")
        is_kept = area >= least
        return ops.cast(ops.where(ops.logical_and(mask, is_kept), 255, 0), "uint8")


def has_levels(run):
    """True for a run of images of more than 8 bit, whose black and white it knows."""
    return run.record.reading.white_level is not None


def first_maximum(probability):
    """numpy's argmax over the classes of (B, H, W, K), uint8 (B, H, W, 1); that of Keras 3.15 asks
    TensorFlow for operations that ONNX and LiteRT do not have.
    """
    best = ops.max(probability, CLASSES, keepdims=True)
    numbers = ops.arange(probability.shape[CLASSES], dtype="float32")
    numbers = ops.where(probability >= best, numbers, 255.0)
    return ops.cast(ops.min(numbers, CLASSES, keepdims=True), "uint8")


def predict(model, config, images, symmetries):
    """Mean of the probabilities of a UNetConfig's model over turns and flips, those of equal size
    as one batch: a graph with eight copies of the network takes converters a minute.
    """
    total = 0
    for is_upright in (True, False):
        group = [(turns, flip) for turns, flip in symmetries if (turns % 2 == 0) == is_upright]
        if not group:
            continue
        turned = [turn(reverse(images, 2) if flip else images, turns) for turns, flip in group]
        whole = predict_any_size(model, config, ops.concatenate(turned, BATCH))
        for (turns, flip), part in zip(group, ops.split(whole, len(group), BATCH)):
            part = turn(part, -turns)
            total = total + (reverse(part, 2) if flip else part)
    return total / len(symmetries)


def turn(images, turns):
    """Images (B, H, W, C) after quarter turns, as numpy.rot90 over height and width does it; that
    of Keras 3.15 mixes up the pixels of images that are not square.
    """
    if turns % 2:
        images = ops.transpose(images, (0, 2, 1, 3))
    for axis in ((), (1,), (1, 2), (2,))[turns % 4]:
        images = reverse(images, axis)
    return images


def reverse(images, axis):
    """Images with an axis in reverse order."""
    length = ops.shape(images)[axis]
    return ops.take(images, length - 1 - ops.arange(length, dtype="int32"), axis)


def predict_any_size(model, config, images):
    """Probabilities of standardized images that are mirrored out to a size that fits, and cropped
    back, as predict.predict_image does.
    """
    smallest, border = config.fit_length(1), config.border
    height, width = ops.shape(images)[1:3]
    for axis, length in ((1, height), (2, width)):
        more = ops.maximum(length + 2 * border - smallest, 0)
        fitting = smallest + (more + config.divisor - 1) // config.divisor * config.divisor
        images = ops.take(images, mirrored(length, border, fitting), axis=axis)
    probability = model(images, training=False)[:, :height, :width]
    return probability[..., -config.num_maps :]


def mirrored(length, border, fitting):
    """Numbers of the rows, of `length`, that `fitting` rows show, the first `border` before row 0:
    numpy's reflect, also where there are fewer rows than are added.
    """
    period = ops.maximum(2 * (length - 1), 1)  # one row: that one everywhere
    before = border * (period - 1)  # minus border, but for periods: ONNX has no such remainder
    rows = (ops.arange(fitting, dtype="int32") + before) % period
    return ops.minimum(rows, period - rows)


def resize(images, height, width):
    """reading.pixels.resize of float32 images (B, H, W, C), each axis by itself: area averaging to
    shrink, linear to enlarge; two products with matrices, which are made for any size.
    """
    for length in (height, width):  # the rows, then the columns that have become rows
        count, rows, columns, channels = ops.shape(images)
        flat = ops.reshape(images, (count, rows, columns * channels))
        images = ops.reshape(
            ops.matmul(resize_matrix(rows, length), flat), (count, length, columns, channels)
        )
        images = ops.transpose(images, (0, 2, 1, 3))
    return images


def resize_matrix(length, new_length):
    """(new_length, length): what share each old pixel has in each new one."""
    scale = ops.cast(length, "float32") / ops.cast(new_length, "float32")
    new = ops.expand_dims(ops.cast(ops.arange(new_length, dtype="int32"), "float32"), 1)
    old = ops.expand_dims(ops.cast(ops.arange(length, dtype="int32"), "float32"), 0)
    ends = ops.minimum((new + 1) * scale, old + 1), ops.maximum(new * scale, old)
    last = ops.cast(length, "float32") - 1
    centre = ops.minimum(ops.maximum((new + 0.5) * scale - 0.5, 0.0), last)
    linear = ops.maximum(1 - ops.abs(centre - old), 0.0)
    return ops.where(scale > 1, ops.maximum(ends[0] - ends[1], 0.0) / scale, linear)


class PlainUpsampling(keras.layers.Layer):
    """Keras's UpSampling2D(2), nearest or bilinear, of images whose size is not known before: with
    such the bilinear one cannot be traced, and LiteRT loses the number of channels of the other.
    """

    def __init__(self, interpolation, **kwargs):
        super().__init__(**kwargs)
        self.interpolation = interpolation

    def call(self, x):
        count, height, width, channels = ops.shape(x)
        x = ops.concatenate(self.pair(x, 1), 2)  # both new rows beside each other
        x = ops.reshape(x, (count, 2 * height, width, channels))
        x = ops.concatenate(self.pair(x, 2), 3)
        return ops.reshape(x, (count, 2 * height, 2 * width, channels))

    def pair(self, x, axis):
        """The two new pixels of each old one along an axis; beyond the edge the last repeats."""
        if self.interpolation == "nearest":
            return [x, x]
        first, rest, but_last, last = (
            x[:, part] if axis == 1 else x[:, :, part]
            for part in (slice(1), slice(1, None), slice(-1), slice(-1, None))
        )
        neighbours = ops.concatenate([first, but_last], axis), ops.concatenate([rest, last], axis)
        return [0.75 * x + 0.25 * neighbour for neighbour in neighbours]

    def compute_output_shape(self, shape):
        return (shape[0], *(None if n is None else 2 * n for n in shape[1:3]), shape[3])


def with_plain_upsampling(model):
    """A copy of a network with layers that every format can express."""

    def copy(layer):
        if isinstance(layer, keras.layers.UpSampling2D):
            return PlainUpsampling(layer.interpolation, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied
