"""Run-length code and the competition's score, against Kaggle's own words and figures."""

import numpy as np
import pytest

from submission import run_length_enc
from unet.prediction.submit import image_dice
from unet.reading.run_length import run_length_dec


def test_pixels_are_numbered_from_1_down_the_columns():
    mask = np.zeros((4, 3), np.uint8)  # Kaggle's example: "1 3 10 5" means pixels 1,2,3,10,...,14
    mask[0:3, 0] = 255
    mask[1:4, 2] = 255
    assert run_length_enc(mask, min_pixels=0) == "1 3 10 3"
    assert run_length_enc(mask, columns_first=False, min_pixels=6) == "1 1 4 1 6 2 9 1 12 1"


@pytest.mark.parametrize(("pixels", "code"), [(0, ""), (9, ""), (10, "2 10")])
def test_a_mask_of_fewer_than_10_pixels_is_empty(pixels, code):
    mask = np.zeros((13, 9), np.uint8)
    mask[1 : 1 + pixels, 0] = 1
    assert run_length_enc(mask) == code


def test_kaggles_example_reads_as_kaggle_says():
    pixels = np.flatnonzero(run_length_dec("1 3 10 5", 4, 5).ravel("F")) + 1
    assert pixels.tolist() == [1, 2, 3, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("columns_first", [True, False])
@pytest.mark.parametrize("density", [0, 0.01, 0.5, 0.99, 1])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (13, 17), (420, 580)])
def test_a_random_mask_comes_back(size, density, columns_first):
    mask = np.random.default_rng(1).random(size) < density
    code = run_length_enc(mask, columns_first, min_pixels=0)
    np.testing.assert_array_equal(run_length_dec(code, *size, columns_first), mask)
    numbers = list(map(int, code.split()))
    assert sum(numbers[1::2]) == mask.sum()


@pytest.mark.parametrize(
    "code",
    [
        "5",
        "1 2 3",
        "a b",
        "0 4",
        "1 0",
        "-3 4",
        "95 7",
        "1 5 3 2",
        "9 2 1 2",
        "1.5 2",
        "9" * 30 + " 1",
        "1 " + "9" * 18,
    ],
)
def test_a_code_that_is_none_is_refused(code):
    with pytest.raises(ValueError, match="run-length code"):
        run_length_dec(code, 10, 10)


def test_the_score_of_an_image_is_dice_with_empty_against_empty_1():
    size = (10, 10)
    lines = [("1", "1 10", size), ("2", "", size), ("3", "", size), ("4", "1 4", size)]
    truth = {"1": "6 10", "2": "", "3": "1 5", "4": "1 4", "5": ""}
    scores = [image_dice(*line, truth, True) for line in lines]
    assert scores == pytest.approx([2 * 5 / 20, 1, 0, 1])


def test_an_image_without_truth_is_named():
    with pytest.raises(ValueError, match="no line for image 7"):
        image_dice("7", "", (4, 4), {}, True)
