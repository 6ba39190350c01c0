"""Images of any size: padding by mirroring, tiles, resizing."""

import numpy as np
import pytest

from jobs import InputError
from model import get_unet
from predict import Run, predict_arrays, predict_file, predict_image

SMALL = dict(image_size=(None, None), filters=(6, 8, 10), bottleneck=12, dropout=())


def unpadded():
    return get_unet("membrane", **SMALL)


def padded():
    return get_unet("nerve", **SMALL)


def noise(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [(97, 130), (64, 64), (31, 200), (1, 1)])
@pytest.mark.parametrize("tile", [92, 108, 140])
def test_tiles_of_an_unpadded_network_equal_the_whole(size, tile):
    model, image = unpadded(), noise(*size, 1)
    whole = predict_image(model, image, tile=1000)
    tiled = predict_image(model, image, tile=tile)
    assert whole.shape == (*size, 1)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_the_whole_of_an_unpadded_network_is_the_networks_own_output():
    model, image = unpadded(), noise(60, 76, 1)
    # Two convolutions lose 2 pixels of their level: 2 + 4 + 8 down, 16 below, 8 + 4 + 2 up.
    mirrored = np.pad(image, ((44, 44), (44, 44), (0, 0)), mode="reflect")
    expected = model.predict(mirrored[None], verbose=0)[0, ..., 1:]
    np.testing.assert_allclose(predict_image(model, image), expected[:60, :76], atol=1e-5)


def test_a_padded_network_gets_an_image_that_fits_as_it_is():
    model, image = padded(), noise(64, 80, 1)
    expected = model.predict(image[None], verbose=0)[0]
    np.testing.assert_allclose(predict_image(model, image), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (50, 61), (33, 8)])
def test_a_padded_network_gets_other_images_mirrored_to_the_next_size(size):
    model, image = padded(), noise(*size, 1)
    fill = [(0, -length % 8) for length in size]
    mirrored = np.pad(image, [*fill, (0, 0)], mode="reflect")
    expected = model.predict(mirrored[None], verbose=0)[0, : size[0], : size[1]]
    np.testing.assert_allclose(predict_image(model, image), expected, atol=1e-6)


def test_tiles_of_a_padded_network_equal_the_whole_where_they_overlap_by_its_reach():
    model, image = padded(), noise(200, 264, 1)
    whole = predict_image(model, image, tile=1000)
    tiled = predict_image(model, image, tile=144, overlap=56)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_a_network_for_rgb_takes_rgb():
    model = get_unet("cadastre", **SMALL)
    assert predict_image(model, noise(30, 45, 3)).shape == (30, 45, 1)


RECORD = {"mean": 100.0, "std": 50.0, "is_resized": False, "array_size": [32, 40]}


def test_a_batch_of_arrays_is_predicted_as_each_image_alone():
    run = Run(padded(), RECORD)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 40, 1), dtype=np.uint8)
    together = list(predict_arrays(run, images))
    for image, probability in zip(images, together):
        alone = predict_image(run.model, (image - np.float32(100)) / 50)
        np.testing.assert_allclose(probability, alone, atol=1e-5)
    some = list(predict_arrays(run, images, [3, 1]))
    np.testing.assert_allclose(some, [together[3], together[1]], atol=1e-5)


def test_a_file_is_resized_as_the_training_images_were_and_its_mask_back():
    run = Run(padded(), {**RECORD, "is_resized": True})
    image = np.random.default_rng(0).integers(0, 256, (96, 120, 1), dtype=np.uint8)
    small = image.reshape(32, 3, 40, 3).mean(axis=(1, 3))  # area averaging, a third of each length
    small = (np.floor(small + 0.5)[..., None] - 100) / 50
    expected = predict_image(run.model, small.astype(np.float32))
    got = predict_file(run, image)
    assert got.shape == (96, 120, 1)
    # linear enlarging by 3 leaves the value of each small pixel in the middle of its 3x3 block
    np.testing.assert_allclose(got[1::3, 1::3], expected, atol=1e-3)


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)
