"""Exported runs: other programs make of raw pixels the mask that this project makes."""

import os
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from conftest import ROOT, make_record, refusal, run_well, slow

from model import build_unet
from train import load_run
from unet.errors import InputError
from unet.jobs import JOBS
from unet.jobs.settings import Reading
from unet.machine.disk import replace_folder
from unet.prediction import export, segment
from unet.prediction.export import SAVED, check_target, export_run, exportable
from unet.prediction.predict import predict_file
from unet.prediction.run import Network, Run
from unet.prediction.scoring import FolderImages
from unet.reading.pixels import resize, scale_levels
from unet.runs import Decision

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's")
HAS_ONNX = find_spec("tf2onnx") and find_spec("onnxruntime")
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="requirements-export.txt is not installed")
PATHS = {"onnx": "run.onnx", "litert": "run.tflite", "tf_saved_model": "run"}
READERS = {  # of a format
    "onnx": ("OpenCV", "ONNX Runtime"),
    "litert": ("LiteRT",),
    "tf_saved_model": ("TensorFlow",),
}

NETWORK = dict(image_size=(None, None), filters=(6, 8), bottleneck=10, dropout=())
SHALLOW = dict(NETWORK, bottleneck=0, decoder_filters=())
SHALLOWER = dict(NETWORK, filters=(6,))
CLASSES = dict(SHALLOWER, classes=4)
ENCODER = dict(SHALLOW, encoder="EfficientNetV2B0")
RAW = {"mean": 0.0, "std": 1.0}
SCALE = {"mean": 100.0, "std": 50.0}
OWN_SCALE = {"mean": None, "std": None}
CASES = {  # job, network, scale, size of the images, array_size where resized, folds, symmetry
    "grey": ("noise", SHALLOW, SCALE, (37, 51), None, 1, "none"),
    "own scale, turned": ("cadastre", SHALLOWER, OWN_SCALE, (30, 45), None, 1, "turns"),
    "bilinear, shrunk": ("car", NETWORK, OWN_SCALE, (70, 93), (32, 48), 1, "mirror"),
    "enlarged": ("nerve", NETWORK, SCALE, (20, 27), (32, 48), 1, "none"),
    "unpadded": ("membrane", NETWORK, SCALE, (45, 38), None, 1, "none"),
    "folds": ("nerve", SHALLOWER, OWN_SCALE, (41, 30), None, 2, "none"),
    "classes": ("cadastre", CLASSES, SCALE, (29, 34), None, 2, "mirror"),
    "encoder": ("cadastre", ENCODER, RAW, (37, 50), None, 1, "none"),
}
EVERY = [
    *(pytest.param(case, "onnx", marks=needs_onnx) for case in CASES),
    *(  # of these TensorFlow is all they need
        pytest.param(case, format, id=f"{case}-{format}-by-tensorflow")
        for format, cases in {
            "litert": ("own scale, turned", "bilinear, shrunk", "unpadded", "classes", "encoder"),
            "tf_saved_model": ("unpadded", "classes"),
        }.items()
        for case in cases
    ),
]


def make_run(case, changes=()):
    """A run with random weights, and smooth images of its size, uint8 (2, H, W, C): half of their
    pixels are foreground, and one of the two masks is smaller than the smallest area.
    """
    job, network, scale, size, array_size, folds, symmetry = CASES[case]
    keras.utils.set_random_seed(1)
    config = replace(JOBS[job].network, **{**network, **dict(changes)})
    models = [build_unet(config) for _ in range(folds)]
    for model in models:
        spread_logits(model, config)
        model.run_eagerly = True  # tracing takes longer than predicting
    fields = dict(scale, is_resized=array_size is not None, array_size=array_size or size)
    record = make_record(network=config, **fields)
    run = Run(tuple(Network(model, record) for model in models), Decision(), symmetry)
    small = np.random.default_rng(1).integers(0, 256, (2, 12, 12, config.channels), dtype=np.uint8)
    images = np.stack([cv2.resize(image, size[::-1]).reshape(*size, -1) for image in small])
    if config.classes > 2:
        return run, images
    probabilities = [predict_file(run, image) for image in images]
    threshold = float(np.median(probabilities))
    min_area = float(np.mean([np.mean(p > threshold) for p in probabilities]))
    return replace(run, decision=Decision(threshold, min_area)), images


def spread_logits(model, config):
    """Have logits vary by 1 around 0, so that few probabilities are near a threshold."""
    head = model.get_layer(config.head_name)
    side = config.fit_length(40)
    image = np.random.default_rng(0).normal(size=(1, side, side, config.channels))
    logits = np.asarray(keras.Model(model.inputs[0], head.output)(image))
    mean, std = (f(logits, axis=(0, 1, 2)) for f in (np.mean, np.std))
    head.kernel.assign(head.kernel / std)
    head.bias.assign(-mean / std)


def run_elsewhere(path, program, images):
    """(mask, probability) of images by a program that knows nothing of this project."""
    if program == "OpenCV":
        net = cv2.dnn.readNetFromONNX(path)
        net.setInput(images, "image")
        return net.forward(["mask", "probability"])
    if program == "ONNX Runtime":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return session.run(["mask", "probability"], {"image": images})
    import tensorflow as tf

    if program == "LiteRT":
        result = tf.lite.Interpreter(path).get_signature_runner()(image=images)
        return result["mask"], result["probability"]
    saved = tf.saved_model.load(path)
    result = saved.serve(images)
    return result["mask"].numpy(), result["probability"].numpy()


@slow
@pytest.mark.parametrize("format", ["litert", pytest.param("onnx", marks=needs_onnx)])
def test_a_run_of_shrunk_images_shrinks_new_ones_as_much_in_other_programs(place, format):
    run, images = make_run("grey")
    reading = Reading(zoom=0.4)  # 37x51 become 15x20
    networks = tuple(replace(n, record=replace(n.record, reading=reading)) for n in run.networks)
    run = replace(run, networks=networks)
    export_run(run, PATHS[format], format)
    expected = np.stack([predict_file(run, image) for image in images])
    assert expected.shape[1:3] == images.shape[1:3]
    for program in READERS[format]:
        _, probability = run_elsewhere(PATHS[format], program, images)
        # OpenCV enlarges with weights of 11 bits
        np.testing.assert_allclose(probability, expected, atol=0.02)


@slow
@pytest.mark.parametrize(("case", "format"), EVERY)
def test_raw_pixels_become_the_mask_of_this_project(place, capsys, case, format):
    run, images = make_run(case)
    export_run(run, PATHS[format], format)
    lines = capsys.readouterr().out.splitlines()
    # OpenCV, which needs the least to install, does not pad an encoder's strides as Keras does.
    readers = [name for name in READERS[format] if (case, name) != ("encoder", "OpenCV")]
    assert ("import cv2" in lines) == ("OpenCV" in readers)
    # OpenCV enlarges with weights of 11 bits, and so rounds some pixels to another grey level.
    tolerance = 0.02 if case == "enlarged" else 1e-4
    for part in (images, np.ascontiguousarray(images[:, 3:, :-5])):
        expected = np.stack([predict_file(run, image) for image in part])
        masks = np.stack([run.decision.mask(p) for p in expected])[..., None]
        if expected.shape[-1] == 1:
            if part is images:
                assert sorted(m.any() for m in masks) == [False, True]
            masks = np.uint8(255) * masks
            margin = np.abs(expected - run.decision.threshold)
        else:
            assert len(np.unique(masks)) > 2
            margin = np.diff(np.sort(expected)[..., -2:])
        for program in readers:
            mask, probability = run_elsewhere(PATHS[format], program, part)
            assert mask.dtype == np.uint8 and probability.dtype == np.float32
            np.testing.assert_allclose(probability, expected, atol=tolerance)
            assert mask.shape == masks.shape
            assert np.mean(margin > tolerance) > 0.5
            np.testing.assert_array_equal(np.where(margin > tolerance, mask, masks), masks)


@slow
@needs_onnx
def test_the_lines_for_opencv_run(place, capsys):
    run, images = make_run("grey")
    export_run(run, "run.onnx", "onnx")
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert lines[0] == "import cv2"
    names = {"images": images}
    exec("\n".join(lines), names)
    mask, probability = run_elsewhere("run.onnx", "ONNX Runtime", images)
    np.testing.assert_array_equal(names["mask"], mask)
    np.testing.assert_allclose(names["probability"], probability, atol=1e-5)


@slow
@needs_onnx
@pytest.mark.parametrize("trouble", ["an error", "another mask"])
def test_what_opencv_cannot_run_is_run_by_onnx_runtime(place, capsys, monkeypatch, trouble):
    run, _ = make_run("folds")
    run_with = export.run_with

    def run_without(program, path, sets):
        results = run_with(program, path, sets)
        if program != "OpenCV":
            return results
        if trouble == "an error":
            raise cv2.error("no such operation")
        return [(255 - mask, probability) for mask, probability in results]

    monkeypatch.setattr(export, "run_with", run_without)
    export_run(run, "run.onnx", "onnx")
    lines = capsys.readouterr().out.splitlines()
    assert "import onnxruntime" in lines and "import cv2" not in lines


@slow
@pytest.mark.parametrize("format", ["litert", pytest.param("onnx", marks=needs_onnx)])
def test_a_file_that_cannot_be_run_is_refused(place, capfd, monkeypatch, format):
    """As those of Keras's argmax, with operations that the converters do not know."""
    run, _ = make_run("classes")
    Path(PATHS[format]).write_text("old")
    monkeypatch.setattr(segment, "first_maximum", lambda p: keras.ops.argmax(p, -1, keepdims=True))
    with pytest.raises(InputError, match=f"--export {PATHS[format]}: .* take another format"):
        export_run(run, PATHS[format], format)
    assert capfd.readouterr() == ("", "")  # the converters' own words
    assert Path(PATHS[format]).read_text() == "old"
    assert [path.name for path in place.iterdir()] == [PATHS[format]]


def test_a_file_of_other_masks_is_refused(place, monkeypatch):
    run, _ = make_run("grey")
    other = exportable(replace(run, decision=Decision(0.1)))
    convert = export.convert
    monkeypatch.setattr(export, "convert", lambda model, *rest: convert(other, *rest))
    with pytest.raises(InputError, match="other masks or probabilities"):
        export_run(run, "run", "tf_saved_model")
    assert list(place.iterdir()) == []


def test_of_classes_equally_probable_the_first_is_taken_as_numpy_does():
    probability = np.random.default_rng(0).integers(0, 4, (2, 9, 7, 5)).astype(np.float32)
    mask = np.asarray(segment.first_maximum(probability))
    np.testing.assert_array_equal(mask[..., 0], probability.argmax(axis=-1))


@slow
@needs_onnx
def test_an_onnx_file_takes_any_size_and_any_number_of_images(place):
    import onnxruntime

    run, _ = make_run("unpadded")
    export_run(run, "run.onnx", "onnx")
    session = onnxruntime.InferenceSession("run.onnx")
    assert session.get_inputs()[0].shape == ["batch", "height", "width", 1]
    for output in session.get_outputs():
        assert output.shape == ["batch", "height", "width", 1]
    rng = np.random.default_rng(2)
    for size in ((1, 1), (2, 3), (9, 70), (64, 48)):
        image = rng.integers(0, 256, (1, *size, 1), dtype=np.uint8)
        (probability,) = session.run(["probability"], {"image": image})
        np.testing.assert_allclose(probability[0], predict_file(run, image[0]), atol=1e-4)
    assert session.run(["mask"], {"image": np.zeros((5, 20, 30, 1), np.uint8)})[0].shape[0] == 5


def test_a_flat_image_has_a_std_of_one():
    flat = np.full((1, 40, 50, 3), 77, np.float32)
    np.testing.assert_allclose(segment.standardize(flat), 0, atol=1e-4)


def test_more_classes_give_the_number_of_the_most_probable():
    run, images = make_run("enlarged", {"classes": 4})
    result = exportable(run)(images)
    mask, probability = np.asarray(result["mask"]), np.asarray(result["probability"])
    assert probability.shape == (2, 20, 27, 4)
    np.testing.assert_allclose(probability.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(mask[..., 0], probability.argmax(axis=-1))
    assert len(np.unique(mask)) > 1


@pytest.mark.parametrize("turns", [-3, -1, 0, 1, 2, 3])
def test_quarter_turns_are_numpys(turns):
    images = np.random.default_rng(0).normal(size=(2, 3, 5, 2))
    expected = np.rot90(images, turns, axes=(1, 2))
    np.testing.assert_array_equal(segment.turn(images, turns), expected)


@pytest.mark.parametrize(("length", "border", "fitting"), [(1, 3, 9), (2, 5, 16), (10, 4, 20)])
def test_rows_are_mirrored_as_numpy_does(length, border, fitting):
    after = fitting - length - border
    expected = np.pad(np.arange(length), (border, after), mode="reflect")
    np.testing.assert_array_equal(segment.mirrored(length, border, fitting), expected)


@pytest.mark.parametrize("size", [(20, 30), (33, 47), (80, 100), (120, 111), (66, 93)])
def test_images_are_resized_as_opencv_does_within_a_rounded_grey_level(size):
    image = np.random.default_rng(0).integers(0, 256, (66, 93, 3), dtype=np.uint8)
    resized = np.asarray(segment.resize(image[None].astype(np.float32), *size))[0]
    np.testing.assert_allclose(resized, resize(image.astype(np.float32), size), atol=0.01)
    assert np.abs(np.round(resized) - resize(image, size)).max() <= 1


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_the_plain_upsampling_is_that_of_keras(interpolation):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    expected = keras.layers.UpSampling2D(2, interpolation=interpolation)(x)
    layer = segment.PlainUpsampling(interpolation)
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)
    assert layer.compute_output_shape((None, None, 5, 4)) == (None, None, 10, 4)


def test_the_command_replaces_a_folder_whole_and_its_three_lines_run(place):
    shutil.copytree(ROOT / "tests/files/weights", "weights")
    run, old = load_run("nerve"), place / "nerve.savedmodel"
    old.mkdir()
    (old / "saved_model.pb").write_text("old")
    (old / "variables").mkdir()
    (old / "variables/left over").write_text("old")
    image = np.random.default_rng(0).integers(0, 256, (84, 116, 1), dtype=np.uint8)
    expected = predict_file(run, image)
    decision = round(float(np.median(expected)), 4)
    options = "--image-size", 84, 116, "--threshold", decision
    lines = run_well("model.py", "nerve", "--export", old, *options).splitlines()
    assert lines[0].endswith(f" s, foreground above {decision:.4f}")
    assert not (old / "variables/left over").exists()
    assert {path.name for path in old.iterdir()} <= SAVED  # which may be replaced again
    assert sorted(path.name for path in place.iterdir()) == ["nerve.savedmodel", "weights"]
    assert "  takes image: uint8 (B, 84, 116, 1)" in lines
    assert "  gives mask: uint8 (B, 84, 116, 1)" in lines
    assert "  gives probability: float32 (B, 84, 116, 1)" in lines
    names = {"images": image[None]}
    exec("\n".join(lines[-3:]), names)
    probability = names["result"]["probability"][0]
    np.testing.assert_allclose(probability, expected, atol=5e-3)
    probability = np.asarray(probability)
    assert 0 < np.mean(probability > decision) < 1
    np.testing.assert_array_equal(names["result"]["mask"][0], 255 * (probability > decision))


@needs_onnx
def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(place, monkeypatch):
    run, _ = make_run("grey")
    Path("run.onnx").write_text("old")
    monkeypatch.setattr(export, "convert", lambda *arguments: 1 / 0)
    for format, path in PATHS.items():
        with pytest.raises(InputError, match="division by zero"):
            export_run(run, path, format)
    assert Path("run.onnx").read_text() == "old"
    assert [path.name for path in place.iterdir()] == ["run.onnx"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--export", "x.h5"], "x.h5: expected the ending .onnx, .tflite (LiteRT), .savedmodel"),
        (
            ["--image-size", "8", "8"],
            "--image-size, --threshold and --no-average are for --export",
        ),
        (["--threshold", "0.3"], "--image-size, --threshold and --no-average are for --export"),
        (["--export", "x.tflite"], "weights/noise.json: no trained network there yet; first run"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(place, arguments, message):
    assert message in refusal("model.py", "noise", *arguments)


def test_a_folder_that_is_no_saved_model_is_not_replaced(place):
    Path("folder.tflite").mkdir()
    with pytest.raises(ValueError, match="folder.tflite: is a folder, expected a file"):
        export.check_target("folder.tflite", "litert")
    with pytest.raises(ValueError, match="exists and is not a SavedModel alone"):
        export.check_target("folder.tflite", "tf_saved_model")


def test_a_missing_converter_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install -r requirements-export.txt"):
        export.check_target("run.onnx", "onnx")
    assert (ROOT / "requirements-export.txt").exists()


def test_other_backends_are_told_which_to_take(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="Keras runs on jax; set KERAS_BACKEND=tensorflow"):
        export.check_target("run.onnx", "onnx")


def test_a_savedmodel_stays_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path = tmp_path / "net"
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"old")
    replace = os.replace

    def fail(source, target):
        if Path(source).name.startswith(".partial"):
            raise OSError("in use")
        replace(source, target)

    monkeypatch.setattr("unet.machine.disk.os.replace", fail)
    with pytest.raises(OSError, match="in use"), replace_folder(path) as temporary:
        temporary.mkdir()
    assert [p.name for p in tmp_path.iterdir()] == ["net"]
    assert (path / "saved_model.pb").read_bytes() == b"old"
    monkeypatch.undo()
    path.rename(tmp_path / ".old.net")  # as a kill between the two leaves it
    with pytest.raises(ZeroDivisionError), replace_folder(path):
        raise ZeroDivisionError
    assert (path / "saved_model.pb").read_bytes() == b"old"
    (path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a SavedModel alone"):
        check_target(path, "tf_saved_model")


def of_more_bits(run, white):
    """A run whose training images had more than 8 bit, its white being this value."""
    reading = Reading(white_level=white and float(white))
    networks = [replace(n, record=replace(n.record, reading=reading)) for n in run.networks]
    return replace(run, networks=tuple(networks))


def test_a_run_of_more_than_8_bit_takes_the_files_own_values(place):
    """As test.py does, which reads them with the levels of the training: 4095 is white."""
    run, images = make_run("grey")
    run = of_more_bits(run, 4095)
    values = np.round(images * (4095 / 255)).astype(np.uint16)
    assert np.array_equal(scale_levels(values, "x", run.record.reading), images)
    (place / "images").mkdir()
    for number, image in enumerate(values):
        assert cv2.imwrite(f"images/{number}.png", image)
    results = list(FolderImages(run, "images"))
    model = exportable(run)
    assert keras.backend.standardize_dtype(model.inputs[0].dtype) == "float32"
    exported = model(values.astype(np.float32))
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result.image, images[number])
        expected = predict_file(run, images[number])
        np.testing.assert_array_equal(result.probability, expected)
        probability = keras.ops.convert_to_numpy(exported["probability"])[number]
        np.testing.assert_allclose(probability, expected, atol=1e-5)


def test_a_run_of_8_bit_finds_the_levels_of_a_folder_of_more(place, capsys):
    run, images = make_run("grey")
    run = of_more_bits(run, None)
    (place / "images").mkdir()
    for number, image in enumerate(images):
        assert cv2.imwrite(f"images/{number}.png", image.astype(np.uint16) * 4)
    results = list(FolderImages(run, "images"))
    for result, image in zip(results, images):  # 1023 is white, 4 times 255 nearly so
        assert np.abs(result.image.astype(int) - image).max() <= 1
    assert "1023 white" in capsys.readouterr().out
    assert keras.backend.standardize_dtype(exportable(run).inputs[0].dtype) == "uint8"
