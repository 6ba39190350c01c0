"""The programs that run an exported network: the lines of Python that do it, and a run on a
made-up image that has to give what Keras gives.
"""

import warnings

import cv2
import keras
import numpy as np
from keras import ops

from unet.errors import InputError
from unet.lazy import lazy
from unet.prediction.segment import CLASSES

onnxruntime = lazy("onnxruntime")
tensorflow = lazy("tensorflow")

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


def run_with(program, path, sets):
    """What a program, a key of USE, makes of a file and sets of images: (mask, probability) of
    each, arrays.
    """
    path = str(path)
    if program == "OpenCV":
        net, results = cv2.dnn.readNetFromONNX(path), []
        for images in sets:
            net.setInput(images, "image")
            results.append(net.forward(NAMES))
        return results
    if program == "ONNX Runtime":
        session = onnxruntime.InferenceSession(path)
        return [session.run(NAMES, {"image": images}) for images in sets]
    if program == "LiteRT":  # which TensorFlow has under its former name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = tensorflow.lite.Interpreter(path).get_signature_runner()
        results = [run(image=images) for images in sets]
    else:
        saved = tensorflow.saved_model.load(path)
        results = [saved.serve(images) for images in sets]
    return [[np.asarray(result[name]) for name in NAMES] for result in results]


def choose_program(model, path, format, image_size=None, levels=(0, 256)):
    """The key of USE of the program that runs an exported file and needs the least beside it.

    model: as exportable makes it; image_size: (H, W), None for any; levels: what values images
    have, from the first to below the second. Raises InputError where the program that the format
    is for gives other masks or probabilities than the model, and whatever it raises itself.
    """
    sizes, rng = [image_size] if image_size else SIZES, np.random.default_rng(0)
    image = model.inputs[0]
    dtype, channels = keras.backend.standardize_dtype(image.dtype), image.shape[CLASSES]

    sets = [rng.uniform(*levels, (2, *size, channels)).astype(dtype) for size in sizes]
    expected = [ops.convert_to_numpy(model(images)["probability"]) for images in sets]

    def find_fault(program):
        pairs = zip(run_with(program, path, sets), expected)
        return "; ".join(filter(None, (describe_fault(model, *pair) for pair in pairs)))

    if fault := find_fault(PROGRAMS[format]):
        raise InputError(f"other masks or probabilities: {fault}")
    try:
        return "OpenCV" if format == "onnx" and not find_fault("OpenCV") else PROGRAMS[format]
    except cv2.error:
        return PROGRAMS[format]


def describe_fault(model, result, expected):
    """What is wrong with a mask and probabilities (B, H, W, C): "" where these are those expected
    but for rounding, and the mask is what the model makes of them, to the pixel.
    """
    mask, probability = result
    if probability.shape != expected.shape:
        return f"probabilities of {probability.shape}, expected {expected.shape}"
    own = model.get_layer("segment").mask(ops.convert_to_tensor(probability), *mask.shape[1:3])
    num_wrong = np.count_nonzero(mask != ops.convert_to_numpy(own))
    away = np.abs(probability - expected).mean()
    if away <= TOLERANCE and not num_wrong:
        return ""
    return f"probabilities {away:.2g} away on average, {num_wrong} pixels of the mask"
