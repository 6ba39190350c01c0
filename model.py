"""One builder for the five U-Nets; as a script, a network's summary, its drawing, or a trained one
as a file for other programs.

python model.py nerve
python model.py nerve --export nerve.onnx
"""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

from unet.errors import InputError, check_backend, check_name, one_line_errors, split_input_size
from unet.jobs import JOBS
from unet.lazy import lazy
from unet.losses import iou_loss
from unet.options import (
    EXPORTS,
    Checked,
    check_export,
    option,
    parse_options,
    set_option,
    threshold_option,
)

keras = lazy("keras")
layers = lazy("unet.layers")
encoders = lazy("unet.encoders")
weights = lazy("unet.weights")
runs = lazy("unet.runs")
bars = lazy("unet.pictures.bars")
drawing = lazy("unet.pictures.drawing")
export = lazy("unet.prediction.export")
fit = lazy("unet.training.fit")
decide = lazy("unet.training.decide")
train = lazy("train")  # which imports this script

NETWORKS = {name: job.network for name, job in JOBS.items()}


@dataclass(frozen=True)
class Options(Checked):
    run: str = option("noise", "name of the job; with --export, name of the run", check=check_name)
    draw: str | None = option(
        None,
        "draw the network to this file, .svg or .png, instead of printing a summary",
        metavar="FILE",
    )
    set: tuple[str, ...] = set_option(
        "fields of the job's network", "network.encoder=EfficientNetV2B0"
    )
    export: str | None = option(
        None,
        "export the trained network, from raw pixels to mask, to a file: .onnx, .tflite (LiteRT), "
        "or a folder without extension (SavedModel)",
        metavar="FILE",
        group="export",
    )
    image_size: tuple[int, int] | None = option(
        None,
        "fixed height and width of the input images, in pixels (default: any)",
        least=1,
        metavar=("H", "W"),
    )
    threshold: float | None = threshold_option()
    average: bool = option(
        True, "average predictions over the rotations and flips used in training"
    )


def build_unet(config, name="unet"):
    """The Keras model of a UNetConfig: down, bottom, up, head.

    Images (B, H, W, channels), standardized, or raw for an encoder, to probabilities (B, H', W',
    classes), float32; H', W' are H, W but for an unpadded network. Raises ValueError for a size
    that the poolings cannot halve.
    """
    config.check_size(*config.image_size)
    layers.check_names(config)
    inputs = keras.Input((*config.image_size, config.channels), name="image")

    go_down = encoders.encode if config.encoder else encode
    *skips, x = go_down(inputs, config)
    if config.bottleneck:
        for _ in range(2):
            x = layers.convolution(x, config.bottleneck, config)
    if config.dropout and config.dropout[-1]:
        x = keras.layers.Dropout(config.dropout[-1])(x)

    decoder_filters = config.decoder_filters or config.filters
    border = 4 if config.bottleneck else 0  # by which an unpadded skip is larger, on each side
    for level in reversed(range(len(config.filters))):
        x = layers.UPSAMPLE[config.upsample](x, decoder_filters[level], config)
        skip = skips[level]
        if config.padding == "valid":
            skip = keras.layers.Cropping2D(border)(skip)
            border = 2 * border + 8
        x = keras.layers.Concatenate()([skip, x] if config.skip_first else [x, skip])
        for _ in range(config.top_convolutions if level == 0 else 2):
            x = layers.convolution(x, decoder_filters[level], config)

    if config.head_filters:
        x = layers.convolution(x, config.head_filters, config)
    if config.head_dropout:
        x = keras.layers.Dropout(config.head_dropout)(x)
    x = keras.layers.Conv2D(
        config.classes,
        config.head_kernel,
        padding="same",
        dtype="float32",
        name=config.head_name,
        kernel_initializer=layers.initializer(config),
    )(x)
    outputs = keras.layers.Activation(
        "sigmoid" if config.classes == 1 else "softmax", dtype="float32", name="mask"
    )(x)
    return layers.UNet(inputs, outputs, name=name, config=config)


def encode(x, config):
    """The maps that go across, a list from full resolution down, and the one below all levels."""
    skips = []
    for filters, rate in zip(config.filters, config.dropout or itertools.repeat(0)):
        x = layers.convolution(x, filters, config)
        x = activated = layers.convolution(x, filters, config, normalize=False)
        x = layers.normalization(x, config)
        if rate:
            x = keras.layers.Dropout(rate)(x)
        skips.append(x if rate else activated)  # before normalization, but after dropout
        x = keras.layers.MaxPooling2D(2)(x)
    return *skips, x


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


def get_model(pretrained_model=None, input_size=(256, 256, 3)):
    """The cadastre network, compiled, as its document gets it: Adam 1e-3, cross-entropy, accuracy
    and iou_loss; with weights if `pretrained_model` names a file.

    pretrained_model: "dir:file", or a plain path; HDF5 of any Keras, or a .keras. input_size:
    (H, W, C), a length of None for any that fits. Raises ValueError for such a size, and where the
    file is missing or of another network.
    """
    image_size, channels = split_input_size(input_size)
    model = get_unet("cadastre", image_size=image_size, channels=channels)
    if pretrained_model:
        folder, colon, file = str(pretrained_model).rpartition(":")
        is_pair = colon and len(folder) > 1  # one letter is a drive of Windows
        path = Path(folder, file) if is_pair else Path(pretrained_model)
        weights.load_weights(model, path)
    recipe = JOBS["cadastre"].recipe
    optimizer, loss = fit.make_optimizer(recipe), fit.make_loss(recipe)
    model.compile(optimizer, loss, metrics=["accuracy", iou_loss])
    return model


def main(options):
    check_export(options)
    check_backend()
    if options.export is not None:
        format = EXPORTS[Path(options.export).suffix]
        path = export.check_target(options.export, format)
        if options.threshold is None and runs.read_record(options.run).lacks_threshold:
            decide.choose_threshold_now(train.load_run(options.run))
        run = train.load_run(options.run, None, options.average, options.threshold, "float32")
        export.export_run(run, path, format, options.image_size)
        return
    network = build_unet(JOBS[options.run].change(options.set).network, name=options.run)
    if options.draw is not None:
        drawing.write_drawing(network, options.draw)
        print(options.draw)
    else:
        print("\n".join(bars.describe_layers(network)))
        if options.run == "own":
            print("own: for large RGB images; train.py own fits it to the arrays")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "model.py", __doc__))
