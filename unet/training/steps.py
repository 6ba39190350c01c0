"""A training's step for which there is not enough memory, in one line."""

import contextlib

from unet.errors import InputError, is_out_of_memory
from unet.machine.precision import device_name


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
