"""Images of any size: padding by mirroring, tiles, resizing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_record

from model import build_unet
from unet.data.arrays import Arrays
from unet.errors import InputError
from unet.jobs import JOBS
from unet.jobs.settings import IGNORED, Reading
from unet.prediction.predict import predict_arrays, predict_file, predict_held_out, predict_image
from unet.prediction.run import Network, Run
from unet.prediction.scores import THRESHOLDS
from unet.prediction.scoring import Result, make_result, mean_masks, measure_held_out, score
from unet.runs import Decision

SMALL = dict(image_size=(None, None), filters=(6, 8, 10), bottleneck=12, dropout=())


CADASTRE, MEMBRANE, NERVE = (
    replace(JOBS[job].network, **SMALL) for job in ("cadastre", "membrane", "nerve")
)


class Prepared(Arrays):
    pixels_digest = ""  # as the records have it


def unpadded():
    return build_unet(MEMBRANE)


def padded():
    return build_unet(NERVE)


def noise(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [(97, 130), (64, 64), (31, 200), (1, 1)])
@pytest.mark.parametrize("tile", [92, 108, 140])
def test_tiles_of_an_unpadded_network_equal_the_whole(size, tile):
    model, image = unpadded(), noise(*size, 1)
    whole = predict_image(model, MEMBRANE, image, tile=1000)
    tiled = predict_image(model, MEMBRANE, image, tile=tile)
    assert whole.shape == (*size, 1)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_the_whole_of_an_unpadded_network_is_the_networks_own_output():
    model, image = unpadded(), noise(60, 76, 1)
    # Two convolutions lose 2 pixels of their level: 2 + 4 + 8 down, 16 below, 8 + 4 + 2 up.
    mirrored = np.pad(image, ((44, 44), (44, 44), (0, 0)), mode="reflect")
    expected = model.predict(mirrored[None], verbose=0)[0, ..., 1:]
    np.testing.assert_allclose(
        predict_image(model, MEMBRANE, image), expected[:60, :76], atol=1e-5
    )


def test_a_padded_network_gets_an_image_that_fits_as_it_is():
    model, image = padded(), noise(64, 80, 1)
    expected = model.predict(image[None], verbose=0)[0]
    np.testing.assert_allclose(predict_image(model, NERVE, image), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (50, 61), (33, 8)])
def test_a_padded_network_gets_other_images_mirrored_to_the_next_size(size):
    model, image = padded(), noise(*size, 1)
    fill = [(0, -length % 8) for length in size]
    mirrored = np.pad(image, [*fill, (0, 0)], mode="reflect")
    expected = model.predict(mirrored[None], verbose=0)[0, : size[0], : size[1]]
    np.testing.assert_allclose(predict_image(model, NERVE, image), expected, atol=1e-6)


@pytest.mark.parametrize(("encoder", "overlap"), [("", 64), ("EfficientNetV2B0", 128)])
def test_tiles_overlap_as_far_as_the_network_sees(encoder, overlap):
    config, sizes = replace(JOBS["cadastre"].network, encoder=encoder, dropout=()), []

    class Model:
        def predict_on_batch(self, part):
            sizes.append(part.shape[2])
            return np.zeros((*part.shape[:3], 1), np.float32)

    predict_image(Model(), config, np.zeros((16, 900, 1), np.float32), tile=600)
    assert sizes == 2 * [math.ceil((900 + 2 * overlap) / 2 / 16) * 16]


def test_tiles_of_a_padded_network_equal_the_whole_where_they_overlap_by_its_reach():
    model, image = padded(), noise(200, 264, 1)
    whole = predict_image(model, NERVE, image, tile=1000)
    tiled = predict_image(model, NERVE, image, tile=144, overlap=56)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_a_network_for_rgb_takes_rgb():
    model = build_unet(CADASTRE)
    assert predict_image(model, CADASTRE, noise(30, 45, 3)).shape == (30, 45, 1)


RECORD = make_record(mean=100.0, std=50.0, array_size=(32, 40), network=NERVE)


def alone(model, record, symmetry="none"):
    return Run((Network(model, record),), Decision(), symmetry)


def test_a_batch_of_arrays_is_predicted_as_each_image_alone():
    run = alone(padded(), RECORD)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 40, 1), dtype=np.uint8)
    together = list(predict_arrays(run, images))
    for image, probability in zip(images, together):
        one = predict_image(run.networks[0].model, NERVE, (image - np.float32(100)) / 50)
        np.testing.assert_allclose(probability, one, atol=1e-5)
    some = list(predict_arrays(run, images, [3, 1]))
    np.testing.assert_allclose(some, [together[3], together[1]], atol=1e-5)


def test_a_file_is_resized_as_the_training_images_were_and_its_mask_back():
    run = alone(padded(), replace(RECORD, is_resized=True))
    image = np.random.default_rng(0).integers(0, 256, (96, 120, 1), dtype=np.uint8)
    small = image.reshape(32, 3, 40, 3).mean(axis=(1, 3))  # area averaging, a third of each length
    small = (np.floor(small + 0.5)[..., None] - 100) / 50
    expected = predict_image(run.networks[0].model, NERVE, small.astype(np.float32))
    got = predict_file(run, image)
    assert got.shape == (96, 120, 1)
    # linear enlarging by 3 leaves the value of each small pixel in the middle of its 3x3 block
    np.testing.assert_allclose(got[1::3, 1::3], expected, atol=1e-3)


def test_predictions_are_averaged_over_turns_and_flips():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 1), dtype=np.uint8)
    model = padded()
    run = alone(model, RECORD, "turns")
    expected = 0
    for flip in (False, True):
        for turns in range(4):
            moved = np.rot90(images[:, :, ::-1] if flip else images, turns, (1, 2))
            p = np.stack(list(predict_arrays(alone(model, RECORD), moved)))
            p = np.rot90(p, -turns, (1, 2))
            expected = expected + (p[:, :, ::-1] if flip else p) / 8
    got = np.stack(list(predict_arrays(run, images)))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    # and so the prediction of a turned image is the image's prediction, turned
    turned = np.stack(list(predict_arrays(run, np.rot90(images, 1, (1, 2)))))
    np.testing.assert_allclose(np.rot90(turned, -1, (1, 2)), got, atol=1e-5)


def test_folds_are_averaged_each_with_its_own_scale():
    networks = [Network(padded(), RECORD), Network(padded(), replace(RECORD, mean=90.0, std=40.0))]
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 40, 1), dtype=np.uint8)
    each = [np.stack(list(predict_arrays(Run((n,), Decision()), images))) for n in networks]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    both = np.stack(list(predict_arrays(Run(tuple(networks), Decision()), images)))
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=1e-6)


@pytest.fixture
def two_folds():
    """A run of two folds, and the arrays of five images that it was trained on."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 32, 40, 1), dtype=np.uint8)
    masks = np.where(rng.random((5, 32, 40, 1)) < 0.4, np.uint8(255), np.uint8(0))
    masks[3] = 0
    files = [{"id": name, "image": f"images/{name}.png"} for name in "abcde"]
    held_out = (["b", "e"], ["a", "c", "d"])
    networks = tuple(Network(padded(), replace(RECORD, validation=ids)) for ids in held_out)
    return Run(networks, Decision()), Prepared(images, masks, images[:0], files, [])


def test_each_held_out_image_is_predicted_by_the_network_that_did_not_see_it(two_folds):
    run, arrays = two_folds
    got = dict(predict_held_out(run, arrays))
    assert sorted(got) == [0, 1, 2, 3, 4]
    for row, fold in ((1, 0), (4, 0), (0, 1), (2, 1), (3, 1)):
        one = Run((run.networks[fold],), Decision())
        expected = next(iter(predict_arrays(one, arrays.images, [row])))
        np.testing.assert_allclose(got[row], expected, atol=1e-6)


def test_the_counts_of_held_out_images_are_those_of_each_threshold(two_folds):
    run, arrays = two_folds
    measured = measure_held_out(run, arrays)
    predicted = dict(predict_held_out(run, arrays))
    for number, row in enumerate(predicted):
        truth = arrays.masks[row] > 0
        assert measured.fold[number] == (0 if row in (1, 4) else 1)
        assert measured.truth[number] == truth.sum()
        for column, threshold in enumerate(THRESHOLDS):
            mask = predicted[row] > threshold
            assert measured.predicted[number, column] == mask.sum()
            assert measured.right[number, column] == (mask & truth).sum()


def with_ids(run, arrays, ids):
    """A run and arrays whose rows, of one file, have these ids in place of a to e."""
    new = dict(zip("abcde", ids))
    networks = [
        replace(n, record=replace(n.record, validation=[new[id] for id in n.record.validation]))
        for n in run.networks
    ]
    files = [{"id": id, "image": "images/a.tif"} for id in ids]
    return replace(run, networks=tuple(networks)), replace(arrays, files=files)


def test_tiles_of_one_image_are_counted_together_and_pages_of_a_file_apart(two_folds):
    """Rows b and e are held out by the first network, a, c and d by the second."""
    ids = ("1_2/0_0_0", "1_2/0_0_40", "1_2/1_0_0", "1_2/0_32_0", "1_2/0_32_40")
    run, arrays = with_ids(*two_folds, ids)
    measured = measure_held_out(run, arrays)
    alone = measure_held_out(*two_folds)  # rows 1, 4, 0, 2, 3
    assert measured.fold.tolist() == [0, 1, 1]
    for field in ("truth", "predicted", "right", "num_pixels"):
        rows, images = getattr(alone, field), getattr(measured, field)
        np.testing.assert_array_equal(images[0], rows[0] + rows[1])
        np.testing.assert_array_equal(images[1], rows[2] + rows[4])
        np.testing.assert_array_equal(images[2], rows[3])
    run, arrays = with_ids(*two_folds, ("s_1/0", "s_1/1", "s_1/2", "s_1/3", "s_1/4"))
    assert len(measure_held_out(run, arrays).fold) == 5


def test_the_mean_mask_of_a_fold_is_of_the_images_that_its_network_saw(two_folds):
    run, arrays = two_folds
    masks = arrays.masks // 255
    white = masks[..., 0] == 1
    masks[0, 3] = masks[2, 3] = IGNORED
    reading = Reading(ignore=(9,))
    means = dict(mean_masks(run, replace(arrays, masks=masks, reading=reading)))
    assert list(means) == [1, 4, 0, 2, 3]
    expected = white[[0, 2, 3]].mean(axis=0)
    expected[3] = white[3, 3]  # the others do not count
    np.testing.assert_allclose(means[1][..., 0], expected)
    np.testing.assert_allclose(means[0][..., 0], white[[1, 4]].mean(axis=0))
    assert means[4] is means[1] and means[3] is means[0]


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


# ---- pixels that do not count

TRUTH = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [IGNORED, IGNORED, IGNORED, IGNORED]], np.uint8)


def result_of(prediction, truth=TRUTH):
    prediction = np.array(prediction, np.uint8)
    return Result("a", prediction[..., None], prediction[..., None] / 1.0, prediction, truth)


@pytest.mark.parametrize("below", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]])
def test_a_score_is_of_the_pixels_that_count(below):
    scores, confusion = score(result_of([[1, 0, 1, 0], [1, 0, 1, 0], below]))
    assert scores == pytest.approx((2 * 2 / (3 + 4), 2 / 5, 3 / 8, 2 / 4, 2 / 3))
    assert confusion.tolist() == [[3, 2], [1, 2]]


def test_an_image_of_which_nothing_counts_scores_1_and_no_error():
    nothing = np.full_like(TRUTH, IGNORED)
    scores, confusion = score(result_of(np.ones_like(TRUTH), nothing), 3)
    assert scores == (1, 1, 0, 1, 1)
    assert confusion.tolist() == [[0, 0, 0]] * 3


def test_a_smallest_area_is_judged_by_the_pixels_that_count():
    """Two of eight, whatever the other four are."""
    for below in (0.0, 0.9):
        probability = np.zeros((3, 4, 1), np.float32)
        probability[0, :2], probability[2] = 0.9, below
        for min_area, kept in ((0.25, 2), (0.26, 0)):
            run = Run((), Decision(0.5, min_area))
            result = make_result(run, "a", probability, probability, TRUTH)
            assert result.prediction[:2].sum() == kept


def test_held_out_images_are_counted_without_what_does_not_count(two_folds):
    run, arrays = two_folds
    masks = arrays.masks // 255
    masks[:, 5:20] = IGNORED
    masks[2] = IGNORED
    measured = measure_held_out(run, replace(arrays, masks=masks, reading=Reading(ignore=(9,))))
    predicted = dict(predict_held_out(run, arrays))
    for number, row in enumerate(predicted):
        counted = masks[row] != IGNORED
        truth = masks[row] == 1
        assert measured.num_pixels[number] == counted.sum()
        assert measured.truth[number] == truth.sum()
        for column, threshold in enumerate(THRESHOLDS):
            mask = (predicted[row] > threshold) & counted
            assert measured.predicted[number, column] == mask.sum()
            assert measured.right[number, column] == (mask & truth).sum()
    number = list(predicted).index(2)
    for min_area in (0.0, 0.5):
        assert measured.dice(Decision(0.5, min_area))[number] == 1
    assert 0 <= measured.choose().min_area <= 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((32, 40), np.uint8), r"shape \(32, 40\): expected \(H, W, 1\), grey"),
        (np.zeros((32, 40, 3), np.uint8), r"shape \(32, 40, 3\): expected \(H, W, 1\), grey"),
        (np.zeros((1, 32, 40, 1), np.uint8), r"shape \(1, 32, 40, 1\): expected"),
        (np.zeros((0, 40, 1), np.uint8), r"shape \(0, 40, 1\): expected"),
        (np.zeros((32, 40, 1), np.float32), "image of float32: expected uint8, 0 to 255"),
        (np.zeros((32, 40, 1), np.uint16), "image of uint16: expected uint8, 0 to 255"),
    ],
)
def test_an_array_that_is_no_image_of_the_run_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        predict_file(alone(padded(), RECORD), image)


def test_an_array_of_more_than_8_bit_has_the_levels_of_the_training():
    deep = replace(RECORD, reading=Reading(white_level=4095.0))
    run, image = alone(padded(), deep), np.random.default_rng(0).integers(0, 256, (32, 40, 1))
    deeper = np.rint(image * 4095 / 255).astype(np.uint16)
    expected = predict_file(run, image.astype(np.uint8))
    assert np.array_equal(predict_file(run, deeper), expected)
