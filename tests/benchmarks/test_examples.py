"""The pictures of the README: what is drawn for them against arithmetic, and one tiny run."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import run_well, slow

import data
from benchmarks import examples, scenes, shapes
from unet.data.arrays import load_arrays
from unet.errors import InputError
from unet.jobs import MODERN, RECIPES
from unet.prediction.scoring import Result

DRAW = {
    "nerve": (scenes.draw_nerve, (2, 4)),
    "car": (scenes.draw_car, (2, 4)),
    "cadastre": (scenes.draw_cadastre, (2,)),
    "membrane": (scenes.draw_membrane, (2,)),
}


def grown(mask, pixels):
    return cv2.dilate(mask, np.ones((2 * pixels + 1, 2 * pixels + 1))) > 0


def shrunk(mask, pixels):
    return cv2.erode(mask, np.ones((2 * pixels + 1, 2 * pixels + 1))) > 0


class TestScenes:
    @pytest.mark.parametrize("job", DRAW)
    def test_a_number_and_a_seed_make_one_image_and_a_mask_of_0_and_255(self, job):
        draw, numbers = DRAW[job]
        image, mask = draw(1, *numbers)
        assert image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 255}
        assert image.shape[:2] == mask.shape
        for one, other in zip((image, mask), draw(1, *numbers)):
            np.testing.assert_array_equal(one, other)
        assert (draw(2, *numbers)[1] != mask).any()

    def test_without_the_car_no_pixel_beside_its_mask_is_another(self, monkeypatch):
        image, mask = scenes.draw_car(1, 3, 2)
        monkeypatch.setattr(
            scenes.Pose, "place", lambda self, points: np.full(np.shape(points), 1e4)
        )
        empty, nothing = scenes.draw_car(1, 3, 2)
        assert not nothing.any()
        is_other = (image != empty).any(axis=2)
        assert not is_other[~grown(mask, 6)].any()  # as far as the lens blurs
        assert is_other[mask > 0].mean() > 0.95

    def test_without_roads_no_pixel_beside_their_mask_is_another(self, monkeypatch):
        image, mask = scenes.draw_cadastre(1, 4)
        stroke = scenes.stroke

        def stroke_masks(canvas, *arguments):
            if canvas.ndim == 2:
                stroke(canvas, *arguments)

        monkeypatch.setattr(scenes, "stroke", stroke_masks)
        empty, same = scenes.draw_cadastre(1, 4)
        np.testing.assert_array_equal(same, mask)
        is_other = (image != empty).any(axis=2)
        assert not is_other[~grown(mask, 6)].any()
        assert is_other[mask > 0].mean() > 0.5  # the rest is under trees

    def test_membranes_are_darker_than_cells(self):
        image, mask = scenes.draw_membrane(1, 1)
        assert image[shrunk(255 - mask, 1)].mean() < image[shrunk(mask, 1)].mean() - 40

    def test_a_patient_shows_the_nerve_in_some_frames_and_the_rest_in_all(self):
        frames = [scenes.draw_nerve(1, 1, frame) for frame in range(1, 12)]
        has_nerve = [mask.any() for _, mask in frames]
        assert 0 < sum(has_nerve) < len(frames)
        with_nerve, without = has_nerve.index(True), has_nerve.index(False)
        mask = frames[with_nerve][1]
        smooth = [cv2.blur(np.float32(frames[row][0]), (15, 15)) for row in (with_nerve, without)]
        change = np.abs(smooth[0] - smooth[1])
        assert change[mask > 0].mean() > 1.5 * change[~grown(mask, 30)].mean()


class TestShapes:
    def test_an_oval_has_the_area_of_an_ellipse(self):
        area = (shapes.oval((200, 300), (100, 150), (40, 80)) < 1).sum()
        assert area == pytest.approx(np.pi * 40 * 80, rel=0.01)
        turned = shapes.oval((200, 300), (100, 150), (40, 80), 90)
        upright = shapes.oval((200, 300), (100, 150), (80, 40))
        np.testing.assert_allclose(turned, upright, atol=1e-4)

    def test_two_seeds_share_their_distance(self):
        label, gap = shapes.nearest_two((5, 41), [(2, 10), (2, 30)])
        x = np.arange(41)
        np.testing.assert_array_equal(label[2], x > 20)
        np.testing.assert_allclose(gap[2], np.abs(np.abs(x - 10) - np.abs(x - 30)))

    def test_a_road_covers_its_width(self):
        mask = np.zeros((200, 200), np.uint8)
        shapes.stroke(mask, [(-20, -20), (220, 220)], 25, 255)
        assert (mask > 0).sum() == pytest.approx(200 * np.sqrt(2) * 25, rel=0.02)

    def test_a_filled_polygon_has_its_area_and_half_of_its_border(self):
        points = shapes.rounded(np.array([(10.0, 20.0), (150.0, 30.0), (120.0, 90.0)]))
        x, y = points.T
        mask = np.zeros((120, 200), np.uint8)
        shapes.fill(mask, points, 255)
        area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
        border = np.hypot(*(points - np.roll(points, 1, axis=0)).T).sum()
        assert (mask > 127).sum() == pytest.approx(area + border / 2, rel=0.02)


class TestPictures:
    def result(self, name, truth):
        mask = np.zeros((96, 128), np.uint8)
        mask[:, :40] = truth
        return Result(name, np.full((96, 128, 1), 80, np.uint8), mask[..., None] * 1.0, mask, mask)

    def test_best_middle_and_worst_are_of_images_with_a_foreground(self):
        values = {"a": 0.2, "b": 0.9, "c": 0.5, "d": 0.0, "e": 0.7}
        scored = [(dice, self.result(name, 1)) for name, dice in values.items()]
        scored += [(1.0, self.result("empty", 0))]
        chosen = examples.choose(scored)  # middle of 0.9, 0.7, 0.5, 0.2, 0.0
        assert [one.id for _, one in chosen] == ["b", "c", "d"]
        assert [one.id for _, one in examples.choose(scored[-1:])] == ["empty"] * 3

    def test_a_row_has_four_panels_of_256_pixels_in_frames(self):
        picture = examples.draw_rows([(1.0, self.result("a", 1))] * 3)
        assert picture.shape == (3 * (22 + 192 + 4), 4 * (256 + 8), 3)
        truth = picture[22:214, 264 + 4 : 528 - 4]
        assert truth[:, :80].min() == 255
        assert truth[:, 80:].max() == 0

    def test_noise_is_rounded_until_its_file_is_small(self, place):
        noise = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)
        examples.write_small(place / "noise.png", noise)
        assert Path("noise.png").stat().st_size < 300_000
        read = cv2.imread("noise.png")[..., ::-1]
        assert np.abs(read.astype(int) - noise).max() <= 16
        assert (read[noise == 255] == 255).all()
        assert (read[noise == 0] == 0).all()
        examples.write_small(place / "flat.png", noise[:20, :20])
        np.testing.assert_array_equal(cv2.imread("flat.png")[..., ::-1], noise[:20, :20])


@pytest.mark.parametrize("job", examples.WRITERS)
def test_data_reads_what_is_drawn(job, place):
    example = replace(examples.EXAMPLES[job], groups=3, views=2)
    given = examples.WRITERS[job](Path("raw"), example, 1)
    data.prepare(data.Options(job=job, image_size=example.image_size, **given))
    arrays = load_arrays(job)
    assert len(arrays.images) == 3 if job in ("cadastre", "membrane") else 6
    assert len({row["subject"] for row in arrays.files}) == 3
    assert set(np.unique(arrays.masks[:])) == {0, 255}


@slow
def test_a_picture_shows_the_truth_that_was_drawn(place):
    output = run_well(
        "-m benchmarks.examples", "cadastre", "--tiny", "--output", "out", "--work", "work"
    )
    assert output.splitlines()[-1].startswith("| cadastre | 2 |")
    assert output.splitlines()[-1].endswith(" | 1 |")
    picture = cv2.imread("out/cadastre.tiny.png")
    assert picture.shape == (3 * (22 + 256 + 4), 4 * (256 + 8), 3)
    (held_out,) = json.loads(Path("work/weights/cadastre.json").read_text())["validation"]
    mask = cv2.imread(f"work/raw/cadastre/masks/{held_out}.png", cv2.IMREAD_GRAYSCALE)
    share = mask.reshape(256, 2, 256, 2).mean(axis=(1, 3))
    truth = picture[22:278, 264 + 4 : 528 - 4, 0]
    np.testing.assert_array_equal(truth[share > 128], 255)
    np.testing.assert_array_equal(truth[share < 127], 0)
    assert not Path("weights").exists()


def test_a_folder_that_has_the_job_already_is_left_as_it_is(place):
    (place / "work/output/car").mkdir(parents=True)
    with pytest.raises(InputError, match="output/car: is there already; pass another --work"):
        examples.main(examples.Options(job="car", work="work", output="out"))
    assert not (place / "work/raw").exists()
    assert not (place / "out").exists()


def test_every_job_but_noise_has_a_row_and_a_writer():
    assert set(examples.EXAMPLES) == set(examples.WRITERS) == set(RECIPES["document"]) - {"noise"}


@pytest.mark.parametrize("job", examples.EXAMPLES)
def test_each_job_has_a_row_that_the_modern_recipe_can_train(job):
    example = examples.EXAMPLES[job]
    changed = MODERN[job].change(examples.changes_of(job, example))
    assert changed.network.filters == tuple(example.first_filters * n for n in (1, 2, 4, 8))
    size = changed.recipe.window or example.image_size or changed.image_size
    changed.network.check_size(*size)
