"""Masks that are no pictures: outlines in labelme and COCO files, run-length code in tables."""

import json
import math
import re
from functools import partial
from reprlib import repr as short
from typing import NamedTuple

import cv2
import numpy as np

from unet import LARGEST_IMAGE
from unet.errors import InputError
from unet.machine.disk import read_csv, size_text
from unet.reading.files import ImageFile
from unet.reading.mask_sources import DrawnMask
from unet.reading.run_length import run_length_dec

LARGEST_JSON = 2**29  # bytes; the largest of COCO's own has 470 MB
LONGEST_SIDE = 2**20  # pixels; OpenCV reads no longer ones, and walks outlines row by row
LABELME_KEYS = ("shapes", "imagePath", "imageHeight", "imageWidth")
COCO_KEYS = ("images", "annotations", "categories")
NUM_POINTS = {"polygon": "3 or more", "rectangle": "2 opposite corners", "circle": "2"}
NERVE_COLUMNS = ["subject", "img", "pixels"]  # of Kaggle's train_masks.csv
NO_TEXT = re.compile(r"[\0-\x1f\x7f\ud800-\udfff]")  # what no table or file's name can hold


class Shape(NamedTuple):
    """A polygon, or with a radius a circle."""

    label: str
    points: np.ndarray  # int32 (N, 2), x and y; a circle's centre
    radius: int | None = None


def draw_shapes(size, shapes, numbers):
    """Class numbers, uint8 (H, W), of Shapes, 0 where none lies; later ones lie over earlier ones.
    What is outside the image is cut off; a polygon's outline belongs to it.

    numbers: class numbers by label.
    """
    mask = np.zeros(size, np.uint8)
    for label, points, radius in shapes:
        if radius is None:
            cv2.fillPoly(mask, [points], numbers[label])
        else:
            cv2.circle(mask, points[0].tolist(), radius, numbers[label], cv2.FILLED)
    return mask


def draw_runs(codes, columns_first, read_size):
    """uint8 (H, W), 1 where one of the run-length codes has a run, else 0; raises InputError.

    codes: pairs of a code's name in messages and the code; read_size: returns (H, W) of the image,
    which no table has.
    """
    height, width = read_size()
    mask = np.zeros((height, width), np.uint8)
    for where, code in codes:
        try:
            mask |= run_length_dec(code, height, width, columns_first)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    return mask


def read_labelme(files, number_labels):
    """DrawnMasks of labelme files, ImageFiles, by their names; raises InputError.

    number_labels: returns the class numbers, by label, of the sorted labels of all files.
    """
    sizes, shapes = {}, {}
    for file in files:
        content = _read_object(file, LABELME_KEYS)
        sizes[file] = _size(content["imageHeight"], content["imageWidth"], file.path)
        shapes[file] = [_labelme_shape(*entry) for entry in _entries(content, "shapes", file.path)]
    labels = {shape.label for of_file in shapes.values() for shape in of_file}
    numbers = number_labels(sorted(labels))
    return {
        file.name: DrawnMask(file.path, partial(draw_shapes, sizes[file], shapes[file], numbers))
        for file in files
    }


def _labelme_shape(shape, where):
    label, points = _text(shape, where, "label"), _points(shape.get("points"), where)
    kind = shape.get("shape_type", "polygon")  # early versions draw nothing else
    is_known = isinstance(kind, str) and kind in NUM_POINTS
    kinds = f"{', '.join(NUM_POINTS)}; draw it as one of these, or take it out"
    _check(is_known, where, "shape_type", kind, kinds)
    if kind == "circle" and len(points) == 2:  # its centre, and a point on it
        radius = math.dist(*np.reshape(shape["points"], (2, 2)))
        return Shape(label, points[:1], round(radius))
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    is_polygon = kind != "circle" and len(points) > 2  # some give a rectangle all of its corners
    expected = f"{NUM_POINTS[kind]} of a {kind}; draw it again, or take it out"
    _check(is_polygon, where, "points", shape["points"], expected)
    return Shape(label, points)


def read_coco(path, number_labels):
    """DrawnMasks of the images of a COCO file, by their file_name; where an image has no
    annotations it is empty. Raises InputError.

    number_labels: returns the class numbers, by label, of the categories that annotations are of,
    in the order of the file's list of categories.
    """
    content = _read_object(ImageFile(path, "", ""), COCO_KEYS)
    images, shapes = _by_id(content, "images", path), {}
    categories = _by_id(content, "categories", path)
    names = {id: _text(*entry, "name") for id, entry in categories.items()}
    for entry, where in _entries(content, "annotations", path):
        label = _look_up(names, entry, where, "category_id")
        drawn = [Shape(label, points) for points in _coco_polygons(entry, where)]
        _look_up(images, entry, where, "image_id")
        shapes.setdefault(entry["image_id"], []).extend(drawn)
    used = {shape.label for of_image in shapes.values() for shape in of_image}
    numbers, masks = number_labels([n for n in dict.fromkeys(names.values()) if n in used]), {}
    for id, (image, where) in images.items():
        name = _text(image, where, "file_name")
        _check(name not in masks, where, "file_name", name, "one image of a name; keep one")
        where = f"{path}: image {name}"
        size = _size(image.get("height"), image.get("width"), where)
        masks[name] = DrawnMask(where, partial(draw_shapes, size, shapes.get(id, ()), numbers))
    return masks


def _coco_polygons(annotation, where):
    found = annotation.get("segmentation")
    is_list = isinstance(found, list) and found != []
    advice = (
        "no run-length code (iscrowd); convert it to polygons, or export masks as PNG"
        if isinstance(found, dict)
        else "[[x, y, x, y, ...], ...]; draw them (a box is no mask), or take it out"
    )
    _check(is_list, where, "segmentation", found, f"polygons, {advice}")
    polygons = [_points(polygon, where) for polygon in found]
    is_drawn = all(len(polygon) > 2 for polygon in polygons)
    _check(is_drawn, where, "segmentation", found, "3 or more points of a polygon; take it out")
    return polygons


def read_run_lengths(path):
    """Run-length codes by image name, each with its name in messages before it, from a CSV table
    of images and codes, two columns of any names or Kaggle's subject, img, pixels, where the name
    is subject_img.

    Several lines of an image are its objects; an empty code or NaN is an empty mask. Raises
    InputError; codes are looked at when masks are drawn.
    """
    rows, codes = read_csv(path, by_hand=True), {}
    columns = [name for name in rows[0] if name is not None] if rows else []
    if rows and len(columns) != 2 and columns != NERVE_COLUMNS:
        raise InputError(
            f"{path}: has columns {', '.join(columns)}; expected two, image and run-length code, "
            f"or {', '.join(NERVE_COLUMNS)}"
        )
    for line, row in enumerate(rows, 2):
        *names, code = row.values()
        if None in row or None in row.values() or not all(name.strip() for name in names):
            raise InputError(
                f"{path}: line {line}: expected {len(columns)} cells, as its header, and an "
                "image's name"
            )
        image = "_".join(names)
        where = f"{path}: line {line}: image {image}"
        codes.setdefault(image, []).append((where, _code(code)))
    return codes


def is_run_length_table(rows):
    """True where the second or the last column of a table's rows, dicts, holds run-length codes,
    not paths: nothing but digits and blanks, and somewhere two numbers or more.
    """
    columns = [name for name in rows[0] if name is not None] if rows else []
    for column in {*columns[1:2], *columns[1:][-1:]}:
        codes = [_code(row[column]) for row in rows]
        is_code = all(re.fullmatch("[0-9 ]*", code) for code in codes)
        if is_code and any(" " in code for code in codes):
            return True
    return False


def _code(cell):
    """The text of a table's cell, "" for what stands for an empty one."""
    text = "" if cell is None else str(cell).strip()
    return "" if text.lower() in ("nan", "-1") else text


def _check(is_right, where, key, value, expected):
    if not is_right:
        raise InputError(f"{where}: has {key} {short(value)}; expected {expected}")


def _read_object(file, keys):
    """The object, with some keys, in a JSON file; raises InputError."""
    data, path = file.read(), file.path
    if len(data) > LARGEST_JSON:
        raise InputError(f"{path}: has more than {size_text(LARGEST_JSON)}; split it")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON in UTF-8, or cut short ({error})") from error
    found, expected = ("content", content), f"an object with {', '.join(keys)}"
    if isinstance(content, dict):
        parts = [part for part in (content, *content.values()) if isinstance(part, dict)]
        if "_via_img_metadata" in content or any("regions" in part for part in parts):
            expected = f"{expected}; this is a VIA project, export it as COCO"
        found = "keys", list(content)
    is_right = isinstance(content, dict) and set(keys) <= set(content)
    _check(is_right, path, *found, expected)
    return content


def _entries(content, key, path):
    """The objects in one of a file's lists, each with its name in messages."""
    entries = content[key]
    _check(isinstance(entries, list), path, key, entries, "a list")
    for index, entry in enumerate(entries):
        _check(isinstance(entry, dict), path, f"{key}[{index}]", entry, "an object")
        yield entry, f"{path}: {key}[{index}]"


def _by_id(content, key, path):
    """The objects in one of a file's lists, each with its name in messages, by their ids."""
    found = {}
    for entry, where in _entries(content, key, path):
        id = entry.get("id")
        is_id = isinstance(id, int | float | str) and id not in found
        _check(is_id, where, "id", id, "a number of its own, or a text")
        found[id] = entry, where
    return found


def _look_up(table, entry, where, key):
    id = entry.get(key)
    is_known = isinstance(id, int | float | str) and id in table
    _check(is_known, where, key, id, "an id that the file lists")
    return table[id]


def _text(entry, where, key):
    text = entry.get(key)
    text = text.strip() if isinstance(text, str) else text
    is_line = isinstance(text, str) and text and not NO_TEXT.search(text)
    _check(is_line, where, key, text, "a line of text")
    return text


def _size(height, width, where):
    is_size = all(type(n) is int and 0 < n <= LONGEST_SIDE for n in (height, width))
    _check(
        is_size and height * width <= LARGEST_IMAGE,
        where,
        "height and width",
        (height, width),
        f"1 to {LONGEST_SIDE:,} pixels each, {LARGEST_IMAGE:,} together",
    )
    return height, width


def _points(value, where):
    """Pixels, int32 (N, 2), of [[x, y], ...] or [x, y, ...]; raises InputError."""
    try:
        points = np.asarray(value)
        is_pairs = points.dtype.kind in "iuf" and points.shape[1:] in ((), (2,))
        points = points.reshape(-1, 2).astype(np.float64)
        is_pairs = is_pairs and (np.abs(points) <= LONGEST_SIDE).all()
    except (ValueError, TypeError, OverflowError):
        is_pairs = False
    expected = f"pairs of numbers from {-LONGEST_SIDE:,} to {LONGEST_SIDE:,}"
    _check(is_pairs, where, "points", value, expected)
    return np.floor(points + 0.5).astype(np.int32)
