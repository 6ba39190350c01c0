"""Encoders of keras.applications: their maps, the files that they start from, a training with one
from its first step to its masks.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import longest, what_a_run_left

import train
from model import build_unet, load_run
from unet import encoders
from unet.encoders import begin_encoder, build_encoder, find_strides
from unet.errors import InputError
from unet.jobs import MODERN
from unet.prediction.predict import predict_file
from unet.training import fit
from unet.training.steps import image_bytes
from unet.weights import load_weights

NAME = "EfficientNetV2B0"
ENCODER = f"network.encoder={NAME}"
FILES = ("whole.weights.h5", "old.h5", "whole.keras", "headless.weights.h5")


def build(channels=3, levels=2, size=(32, 64)):
    """A narrow U-Net with an encoder."""
    changes = dict(filters=(4, 5, 6, 7, 8)[:levels], bottleneck=0, encoder=NAME)
    network = replace(MODERN["cadastre"].network, **changes, channels=channels, image_size=size)
    return build_unet(network)


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
        pytest.param("EfficientNetV2B3", (3, 16, 40, 224, 816, 1536), marks=longest),
    ],
)
def test_the_maps_are_the_last_at_each_stride(name, channels):
    strides = {stride: layer for layer, stride in find_strides(build_encoder(name))}
    assert list(strides) == [1, 2, 4, 8, 16, 32]
    assert tuple(layer.output.shape[-1] for layer in strides.values()) == channels


@pytest.mark.parametrize("size", [pytest.param((32, 64), marks=longest), (None, None)])
def test_the_u_has_maps_of_half_the_size_each(size):
    model = build(levels=5, size=size)
    image = np.zeros((1, 32, 64, 3), np.float32)
    maps = encoder_of(model).predict_on_batch(image)
    assert [m.shape[1:3] for m in maps] == [(32 // 2**n, 64 // 2**n) for n in range(6)]
    assert model.predict_on_batch(image).shape == (1, 32, 64, 1)


@pytest.mark.parametrize(
    ("file", "channels"), [*((file, 3) for file in FILES), (FILES[0], 1), (FILES[1], 4)]
)
def test_the_encoder_takes_the_layers_of_each_file(files, file, channels, capsys):
    folder, whole = files
    model = build(channels, levels=4)
    begin_encoder(model, folder / file)
    layers = [layer for layer in encoder_of(model).layers if layer.weights]
    assert (
        f"{NAME}: weights of {folder / file} for its {len(layers)} layers"
        in capsys.readouterr().out
    )
    for number, layer in enumerate(layers):
        expected = whole.get_layer(layer.name).get_weights()
        if number == 0 and channels == 4:
            expected[0] = np.repeat(expected[0].sum(axis=2, keepdims=True) / 4, 4, axis=2)
        for one, two in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-6)


def test_a_grey_image_is_an_rgb_image_of_equal_channels(files):
    folder, _ = files
    image = np.random.default_rng(1).uniform(0, 255, (1, 32, 64, 1)).astype(np.float32)
    maps = []
    for channels in (1, 3):
        model = build(channels, levels=3)
        begin_encoder(model, folder / FILES[0])
        maps.append(encoder_of(model).predict_on_batch(np.repeat(image, channels, axis=-1)))
    for grey, rgb in zip(*maps, strict=True):
        np.testing.assert_allclose(grey, rgb, rtol=1e-4, atol=1e-4)


def test_the_whole_u_is_saved_and_loaded(place):
    model, other = build(), build(size=(None, None))
    spread(model)
    model.save_weights("u.weights.h5")
    load_weights(other, "u.weights.h5")
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(InputError, match="u.weights.h5: not weights of this network: "):
        load_weights(build(levels=3), "u.weights.h5")


def test_a_file_of_another_network_is_refused(files, place):
    model = build()
    model.save_weights("u.weights.h5")
    # B1 is B0 with more layers, so that all of B0's have their like in it.
    build_encoder("EfficientNetV2B1").save_weights("b1.weights.h5")
    before = model.get_weights()
    for file in ("u.weights.h5", "b1.weights.h5"):
        with pytest.raises(InputError, match=f"{file}: not weights of {NAME}: .* there, "):
            begin_encoder(model, file)
    for one, two in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch):
    def fetch(name):
        raise Exception("URL fetch failure on https://nowhere: None\nmore")

    monkeypatch.setattr(encoders, "build_encoder", lambda name, **_: fetch(name))
    with pytest.raises(InputError) as refused:
        encoders.fetch_layers(NAME)
    assert str(refused.value) == (
        f"{NAME}: its weights of ImageNet could not be fetched (URL fetch failure on "
        "https://nowhere: None); pass --encoder-weights FILE that was fetched elsewhere, or none "
        "to start anew"
    )


def test_the_memory_of_a_step_counts_the_encoders_layers():
    parts = [encoder_of(build()), build()]
    assert 0 < image_bytes(parts[0]) < image_bytes(parts[1])


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ((), {"encoder_weights": "none"}, "--encoder-weights none: this network has no encoder"),
        ((ENCODER,), {"encoder_weights": "there.h5"}, "--encoder-weights there.h5: no such HDF5"),
        (("network.encoder=ResNet",), {}, "network.encoder 'ResNet': expected one of EfficientN"),
        (
            (ENCODER, "recipe.standardize=set"),
            {},
            "recipe.standardize set: EfficientNetV2B0 takes",
        ),
        ((ENCODER, "network.padding=valid"), {}, "network.encoder EfficientNetV2B0: pads and has"),
    ],
)
def test_what_does_not_go_with_an_encoder_is_refused(small, changes, options, message):
    with pytest.raises(InputError) as refused:
        small(*changes, **options)
    assert str(refused.value).startswith(message)
    assert not list(Path("weights").glob("*.h5"))


def test_images_that_are_too_small_are_refused():
    with pytest.raises(InputError, match="takes images of at least 32x32, and these are of 16x64"):
        build(size=(16, 64))


def test_more_levels_than_the_encoder_has_are_refused():
    network = replace(MODERN["cadastre"].network, encoder=NAME, filters=(4,) * 6)
    with pytest.raises(InputError, match=f"6 levels, {NAME} 5; pass --set network.filters= with"):
        build_unet(replace(network, image_size=(64, 64)))


@pytest.mark.parametrize("folds", [None, pytest.param(2, marks=longest)])
def test_a_training_starts_from_the_files_weights_and_its_run_predicts(
    small, files, folds, capsys
):
    source = str(files[0] / FILES[0])
    small(ENCODER, epochs=1, encoder_weights=source, folds=folds)
    assert capsys.readouterr().out.count(f"{NAME}: weights of {source}") == (folds or 1)
    record = json.loads(Path(f"weights/nerve{'.fold2' if folds else ''}.json").read_text())
    assert record["network"]["encoder"] == NAME
    assert record["recipe"]["standardize"] == "raw"
    assert (record["mean"], record["std"]) == (0, 1)
    run = load_run("nerve")
    image = np.random.default_rng(1).integers(0, 256, (50, 70, 1), dtype=np.uint8)
    assert predict_file(run, image).shape == (50, 70, 1)


@longest
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
        (None, None, ["imagenet"]),
        (None, "none", []),
        (None, "a.h5", ["a.h5"]),
        ("run.h5", None, ["run.h5"]),
        ("run.h5", "none", ["run.h5"]),
        ("run.h5", "imagenet", ["imagenet", "run.h5"]),
    ],
)
def test_weights_of_a_run_take_the_place_of_imagenets(
    weights, encoder_weights, expected, monkeypatch
):
    taken = []
    monkeypatch.setattr(fit, "begin_encoder", lambda model, source: taken.append(source))
    monkeypatch.setattr(fit, "start_from", lambda model, source: taken.append(source))
    fit.begin(build(levels=1), weights, encoder_weights)
    assert taken == expected
