"""A training's step for which there is not enough memory, in one line."""

import contextlib

from unet.errors import InputError, is_out_of_memory
from unet.machine.precision import device_name


@contextlib.contextmanager
def memory_errors(record, files=None):
    """Context in which what a backend raises where there is not enough memory for the training of
    a Record becomes an InputError, with how that of RunFiles goes on, where there are some.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not is_out_of_memory(error):
            raise
        batch_size, network = record.recipe.batch_size, record.network
        height, width = network.image_size
        filters, fewer = network.filters, (max(1, number // 2) for number in network.filters)
        smaller = f"--batch-size {batch_size // 2}, or " if batch_size > 1 else ""
        goes_on = ""
        if files and files.kept.has_steps:
            goes_on = f"; with more memory {files.describe_resume()}"
        raise InputError(
            f"a step of {batch_size} images of {height}x{width} by {','.join(map(str, filters))} "
            f"filters takes more memory than there is on {device_name()} "
            f"({type(error).__name__}); pass {smaller}--set network.filters="
            f"{','.join(map(str, fewer))}, or data.py smaller images, by --tile-size or "
            f"--image-size{goes_on}"
        ) from error
