"""A trained run as one file that needs none of this project: raw pixels in, mask and probabilities
out; and the programs that run it, of which one has to give what Keras gives.
"""

import os
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import cv2
import keras
import numpy as np
from keras import ops

from unet.errors import InputError, error_text, refuse
from unet.machine.disk import replace_file, replace_folder, size_text
from unet.machine.terminal import silence
from unet.prediction.segment import CLASSES, Segment, has_levels

USE = {
    "OpenCV": """\
import cv2
net = cv2.dnn.readNetFromONNX({path!r})
net.setInput(images, "image")
mask, probability = net.forward(["mask", "probability"])""",
    "ONNX Runtime": """\
import onnxruntime
session = onnxruntime.InferenceSession({path!r})
mask, probability = session.run(["mask", "probability"], {{"image": images}})""",
    "LiteRT": """\
from ai_edge_litert.interpreter import Interpreter
run = Interpreter({path!r}).get_signature_runner()
result = run(image=images)  # result["mask"], result["probability"]""",
    "TensorFlow": """\
import tensorflow
saved = tensorflow.saved_model.load({path!r})
result = saved.serve(images)  # result["mask"], result["probability"]""",
}
NAMES = ["mask", "probability"]
PROGRAMS = {"onnx": "ONNX Runtime", "litert": "LiteRT", "tf_saved_model": "TensorFlow"}
SIZES = (40, 56), (33, 47)  # of the made-up images, where an export takes any
TOLERANCE = 1e-3  # of the mean probability: a resized pixel may be rounded to another grey level
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
    reading = run.record.reading
    levels = (reading.black_level, reading.white_level) if has_levels(run) else (0, 256)
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


def run_with(program, path, sets):
    """(mask, probability) of each of several sets of images, arrays, by a program, a key of USE,
    that runs a file.
    """
    path = str(path)
    if program == "OpenCV":
        net, results = cv2.dnn.readNetFromONNX(path), []
        for images in sets:
            net.setInput(images, "image")
            results.append(net.forward(NAMES))
        return results
    if program == "ONNX Runtime":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return [session.run(NAMES, {"image": images}) for images in sets]
    import tensorflow as tf

    if program == "LiteRT":  # which TensorFlow has under its former name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = tf.lite.Interpreter(path).get_signature_runner()
        results = [run(image=images) for images in sets]
    else:
        saved = tf.saved_model.load(path)
        results = [saved.serve(images) for images in sets]
    return [[np.asarray(result[name]) for name in NAMES] for result in results]


def choose_program(model, path, format, image_size=None, levels=(0, 256)):
    """The key of USE of the program that runs an exported file and needs the least beside it.

    model: as exportable makes it; image_size: (H, W), None for any; levels: of the values of
    images, from the first to below the second. Raises InputError where the program that the format
    is for gives other masks or probabilities than the model, and whatever it raises itself.
    """
    sizes, rng = [image_size] if image_size else SIZES, np.random.default_rng(0)
    image = model.inputs[0]
    dtype, channels = keras.backend.standardize_dtype(image.dtype), image.shape[CLASSES]
    sets = [rng.uniform(*levels, (2, *size, channels)).astype(dtype) for size in sizes]
    if faults := find_faults(PROGRAMS[format], model, path, sets):
        raise InputError(f"other masks or probabilities: {'; '.join(faults)}")
    try:
        is_opencvs = format == "onnx" and not find_faults("OpenCV", model, path, sets)
        return "OpenCV" if is_opencvs else PROGRAMS[format]
    except cv2.error:
        return PROGRAMS[format]


def find_faults(program, model, path, sets):
    """Differences between a program's masks and probabilities of sets of images and those of the
    model, texts: none where the probabilities are equal but for rounding, and the mask is what the
    model makes of them, to the pixel.
    """
    faults = []
    for images, (mask, probability) in zip(sets, run_with(program, path, sets)):
        expected = ops.convert_to_numpy(model(images)["probability"])
        if probability.shape != expected.shape:
            faults.append(f"probabilities of {probability.shape}, expected {expected.shape}")
            continue
        own = model.get_layer("segment").mask(ops.convert_to_tensor(probability), *mask.shape[1:3])
        num_wrong = np.count_nonzero(mask != ops.convert_to_numpy(own))
        away = np.abs(probability - expected).mean()
        if away > TOLERANCE or num_wrong:
            faults.append(
                f"probabilities {away:.2g} away on average, {num_wrong} pixels of the mask"
            )
    return faults
