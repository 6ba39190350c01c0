"""Images of one's own: what the files are measured by, and what the rules make of that."""

import json
import math

import cv2
import numpy as np
import pytest
from conftest import draw_pair, make_folders, refusal, run_well, save

from unet.data.arrays import Arrays, load_arrays
from unet.data.measure import is_colored, measure_outlines
from unet.jobs import JOBS, RECIPES, choose_recipe, own
from unet.jobs.own import Measured, choose_form, choose_job, zoomed
from unet.jobs.settings import IGNORED
from unet.training import plan
from unet.training.plan import fit_own


def measured(sizes, width, num_colored=0):
    return Measured(tuple(sizes), width, num_colored)


@pytest.mark.parametrize("radius", [6, 15, 40])
def test_what_a_disc_is_measured_by_is_its_radius(radius):
    y, x = np.mgrid[:100, :120]
    disc = ((y - 50) ** 2 + (x - 60) ** 2 <= radius**2).astype(np.uint8)
    area, outline = measure_outlines(disc, 2)
    assert area.tolist() == [12000 - disc.sum(), disc.sum()]
    assert outline[1] == pytest.approx(2 * math.pi * radius, rel=0.1)
    assert 2 * area[1] / outline[1] == pytest.approx(radius, rel=0.1)


@pytest.mark.parametrize("degrees", [20, 45, 70])
def test_what_a_stripe_is_measured_by_is_about_its_width(degrees):
    y, x = np.mgrid[:300, :300] - 149.5
    away = x * math.sin(math.radians(degrees)) - y * math.cos(math.radians(degrees))
    area, outline = measure_outlines((np.abs(away) < 4.5).astype(np.uint8), 2)
    assert 2 * area[1] / outline[1] == pytest.approx(9, rel=0.2)


def test_pixels_that_do_not_count_have_no_outline():
    numbers = np.zeros((40, 40), np.uint8)
    numbers[10:30] = IGNORED
    area, outline = measure_outlines(numbers, 2)
    assert area.tolist() == [800, 0]
    assert outline.tolist() == [0, 0]


def test_an_image_of_three_equal_channels_has_no_colours_nor_has_what_jpeg_makes_of_it():
    grey = np.repeat(draw_pair(1)[0][..., None], 3, axis=2)
    assert not is_colored(grey)
    encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    assert not is_colored(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    assert is_colored(grey + np.uint8([0, 9, 0]))
    grey[5:10, 5:12] = 200, 20, 20  # a small thing with a colour of its own
    assert is_colored(grey)


@pytest.mark.parametrize(
    ("sizes", "width", "expected"),
    [
        # small images of one size stay as they are, however thin what they show
        ([(184, 256)] * 5, 4, ((184, 256), False, 1.0)),
        # large things in large images: 1280 * 1920 * f^2 = 256^2 gives f = 0.163
        ([(1280, 1920)] * 5, 300, ((224, 320), False, 1.0)),
        # thin lines: windows of the images as they are, of one size and not too long ...
        ([(584, 565)] * 5, 4, ((584, 565), False, 1.0)),
        # ... else tiles
        ([(1200, 1600)] * 5, 5, ((512, 512), True, 1.0)),
        ([(256, 256), (260, 347), (360, 360)], 12, ((256, 256), True, 1.0)),
        # large things of a small part of huge photos of two sizes: shrunk to 32 pixels, then cut
        ([(3000, 4000), (4000, 3000), (3000, 4000)], 100, ((512, 512), True, 0.32)),
        # nothing to be found anywhere: as wide as what is shrunk to
        ([(500, 500)] * 3, None, ((500, 500), False, 1.0)),
    ],
)
def test_the_form_follows_from_sizes_and_width(sizes, width, expected):
    choice = choose_form(measured(sizes, width))
    assert (choice.image_size, choice.is_tiled, choice.zoom) == expected
    assert choice.channels == 1
    assert len(choice.reasons) == 2


def test_one_image_with_colours_among_grey_ones_makes_three_channels():
    assert choose_form(measured([(64, 64)] * 9, 9, num_colored=1)).channels == 3


def test_images_are_not_cut_where_test_images_have_to_stay_whole():
    thin = measured([(1200, 1600), (1600, 1200)], 5)
    assert choose_form(thin).is_tiled
    choice = choose_form(thin, can_tile=False)
    assert not choice.is_tiled
    assert "test images" in choice.reasons["size"]


@pytest.mark.parametrize("size", [(184, 256), (208, 320), (512, 512), (30, 45), (16, 2000)])
def test_every_window_fits_the_network_and_has_at_most_about_the_pixels_of_a_whole_image(size):
    job, _ = choose_job(size, 3, 50)
    window = job.recipe.window or size
    assert all(job.network.output_length(length) for length in window)
    assert math.prod(window) <= 1.3 * own.WHOLE_AREA


def test_a_network_of_whole_images_is_a_level_deeper_and_none_ends_in_less_than_four_pixels():
    levels = {}
    for size in ((256, 256), (400, 400), (64, 64), (30, 45)):
        job, _ = choose_job(size, 1, 9)
        levels[size] = len(job.network.filters)
        assert min(job.recipe.window or size) / job.network.divisor >= 4
    assert levels == {(256, 256): 5, (400, 400): 4, (64, 64): 4, (30, 45): 3}


def test_many_images_are_shown_ten_times_and_few_are_trained_on_as_long_as_ever():
    few, many = (choose_job((256, 256), 3, count)[0].recipe for count in (5, 800))
    assert few.epochs * few.steps_per_epoch == 1000
    assert many.epochs * many.steps_per_epoch == 10 * 800 / 4
    most = choose_job((256, 256), 3, 10**6)[0].recipe
    assert most.epochs * most.steps_per_epoch == 4000


def test_a_step_sees_more_of_smaller_images():
    sizes = {256: 4, 128: 16, 160: 8, 64: 16}
    for side, count in sizes.items():
        assert choose_job((side, side), 1, 9)[0].recipe.batch_size == count


def test_what_has_no_up_and_down_is_turned():
    assert choose_job((64, 64), 1, 9)[0].recipe.augmentation.symmetry == "mirror"
    job, _ = choose_job((64, 64), 1, 9, is_upright=False)
    assert job.recipe.augmentation.symmetry == "turns"


def test_the_reason_for_the_loss_names_that_of_several_classes(monkeypatch):
    monkeypatch.setattr(plan, "read_report", lambda name: {"facts": {"shares": [0, 0.1, 1]}})
    rows = [{"id": str(n), "subject": str(n), "split": "train"} for n in range(9)]
    images = np.zeros((9, 64, 64, 1), np.uint8)
    for classes, loss in (((), "bce_dice"), (("a", "b", "c"), "cross_entropy_dice")):
        arrays = Arrays(images, images, images[:0], rows, [], classes, name="own")
        reason = fit_own(arrays, True, True)[1]["loss"]
        assert reason == f"loss: {loss}, whatever the share of the foreground, here 10.0%"


def test_one_image_alone_is_shifted_by_half_its_size():
    shifts = [choose_job((64, 64), 1, n)[0].recipe.augmentation.shift for n in (1, 2)]
    assert shifts == [0.5, 0.05]


def test_images_that_the_files_keep_for_validation_are_none_to_train_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"id": str(n), "subject": str(n), "split": "validation"} for n in range(9)]
    rows[0]["split"] = "train"
    images = np.zeros((9, 64, 64, 1), np.uint8)
    report = tmp_path / "output/own/report.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"warnings": [], "lines": [], "facts": {"marked": []}}))
    job, _ = fit_own(Arrays(images, images, images[:0], rows, [], name="own"), True, True)
    assert job.recipe.augmentation.shift == 0.5  # as of one image alone


def test_own_follows_no_document_and_its_recipe_is_the_modern_one():
    assert choose_recipe("own") == "modern"
    assert choose_recipe("nerve") == "document"
    assert "own" in JOBS and "own" not in RECIPES["document"]
    with pytest.raises(ValueError, match="own follows no document"):
        choose_recipe("own", "document")


@pytest.fixture
def lines_in_large_photos(tmp_path, monkeypatch):
    """Photos of two sizes, grey in three channels, with a thin line each."""
    monkeypatch.chdir(tmp_path)
    for number, size in enumerate([(320, 400), (400, 320), (330, 390), (320, 400)]):
        mask = np.zeros(size, np.uint8)
        cv2.line(mask, (20 * number, 0), (300, 310), 255, 5)
        noise = np.random.default_rng(number).integers(0, 60, size)
        image = (noise + (mask > 0) * 120).astype(np.uint8)
        save(tmp_path / f"photos/{number}.png", cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
        save(tmp_path / f"masks/{number}.png", mask)
    return tmp_path


def test_three_commands_without_an_option_give_masks_of_new_images(lines_in_large_photos):
    printed = run_well("data.py", "own", "--images", "photos", "--masks", "masks")
    assert "channels: 1, for all are grey" in printed
    assert "size: tiles of 320x320, at their own size" in printed
    report = json.loads((lines_in_large_photos / "output/own/report.json").read_text())
    assert [line.partition(":")[0] for line in report["lines"]][:2] == ["channels", "size"]
    arrays = load_arrays("own")
    assert arrays.images.shape == (10, 320, 320, 1)

    small = "--epochs", "1", "--steps-per-epoch", "2", "--set", "network.filters=4,6"
    printed = run_well("train.py", "own", *small, "network.bottleneck=8")
    kept = "loss: bce_dice", "augmentation: mirrored", "precision: "
    assert all(f"\n{text}" in f"\n{printed}" for text in kept)
    for changed in ("network: ", "steps: "):  # by these options, so that it would not be true
        assert f"\n{changed}" not in f"\n{printed}"
    printed = run_well("test.py", "own")
    assert "tiles, foreground above" in printed and "score whole images" in printed
    run_well("test.py", "own", "--images", "photos")
    found = {
        p.stem: cv2.imread(str(p), -1).shape
        for p in lines_in_large_photos.glob("output/own/masks/*.png")
    }
    assert found == {"0": (320, 400), "1": (400, 320), "2": (330, 390), "3": (320, 400)}
    assert "own: for large RGB images" in run_well("model.py", "own")


def test_an_option_outranks_its_rule_alone(lines_in_large_photos):
    where = "own", "--images", "photos", "--masks", "masks"
    run_well("data.py", *where, "--channels", "3")
    assert load_arrays("own").images.shape == (10, 320, 320, 3)
    printed = run_well("data.py", *where, "--image-size", "64", "96")
    assert load_arrays("own").images.shape == (4, 64, 96, 1)
    assert "channels: 1" in printed and "\nsize: " not in printed
    run_well("data.py", *where, "--tile-size", "160", "160")
    assert load_arrays("own").images.shape[1:] == (160, 160, 1)
    own_size = *where, "--image-size", "0", "0"
    assert "is 400x320" in refusal("data.py", *own_size)
    assert "2 of 4 images left out" in run_well("data.py", *own_size, "--skip-bad")
    assert load_arrays("own").images.shape == (2, 320, 400, 1)


def test_large_things_are_shrunk_by_one_zoom_and_masks_come_back_at_the_photos_size(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for number, size in enumerate([(900, 2600), (2600, 900)]):
        image, mask = draw_pair(number, size, filled=False)
        cv2.circle(mask, (size[1] // 2, size[0] // 3), 90, 255, -1)
        save(tmp_path / f"photos/{number}.png", image)
        save(tmp_path / f"masks/{number}.png", mask)
    monkeypatch.setattr(own, "WHOLE_AREA", 1)
    from data import Options, prepare

    prepare(Options(job="own", images="photos", masks="masks"))
    arrays = load_arrays("own")
    zoom = arrays.reading.zoom
    assert zoom == pytest.approx(32 / 90, rel=0.05)  # a disc's width is its radius
    height, width = zoomed((900, 2600), zoom)
    side = min(own.TILE, height) // own.GRID * own.GRID
    assert arrays.images.shape[1:3] == (side, side)
    assert not arrays.is_resized


def test_one_image_is_trained_on_whole_and_none_is_held_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folders(tmp_path, count=1, size=(64, 96))
    run_well("data.py", "own", "--images", "images", "--masks", "masks")
    small = "--epochs", "1", "--steps-per-epoch", "1", "--set", "network.filters=4,6"
    printed = run_well("train.py", "own", *small, "network.bottleneck=8")
    assert "validation: none" in printed
    assert "1 training and 0 validation images" in printed


def test_the_option_for_what_has_no_up_is_of_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "--set augmentation.symmetry=turns" in refusal("train.py", "noise", "--no-upright")
