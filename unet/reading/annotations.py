"""Masks that are no pictures: outlines in labelme and COCO files, run-length code in tables."""

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PureWindowsPath
from reprlib import repr as short
from typing import NamedTuple

import cv2
import numpy as np

from unet import LARGEST_IMAGE
from unet.errors import InputError
from unet.machine.disk import read_csv, size_text
from unet.reading.run_length import run_length_dec

LARGEST_JSON = 2**29  # bytes; the largest of COCO's own has 470 MB
LONGEST_SIDE = 2**20  # pixels; OpenCV reads no longer ones, and walks outlines row by row
LABELME_KEYS = ("shapes", "imagePath", "imageHeight", "imageWidth")
COCO_KEYS = ("images", "annotations", "categories")
NUM_POINTS = {"polygon": "3 or more", "rectangle": "2 opposite corners", "circle": "2"}
NERVE_COLUMNS = ["subject", "img", "pixels"]  # of Kaggle's train_masks.csv


class Shape(NamedTuple):
    """A polygon, or with a radius a circle, of one class."""

    number: int  # of the class
    points: np.ndarray  # int32 (N, 2), x and y; a circle's centre
    radius: int | None = None


@dataclass(frozen=True, slots=True)
class DrawnMask:
    """A mask of outlines, drawn when it is read. `path` is how messages name it."""

    path: str
    size: tuple[int, int]  # (H, W)
    shapes: tuple[Shape, ...]
    image: str  # name of its image, as the file has it
    place: tuple = ()
    page: None = None  # there is no other in the file

    def read(self):
        """Class numbers, uint8 (H, W), 0 where no shape lies; later shapes lie over earlier
        ones. What is outside the image is cut off; a polygon's outline belongs to it.
        """
        mask = np.zeros(self.size, np.uint8)
        for number, points, radius in self.shapes:
            if radius is None:
                cv2.fillPoly(mask, [points], number)
            else:
                cv2.circle(mask, points[0].tolist(), radius, number, cv2.FILLED)
        return mask


class Runs(NamedTuple):
    """What a table has of an image."""

    columns_first: bool
    codes: tuple[tuple[str, str], ...]  # run-length codes, each after how messages name it


@dataclass(frozen=True, slots=True)
class RunLengthMask:
    """A mask of run-length codes, decoded when it is read. `path` is how messages name it."""

    path: str
    runs: Runs
    size_of: Callable[[], tuple[int, int]]  # (H, W) of its image, which no table has
    place: tuple = ()
    page: None = None  # there is no other in the file

    def read(self):
        """uint8 (H, W), 1 where one of the codes has a run, else 0; raises InputError."""
        height, width = self.size_of()
        mask = np.zeros((height, width), np.uint8)
        for where, code in self.runs.codes:
            try:
                mask |= run_length_dec(code, height, width, self.runs.columns_first)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
        return mask


def labelme_labels(files):
    """The labels of the shapes in labelme files, sorted; raises InputError."""
    labels = set()
    for file in files:
        content = _read_object(file.read(), file.path, LABELME_KEYS)
        labels |= {_text(*entry, "label") for entry in _entries(content, "shapes", file.path)}
    return sorted(labels)


def labelme_mask(file, labels):
    """The DrawnMask of a labelme file, an ImageFile; its image is a name without folders.

    labels: class numbers by label, None: 1 for all. Raises InputError.
    """
    content = _read_object(file.read(), file.path, LABELME_KEYS)
    image = PureWindowsPath(_text(content, file.path, "imagePath")).name  # takes both slashes
    shapes = []
    for shape, where in _entries(content, "shapes", file.path):
        number = _class_number(_text(shape, where, "label"), labels, where)
        shapes.append(_labelme_shape(shape, number, where))
    size = _size(content["imageHeight"], content["imageWidth"], file.path)
    return DrawnMask(file.path, size, tuple(shapes), image)


def _labelme_shape(shape, number, where):
    kind = shape.get("shape_type", "polygon")  # early versions draw nothing else
    if not isinstance(kind, str) or kind not in NUM_POINTS:
        raise InputError(
            f"{where}: has shape_type {short(kind)}; allowed: {', '.join(NUM_POINTS)}; "
            "draw it as one of these, or take it out"
        )
    points = _points(shape.get("points"), where)
    if kind == "circle" and len(points) == 2:  # its centre, and a point on it
        return _shape(number, points[:1], round(math.dist(*points)))
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    if kind == "circle" or len(points) < 3:  # some tools give a rectangle all of its corners
        raise InputError(
            f"{where}: a {kind} has {len(points)} points, expected {NUM_POINTS[kind]}; draw it "
            "again, or take it out"
        )
    return _shape(number, points)


def coco_labels(path):
    """The names of the categories that a COCO file's annotations are of, in the order of its list
    of categories; raises InputError.
    """
    content = _read_coco(path)
    used = {label for _, label, _ in _coco_annotations(content, path)}
    return [name for name in dict.fromkeys(_coco_names(content, path).values()) if name in used]


def read_coco(path, labels=None):
    """A DrawnMask for each image of a COCO file, by its file_name; where an image has no
    annotations it is empty.

    labels: class numbers by the name of a category, None: 1 for all. Raises InputError.
    """
    content = _read_coco(path)
    images, masks = _by_id(content, "images", path), {}
    shapes = {id: [] for id in images}
    for annotation, label, where in _coco_annotations(content, path):
        number = _class_number(label, labels, where)
        drawn = [_shape(number, points) for points in _coco_polygons(annotation, where)]
        _look_up(shapes, annotation, where, "image_id").extend(drawn)
    for id, (image, where) in images.items():
        name = _text(image, where, "file_name")
        if name in masks:
            raise InputError(f"{where}: a second image {name}; keep one")
        where = f"{path}: image {name}"
        size = _size(image.get("height"), image.get("width"), where)
        masks[name] = DrawnMask(where, size, tuple(shapes[id]), name)
    if not masks:
        raise InputError(f"{path}: has no images; expected one or more")
    return masks


def _read_coco(path):
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such COCO file")
    with open(path, "rb") as file:
        return _read_object(file.read(LARGEST_JSON + 1), path, COCO_KEYS)


def _coco_names(content, path):
    """Names of the categories by id."""
    categories = _by_id(content, "categories", path)
    return {id: _text(*entry, "name") for id, entry in categories.items()}


def _coco_annotations(content, path):
    """Yield each annotation, the name of its category, and how messages name it."""
    names = _coco_names(content, path)
    for annotation, where in _entries(content, "annotations", path):
        yield annotation, _look_up(names, annotation, where, "category_id"), where


def _coco_polygons(annotation, where):
    found = annotation.get("segmentation")
    if isinstance(found, dict):
        raise InputError(
            f"{where}: its segmentation is run-length code (iscrowd); expected polygons; convert "
            "it to polygons, or export masks as PNG"
        )
    if not isinstance(found, list) or not found:
        raise InputError(
            f"{where}: its segmentation is {short(found)}; expected polygons, [[x, y, x, "
            "y, ...], ...]; draw them (a box is no mask), or take it out"
        )
    polygons = [_points(polygon, where) for polygon in found]
    least = min(map(len, polygons))
    if least < 3:
        raise InputError(f"{where}: a polygon has {least} points, expected 3 or more; take it out")
    return polygons


def read_run_lengths(path, columns_first):
    """Runs by image name, from a CSV table of images and run-length codes, two columns of any
    names or Kaggle's subject, img, pixels, where the name is subject_img.

    Several lines of an image are its objects; an empty code or NaN is an empty mask.
    columns_first: whether pixels are numbered down the columns first (nerve) or along the rows
    (car). Raises InputError; codes are looked at when masks are read.
    """
    rows, codes = read_csv(path, by_hand=True), {}
    columns = [name for name in rows[0] if name is not None] if rows else []
    if rows and len(columns) != 2 and columns != NERVE_COLUMNS:
        raise InputError(
            f"{path}: has columns {', '.join(columns)}; expected two, image and run-length code, "
            f"or {', '.join(NERVE_COLUMNS)}"
        )
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise InputError(f"{path}: line {line}: expected {len(columns)} cells, as its header")
        *names, code = row.values()
        if not all(name.strip() for name in names):
            raise InputError(f"{path}: line {line}: names no image; expected {columns[0]}")
        image = "_".join(names)
        where = f"{path}: line {line}: image {image}"
        codes.setdefault(image, []).append((where, _code(code)))
    if not codes:
        raise InputError(f"{path}: no lines under its header; expected one an image")
    return {image: Runs(columns_first, tuple(codes[image])) for image in codes}


def is_run_length_table(rows):
    """Whether the second or the last column of a table's rows, dicts, holds run-length codes, not
    paths: nothing but digits and blanks, and somewhere two numbers or more.
    """
    columns = [name for name in rows[0] if name is not None] if rows else []
    for column in {*columns[1:2], *columns[1:][-1:]}:
        codes = [_code(row[column]) for row in rows]
        if all(re.fullmatch("[0-9 ]*", code) for code in codes) and any(
            " " in code for code in codes
        ):
            return True
    return False


def _code(cell):
    """The text of a table's cell, "" for what stands for an empty one."""
    text = "" if cell is None else str(cell).strip()
    return "" if text.lower() in ("nan", "-1") else text


def _read_object(data, path, keys):
    """What a JSON file's bytes hold, an object that has some keys; raises InputError."""
    if len(data) > LARGEST_JSON:
        raise InputError(f"{path}: has more than {size_text(LARGEST_JSON)}; split it")
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8 ({error.reason}); save it so") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON, or cut short ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds {short(content)}; expected {', '.join(keys)}")
    if missing := [key for key in keys if key not in content]:
        parts = [content, *content.values()]
        if "_via_img_metadata" in content or any(
            isinstance(part, dict) and "regions" in part for part in parts
        ):
            raise InputError(f"{path}: a VIA project; export it as COCO")
        kinds = {"a labelme file": LABELME_KEYS, "a COCO file": COCO_KEYS}
        kind = next((name for name in kinds if set(kinds[name]) <= set(content)), None)
        found = kind or f"an object with {short(list(content))}"
        raise InputError(
            f"{path}: {found}; expected {', '.join(keys)}, so it lacks {', '.join(missing)}"
        )
    return content


def _entries(content, key, path):
    """The objects in one of a file's lists, each with how messages name it."""
    entries = content[key]
    if not isinstance(entries, list):
        raise InputError(f"{path}: {key} is {short(entries)}; expected a list")
    for index, entry in enumerate(entries):
        where = f"{path}: {key}[{index}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: is {short(entry)}; expected an object")
        yield entry, where


def _by_id(content, key, path):
    """The objects in one of a file's lists, each with how messages name it, by their ids."""
    found = {}
    for entry, where in _entries(content, key, path):
        id = entry.get("id")
        if not isinstance(id, int | float | str) or id in found:
            raise InputError(
                f"{where}: has id {short(id)}; expected a number of its own, or a text"
            )
        found[id] = entry, where
    return found


def _look_up(table, entry, where, key):
    id = entry.get(key)
    if not isinstance(id, int | float | str) or id not in table:
        raise InputError(f"{where}: has {key} {short(id)}, which the file does not list")
    return table[id]


def _text(entry, where, key):
    text = entry.get(key)
    text = text.strip() if isinstance(text, str) else text
    # What a table or a file's name cannot hold: control characters, halves of characters.
    if not isinstance(text, str) or not text or re.search(r"[\0-\x1f\x7f\ud800-\udfff]", text):
        raise InputError(f"{where}: has {key} {short(text)}; expected a line of text")
    return text


def _class_number(label, labels, where):
    if labels is None:
        return 1
    if label not in labels:
        raise InputError(f"{where}: is of {label}; expected one of {', '.join(labels)}")
    return labels[label]


def _size(height, width, where):
    is_size = all(type(n) is int and 0 < n <= LONGEST_SIDE for n in (height, width))
    if not is_size or height * width > LARGEST_IMAGE:
        raise InputError(
            f"{where}: has height {short(height)} and width {short(width)}; "
            f"expected 1 to {LONGEST_SIDE:,} pixels each, {LARGEST_IMAGE:,} together"
        )
    return height, width


def _points(value, where):
    """Coordinates, float64 (N, 2), of [[x, y], ...] or [x, y, ...]; raises InputError."""
    try:
        points = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{where}: has points that are not all pairs of numbers") from error
    if points.dtype.kind not in "iuf" or points.size % 2 or points.shape[1:] not in ((), (2,)):
        raise InputError(f"{where}: has points {short(value)}; expected pairs of numbers")
    points = points.reshape(-1, 2).astype(np.float64)
    if not (np.abs(points) <= LONGEST_SIDE).all():  # not a number, too
        raise InputError(
            f"{where}: has coordinates {points.min()} to {points.max()}; expected "
            f"{-LONGEST_SIDE:,} to {LONGEST_SIDE:,}"
        )
    return points


def _shape(number, points, radius=None):
    return Shape(number, np.floor(points + 0.5).astype(np.int32), radius)
