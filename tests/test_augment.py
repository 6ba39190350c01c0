"""Paired transforms and the border weights, against the paper's formulas."""

import cv2
import numpy as np
import pytest

from augment import border_weights, sample_window


def direct_border_weights(mask, w0=10.0, sigma=5.0):
    """The paper's equation 2, each pixel against each cell's pixels."""
    count, labels = cv2.connectedComponents(mask, connectivity=4)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    distances = [
        np.sqrt([(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in np.argwhere(labels == label)]).min(0)
        for label in range(1, count)
    ]
    share = (mask > 0).mean()
    balance = np.where(mask > 0, 0.5 / share, 0.5 / (1 - share))
    d1, d2 = np.sort(distances, axis=0)[:2]
    return balance + (mask == 0) * w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))


def cells(seed, size=(70, 60), count=9):
    rng, mask = np.random.default_rng(seed), np.zeros(size, np.uint8)
    for _ in range(count):
        centre = int(rng.integers(size[1])), int(rng.integers(size[0]))
        cv2.circle(mask, centre, int(rng.integers(2, 9)), 255, cv2.FILLED)
    return mask


@pytest.mark.parametrize("seed", range(5))
def test_border_weights_are_the_papers_formula(seed):
    mask = cells(seed)
    np.testing.assert_allclose(border_weights(mask), direct_border_weights(mask), atol=1e-5)


def test_a_gap_of_one_pixel_between_two_cells_weighs_most():
    mask = np.full((20, 21), 255, np.uint8)
    mask[:, 10] = 0
    gap = 0.5 / (1 / 21) + 10 * np.exp(-((1 + 1) ** 2) / 50)
    np.testing.assert_allclose(border_weights(mask)[:, 10], gap, rtol=1e-5)
    np.testing.assert_allclose(border_weights(mask)[:, :10], 0.5 / (20 / 21), rtol=1e-5)


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_of_one_class_weighs_1_everywhere(value):
    np.testing.assert_array_equal(border_weights(np.full((9, 9, 1), value, np.uint8)), 1)


def test_a_window_without_a_generator_is_the_middle_untouched():
    image = np.random.default_rng(0).integers(0, 256, (61, 80, 1), dtype=np.uint8)
    mask = image // 128 * 255
    part, part_mask = sample_window(image, mask, (40, 30))
    np.testing.assert_array_equal(part, image[11:51, 25:55])
    np.testing.assert_array_equal(part_mask, mask[11:51, 25:55])


def test_a_window_beyond_the_border_is_mirrored():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 1), dtype=np.uint8)
    part, _ = sample_window(image, image // 128 * 255, (52, 72))
    expected = np.pad(image, ((10, 10), (20, 20), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("seed", range(10))
def test_image_and_mask_of_a_chequerboard_move_alike(seed):
    y, x = np.mgrid[:128, :160] // 16
    board = ((y + x) % 2 * 255).astype(np.uint8)[..., None]
    rng = np.random.default_rng(seed)
    image, mask = sample_window(board, board, (120, 120), rng)
    assert set(np.unique(mask)) == {0, 255}
    low, high = np.percentile(image, [10, 90])  # the grey values of the fields, varied
    field = (np.abs(image - low) < 1e-3) | (np.abs(image - high) < 1e-3)  # not interpolated
    assert field.mean() > 0.7
    np.testing.assert_array_equal((image > (low + high) / 2)[field], (mask > 0)[field])
    assert not np.array_equal(mask, sample_window(board, board, (120, 120))[1])


def test_a_window_repeats_with_its_seed():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    first, again, other = (
        sample_window(image, image // 128 * 255, (48, 48), np.random.default_rng(seed))[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
