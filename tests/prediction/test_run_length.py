"""Run-length code and the competition's score, against Kaggle's own words and figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_record

import submission
from submission import run_length_enc
from unet.jobs.settings import Reading, Submission
from unet.prediction import submit
from unet.prediction.submit import image_dice
from unet.reading.codes import find_order, read_codes
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
    lines = {"1": ["1 10"], "2": [], "3": [], "4": ["1 2", "3 2"]}
    truth = {("1",): ["6 10"], ("2",): [], ("3",): ["1 5"], ("4",): ["1 4"], ("5",): []}
    scores = [image_dice((name,), codes, size, truth, True) for name, codes in lines.items()]
    assert scores == pytest.approx([2 * 5 / 20, 1, 0, 1])


def test_an_image_without_truth_is_named():
    with pytest.raises(ValueError, match="no line for image 7"):
        image_dice(("7",), [], (4, 4), {}, True)
    assert image_dice(("7",), [], (4, 4), {}, True, may_lack=True) == 1
    assert image_dice(("7",), ["1 1"], (4, 4), {}, True, may_lack=True) == 0


def predicted(masks, classes=()):
    """Rows of files.csv and probabilities that give masks of class numbers."""
    files = [
        {"id": f"a/{n}", "image": f"a/{n}.png", "height": 40, "width": 60}
        for n in range(len(masks))
    ]
    masks = np.stack(masks)
    if classes:
        return files, np.eye(len(classes), dtype=np.float32)[masks]
    return files, masks[..., None].astype(np.float32)


def two_objects(number):
    mask = np.zeros((40, 60), np.uint8)
    mask[4:20, 3 + number : 12], mask[15:33, 30:50] = 1, 1
    return mask


@pytest.mark.parametrize("columns_first", [True, False])
@pytest.mark.parametrize(
    ("header", "line", "form"),
    [
        ("id,rle_mask", "a/{n},{both}", {"extension": False}),
        ("ImageId,EncodedPixels", "a/{n}.png,{both}", {"empty": "-1"}),
        (
            "id,annotation",
            "a/{n},{a}\na/{n},{b}",
            {"extension": False, "per_object": True, "empty": None},
        ),
        ("img,Class,code", "a/{n}.png,cat,{a}\na/{n}.png,dog,{b}", {"labels": "column"}),
        ("Image_Label,code", "a/{n}.png_cat,{a}\na/{n}.png_dog,{b}", {"labels": "name"}),
    ],
)
def test_a_submission_has_the_form_of_the_table_that_was_trained_on(
    header, line, form, columns_first, place
):
    """Also as the table of the true masks, by which it has a Dice of 1."""
    text, masks = [header], []
    for n in range(4):
        both = two_objects(n) if n < 3 else np.zeros((40, 60), np.uint8)
        a, b = both.copy(), both.copy()
        a[:, 20:], b[:, :20] = 0, 0
        codes = {k: run_length_enc(m, columns_first, 0) for k, m in zip("ab", (a, b))}
        codes["both"] = run_length_enc(both, columns_first, 0)
        empty = form.get("empty", "")
        lines = line.format(n=n, **{k: c or empty for k, c in codes.items()}).split("\n")
        text += [] if n == 3 and empty is None else lines
        masks.append(a + 2 * b if form.get("labels") else both)
    Path("train.csv").write_text("\n".join(text) + "\n")
    codes, found, _ = read_codes("train.csv")
    sizes = [(codes[name], lambda: (40, 60)) for name in codes]
    found = replace(found, columns_first=find_order("train.csv", sizes)[0])
    expected = dict(columns=tuple(header.split(",")), columns_first=columns_first)
    assert found == Submission(**{**expected, "extension": True, **form})
    classes = [dict(name=n, color=[n == "cat"] * 3) for n in ("background", "cat", "dog")]
    classes = classes if found.labels else []
    record = make_record(
        job="own", name="own", classes=classes, reading=Reading(submission=found), arrays="own"
    )
    rules = submit.rules_of(record)
    written = submission.write_masks(record, rules, *predicted(masks, classes), [])
    path = Path("output/own/submission.csv")
    assert path.read_text() == Path("train.csv").read_text()
    assert (written.num_lines, written.num_masks) == (len(text) - 1, 6 if "{a}" in line else 3)
    truth = submit.read_truth(path, rules)
    assert submit.score_file(path, path, truth, written.sizes, rules)[0] == 1
    rules = submit.rules_of(record, ",".join("xyz"[: len(rules.columns)]), "rows")
    submission.write_masks(record, rules, *predicted(masks, classes), [])
    assert path.read_text().startswith("x,y")
    assert (path.read_text().split("\n")[1:] == text[1:] + [""]) == (not columns_first)


def test_a_run_of_classes_whose_table_has_none_has_no_submission():
    classes = [dict(name=str(n), color=[n] * 3) for n in range(3)]
    with pytest.raises(ValueError, match="a run of 3 classes; the table of its training has no"):
        submit.rules_of(make_record(job="own", name="own", classes=classes))
    with pytest.raises(ValueError, match="--header a,b,c: 3 columns, expected 2, as img,rle_mask"):
        submit.rules_of(make_record(job="own", name="own"), "a,b,c")
