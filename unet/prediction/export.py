"""A trained run as one file that needs none of this project: raw pixels in, mask and probabilities
out.
"""

import os
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import keras
from keras import ops

from unet.errors import InputError, error_text, refuse
from unet.machine.disk import replace_file, replace_folder, size_text
from unet.machine.terminal import silence
from unet.prediction.programs import PROGRAMS, USE, choose_program
from unet.prediction.segment import CLASSES, Segment, has_levels

SAVED = {"saved_model.pb", "fingerprint.pb", "variables", "assets"}  # in a SavedModel's folder


def exportable(run, image_size=None):
    """The Keras model of a trained run.Run that takes raw pixels: image, (B, H, W, C) of any size,
    or of a fixed one, to what Segment returns; uint8, or the files' own values as float32 where
    the training images had more than 8 bit.
    """
    channels = run.record.network.channels
    dtype = "float32" if has_levels(run) else "uint8"
    image = keras.Input((*(image_size or (None, None)), channels), dtype=dtype, name="image")
    model = keras.Model(image, Segment(run, name="segment")(image))
    model(ops.zeros((1, *(image_size or (32, 32)), channels), dtype))  # Keras asks for a call
    return model


def export_run(run, path, format, image_size=None):
    """Write a trained Run to a file or folder of a format, a key of PROGRAMS, and print how to use
    it.

    path: as check_target has it; image_size: (H, W) in pixels, the only one that it will take, or
    None for any. Raises InputError, and leaves what stood at path, where the file cannot be
    written, or cannot be run, or gives other masks.
    """
    path, start = Path(path), time.perf_counter()
    model = exportable(run, image_size)
    levels = (run.reading.black_level, run.reading.white_level) if has_levels(run) else (0, 256)
    with replace_folder(path) if format == "tf_saved_model" else replace_file(path) as temporary:
        try:
            with silence():
                convert(model, temporary, format)
                program = choose_program(model, temporary, format, image_size, levels)
        except OSError:
            raise
        except Exception as error:  # every converter and program has kinds of its own
            raise InputError(
                f"--export {path}: {PROGRAMS[format]} does not make of this network's file what "
                f"test.py makes of an image ({error_text(error)[:160]}); take another format"
            ) from error
    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
    size = size_text(sum(file.stat().st_size for file in files))
    rule = "" if run.classes else f", {run.decision.describe()}"
    print(f"{path}: {size} in {time.perf_counter() - start:.0f} s{rule}")
    height, width = image_size or ("H", "W")
    for name, tensor in {"image": model.inputs[0], **model.output}.items():
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        arrow = "takes" if name == "image" else "gives"
        print(f"  {arrow} {name}: {dtype} (B, {height}, {width}, {tensor.shape[CLASSES]})")
    print(USE[program].format(path=str(path)))


def check_target(path, format):
    """The path to write to, a format's file or folder; raises InputError where that is not
    possible.
    """
    path, backend = Path(path), keras.backend.backend()
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    is_saved = format == "tf_saved_model"
    others = {p.name for p in path.iterdir()} - SAVED if path.is_dir() else {path.name}
    is_foreign = path.exists() and (others or not (path / "saved_model.pb").is_file())
    refuse(
        # TensorFlow's error would not be the system's.
        (not os.access(folder, os.W_OK), f"--export {path}: {folder} cannot be written to"),
        (
            backend != "tensorflow",
            f"--export {path}: goes through TensorFlow, Keras runs on {backend}; set "
            "KERAS_BACKEND=tensorflow, the weights are the same",
        ),
        (
            format == "onnx" and not (find_spec("tf2onnx") and find_spec("onnxruntime")),
            f"--export {path}: ONNX needs packages that are not installed; run pip install -r "
            "requirements-export.txt",
        ),
        (
            path.is_dir() and not is_saved,
            f"--export {path}: is a folder, expected a file; take another name",
        ),
        (
            is_saved and is_foreign,
            f"--export {path}: exists and is not a SavedModel alone, which would be replaced; "
            "take another name",
        ),
    )
    return path


def convert(model, path, format):
    """Keras's own export of a model; of LiteRT's operations the built-in ones alone, which every
    interpreter has; in ONNX with names for the open axes, in place of the converter's numbers.
    """
    arguments = {}
    if format == "litert":
        import tensorflow as tf

        arguments["target_spec"] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converters' own code
        model.export(str(path), format=format, verbose=False, **arguments)
    if format != "onnx":
        return
    import onnx

    file = onnx.load(path)
    for value in (*file.graph.input, *file.graph.output):
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, ("batch", "height", "width", "classes")):
            if not axis.HasField("dim_value"):
                axis.dim_param = name
    onnx.save(file, path)
