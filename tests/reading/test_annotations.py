"""Masks out of labelme and COCO files and run-length tables; areas come from arithmetic."""

import base64
import json
import os
import pickle

import cv2
import matplotlib.path
import numpy as np
import pytest
from pycocotools import mask as cocomask

from unet.errors import InputError
from unet.jobs.settings import Reading
from unet.reading import annotations
from unet.reading.annotations import LARGEST_JSON, read_coco, read_labelme
from unet.reading.files import ImageFile

SQUARE = [[5, 5], [14, 5], [14, 24], [5, 24]]  # pixels 5..14 by 5..24: 10 x 20
FLAT = [5, 5, 15, 5, 15, 25, 5, 25]  # the same pixels in COCO's continuous coordinates
HUGE = "9" * 5000  # more digits than Python takes for a number


def shape(points=SQUARE, kind="polygon", label="cell"):
    return dict(label=label, points=points, shape_type=kind, group_id=None, flags={})


def labelme_file(*shapes, name="a.json", **changes):
    """An ImageFile of a labelme file of an image of 40 x 60 pixels; a key changed to ... is left
    out.
    """
    content = dict(version="5.2", flags={}, shapes=list(shapes), imagePath="a.jpg")
    content.update(imageData=None, imageHeight=40, imageWidth=60)
    content.update(changes)
    return written({key: content[key] for key in content if content[key] is not ...}, name)


def written(content, name="a.json"):
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    with open(name, "wb") as file:
        file.write(content)
    return ImageFile(name, "", name)


def coco_content(*annotations, **changes):
    """Two images, a.jpg of 40 x 60 and b.jpg of 30 x 20, and three categories."""
    images = [
        dict(id=7, file_name="a.jpg", height=40, width=60),
        dict(id=9, file_name="b.jpg", height=30, width=20),
    ]
    categories = [dict(id=3, name="car"), dict(id=1, name="road"), dict(id=2, name="sky")]
    content = dict(images=images, annotations=list(annotations), categories=categories)
    return {**content, **changes}


def annotation(*polygons, image=7, category=3, **changes):
    return {**dict(image_id=image, category_id=category, segmentation=list(polygons)), **changes}


def ones(labels, used=None):
    return dict.fromkeys(labels, 1)


def coco(*annotations, numbers=None, **changes):
    written(coco_content(*annotations, **changes), "coco.json")
    return read_coco("coco.json", lambda labels, used: numbers or ones(labels))


def labelme_mask(file, numbers=None):
    return read_labelme([file], lambda labels: numbers or ones(labels), [])[file.name]


def one(shape, **changes):
    return labelme_mask(labelme_file(shape, **changes)).draw()


def refusal(call, *arguments):
    with pytest.raises(InputError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


pytestmark = pytest.mark.usefixtures("place")


# ---- labelme


def test_a_polygon_is_the_pixels_inside_it_and_on_its_outline():
    mask = one(shape())
    assert mask.dtype == np.uint8 and mask.shape == (40, 60)
    assert mask.sum() == 10 * 20 and mask[5:25, 5:15].all()


def test_coordinates_are_rounded_to_the_nearest_pixel():
    points = [[4.6, 5.4], [14.4, 4.5], [13.5, 24.4], [5.49, 23.5]]
    np.testing.assert_array_equal(one(shape(points)), one(shape()))


def test_a_triangle_has_a_triangular_number_of_pixels():
    mask = one(shape([[0, 0], [9, 9], [0, 9]]))
    assert mask.sum() == 10 * 11 // 2


@pytest.mark.parametrize("points", [[[5, 5], [14, 24]], [[14, 5], [5, 24]], SQUARE])
def test_a_rectangle_has_two_opposite_corners_or_all_four(points):
    np.testing.assert_array_equal(one(shape(points, "rectangle")), one(shape()))


def test_a_circle_has_a_centre_and_a_point_on_it():
    mask = one(shape([[30, 20], [36, 28]], "circle"))  # 6, 8: a radius of 10
    y, x = np.mgrid[:40, :60]
    np.testing.assert_array_equal(mask == 1, (y - 20) ** 2 + (x - 30) ** 2 <= 100)


def test_a_shape_without_a_type_is_a_polygon():
    old = shape()
    del old["shape_type"]
    assert one(old).sum() == 200


def test_later_shapes_lie_over_earlier_ones():
    behind, before = shape(label="a"), shape([[10, 5], [19, 24]], "rectangle", "b")
    numbers = {"a": 1, "b": 2}
    mask = labelme_mask(labelme_file(behind, before), numbers).draw()
    assert np.bincount(mask.ravel()).tolist() == [40 * 60 - 300, 100, 200]
    mask = labelme_mask(labelme_file(before, behind), numbers).draw()
    assert np.bincount(mask.ravel()).tolist() == [40 * 60 - 300, 200, 100]


def test_several_labels_may_be_one_class():
    shapes = shape(label="a"), shape([[10, 5], [19, 24]], "rectangle", "b")
    mask = labelme_mask(labelme_file(*shapes), {"a": 1, "b": 1}).draw()
    assert np.unique(mask).tolist() == [0, 1] and mask.sum() == 300


def test_shapes_that_overlap_themselves_and_others_are_united():
    assert labelme_mask(labelme_file(shape(), shape()), {"cell": 1}).draw().sum() == 200


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[-10, -10], [9, -10], [9, 9], [-10, 9]], 10 * 10),
        ([[50, 30], [500, 30], [500, 500], [50, 500]], 10 * 10),
        ([[100, 100], [110, 100], [110, 110]], 0),
        ([[-(2**20), -(2**20)], [2**20, -(2**20)], [2**20, 2**20], [-(2**20), 2**20]], 40 * 60),
    ],
)
def test_what_lies_outside_the_image_is_cut_off(points, area):
    assert one(shape(points)).sum() == area


def test_a_circle_may_be_larger_than_its_image():
    assert one(shape([[-1000, 0], [-2000, 1000]], "circle")).sum() == 40 * 60
    assert one(shape([[-1000, 0], [-1900, 0]], "circle")).sum() == 0


def test_a_mask_without_shapes_is_empty():
    mask = labelme_mask(labelme_file())
    assert not mask.draw().any() and mask.draw().shape == (40, 60)
    assert (mask.path, mask.parts) == ("a.json", ())


def test_a_drawn_mask_is_class_numbers_or_foreground_and_background():
    mask = labelme_mask(labelme_file(shape()), {"cell": 7})
    numbers = mask.draw()
    assert np.unique(numbers).tolist() == [0, 7]
    np.testing.assert_array_equal(mask.decode(classes=("a", "b", "c")), numbers)
    np.testing.assert_array_equal(mask.decode(), numbers // 7)
    np.testing.assert_array_equal(mask.decode(Reading(invert=True)), 1 - numbers // 7)


def test_the_picture_in_a_labelme_file_is_not_kept():
    mask = labelme_mask(labelme_file(shape(), imageData="A" * 10**6), {"cell": 1})
    assert len(pickle.dumps(mask)) < 1000


def test_the_labels_of_all_files_are_sorted():
    files = [
        labelme_file(shape(label="road"), shape(label=" car "), name="a.json"),
        labelme_file(name="b.json"),
        labelme_file(shape(label="Baum, groß"), shape(label="road"), name="c.json"),
    ]
    asked = []
    read_labelme(files, lambda labels: asked.extend(labels) or ones(labels), [])
    assert asked == ["Baum, groß", "car", "road"]


def test_a_byte_order_mark_is_no_content():
    content = labelme_file(shape()).read()
    assert labelme_mask(written(b"\xef\xbb\xbf" + content), {"cell": 1}).draw().sum() == 200


def test_points_and_lines_are_ignored_and_counted():
    kinds, notes = ["line", "linestrip", "point", "points", "point"], []
    file = labelme_file(*(shape(SQUARE, kind, "spot") for kind in kinds), shape())
    assert read_labelme([file], ones, notes)["a.json"].draw().sum() == 200
    counts = "1 line, 1 linestrip, 2 point, 1 points"
    assert notes == [f"shapes without an area are ignored: {counts}"]


def ai_mask(part, points, **changes):
    png = base64.b64encode(cv2.imencode(".png", part)[1]).decode()
    return {**shape(points, "mask"), "mask": png, **changes}


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize(("left", "top"), [(7, 3), (-2, 35), (55, -1)])
def test_a_mask_of_labelmes_ai_tool_lies_between_its_corners(left, top, white):
    part = np.random.default_rng(top + 9).integers(0, 2, (9, 12), np.uint8)
    expected = np.zeros((140, 160), np.uint8)
    expected[50 + top : 59 + top, 50 + left : 62 + left] = part
    found = one(ai_mask(part * white, [[left, top], [left + 11, top + 8]]))
    assert np.array_equal(found, expected[50:90, 50:110])


@pytest.mark.parametrize("picture", [None, "%%", "AAAA", 5])
def test_a_mask_of_the_ai_tool_that_is_no_picture_is_refused(picture):
    line = refusal(one, ai_mask(np.ones((2, 2), np.uint8), [[0, 0], [1, 1]], mask=picture))
    assert line.startswith("a.json: shapes[0]") and "mask" in line


def test_of_a_damaged_labelme_file_the_image_is_left_out_where_that_is_asked_for():
    files = [labelme_file(shape(kind="ellipse")), labelme_file(shape(), name="b.json")]
    files.append(written(b"{", "c.json"))
    masks = read_labelme(files, ones, [], skip_bad=True)
    assert "has shape_type 'ellipse'" in refusal(masks["a.json"].draw)
    assert masks["b.json"].draw().sum() == 200
    assert "cut short" in refusal(masks["c.json"].draw)


@pytest.mark.parametrize("kind", ["ellipse", 5, None, ["a"]])
def test_a_kind_of_shape_that_there_is_not_is_refused_by_name(kind):
    line = refusal(one, shape(kind=kind))
    assert line.startswith(f"a.json: shapes[0]: has shape_type {kind!r}; expected polygon, rect")


@pytest.mark.parametrize(
    ("kind", "points", "message"),
    [
        ("polygon", SQUARE[:2], "has points [[5, 5], [14, 5]]; expected 3 or more of a polygon"),
        ("polygon", [], "has points []; expected 3 or more of a polygon"),
        ("rectangle", SQUARE[:1], "expected 2 opposite corners of a rectangle; draw it again"),
        ("circle", SQUARE[:3], "expected 2 of a circle; draw it again, or take it out"),
        ("circle", SQUARE[:1], "has points [[5, 5]]; expected 2 of a circle"),
        ("polygon", None, "has points None; expected pairs of numbers"),
        ("polygon", {"x": 1}, "has points {'x': 1}; expected pairs"),
        ("polygon", "0 0 5 5", "has points '0 0 5 5'; expected pairs"),
        ("polygon", [["1", "2"], ["3", "4"], ["5", "6"]], "has points [['1', '2'], "),
        ("polygon", [[1, "2"], [3, 4], [5, 6]], "has points [[1, '2'], "),
        ("polygon", [[1, None], [3, 4], [5, 6]], "has points [[1, None], "),
        ("polygon", [[True, False]] * 3, "has points [[True, False], "),
        ("polygon", [[1, 2, 3]] * 4, "has points [[1, 2, 3], "),
        (
            "polygon",
            [[1, 2], [3], [4, 5]],
            "has points [[1, 2], [3], [4, 5]]; expected pairs of numbers",
        ),
        ("polygon", [[[1, 2]], [[3, 4]], [[5, 6]]], "has points [[[1, 2]], "),
        ("polygon", [[1, 10**400], [3, 4.5], [5, 6]], "expected pairs of numbers"),
        ("polygon", [[1, 10**30], [3, 4], [5, 6]], "expected pairs of numbers"),
        ("polygon", [[1, float("nan")], [3, 4], [5, 6]], "has points [[1, nan], "),
        ("polygon", [[1, float("inf")], [3, 4], [5, 6]], "has points [[1, inf], "),
        ("polygon", [[1, 2**20 + 1], [3, 4], [5, 6]], "numbers from -1,048,576 to 1,048,576"),
        (
            "circle",
            [[0, 0], [-(2**63), 0]],
            "has points [[0, 0], [-9223372036854775808, 0]]; expected pairs",
        ),
    ],
)
def test_points_that_are_none_are_refused(kind, points, message):
    line = refusal(one, shape(points, kind))
    assert line.startswith("a.json: shapes[0]: ") and message in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(shapes={"a": 1}), "a.json: has shapes {'a': 1}; expected a list"),
        (dict(shapes=[[1]]), "a.json: has shapes[0] [1]; expected an object"),
        (dict(shapes=[dict(points=SQUARE)]), "a.json: shapes[0]: has label None; expected a line"),
        (dict(shapes=[shape(label=5)]), "shapes[0]: has label 5; expected a line of text"),
        (dict(shapes=[shape(label=" ")]), "shapes[0]: has label ''; expected a line of text"),
        (dict(shapes=[shape(label="a\nb")]), r"has label 'a\nb'; expected a line of text"),
        (dict(shapes=[shape(label="\ud800")]), r"has label '\ud800'; expected a line of text"),
        (dict(imageHeight=None), "has height and width (None, 60); expected 1 to 1,048,576 pix"),
        (dict(imageHeight=0), "has height and width (0, 60)"),
        (dict(imageWidth=-60), "has height and width (40, -60)"),
        (dict(imageWidth="60"), "has height and width (40, '60')"),
        (dict(imageWidth=60.5), "has height and width (40, 60.5)"),
        (dict(imageWidth=float("nan")), "has height and width (40, nan)"),
        (dict(imageWidth=True), "has height and width (40, True)"),
        (dict(imageHeight=2**20, imageWidth=2**9), "268,435,456 together"),
        (dict(imageHeight=2**20 + 1, imageWidth=1), "has height and width (1048577, 1)"),
        (dict(imageWidth=...), "expected an object with shapes, imagePath, imageHeight, imageW"),
        (dict(shapes=...), "expected an object with shapes, imagePath"),
    ],
)
def test_a_labelme_file_of_wrong_values_is_refused(changes, message):
    line = refusal(labelme_mask, labelme_file(**changes))
    assert line.startswith("a.json: ") and message in line


VIA = {"a.jpg1234": {"filename": "a.jpg", "size": 1234, "regions": [], "file_attributes": {}}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON in UTF-8, or cut short (Expecting value"),
        (b"{", "not JSON in UTF-8, or cut short"),
        (b'{"shapes": [{"label": "a', "or cut short (Unterminated string"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not JSON in UTF-8, or cut short"),
        ('{"shapes": "é"}'.encode("latin-1"), "not JSON in UTF-8, or cut short"),
        ("[" * 10**5, "or cut short (maximum recursion"),
        ('{"shapes": ' + HUGE + "}", "or cut short (Exceeds the limit"),
        ("null", "has content None; expected an object with shapes, imagePath"),
        ("[1, 2]", "has content [1, 2]; expected an object with shapes, imagePath"),
        ("{}", "has keys []; expected an object with shapes, imagePath, imageHeight, i"),
        (VIA, "this is a VIA project, export it as COCO"),
        ({"regions": {}}, "this is a VIA project, export it as COCO"),
        (
            {"_via_img_metadata": VIA, "_via_settings": {}},
            "this is a VIA project, export it as COCO",
        ),
        (coco_content(), "has keys ['images', 'annotations', 'categories']; expected"),
        ([{"id": 1, "data": {}, "annotations": []}], "this is Label Studio's, export it as COCO"),
        ({"description": "", "tags": [], "size": {}, "objects": []}, "this is Supervisely's"),
        ({"type": "FeatureCollection", "features": []}, "this is GeoJSON, export label images"),
    ],
)
def test_a_file_that_is_none_of_labelmes_is_refused_by_its_name(content, message):
    line = refusal(labelme_mask, written(content))
    assert line.startswith("a.json: ") and message in line


# ---- COCO


def test_an_image_without_annotations_has_an_empty_mask():
    masks = coco(annotation(FLAT))
    assert list(masks) == ["a.jpg", "b.jpg"]
    assert masks["a.jpg"].draw().sum() == 200 and masks["a.jpg"].draw().shape == (40, 60)
    assert masks["b.jpg"].draw().sum() == 0 and masks["b.jpg"].draw().shape == (30, 20)
    mask = masks["a.jpg"]
    assert (mask.path, mask.parts) == ("coco.json: image a.jpg", ())


def test_the_polygons_of_an_annotation_are_each_filled():
    inner, far = [8, 10, 12, 10, 12, 20, 8, 20], [30, 30, 40, 30, 40, 35, 30, 35]
    assert coco(annotation(FLAT, inner, far))["a.jpg"].draw().sum() == 200 + 10 * 5


def test_later_annotations_lie_over_earlier_ones_in_the_files_order():
    right = [10, 5, 20, 5, 20, 25, 10, 25]
    numbers = {"car": 1, "road": 2}
    mask = coco(annotation(FLAT), annotation(right, category=1), numbers=numbers)["a.jpg"].draw()
    assert np.bincount(mask.ravel()).tolist() == [40 * 60 - 300, 100, 200]
    mask = coco(annotation(right, category=1), annotation(FLAT), numbers=numbers)["a.jpg"].draw()
    assert np.bincount(mask.ravel()).tolist() == [40 * 60 - 300, 200, 100]


def test_the_labels_are_the_categories_that_annotations_are_of():
    written(coco_content(annotation(FLAT, category=2), annotation(FLAT)), "coco.json")
    asked = []
    read_coco("coco.json", lambda *given: asked.extend(given) or ones(given[0]))
    assert asked == [["car", "road", "sky"], {"car", "sky"}]


def test_ids_may_be_texts():
    images = [dict(id="x", file_name="a.jpg", height=40, width=60)]
    assert coco(annotation(FLAT, image="x"), images=images)["a.jpg"].draw().sum() == 200


def blob(rng, size, radius):
    """A polygon around a random point, as COCO has it."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    lengths = rng.uniform(0.5, 1, 12) * radius
    centre = rng.uniform(-radius, np.add(size[::-1], radius))
    return centre + lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.mark.parametrize("radius", [1.5, 4, 15, 100])
def test_a_pixel_is_of_a_coco_polygon_where_its_centre_lies_inside(radius):
    rng, size = np.random.default_rng(int(radius)), (40, 60)
    y, x = np.mgrid[:40, :60] + 0.5
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    for _ in range(40):
        points = blob(rng, size, radius)
        expected = matplotlib.path.Path(points).contains_points(centres).reshape(size)
        found = coco(annotation(points.ravel().tolist()))["a.jpg"].draw()
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(("radius", "least"), [(4, 0.97), (15, 0.985)])
def test_coco_polygons_are_those_of_pycocotools(radius, least):
    rng, size = np.random.default_rng(radius), (40, 60)
    common, total = 0, 0
    for _ in range(40):
        points = blob(rng, size, radius).ravel().tolist()
        found = coco(annotation(points))["a.jpg"].draw()
        expected = cocomask.decode(cocomask.frPyObjects([points], *size))[..., 0]
        common, total = common + 2 * (found & expected).sum(), total + found.sum() + expected.sum()
    assert common / total > least
    assert total > 1000


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 1])
@pytest.mark.parametrize("is_compressed", [True, False])
def test_run_length_segmentations_are_those_of_pycocotools(share, is_compressed):
    mask = np.asfortranarray(np.random.default_rng(3).random((40, 60)) < share, np.uint8)
    code = cocomask.encode(mask)
    counts = code["counts"].decode()
    if not is_compressed:
        flips = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0))
        counts = np.diff(flips, prepend=0, append=mask.size).tolist()
    entry = annotation(segmentation={"counts": counts, "size": [40, 60]}, iscrowd=1)
    assert np.array_equal(coco(entry)["a.jpg"].draw(), mask)


def test_run_length_segmentations_of_another_size_than_the_image_are_refused():
    entry = annotation(segmentation={"counts": [0, 5, 2395], "size": [60, 40]})
    line = refusal(coco(entry)["a.jpg"].draw)
    assert line == (
        "coco.json: annotations[0]: has size (60, 40); expected the size of its image, 40x60"
    )


def test_ids_that_are_texts_stay_apart():
    images = [
        dict(id=id, file_name=f"{id}.jpg", height=40, width=60) for id in ("v1", "v1.0", 2, "3")
    ]
    entries = [annotation(FLAT, image=id) for id in ("v1.0", 3)]
    found = {name: bool(mask.draw().any()) for name, mask in coco(*entries, images=images).items()}
    assert found == {"v1.jpg": False, "v1.0.jpg": True, "2.jpg": False, "3.jpg": True}


def test_a_flat_segmentation_and_ids_of_another_type_are_read():
    assert (
        coco(annotation(segmentation=FLAT, image="7", category=3.0))["a.jpg"].draw().sum() == 200
    )


def test_of_a_bad_annotation_the_image_is_left_out_where_that_is_asked_for():
    bad = annotation([1, 2, 3], image=9)
    written(coco_content(annotation(FLAT), bad), "coco.json")
    masks = read_coco("coco.json", ones, skip_bad=True)
    assert masks["a.jpg"].draw().sum() == 200
    assert "annotations[1]: has points [1, 2, 3]" in refusal(masks["b.jpg"].draw)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (annotation(segmentation={"counts": [0, 5, 2394], "size": [40, 60]}), "as many pixels"),
        (annotation(segmentation={"counts": [0, -5, 2405], "size": [40, 60]}), "as many pixels"),
        (annotation(segmentation={"counts": [0, 2400], "size": [40]}), "as many pixels"),
        (annotation(segmentation={"counts": "PP\u00e90", "size": [40, 60]}), "as many pixels"),
        (annotation(segmentation={"counts": "~~~", "size": [40, 60]}), "as many pixels"),
        (annotation(segmentation={"size": [40, 60]}), "as many pixels"),
        (annotation(), "has segmentation []; expected polygons"),
        (annotation(segmentation=None), "has segmentation None; expected polygons"),
        (annotation(segmentation="a"), "has segmentation 'a'; expected polygons"),
        (annotation(FLAT[:4]), "has segmentation [[5, 5, 15, 5]]; expected 3 or more points"),
        (annotation(FLAT, []), "expected 3 or more points of a polygon; take it out"),
        (annotation(FLAT[:7]), "expected pairs of numbers"),
        (annotation(["1"] * 6), "has points ['1', '1', "),
        (annotation([float("inf")] * 6), "has points [inf, inf, "),
        (
            annotation(FLAT, image=8),
            "annotations[0]: has image_id 8; expected an id that the file",
        ),
        (annotation(FLAT, image=[7]), "has image_id [7]; expected an id that the file lists"),
        (annotation(FLAT, category=4), "has category_id 4; expected an id that the file lists"),
        (annotation(FLAT, category=None), "has category_id None; expected an id"),
    ],
)
def test_an_annotation_that_cannot_be_drawn_is_refused(entry, message):
    line = refusal(coco, entry)
    assert line.startswith("coco.json: annotations[0]: ") and message in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(images={"id": 7}), "coco.json: has images {'id': 7}; expected a list"),
        (dict(annotations=[5]), "coco.json: has annotations[0] 5; expected an object"),
        (dict(images=[dict(id=7)]), "images[0]: has file_name None; expected a line of text"),
        (dict(images=[dict(file_name="a.jpg")]), "images[0]: has id None; expected a number"),
        (dict(images=[dict(id=[1])]), "images[0]: has id [1]; expected a number"),
        (dict(images=[dict(id=1), dict(id=1)]), "images[1]: has id 1; expected a number of its"),
        (dict(images=[dict(id=1, file_name="a\0.jpg")]), r"has file_name 'a\x00.jpg'; expected"),
        (
            dict(images=[dict(id=1, file_name="a.jpg")]),
            "image a.jpg: has height and width (None, N",
        ),
        (
            dict(images=[dict(id=n, file_name="a.jpg", height=4, width=4) for n in (1, 2)]),
            "images[1]: has file_name 'a.jpg'; expected one image of a name; keep one",
        ),
        (
            dict(images=[dict(id=1, file_name="a.jpg", height=10**9, width=10**9)]),
            "image a.jpg: has height and width (1000000000, 1000000000)",
        ),
        (dict(categories=[dict(id=1)]), "categories[0]: has name None"),
        (dict(categories=None), "has categories None; expected a list"),
        (dict(annotations="a"), "has annotations 'a'; expected a list"),
    ],
)
def test_a_coco_file_of_wrong_values_is_refused(changes, message):
    written(coco_content(**changes), "coco.json")
    line = refusal(read_coco, "coco.json", ones)
    assert line.startswith("coco.json: ") and message in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "has keys []; expected an object with images, annotations, categories"),
        (
            {"images": [], "categories": []},
            "expected an object with images, annotations, categories",
        ),
        (VIA, "this is a VIA project, export it as COCO"),
        (b"\xff", "not JSON in UTF-8, or cut short"),
        (b'{"images": [', "not JSON in UTF-8, or cut short"),
        (
            dict(shapes=[], imagePath="a", imageHeight=1, imageWidth=1),
            "has keys ['shapes', 'imagePath', 'imageHeight', 'imageWidth']; exp",
        ),
    ],
)
def test_a_file_that_is_no_coco_is_refused_by_its_name(content, message):
    written(content, "coco.json")
    line = refusal(read_coco, "coco.json", ones)
    assert line.startswith("coco.json: ") and message in line


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(monkeypatch):
    assert LARGEST_JSON > 469_785_474  # bytes of COCO's instances_train2017.json
    monkeypatch.setattr(annotations, "LARGEST_JSON", 1000)
    written("[" * 1001)
    assert "a.json: has more than 1.0 kB; split it" in refusal(read_coco, "a.json", ones)
    file = ImageFile("a.json", "", "a")
    assert "a.json: has more than 1.0 kB; split it" in refusal(labelme_mask, file)
    os.truncate("a.json", 2**30 + 1)  # no bytes on the disk
    assert "a.json: has 1073.7 MB" in refusal(labelme_mask, file)
