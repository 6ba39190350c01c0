"""More than two classes: their names and colours, and masks of class numbers."""

import colorsys
import os
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unet.errors import InputError, refuse
from unet.jobs.settings import IGNORED, MOST_CLASSES, PLAIN
from unet.machine.disk import csv_text, read_csv
from unet.reading.masks import describe_colours, find_ignored, one_hot_numbers, without_alpha
from unet.reading.pixels import JPEG, decode_pixels, palette_numbers
from unet.runs import Paths

CLASSES = "classes.csv"  # in output/NAME, where there are more than two
HEADER = ("name", "r", "g", "b")
BACKGROUND = ("background", "bg")
VOID = ("void", "unlabeled", "unlabelled", "ignore", "ignored")
MASKS = {False: "numbers", True: "colors"}  # what masks hold: a column more in output/NAME


@dataclass(frozen=True)
class SegmentClass:
    """One class of a mask; class 0 is the background."""

    name: str
    color: tuple[int, int, int]  # RGB, 0..255


TWO_CLASSES = (SegmentClass("background", (0, 0, 0)), SegmentClass("foreground", (255, 190, 0)))


def meaning_of(name):
    """0 for the name of a background, IGNORED for that of what does not count, None for others."""
    word = name.strip("_ ").casefold()
    return 0 if word in BACKGROUND else IGNORED if word in VOID else None


def colors_of(classes):
    """RGB uint8 (K, 3)."""
    return np.array([label.color for label in classes], np.uint8)


def number_classes(count):
    """`count` classes without names: the background black, the others in colours far apart."""
    colors = [(0, 0, 0)]
    for number in range(1, count):
        hue, light = 0.618034 * number % 1, (0.95, 0.7)[number % 2]
        colors.append(tuple(round(255 * x) for x in colorsys.hsv_to_rgb(hue, 0.75, light)))
    return tuple(SegmentClass(f"class {n}", color) for n, color in enumerate(colors))


def read_classes(path):
    """The classes of a colour table, a CSV file with columns name, r, g, b and a line for each, or
    CVAT's labelmap.txt, as they stand there. Raises InputError.
    """
    classes, rows = [], read_labelmap(path)
    for number, row in enumerate(rows or read_csv(path, HEADER, by_hand=True), 2):
        color = tuple(row[c] for c in "rgb")
        if not all(c.isdecimal() and len(c) < 4 and int(c) < 256 for c in color):
            raise InputError(f"{path}: line {number}: colour {' '.join(color)}, expected 0 to 255")
        classes.append(SegmentClass(row["name"], tuple(map(int, color))))
    values = [value for label in classes for value in (label.name, label.color)]
    twins = [value for value in values if values.count(value) > 1]
    refuse(
        (
            not 3 <= len(classes) <= MOST_CLASSES,
            f"{path}: {len(classes)} classes, expected 3 to {MOST_CLASSES}, one a line",
        ),
        (twins, f"{path}: two classes have {twins[:1]}; make names and colours differ"),
    )
    return tuple(classes)


def read_labelmap(path):
    """Rows as those of a colour table of CVAT's labelmap.txt, lines name:r,g,b:parts:actions under
    a comment; [] of any other file.
    """
    text = Path(path).read_text("utf-8", "replace") if os.path.isfile(path) else ""
    found = re.findall(r"^([^#:\n][^:\n]*):(\d+),(\d+),(\d+):", text, re.MULTILINE)
    return [dict(zip(HEADER, row)) for row in found]


def sort_classes(lines, path):
    """The classes of a colour table's lines, the background first, and the number that each line
    has: IGNORED where it is void. Raises InputError for several backgrounds, and where fewer than
    three classes are left.
    """
    meanings = [meaning_of(label.name) for label in lines]
    first = [n for n, meaning in enumerate(meanings) if meaning == 0]
    others = [n for n, meaning in enumerate(meanings) if meaning is None]
    order = [*first, *others]
    void = [label.name for label, meaning in zip(lines, meanings) if meaning == IGNORED]
    refuse(
        (len(first) > 1, f"{path}: {len(first)} classes are called background; keep one"),
        (
            len(order) < 3,
            f"{path}: {len(order)} classes beside {', '.join(void)}, whose pixels are ignored; "
            "expected 3 or more: where it is all the rest, call it background",
        ),
    )
    number_of = {line: number for number, line in enumerate(order)}
    numbers = tuple(number_of.get(line, IGNORED) for line in range(len(lines)))
    return tuple(lines[line] for line in order), numbers


def find_classes(name):
    """The classes of the arrays in output/NAME, () where their masks are foreground or not, and
    True where the files' masks were in their colours.
    """
    path = Paths(name).arrays / CLASSES
    if not path.exists():
        return (), False
    return read_classes(path), read_csv(path, HEADER)[0].get("masks") == MASKS[True]


def classes_text(classes, is_colored):
    """The text that find_classes reads."""
    rows = [(label.name, *label.color, MASKS[is_colored]) for label in classes]
    return csv_text((*HEADER, "masks"), rows)


def decode_classes(data, path, classes, page=None, is_colored=False, reading=PLAIN):
    """Class numbers of an encoded mask, uint8 (H, W): its values, of a palette the numbers in it,
    or the reading's numbers of these; with is_colored its colours looked up in those of the
    classes. What is transparent is of class 0, what has the reading's value or colour `ignore`
    IGNORED. Raises InputError.
    """
    ignore = reading.ignore
    if is_colored:
        pixels = decode_pixels(data, path, page)
        if pixels.dtype != np.uint8:
            raise InputError(f"{path}: a mask of {pixels.dtype} colours; expected 8 bit")
        ignored = find_ignored(pixels, ignore)
        numbers = _look_up(pixels, colors_of(classes), path, ignored)
    else:
        count = len(reading.numbers or classes)
        numbers = read_numbers(data, path, page, count)
        ignored = find_ignored(numbers, ignore)
        numbers = without_alpha(numbers, ignored)
        check_numbers(numbers, path, count)
        if reading.numbers:
            numbers = np.array(reading.numbers)[numbers.astype(int)]
    numbers = numbers.astype(np.uint8)
    if ignored is not None:
        numbers[ignored] = IGNORED
    return numbers


def read_numbers(data, path, page, count):
    """The values (H, W) of a mask of class numbers, in whatever dress it has them; raises
    InputError.
    """
    if data.startswith(JPEG):
        raise InputError(f"{path}: is a JPEG, which changes class numbers; save masks as PNG")
    numbers = palette_numbers(data, page)
    if numbers is not None:
        return numbers
    pixels = without_alpha(one_hot_numbers(decode_pixels(data, path, page), data))
    if pixels.ndim == 2:
        return pixels
    used = [n for n in range(pixels.shape[2]) if pixels[..., n].any()]
    if len(used) < 2 or (pixels == pixels[..., :1]).all():  # grey, or numbers in one colour alone
        return pixels.max(axis=2)
    raise InputError(
        f"{path}: mask has colours, {describe_colours(pixels[..., :3])}; expected class numbers "
        f"0 to {count - 1} as grey values or in a palette; masks of colours are for data.py "
        "--colors FILE, without --classes"
    )


def check_numbers(numbers, path, count):
    """Raise InputError for what are no class numbers below a count."""
    least, most = numbers.min(), numbers.max()
    if numbers.dtype.kind == "f" and (numbers != np.rint(numbers)).any():
        raise InputError(f"{path}: mask has values between whole numbers; expected class numbers")
    if least >= 0 and most < count:
        return
    advice = "data.py takes another --classes, and masks of colours with --colors FILE"
    below = numbers[numbers < count]
    if most == 255 and np.unique(numbers[numbers >= count]).size == 1 and below.size:
        advice = f"if {most:g} is what does not count, pass --ignore {most:g}; else {advice}"
    elif least > 0 and most == count:
        advice = f"if they begin with 1, and 0 never occurs, pass --classes {count + 1}"
    raise InputError(
        f"{path}: mask has value {most if least >= 0 else least:g}, expected class numbers 0 to "
        f"{count - 1}; {advice}"
    )


def _look_up(pixels, table, path, ignored=None):
    """The number that each pixel's colour has in a table of RGB colours, uint8 (H, W); 0 where it
    is ignored.
    """
    pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels
    if pixels.shape[2] == 2:
        pixels = cv2.merge([pixels[..., 0]] * 3 + [pixels[..., 1]])
    keys = np.dot(pixels[..., :3].astype(np.int32), (1, 256, 65536))
    table_keys = np.dot(np.asarray(table, np.int32), (65536, 256, 1))
    if pixels.shape[2] == 4:
        keys[pixels[..., 3] == 0] = table_keys[0]
    if ignored is not None:
        keys[ignored] = table_keys[0]
    known, first = np.unique(table_keys, return_index=True)
    place = np.searchsorted(known, keys).clip(max=len(known) - 1)
    wrong = known[place] != keys
    if wrong.any():
        blue, green, red = pixels[wrong][0][:3]
        raise InputError(
            f"{path}: colour {red} {green} {blue} in {np.count_nonzero(wrong)} pixels is of no "
            "class; add it to the table, or save masks as PNG (JPEG changes colours)"
        )
    return first[place]


def resize_classes(numbers, image_size):
    """Class numbers (H, W, 1) at another (H, W): of each new pixel the class with the largest
    share of its area.
    """
    if numbers.shape[:2] == tuple(image_size):
        return numbers
    shrinks = image_size[0] < numbers.shape[0] or image_size[1] < numbers.shape[1]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    found = np.unique(numbers)
    shares = [
        cv2.resize((numbers == n).astype(np.float32), image_size[::-1], interpolation=kind)
        for n in found
    ]
    return found[np.argmax(shares, axis=0)][..., None]
