"""Paired transforms and the border weights, against the paper's formulas."""

import itertools
import time

import cv2
import numpy as np
import pytest
from conftest import sample_window

from unet.data.augment import (
    Draws,
    border_weights,
    cut_windows,
    draw_middle,
    draw_windows,
    window_maps,
)
from unet.jobs.settings import IGNORED, SYMMETRIES, Augmentation


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


PAPER = Augmentation(shift=0.5, rotation=180, elastic=10, contrast=0.1, brightness=0.1)
SHAPES = (  # what moves pixels, alone and together
    Augmentation(symmetry="turns"),
    Augmentation(shift=0.5, wrap=True),
    Augmentation(rotation=30, scale=0.3),
    Augmentation(elastic=10),
    Augmentation("turns", 0.2, False, 180, 0.5, 10),
)


def draw(image, mask, window, augmentation, seed):
    return sample_window(image, mask, window, augmentation, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("augmentation", SHAPES, ids=str)
def test_image_and_mask_of_a_chequerboard_move_alike_to_the_pixel(augmentation, seed):
    y, x = np.mgrid[:128, :160] // 16
    board = ((y + x) % 2 * 255).astype(np.uint8)[..., None]
    image, mask = draw(board, board, (120, 120), augmentation, seed)
    assert set(np.unique(mask)) == {0, 255}
    np.testing.assert_array_equal(image > 127.5, mask > 0)


def test_windows_move():
    board = np.random.default_rng(0).integers(0, 2, (128, 160, 1), dtype=np.uint8) * 255
    for augmentation in SHAPES:
        masks = {draw(board, board, (64, 64), augmentation, s)[1].tobytes() for s in range(20)}
        assert len(masks) == 20


@pytest.mark.parametrize(
    ("name", "count"), [("none", 1), ("mirror", 2), ("flips", 4), ("turns", 8)]
)
def test_turns_and_flips_are_exact_and_all_there(name, count):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    mask = image[..., :1] // 128 * 255
    expected = {
        np.rot90(image[:, ::-1] if flip else image, turns).tobytes()
        for turns, flip in SYMMETRIES[name]
    }
    assert len(expected) == count
    seen = set()
    for seed in range(60):
        window, window_mask = draw(image, mask, (40, 40), Augmentation(symmetry=name), seed)
        np.testing.assert_array_equal(window_mask, window[..., :1] // 128 * 255)
        seen.add(window.astype(np.uint8).tobytes())
    assert seen == expected


@pytest.mark.parametrize("seed", range(5))
def test_what_is_shifted_out_on_one_side_comes_in_on_the_other(seed):
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 1), dtype=np.uint8)
    window, mask = draw(image, image // 128 * 255, (32, 48), SHAPES[1], seed)
    shifts = [np.roll(image, (dy, dx), (0, 1)).tobytes() for dy in range(32) for dx in range(48)]
    assert window.astype(np.uint8).tobytes() in shifts
    np.testing.assert_array_equal(mask, window // 128 * 255)


@pytest.mark.parametrize("name", ["contrast", "brightness", "gamma", "color"])
def test_grey_values_change_and_the_mask_does_not(name):
    image = np.random.default_rng(0).integers(50, 200, (64, 64, 3), dtype=np.uint8)
    mask = image[..., :1] // 128 * 255
    window, window_mask = draw(image, mask, (64, 64), Augmentation(**{name: 0.5}), 3)
    np.testing.assert_array_equal(window_mask, mask)
    assert window.dtype == np.float32
    assert np.isfinite(window).all()
    assert 0.1 < np.abs(window - image).mean() < 120


def test_colors_change_channel_by_channel():
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 64, 3)).copy()
    window, _ = draw(ramp, ramp[..., :1] * 0, (64, 64), Augmentation(color=0.3), 1)
    lines = [np.polyfit(ramp[..., c].ravel(), window[..., c].ravel(), 1) for c in range(3)]
    for channel, (gain, offset) in enumerate(lines):
        expected = gain * ramp[..., channel].astype(np.float32) + offset
        np.testing.assert_allclose(window[..., channel], expected, atol=1e-3)
    assert len({round(gain, 3) for gain, _ in lines}) == 3


def test_displacements_have_the_papers_spread():
    ramp = np.minimum(np.arange(400), 255).astype(np.uint8)
    ramp = np.broadcast_to(ramp[None, :, None], (400, 400, 1)).copy()
    moved = []
    for seed in range(300):
        window, _ = draw(ramp, ramp * 0, (400, 400), Augmentation(elastic=10), seed)
        moved.append(window[200, 64, 0] - 64)
    # Between the 3x3 points the displacement is bicubic: a sum of theirs with these weights.
    weights = cv2.resize(np.eye(3, dtype=np.float32), (3, 400), interpolation=cv2.INTER_CUBIC)
    expected = 10 * np.linalg.norm(weights[64]) * np.linalg.norm(weights[200])
    assert np.std(moved) == pytest.approx(expected, rel=0.15)


def test_a_window_repeats_with_its_seed():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    first, again, other = (
        draw(image, image // 128 * 255, (48, 48), PAPER, seed)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_border_weights_of_200_cells_take_a_moment():
    mask = np.zeros((512, 512), np.uint8)
    for number in range(210):
        y, x = divmod(number, 15)
        cv2.circle(mask, (17 + 34 * x, 17 + 36 * y), 14, 255, cv2.FILLED)
    assert cv2.connectedComponents(mask, connectivity=4)[0] > 200
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            border_weights(mask)
            seconds.append(time.perf_counter() - start)
    finally:
        cv2.setNumThreads(threads)
    assert min(seconds) < 0.1


@pytest.mark.parametrize("augmentation", SHAPES, ids=str)
def test_pixels_that_do_not_count_move_like_the_mask_and_take_no_others_value(augmentation):
    y, x = np.mgrid[:128, :160] // 16
    values = np.array([0, 1, IGNORED], np.uint8)
    image = values[(y + 2 * x) % 3][..., None]
    ignored = image == IGNORED
    plain = 255 * ignored.astype(np.uint8)
    for seed in range(5):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        mask = sample_window(image, image, (90, 90), augmentation, rngs[0], has_numbers=True)[1]
        assert set(np.unique(mask)) == {0, 1, IGNORED}
        expected = sample_window(image, plain, (90, 90), augmentation, rngs[1])[1]
        np.testing.assert_array_equal(mask == IGNORED, expected > 0)


def test_beside_pixels_that_do_not_count_the_nearer_of_the_others_decides():
    """A row of both, moved by a quarter of a pixel and by three quarters."""
    mask = np.array([[1, 1, IGNORED, IGNORED, 0, 0]], np.uint8)[..., None]
    for shift, expected in ((0.25, mask[0, :5, 0]), (0.75, mask[0, 1:, 0])):
        draws = Draws(np.eye(2, dtype=np.float32)[None], np.float32([[2 + shift, 0]]))
        moved = cut_windows([(mask, mask)], draws, (1, 5), has_numbers=True)[1]
        np.testing.assert_array_equal(moved[0, 0, :, 0], expected)


def test_class_numbers_that_do_not_count_move_as_the_others_do():
    numbers = np.random.default_rng(0).integers(0, 3, (40, 40, 1), dtype=np.uint8)
    numbers[numbers == 2] = IGNORED
    turns = Augmentation(symmetry="turns")
    for seed in range(5):
        rng = np.random.default_rng(seed)
        moved, mask = sample_window(numbers, numbers, (40, 40), turns, rng, True, has_numbers=True)
        np.testing.assert_array_equal(mask, moved)


def remap_alone(part, maps, kind, border):
    """What cut_windows does in fewer calls and copies: OpenCV's remap of one part, as float32."""
    moved = cv2.remap(part.astype(np.float32), *maps, kind, borderMode=border)
    return moved.reshape(*maps[0].shape, -1)


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (150, 141)])
@pytest.mark.parametrize("augmentation", [*SHAPES, Augmentation("turns", 0.5, True, 5)], ids=str)
def test_windows_are_those_of_a_remap_of_each_part_by_itself_to_the_bit(augmentation, size):
    """Of odd and even sizes, inside and beyond the image, grey and RGB, of all that masks hold."""
    rng = np.random.default_rng(0)
    border = cv2.BORDER_WRAP if augmentation.wrap else cv2.BORDER_REFLECT_101
    for channels, has_classes, has_numbers, window in itertools.product(
        (1, 3), (False, True), (False, True), ((64, 48), (33, 64))
    ):
        image = rng.integers(0, 256, (*size, channels), np.uint8)
        values = np.array([0, 1, IGNORED] if has_numbers else [0, 255], np.uint8)
        mask = values[rng.integers(0, len(values), (*size, 1))]
        grey = np.array([0, 255, 128])[np.searchsorted(values, mask)]
        weights = rng.random(size, np.float32)
        draws = draw_windows(image.shape, window, augmentation, [np.random.default_rng(1)])
        found = cut_windows(
            [(image, mask, weights)], draws, window, augmentation.wrap, has_classes, has_numbers
        )
        maps = window_maps(draws, 0, window)
        linear = [remap_alone(p, maps, cv2.INTER_LINEAR, border) for p in (image, grey, weights)]
        if has_classes:
            expected = remap_alone(mask, maps, cv2.INTER_NEAREST, border)
        else:
            expected = np.where(linear[1] > 127.5, values[1], 0)
            if has_numbers:
                ignored = 255 * (mask == IGNORED)
                expected[remap_alone(ignored, maps, cv2.INTER_LINEAR, border) > 127.5] = IGNORED
        np.testing.assert_array_equal(found[0][0], linear[0])
        np.testing.assert_array_equal(found[1][0], expected)
        np.testing.assert_array_equal(found[2][0], linear[2][..., 0])


def test_a_batch_of_windows_is_its_windows_one_by_one():
    rng = np.random.default_rng(0)
    everything = Augmentation("turns", 0.2, False, 180, 0.5, 10, 0.1, 0.1, 0.3, 0.2)
    rows = [
        (im, im[..., :1] // 128 * 255) for im in rng.integers(0, 256, (3, 60, 50, 3), np.uint8)
    ]
    draws = draw_windows((60, 50, 3), (48, 40), everything, map(np.random.default_rng, range(3)))
    together = cut_windows(rows, draws, (48, 40))
    for number, row in enumerate(rows):
        rng = np.random.default_rng(number)
        for whole, alone in zip(together, sample_window(*row, (48, 40), everything, rng)):
            np.testing.assert_array_equal(whole[number], alone)


def test_the_middle_is_drawn_without_a_change():
    draws = draw_middle((61, 80, 1), (40, 30), 2)
    assert draws.matrix.shape == (2, 2, 2) and draws.centre.tolist() == [[39.5, 30.5]] * 2
    assert draws[2:] == (None,) * 6
