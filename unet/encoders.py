"""The left side of a U that has seen the world: networks of keras.applications, with the weights
that they have from ImageNet.
"""

import contextlib
import warnings
from dataclasses import replace

import keras
from keras import layers

from unet.errors import InputError, error_text, is_out_of_memory
from unet.machine.devices import num_replicas
from unet.matching import difference, left_over, place_layers
from unet.weights import assign, layers_of, open_layers

LEAST_SIDE = 32  # pixels of what keras.applications take
# In place of a file of weights: those that Keras fetches and keeps, or random ones.
IMAGENET, NONE = "imagenet", "none"
# Of ImageNet's red, green and blue, 0 to 1: what the weights of these are for.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ENCODERS = {
    name: getattr(keras.applications, name)
    for name in ("EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3")
}


def encode(images, config):
    """The maps that the encoder of a UNetConfig makes of images (B, H, W, channels), raw 0..255,
    a list: as it standardizes them, then for each level the last at a stride of 2, 4, ...

    Raises InputError for an encoder that there is not, more levels than it has, and images that
    are smaller than it takes.
    """
    for name, length in zip(("height", "width"), config.image_size):
        if length and length < LEAST_SIDE:
            raise InputError(
                f"image {name} {length}: {config.encoder} takes images of at least {LEAST_SIDE}; "
                "pass a larger recipe.window or data.py --image-size, or leave network.encoder out"
            )
    network = build_encoder(config.encoder, (*config.image_size, config.channels))
    last = {stride: layer.output for layer, stride in find_strides(network)}
    strides = [2**level for level in range(len(config.filters) + 1)]
    if strides[-1] not in last:
        raise InputError(
            f"network.filters has {len(config.filters)} levels, {config.encoder} "
            f"{len(last) - 1}; pass --set network.filters= with no more"
        )
    maps = [last[stride] for stride in strides]
    return keras.Model(network.inputs, maps, name=config.encoder)(images)


def build_encoder(name, shape=(None, None, 3), weights=None):
    """The network of a name for images of a shape (H, W, channels), None for any, without its
    head; of grey ones its three channels are alike. weights: None or IMAGENET.
    """
    if name not in ENCODERS:
        raise InputError(f"network.encoder {name!r}: expected one of {', '.join(ENCODERS)}")
    *size, channels = shape
    x = keras.Input(shape)
    if channels == 1:
        x, channels = layers.Concatenate()([x] * 3), 3
    mean, std = MEAN, STD
    if channels != 3:
        mean, std = ([sum(values) / 3] * channels for values in (MEAN, STD))
    # In place of Keras's own such layer, whose numbers ONNX does not take for constants; in
    # float32, as images are standardized elsewhere.
    scale, offset = [1 / 255 / s for s in std], [-m / s for m, s in zip(mean, std)]
    x = layers.Rescaling(scale, offset, dtype="float32")(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras expects one channel or three
        network = ENCODERS[name](
            include_top=False,
            include_preprocessing=False,
            weights=weights,
            input_tensor=x,
            input_shape=(*size, channels),
        )
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):  # of the whole batch, as layers.py has it
            layer.synchronized = num_replicas() > 1
    return network


def find_strides(network):
    """Yield (layer, how many input pixels one of its output's stands for) of a Keras network,
    without those that have seen a whole image at once.
    """
    strides = {}
    for layer in network.layers:
        tensors = keras.tree.flatten(layer.input)
        before = [strides.get(id(tensor)) for tensor in tensors]
        stride = max((n for n in before if n), default=None)
        if isinstance(layer, layers.InputLayer):
            stride = 1
        if isinstance(layer, layers.GlobalAveragePooling2D):
            stride = None
        if stride:
            stride *= getattr(layer, "strides", (1,))[0]
            yield layer, stride
        strides[id(layer.output)] = stride


def start_encoder(model, source):
    """Give the encoder of a built U-Net its weights, and say so: IMAGENET, or a file, Keras's HDF5
    or a .keras, of the same network, with or without its head. Its first kernel, of three
    channels, is adapted to others. Raises InputError.
    """
    encoder = next(layer for layer in model.layers if layer.name in ENCODERS)
    name, own = encoder.name, layers_of(encoder)
    with contextlib.ExitStack() as held:
        if source == IMAGENET:
            stored = fetch_layers(name)
        else:
            stored = held.enter_context(open_layers(source))
        places = place_all(name, stored, source)
        for layer in own:
            assign(layer, places[layer.name], source)
    stride = 2 ** (len(encoder.outputs) - 1)
    print(
        f"{name}: weights of {source} for its first {len(own)} layers, to a stride of {stride}",
        flush=True,
    )


def place_all(name, stored, source):
    """{name of a layer of an encoder's whole network: that of a file}; raises InputError for a
    file of another network, which a part of this one may fit as well.
    """
    pairs = place_layers(layers_of(build_encoder(name)), stored)
    found = [difference(*pair) for pair in pairs if not pair[0].fits(pair[1])]
    # Without the head, a matrix, and what standardizes: a mean, a variance and a count.
    own = [layer for layer in stored if layer.ranks[0] != 2 and layer.ranks != (1, 1, 0)]
    more = left_over(pairs, own)
    found += [f"{more} there, none here"] if more else []
    if found:
        raise InputError(f"{source}: not weights of {name}: {found[0]}")
    return {layer.name: there for layer, there in pairs}


def fetch_layers(name):
    """The Layers of an encoder with its weights from ImageNet; raises InputError where Keras could
    not fetch them.
    """
    try:
        network = build_encoder(name, weights=IMAGENET)
    except Exception as error:  # Keras raises bare ones, of network, disk and damaged files
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"{name}: its weights of ImageNet could not be fetched ({error_text(error)}); pass "
            "--encoder-weights FILE that was fetched elsewhere, or none to start anew"
        ) from error
    return [
        replace(layer, weights=[keras.ops.convert_to_numpy(weight) for weight in layer.weights])
        for layer in layers_of(network)
    ]
