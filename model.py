"""One builder for the five U-Nets; as a script, a network's summary, its drawing, or a trained one
as a file for other programs.

python model.py nerve
python model.py nerve --export nerve.onnx
"""

from dataclasses import dataclass, replace
from pathlib import Path

from jobs import JOBS, InputError, UNetConfig, check_name
from options import one_line_errors, option, parse_options, stop_in_one_line

EXPORTS = {  # format by ending
    ".onnx": "onnx",
    ".tflite": "litert",
    "": "tf_saved_model",
    ".savedmodel": "tf_saved_model",
}


@dataclass(frozen=True)
class Options:
    run: str = option(
        "noise", "a job; with --export a run, a job or what --name called it", check=check_name
    )
    draw: str | None = option(
        None, "draw the network into this file, .svg or .png, and print no summary", metavar="FILE"
    )
    export: str | None = option(
        None,
        "write the run's trained network, from raw pixels to mask, to a file: .onnx, .tflite "
        "(LiteRT), or a folder without ending (SavedModel)",
        metavar="FILE",
        group="for other programs",
    )
    image_size: tuple[int, int] | None = option(
        None,
        "height and width of the only images that it takes, in pixels (default: any)",
        least=1,
        metavar=("H", "W"),
    )
    average: bool = option(
        True, "average predictions over the turns and flips that the training had"
    )


def check_options(options):
    """Raise InputError for files of other kinds and for options that would have no effect."""
    if options.draw is not None and Path(options.draw).suffix.lower() not in (".svg", ".png"):
        raise InputError(f"--draw {options.draw}: expected a file that ends in .svg or .png")
    path = options.export
    if path is None and (options.image_size or not options.average):
        raise InputError("--image-size and --no-average are of --export FILE; pass that, too")
    if path is None and options.run not in JOBS:
        raise InputError(f"{options.run}: no job, expected one of {', '.join(JOBS)}")
    if path is not None and options.draw is not None:
        raise InputError("--draw is of a job's network, --export of a trained one; pass one")
    if path is not None and Path(path).suffix not in EXPORTS:
        raise InputError(
            f"--export {path}: expected the ending .onnx, .tflite (LiteRT), .savedmodel or none "
            "(a folder, SavedModel)"
        )


if __name__ == "__main__":
    stop_in_one_line()
    with one_line_errors():  # before Keras, which takes seconds to load
        OPTIONS = parse_options(Options, "model.py", __doc__)
        check_options(OPTIONS)

import math
import warnings

import keras
import numpy as np
from keras import layers

from checkpoint import check_weights
from devices import num_devices, num_replicas

LARGEST_REST = 2**24  # bytes in a file of weights beside these and the optimizer's
NETWORKS = {name: job.network for name, job in JOBS.items()}


@keras.saving.register_keras_serializable("unet")
class UNet(keras.Model):
    """A functional model that, given an image that does not fit, names the sizes that do.

    num_devices: among which a batch is split. short_batches: how many images the epoch's last
    batch has and to how many it was padded so that it can be split, {padded: images}, of training
    and of validation.
    """

    unet_config = None
    num_devices = 1
    short_batches = ({}, {})

    def check(self, images):
        if self.unet_config and len(getattr(images, "shape", ())) == 4:
            self.unet_config.check_size(*images.shape[1:3])

    def call(self, inputs, training=None, mask=None):
        self.check(inputs)
        return super().call(inputs, training=training, mask=mask)

    def predict(self, x, *args, **kwargs):
        self.check(x)  # here too: a graph that was traced for any size does not ask call again
        return super().predict(x, *args, **kwargs)

    def predict_on_batch(self, x):
        self.check(x)
        if self.num_devices == 1:
            return super().predict_on_batch(x)
        padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % self.num_devices, axis=0)])
        return super().predict(padded, batch_size=len(padded), verbose=0)[: len(x)]

    def train_step(self, *state_and_data):
        return super().train_step(*_without_padding(state_and_data, self.short_batches[0]))

    def test_step(self, *state_and_data):
        return super().test_step(*_without_padding(state_and_data, self.short_batches[1]))


def _without_padding(state_and_data, short_batches):
    """What Keras hands to a step, with the padding of the data cut off."""
    *state, data = state_and_data
    count = short_batches.get(data[0].shape[0])
    return (*state, tuple(x if x is None else x[:count] for x in data) if count else data)


def get_unet(job="noise", **changes):
    """An uncompiled U-Net: images (B, H, W, channels), standardized as its job has them, to
    probabilities (B, H', W', classes), float32; H', W' are H, W but for an unpadded network.

    job: a row of NETWORKS. changes: fields of UNetConfig to replace, such as channels=3 or
    image_size=(96, 96); a length of None takes any image that fits. Raises ValueError for an
    unknown job or field value, and for a size that the poolings cannot halve.
    """
    if job not in NETWORKS:
        raise InputError(f"job {job!r}: expected one of {', '.join(NETWORKS)}")
    return build_unet(replace(NETWORKS[job], **changes), name=job)


def build_unet(config: UNetConfig, name="unet"):
    """The Keras model of a UNetConfig: down, bottom, up, head."""
    config.check_size(*config.image_size)
    if config.upsample not in UPSAMPLE:
        raise InputError(f"upsample {config.upsample!r}: expected one of {', '.join(UPSAMPLE)}")
    try:
        keras.initializers.get(initializer(config, 1))
    except ValueError as error:
        raise InputError(f"initializer {config.initializer!r}: not one of Keras's") from error
    dropout = config.dropout or (0,) * (len(config.filters) + 1)
    inputs = x = keras.Input((*config.image_size, config.channels), name="image")

    skips = []
    for filters, rate in zip(config.filters, dropout):
        x = convolution(x, filters, config)
        x = activated = convolution(x, filters, config, normalize=False)
        x = normalization(x, config)
        if rate:
            x = layers.Dropout(rate)(x)
        skips.append(x if rate else activated)  # before normalization, but after dropout
        x = layers.MaxPooling2D(2)(x)

    if config.bottleneck:
        for _ in range(2):
            x = convolution(x, config.bottleneck, config)
    if dropout[-1]:
        x = layers.Dropout(dropout[-1])(x)

    decoder_filters = config.decoder_filters or config.filters
    border = 4 if config.bottleneck else 0  # by which an unpadded skip is larger, on each side
    for level in reversed(range(len(config.filters))):
        x = UPSAMPLE[config.upsample](x, decoder_filters[level], config)
        skip = skips[level]
        if config.padding == "valid":
            skip = layers.Cropping2D(border)(skip)
            border = 2 * border + 8
        x = layers.Concatenate()([skip, x] if config.skip_first else [x, skip])
        for _ in range(config.top_convolutions if level == 0 else 2):
            x = convolution(x, decoder_filters[level], config)

    if config.head_filters:
        x = convolution(x, config.head_filters, config)
    if config.head_dropout:
        x = layers.Dropout(config.head_dropout)(x)
    x = layers.Conv2D(
        config.classes,
        config.head_kernel,
        padding="same",
        dtype="float32",
        name=config.head_name,
        kernel_initializer=initializer(config, config.head_kernel**2 * x.shape[-1]),
    )(x)
    outputs = layers.Activation(
        "sigmoid" if config.classes == 1 else "softmax", dtype="float32", name="mask"
    )(x)
    model = UNet(inputs, outputs, name=name)
    model.unet_config, model.num_devices = config, num_devices()
    return model


def initializer(config, incoming):
    """Initial weights of a kernel with `incoming` inputs to one unit: Keras's own by name, or the
    paper's (section 3), a normal distribution of standard deviation sqrt(2 / N) that is not
    truncated.
    """
    if config.initializer == "he_untruncated":
        return keras.initializers.RandomNormal(stddev=math.sqrt(2 / incoming))
    return config.initializer


def convolution(x, filters, config, kernel_size=3, normalize=True):
    """Convolution with ReLU, then batch normalization where the network has it."""
    x = layers.Conv2D(
        filters,
        kernel_size,
        padding=config.padding,
        activation=None if config.separate_relu else "relu",
        kernel_initializer=initializer(config, kernel_size**2 * x.shape[-1]),
    )(x)
    if config.separate_relu:
        x = layers.ReLU()(x)
    return normalization(x, config) if normalize else x


def normalization(x, config):
    if not config.batch_normalization:
        return x
    return BatchNormalization(momentum=config.momentum)(x)


@keras.saving.register_keras_serializable("unet")
class BatchNormalization(layers.BatchNormalization):
    """Keras's layer, which on TensorFlow trains with the fused operation: in bfloat16 on a
    processor the whole training step of a U-Net takes half the time. Its statistics are of the
    whole batch, where that is split among devices, too.
    """

    def call(self, inputs, training=None, mask=None):
        self.synchronized = num_replicas() > 1
        is_of_tensorflow = keras.backend.backend() == "tensorflow"
        if self.synchronized or not (training and self.trainable and is_of_tensorflow):
            return super().call(inputs, training=training, mask=mask)
        from tensorflow.raw_ops import FusedBatchNormV3

        outputs, mean, variance, *_ = FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=self.moving_mean.value,
            variance=self.moving_variance.value,
            epsilon=self.epsilon,
        )
        count = keras.ops.cast(keras.ops.size(inputs) // inputs.shape[-1], "float32")
        variance = variance * (count - 1) / count  # of the pixels, as Keras has it
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return outputs


def nearest(x, filters, config):
    return layers.UpSampling2D(2)(x)


def bilinear(x, filters, config):
    return layers.UpSampling2D(2, interpolation="bilinear")(x)


def transposed(x, filters, config):
    """The paper's 2x2 up-convolution. Each output pixel sees one weight of every input channel."""
    return layers.Conv2DTranspose(
        filters, 2, strides=2, kernel_initializer=initializer(config, x.shape[-1])
    )(x)


def nearest_convolution(x, filters, config):
    return layers.Conv2D(
        filters,
        2,
        padding="same",
        activation="relu",
        kernel_initializer=initializer(config, 4 * x.shape[-1]),
    )(nearest(x, filters, config))


UPSAMPLE = {
    "nearest": nearest,
    "bilinear": bilinear,
    "transposed": transposed,
    "nearest_convolution": nearest_convolution,
}


def get_model(pretrained_model=None, **changes):
    """The cadastre network, as its document gets it; with weights if `pretrained_model` names a
    file.

    pretrained_model: "dir:file", or a plain path; Keras's .weights.h5, or the .hdf5 of older
    Keras. changes: as for get_unet. Raises ValueError where the file is missing or of another
    network.
    """
    model = get_unet("cadastre", **changes)
    if pretrained_model:
        folder, colon, file = str(pretrained_model).rpartition(":")
        is_pair = colon and len(folder) > 1  # one letter is a drive of Windows
        load_weights(model, Path(folder, file) if is_pair else Path(pretrained_model))
    return model


def load_weights(model, path):
    """Load weights from an HDF5 file into a model; raises ValueError naming the file where that
    fails.
    """
    if not Path(path).is_file():
        what = "is a folder, expected" if Path(path).is_dir() else "no such"
        raise InputError(f"{path}: {what} HDF5 file of weights")
    sizes = [4 * math.prod(weight.shape) for weight in model.weights]
    try:
        check_weights(path, most_bytes=4 * sum(sizes) + LARGEST_REST)
        with warnings.catch_warnings():  # Keras only warns of layers that the file does not have
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
        if not all(np.isfinite(weight).all() for weight in model.get_weights()):
            raise ValueError("numbers that are not finite")
    except UserWarning as error:
        raise InputError(f"{path}: not weights of this network, it lacks layers") from error
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: not weights of this network ({error})") from error


def main(options):
    if options.export is not None:
        from export import export_run  # which imports this module

        format = EXPORTS[Path(options.export).suffix]
        export_run(options.run, options.export, format, options.image_size, options.average)
        return
    model = get_unet(options.run)
    if options.draw is None:
        model.summary(line_length=110)
        return
    from drawing import write_drawing  # only now: a summary needs no matplotlib

    write_drawing(model, options.draw)
    print(options.draw)


if __name__ == "__main__":
    with one_line_errors():
        main(OPTIONS)
