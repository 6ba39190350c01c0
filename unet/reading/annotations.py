"""Masks that are no pictures: outlines, and what is beside them, in labelme and COCO files."""

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from reprlib import repr as short
from typing import NamedTuple

import cv2
import numpy as np

from unet import LARGEST_IMAGE
from unet.errors import InputError
from unet.machine.disk import size_text
from unet.reading.files import ImageFile, ending, natural_key
from unet.reading.mask_sources import DrawnMask
from unet.reading.pixels import decode_pixels

LARGEST_JSON = 2**29  # bytes; the largest of COCO's own has 470 MB
LONGEST_SIDE = 2**20  # pixels; OpenCV reads no longer ones, and walks outlines row by row
LABELME_KEYS = ("shapes", "imagePath", "imageHeight", "imageWidth")
COCO_KEYS = ("images", "annotations", "categories")
NUM_POINTS = {  # of the kinds of shapes that labelme draws
    "polygon": "3 or more", "rectangle": "2 opposite corners", "circle": "2", "mask": "2 corners",
}  # fmt: skip
WITHOUT_AREA = ("point", "points", "line", "linestrip")
NO_TEXT = re.compile(r"[\0-\x1f\x7f\ud800-\udfff]")  # what no table or file's name can hold


class Shape(NamedTuple):
    """What carries a label: fill(mask, number) sets its pixels in a mask, uint8 (H, W)."""

    label: str
    fill: Callable


def draw_shapes(size, shapes, numbers):
    """Class numbers, uint8 (H, W), of Shapes, 0 where none lies; later ones lie over earlier ones.
    What is outside the image is cut off. Raises the InputError that stands in place of a Shape.

    size: (H, W), or a function that returns it. numbers: class numbers by label.
    """
    mask = np.zeros(size() if callable(size) else size, np.uint8)
    for shape in shapes:
        if isinstance(shape, InputError):
            raise shape
        shape.fill(mask, numbers[shape.label])
    return mask


def fill_outline(points, mask, number):
    """Fill a polygon as labelme does: its vertices, (N, 2) of x and y, are pixels, and its outline
    belongs to it.
    """
    cv2.fillPoly(mask, [np.floor(points + 0.5).astype(np.int32)], number)


def fill_circle(points, mask, number):
    """Fill a circle of its centre and a point on it, (2, 2) of x and y."""
    centre = np.floor(points[0] + 0.5).astype(np.int32).tolist()
    cv2.circle(mask, centre, round(math.dist(*points)), number, cv2.FILLED)


def fill_part(part, left, top, mask, number):
    """Fill where a part of the mask, bool (h, w), is true; its first pixel is (top, left)."""
    rows, columns = np.nonzero(part)
    rows, columns = rows + top, columns + left
    height, width = mask.shape
    is_inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    mask[rows[is_inside], columns[is_inside]] = number


def fill_polygon(points, mask, number):
    """Fill a polygon in continuous coordinates, (N, 2) of x and y, of which pixel i spans i to
    i + 1: the pixels whose centres lie inside, by the even-odd rule.
    """
    height, width = mask.shape
    (x0, y0), (x1, y1) = points.T, np.roll(points, -1, axis=0).T
    first, last = (
        np.ceil(np.clip(y, 0, height + 1) - 0.5).clip(0, height).astype(int)
        for y in (np.minimum(y0, y1), np.maximum(y0, y1))
    )
    counts = last - first  # rows whose centres each edge crosses
    edge = np.repeat(np.arange(len(counts)), counts)
    if not edge.size:
        return
    row = np.arange(edge.size) - np.repeat(np.cumsum(counts) - counts - first, counts)
    slope = (x1 - x0)[edge] / (y1 - y0)[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * slope
    column = np.ceil(np.clip(x - 0.5, 0, width)).astype(int)
    top, left = row.min(), column.min()
    shape = row.max() + 1 - top, column.max() + 1 - left
    place = (row - top) * shape[1] + column - left
    crossings = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
    is_inside = np.bitwise_xor.accumulate(crossings & 1, axis=1)[:, :-1].astype(bool)
    mask[top : top + shape[0], left : left + shape[1] - 1][is_inside] = number


def fill_shares(corners, mask, number):
    """fill_polygon of corners that are shares of the mask's width and height."""
    fill_polygon(corners * mask.shape[::-1], mask, number)


def fill_counts(counts, size, where, mask, number):
    """Fill COCO's run-length code: lengths of runs of 0 and 1 in turn, down the columns. Raises
    InputError for a code of another size than the mask.
    """
    expected = "the size of its image, {}x{}".format(*mask.shape)
    _check(mask.shape == size, where, "size", size, expected)
    is_inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    mask[is_inside.reshape(size, order="F")] = number


def read_outlines(files, read_file, number_labels, skip_bad=False):
    """DrawnMasks of files of outlines, ImageFiles, by their names. Raises InputError; with
    skip_bad the mask of a file that cannot be read does, when it is drawn.

    read_file: returns the (H, W) of a file's image, as draw_shapes has it, and its Shapes.
    number_labels: takes the sorted labels of all files, and returns the dict that has their class
    numbers when masks are drawn.
    """
    found = {}
    for file in files:
        try:
            found[file] = read_file(file)
        except InputError as error:
            if not skip_bad:
                raise
            found[file] = (1, 1), [error]
    numbers = number_labels(sorted(_labels_of(s for _, s in found.values()), key=natural_key))
    return {
        file.name: DrawnMask(file.path, partial(draw_shapes, *size_and_shapes, numbers))
        for file, size_and_shapes in found.items()
    }


def read_labelme(files, number_labels, notes, skip_bad=False):
    """read_outlines of labelme files. notes: list to which a line on points and lines, which have
    no area, is added.
    """
    passed = Counter()
    masks = read_outlines(files, partial(_labelme_file, passed), number_labels, skip_bad)
    if passed:
        counts = ", ".join(f"{count} {kind}" for kind, count in passed.items())
        notes.append(f"shapes without an area are ignored: {counts}")
    return masks


def _labelme_file(passed, file):
    """The size and the Shapes of a labelme file; passed: counts kinds without an area."""
    content = _read_object(file, LABELME_KEYS)
    size, shapes = _size(content["imageHeight"], content["imageWidth"], file.path), []
    for shape, where in _entries(content, "shapes", file.path):
        if (kind := shape.get("shape_type")) in WITHOUT_AREA:
            passed[kind] += 1
        else:
            shapes.append(_labelme_shape(shape, where))
    return size, shapes


def _labels_of(shapes):
    """The set of labels in lists of Shapes."""
    return {s.label for of_image in shapes for s in of_image if isinstance(s, Shape)}


def _labelme_shape(shape, where):
    label, points = _text(shape, where, "label"), _points(shape.get("points"), where)
    kind = shape.get("shape_type", "polygon")  # early versions draw nothing else
    is_known = isinstance(kind, str) and kind in NUM_POINTS
    kinds = f"{', '.join(NUM_POINTS)}; draw it as one of these, or take it out"
    _check(is_known, where, "shape_type", kind, kinds)
    # Some give a rectangle all of its corners.
    is_right = len(points) == 2 if kind in ("circle", "mask") else len(points) > 2
    is_rectangle = kind == "rectangle" and len(points) == 2
    expected = f"{NUM_POINTS[kind]} of a {kind}; draw it again, or take it out"
    _check(is_right or is_rectangle, where, "points", shape["points"], expected)
    if kind == "circle":
        return Shape(label, partial(fill_circle, points))
    if kind == "mask":  # of the AI tool
        left, top = points.min(axis=0).astype(int).tolist()
        return Shape(label, partial(fill_part, _labelme_part(shape, where), left, top))
    if is_rectangle:
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return Shape(label, partial(fill_outline, points))


def _labelme_part(shape, where):
    """The picture, bool (h, w), of a labelme shape of kind mask: a PNG as base64."""
    try:
        data = base64.b64decode(shape.get("mask"), validate=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: mask is not base64 of a PNG ({error})") from error
    part = decode_pixels(data, f"{where}: mask")
    return (part if part.ndim == 2 else part.max(axis=2)) > 0


def is_yolo(file):
    """True for a .txt of numbers alone, which begin with a class, or of nothing."""
    lines = file.read().splitlines()[:1] if ending(file.path) == ".txt" else [b"-"]
    return all(re.fullmatch(rb"\s*(\d+( +[-+.\deE]+){4,})?\s*", line) for line in lines)


def read_yolo(files, sizes, number_labels, skip_bad=False):
    """read_outlines of YOLO's label files: in each line a class and the corners of a polygon, x
    and y as shares of the image's width and height.

    sizes: functions that return (H, W) of the image, by the name of the label file.
    """
    return read_outlines(files, partial(_yolo_file, sizes), number_labels, skip_bad)


def _yolo_file(sizes, file):
    """A function that returns the size, and the Shapes of one of YOLO's label files."""
    lines, shapes = file.read().decode(errors="replace").splitlines(), []
    for number, line in enumerate(lines, 1):
        label, *values = line.split() or [""]
        try:
            corners = np.array(values, np.float64).reshape(-1, 2)
            is_right = len(corners) > 2 and label.isdecimal() and (np.abs(corners) <= 2).all()
        except ValueError:
            is_right = False
        expected = "a class and 3 or more points of a polygon (a box is no mask)"
        _check(is_right or not label, f"{file.path}: line {number}", "content", line, expected)
        if label:
            shapes.append(Shape(f"class {label}", partial(fill_shares, corners)))
    return sizes[file.name], shapes


def read_coco(path, number_labels, skip_bad=False):
    """DrawnMasks of the images of a COCO file, by their file_name; where an image has no
    annotations it is empty. Raises InputError; with skip_bad the mask of an image with an
    annotation that cannot be read does, when it is drawn.

    number_labels: takes the categories in the order of the file, and the set of those that
    annotations are of, and returns the dict that has their class numbers when masks are drawn.
    """
    content = _read_object(ImageFile(path, "", ""), COCO_KEYS)
    images, shapes = _by_id(content, "images", path), {}
    categories = _by_id(content, "categories", path)
    names = {id: _text(*entry, "name") for id, entry in categories.items()}
    for entry, where in _entries(content, "annotations", path):
        of_image = shapes.setdefault(_look_up(images, entry, where, "image_id"), [])
        try:
            label = names[_look_up(names, entry, where, "category_id")]
            of_image += [Shape(label, fill) for fill in _coco_fills(entry, where)]
        except InputError as error:
            if not skip_bad:
                raise
            of_image.append(error)
    used, masks = _labels_of(shapes.values()), {}
    numbers = number_labels(list(names.values()), used)
    for id, (image, where) in images.items():
        name = _text(image, where, "file_name")
        _check(name not in masks, where, "file_name", name, "one image of a name; keep one")
        where = f"{path}: image {name}"
        size = _size(image.get("height"), image.get("width"), where)
        masks[name] = DrawnMask(where, partial(draw_shapes, size, shapes.get(id, ()), numbers))
    return masks


def _coco_fills(annotation, where):
    """The functions that fill the segmentation of an annotation: polygons, or run-length code."""
    found = annotation.get("segmentation")
    if isinstance(found, dict):
        return [_coco_counts(found, where)]
    advice = "[[x, y, x, y, ...], ...]; draw them (a box is no mask), or take it out"
    is_list = isinstance(found, list) and found != []
    _check(is_list, where, "segmentation", found, f"polygons, {advice}")
    is_flat = not isinstance(found[0], list)  # one polygon without its list
    polygons = [_points(polygon, where) for polygon in ([found] if is_flat else found)]
    is_drawn = all(len(polygon) > 2 for polygon in polygons)
    _check(is_drawn, where, "segmentation", found, "3 or more points of a polygon; take it out")
    return [partial(fill_polygon, polygon) for polygon in polygons]


def _coco_counts(code, where):
    """The function that fills a COCO run-length code, {"size": [H, W], "counts": numbers or
    text}.
    """
    counts, size = code.get("counts"), code.get("size")
    try:
        counts = np.array(decode_counts(counts) if isinstance(counts, str) else counts, np.int64)
        is_whole = counts.ndim == 1 and counts.min() >= 0 and counts.sum() == math.prod(size)
        is_right = is_whole and _size(*size, where)
    except (ValueError, TypeError, OverflowError):
        is_right = False
    expected = "run-length code, as many pixels in its counts as in its size"
    _check(is_right, where, "segmentation", code, expected)
    return partial(fill_counts, counts, tuple(size), where)


def decode_counts(text):
    """The counts of COCO's compressed run-length code: numbers in groups of 5 bits, the lowest
    first, from the third on as differences to the last but one. Raises ValueError.
    """
    counts, value, shift = [], 0, 0
    for byte in text.encode("ascii"):
        bits = byte - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{chr(byte)!r} in run-length code")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:  # more groups follow
            continue
        if bits & 16:  # negative
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    return counts


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
    is_object = isinstance(content, dict)
    first = content[0] if isinstance(content, list) and content else None
    is_long = isinstance(first, dict)
    found = "content", f"a list of {len(content)}" if is_long else content
    found = ("keys", list(content)) if is_object else found
    is_right = is_object and set(keys) <= set(content)
    _check(is_right, path, *found, f"an object with {', '.join(keys)}{_other_tool(content)}")
    return content


def _other_tool(content):
    """The end of a refusal of JSON, from the tool that wrote it, "" where that is not known."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict):
        return ""
    keys = set(first).union(*(part for part in first.values() if isinstance(part, dict)))
    tools = (
        ({"_via_img_metadata"}, "a VIA project, export it as COCO"),
        ({"regions"}, "a VIA project, export it as COCO"),
        ({"size", "objects"}, "Supervisely's, export it as COCO, or as masks"),
        ({"data", "annotations"}, "Label Studio's, export it as COCO, or its brush masks as PNG"),
        ({"type", "features"}, "GeoJSON, export label images as png or tif, as QuPath can"),
    )
    return next((f"; this is {text}" for names, text in tools if names <= keys), "")


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
        is_id = isinstance(id, int | float | str) and _id(id) not in found
        _check(is_id, where, "id", id, "a number of its own, or a text")
        found[_id(id)] = entry, where
    return found


def _look_up(table, entry, where, key):
    id = entry.get(key)
    is_known = isinstance(id, int | float | str) and _id(id) in table
    _check(is_known, where, key, id, "an id that the file lists")
    return _id(id)


def _id(value):
    """An id, a number or a text, as text: 7, 7.0 and "7" are one."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value)


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
    """float64 (N, 2) of [[x, y], ...] or [x, y, ...]; raises InputError."""
    try:
        points = np.asarray(value)
        is_pairs = points.dtype.kind in "iuf" and points.shape[1:] in ((), (2,))
        points = points.reshape(-1, 2).astype(np.float64)
        is_pairs = is_pairs and (np.abs(points) <= LONGEST_SIDE).all()
    except (ValueError, TypeError, OverflowError):
        is_pairs = False
    expected = f"pairs of numbers from {-LONGEST_SIDE:,} to {LONGEST_SIDE:,}"
    _check(is_pairs, where, "points", value, expected)
    return points
