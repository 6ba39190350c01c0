"""A trained run as one file that needs none of this project: raw pixels in, mask and probabilities
out.
"""

import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import keras
from keras import ops

from unet.errors import InputError
from unet.machine.disk import replace_file, replace_folder, size_text
from unet.prediction.segment import CLASSES, Segment, has_levels

SAVED = {"saved_model.pb", "fingerprint.pb", "variables", "assets"}  # in a SavedModel's folder
USE = {
    "onnx": """\
import onnxruntime
session = onnxruntime.InferenceSession({path!r})
mask, probability = session.run(["mask", "probability"], {{"image": images}})""",
    "litert": """\
from ai_edge_litert.interpreter import Interpreter
run = Interpreter({path!r}).get_signature_runner()
result = run(image=images)  # result["mask"], result["probability"]""",
    "tf_saved_model": """\
import tensorflow
saved = tensorflow.saved_model.load({path!r})
result = saved.serve(images)  # result["mask"], result["probability"]""",
}


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
    """Write a trained Run to a file or folder of a format, a key of USE, and print how to use it.

    path: as check_target has it; image_size: (H, W) in pixels, the only one that it will take, or
    None for any.
    """
    path, start = Path(path), time.perf_counter()
    model = exportable(run, image_size)
    with replace_folder(path) if format == "tf_saved_model" else replace_file(path) as temporary:
        convert(model, temporary, format)
    seconds = time.perf_counter() - start
    rule = "" if run.classes else f", {run.decision.describe()}"
    print(f"{path}: {size_text(size_of(path))} in {seconds:.0f} s{rule}")
    print_use(model, path, format, image_size)


def check_target(path, format):
    """The path to write to, a format's file or folder; raises InputError where that is not
    possible.
    """
    path = Path(path)
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"--export {path}: goes through TensorFlow, Keras runs on {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow, the weights are the same"
        )
    if format == "onnx" and not find_spec("tf2onnx"):
        raise InputError(
            f"--export {path}: ONNX needs packages that are not installed; "
            "run pip install -r requirements-export.txt"
        )
    if path.is_dir() and format != "tf_saved_model":
        raise InputError(f"--export {path}: is a folder, expected a file; take another name")
    if path.exists() and format == "tf_saved_model":
        others = {p.name for p in path.iterdir()} - SAVED if path.is_dir() else {path.name}
        if others or not (path / "saved_model.pb").is_file():
            raise InputError(
                f"--export {path}: exists and is not a SavedModel alone, which would be replaced; "
                "take another name"
            )
    return path


def convert(model, path, format):
    """Keras's own export of a model; of LiteRT's operations the built-in ones alone, which every
    interpreter has.
    """
    arguments = {}
    if format == "litert":
        import tensorflow as tf

        arguments["target_spec"] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converters' own code
        model.export(str(path), format=format, verbose=False, **arguments)
    if format == "onnx":
        name_axes(path)


def name_axes(path):
    """Names for the open axes of an ONNX file, in place of the converter's numbers."""
    import onnx

    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, ("batch", "height", "width", "classes")):
            if not axis.HasField("dim_value"):
                axis.dim_param = name
    onnx.save(model, path)


def size_of(path):
    """Bytes of a file or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def print_use(model, path, format, image_size):
    """Names, types and shapes of what goes in and comes out, and three lines that run it."""
    height, width = image_size or ("H", "W")
    tensors = {"image": model.inputs[0], **model.output}
    for name, tensor in tensors.items():
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        arrow = "takes" if name == "image" else "gives"
        print(f"  {arrow} {name}: {dtype} (B, {height}, {width}, {tensor.shape[CLASSES]})")
    print(USE[format].format(path=str(path)))
