"""The programs that run an exported network: the lines of Python that do it, and a run on a
made-up image that has to give what Keras gives.
"""

import warnings

import cv2
import keras
import numpy as np
from keras import ops

from unet.errors import InputError
from unet.prediction.segment import CLASSES

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
