"""Masks in every dress in which people have them."""

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from scenes import SIZE, check, labels_of, read, refused, scene, write, write_pairs

from data import Options, prepare
from unet.data.arrays import load_arrays
from unet.errors import InputError
from unet.jobs.settings import Reading
from unet.prediction.scoring import FolderImages

# ---- masks of two classes


def rgba(colours, alpha):
    return Image.fromarray(np.dstack([colours, alpha]))


@pytest.mark.parametrize("kind", ["black paint", "white paint", "cutout", "grey"])
def test_a_mask_may_lie_in_alpha(kind, place):
    colours = np.zeros((*SIZE, 3), np.uint8)
    if kind == "white paint":
        colours[:] = 255
    elif kind == "cutout":
        colours[:] = np.random.default_rng(0).integers(0, 3, SIZE)[..., None] * (90, 60, 20)
    if kind == "grey":
        colours = colours[..., :1]
    scenes = write_pairs(make_mask=lambda mask: rgba(colours, mask))
    check(read(), scenes)


def test_a_threshold_holds_for_alpha(place):
    white = np.full((*SIZE, 3), 255, np.uint8)
    soft = [cv2.GaussianBlur(scene(n)[1], (0, 0), 4) for n in range(4)]
    scenes = write_pairs()
    for number, alpha in enumerate(soft):
        write(f"masks/{number}.png", rgba(white, alpha))
    assert "pass --mask-threshold" in refused()
    check(read(mask_threshold=127.0), [(a, (s > 127) * 255) for (a, _), s in zip(scenes, soft)])


def numbers_of(mask):
    """Twelve objects, numbered."""
    return (np.arange(SIZE[1])[None] // 8 + 1) * (mask > 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: numbers_of(m).astype(np.uint8),
            "numbers of objects or classes.* --mask-threshold 0",
        ),
        (lambda m: numbers_of(m).astype(np.uint16), "numbers of objects or classes.* --classes"),
        (lambda m: (m > 0).astype(np.uint8) + 1, "--mask-threshold 1 to take 2 .* --invert 1"),
        (lambda m: cv2.GaussianBlur(m, (0, 0), 3), "pass --mask-threshold 12[0-9] to binarise"),
        (lambda m: np.where(m > 0, 170, 85).astype(np.uint8) * (m < 1), "DID NOT RAISE"),
        (lambda m: np.roll(m, 9, 1) // 3 + m // 3, "0, 85, 170. If they are classes"),
        (lambda m: np.where(np.roll(m, 9, 1) > 0, 255, m > 0).astype(np.uint8), "--ignore 255"),
    ],
)
def test_the_advice_is_right_for_what_the_mask_is(change, message, place):
    write_pairs(make_mask=change)
    if message == "DID NOT RAISE":
        read()  # one other value than 0, the same in all
        return
    with pytest.raises(InputError, match=message):
        read()


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda m: (m > 0).astype(np.uint8), {}),
        (lambda m: (m > 0).astype(np.float32), {}),
        (lambda m: (m > 0).astype(np.int32), {}),
        (lambda m: m.astype(np.uint16), {}),
        (lambda m: numbers_of(m).astype(np.uint16), dict(mask_threshold=0.0)),
        (lambda m: 255 - m, dict(invert=True)),
        (lambda m: np.where(m > 0, 1, 2).astype(np.uint8), dict(mask_threshold=1.0, invert=True)),
    ],
)
def test_masks_of_other_values_are_read_as_they_are_meant(change, options, place):
    scenes = write_pairs(make_mask=change, mask="{}.tif")
    check(read(**options), scenes)


def test_a_palette_of_black_is_not_an_empty_mask(place):
    def palette(mask):
        image = Image.fromarray((mask > 0).astype(np.uint8))
        image.putpalette([0] * 768)
        return image

    write_pairs(make_mask=palette)
    assert "masks/0.png: mask is black, but has numbers up to 1 in its palette" in refused()


def test_alpha_of_0_everywhere_says_nothing(place):
    scenes = write_pairs(make_mask=lambda mask: rgba(np.dstack([mask] * 3), 0 * mask))
    check(read(), scenes)


def test_an_opaque_black_mask_among_masks_in_alpha_is_asked_about(place):
    black = np.zeros((*SIZE, 3), np.uint8)
    write_pairs(make_mask=lambda mask: rgba(black, mask))
    write("masks/2.png", rgba(black, np.full(SIZE, 255, np.uint8)))
    assert "masks/2.png: mask is black and nowhere transparent" in refused()


def test_colours_with_noise_are_not_taken_for_foreground(place):
    noise = np.random.default_rng(0).integers(0, 4, (*SIZE, 3), dtype=np.uint8)
    scenes = write_pairs(make_mask=lambda mask: np.where(mask[..., None], 255 - noise, noise))
    assert "pass --mask-threshold 127" in refused()
    check(read(mask_threshold=127.0), scenes)


@pytest.mark.parametrize("is_stack", [True, False])
@pytest.mark.parametrize(("count", "white"), [(2, 255), (3, 1), (4, 1), (4, 255), (5, 1), (9, 1)])
def test_a_class_in_each_channel_is_class_numbers(count, white, is_stack, place):
    labels = [labels_of(number) % count * (number > 0) for number in range(3)]  # one is empty
    masks = [np.eye(count, dtype=np.uint8)[numbers] * np.uint8(white) for numbers in labels]
    images = [scene(number)[0] for number in range(3)]
    if is_stack:
        write("images/x.npy", np.stack(images))
        write("masks/x.npy", np.stack(masks))
    else:
        for number in range(3):
            write(f"images/{number}.png", images[number])
            write(f"masks/{number}.npy", masks[number])
    found = read(**({} if count == 2 else dict(classes=max(count, 4)))).masks[:][..., 0]
    assert np.array_equal(found, np.stack(labels) * (255 if count == 2 else 1))


def test_a_palette_of_two_numbers_is_a_mask_whatever_its_colours(place):
    """As QuPath's, whose background, number 0, is white; one mask is empty."""
    scenes = write_pairs()
    scenes[1][1][:] = 0
    for number, (_, mask) in enumerate(scenes):
        image = Image.fromarray((mask > 0).astype(np.uint8))
        image.putpalette([255, 255, 255, 200, 0, 0] + [0] * 762)
        image.save(f"masks/{number}.png")
    check(read(), scenes)


def test_masks_with_values_below_0_are_refused_by_what_they_hold(place):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
        write(f"masks/{number}.npy", labels_of(number).astype(np.int16) % 3 - 1)
    assert "mask has values -1..1, expected 0 and " in refused()
    assert "nothing below" in refused()
    assert "mask has value -1, expected class numbers 0 to 2" in refused(classes=3)


# ---- class numbers

VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def palette(numbers, colours):
    image = Image.fromarray(numbers)
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "tif"])
@pytest.mark.parametrize("colours", [VOC, VOC[:6], [0], VOC[:9] + VOC[6:9]])
def test_a_palettes_numbers_are_class_numbers_whatever_its_colours(kind, colours, place):
    options = dict(transparency=3) if kind == "png" and colours == VOC else {}
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
        write(f"masks/{number}.{kind}", palette(labels_of(number), colours), **options)
    masks = read(classes=4).masks[..., 0]
    np.testing.assert_array_equal(masks, [labels_of(number) for number in range(3)])


@pytest.mark.parametrize(
    "dress",
    [
        lambda x: Image.fromarray(np.dstack([x] * 3)),
        lambda x: Image.fromarray(np.dstack([x, np.full_like(x, 255)])),
        lambda x: Image.fromarray(np.dstack([x, 0 * x, 0 * x])),
        lambda x: x.astype(np.int32),
        lambda x: x.astype(np.float32),
    ],
)
def test_class_numbers_in_every_dress(dress, place):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
        pixels = dress(labels_of(number))
        is_picture = isinstance(pixels, Image.Image)
        write(f"masks/{number}.{'png' if is_picture else 'tif'}", pixels)
    masks = read(classes=4).masks[..., 0]
    np.testing.assert_array_equal(masks, [labels_of(number) for number in range(3)])


def test_class_numbers_that_do_not_fit_are_refused_with_the_right_advice(place):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
        write(f"masks/{number}.png", labels_of(number) + 1)
    assert "if they begin with 1, and 0 never occurs, pass --classes 5" in refused(classes=4)
    for number in range(3):
        write(f"masks/{number}.png", np.where(labels_of(number) == 3, 255, labels_of(number)))
    assert "if 255 is what does not count, pass --ignore 255" in refused(classes=3)
    for number in range(3):
        Path(f"masks/{number}.png").unlink()
        write(f"masks/{number}.jpg", labels_of(number))
    assert "masks/0.jpg: is a JPEG, which changes class numbers" in refused(classes=4)
    for count in (2, 256, 300):
        with pytest.raises(InputError, match=f"--classes {count}: expected 3 to 255"):
            Options(**dict_of_classes(count))


def dict_of_classes(count):
    from unet.options import parse_given  # as the command line reads it

    return parse_given(Options, "data.py", "", ["cadastre", "--classes", str(count)])


# ---- pixels that do not count


def test_pixels_that_do_not_count_are_kept_as_such(place):
    void = [cv2.dilate(scene(n)[1], np.ones((5, 5))) > scene(n)[1] for n in range(4)]
    scenes = write_pairs()
    for number, (_, mask) in enumerate(scenes):
        write(f"masks/{number}.png", np.where(void[number], 255, mask // 255).astype(np.uint8))
    arrays = read(ignore="255")
    for row, (_, mask) in enumerate(scenes):
        expected = np.where(void[row], 255, mask // 255)
        np.testing.assert_array_equal(arrays.numbers(row), expected)
    assert arrays.reading.ignore == (255,)


@pytest.mark.parametrize(
    ("options", "void"), [(dict(classes=4), "255"), (dict(colors="c.csv"), "224,224,192")]
)
def test_pixels_that_do_not_count_among_classes(options, void, place):
    Path("c.csv").write_text("name;r;g;b\nback;0;0;0\na;128;0;0\nb;0;128;0\nc;128;128;0\n")
    for number in range(3):
        labels = labels_of(number)
        labels[30:34] = 255
        write(f"images/{number}.png", scene(number)[0])
        write(f"masks/{number}.png", palette(labels, VOC + [0] * 753 + [224, 224, 192]))
    arrays = read(ignore=void, **options)
    expected = np.stack([labels_of(number) for number in range(3)])
    expected[:, 30:34] = 255
    np.testing.assert_array_equal([arrays.numbers(row) for row in range(3)], expected)


def test_a_number_in_a_palette_may_be_what_does_not_count(place):
    void = np.zeros(SIZE, bool)
    void[:, 60:63] = True
    scenes = write_pairs()
    for number, (_, mask) in enumerate(scenes):
        numbers = np.where(void, 255, mask // 255).astype(np.uint8)
        colours = [0, 0, 0, 128, 0, 0] + [0] * 759 + [224, 224, 192]
        write(f"masks/{number}.png", palette(numbers, colours))
    arrays = read(mask_threshold=0.0, ignore="255")
    for row, (_, mask) in enumerate(scenes):
        np.testing.assert_array_equal(arrays.numbers(row), np.where(void, 255, mask // 255))


def test_what_is_ignored_is_no_part_of_the_advice(place):
    """Trimaps of pets: 1 is the animal, 2 the background, 3 the border."""

    def trimap(mask):
        wider = cv2.dilate(mask, np.ones((5, 5)))
        return np.where(mask > 0, 1, np.where(wider > 0, 3, 2)).astype(np.uint8)

    write_pairs(make_mask=trimap)
    assert "--mask-threshold 1 to take 2 as foreground, with --invert 1" in refused(ignore="3")
    assert "nothing below" not in refused(ignore="300")


@pytest.mark.parametrize("text", ["x", "1,2", "-1", "256,1,1,1"])
def test_what_is_ignored_is_a_value_or_a_colour(text, place):
    write_pairs()
    assert f"--ignore {text}: expected" in refused(ignore=text)


# ---- outlines and run-length code


def test_outlines_of_labelme_lie_beside_the_images(place, capsys):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
        points = [[10, 10], [29, 10], [29, 19], [10, 19]]
        shape = {"label": "nerve", "points": points, "shape_type": "polygon"}
        content = {"shapes": [shape], "imagePath": f"{number}.png", "imageData": None}
        content |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        Path(f"images/{number}.json").write_text(json.dumps(content))
    arrays = read(masks="images")
    assert [int((mask > 0).sum()) for mask in arrays.masks[:]] == [200] * 3
    assert "outlines of labelme" in capsys.readouterr().out


def test_a_coco_file_has_masks_of_classes_by_name(place):
    square = [10, 10, 30, 10, 30, 20, 10, 20]
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "height": 64, "width": 96} for n in range(3)
        ],
        "categories": [{"id": 5, "name": "cell"}, {"id": 7, "name": "debris"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 5 + 2 * (n > 1), "segmentation": [square]}
            for n in range(1, 3)
        ],
    }
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
    Path("coco.json").write_text(json.dumps(content))
    two = read(masks="coco.json")
    assert [int((mask > 0).sum()) for mask in two.masks[:]] == [0, 200, 200]
    three = read(masks="coco.json", classes=3)
    assert [int(mask.max()) for mask in three.masks[:]] == [0, 1, 2]
    assert [label.name for label in three.classes] == ["background", "cell", "debris"]


def test_names_of_a_coco_file_are_told_apart_by_their_folders(place):
    square = [10, 10, 30, 10, 30, 20, 10, 20]
    for name in ("0", "a/0"):
        write(f"images/{name}.png", scene()[0])
    content = {
        "images": [
            {"id": n, "file_name": f"{name}.png", "height": 64, "width": 96}
            for n, name in enumerate(("0", "a/0"))
        ],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [square]}],
    }
    Path("coco.json").write_text(json.dumps(content))
    assert [int((mask > 0).sum()) for mask in read(masks="coco.json").masks[:]] == [0, 200]
    content["images"] = [
        dict(image, file_name=f"x{image['id']}.png") for image in content["images"]
    ]
    Path("coco.json").write_text(json.dumps(content))
    assert "none of its images, such as x0.png, is among those" in refused(masks="coco.json")
    Path("coco.json").write_text(json.dumps({**content, "images": [], "annotations": []}))
    assert "none of its images, such as (it has none), is among" in refused(masks="coco.json")


def test_run_length_code_is_read_in_the_order_of_its_job(place, capsys):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
    Path("train.csv").write_text("img,rle_mask\n0.png,1 5 200 9\n1.png,-1\n2.png,2 3\n")
    given = dict(images="images", masks="train.csv", image_size=SIZE, channels=1)
    for job, order, said in (
        ("nerve", "F", {}),
        ("cadastre", "F", {"run_length": "columns"}),
        ("car", "C", {}),
    ):
        prepare(Options(job=job, **given, **said))
        first = load_arrays(job).masks[0][..., 0].ravel(order)
        assert np.flatnonzero(first).tolist() == [*range(5), *range(199, 208)]
    assert "numbered down the columns (as nerve's competition does)" in capsys.readouterr().out
    assert not load_arrays("car").masks[1].any()
    Path("empty.csv").write_text("img,rle_mask\n")
    assert "none of its images, such as (it has none), is among" in refused(masks="empty.csv")
    Path("images/more.png").write_bytes(Path("images/0.png").read_bytes())
    text = refused(masks="train.csv", run_length="columns")
    assert "images/more.png: image without a mask" in text


def test_run_length_code_of_images_in_a_zip_and_beside_pictures_of_masks(place):
    """Kaggle's usual layout: each image has its own mask, and pictures of masks are no images."""
    lines = ["img,rle_mask"]
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
        write(f"images/{number}_mask.png", scene(number)[1])
        lines.append(f"{number}.png,{10 * number + 1} 4")
    Path("train.csv").write_text("\n".join(lines))
    with zipfile.ZipFile("images.zip", "w") as archive:
        for number in range(3):
            archive.write(f"images/{number}.png")
    for images in ("images", "images.zip"):
        masks = read(images=images, masks="train.csv", run_length="columns").masks[:][..., 0]
        found = [np.flatnonzero(mask.ravel("F")).tolist() for mask in masks]
        assert found == [list(range(10 * n, 10 * n + 4)) for n in range(3)]


def test_outlines_go_to_the_image_in_their_own_folder(place):
    square = [10, 10, 30, 10, 30, 20, 10, 20]
    for name in ("a/0", "b/0"):
        write(f"images/{name}.png", scene()[0])
    content = {
        "images": [{"id": 1, "file_name": "a/0.png", "height": 64, "width": 96}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [square]}],
    }
    Path("coco.json").write_text(json.dumps(content))
    masks = read(masks="coco.json", missing_is_empty=True).masks
    assert [int((mask > 0).sum()) for mask in masks[:]] == [200, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_images=4), "--num-images: for the job noise only"),
        (dict(raw="other"), "--raw and --images or --table are two ways"),
        (dict(images=None, masks=None, missing_is_empty=True), "--missing-is-empty goes with"),
        (dict(colors="c.csv", ignore="255"), "--ignore 255: masks in --colors have"),
        (dict(job="noise", images=None, masks=None, skip_bad=True), "--skip-bad: noise draws"),
        (dict(job="noise", images=None, masks=None, subject="a"), "--subject: noise draws"),
    ],
)
def test_options_without_effect_are_refused(options, message, place):
    write_pairs()
    with pytest.raises(InputError, match=message):
        prepare(Options(**{"job": "cadastre", "images": "images", "masks": "masks", **options}))
    assert not Path("output/cadastre").exists()


def test_images_without_a_mask_are_predicted_and_not_scored(place, capsys):
    scenes = write_pairs()
    Path("masks/2.png").unlink()
    run = SimpleNamespace(
        record=SimpleNamespace(
            network=SimpleNamespace(channels=1),
            is_colored=False,
            job="cadastre",
            reading=Reading(),
        ),
        classes=(),
    )
    found = [truth for _, _, truth in FolderImages(run, "images", "masks").read_all()]
    assert [truth is None for truth in found] == [False, False, True, False]
    np.testing.assert_array_equal(found[3], scenes[3][1] // 255)
    assert "images without a mask are predicted, and not scored" in capsys.readouterr().out


# ---- one list of class numbers a command


def write_coco(name, images, annotations, categories=("apple", "branch", "leaf")):
    square = [10, 10, 30, 10, 30, 20, 10, 20]
    content = {
        "images": [
            {"id": n, "file_name": f"{image}.png", "height": 64, "width": 96}
            for n, image in enumerate(images)
        ],
        "categories": [{"id": n, "name": label} for n, label in enumerate(categories)],
        "annotations": [
            {"image_id": n, "category_id": categories.index(label), "segmentation": [square]}
            for n, label in annotations
        ],
    }
    Path(name).write_text(json.dumps(content))


def test_classes_of_both_sets_are_numbered_together(place):
    """The training shows no branch, the validation no leaf, whose list is another."""
    for number in range(4):
        write(f"images/{number}.png", scene(number)[0])
        write(f"more/m{number}.png", scene(number)[0])
    write_coco("train.json", "0123", [(0, "apple"), (1, "leaf")])
    write_coco("more.json", ["m0", "m1", "m2", "m3"], [(0, "branch")], ("branch", "apple"))
    both = dict(masks="train.json", validation_images="more", validation_masks="more.json")
    assert "classes apple, branch, leaf: 4 with the background, not 3; pass" in refused(
        classes=3, **both
    )
    arrays = read(classes=4, **both)
    assert [label.name for label in arrays.classes] == ["background", "apple", "branch", "leaf"]
    found = {row["id"]: int(mask.max()) for row, mask in zip(arrays.files, arrays.masks[:])}
    assert set(found.values()) == {0, 1, 2, 3}
    assert (found["0"], found["1"], found["m0"], found["2"]) == (1, 3, 2, 0)


def test_a_category_that_is_listed_and_not_in_use_may_be_a_class(place):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
    write_coco("coco.json", "012", [(0, "apple"), (1, "leaf")])
    write_coco("one.json", "012", [(0, "apple")])
    assert "classes apple: 2 with the background, not 3; leave out --classes" in refused(
        masks="one.json", classes=3
    )
    for classes, expected in ((3, [1, 2, 0]), (4, [1, 3, 0])):
        masks = read(masks="coco.json", classes=classes).masks[:]
        assert [int(mask.max()) for mask in masks] == expected


@pytest.mark.parametrize("classes", [None, 3])
def test_labels_that_say_void_do_not_count(classes, place, capsys):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
    labels = ("Background", "apple", "leaf", "Void")
    write_coco("coco.json", "012", [(0, "apple"), (1, "Void"), (2, "leaf"), (2, "Void")], labels)
    arrays = read(masks="coco.json", classes=classes)
    assert "Void: these pixels are ignored in training and scores" in capsys.readouterr().out
    found = [sorted(set(arrays.numbers(n).ravel().tolist())) for n in range(3)]
    assert found == [[0, 1], [0, 255], [0, 255]]


def test_a_folder_of_void_leaves_ignore_as_it_was(place):
    for number in range(3):
        labels = labels_of(number)
        write(f"images/{number}.png", scene(number)[0])
        for name, value in (("cell", 1), ("void", 2), ("wall", 3)):
            mask = (labels == value) * np.uint8(255)
            mask[:2] = 77
            write(f"masks/{name}/{number}.png", mask)
    arrays = read(classes=3, ignore="77")
    expected = np.array([0, 1, 255, 2], np.uint8)[labels_of(0)]
    expected[:2] = 255
    assert np.array_equal(arrays.numbers(0), expected)
    assert arrays.reading.ignore == (77,)


@pytest.mark.parametrize("white", [1, 255])
def test_words_at_the_end_of_an_images_masks_are_classes(white, place, capsys):
    for number in range(4):
        labels = labels_of(number)
        write(f"images/{number}.png", scene(number)[0])
        for name, value in (("chair", 1), ("car", 2), ("table", 3)):
            if number or value > 1:  # not all of an image
                write(f"masks/{number}_class_{name}.png", (labels == value) * np.uint8(white))
    arrays = read(classes=4)
    assert [label.name for label in arrays.classes] == ["background", "car", "chair", "table"]
    expected = np.stack([np.array([0, 2, 1, 3])[labels_of(n)] for n in range(4)])
    expected[0][expected[0] == 2] = 0
    assert np.array_equal(arrays.masks[:][..., 0], expected)
    capsys.readouterr()
    two = read()
    assert np.array_equal(two.masks[:][..., 0] > 0, expected > 0)
    assert "car, chair, table: all are foreground; --classes 4 tells" in capsys.readouterr().out


CAMVID = ["Sky,10,20,30", "Car,64,0,128", "Void,0,0,0", "Road,128,64,128"]
MIDDLE = ["car,64,0,128", "BG,0,0,0", "road,128,64,128"]


def colour(labels, lines):
    table = np.array([[int(c) for c in line.split(",")[1:]] for line in lines], np.uint8)
    return table[labels]


@pytest.mark.parametrize("in_numbers", [True, False])
def test_a_table_says_by_names_what_is_background_and_what_does_not_count(
    in_numbers, place, capsys
):
    for lines in (CAMVID, MIDDLE):
        Path("t.csv").write_text("\n".join(["name,r,g,b", *lines]))
        labels = [labels_of(n) % len(lines) for n in range(3)]
        for n, numbers in enumerate(labels):
            write(f"images/{n}.png", scene(n)[0])
            write(f"masks/{n}.png", numbers if in_numbers else colour(numbers, lines)[..., ::-1])
        options = dict(colors="t.csv", classes=len(lines) if in_numbers else None)
        if lines is MIDDLE:
            assert "--no-background: class 0 is called BG" in refused(
                no_background=True, **options
            )
        arrays, told = read(**options), capsys.readouterr().out
        new = [0, 1, 255, 2] if lines is CAMVID else [1, 0, 2]
        expected = np.array(new, np.uint8)[np.stack(labels)]
        found = np.stack([arrays.numbers(n) for n in range(3)])
        assert np.array_equal(found, expected)
        names = ["Sky", "Car", "Road"] if lines is CAMVID else ["BG", "car", "road"]
        assert [label.name for label in arrays.classes] == names
        assert ("Void: these pixels are ignored" in told) == (lines is CAMVID)
        taken = "Sky is taken for the background, which means and objects leave out"
        assert (taken in told) == (lines is CAMVID)
    arrays = read(**{**options, "colors": "t.csv"})
    assert arrays.reading.has_background


def test_a_set_without_background_is_said_to_have_none(place, capsys):
    for n in range(3):
        write(f"images/{n}.png", scene(n)[0])
        write(f"masks/{n}.png", labels_of(n))
    arrays = read(classes=4, no_background=True)
    assert not arrays.reading.has_background
    assert "taken for the background" not in capsys.readouterr().out
    assert "--no-background goes with --classes or --colors" in refused(no_background=True)


def test_a_table_whose_void_leaves_two_classes_is_refused(place):
    write_pairs()
    Path("t.csv").write_text("\n".join(["name,r,g,b", *CAMVID[1:]]))
    assert "t.csv: 2 classes beside Void, whose pixels are ignored; expected 3 or more" in refused(
        colors="t.csv"
    )


def test_colours_without_a_table_are_listed_with_their_shares(place):
    write_pairs()
    half = np.zeros((*SIZE, 3), np.uint8)
    half[:, : SIZE[1] // 4] = 0, 120, 200
    for n in range(4):
        write(f"masks/{n}.png", half)
    assert "pass --mask-threshold 0 to take every colour but black" in refused()
    for n in range(4):
        write(f"masks/{n}.png", half + np.uint8(9))
    assert "209 129 9 (25.0%); expected grey 0 and 255; pass --colors FILE" in refused()
    for n in range(4):
        write(f"masks/{n}.png", half)
    for options in ({}, {"classes": 3}):
        assert "mask has colours, 0 0 0 (75.0%), 200 120 0 (25.0%); expected" in refused(**options)


@pytest.mark.parametrize("folder", ["labels", "images"])
def test_polygons_of_yolo_are_shares_of_the_image(folder, place):
    """Beside the images or in a folder of their own; an empty file is an empty mask."""
    lines = {0: "2 0.25 0.5 0.75 0.5 0.75 0.75 0.25 0.75\n", 1: "", 2: "0 0 0 1 0 1 1 0 1\n"}
    for number, text in lines.items():
        write(f"images/{number}.png", scene(number)[0])
        Path(folder).mkdir(exist_ok=True)
        Path(f"{folder}/{number}.txt").write_text(text)
    expected = np.zeros((3, *SIZE), np.uint8)
    expected[0, SIZE[0] // 2 : SIZE[0] * 3 // 4, SIZE[1] // 4 : SIZE[1] * 3 // 4] = 2
    expected[2] = 1
    arrays = read(masks=folder, classes=3)
    assert np.array_equal(arrays.masks[:][..., 0], expected)
    assert [label.name for label in arrays.classes] == ["background", "class 0", "class 2"]
    Path(f"{folder}/1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert "1.txt: line 1: has content '0 0.5 0.5 0.2 0.2'; expected a class and 3" in refused(
        masks=folder
    )
    assert len(read(masks=folder, skip_bad=True).masks) == 2


def test_an_export_of_cvat_is_read_whole_by_its_label_map(place):
    """Whose background is in the middle of the map, and whose objects have masks of their own."""
    lines = ["# label:color_rgb:parts:actions"]
    lines += [f"{line.split(',')[0]}:{','.join(line.split(',')[1:])}::" for line in MIDDLE]
    for n in range(3):
        labels = labels_of(n) % 3
        write(f"photos/{n}.png", scene(n)[0])
        write(f"export/SegmentationClass/{n}.png", colour(labels, MIDDLE)[..., ::-1])
        write(f"export/SegmentationObject/{n}.png", colour(labels[::-1], MIDDLE))
    Path("export/labelmap.txt").write_text(
        "\n".join([line.replace("BG", "background") for line in lines])
    )
    arrays = read(images="photos", masks="export", colors="export/labelmap.txt")
    assert [label.name for label in arrays.classes] == ["background", "car", "road"]
    expected = np.array([1, 0, 2])[np.stack([labels_of(n) % 3 for n in range(3)])]
    assert np.array_equal(arrays.masks[:][..., 0], expected)
