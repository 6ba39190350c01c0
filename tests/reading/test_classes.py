"""More than two classes, from masks of numbers or colours to losses and scores."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from conftest import page_data, refusal, run_well, sample_window, save, slow
from PIL import Image

import data
import train
from train import load_run
from unet.data.arrays import load_arrays
from unet.errors import InputError
from unet.jobs import JOBS, RECIPES
from unet.jobs.settings import Augmentation
from unet.losses import class_dice_loss, class_dice_per_image, cross_entropy
from unet.prediction.predict import predict_file
from unet.prediction.scores import class_counts, class_dice, count_confusion, mean_dice
from unet.prediction.scoring import PreparedImages
from unet.reading.classes import (
    classes_text,
    decode_classes,
    find_classes,
    number_classes,
    read_classes,
    resize_classes,
)
from unet.runs import Decision, read_record
from unet.training.plan import change_job

TABLE = "name,r,g,b\nground,0,0,0\nroad,255,0,0\nhouse,0,0,255\nwater,10,20,30\n"
COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [10, 20, 30]], np.uint8)
SMALL = ("network.filters=4,6,8", "network.bottleneck=8", "network.dropout=")


def draw_classes(number, size=(64, 96)):
    """An RGB image of four kinds of ground, and the number of each pixel's kind."""
    rng = np.random.default_rng(number)
    numbers = np.zeros(size, np.uint8)
    for kind in (1, 2, 3):
        y, x = rng.integers(0, size[0] - 24), rng.integers(0, size[1] - 24)
        numbers[y : y + 24, x : x + 24] = kind
    image = 60 * numbers[..., None] + rng.integers(0, 40, (*size, 3), dtype=np.uint8)
    return image.astype(np.uint8), numbers


def make_raw(root, kind="numbers", count=6):
    Path(root).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, numbers = draw_classes(number)
        save(Path(root, f"images/{number}.png"), image[..., ::-1])
        mask = COLORS[numbers][..., ::-1] if kind == "colors" else numbers
        save(Path(root, f"masks/{number}.png"), mask)
    Path(root, "table.csv").write_text(TABLE)


def options(**given):
    given = {"images": "raw/images", "masks": "raw/masks", "image_size": (64, 96), **given}
    return data.Options(job="cadastre", **given)


@pytest.fixture
def raw(place):
    make_raw("raw")
    return place


# ---- masks


def encode(pixels, ending=".png"):
    return cv2.imencode(ending, pixels)[1].tobytes()


def palette_png(path, numbers, colors):
    picture = Image.fromarray(numbers, "P")
    picture.putpalette(np.asarray(colors, np.uint8).tobytes())
    picture.save(path)
    return Path(path).read_bytes()


def test_grey_values_are_class_numbers():
    numbers = np.array([[0, 1], [2, 3]], np.uint8)
    found = decode_classes(encode(numbers), "x.png", number_classes(4))
    np.testing.assert_array_equal(found, numbers)
    assert found.dtype == np.uint8


def test_a_palette_is_read_as_its_numbers_and_not_as_its_colours(tmp_path):
    numbers = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
    coded = palette_png(tmp_path / "x.png", numbers, [[9, 9, 9], [0, 0, 0], [1, 2, 3], [9, 8, 7]])
    found = decode_classes(coded, "x.png", number_classes(4))
    np.testing.assert_array_equal(found, numbers)


def test_data_and_test_read_the_masks_of_a_colour_run_alike(tmp_path, monkeypatch):
    """Also where these have palettes, in another order than the classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(TABLE)
    classes = read_classes(tmp_path / "table.csv")
    coded = palette_png(tmp_path / "x.png", np.array([[0, 1], [2, 3]], np.uint8), COLORS[::-1])
    found = decode_classes(coded, "x.png", classes, is_colored=True)
    np.testing.assert_array_equal(found, [[3, 2], [1, 0]])
    for is_colored in (True, False):
        Path("output/x").mkdir(parents=True, exist_ok=True)
        Path("output/x/classes.csv").write_text(classes_text(classes, is_colored))
        assert find_classes("x") == (classes, is_colored)


def test_what_is_transparent_is_background(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    classes = read_classes(tmp_path / "table.csv")
    pixels = np.array([[[0, 0, 255, 255], [0, 0, 255, 0], [9, 9, 9, 0]]], np.uint8)
    found = decode_classes(encode(pixels), "x.png", classes, is_colored=True)
    np.testing.assert_array_equal(found, [[1, 0, 0]])


def test_colours_are_looked_up_in_the_table(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    classes = read_classes(tmp_path / "table.csv")
    assert [one.name for one in classes] == ["ground", "road", "house", "water"]
    numbers = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
    coded = encode(COLORS[numbers][..., ::-1])
    found = decode_classes(coded, "x.png", classes, is_colored=True)
    np.testing.assert_array_equal(found, numbers)
    transparent = np.dstack([COLORS[numbers][..., ::-1], np.full((2, 3), 255, np.uint8)])
    found = decode_classes(encode(transparent), "x.png", classes, is_colored=True)
    np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize(
    ("pixels", "is_colored", "message"),
    [
        (np.full((2, 2), 4, np.uint8), False, "has value 4, expected class numbers 0 to 3"),
        (np.full((2, 2), 700, np.uint16), False, "has value 700, expected class numbers 0 to 3"),
        (np.full((2, 2, 3), (7, 8, 9), np.uint8), False, "has colours, .* data.py --colors FILE"),
        (np.full((2, 2, 3), 7, np.uint8), True, "colour 7 7 7 in 4 pixels is of no class"),
        (np.full((2, 2, 3), 7, np.uint16), True, "uint16 colours; expected 8 bit"),
    ],
)
def test_masks_of_other_classes_are_refused(pixels, is_colored, message, tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    classes = read_classes(tmp_path / "table.csv")
    with pytest.raises(InputError, match=f"a.png: .*{message}"):
        decode_classes(encode(pixels), "a.png", classes, is_colored=is_colored)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,r,g,b\na,0,0,0\nb,1,1,1\n", "2 classes, expected 3 to 255"),
        ("name,r,g\na,0,0\n", "has columns name, r, g; expected name, r, g, b"),
        (TABLE + "sky,1,2,256\n", "line 6: colour 1 2 256, expected 0 to 255"),
        (TABLE + "sky,1,2,-3\n", "line 6: colour 1 2 -3, expected 0 to 255"),
        (TABLE + "road,1,2,3\n", r"two classes have \['road'\]"),
        (TABLE + "sky,255,0,0\n", r"two classes have \[\(255, 0, 0\)\]"),
    ],
)
def test_a_colour_table_that_makes_no_sense_is_refused(text, message, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=f"t.csv: {message}"):
        read_classes(tmp_path / "t.csv")


def test_numbered_classes_have_colours_that_differ():
    for count in (3, 21, 255):
        assert len({one.color for one in number_classes(count)}) == count


def test_a_smaller_mask_takes_the_class_with_most_of_each_pixels_area():
    numbers = np.array([[1, 1, 0, 2], [1, 3, 2, 2]], np.uint8)[..., None]
    np.testing.assert_array_equal(resize_classes(numbers, (1, 2))[..., 0], [[1, 2]])
    again = resize_classes(numbers, (4, 8))
    assert set(np.unique(again)) <= {0, 1, 2, 3}
    np.testing.assert_array_equal(again[[0, -1]][:, [0, -1], 0], [[1, 2], [1, 2]])


def test_a_turned_mask_keeps_its_numbers_and_moves_as_its_image_does():
    image, numbers = draw_classes(3, (48, 48))
    grey = (50 * numbers)[..., None]
    turns = Augmentation("turns", shift=0.5, wrap=True)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        moved, mask = sample_window(grey, numbers[..., None], (48, 48), turns, rng, True)
        np.testing.assert_array_equal(moved, 50 * mask)
    warp = Augmentation("turns", rotation=30, scale=0.2, elastic=3)
    mask = sample_window(image, numbers[..., None], (48, 48), warp, rng, True)[1]
    assert set(np.unique(mask)) <= {0, 1, 2, 3}


# ---- losses and scores

TRUTH = np.array([[0, 1], [1, 2]])
WRONG = np.array([[0, 1], [2, 2]])  # one pixel of four


def test_dice_of_each_class_by_hand():
    def counts(prediction, truth):
        return class_counts(count_confusion(truth, prediction, 4))

    right, total = counts(WRONG, TRUTH)
    np.testing.assert_array_equal(right, [1, 1, 1, 0])
    np.testing.assert_array_equal(total, [2, 3, 3, 0])
    dice = class_dice(right, total)
    np.testing.assert_allclose(dice, [1, 2 / 3, 2 / 3, np.nan])
    assert mean_dice(dice) == pytest.approx(2 / 3)
    assert mean_dice(class_dice(*counts(TRUTH * 0, TRUTH * 0))) == 1.0
    assert mean_dice(class_dice(*counts(TRUTH * 0 + 1, TRUTH * 0))) == 0.0


def softmax_of(numbers, count=4, high=0.97):
    rest = (1 - high) / (count - 1)
    return np.where(np.eye(count)[numbers] > 0, high, rest).astype(np.float32)


def test_the_metric_of_training_is_that_of_the_report():
    truth = np.stack([TRUTH, TRUTH, TRUTH * 0])[..., None].astype(np.float32)
    predicted = softmax_of(np.stack([TRUTH, WRONG, TRUTH * 0]))
    found = keras.ops.convert_to_numpy(class_dice_per_image(truth, predicted))
    np.testing.assert_allclose(found, [1, 2 / 3, 1], rtol=1e-6)


def test_the_losses_by_hand():
    truth = TRUTH[None, ..., None].astype(np.float32)
    predicted = softmax_of(WRONG[None])
    expected = -(3 * np.log(0.97) + np.log(0.01)) / 4
    assert float(cross_entropy(truth, predicted)) == pytest.approx(expected, rel=1e-5)
    # class 1: pixels 2, probabilities 0.97 and 0.01 on them, 0.01 on the two others
    one = (2 * 0.98 + 1) / (2 + 1.0 + 1)
    # class 2: 1 pixel with 0.97; in all 0.97 + 0.97 + 0.01 + 0.01
    two = (2 * 0.97 + 1) / (1 + 1.96 + 1)
    # class 3: in no pixel, 0.01 on all four
    three = 1 / (0.04 + 1)
    dice = (one + two + three) / 3
    assert float(class_dice_loss(truth, predicted)) == pytest.approx(1 - dice, rel=1e-5)


def test_the_most_probable_class_is_the_mask():
    np.testing.assert_array_equal(Decision(0.9).mask(softmax_of(WRONG)), WRONG)


# ---- the scripts


def test_arrays_hold_class_numbers_and_their_names_stand_beside(raw):
    data.prepare(options(classes=4))
    arrays = load_arrays("cadastre")
    np.testing.assert_array_equal(arrays.masks[2][..., 0], draw_classes(2)[1])
    assert arrays.classes == number_classes(4)
    make_raw("raw", "colors")
    data.prepare(options(colors="raw/table.csv"))
    arrays = load_arrays("cadastre")
    np.testing.assert_array_equal(arrays.masks[2][..., 0], draw_classes(2)[1])
    assert arrays.classes[3].name == "water"
    data.prepare(options(mask_threshold=0))
    arrays = load_arrays("cadastre")
    assert arrays.classes == ()
    assert set(np.unique(arrays.masks[2])) == {0, 255}


def test_numbers_may_have_names_and_colours_from_a_table(raw):
    data.prepare(options(classes=4, colors="raw/table.csv"))
    arrays = load_arrays("cadastre")
    np.testing.assert_array_equal(arrays.masks[1][..., 0], draw_classes(1)[1])
    assert arrays.classes[1].name == "road"
    with pytest.raises(InputError, match="4 classes, --classes says 5"):
        data.prepare(options(classes=5, colors="raw/table.csv"))
    with pytest.raises(InputError, match="--mask-threshold is for two classes"):
        data.prepare(options(classes=4, mask_threshold=3))


@pytest.mark.parametrize("job", ["cadastre", "nerve", "membrane"])
@pytest.mark.parametrize("recipe", ["document", "modern"])
def test_every_job_has_a_loss_for_classes(job, recipe):
    chosen = change_job(job, RECIPES[recipe][job], classes=number_classes(4))
    assert chosen.network.classes == 4
    has_dice = recipe == "modern"
    assert chosen.recipe.loss == ("cross_entropy_dice" if has_dice else "cross_entropy")
    assert not chosen.recipe.decide


def test_losses_of_two_classes_are_refused_for_more_and_the_other_way_round():
    with pytest.raises(InputError, match="--loss dice .* 4 output channels .* cross_entropy or"):
        change_job("car", JOBS["car"], given={"loss": "dice"}, classes=number_classes(4))
    with pytest.raises(InputError, match="--loss cross_entropy .* 1 output channels"):
        change_job("car", JOBS["car"], given={"loss": "cross_entropy"})
    with pytest.raises(InputError, match="network.classes 5: the masks have 4"):
        change_job(
            "car", JOBS["car"], assignments=("network.classes=5",), classes=number_classes(4)
        )


@slow
def test_four_classes_are_learnt_and_scored(raw):
    data.prepare(options(classes=4, colors="raw/table.csv"))
    train.train_predict(
        train.Options(
            job="cadastre",
            recipe="modern",
            epochs=4,
            steps_per_epoch=60,
            seed=2,
            validation_split=0.3,
            set=(*SMALL, "recipe.window=64,96", "augmentation.symmetry=flips"),
        )
    )
    history = Path("weights/cadastre.csv").read_text().splitlines()
    assert "val_class_dice_per_image" in history[0]
    record = read_record("cadastre")
    assert record.network.classes == 4
    assert record.classes[1] == {"name": "road", "color": [255, 0, 0]}
    run = load_run("cadastre")
    image, numbers = draw_classes(17, (70, 90))  # not a size that fits
    probability = predict_file(run, image)
    assert probability.shape == (70, 90, 4)
    np.testing.assert_allclose(probability.sum(axis=-1), 1, atol=1e-4)
    assert np.mean(run.decision.mask(probability) == numbers) > 0.9
    assert "a run of 4 classes" in refusal("submission.py", "cadastre")
    check_pictures(raw)


def check_pictures(raw):
    """test.py's scores, pictures and masks of four classes, against masks predicted here."""
    run = load_run("cadastre")
    for folder in ("new", "truth"):
        (raw / folder).mkdir()
    pixels = np.zeros((2, 4))
    for number, size in ((31, (64, 96)), (32, (90, 70))):
        image, numbers = draw_classes(number, size)
        save(raw / f"new/{number}.png", image[..., ::-1])
        save(raw / f"truth/{number}.png", numbers)
        predicted = run.decision.mask(predict_file(run, image))
        for c in range(4):
            pixels[:, c] += 2 * np.sum((predicted == c) & (numbers == c)), 0
            pixels[1, c] += np.sum(predicted == c) + np.sum(numbers == c)
    printed = run_well("test.py", "cadastre", "--images", "new", "--masks", "truth")
    dice = dict(zip(("ground", "road", "house", "water"), pixels[0] / pixels[1]))
    each = ", ".join(f"{name} {value:.3f}" for name, value in dice.items())
    mean = np.mean(list(dice.values())[1:])
    assert f"Dice of all pixels: {each}; mean without the background {mean:.3f}" in printed
    scores = json.loads((raw / "vis/cadastre/images/scores.json").read_text())
    assert scores["classes"] == pytest.approx(dice)
    assert scores["mean_of_classes"] == pytest.approx(mean)
    matrix = np.array(scores["confusion"]["pixels"])
    assert scores["confusion"]["classes"] == list(dice)
    np.testing.assert_array_equal(2 * np.diagonal(matrix), pixels[0])
    np.testing.assert_array_equal(matrix.sum(axis=0) + matrix.sum(axis=1), pixels[1])
    foreground = np.diagonal(matrix)[1:].sum()
    assert scores["precision"] == pytest.approx(foreground / matrix[:, 1:].sum())
    assert scores["recall"] == pytest.approx(foreground / matrix[1:].sum())
    with Image.open("output/cadastre/masks/32.png") as mask:
        np.testing.assert_array_equal(np.array(mask), predicted)
        assert mask.getpalette()[3:12] == [255, 0, 0, 0, 0, 255, 10, 20, 30]
    page = page_data(raw / "vis/cadastre/images/index.html")
    assert page["classes"] == [
        ["road", [255, 0, 0]],
        ["house", [0, 0, 255]],
        ["water", [10, 20, 30]],
    ]
    assert page["figures"]["curve"] is None
    assert page["figures"]["classes"] == scores["classes"]
    assert "--mask-threshold is for masks of two" in refusal(
        "test.py", "cadastre", "--images", "new", "--masks", "truth", "--mask-threshold", 1
    )
    results = list(PreparedImages(run))
    assert len(results) == 2
    for result in results:
        np.testing.assert_array_equal(result.truth, draw_classes(int(result.id))[1])


@slow
def test_folds_of_classes_are_scored_by_the_networks_that_did_not_see_them(raw, capsys):
    data.prepare(options(classes=4))
    small = train.Options(job="cadastre", folds=2, epochs=1, steps_per_epoch=1, set=SMALL)
    train.train_predict(replace(small, batch_size=2))
    assert "mean of 6 images, of the classes in each" in capsys.readouterr().out
    record = json.loads(Path("weights/cadastre.json").read_text())
    assert len(record["folds"]) == 2
    assert len(record["classes"]) == 4
    assert all(0 <= fold["dice"] <= 1 for fold in record["folds"])
