"""What test.py --images leaves: masks, and the objects in them."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import save
from PIL import Image

from unet.errors import InputError
from unet.jobs.settings import IGNORED
from unet.prediction.masks import check_apart, check_output, find_objects, mask_path, new_masks
from unet.prediction.scores import (
    HeldOutClasses,
    class_counts,
    count_confusion,
    precision_and_recall,
)
from unet.prediction.scoring import Result, score
from unet.reading.classes import SegmentClass, colors_of, decode_classes, number_classes
from unet.reading.pixels import write_numbers

LAND = tuple(
    SegmentClass(name, color)
    for name, color in (("soil", (0, 0, 0)), ("road", (255, 0, 0)), ("house", (0, 0, 255)))
)


def result_of(id, prediction):
    prediction = np.array(prediction, np.uint8)
    return Result(id, prediction[..., None], prediction[..., None] / 1.0, prediction, None)


def read_rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


# ---- objects


def test_an_object_is_what_touches_at_a_side_or_a_corner():
    mask = np.zeros((6, 9), np.uint8)
    mask[0, 0] = mask[1, 1] = 1  # touch at a corner
    mask[3:5, 4:9] = 1
    assert find_objects(mask) == [(1, 2, 0.5, 0.5, 0, 0, 2, 2), (2, 10, 6.0, 3.5, 4, 3, 5, 2)]


def test_an_empty_mask_has_no_object_and_a_full_one_has_one():
    assert find_objects(np.zeros((3, 4), np.uint8)) == []
    assert find_objects(np.ones((1, 1), np.uint8)) == [(1, 1, 0.0, 0.0, 0, 0, 1, 1)]
    assert find_objects(np.ones((3, 4), np.uint8)) == [(1, 12, 1.5, 1.0, 0, 0, 4, 3)]


def test_objects_of_two_classes_that_touch_are_two():
    mask = np.array([[1, 1, 2], [0, 0, 2]], np.uint8)
    assert find_objects(mask, LAND) == [
        ("road", 1, 2, 0.5, 0.0, 0, 0, 2, 1),
        ("house", 2, 2, 2.0, 0.5, 2, 0, 1, 2),
    ]


def test_masks_and_objects_lie_in_one_folder(tmp_path, capsys):
    save(tmp_path / "b.png", np.zeros((2, 2), np.uint8))
    with new_masks(tmp_path, ()) as write:
        write(result_of("sub/a", [[0, 1], [0, 0]]))
        write(result_of("none", [[0, 0], [0, 0]]))
    mask = cv2.imread(str(tmp_path / "sub/a.png"), cv2.IMREAD_UNCHANGED)
    assert mask.tolist() == [[0, 255], [0, 0]]
    assert read_rows(tmp_path / "objects.csv") == [
        dict(image="sub/a", object="1", area="1", x="1.0", y="0.0", left="1", top="0", width="1",
             height="1")
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert "2 masks in" in printed and printed.endswith("; older .png files there: 1\n")


def test_a_call_that_fails_leaves_the_objects_of_before(tmp_path):
    with new_masks(tmp_path, LAND) as write:
        write(result_of("a", [[0, 2]]))
    before = (tmp_path / "objects.csv").read_text()
    assert before.splitlines()[1] == "a,house,1,1,1.0,0.0,1,0,1,1"

    def fail():
        with new_masks(tmp_path, LAND) as write:
            write(result_of("b", [[1, 0]]))
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        fail()
    assert (tmp_path / "objects.csv").read_text() == before
    assert not list(tmp_path.glob(".partial*"))


# ---- palettes


@pytest.mark.parametrize("count", [3, 5, 17, 255])
def test_class_numbers_come_back_from_a_palette_of_the_classes_colors(tmp_path, count):
    """Pillow writes 2, 4 and 8 bits a pixel."""
    classes, path = number_classes(count), tmp_path / "mask.png"
    numbers = np.arange(7 * 50, dtype=np.uint8).reshape(7, 50) % count
    write_numbers(path, numbers, colors_of(classes))
    data = path.read_bytes()
    assert data[25] == 3  # PNG's colour type of a palette
    np.testing.assert_array_equal(decode_classes(data, path, classes), numbers)
    shown = cv2.imread(str(path))[..., ::-1]
    np.testing.assert_array_equal(shown, colors_of(classes)[numbers])
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.array(image), numbers)


# ---- where they go


def test_masks_do_not_go_where_images_and_true_masks_lie(tmp_path):
    save(tmp_path / "images/a.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "masks").mkdir()
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks, images / "new"):
        with pytest.raises(InputError, match="the images or their true masks lie in"):
            check_apart(folder, (images, masks))
    with pytest.raises(InputError, match="the images or their true masks lie in"):
        check_apart(images, (images / "a.png", None))
    with pytest.raises(InputError, match=r"a.png: is a file; name a folder"):
        check_output(images / "a.png", ["a"])
    check_apart(images / "new", (images / "a.png", None))
    check_apart(tmp_path / "new", (images, masks))


def test_a_file_that_another_program_wrote_is_not_replaced(tmp_path):
    save(tmp_path / "drawn/a.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match=r"holds a a.png that test.py did not write"):
        check_output(tmp_path / "drawn", ["b", "a"])
    check_output(tmp_path / "drawn", ["b"])
    with new_masks(tmp_path / "drawn", ()):
        pass
    check_output(tmp_path / "drawn", ["a"])


def test_a_mask_lies_as_its_image_does():
    assert mask_path("out", r"a/b\c:d") == Path("out/a/b_c_d.png")


# ---- confusion


def test_pixels_are_counted_by_true_and_predicted_class_without_those_that_do_not_count():
    truth = np.array([[0, 0, 1], [1, 2, IGNORED]], np.uint8)
    prediction = np.array([[0, 1, 1], [2, 2, 2]], np.uint8)
    confusion = count_confusion(truth, prediction, 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    # of 4 pixels predicted as foreground 2 are right; of 3 true ones 2 are found
    assert precision_and_recall(confusion) == pytest.approx((2 / 4, 2 / 3))


def test_as_many_classes_as_can_be_are_told_apart():
    truth = np.array([[254, 253]], np.uint8)
    confusion = count_confusion(truth, truth[:, ::-1], 255)
    assert confusion[254, 253] == confusion[253, 254] == 1
    assert confusion.sum() == 2


@pytest.mark.parametrize(("truth", "prediction", "expected"), [(0, 0, (1, 1)), (1, 0, (1, 0)),
                                                                (0, 1, (0, 1))])  # fmt: skip
def test_precision_without_a_prediction_and_recall_without_a_truth_are_1(
    truth, prediction, expected
):
    masks = (np.full((2, 2), number, np.uint8) for number in (truth, prediction))
    assert precision_and_recall(count_confusion(*masks, 2)) == expected


def test_where_no_class_is_a_background_class_0_counts_as_the_others():
    truth = np.array([[0, 0, 1, 2], [0, 0, 1, 2]], np.uint8)
    prediction = np.array([[0, 0, 0, 2], [0, 0, 0, 2]], np.uint8)
    assert [row[0] for row in find_objects(truth, LAND[:3], 0)] == [c.name for c in LAND[:3]]
    dice = np.array([8 / 10, 0, 1])  # of each class
    result = Result("x", truth, truth, prediction, truth)
    for first in (0, 1):
        (mean, _, _, precision, recall), confusion = score(result, 3, first)
        assert mean == pytest.approx(dice[first:].mean())
        counts = map(np.atleast_2d, class_counts(confusion))
        measured = HeldOutClasses(np.zeros(1), truth, *counts, first)
        assert measured.dice() == pytest.approx([dice[first:].mean()])
    assert (precision, recall) == (1, 2 / 4)
    assert precision_and_recall(confusion, 0) == (6 / 8, 6 / 8)
