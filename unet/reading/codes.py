"""Tables of run-length code, as competitions hand them out."""

import contextlib
import re
from pathlib import PurePath
from typing import NamedTuple

import cv2
import numpy as np

from unet.errors import InputError, refuse
from unet.jobs.settings import Submission
from unet.machine.disk import read_csv
from unet.reading.files import IMAGE_SUFFIXES
from unet.reading.run_length import run_length_dec

NERVE_COLUMNS = ["subject", "img", "pixels"]  # of Kaggle's train_masks.csv
CLASS_WORDS = ("class", "label", "category")  # in the name of a column of classes
MOST_WORDS = 64  # classes in a column of another name
EMPTY = ("", "-1", "nan")  # codes of an empty mask
IMAGE_AND_CLASS = re.compile(rf"(.+(?:{'|'.join(IMAGE_SUFFIXES)}))_([^/]+)", re.IGNORECASE)
SAMPLES = 20  # images that the order of pixels is found with
CLEAR = 1.5  # times as many pieces in the wrong order, at least


class Code(NamedTuple):
    """A run-length code, its name in messages, and the label of its class, "" without classes."""

    where: str
    text: str
    label: str


def read_codes(path):
    """{image name: its Codes} of a CSV table of run-length code, the Submission that it has the
    form of, but for the order of pixels, and the names of columns that are ignored.

    Columns are an image, perhaps a class, and the code, under any names, or Kaggle's subject, img,
    pixels, where the image is subject_img. x.jpg_cat is image x.jpg and class cat. Several lines
    of an image are its objects; an empty code, NaN or -1 is an empty mask. Raises InputError;
    codes are looked at when masks are drawn.
    """
    rows, codes, empty = read_csv(path, by_hand=True, keep_case=True), {}, []
    names = [name for name in rows[0] if name is not None] if rows else []
    code = next(iter(code_columns(rows)), names[-1] if names else "")
    is_nerve = [name.lower() for name in names] == NERVE_COLUMNS
    others = [] if is_nerve else [name for name in names[1:] if name != code]
    label = class_column(rows, others)
    refuse(
        (
            rows and (len(names) < 2 or code == names[0]),
            f"{path}: has columns {', '.join(names)}; expected an image, perhaps a class, and "
            "run-length code",
        )
    )
    for line, row in enumerate(rows, 2):
        cells = [row[name] for name in names]
        if None in row or None in cells or not all(c.strip() for c in cells[: 1 + is_nerve]):
            raise InputError(
                f"{path}: line {line}: expected {len(names)} cells, as its header, and an "
                "image's name"
            )
    images = ["_".join(row[n] for n in names[: 1 + is_nerve]) for row in rows]
    joined = [IMAGE_AND_CLASS.fullmatch(image) for image in images]
    is_joined = bool(rows) and not label and all(joined)
    for line, (row, image, match) in enumerate(zip(rows, images, joined), 2):
        where, text = f"{path}: line {line}: image {image}", _code(row[code])
        image, word = match.groups() if is_joined else (image, row[label] if label else "")
        empty += [] if text else [row[code]]
        codes.setdefault(image, []).append(Code(where, text, word))
    keys = [(image, c.label) for image, of_image in codes.items() for c in of_image if c.text]
    is_several = len(set(keys)) < len(keys)
    form = Submission(
        columns=tuple(filter(None, (*names[is_nerve : is_nerve + 1], label, code))),
        extension=bool(codes) and all(_suffix(image) in IMAGE_SUFFIXES for image in codes),
        labels="column" if label else "name" if is_joined else "",
        empty=empty[0] if empty else None if label or is_joined or is_several else "",
        per_object=is_several,
    )
    return codes, form, [name for name in others if name != label]


def _suffix(name):
    return PurePath(name).suffix.lower()


def class_column(rows, names):
    """The one of a table's columns that holds classes, "" where none does: by its name, or where
    it is the only one, by having few words.
    """
    named = [name for name in names if any(word in name.lower() for word in CLASS_WORDS)]
    if not named and len(names) == 1:
        count = len({row[names[0]] for row in rows})
        named = names if 1 < count < min(len(rows), MOST_WORDS) else []
    return named[0] if named else ""


def code_columns(rows):
    """Which of the second and the last column of a table's rows, dicts, hold run-length codes, not
    paths: nothing but digits and blanks, and somewhere two numbers or more.
    """
    found = []
    names = [name for name in rows[0] if name is not None] if rows else []
    for column in dict.fromkeys([*names[1:2], *names[1:][-1:]]):
        codes = [_code(row[column]) for row in rows]
        is_code = all(re.fullmatch("[0-9 ]*", code) for code in codes)
        if is_code and any(" " in code for code in codes):
            found.append(column)
    return found


def _code(cell):
    """The text of a table's cell, "" for what stands for an empty one."""
    text = "" if cell is None else str(cell).strip()
    return "" if text.lower() in EMPTY else text


def draw_runs(codes, columns_first, read_size, numbers):
    """Class numbers, uint8 (H, W), of Codes, 0 where none has a run; raises InputError.

    read_size: returns (H, W) of the image, which no table has; numbers: class numbers by label, 1
    of one that is not in it.
    """
    size = read_size()
    mask = np.zeros(size, np.uint8)
    for code in codes:
        mask[decode(code, size, columns_first)] = numbers.get(code.label, 1)
    return mask


def decode(code, size, columns_first):
    """The mask, bool (H, W), of a Code; raises InputError."""
    try:
        return run_length_dec(code.text, *size, columns_first)
    except InputError as error:
        raise InputError(f"{code.where}: {error}") from error


def find_order(path, codes):
    """True where the pixels of run-length code are numbered down the columns, False where along
    the rows, and what says so: in the right order, the codes make far fewer pieces.

    codes: pairs of an image's Codes and a function that returns its (H, W). Raises InputError
    where neither order has CLEAR times as many pieces as the other.
    """
    pieces = {True: 0, False: 0}
    drawn = [pair for pair in codes if any(code.text for code in pair[0])]
    for of_image, read_size in drawn[:: max(1, len(drawn) // SAMPLES)]:
        with contextlib.suppress(InputError, OSError):  # drawing says that, too
            size = read_size()
            for code in of_image:
                masks = [decode(code, size, columns_first) for columns_first in pieces]
                for columns_first, mask in zip(pieces, masks):
                    count = cv2.connectedComponents(mask.view(np.uint8))[0] - 1
                    pieces[columns_first] += count
    columns, rows = pieces[True], pieces[False]
    if drawn and max(columns, rows) < CLEAR * min(columns, rows):
        raise InputError(
            f"{path}: {columns} pieces if pixels are numbered down the columns, {rows} along the "
            "rows, which does not tell the two apart (of square images nothing does); pass "
            "--run-length columns (as Kaggle mostly has it) or rows"
        )
    right, wrong = sorted((columns, rows))
    return columns <= rows, f"{right} pieces, in the other order {wrong}"
