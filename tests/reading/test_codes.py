"""Tables of run-length code: what they hold, in which order, and what becomes of it."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import save
from PIL import Image

import data
from unet.data.arrays import load_arrays
from unet.errors import InputError
from unet.jobs.settings import Submission
from unet.reading.codes import code_columns, draw_runs, read_codes
from unet.reading.run_length import run_length_enc


def written(text, name="table.csv"):
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def refusal(call, *arguments):
    with pytest.raises(InputError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(autouse=True)
def here(place):
    """Files are written to an empty folder."""


def slow_code(mask, columns_first):
    """Pixel by pixel."""
    height, width = mask.shape
    if columns_first:
        pixels = [(y, x) for x in range(width) for y in range(height)]
    else:
        pixels = [(y, x) for y in range(height) for x in range(width)]
    runs, before = [], False
    for number, (y, x) in enumerate(pixels, 1):
        if mask[y, x] and not before:
            runs.append([number, 0])
        if mask[y, x]:
            runs[-1][1] += 1
        before = bool(mask[y, x])
    return " ".join(f"{start} {length}" for start, length in runs)


def run_length_masks(text, size=(7, 11), columns_first=True):
    """{name: a function that draws its mask}."""
    found, _, _ = read_codes(written(text))
    return {n: partial(draw_runs, found[n], columns_first, lambda: size, {}) for n in found}


@pytest.mark.parametrize("columns_first", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 11)])
def test_a_random_mask_comes_back_in_both_orders(size, columns_first):
    rng = np.random.default_rng(3)
    drawn = {f"{n}.png": rng.random(size) < density for n, density in enumerate((0, 0.3, 0.9, 1))}
    codes = {name: slow_code(mask, columns_first) for name, mask in drawn.items()}
    text = "img,rle_mask\n" + "".join(f"{name},{code}\n" for name, code in codes.items())
    masks = run_length_masks(text, size, columns_first)
    assert list(masks) == list(drawn)
    for name, mask in masks.items():
        assert mask().dtype == np.uint8
        np.testing.assert_array_equal(mask(), drawn[name])


def test_the_order_is_down_the_columns_or_along_the_rows():
    text = "image,code\na,1 3\n"
    expected = np.zeros((7, 11))
    expected[:3, 0] = 1
    np.testing.assert_array_equal(run_length_masks(text)["a"](), expected)
    expected = np.zeros((7, 11))
    expected[0, :3] = 1
    mask = run_length_masks(text, columns_first=False)["a"]
    np.testing.assert_array_equal(mask(), expected)


def test_the_lines_of_an_image_are_united():
    masks = run_length_masks("ImageId,EncodedPixels\na,1 3\nb,\na,3 4 20 1\nc,NaN\na,\nc,nan\n")
    assert np.flatnonzero(masks["a"]().ravel("F")).tolist() == [0, 1, 2, 3, 4, 5, 19]
    assert not masks["b"]().any() and not masks["c"]().any()


def test_kaggles_nerve_names_an_image_by_subject_and_number():
    masks = run_length_masks("subject,img,pixels\n1,2,\n12,1,5 2\n")
    assert {name: int(mask().sum()) for name, mask in masks.items()} == {"1_2": 0, "12_1": 2}


@pytest.mark.parametrize(
    "code",
    ["5", "1 2 3", "a b", "masks/a.png", "0 4", "1 0", "-2", "1.5 2", "77 2", "1 78", "1 5 3 2"]
    + ["9 2 1 2", "9" * 30 + " 1", "1_0 2", "١ ٢"],
)
def test_a_code_that_is_none_is_refused_with_its_line_and_image(code):
    mask = run_length_masks(f"image,code\na,1 77\nb.png,{code}\n")["b.png"]
    assert refusal(mask).startswith("table.csv: line 3: image b.png: run-length code ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\na\n", "has columns image; expected an image, perhaps a class, and run-length"),
        ("image,code\na,1 2\nb\n", "line 3: expected 2 cells, as its header, and an image's name"),
        ("image,code\na,1 2,3 4\n", "line 2: expected 2 cells"),
        ("image,code\n ,1 2\n", "line 2: expected 2 cells, as its header, and an image's name"),
        (b"image,code\na\xff,1 2\n", "not a CSV file in UTF-8"),
        (b'image,code\n"a,1 2\n', "not a CSV file in UTF-8"),
    ],
)
def test_a_table_that_has_other_lines_is_refused(text, message):
    written(text, "table.csv")
    line = refusal(read_codes, "table.csv")
    assert line.startswith("table.csv: ") and message in line


def test_a_table_that_is_not_there_is_refused():
    assert refusal(read_codes, "no.csv") == "no.csv: no such CSV file"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], False),
        ([dict(image="a.png")], False),
        ([dict(image="a.png", mask="b.png")], False),
        ([dict(image="a.png", mask="1 3"), dict(image="b.png", mask="b.png")], False),
        ([dict(image="1", mask="2")], False),  # files may be called so
        ([dict(image="a.png", mask="")], False),
        ([dict(image="a.png", mask="-1")], False),
        ([dict(image="a.png", mask="1 3"), dict(image="b.png", mask="")], True),
        ([dict(image="a.png", mask="5"), dict(image="b.png", mask=" 1 3 ")], True),
        ([dict(image="a.png", mask=float("nan")), dict(image="b.png", mask="1 3")], True),
        ([dict(image="a.png", mask=None), dict(image="b.png", mask="1 3 7 2")], True),
        ([dict(subject="1", img="2", pixels="1 3")], True),
        ([dict(id="a", height="4", width="4", code="1 3")], True),
        ([{"image": "a", "code": "1 3", None: ["more"]}], True),
    ],
)
def test_a_table_of_codes_is_told_from_one_of_paths(rows, expected):
    assert bool(code_columns(rows)) is expected


def disc(number, size=(40, 60), radius=8):
    """A mask with a disc and a bar."""
    rng = np.random.default_rng(number)
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, rng.integers(12, 28, 2).tolist(), radius, 1, cv2.FILLED)
    return mask


def write_table(masks, columns_first, name="train.csv", empty=""):
    """Images and a table of their masks; {image number: mask}."""
    rows = ["id,rle_mask"]
    for number, mask in masks.items():
        save(Path(f"images/{number}.png"), mask * np.uint8(200))
        rows.append(f"{number},{run_length_enc(mask, columns_first, 0) or empty}")
    Path(name).write_text("\n".join(rows) + "\n")


def prepared(*given, **options):
    arguments = dict(job="own", images="images", masks="train.csv")
    data.prepare(data.Options(*given, **{**arguments, **options}))
    return load_arrays("own")


@pytest.mark.parametrize("columns_first", [True, False])
def test_the_order_is_found_from_the_codes_said_and_kept(columns_first, capsys):
    masks = {n: disc(n) for n in range(4)} | {4: np.zeros((40, 60), np.uint8)}
    write_table(masks, columns_first, empty="-1")
    arrays = prepared()
    assert np.array_equal(arrays.masks[:][..., 0] > 0, np.stack(list(masks.values())) > 0)
    order = "down the columns" if columns_first else "along the rows"
    assert f"pixels numbered {order} (4 pieces, " in capsys.readouterr().out
    expected = Submission(("id", "rle_mask"), columns_first, extension=False, empty="-1")
    assert arrays.reading.submission == expected


def test_an_order_that_the_codes_do_not_tell_is_asked_for():
    dots = np.zeros((40, 60), np.uint8)
    dots[4::9, 5::9] = 1
    write_table(dict.fromkeys(range(3), dots), True)
    with pytest.raises(InputError, match="84 pieces if .* pass --run-length columns"):
        prepared()
    assert not Path("output/own/files.csv").exists()
    for order, is_right in (("columns", True), ("rows", False)):
        found = prepared(run_length=order).masks[0][..., 0] > 0
        assert np.array_equal(found, dots > 0) == is_right


def test_validation_images_have_the_order_of_the_training_images():
    """Of which there are too few, or whose masks are too small, to tell it."""
    masks = {n: disc(n) for n in range(4)}
    write_table(masks, False)
    dot = np.zeros((40, 60), np.uint8)
    dot[3, 50] = 1
    save(Path("more/m.png"), dot * np.uint8(200))
    Path("more.csv").write_text(f"id,rle_mask\nm,{run_length_enc(dot, False, 0)}\n")
    arrays = prepared(validation_images="more", validation_masks="more.csv")
    row = next(n for n, file in enumerate(arrays.files) if file["id"] == "m")
    assert np.array_equal(arrays.masks[row][..., 0] > 0, dot > 0)
    assert not arrays.reading.submission.columns_first


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (["ImageId,ClassId,EncodedPixels", "{n}.png,1,{a}", "{n}.png,3,{b}"], "column"),
        (["id,Code,Label", "{n},{a},x", "{n},{b},y"], "column"),
        (["id,class,segmentation", "{n},stomach,{a}", "{n},bowel,{b}"], "column"),
        (["Image_Label,EncodedPixels", "{n}.png_Fish,{a}", "{n}.png_Sugar,{b}"], "name"),
        (
            ["id,annotation,width,height,cell_type", "{n},{a},60,40,astro", "{n},{b},60,40,cort"],
            "",
        ),
    ],
)
def test_competitions_tables_are_read_with_their_classes(rows, labels, capsys):
    size, lines = (40, 60), [rows[0]]
    first, second = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    first[5:25, 8:20], second[12:30, 30:55] = 1, 1
    for n in range(4):
        save(Path(f"images/{n}.png"), np.full(size, 60 + n, np.uint8))
        a, b = (run_length_enc(mask, False) for mask in (first, second))
        lines += [row.format(n=n, a=a, b=b) for row in rows[1:]]
    Path("train.csv").write_text("\n".join(lines))
    two = prepared().masks[0][..., 0] > 0
    assert np.array_equal(two, (first | second) > 0)
    told = capsys.readouterr().out
    if not labels:
        assert "columns width, height, cell_type are ignored" in told
        return
    assert "--classes 3 tells them apart" in told
    arrays = prepared(classes=3)
    numbers = {"stomach": (2, 1)}.get(lines[1].split(",")[1], (1, 2))  # in the order of labels
    assert np.array_equal(arrays.masks[0][..., 0], first * numbers[0] + second * numbers[1])
    form = arrays.reading.submission
    assert form.labels == labels
    if labels == "column":  # whose place is before the code
        assert sorted(form.columns) == sorted(rows[0].split(",")) and form.columns[2] != "Label"
    assert arrays.reading.submission.empty is None


def test_a_16_bit_mask_and_a_table_of_the_same_images_are_equal():
    masks = {n: disc(n, (101, 101), 20) for n in range(3)}
    write_table(masks, True)
    for n, mask in masks.items():
        Path("masks").mkdir(exist_ok=True)
        Image.fromarray(mask.astype(np.uint16) * 65535).save(f"masks/{n}.png")
    with pytest.raises(InputError, match="pass --run-length"):  # both orders are as likely
        prepared()
    from_table = prepared(run_length="columns").masks[:]
    assert np.array_equal(from_table, prepared(masks="masks").masks[:])
