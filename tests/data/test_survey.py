"""What data.py notices in the arrays that it wrote."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import draw_pair, make_folders, run_well, save

import data
from data import Options, create_data, prepare
from unet.data import copies, survey
from unet.data.alignment import find_alignment
from unet.data.arrays import Arrays, load_arrays
from unet.data.copies import Pair, agreement, join_subjects
from unet.data.survey import WARNING, lines, read_report
from unet.errors import InputError
from unet.jobs.settings import Reading
from unet.reading.classes import number_classes


def arrays_of(images, masks, subjects=None, splits=None, classes=(), ignore=()):
    """Arrays of images and masks (N, H, W), with ids 0, 1, ..."""
    files = [
        {
            "id": str(row),
            "subject": str(subjects[row] if subjects else row),
            "split": splits[row] if splits else "train",
        }
        for row in range(len(masks))
    ]
    images, masks = (np.asarray(part, np.uint8)[..., None] for part in (images, masks))
    return Arrays(images, masks, (), files, [], classes, reading=Reading(ignore=ignore))


def facts_of(*args, **kwargs):
    return survey.survey(arrays_of(*args, **kwargs))[0]


def noises(count, size=(40, 50)):
    return np.random.default_rng(1).integers(0, 256, (count, *size))


def boxes(count, size=(40, 50)):
    """Masks of a box of 10x10 pixels at changing places."""
    masks = np.zeros((count, *size), np.uint8)
    for number, mask in enumerate(masks):
        top, left = 3 + 5 * number % 25, 3 + 7 * number % 35
        mask[top : top + 10, left : left + 10] = 255
    return masks


def photos(count, size=(96, 120)):
    """Images with coarse and fine structure, grey, (N, H, W)."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(count):
        coarse, fine = (rng.normal(size=shape).astype(np.float32) for shape in ((12, 15), size))
        coarse = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        fine = cv2.GaussianBlur(fine, (0, 0), 1.5)
        found.append(np.clip(120 + 35 * coarse + 40 * fine, 0, 255).astype(np.uint8))
    return np.stack(found)


# ---- shares


def test_the_share_of_foreground_is_over_the_masks_that_have_any():
    masks = np.zeros((4, 40, 50))
    masks[0, :4] = 255  # 10 %
    masks[1, :12] = 255  # 30 %
    masks[2] = 255
    facts = facts_of(noises(4), masks)
    assert facts.shares == pytest.approx((0.1, 1.4 / 3, 1.0))
    assert (facts.num_empty, facts.num_full) == (1, 1)
    text = "foreground: 46.7 % of a mask on average, 10 % to 100 %; 1 of 4 masks are empty"
    assert lines(facts)[0] == f"{text}; 1 all foreground"


def test_pixels_that_do_not_count_are_left_out_of_the_shares():
    mask = np.full((40, 50), 255)
    mask[:10], mask[10:20] = 1, 0
    facts = facts_of(noises(2), [mask, np.full((40, 50), 255)], ignore=(7,))
    assert facts.shares == (0.5, 0.5, 0.5)
    assert facts.num_empty == 1


def test_classes_have_their_shares_and_those_that_never_occur_are_named():
    mask = np.zeros((40, 50))
    mask[:10], mask[10:20] = 2, 255  # a quarter, and a quarter that does not count
    facts = facts_of(noises(1), [mask], classes=number_classes(4))
    said = lines(facts)
    assert said[0] == "classes: 66.7 % class 0, 33.3 % class 2"
    assert said[1] == "classes in no mask: class 1, class 3"


@pytest.mark.parametrize("classes", [(), number_classes(3)])
def test_a_set_whose_masks_are_all_empty_is_warned_of(classes):
    said = lines(facts_of(noises(3), np.zeros((3, 40, 50)), classes=classes))
    assert said == [f"{WARNING}all masks are empty: no foreground in any of the 3"]


def test_images_of_one_value_are_named_and_are_no_copies():
    images = noises(7)
    images[2], images[5], images[6] = 0, 0, 90
    facts = facts_of(images, boxes(7))
    assert facts.flat == ("2", "5", "6")
    assert facts.copies == ()
    assert "3 images are of one value all over: 2, 5, 6" in lines(facts)


# ---- inverted


def test_a_few_inverted_masks_among_right_ones_are_named():
    masks = boxes(12)
    masks[[3, 8]] = 255 - masks[[3, 8]]
    facts = facts_of(noises(12), masks)
    assert facts.inverted == ("3", "8")
    assert any("2 masks look inverted" in line and WARNING in line for line in lines(facts))
    assert [tuple(mark) for mark in facts.marked] == [(3, "inverted?"), (8, "inverted?")]


def test_a_set_that_is_mostly_foreground_gets_a_hint_and_no_warning():
    facts = facts_of(noises(12), 255 - boxes(12))
    assert facts.inverted == ()
    hint = next(line for line in lines(facts) if "mostly foreground" in line)
    assert not hint.startswith(WARNING)


def test_tiles_of_every_share_are_not_inverted():
    masks = np.zeros((20, 40, 50))
    for number, mask in enumerate(masks):
        mask[: 2 * number] = 255  # 0 % to 95 %
    facts = facts_of(noises(20), masks)
    assert (facts.inverted, facts.is_mostly_foreground) == ((), False)


# ---- copies


def reencoded(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], -1)


def resized(image):
    small = cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("change", [np.copy, reencoded, resized])
def test_copies_are_found(change):
    images = photos(8)
    images[6] = change(images[1])
    facts, subjects = survey.survey(arrays_of(images, boxes(8, (96, 120))))
    assert facts.copies == facts.joined == (("1", "6"),)
    assert subjects == ["0", "1", "2", "3", "4", "5", "1", "7"]
    assert facts.num_subjects == 7


def test_look_alikes_are_no_copies():
    images = photos(8)
    noise = np.random.default_rng(2).normal(size=images[0].shape)
    scene = cv2.GaussianBlur(images[0], (0, 0), 4)
    images[1] = images[0][:, ::-1]
    images[2] = np.roll(images[0], 4, axis=1)  # the camera moved
    images[3] = np.clip(scene + 20 * noise, 0, 255)  # one light, other things
    images[4] = np.clip(scene + 20 * noise[::-1], 0, 255)
    images[5] = images[6]
    images[5, 20:70, 30:90] = images[7, 20:70, 30:90]  # one place, another object
    facts, subjects = survey.survey(arrays_of(images, boxes(8, (96, 120))))
    assert facts.copies == ()
    assert subjects == [str(row) for row in range(8)]


def test_circles_on_noise_are_no_copies():
    images, masks = create_data(100, seed=3)
    assert facts_of(images[..., 0], masks[..., 0]).copies == ()


def test_the_dice_of_copies_is_that_of_their_masks():
    images, masks = photos(8), boxes(8, (96, 120))
    images[4:7] = images[:3]
    masks[4] = np.roll(masks[0], 5, axis=1)  # half of the box: Dice 0.5
    masks[5] = masks[1]
    masks[2] = masks[6] = 0  # says nothing
    facts = facts_of(images, masks)
    assert facts.copies_dice == pytest.approx(0.75)
    said = next(line for line in lines(facts) if "copies, or nearly" in line)
    assert said.startswith("6 images are copies, or nearly: 0 = 4, 1 = 5, 2 = 6; their masks")
    assert "agree to Dice 0.75" in said


def test_masks_of_classes_agree_where_both_have_the_same_class():
    first, second = np.array([[1, 1, 2, 0, 255]]), np.array([[1, 2, 2, 3, 1]])
    assert agreement(first, second) == pytest.approx(2 * 2 / (3 + 4))
    assert agreement(first * 0, first * 0) is None


def test_subjects_that_share_copies_by_way_of_others_become_one():
    subjects = ["a", "b", "c", "d", "e", "b"]
    pairs = [Pair(4, 2, None), Pair(5, 4, None), Pair(0, 0, None)]  # e-c, b-e
    assert join_subjects(subjects, pairs) == ["a", "b", "b", "d", "b", "b"]


def test_too_few_subjects_are_not_joined_but_warned_of():
    images = photos(8)
    images[7] = images[0]
    subjects = [0, 1, 1, 2, 2, 3, 3, 4]
    facts, left = survey.survey(arrays_of(images, boxes(8, (96, 120)), subjects))
    assert left == [str(subject) for subject in subjects]
    assert (facts.joined, facts.not_joined) == ((), (("0", "7"),))
    assert any(WARNING in line and "fewer than 5 subjects" in line for line in lines(facts))


def test_a_split_of_ones_own_stands_but_copies_across_it_are_warned_of():
    images = photos(8)
    images[7], images[3] = images[0], images[1]
    splits = ["train"] * 6 + ["validation"] * 2
    facts, left = survey.survey(arrays_of(images, boxes(8, (96, 120)), splits=splits))
    assert left == [str(row) for row in range(8)]
    assert facts.not_joined == (("0", "7"),)
    assert any(WARNING in line and "training and validation" in line for line in lines(facts))


def test_few_subjects_are_warned_of_where_there_are_more_images():
    said = lines(facts_of(noises(8), boxes(8), [1, 1, 1, 1, 2, 2, 2, 2]))
    assert any(line.startswith(f"{WARNING}the 8 images are of 2 subjects") for line in said)
    assert not any("subject" in line for line in lines(facts_of(noises(3), boxes(3))))


def test_of_very_many_images_the_first_are_compared_and_that_is_said(monkeypatch):
    monkeypatch.setattr(copies, "MOST_ROWS", 5)
    monkeypatch.setattr(survey, "MOST_ROWS", 5)
    images = photos(8)
    images[4], images[7] = images[0], images[1]
    facts = facts_of(images, boxes(8, (96, 120)))
    assert facts.copies == (("0", "4"),)
    assert "copies were looked for among the first 5 images" in lines(facts)


# ---- misplaced

CHANGES = {
    "turned by 180 degrees": lambda masks: masks[:, ::-1, ::-1],
    "flipped left to right": lambda masks: masks[:, :, ::-1],
    "flipped upside down": lambda masks: masks[:, ::-1],
    "turned by 270 degrees": lambda masks: np.rot90(masks, 1, (1, 2)),
    "with rows and columns exchanged": lambda masks: masks.transpose(0, 2, 1),
    "each on the image before": lambda masks: np.roll(masks, 1, axis=0),
    "each on the image after": lambda masks: np.roll(masks, -1, axis=0),
    "shifted 8 % left": lambda masks: np.roll(masks, 12, axis=2),
    "shifted 5 % up and 8 % right": lambda masks: np.roll(masks, (8, -12), axis=(1, 2)),
}


@pytest.fixture(scope="module")
def circles():
    images, masks = create_data(60, seed=9)
    return images[..., 0], masks[..., 0]


def alignment_of(images, masks, **kwargs):
    return find_alignment(arrays_of(images, masks, **kwargs), list(range(len(images))))


def test_masks_on_their_images_are_not_warned_of(circles):
    assert not alignment_of(*circles).is_wrong
    assert not any("fit" in line for line in lines(facts_of(*circles)))


@pytest.mark.parametrize("remedy", CHANGES)
def test_masks_that_lie_otherwise_than_their_images_are_told(circles, remedy):
    images, masks = circles
    found = alignment_of(images, CHANGES[remedy](masks))
    assert found.is_wrong
    assert found.placement == remedy
    said = lines(facts_of(images, CHANGES[remedy](masks)))
    assert any(line.startswith(f"{WARNING}masks fit better {remedy}") for line in said)


def test_class_numbers_are_laid_on_edges_too(circles):
    images, masks = circles
    classes = dict(classes=number_classes(3))
    assert not alignment_of(images, masks // 255 * 2, **classes).is_wrong
    assert alignment_of(images, masks[:, ::-1] // 255 * 2, **classes).is_wrong


def test_masks_that_have_nothing_to_do_with_their_images_are_not_called_misplaced(circles):
    images, masks = circles
    assert not alignment_of(images, np.roll(masks, 7, axis=0)).is_wrong
    assert not alignment_of(np.roll(images, 7, axis=0), masks[:, ::-1]).is_wrong


def test_a_few_images_or_tiny_ones_say_nothing_of_placement(circles):
    images, masks = circles
    assert alignment_of(images[:8], masks[:8, ::-1]) is None
    assert alignment_of(images[:, :1], masks[:, 80:81]) is None


# ---- in data.py


def test_copies_of_the_files_are_one_subject_in_the_list_and_the_report(place):
    make_folders(place, count=7, suffix="_mask")
    image = cv2.imread("images/2.png")
    cv2.imwrite("images/6.png", image)
    prepare(Options(job="cadastre", images="images", masks="masks"))
    files = load_arrays("cadastre").files
    assert [row["subject"] for row in files] == ["1", "2", "3", "4", "5", "2", "7"]
    report = json.loads(Path("output/cadastre/report.json").read_text())
    assert report["facts"]["joined"] == [["2", "6"]]
    assert report["warnings"] == [line for line in report["lines"] if line.startswith(WARNING)]


def test_everything_that_can_be_said_is_a_few_lines():
    images, masks = photos(20), boxes(20, (96, 120))
    images[7], images[8], masks[3], masks[4] = images[0], 0, 0, 255 - masks[4]
    said = lines(facts_of(images, masks, [1] * 5 + [2] * 15))
    assert 5 <= len(said) <= 9
    assert all("\n" not in line for line in said)


def test_noise_says_no_more_than_four_lines(place):
    printed = run_well("data.py").splitlines()
    assert len(printed) <= 4
    assert "vis/noise/data.png" in printed[-2]
    assert Path("vis/noise/data.png").exists()


def test_one_image_of_one_pixel_row_is_prepared(place):
    rng = np.random.default_rng(0)
    save(place / "images/a.png", rng.integers(0, 256, (1, 1000), dtype=np.uint8))
    save(place / "masks/a.png", np.where(np.arange(1000)[None] < 300, 255, 0).astype(np.uint8))
    sources = dict(images="images", masks="masks", image_size=(0, 0))
    prepare(Options(job="cadastre", **sources))
    assert read_report("cadastre")["lines"] == ["foreground: 30 % of a mask"]


def test_a_report_that_is_damaged_or_missing_is_named(place):
    save(place / "images/a.png", draw_pair(1)[0])
    save(place / "masks/a.png", draw_pair(1)[1])
    prepare(Options(job="cadastre", images="images", masks="masks"))
    path = Path("output/cadastre/report.json")
    for text in ("", "[]", '{"warnings": [1], "lines": []}', "{}"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"report.json: damaged .*; run data.py again"):
            read_report("cadastre")
    path.unlink()
    with pytest.raises(InputError, match=r"report.json: missing; run data.py again"):
        read_report("cadastre")


def test_the_share_of_what_does_not_count_is_said(place):
    for number in range(6):
        image, mask = draw_pair(number, (64, 80))
        mask = (mask > 0).astype(np.uint8)
        mask[:16] = 9  # a quarter of the image
        save(place / f"images/{number}.png", image)
        save(place / f"masks/{number}.png", mask)
    options = dict(job="nerve", images="images", masks="masks", image_size=(64, 80))
    data.prepare(data.Options(**options, ignore="9"))
    assert "25 % of the pixels do not count" in survey.read_report("nerve")["lines"]
    data.prepare(data.Options(**options, ignore="200", mask_threshold=0.0))
    assert any(
        "no pixel has the value that --ignore" in w
        for w in survey.read_report("nerve")["warnings"]
    )
