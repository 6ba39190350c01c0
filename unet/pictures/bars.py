"""The feature maps of a built Keras U-Net, and what leads from one to the next; its summary."""

import math
from dataclasses import dataclass

import keras
from keras import layers

STRIPS = (layers.BatchNormalization, layers.Dropout)
APPLIED = (*STRIPS, layers.ReLU, layers.Activation)  # to a feature map, which they leave its size
UPWARDS = (layers.UpSampling2D, layers.Conv2DTranspose)
SIDEWAYS = (layers.Cropping2D, layers.Concatenate)


@dataclass(frozen=True)
class Bar:
    """A feature map and its place in the U."""

    layers: tuple  # what made it: input, convolution, pooling or concatenation, then APPLIED ones
    level: int  # 0: full resolution
    column: int
    up: tuple = ()  # of a concatenation: the layers from the level below to it
    skip: object = None  # of a concatenation: the Skip that comes in

    @property
    def size(self):
        """(H, W) in pixels; None where it may be any."""
        return self.layers[0].output.shape[1:3]

    @property
    def channels(self):
        return self.layers[0].output.shape[3]

    @property
    def strips(self):
        return [layer for layer in self.layers if isinstance(layer, STRIPS)]


@dataclass(frozen=True)
class Skip:
    """What leaves a bar of the encoder for a concatenation."""

    bar: Bar
    strips: int  # how many of the bar's strips it has passed
    crop: int  # pixels cut off at each side


@dataclass(frozen=True, eq=False)
class EncoderMap:
    """A map of a network inside the network, an encoder, as if a layer of its own had made it of
    the map before.
    """

    name: str  # of the encoder
    level: int
    input: object
    output: object


def read_bars(model):
    """The feature maps of a built U-Net, a list of Bars from the input to the output.

    Raises ValueError for a layer that no U-Net of build_unet has.
    """
    takers = find_takers(model)
    bars, skips = [], {}
    layer, level, column, up = model.layers[0], 0, 0, ()
    while layer:
        made = [layer]
        while applied := [taker for taker in takers[made[-1]] if isinstance(taker, APPLIED)]:
            made += applied
        bars.append(Bar(tuple(made), level, column, up, skips.get(layer)))
        skips |= find_skips(bars[-1], takers)
        onwards = [n for n in takers[made[-1]] if not isinstance(n, SIDEWAYS)]
        layer, up = (onwards[0] if onwards else None), ()
        if isinstance(layer, layers.MaxPooling2D):
            level += 1
        elif isinstance(layer, EncoderMap):
            level, column = layer.level, 1
        elif isinstance(layer, UPWARDS):
            while not isinstance(layer, layers.Concatenate):
                up = (*up, layer)
                layer = takers[layer][0]
            level -= 1
            column = max(column, skips[layer].bar.column + 2)
        elif isinstance(layer, layers.Conv2D):
            column += 1
        elif layer:
            raise ValueError(f"layer {layer.name!r}: a {type(layer).__name__} cannot be drawn")
    return bars


def find_takers(model):
    """{layer: those that take its output}."""
    image, *others = with_encoder_maps(model)
    makers = {id(layer.output): layer for layer in (image, *others)}
    takers = {layer: [] for layer in (image, *others)}
    for layer in others:
        for tensor in keras.tree.flatten(layer.input):
            takers[makers[id(tensor)]].append(layer)
    return takers


def with_encoder_maps(model):
    """The layers of a built U-Net, with the EncoderMaps of an encoder in its place."""
    own = [layer for layer in model.layers if not hasattr(layer, "layers")]
    if len(own) == len(model.layers):
        return own
    made = {id(layer.output) for layer in own}
    taken = [tensor for layer in own[1:] for tensor in keras.tree.flatten(layer.input)]
    maps = [tensor for tensor in taken if id(tensor) not in made]  # the deepest is taken first
    (encoder,) = (layer for layer in model.layers if layer not in own)
    image, *others = own
    before = [image.output, *maps[:0:-1]]
    pairs = enumerate(zip(before, maps[::-1]))
    return [image, *(EncoderMap(encoder.name, level, *pair) for level, pair in pairs), *others]


def find_skips(bar, takers):
    """{concatenation: the Skip that leaves the bar for it}."""
    skips = {}
    for count, layer in enumerate(bar.layers, 1):
        for taker in takers[layer]:
            is_crop = isinstance(taker, layers.Cropping2D)
            joined = takers[taker][0] if is_crop else taker
            if isinstance(joined, layers.Concatenate):
                passed = sum(isinstance(done, STRIPS) for done in bar.layers[:count])
                skips[joined] = Skip(bar, passed, taker.cropping[0][0] if is_crop else 0)
    return skips


def operation_text(made):
    """What layers compute, one after the other, for the legend."""
    words = [layer_text(layer) for layer in made if not isinstance(layer, STRIPS)]
    return " + ".join(word for word in words if word)


def layer_text(layer):
    """What a layer computes; "" for a linear activation."""
    if isinstance(layer, EncoderMap):
        return f"{layer.name}: {'its layers' if layer.level else 'standardized'}"
    if isinstance(layer, layers.UpSampling2D):
        return f"{layer.interpolation} upsampling {by(layer.size)}"
    if isinstance(layer, layers.MaxPooling2D):
        return f"max pooling {by(layer.pool_size)}"
    if isinstance(layer, layers.ReLU):
        return "ReLU"
    name = keras.activations.serialize(layer.activation)
    name = {"relu": "ReLU", "linear": ""}.get(name, name)
    if isinstance(layer, layers.Activation):
        return name
    kind = "convolution"
    if isinstance(layer, layers.Conv2DTranspose):
        kind = "transposed convolution"
    elif layer.padding == "valid" and max(layer.kernel_size) > 1:
        kind = "unpadded convolution"
    return f"{by(layer.kernel_size)} {kind}" + (f" + {name}" if name else "")


def by(size):
    """Height and width for a reader; None: any."""
    if size == (None, None):
        return "any"
    return "×".join("any" if length is None else str(length) for length in size)


def describe_layers(network):
    """Lines on a Keras network, of at most 80 columns: name, output (H, W, C), parameters and
    inputs of each layer, then the totals.
    """
    yield f"{'layer':<23}{'output':<14}{'parameters':>10}  connected to"
    makers = {}
    for layer in network.layers:
        outputs = keras.tree.flatten(layer.output)
        inputs = [makers.get(id(tensor)) for tensor in keras.tree.flatten(layer.input)]
        makers |= {id(tensor): layer.name for tensor in outputs}
        output = "x".join("any" if n is None else str(n) for n in outputs[-1].shape[1:])
        count, sources = f"{layer.count_params():,}", [name for name in inputs if name]
        yield f"{layer.name:<23}{output:<14}{count:>10}  {sources[0] if sources else '-'}"
        yield from (f"{'':<49}{name}" for name in sources[1:])
    fixed = sum(math.prod(weight.shape) for weight in network.non_trainable_weights)
    yield f"{network.name}: {network.count_params():,} parameters, {fixed:,} not trainable"
