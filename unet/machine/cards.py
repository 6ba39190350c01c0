"""A graphics card that is in the machine and that nothing computes on."""

import glob
import importlib.util
import os
import shutil
import subprocess
import sys

import keras

from unet.machine.precision import card_name

DRIVER_FILES = ("/proc/driver/nvidia/gpus/*", "/dev/nvidia0")
WSL_FILES = ("/dev/dxg", "/usr/lib/wsl/lib/libcuda.so")  # both; the first one is of any card
CUDA_PACKAGES = {"tensorflow": ("nvidia",), "jax": ("jax_cuda13_plugin", "jax_cuda12_plugin")}
REMEDIES = {
    "tensorflow": "pip install -r requirements-cuda.txt",
    "jax": 'pip install "jax[cuda13]"',
    "torch": "install PyTorch with the line that pytorch.org/get-started has for CUDA",
}


def tell_unseen_card():
    """Print a line where an NVIDIA card is in this machine and Keras's backend does not see it,
    with what to install. Where CUDA_VISIBLE_DEVICES or JAX_PLATFORMS hides it nothing is said.
    """
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    if is_hidden or not has_card() or card_name():
        return
    backend = keras.backend.backend()
    if backend == "jax" and os.environ.get("JAX_PLATFORMS", "cuda") == "cpu":
        return
    remedy = REMEDIES[backend]
    if backend != "torch" and os.name == "nt":
        remedy = f"on Windows PyTorch alone can: {REMEDIES['torch']}, and set KERAS_BACKEND=torch"
    elif has_cuda(backend):
        remedy = "it has its CUDA: look with nvidia-smi whether the driver works and is new enough"
    print(
        f"an NVIDIA card is in this machine, but {backend} does not see it and computes on the "
        f"processor; {remedy} (docs/devices.md)",
        flush=True,
    )


def has_card():
    """True where the driver of an NVIDIA card is at work; takes no time where there is none."""
    if any(map(glob.glob, DRIVER_FILES)) or all(map(os.path.exists, WSL_FILES)):
        return True
    command = shutil.which("nvidia-smi")
    if not command:
        return False
    try:
        done = subprocess.run([command, "-L"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.startswith(b"GPU ")


def has_cuda(backend):
    """True where the packages with which a backend computes on NVIDIA cards are installed."""
    if backend == "torch":
        return bool(sys.modules["torch"].version.cuda)
    return any(map(importlib.util.find_spec, CUDA_PACKAGES[backend]))
