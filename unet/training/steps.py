"""The memory that a training's steps take, before the first one and where it is not enough."""

import contextlib
import math

from unet.errors import InputError, is_out_of_memory
from unet.machine.memory import free_memory
from unet.machine.precision import card_name, device_name
from unet.matching import leaf_layers

# Shares of the bytes of all layers' outputs, which a step keeps till it has gone back through
# them. On a processor steps from nerve's 32 images of 64x96 to car's 12 of 256x384 took 0.82 to
# 1.5 of these bytes on TensorFlow, up to 2.8 on PyTorch. Where there is less than LEAST of them a
# step is refused; where there is LIKELY of them it is said to fit.
LEAST, LIKELY = 0.5, 3


def image_bytes(model):
    """Bytes of the outputs of all layers for one image."""
    return sum(
        math.prod(layer.output.shape[1:]) * (2 if layer.compute_dtype.endswith("16") else 4)
        for layer in leaf_layers(model)
    )


def check_memory(model, batch_size, devices):
    """Raise InputError where a step of so many images clearly takes more than is free: half of
    what the outputs of the layers are, and a gradient for each weight.
    """
    free, of_image = free_memory(), image_bytes(model)
    weights = 4 * model.count_params()
    # Each card has a memory of its own; the processors of a host share one.
    num_parts = len(devices) if card_name() else devices.num_processes
    need = LEAST * of_image * math.ceil(batch_size / num_parts) + weights
    if free is None or need <= free:
        return
    likely = num_parts * int((free - weights) / (LIKELY * of_image))
    raise InputError(
        f"{describe_step(model.unet_config, batch_size)} at least {need / 1e9:.1f} GB, and "
        f"{free / 1e9:.1f} GB are free on {device_name()}; {remedy(model.unet_config, likely)}"
    )


@contextlib.contextmanager
def memory_errors(network, batch_size, files=None):
    """Context in which what a backend raises where there is not enough memory becomes an
    InputError, with how the training of RunFiles goes on, where there are some.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not is_out_of_memory(error):
            raise
        goes_on = ""
        if files and files.kept.record:
            goes_on = f"; with more memory {files.describe_resume()}"
        raise InputError(
            f"{describe_step(network, batch_size)} more memory than there is on {device_name()} "
            f"({type(error).__name__}); {remedy(network, batch_size // 2)}{goes_on}"
        ) from error


def describe_step(network, batch_size):
    """What an error says of a step of so many images through the network of a UNetConfig."""
    height, width = network.image_size
    filters = ",".join(map(str, network.filters))
    return f"a step of {batch_size} images of {height}x{width} by {filters} filters takes"


def remedy(network, batch_size):
    """What an error says to do for less memory; of a batch of 0 images nothing is said."""
    batch = f"--batch-size {batch_size}, or " if batch_size > 0 else ""
    filters = ",".join(str(max(1, number // 2)) for number in network.filters)
    return (
        f"pass {batch}--set network.filters={filters}, or data.py smaller images, by --tile-size "
        "or --image-size"
    )
