"""What people bring: every case is read as it is meant, or refused by its true name."""

import json
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from conftest import save
from PIL import Image

from data import Options, prepare
from unet.data.arrays import load_arrays
from unet.errors import InputError
from unet.reading.pairing import pair_names

SIZE = (64, 96)


def scene(number=0, size=SIZE):
    """A grey image with a bright disc on noise, and its mask of 0 and 255."""
    height, width = size
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, (width // 3 + 5 * number, height // 3), height // 5, 255, -1)
    noise = np.random.default_rng(number).integers(0, 80, size)
    return (noise + (mask > 0) * 100).astype(np.uint8), mask


def labels_of(number):
    """A mask of the class numbers 0 to 3."""
    labels = np.zeros(SIZE, np.uint8)
    for k, x in enumerate((8, 30, 52)):
        cv2.circle(labels, (x + 5 * number, 20 + 5 * k), 8, k + 1, -1)
    return labels


def write(path, pixels, **options):
    """An image file in the present folder, by Pillow, or as tif by tifffile with its options."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(pixels, Image.Image):
        pixels.save(path, **options)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **options)
    elif path.suffix == ".npy":
        np.save(path, pixels)
    else:
        save(path, pixels)


def read(**options):
    """The arrays of the folders images and masks."""
    given = {"images": "images", "masks": "masks", "image_size": SIZE, "channels": 1, **options}
    prepare(Options(job="cadastre", **given))
    return load_arrays("cadastre")


def refused(**options):
    with pytest.raises(InputError) as caught:
        read(**options)
    return str(caught.value)


def write_pairs(make_image=None, make_mask=None, image="{}.png", mask="{}.png", count=4, **tags):
    """images/N.png and masks/N.png out of scenes, changed by functions; returns the scenes."""
    scenes = [scene(number) for number in range(count)]
    for number, (pixels, truth) in enumerate(scenes):
        write(
            f"images/{image.format(number)}", make_image(pixels) if make_image else pixels, **tags
        )
        write(f"masks/{mask.format(number)}", make_mask(truth) if make_mask else truth)
    return scenes


def check(arrays, scenes, images=True):
    """The arrays are those of the scenes."""
    if images:
        np.testing.assert_array_equal(arrays.images[..., 0], [image for image, _ in scenes])
    np.testing.assert_array_equal(arrays.masks[..., 0], [mask for _, mask in scenes])


# ---- names


@pytest.mark.parametrize(
    ("image", "mask", "rule"),
    [
        ("ISIC_{:07}", "ISIC_{:07}_segmentation", "* / *_segmentation"),
        ("E{}W", "E{}W-mask", "* / *-mask"),
        ("{:02}_training", "{:02}_manual1", "*training / *manual1"),
        ("image_{:03}", "mask_{:03}", "image* / mask*"),
        ("{:03}", "mask_{:03}", "* / mask_*"),
        ("{:03}", "{:03}.png", "* / *.png"),
        ("{:03}", "{:03}_Mask", "* / *_Mask"),
        ("case_12_slice_{:03}", "case_12_slice_{:03}_seg", "* / *_seg"),
        ("case_{:03}_0000", "case_{:03}", "*_0000 / *"),
        ("IMG_{:03}", "img_{:03}", "IMG* / img*"),
        ("img{}_rgb", "lbl{}_seg", "img*rgb / lbl*seg"),
        ("a/{}_leftImg8bit", "a/{}_gtFine_labelIds", "*leftImg8bit / *gtFine_labelIds"),
        ("{}", "{:04}_m", "* / *_m, zeros before numbers apart"),
        ("{}", "{}", "the same names"),
    ],
)
@pytest.mark.parametrize("count", [2, 12])
def test_names_pair_by_what_is_the_same_for_all(image, mask, rule, count):
    names = [(image.format(n), mask.format(n)) for n in range(count)]
    pairs = pair_names({a: a for a, _ in names}, {b: b for _, b in reversed(names)})
    assert pairs.masks == {a: (b,) for a, b in names}
    if count == 12:
        assert pairs.rule == rule


def names(*texts):
    return {text: text for text in texts}


def test_where_two_rules_fit_both_are_shown():
    images, masks = names("1", "2"), names("1_a", "1_b", "2_a", "2_b", "9_c")
    with pytest.raises(
        InputError, match=r"two rules .*: \* / \*_[ab], and \* / \*_[ab]; .* --table FILE"
    ):
        pair_names(images, masks, unused=True)


def test_numbers_alone_make_no_pair():
    with pytest.raises(InputError, match="no one rule leads from the images' names"):
        pair_names(names("img_01", "img_02"), names("img_11", "img_12"))


def test_several_masks_of_an_image_are_found_by_its_name_and_by_its_folder():
    pairs = pair_names(
        names("benign (1)", "benign (10)"),
        names("benign (1)_mask", "benign (10)_mask", "benign (10)_mask_1"),
    )
    assert pairs.masks["benign (10)"] == ("benign (10)_mask", "benign (10)_mask_1")
    pairs = pair_names(
        names("a/images/a", "b/images/b"), names("a/masks/1", "a/masks/2", "b/masks/3")
    )
    assert pairs.masks == {"a/images/a": ("a/masks/1", "a/masks/2"), "b/images/b": ("b/masks/3",)}


def test_a_folder_an_image_has_its_objects_united(place):
    scenes = [scene(number) for number in range(4)]
    for number, (image, mask) in enumerate(scenes):
        write(f"images/{number}/images/{number}.png", image)
        for part, rows in enumerate((slice(0, 21), slice(21, None))):
            one = np.zeros_like(mask)
            one[rows] = mask[rows]
            write(f"images/{number}/masks/{number}{part}.png", one)
    check(read(masks="images"), scenes)


def test_two_opinions_on_one_object_are_refused_naming_both(place, capsys):
    scenes = write_pairs(mask="{}_one.png")
    for number, (_, mask) in enumerate(scenes):
        write(f"masks/{number}_two.png", np.roll(mask, 3, axis=1))
    message = refused()
    assert "masks/0_one.png and masks/0_two.png: masks of one image that overlap" in message
    check(read(masks="masks/*_one.png"), scenes)
    assert "* / *_one" in capsys.readouterr().out


def test_a_folder_a_patient_is_the_subject_and_a_folder_may_hold_both(place, capsys):
    for patient in ("TCGA_CS", "TCGA_DU"):
        for number in range(3):
            for pixels, end in zip(scene(number), ("", "_mask")):
                write(f"images/{patient}/{patient}_{number}{end}.png", pixels)
    arrays = read(masks="images")
    assert {row["subject"] for row in arrays.files} == {"TCGA_CS", "TCGA_DU"}
    assert len(arrays.files) == 6
    assert "6 images show 2 subjects" in capsys.readouterr().out


def test_a_folder_a_class_becomes_numbers_with_the_folders_names(place):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
        for k, name in enumerate(("cat", "dog", "emu"), 1):
            write(f"masks/{name}/{number}.png", (labels_of(number) == k) * np.uint8(255))
    assert "pass --classes 4" in refused()
    arrays = read(classes=4)
    np.testing.assert_array_equal(arrays.masks[..., 0], [labels_of(n) for n in range(3)])
    assert [label.name for label in arrays.classes] == ["class 0", "cat", "dog", "emu"]


def test_a_subject_is_what_a_pattern_finds(place):
    write_pairs(image="case_{}_a.png", mask="case_{}_a.png")
    arrays = read(subject=r"case_[01]|case_.")
    assert [row["subject"] for row in arrays.files] == [f"case_{n}" for n in range(4)]
    assert "finds nothing in case_2_a" in refused(subject=r"case_([01])")
    assert "not a pattern" in refused(subject="(")


def test_folders_of_a_split_of_ones_own_stand(place, capsys):
    for split, numbers in (("train", range(4)), ("val", range(4, 6)), ("test", range(6, 8))):
        for number in numbers:
            for kind, pixels in zip(("images", "masks"), scene(number)):
                write(f"in/{split}/{kind}/{number}.png", pixels)
    by_options = read(
        images="in/train/images",
        masks="in/train/masks",
        validation_images="in/val/images",
        validation_masks="in/val/masks",
    )
    as_a_tree = read(images="in", masks="in")
    for arrays in (by_options, as_a_tree):
        assert [row["split"] for row in arrays.files] == ["train"] * 4 + ["validation"] * 2
        check(arrays, [scene(number) for number in range(6)])
    assert "2 images of the folder test are left out" in capsys.readouterr().out
    assert "--validation-images and --validation-masks go together" in refused(
        validation_images="in/val/images"
    )


def test_names_that_training_and_validation_share_are_told_apart(place):
    for number in range(4):
        for kind, pixels in zip(("images", "masks"), scene(number)):
            write(f"{'val_' if number > 1 else ''}{kind}/{number % 2}.png", pixels)
    arrays = read(validation_images="val_images", validation_masks="val_masks")
    assert [row["id"] for row in arrays.files] == ["0", "1", "validation/0", "validation/1"]
    check(arrays, [scene(number) for number in range(4)])


def test_masks_may_lie_below_their_images(place):
    scenes = write_pairs()
    Path("masks").rename("images/masks")
    check(read(masks="./images/masks"), scenes)


def test_images_without_a_mask_are_named_left_out_or_empty(place, capsys):
    scenes = write_pairs()
    for number in (1, 3):
        Path(f"masks/{number}.png").unlink()
    message = refused()
    assert message.startswith(
        "images/1.png: image without a mask (and 1 more); 2 pair as the same"
    )
    assert "--missing-is-empty" in message and "--skip-bad" in message
    arrays = read(missing_is_empty=True)
    check(arrays, [(a, m * (n in (0, 2))) for n, (a, m) in enumerate(scenes)])
    assert "2 images have no mask" in capsys.readouterr().out
    check(read(skip_bad=True), scenes[::2])


def test_a_size_of_its_own_is_named_with_the_way_to_leave_it_out(place):
    scenes = write_pairs()
    write("masks/2.png", np.pad(scenes[2][1], 1))
    message = refused()
    assert "masks/2.png: mask is 66x98, its image images/2.png 64x96" in message
    assert "--skip-bad" in message
    assert len(read(skip_bad=True).files) == 3


def test_a_rule_that_pairs_all_comes_before_one_that_leaves_some_out():
    images, masks = names("95", "99", "100"), names("gt095", "gt099", "gt100")
    pairs = pair_names(images, masks, missing=True, unused=True)
    assert pairs.masks == {"95": ("gt095",), "99": ("gt099",), "100": ("gt100",)}


def test_parts_of_classes_are_numbers_or_refused(place):
    """The masks of one image, two objects of classes 1 and 2, united by --classes."""
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
        for part in (1, 2):
            write(f"masks/{number}_{part}.png", labels_of(number) * (labels_of(number) == part))
    expected = [labels_of(number) * (labels_of(number) < 3) for number in range(3)]
    np.testing.assert_array_equal(read(classes=3).masks[..., 0], expected)
    for path in Path("masks").iterdir():
        write(path, cv2.imread(str(path), 0) * 127)
    assert "expected class numbers 0 to 2" in refused(classes=3)


def test_links_to_folders_are_followed_and_circles_left(place):
    scenes = write_pairs()
    for kind in ("images", "masks"):
        Path(kind).rename(f"real_{kind}")
        Path(kind).mkdir()
        Path(kind, "p").symlink_to(f"../real_{kind}", target_is_directory=True)
        Path(f"real_{kind}", "back").symlink_to(f"../{kind}", target_is_directory=True)
    check(read(), scenes)


def test_single_files_and_patterns_in_folders_with_brackets(place):
    pairs = [scene(number) for number in range(4)]
    for column, name in enumerate(("stack", "labels")):
        write(f"{name}.tif", np.stack([pair[column] for pair in pairs]), photometric="minisblack")
    check(read(images="stack.tif", masks="labels.tif"), pairs)
    scenes = write_pairs()
    Path("set [1]").mkdir()
    for kind in ("images", "masks"):
        Path(kind).rename(f"set [1]/{kind}")
    check(read(images="set [1]/images/*.png", masks="set [1]/masks/*.png"), scenes)


@pytest.mark.parametrize(
    ("images", "masks"),
    [("d/t_*.png", "d/*_anno.png"), ("d/*.png", "d/*_anno.png"), ("d", "d/*_a*")],
)
def test_a_pattern_of_images_may_find_masks_too(images, masks, place):
    scenes = [scene(number) for number in range(3)]
    for number, (image, mask) in enumerate(scenes):
        write(f"d/t_{number}.png", image)
        write(f"d/t_{number}_anno.png", mask)
    check(read(images=images, masks=masks), scenes)


def test_photos_and_masks_of_one_name_in_one_folder(place):
    scenes = [scene(number) for number in range(3)]
    for number, (image, mask) in enumerate(scenes):
        write(f"d/{number}.jpg", image)
        write(f"d/{number}.png", mask)
    check(read(images="d", masks="d"), scenes, images=False)


def test_an_image_in_both_shares_is_refused(place):
    write_pairs()
    message = refused(validation_images="images/[01].png", validation_masks="masks/[01].png")
    assert "images/0.png: is among the training images, too" in message


# ---- tables


@pytest.mark.parametrize(
    ("header", "line", "end", "encoding"),
    [
        ("image,mask", "images\\{0}.png,masks\\{0}.png", "\r\n", "utf-8"),
        ("image;mask", "images/{0}.png;masks/{0}.png", "\r\n", "utf-8-sig"),
        ("image\tmask", "images/{0}.png\tmasks/{0}.png", "\n", "utf-16"),
        (",image,mask", "{0},images/{0}.png,masks/{0}.png", "\n", "utf-8"),
        ("image, mask", "images/{0}.png, masks/{0}.png", "\n", "utf-8"),
        ("Image,Mask", "images/{0}.png,masks/{0}.png", "\n", "utf-8"),
        ("image_path,mask_path", "images/{0}.png,masks/{0}.png", "\n\n,\n", "utf-8"),
        ("image,mask", "{1}/images/{0}.png,{1}/masks/{0}.png", "\n", "utf-8"),
    ],
)
def test_tables_as_other_programs_write_them(header, line, end, encoding, place):
    scenes = write_pairs()
    lines = [header, *(line.format(number, place) for number in range(4))]
    Path("t.csv").write_bytes((end.join(lines) + end).encode(encoding))
    check(read(images=None, masks=None, table="t.csv"), scenes)


def test_a_table_names_subjects_and_lines_without_a_mask(place):
    write_pairs()
    lines = ["image,mask,subject", *(f"images/{n}.png,masks/{n}.png,p{n // 2}" for n in range(4))]
    Path("t.csv").write_text("\n".join(lines))
    table = dict(images=None, masks=None, table="t.csv")
    assert [row["subject"] for row in read(**table).files] == ["p0", "p0", "p1", "p1"]
    for cell in ("", "nan"):
        Path("t.csv").write_text("\n".join([*lines[:-1], f"images/3.png,{cell},p1"]))
        message = refused(**table)
        assert "t.csv: line 5: no mask for images/3.png" in message
        assert not read(**table, missing_is_empty=True).masks[3].any()
        assert len(read(**table, skip_bad=True).files) == 3
    Path("t.csv").write_text("image,mask\n/etc/passwd,masks/0.png\n")
    assert "/etc/passwd: is absolute" in refused(**table)


def test_a_table_says_the_split_and_tells_files_apart(place):
    scenes = write_pairs()
    lines = ["image,mask,split", *(f"images/{n}.png,masks/{n}.png,{s}" for n, s in SPLIT)]
    Path("t.csv").write_text("\n".join(lines))
    table = dict(images=None, masks=None, table="t.csv")
    arrays = read(**table)
    assert [row["split"] for row in arrays.files] == ["train", "train", "validation"]
    check(arrays, scenes[:3])
    write("images/0.bmp", scenes[0][0])
    Path("t.csv").write_text("image,mask\nimages/0.png,masks/0.png\nimages/0.bmp,masks/1.png\n")
    assert "two files of one name" in refused(**table)


SPLIT = list(enumerate(("train", "Training", "val", "test")))


# ---- kinds of files


@pytest.mark.parametrize("kind", ["webp", "ppm", "pgm", "jp2", "avif", "npy", "gif"])
def test_kinds_of_files_without_loss(kind, place):
    options = {"webp": dict(lossless=True), "avif": dict(quality=100, subsampling="4:4:4")}

    def encode(pixels):
        return pixels if kind == "npy" else Image.fromarray(pixels)

    scenes = [scene(number) for number in range(3)]
    for number, (image, mask) in enumerate(scenes):
        write(f"images/{number}.{kind}", encode(image), **options.get(kind, {}))
        write(f"masks/{number}.png", mask)
    arrays = read()
    check(arrays, scenes, images=kind != "avif")
    error = np.abs(arrays.images[:, ..., 0].astype(int) - [image for image, _ in scenes])
    assert error.mean() < 3


def test_what_is_passed_over_is_counted_and_what_can_be_converted_named(place, capsys):
    write_pairs()
    for name in ("notes.txt", "more.txt", "Thumbs.db", "._0.png", "scan.dcm"):
        Path("images", name).write_bytes(b"x")
    read()
    out = capsys.readouterr().out
    assert "passed over: 2 .txt, 1 .dcm (DICOM; convert it with np.save" in out
    for name, word in (("a.heic", "HEIC"), ("b.nii.gz", "NIfTI"), ("IM0001", "DICOM")):
        Path("only").mkdir(exist_ok=True)
        for path in Path("only").iterdir():
            path.unlink()
        Path("only", name).write_bytes(bytes(128) + b"DICM")
        assert "only: no images in it, but 1 " in refused(images="only")
        assert word in refused(images="only")
    Path("images/3.png").write_bytes(bytes(128) + b"DICM")
    assert "images/3.png: DICOM; convert" in refused()


def test_names_in_two_unicode_forms_are_one(place):
    name = "größe {} (kopie)"
    scenes = write_pairs(
        image=unicodedata.normalize("NFC", name) + ".png",
        mask=unicodedata.normalize("NFD", name) + "_mask.png",
    )
    check(read(), scenes)


def test_two_files_of_one_name_are_told_from_each_other_by_a_pattern(place):
    scenes = write_pairs()
    write("images/0.bmp", scenes[0][0])
    assert "images/0.bmp and images/0.png: two files of one name" in refused()
    check(read(images="images/*.png"), scenes)


def test_pages_are_rows_and_a_file_of_several_is_a_subject(place):
    pairs = [[scene(number + 6 * volume) for number in range(6)] for volume in range(2)]
    for volume, of_volume in enumerate(pairs):
        for column, kind in enumerate(("images", "masks")):
            stack = np.stack([pair[column] for pair in of_volume])
            write(f"{kind}/v{volume}.tif", stack, photometric="minisblack")
            write(f"npy_{kind}/v{volume}.npy", stack)
    for prefix in ("", "npy_"):
        arrays = read(images=f"{prefix}images", masks=f"{prefix}masks")
        check(arrays, sum(pairs, []))
        assert {row["subject"] for row in arrays.files} == {"v0", "v1"}
    write("masks/v1.tif", pairs[1][0][1])
    assert "images/v1.tif: has 6 pages, its mask masks/v1.tif 1" in refused()


def test_a_smaller_copy_of_an_image_is_no_page_of_its_own(place):
    scenes = [scene(number) for number in range(2)]
    for number, (image, mask) in enumerate(scenes):
        write(f"masks/{number}.png", mask)
        Path("images").mkdir(exist_ok=True)
        with tifffile.TiffWriter(f"images/{number}.tif") as tif:
            tif.write(image)
            tif.write(image[::2, ::2], subfiletype=1)
    check(read(), scenes)


def test_a_smaller_copy_may_come_first(place):
    scenes = [scene(number) for number in range(2)]
    for number, pair in enumerate(scenes):
        for kind, pixels in zip(("images", "masks"), pair):
            Path(kind).mkdir(exist_ok=True)
            with tifffile.TiffWriter(f"{kind}/{number}.tif") as tif:
                tif.write(pixels[::4, ::4], subfiletype=1)
                tif.write(pixels)
    check(read(), scenes)


def test_images_without_a_page_of_their_own_are_not_dropped_silently(place):
    stack = np.stack([scene(number)[0] for number in range(6)])
    write("images/v.tif", stack, photometric="minisblack", truncate=True)
    write("masks/v.tif", scene()[1])
    assert "images/v.tif: says that it has 6 images, of which 1 have a page" in refused()


# ---- EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiled_tifs_are_turned_pixel_by_pixel(orientation, place):
    for number in range(2):
        for kind, pixels in zip(("images", "masks"), scene(number)):
            tags = [(274, "H", 1, orientation, True)]
            write(f"{kind}/{number}.tif", pixels, tile=(32, 32), extratags=tags)
    arrays = read(image_size=(0, 0))
    with Image.open("images/1.tif") as image:  # Pillow turns tifs when it loads them
        expected = np.array(image)
    np.testing.assert_array_equal(arrays.images[1][..., 0], expected)


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "avif"])
def test_exif_turns_image_and_mask_alike(orientation, kind, place):
    for number in range(3):
        for folder, pixels in zip(("images", "masks"), scene(number)):
            exif = Image.Exif()
            exif[274] = orientation
            path = f"{folder}/{number}.{kind if folder == 'images' else 'png'}"
            Path(folder).mkdir(exist_ok=True)
            lossless = dict(lossless=True) if path.endswith("webp") else {}
            Image.fromarray(pixels).save(path, exif=exif, **lossless)
    arrays = read(image_size=(0, 0))
    turns = {3: 2, 6: 3, 8: 1}[orientation]
    expected = np.rot90([scene(number)[1] for number in range(3)], turns, axes=(1, 2))
    np.testing.assert_array_equal(arrays.masks[..., 0], expected)
    inside = arrays.images[..., 0][expected > 0].mean()
    assert inside == pytest.approx(139.5, abs=3)  # noise 0..79 and 100


def test_exif_of_only_one_of_both_is_said(place, capsys):
    exif = Image.Exif()
    exif[274] = 3
    write_pairs(lambda image: Image.fromarray(image), exif=exif)
    read()
    assert (
        "4 images are turned as their EXIF says, their masks have none" in capsys.readouterr().out
    )


# ---- values of more than 8 bit


@pytest.mark.parametrize(
    ("change", "black", "white"),
    [
        (lambda x: (x / 255).astype(np.float32), 0, 1),
        (lambda x: x / 255, 0, 1),
        (lambda x: (x * 7.5 - 120).astype(np.float32), -120, 179 * 7.5 - 120),
        (lambda x: x.astype(np.int16) * 10 - 1000, -1000, 790),
        (lambda x: x.astype(np.uint32), 0, 255),
        (lambda x: x.astype(np.uint16) * 20, 0, 4095),
        (lambda x: x.astype(np.uint16) * 257, 0, 65535),
    ],
)
def test_levels_are_found_over_all_images_said_and_kept(change, black, white, place, capsys):
    scenes = write_pairs(change, image="{}.tif")
    arrays = read()
    assert arrays.reading.black_level == pytest.approx(black)
    assert arrays.reading.white_level == pytest.approx(white)
    assert f"{white:g} white" in capsys.readouterr().out
    for row, (image, _) in enumerate(scenes):
        values = change(image).astype(np.float64)
        expected = np.clip((values - black) / (white - black), 0, 1) * 255
        np.testing.assert_allclose(arrays.images[row][..., 0], expected, atol=0.51)


def test_levels_that_are_stated_stand(place, capsys):
    write_pairs(lambda x: x.astype(np.uint16) * 3)
    assert read(white_level=600.0).reading.white_level == 600
    assert read().images[:].max() == round(179 * 3 * 255 / 1023)
    assert "the brightest is 537" in capsys.readouterr().out
    assert "--white-level 5: expected more than --black-level 5" in refused(
        white_level=5.0, black_level=5.0
    )


def test_values_that_do_not_go_together_are_refused(place):
    write_pairs()
    write("images/0.png", Image.fromarray(np.zeros(SIZE, np.uint8)))
    tifffile.imwrite("images/0.png", np.full(SIZE, 0.5, np.float32))
    assert "images/0.png: float values among images of 8 bit" in refused()
    write_pairs(lambda x: np.where(x > 170, np.nan, x).astype(np.float32), image="{}.tif")
    Path("images/0.png").unlink()
    for path in Path("images").glob("*.png"):
        path.unlink()
    assert "images/0.tif: has pixels that are no number" in refused()


@pytest.mark.parametrize("hole", [-9999, -3.4e38])
def test_a_value_for_no_data_takes_no_grey_levels(hole, place, capsys):
    def punch(image):
        image = image.astype(np.float32)
        image[:, :5] = hole
        return image

    write_pairs(punch, image="{}.tif")
    arrays = read()
    assert (arrays.reading.black_level, arrays.reading.white_level) == (0, 179)
    assert not arrays.images[0][:, :5].any()
    assert "far from all others, is taken for no data" in capsys.readouterr().out


# ---- bands and tags of tif


def rgb_of(image):
    return np.dstack([image, image // 2, 255 - image])


@pytest.mark.parametrize(
    ("bands", "tags", "message"),
    [
        (4, dict(photometric="rgb", extrasamples=["unspecified"]), "has 4 bands"),
        (4, dict(photometric="minisblack", extrasamples=["unspecified"] * 3), "has 4 bands"),
        (8, dict(photometric="minisblack", extrasamples=["unspecified"] * 7), "has 8 bands"),
        (3, dict(photometric="minisblack"), "3 bands that its tags do not call RGB"),
        (4, dict(photometric="separated"), "is CMYK; save it as grey or RGB"),
        (3, dict(photometric="rgb", planarconfig="separate"), "planar"),
    ],
)
def test_bands_that_would_be_guessed_at_are_refused_by_name(bands, tags, message, place):
    def stack(image):
        pixels = np.dstack([image] * bands).astype(np.uint16) * 257
        return pixels if "planarconfig" not in tags else np.moveaxis(pixels, 2, 0)

    contiguous = {} if "planarconfig" in tags else {"planarconfig": "contig"}
    write_pairs(stack, image="{}.tif", **tags, **contiguous)
    assert f"images/0.tif: {message}" in refused(channels=3) or message in refused(channels=3)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_alpha_does_not_darken_colours(kind, place):
    factor = 257 if kind == np.uint16 else 1

    def stack(image):
        return np.dstack([rgb_of(image), np.where(image > 90, 20, 220)]).astype(kind) * kind(
            factor
        )

    scenes = write_pairs(stack, image="{}.tif", photometric="rgb", extrasamples=["unassalpha"])
    arrays = read(channels=3)
    np.testing.assert_array_equal(arrays.images[:], [rgb_of(image) for image, _ in scenes])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_white_may_be_zero(kind, place):
    top = np.iinfo(kind).max
    scenes = write_pairs(
        lambda x: (top - x.astype(kind) * (top // 255)).astype(kind),
        image="{}.tif",
        photometric="miniswhite",
    )
    check(read(), scenes)


def test_values_and_compressions_that_are_not_read_are_named(place):
    write_pairs(lambda x: (x / 255).astype(np.float16), image="{}.tif")
    assert "images/0.tif: has float16 values; save them as float32" in refused()
    whole = tifffile.imwrite  # a tif whose compression nobody knows
    whole("images/0.tif", scene()[0])
    data = bytearray(Path("images/0.tif").read_bytes())
    place_of_tag = data.index(
        b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00"
    )  # 259, short, 1 value: 1
    data[place_of_tag + 8 : place_of_tag + 10] = (4242).to_bytes(2, "little")
    Path("images/0.tif").write_bytes(data)
    assert "images/0.tif: its compression, number 4242, is not read" in refused()


@pytest.mark.parametrize("compression", ["zstd", "lzma"])
def test_compressions_that_only_pillow_reads(compression, place):
    scenes = [scene(number) for number in range(2)]
    for number, (image, mask) in enumerate(scenes):
        write(f"masks/{number}.png", mask)
        write(f"images/{number}.tif", Image.fromarray(image), compression=compression)
    check(read(), scenes)


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
    assert "pass --threshold" in refused()
    check(read(threshold=127.0), [(a, (s > 127) * 255) for (a, _), s in zip(scenes, soft)])


def numbers_of(mask):
    """Twelve objects, numbered."""
    return (np.arange(SIZE[1])[None] // 8 + 1) * (mask > 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: numbers_of(m).astype(np.uint8),
            "numbers of objects or classes.* --threshold 0",
        ),
        (lambda m: numbers_of(m).astype(np.uint16), "numbers of objects or classes.* --classes"),
        (lambda m: (m > 0).astype(np.uint8) + 1, "--threshold 1 to take 2 .* --invert 1"),
        (lambda m: cv2.GaussianBlur(m, (0, 0), 3), "pass --threshold 12[0-9] to binarise"),
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
        (lambda m: numbers_of(m).astype(np.uint16), dict(threshold=0.0)),
        (lambda m: 255 - m, dict(invert=True)),
        (lambda m: np.where(m > 0, 1, 2).astype(np.uint8), dict(threshold=1.0, invert=True)),
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
    assert "pass --threshold 127" in refused()
    check(read(threshold=127.0), scenes)


def test_a_class_a_channel_is_refused_by_name(place):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
        write(f"masks/{number}.npy", np.eye(4, dtype=np.uint8)[labels_of(number)])
    for options in ({}, dict(classes=4)):
        assert "masks/0.npy: has a class in each of 4 channels (one-hot)" in refused(**options)


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
    arrays = read(threshold=0.0, ignore="255")
    for row, (_, mask) in enumerate(scenes):
        np.testing.assert_array_equal(arrays.numbers(row), np.where(void, 255, mask // 255))


def test_what_is_ignored_is_no_part_of_the_advice(place):
    """Trimaps of pets: 1 is the animal, 2 the background, 3 the border."""

    def trimap(mask):
        wider = cv2.dilate(mask, np.ones((5, 5)))
        return np.where(mask > 0, 1, np.where(wider > 0, 3, 2)).astype(np.uint8)

    write_pairs(make_mask=trimap)
    assert "--threshold 1 to take 2 as foreground, with --invert 1" in refused(ignore="3")
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
    square = [10, 10, 29, 10, 29, 19, 10, 19]
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
    assert [label.name for label in three.classes] == ["class 0", "cell", "debris"]


def test_names_of_a_coco_file_are_told_apart_by_their_folders(place):
    square = [10, 10, 29, 10, 29, 19, 10, 19]
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


def test_run_length_code_is_read_in_the_order_of_its_job(place, capsys):
    for number in range(3):
        write(f"images/{number}.png", scene(number)[0])
    Path("train.csv").write_text("img,rle_mask\n0.png,1 5 200 9\n1.png,\n2.png,2 3\n")
    for job, order in (("nerve", "F"), ("cadastre", "F"), ("car", "C")):
        prepare(Options(job=job, images="images", masks="train.csv", image_size=SIZE, channels=1))
        first = load_arrays(job).masks[0][..., 0].ravel(order)
        assert np.flatnonzero(first).tolist() == [*range(5), *range(199, 208)]
    assert "read down the columns" in capsys.readouterr().out
    assert not load_arrays("car").masks[1].any()
    Path("images/more.png").write_bytes(Path("images/0.png").read_bytes())
    assert "images/more.png: image without a mask" in refused(masks="train.csv")
