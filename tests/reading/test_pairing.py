"""Which mask belongs to which image, as people name and keep them."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import check, labels_of, read, refused, scene, write, write_pairs

from unet.errors import InputError
from unet.reading.pairing import pair_names

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
    assert [label.name for label in arrays.classes] == ["background", "cat", "dog", "emu"]


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
    assert "/etc/passwd: lies outside the table" in refused(**table)


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


def write_named(names):
    """A scene's image and mask of each name."""
    for number, name in enumerate(names):
        for kind, pixels in zip(("images", "masks"), scene(number)):
            write(f"{kind}/{name}.png", pixels)


@pytest.mark.parametrize("channels", [("0000", "0001"), ("red", "green"), ("ch1", "ch2", "ch3")])
@pytest.mark.parametrize("options", [{}, dict(skip_bad=True), dict(missing_is_empty=True)])
@pytest.mark.parametrize("folder", ["", "a/"])
def test_channels_in_files_of_their_own_are_told_and_one_can_be_taken(
    place, channels, options, folder
):
    for number in range(3):
        image, mask = scene(number)
        write(f"masks/{folder}case{number}.png", mask)
        for channel in channels:
            write(f"images/{folder}case{number}_{channel}.png", image)
    line = refused(**options)
    assert "; where each file is one channel of an image, save its files as one, RGB" in line
    pattern = re.search(r"take one channel with --images '(.*)'$", line)[1]
    check(read(images=pattern), [scene(number) for number in range(3)])


def test_images_of_a_subject_of_which_some_have_masks_are_no_channels(place):
    write_named(["p1_1", "p1_2", "p2_1"])
    write("images/p2_2.png", scene(4)[0])
    line = refused()
    assert "images/p2_2.png: image without a mask" in line
    assert "channel" not in line


def test_masks_without_an_image_are_left_out_and_no_count_says_otherwise(place, capsys):
    write_named("abcdef")
    for name in "uvwxyz":
        write(f"images/{name}.png", scene(1)[0])
    read(skip_bad=True)
    printed = capsys.readouterr().out
    assert printed.count("left out: images/") == 6
    assert "images left out" not in printed
