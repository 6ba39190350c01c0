"""The picture of what data.py wrote."""

import cv2
import numpy as np
import pytest

from data import Options, prepare
from unet.data.arrays import Arrays, load_arrays
from unet.data.survey import read_report
from unet.jobs.settings import Reading
from unet.pictures.sheet import (
    CAPTION_FONT,
    CELL,
    choose_rows,
    draw_cell,
    draw_sheet,
    lay_mask,
    shorten,
    write_sheet,
)
from unet.reading.classes import number_classes

YELLOW = (255, 190, 0)


def arrays_of(masks, channels=1, classes=(), ids=None, ignore=()):
    masks = np.asarray(masks, np.uint8)[..., None]
    images = np.random.default_rng(1).integers(0, 256, (*masks.shape[:3], channels), np.uint8)
    files = [{"id": ids[row] if ids else str(row)} for row in range(len(masks))]
    reading = Reading(ignore=ignore)
    return Arrays(images, masks, (), files, [], classes, name="cells", reading=reading)


def report_of(*lines, marked=()):
    return {"lines": list(lines), "facts": {"marked": list(marked)}}


def half_masks(count, size=(40, 50)):
    masks = np.zeros((count, *size))
    masks[:, : size[0] // 2] = 255
    return masks


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (1, 1), (40, 50), (700, 900)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 13])
def test_any_images_make_a_sheet_that_fits_a_screen(size, channels, count):
    sheet = draw_sheet(arrays_of(half_masks(count, size), channels), report_of("a fact"))
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    assert 300 < sheet.shape[1] < 1500
    assert 60 < sheet.shape[0] < 1300


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_outline_has_its_colour_inside_and_black_around_it(grey):
    numbers = np.zeros((40, 40), np.uint8)
    numbers[10:30, 10:30] = 1
    image = np.full((40, 40, 3), grey, np.uint8)
    pixels = lay_mask(image, numbers, number_classes(2))
    color = number_classes(2)[1].color
    assert tuple(pixels[10, 20]) == tuple(pixels[11, 20]) == color
    assert tuple(pixels[9, 20]) == (0, 0, 0)
    assert tuple(pixels[8, 20]) == (grey,) * 3
    middle = np.add(np.multiply(0.78, grey), np.multiply(0.22, color))
    np.testing.assert_allclose(pixels[20, 20], middle, atol=1)


def test_no_outline_runs_along_the_images_border():
    numbers = np.zeros((40, 40), np.uint8)
    numbers[:20] = 1
    pixels = lay_mask(np.zeros((40, 40, 3), np.uint8), numbers, number_classes(2))
    assert tuple(pixels[0, 5]) == tuple(pixels[8, 0]) == tuple(pixels[8, 5])
    assert tuple(pixels[19, 5]) == number_classes(2)[1].color


def test_each_class_has_its_own_colour():
    numbers = np.zeros((40, 40), np.uint8)
    numbers[5:15, 5:15], numbers[25:35, 25:35] = 1, 2
    classes = number_classes(3)
    pixels = lay_mask(np.zeros((40, 40, 3), np.uint8), numbers, classes)
    assert tuple(pixels[5, 10]) == classes[1].color
    assert tuple(pixels[25, 30]) == classes[2].color


def test_what_does_not_count_is_hatched_grey():
    numbers = np.full((40, 40), 255, np.uint8)
    pixels = lay_mask(np.zeros((40, 40, 3), np.uint8), numbers, number_classes(2))
    assert (pixels == pixels[..., :1]).all()
    assert len(np.unique(pixels)) == 2
    assert np.mean(pixels == pixels.max()) == pytest.approx(0.25)


def test_rows_are_evenly_spread():
    chosen = choose_rows(arrays_of(half_masks(120)), 12)
    assert [row // 10 for row in chosen] == list(range(12))
    assert len({row % 10 for row in chosen}) > 3  # tiles of ten an image: not always one corner
    assert choose_rows(arrays_of(half_masks(5)), 12) == [0, 1, 2, 3, 4]
    assert choose_rows(arrays_of(half_masks(5)), 12, others={3: "inverted?"}) == [0, 1, 2, 4]


def test_rows_with_an_outline_are_preferred_to_empty_and_full_ones():
    masks = half_masks(120)
    masks[::10], masks[1::10] = 0, 255
    masks[:10] = 0  # nothing else near: it shows an empty one
    first, *others = choose_rows(arrays_of(masks), 12)
    assert first < 10
    assert [row // 10 for row in others] == list(range(1, 12))
    assert all(row % 10 > 1 for row in others)


def test_of_many_empty_masks_one_is_shown():
    masks = half_masks(120)
    masks[::2] = 0
    chosen = choose_rows(arrays_of(masks), 12)
    assert sum(not masks[row].any() for row in chosen) == 1
    assert len(chosen) == 12


def test_a_marked_row_is_shown_first_and_in_red(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "unet.pictures.sheet.draw_cell",
        lambda arrays, row, mark: drawn.append((row, mark)) or np.zeros((9, 9, 3), np.uint8),
    )
    draw_sheet(arrays_of(half_masks(60)), report_of(marked=[[33, "inverted?"], [2, "one value"]]))
    assert drawn[:2] == [(33, "inverted?"), (2, "one value")]
    assert len(drawn) == 12
    monkeypatch.undo()
    reds = [
        ((cell[:24, ..., 0] > 180) & (cell[:24, ..., 1] < 90)).sum()
        for cell in (draw_cell(arrays_of(half_masks(1)), 0, mark) for mark in ("", "inverted?"))
    ]
    assert reds[0] == 0 < reds[1]


def test_warnings_are_red_and_facts_are_not():
    reds = []
    for line in ("all is well", "warning: all is not well"):
        sheet = draw_sheet(arrays_of(np.zeros((1, 40, 50))), report_of(line))
        reds.append(((sheet[..., 0] > 150) & (sheet[..., 1] < 60) & (sheet[..., 2] < 60)).sum())
    assert reds[0] == 0 < reds[1]


def test_a_long_id_is_shortened_in_its_middle_until_it_fits():
    assert shorten("1_1", 100) == "1_1"
    name = shorten("a" * 100 + "_scan_" + "b" * 100, 150)
    assert name.startswith("aaa")
    assert name.endswith("bbb")
    assert "..." in name
    assert CAPTION_FONT.getlength(name) <= 150


def test_ids_and_lines_of_any_characters_are_drawn():
    ids = ["größe 像\n👁\x00", ""]
    lines = ["warning: 2 masks look inverted: " + "像" * 400, ""]
    sheet = draw_sheet(arrays_of(half_masks(2), ids=ids), report_of(*lines))
    assert sheet.shape[1] < 1500


def test_many_classes_have_a_legend_within_the_sheet():
    masks = np.arange(40 * 50).reshape(1, 40, 50) % 60
    plain = draw_sheet(arrays_of(masks, classes=number_classes(3)), report_of())
    legend = draw_sheet(arrays_of(masks, classes=number_classes(60)), report_of())
    assert legend.shape[0] > plain.shape[0]
    assert legend.shape[1] == plain.shape[1] == 2 * CELL + 40


def test_the_picture_lies_with_the_others_of_the_run(place):
    rng = np.random.default_rng(0)
    for number in range(3):
        for folder, pixels in (
            ("images", rng.integers(0, 256, (64, 80), np.uint8)),
            ("masks", half_masks(1, (64, 80))[0].astype(np.uint8)),
        ):
            (place / folder).mkdir(exist_ok=True)
            cv2.imwrite(f"{folder}/{number}.png", pixels)
    prepare(Options(job="cadastre", name="mine", images="images", masks="masks"))
    path = write_sheet(load_arrays("mine", "cadastre"), read_report("mine"))
    assert str(path) == "vis/mine/data.png"
    pixels = cv2.imread(str(path))[..., ::-1]
    assert (pixels == YELLOW).all(axis=2).sum() > 3 * CELL
