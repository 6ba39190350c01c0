"""Encoders of keras.applications: their maps, the files that they start from, a training with one
from its first step to its masks.
"""

import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import refusal, slow, what_a_run_left
from keras.layers import BatchNormalization

import train
from model import build_unet
from train import load_run
from unet import encoders
from unet.encoders import build_encoder, find_strides, start_encoder
from unet.errors import InputError
from unet.jobs import MODERN
from unet.machine.precision import in_precision
from unet.matching import Layer
from unet.prediction.predict import predict_file
from unet.training import fit
from unet.training.session import what_hosts_share
from unet.weights import layers_of, load_weights, start_from

NAME = "EfficientNetV2B0"
ENCODER = f"network.encoder={NAME}"
FILES = ("whole.weights.h5", "old.h5", "whole.keras", "headless.weights.h5")


def build(channels=3, levels=2, size=(32, 64)):
    """A narrow U-Net with an encoder."""
    changes = dict(filters=(4, 5, 6, 7, 8)[:levels], bottleneck=0, encoder=NAME)
    network = replace(MODERN["cadastre"].network, **changes, channels=channels, image_size=size)
    return build_unet(network)


class FakeArrays:
    """As much of Arrays as hosts compare."""

    name, files, pixels_digest = "nerve", [], "digest"


def encoder_of(model):
    return model.get_layer(NAME)


def spread(model):
    """Give all weights of a network numbers of their own, such as a training leaves."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(1, 0.1, weight.shape))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the encoder's network of random weights in files of each kind, and that
    network.
    """
    folder = tmp_path_factory.mktemp("encoder")
    whole = getattr(keras.applications, NAME)(weights=None, classes=7, input_shape=(32, 32, 3))
    spread(whole)
    whole.save_weights(folder / FILES[0])
    for name in FILES[1:3]:
        whole.save(folder / name)
    headless = build_encoder(NAME)
    for layer in headless.layers:
        if layer.weights:
            layer.set_weights(whole.get_layer(layer.name).get_weights())
    headless.save_weights(folder / FILES[3])
    return folder, whole


def test_grey_values_are_standardized_as_keras_does():
    own = build_encoder(NAME, (32, 64, 3))
    keras_own = getattr(keras.applications, NAME)(
        include_top=False, weights=None, input_shape=(32, 64, 3)
    )
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 64, 3)).astype(np.float32)
    made, expected = (
        keras.Model(model.inputs, model.get_layer("stem_conv").input)(images)
        for model in (own, keras_own)
    )
    np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        (NAME, (3, 16, 32, 192, 672, 1280)),
        pytest.param("EfficientNetV2B3", (3, 16, 40, 224, 816, 1536), marks=slow),
    ],
)
def test_the_maps_are_the_last_at_each_stride(name, channels):
    strides = {stride: layer for layer, stride in find_strides(build_encoder(name))}
    assert list(strides) == [1, 2, 4, 8, 16, 32]
    assert tuple(layer.output.shape[-1] for layer in strides.values()) == channels


@pytest.mark.parametrize("size", [pytest.param((32, 64), marks=slow), (None, None)])
def test_the_u_has_maps_of_half_the_size_each(size):
    model = build(levels=5, size=size)
    image = np.zeros((1, 32, 64, 3), np.float32)
    maps = encoder_of(model).predict_on_batch(image)
    assert [m.shape[1:3] for m in maps] == [(32 // 2**n, 64 // 2**n) for n in range(6)]
    assert model.predict_on_batch(image).shape == (1, 32, 64, 1)


@slow
@pytest.mark.parametrize(
    ("file", "channels"), [*((file, 3) for file in FILES), (FILES[0], 1), (FILES[1], 4)]
)
def test_the_encoder_takes_the_layers_of_each_file(files, file, channels, capsys):
    folder, whole = files
    model = build(channels, levels=4)
    start_encoder(model, folder / file)
    layers = [layer for layer in encoder_of(model).layers if layer.weights]
    assert (
        f"{NAME}: weights of {folder / file} for its first {len(layers)} layers, to a stride of 16"
        in capsys.readouterr().out
    )
    for number, layer in enumerate(layers):
        expected = whole.get_layer(layer.name).get_weights()
        if number == 0 and channels == 4:
            expected[0] = np.repeat(expected[0].sum(axis=2, keepdims=True) / 4, 4, axis=2)
        for one, two in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-6)


@slow
def test_a_grey_image_is_an_rgb_image_of_equal_channels(files):
    folder, _ = files
    image = np.random.default_rng(1).uniform(0, 255, (1, 32, 64, 1)).astype(np.float32)
    maps = []
    for channels in (1, 3):
        model = build(channels, levels=3)
        start_encoder(model, folder / FILES[0])
        maps.append(encoder_of(model).predict_on_batch(np.repeat(image, channels, axis=-1)))
    for grey, rgb in zip(*maps, strict=True):
        np.testing.assert_allclose(grey, rgb, rtol=1e-4, atol=1e-4)


@slow
def test_the_whole_u_is_saved_and_loaded(place):
    model, other = build(), build(size=(None, None))
    spread(model)
    model.save_weights("u.weights.h5")
    load_weights(other, "u.weights.h5")
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(InputError, match="u.weights.h5: not weights of this network: "):
        load_weights(build(levels=3), "u.weights.h5")


@slow
def test_a_file_of_another_network_is_refused(files, place):
    model = build()
    model.save_weights("u.weights.h5")
    # B1 is B0 with more layers, so that all of B0's have their like in it.
    build_encoder("EfficientNetV2B1").save_weights("b1.weights.h5")
    before = model.get_weights()
    for file in ("u.weights.h5", "b1.weights.h5"):
        with pytest.raises(InputError, match=f"{file}: not weights of {NAME}: .* there, "):
            start_encoder(model, file)
    for one, two in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_standardizes_in_a_file_is_left_there():
    stored = layers_of(build_encoder(NAME))
    numbers = [np.zeros(3), np.ones(3), np.zeros(())]  # as Keras's layer keeps them
    kept = Layer("normalization", "normalization", numbers)
    places = encoders.place_all(NAME, [kept, *stored], "a.h5")
    assert list(places.values()) == stored


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch):
    def fetch(name):
        raise Exception("URL fetch failure on https://nowhere: None")

    monkeypatch.setattr(encoders, "build_encoder", lambda name, **_: fetch(name))
    with pytest.raises(InputError) as refused:
        encoders.fetch_layers(NAME)
    assert str(refused.value) == (
        f"{NAME}: its weights of ImageNet could not be fetched (URL fetch failure on "
        "https://nowhere: None); pass --encoder-weights FILE that was fetched elsewhere, or none "
        "to start anew"
    )


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ((), {"encoder_weights": "none"}, "--encoder-weights none: this network has no encoder"),
        (
            (ENCODER,),
            {"encoder_weights": "there.h5"},
            "--encoder-weights there.h5: no such file; expect",
        ),
        ((ENCODER,), {"encoder_weights": "none", "weights": "a.h5"}, "--encoder-weights does not"),
        (("network.encoder=ResNet",), {}, "network.encoder 'ResNet': expected one of EfficientN"),
        (("recipe.standardize=raw",), {}, "recipe.standardize raw: raw images are for an encoder"),
        (
            (ENCODER, "recipe.standardize=set"),
            {},
            "recipe.standardize set: EfficientNetV2B0 takes",
        ),
        (
            (ENCODER, "network.padding=valid", "network.decoder_filters=4,6"),
            {},
            f"network.encoder {NAME}: replaces the whole encoder; pass --set "
            "network.padding=same network.decoder_filters= network.filters=4,6, too",
        ),
    ],
)
def test_what_does_not_go_with_an_encoder_is_refused(small, changes, options, message):
    with pytest.raises(InputError) as refused:
        small(*changes, **options)
    assert str(refused.value).startswith(message)
    assert not list(Path("weights").glob("*.h5"))


def test_images_that_are_too_small_are_refused():
    with pytest.raises(
        InputError, match="image height 16: EfficientNetV2B0 takes images of at least 32; "
    ):
        build(size=(16, 64))


def test_noises_right_side_gives_way_to_the_encoders():
    job = MODERN["noise"].change([ENCODER, "network.filters=4,6"])
    assert (job.network.filters, job.network.decoder_filters) == ((4, 6), ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "recipe.epochs=3"), "--set recipe.epochs=3: here expected network.FIELD=VALUE"),
        (("--set", ENCODER, "--export", "a.onnx"), "--set and --draw are for a job's network"),
        (
            ("--set", ENCODER),
            f"network.encoder {NAME}: replaces the whole encoder; pass --set "
            "network.dropout=0,0,0,0,0.5, too",
        ),
    ],
)
def test_the_summary_refuses_what_has_no_effect(arguments, message, place):
    assert refusal("model.py", "cadastre", *arguments).startswith(f"error: {message}")


def test_more_levels_than_the_encoder_has_are_refused():
    network = replace(MODERN["cadastre"].network, encoder=NAME, filters=(4,) * 6)
    with pytest.raises(InputError, match=f"6 levels, {NAME} 5; pass --set network.filters= with"):
        build_unet(replace(network, image_size=(64, 64)))


@slow
def test_a_training_starts_from_the_files_weights_and_its_run_predicts(small, files, capsys):
    source = str(files[0] / FILES[0])
    small(ENCODER, epochs=1, encoder_weights=source)
    assert f"{NAME}: weights of {source}" in capsys.readouterr().out
    record = json.loads(Path("weights/nerve.json").read_text())
    assert record["network"]["encoder"] == NAME
    assert record["recipe"]["standardize"] == "raw"
    assert (record["mean"], record["std"]) == (0, 1)
    run = load_run("nerve")
    image = np.random.default_rng(1).integers(0, 256, (50, 70, 1), dtype=np.uint8)
    assert predict_file(run, image).shape == (50, 70, 1)


@slow
def test_a_training_goes_on_as_in_one_go(small, files, place, capsys):
    source = str(files[0] / FILES[0])
    small(ENCODER, epochs=2, encoder_weights=source)
    expected = what_a_run_left(place, "nerve")
    shutil.rmtree("weights")
    small(ENCODER, epochs=1, encoder_weights=source)
    capsys.readouterr()
    train.train_predict(train.read_options({"job": "nerve", "resume": True, "epochs": 2}))
    assert NAME not in capsys.readouterr().out  # what it began with is behind it
    assert what_a_run_left(place, "nerve") == expected


@pytest.mark.parametrize(
    ("weights", "encoder_weights", "expected"),
    [
        (None, None, "imagenet"),
        (None, "none", None),
        (None, "a.h5", "a.h5"),
        ("run.h5", None, "run.h5"),
    ],
)
def test_a_runs_weights_take_imagenets_place(weights, encoder_weights, expected, monkeypatch):
    taken = []
    for name in ("start_encoder", "start_from"):
        monkeypatch.setattr(fit, name, lambda model, source: taken.append(source))
    network = replace(MODERN["cadastre"].network, encoder=NAME)
    fit.take_weights(None, network, weights, encoder_weights)
    assert taken == ([expected] if expected else [])


@slow
def test_weights_of_another_network_are_not_laid_into_an_encoder(files, place, capsys):
    model, other = build(), build()
    spread(other)
    other.save_weights("run.weights.h5")
    start_from(model, "run.weights.h5")
    assert "anew" not in capsys.readouterr().out
    for own, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(own, expected)
    plain = build_unet(replace(MODERN["cadastre"].network, filters=(4, 5), bottleneck=0))
    plain.save_weights("plain.weights.h5")
    with pytest.raises(InputError, match=f"plain.weights.h5: not of a network with the .* {NAME}"):
        start_from(model, "plain.weights.h5")


@slow
def test_imagenets_weights_come_through_keras(files, monkeypatch):
    folder, whole = files

    def fetched(name, shape=(None, None, 3), weights=None):
        network = build_encoder(name, shape)
        if weights == "imagenet":
            network.load_weights(folder / FILES[3])
        return network

    monkeypatch.setattr(encoders, "build_encoder", fetched)
    model = build(levels=1)
    start_encoder(model, "imagenet")
    kernel = encoder_of(model).get_layer("stem_conv").kernel
    np.testing.assert_array_equal(kernel, whole.get_layer("stem_conv").kernel)


def test_half_precision_rounds_the_images_no_more_than_their_grey_levels():
    with in_precision("mixed_bfloat16"):
        model = build(levels=1)
    image = np.random.default_rng(1).integers(0, 256, (1, 32, 64, 3)).astype(np.float32)
    standardized = np.asarray(encoder_of(model)(image)[0], np.float32)
    expected = (image / 255 - np.array(encoders.MEAN)) / np.array(encoders.STD)
    np.testing.assert_allclose(standardized, expected, atol=1e-5)
    assert model.get_layer(NAME).get_layer("stem_conv").compute_dtype == "bfloat16"


def test_normalization_is_of_the_whole_batch_on_several_devices(monkeypatch):
    def kinds():
        norms = [n for n in build_encoder(NAME).layers if isinstance(n, BatchNormalization)]
        return {layer.synchronized for layer in norms}

    assert kinds() == {False}
    monkeypatch.setattr(encoders, "num_replicas", lambda: 2)
    assert kinds() == {True}


@slow
def test_hosts_start_from_the_same_file(files, place):
    shared = [
        what_hosts_share(train.Options(encoder_weights=str(path)), FakeArrays())
        for path in (files[0] / FILES[0], files[0] / FILES[1], "imagenet")
    ]
    sources = [share["--encoder-weights"] for share in shared]
    assert len(set(sources)) == 3 and sources[2] == "imagenet"


class TestBenchmark:
    @slow
    def test_lite_takes_weights_of_its_own(self, place, monkeypatch):
        benchmark = importlib.import_module("benchmarks.encoder")
        monkeypatch.setitem(encoders.ENCODERS, benchmark.NAME, benchmark.build_lite)
        network = build_encoder(benchmark.NAME)
        spread(network)
        network.save_weights("lite.weights.h5")
        config = replace(MODERN["cadastre"].network, encoder=benchmark.NAME, bottleneck=0)
        model = build_unet(config)
        start_encoder(model, "lite.weights.h5")
        encoder = model.get_layer(benchmark.NAME)
        assert len(encoder.outputs) == 5
        for layer in (layer for layer in encoder.layers if layer.weights):
            for own, expected in zip(layer.weights, network.get_layer(layer.name).weights):
                np.testing.assert_array_equal(own, expected)

    def test_kernels_of_pytorch_become_those_of_keras(self):
        as_keras = importlib.import_module("benchmarks.encoder").as_keras
        kernel = np.arange(2 * 3 * 5 * 5).reshape(2, 3, 5, 5)
        assert as_keras(kernel, (5, 5, 3, 2))[1, 2, 0, 1] == kernel[1, 0, 1, 2]
        of_each_channel = np.arange(4 * 9).reshape(4, 1, 3, 3)
        assert as_keras(of_each_channel, (3, 3, 4, 1))[1, 2, 3, 0] == of_each_channel[3, 0, 1, 2]
        assert as_keras(np.ones((7, 4)), (4, 7)).shape == (4, 7)
        with pytest.raises(ValueError, match=r"\(5,\) in the package, \(6,\) here"):
            as_keras(np.ones(5), (6,))
