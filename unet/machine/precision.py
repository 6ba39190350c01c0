"""The device that a network runs on, and the precision that it has instructions for."""

import contextlib
from pathlib import Path

import keras

CPU_INFO = "/proc/cpuinfo"
CPU_FIELDS = ("flags", "Features")  # of it, as x86 and Arm name what instructions there are
BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")  # instructions of Intel and AMD, of Arm


def find_precision():
    """A Keras dtype policy and the reason for it, two strings: half precision where the hardware
    multiplies it, else, and where it cannot be asked, float32.

    NVIDIA's tensor cores multiply float16 from compute capability 7.0 on, bfloat16 from 8.0 on
    (CUDA programming guide, "Compute Capabilities").
    """
    _, capability = find_card()
    if capability:
        reason = "the graphics card's compute capability is {}.{}".format(*capability)
        if capability >= (8, 0):
            return "mixed_bfloat16", reason
        return ("mixed_float16" if capability >= (7, 0) else "float32"), reason
    if not Path(CPU_INFO).exists():
        return "float32", "this system does not say what its processor has"
    lines = Path(CPU_INFO).read_text().splitlines()
    words = {word for line in lines if line.startswith(CPU_FIELDS) for word in line.split()}
    for instruction in BFLOAT16:
        if instruction in words:
            return "mixed_bfloat16", f"the processor has {instruction}"
    return "float32", "the processor has no bfloat16 instructions"


def usable_precision(policy):
    """A Keras dtype policy where this hardware has instructions for it, else "float32"."""
    return policy if policy == "float32" or policy == find_precision()[0] else "float32"


@contextlib.contextmanager
def in_precision(policy):
    """Context in which layers are built with a Keras dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def find_card():
    """Name of the first graphics card that Keras's backend uses, and its CUDA compute capability,
    (major, minor), such as (8, 6), None for a card that has none, as AMD's; (None, None) without a
    card.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        for card in tf.config.list_physical_devices("GPU"):
            details = tf.config.experimental.get_device_details(card)
            return details.get("device_name", "a graphics card"), details.get("compute_capability")
    elif backend == "jax":
        import jax

        device = jax.local_devices()[0]
        if device.platform != "cpu":
            numbers = str(getattr(device, "compute_capability", "")).split(".")
            has_capability = len(numbers) == 2 and all(map(str.isdecimal, numbers))
            return device.device_kind, tuple(map(int, numbers)) if has_capability else None
    else:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    return None, None


def card_name():
    """Name of the first graphics card that Keras's backend uses; None without one."""
    return find_card()[0]


def device_name():
    """Name of one device, for a reader, and the backend."""
    return f"{card_name() or 'the processor'}, {keras.backend.backend()}"
