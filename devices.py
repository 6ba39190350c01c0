"""What this machine computes with, and the precision that suits it."""

from pathlib import Path

import keras

PROCESSOR = "/proc/cpuinfo"
BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")  # instructions of Intel and AMD, of Arm


def find_precision():
    """The Keras dtype policy that is fastest here, and why, two strings: half precision only where
    the hardware multiplies it. What cannot be asked gets float32.
    """
    capability = graphics_capability()
    if capability:
        name = "the graphics card's compute capability is {}.{}".format(*capability)
        if capability >= (8, 0):
            return "mixed_bfloat16", name
        return ("mixed_float16" if capability >= (7, 0) else "float32"), name
    words = Path(PROCESSOR).read_text().split() if Path(PROCESSOR).exists() else ()
    for instruction in BFLOAT16:
        if instruction in words:
            return "mixed_bfloat16", f"the processor has {instruction}"
    return "float32", "the processor has no bfloat16 instructions"


def graphics_capability():
    """CUDA compute capability of the first graphics card that Keras's backend uses, (major,
    minor); None without one.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        cards = tf.config.list_physical_devices("GPU")
        details = tf.config.experimental.get_device_details(cards[0]) if cards else {}
        return details.get("compute_capability")
    if backend == "jax":
        import jax

        version = getattr(jax.local_devices()[0], "compute_capability", None)
        return version and tuple(map(int, str(version).split(".")))
    import torch

    return torch.cuda.get_device_capability() if torch.cuda.is_available() else None
