"""Raw files to arrays: every layout, every format, every mistake."""

import contextlib
import io
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, draw_pair, make_car, make_folders, make_nerve, save
from PIL import Image

import data
from data import Options, create_data, keras_generator, prepare
from unet.data.arrays import Rows, load_arrays
from unet.errors import InputError
from unet.jobs.settings import Reading
from unet.machine.disk import create_array, replace_file
from unet.reading.files import list_images, natural_key
from unet.reading.masks import decode_mask
from unet.reading.pixels import decode_image, resize


def prepared(job, **options):
    prepare(Options(job=job, **options))
    return load_arrays(job)


def refused(job, **options):
    """The message with which input is refused; nothing may be left behind."""
    with pytest.raises(InputError) as caught:
        prepare(Options(job=job, **options))
    folder = Path("output", job)
    assert not folder.exists() or not [path for path in folder.iterdir() if path.suffix != ".png"]
    return str(caught.value)


# ---- shapes on noise


class TestCreateData:
    @pytest.mark.parametrize("seed", range(20))
    def test_a_circle_is_filled_wholly_inside_and_of_the_documents_radius(self, seed):
        images, masks = create_data(seed=seed)
        assert images.shape == masks.shape == (1, 160, 160, 1)
        assert images.dtype == masks.dtype == np.uint8
        assert set(np.unique(masks)) == {0, 255}
        y, x = np.nonzero(masks[0, ..., 0])
        assert 0 <= y.min() <= y.max() < 160
        height, width = np.ptp(y) + 1, np.ptp(x) + 1
        assert height == width
        assert 15 <= (height - 1) / 2 <= 39
        radius = height // 2
        dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        assert len(y) == (dy**2 + dx**2 <= radius**2).sum()

    def test_seed_1_draws_the_authors_own_image(self):
        """A circle of radius 20 at row 52, column 112, as his picture shows."""
        y, x = np.nonzero(create_data()[1][0, ..., 0])
        assert (y.min(), y.max(), x.min(), x.max()) == (32, 72, 92, 132)

    @pytest.mark.parametrize("shape", ["circle", "rectangle"])
    def test_draws_come_in_the_documents_order_out_of_one_stream(self, shape):
        rng = np.random.RandomState(7)
        for image, mask in zip(*create_data(30, shape=shape, seed=7)):
            if shape == "circle":
                radius = rng.randint(15, 40)
                row, column = rng.randint(2 * radius, 160 - 2 * radius, 2)
                y, x = np.mgrid[:160, :160]
                inside = (y - row) ** 2 + (x - column) ** 2 <= radius**2
            else:
                height, width = rng.randint(15, 40, 2)
                top, left = rng.randint(0, 160 - height - 1), rng.randint(0, 160 - width - 1)
                inside = np.zeros((160, 160), bool)
                inside[top : top + height, left : left + width] = True
            noise, more = rng.randint(0, 80, (160, 160)), rng.randint(0, 80, (160, 160))
            np.testing.assert_array_equal(mask[..., 0], 255 * inside)
            np.testing.assert_array_equal(image[..., 0], noise + inside * more)

    @pytest.mark.parametrize(("placement", "margin"), [("document", 2), ("anywhere", 1)])
    def test_circles_keep_their_distance_from_the_border(self, placement, margin):
        masks = create_data(600, placement=placement, seed=0)[1][..., 0] > 0
        radii, nearest = [], []
        for mask in masks:
            y, x = np.nonzero(mask)
            radius = np.ptp(y) // 2
            radii.append(radius)
            sides = y.min(), 159 - y.max(), x.min(), 159 - x.max()
            nearest.append(min(sides) - (margin - 1) * radius)
        assert (min(radii), max(radii)) == (15, 39)
        assert 0 <= min(nearest) <= 1  # randint leaves its upper bound out
        assert max(nearest) > 10

    def test_no_image_is_too_small_for_what_is_drawn(self):
        for shape, placement, least in (
            ("circle", "document", 61),
            ("circle", "anywhere", 32),
            ("rectangle", "document", 32),
        ):
            for size in ((least, least), (least, 90), (90, least + 1)):
                masks = create_data(50, size, shape=shape, placement=placement)[1] > 0
                area = masks.sum(axis=(1, 2, 3))
                assert area.min() >= 15 * 15
                assert area.max() < np.pi * 39.5**2

    def test_noise_is_0_to_79_and_a_second_one_is_added_inside(self):
        images, masks = create_data(20)
        inside = masks > 0
        assert (images[~inside].min(), images[~inside].max()) == (0, 79)
        assert images[~inside].mean() == pytest.approx(39.5, abs=0.5)
        assert images[inside].max() > 150
        assert images[inside].mean() == pytest.approx(79, abs=1)

    def test_a_constant_fill_is_one_value(self):
        images, masks = create_data(5, fill="constant")
        assert set(images[masks > 0]) == {80}

    def test_a_rectangle_fills_its_box(self):
        masks = create_data(10, shape="rectangle", image_size=(100, 140))[1][..., 0] > 0
        for mask in masks:
            box = mask.any(axis=1).sum() * mask.any(axis=0).sum()
            assert mask.sum() == box

    def test_the_first_images_of_a_seed_are_the_same_however_many_follow(self):
        np.testing.assert_array_equal(create_data(2, seed=3)[0], create_data(5, seed=3)[0][:2])
        assert not np.array_equal(create_data(1, seed=4)[0], create_data(1, seed=3)[0])

    def test_pictures_are_saved_by_number(self, place):
        images, masks = create_data(2, image_size=(64, 70), folder="here")
        assert sorted(os.listdir("here")) == ["X_1.png", "X_2.png", "Y_1.png", "Y_2.png"]
        np.testing.assert_array_equal(cv2.imread("here/X_2.png", -1), images[1, ..., 0])
        np.testing.assert_array_equal(cv2.imread("here/Y_1.png", -1), masks[0, ..., 0])

    def test_another_shape_fill_or_placement_is_refused(self):
        for wrong in (dict(shape="square"), dict(fill="Noise"), dict(placement="middle")):
            with pytest.raises(ValueError, match="expected one of"):
                create_data(**wrong)

    def test_an_image_too_small_for_a_shape_is_refused(self):
        with pytest.raises(ValueError, match="needs 61x61 or more.*--placement anywhere"):
            create_data(image_size=(60, 160))
        with pytest.raises(ValueError, match="needs 32x32 or more"):
            create_data(image_size=(31, 160), placement="anywhere")


def test_noise_has_one_training_image_and_sets_to_validate_and_test(place):
    arrays = prepared("noise", seed=5)
    splits = [row["split"] for row in arrays.files]
    assert splits == ["train"] + 100 * ["validation"]
    assert [row["id"] for row in arrays.test_files] == [f"test_{n}" for n in range(100)]
    np.testing.assert_array_equal(arrays.images, create_data(101, seed=5)[0])
    np.testing.assert_array_equal(arrays.test_images, create_data(100, seed=6)[0])
    assert cv2.imread("output/noise/X_test_99.png", -1).shape == (160, 160)


def test_more_training_images_move_none_of_the_others(place):
    one, three = (prepared("noise", num_images=count) for count in (1, 3))
    assert [row["id"] for row in three.files][:4] == ["X_1", "X_102", "X_103", "X_2"]
    np.testing.assert_array_equal(three.images[[0, *range(3, 103)]], one.images[:])
    np.testing.assert_array_equal(three.test_images[:], one.test_images[:])
    assert Path("output/noise/X_103.png").exists()
    prepared("noise")
    assert not Path("output/noise/X_102.png").exists()  # of the drawing before
    assert len(list(Path("output/noise").glob("[XY]_*.png"))) == 2 * 201
    assert not np.array_equal(three.images[1], three.images[2])


# ---- layouts


def test_the_nerve_tree_becomes_the_documents_arrays(place):
    make_nerve(place / "raw", subjects=11, frames=2, num_test=11)
    arrays = prepared("nerve")
    assert arrays.images.shape == arrays.masks.shape == (22, 64, 80, 1)
    assert arrays.test_images.shape == (11, 64, 80, 1)
    assert arrays.images.dtype == arrays.masks.dtype == np.uint8
    assert set(np.unique(arrays.masks)) == {0, 255}
    assert [row["id"] for row in arrays.files][:3] == ["1_1", "1_2", "2_1"]  # 2 before 10
    assert [row["subject"] for row in arrays.files] == [str(i // 2 + 1) for i in range(22)]
    ids = np.load("output/nerve/imgs_id_test.npy")
    assert ids.dtype == np.int32
    assert ids.tolist() == list(range(1, 12))
    assert {(row["height"], row["width"]) for row in arrays.files} == {(84, 116)}
    assert arrays.is_resized


def test_the_carvana_tree_has_the_car_as_subject(place):
    make_car(place / "raw")
    arrays = prepared("car")
    assert arrays.images.shape == (6, 256, 256, 3)
    assert arrays.masks.shape == (6, 256, 256, 1)
    assert [row["subject"] for row in arrays.files][:3] == ["c0ffee", "c0ffee", "c1ffee"]
    assert [row["id"] for row in arrays.test_files] == ["deadbeef_01", "deadbeef_02"]
    assert np.load("output/car/imgs_id_test.npy").tolist() == ["deadbeef_01", "deadbeef_02"]


def test_images_keep_their_colours_and_come_as_rgb(place):
    for number in (1, 2):
        save(place / f"images/{number}.png", np.full((8, 8, 3), (10, 20, 200), np.uint8))  # BGR
        save(place / f"masks/{number}.png", np.zeros((8, 8), np.uint8))
    arrays = prepared("cadastre", images="images", masks="masks", image_size=(0, 0))
    assert arrays.images[0, 0, 0].tolist() == [200, 20, 10]
    assert not arrays.is_resized
    grey = prepared("cadastre", images="images", masks="masks", image_size=(0, 0), channels=1)
    assert grey.images.shape == (2, 8, 8, 1)


@pytest.mark.parametrize("suffix", ["", "_mask", "_label", "_gt"])
def test_folders_are_paired_by_name(place, suffix):
    make_folders(place, suffix=suffix)
    arrays = prepared("cadastre", images="images", masks="masks", image_size=(0, 0))
    for number in range(5):
        image, mask = draw_pair(number + 1, (80, 100), 3)
        np.testing.assert_array_equal(arrays.images[number], image[..., ::-1])
        np.testing.assert_array_equal(arrays.masks[number, ..., 0], mask)


def test_one_folder_may_hold_images_and_masks(place):
    for number in (1, 2):
        image, mask = draw_pair(number, (80, 100))
        save(place / f"all/{number}.png", image)
        save(place / f"all/{number}_mask.png", mask)
    assert len(prepared("cadastre", images="all", masks="all/").images) == 2


def test_membrane_stacks_are_read_page_by_page(place):
    pairs = [draw_pair(number, (64, 72)) for number in range(12)]
    (place / "raw").mkdir()
    for column, name in ((0, "train-volume"), (1, "train-labels"), (0, "test-volume")):
        assert cv2.imwritemulti(f"raw/{name}.tif", [pair[column] for pair in pairs])
    arrays = prepared("membrane")
    np.testing.assert_array_equal(arrays.images[..., 0], [pair[0] for pair in pairs])
    np.testing.assert_array_equal(arrays.masks[..., 0], [pair[1] for pair in pairs])
    assert arrays.test_images.shape == (12, 64, 72, 1)
    assert [row["id"] for row in arrays.files] == [str(number) for number in range(12)]


@pytest.mark.parametrize("damage", ["cut short", "fewer labels", "a page destroyed"])
def test_a_damaged_stack_is_refused(place, damage):
    pages = [draw_pair(number, (64, 72)) for number in range(4)]
    (place / "raw").mkdir()
    num_labels = 3 if damage == "fewer labels" else 4
    assert cv2.imwritemulti("raw/train-volume.tif", [image for image, _ in pages])
    assert cv2.imwritemulti("raw/train-labels.tif", [mask for _, mask in pages[:num_labels]])
    path = Path("raw/train-volume.tif")
    whole = path.read_bytes()
    if damage == "cut short":
        path.write_bytes(whole[: len(whole) * 4 // 5])
        expected = "train-volume.tif: not an image, or cut short"
    elif damage == "fewer labels":
        expected = "train-volume.tif has 4 pages, train-labels.tif 3; they must be equal"
    else:
        middle = len(whole) // 2
        path.write_bytes(whole[: middle - 2000] + bytes(4000) + whole[middle + 2000 :])
        expected = "train-volume.tif: not an image, or cut short"
    assert expected in refused("membrane")


def test_tables_state_the_split(place):
    make_folders(place / "set")
    lines = [f"images/{n}.png,masks/{n}.png" for n in range(1, 6)]
    Path("set/train.csv").write_text("\n".join(["image,mask", *lines[:3]]))
    Path("set/valid.csv").write_text("\ufeff" + "\r\n".join(["image,mask", *lines[3:]]))
    arrays = prepared("car", table="set/train.csv", validation_table="set/valid.csv")
    assert [row["split"] for row in arrays.files] == 3 * ["train"] + 2 * ["validation"]
    assert [row["id"] for row in arrays.files][3:] == ["images/4", "images/5"]
    Path("set/train.csv").write_text("\n".join(["image,mask", *lines]))
    assert "keep them apart" in refused_again(
        "car", table="set/train.csv", validation_table="set/valid.csv"
    )


def refused_again(job, **options):
    """As refused(), where arrays of an earlier run have to stay as they are."""
    before = {path: path.read_bytes() for path in Path("output", job).iterdir()}
    with pytest.raises((InputError, OSError)) as caught:
        prepare(Options(job=job, **options))
    assert before == {path: path.read_bytes() for path in Path("output", job).iterdir()}
    return str(caught.value)


def test_test_images_come_from_a_folder_of_their_own(place):
    make_folders(place)
    save(place / "new/b.jpg", draw_pair(9, (70, 90), 3)[0])
    arrays = prepared("cadastre", images="images", masks="masks", test_images="new")
    assert [row["id"] for row in arrays.test_files] == ["b"]
    assert arrays.test_images.shape == (1, 256, 256, 3)


def test_ids_are_numbers_only_where_nothing_of_them_is_lost(place):
    make_folders(place)
    for name, kind in (("7", "i"), ("007", "U"), ("20230101123456", "U")):
        shutil.rmtree("new", ignore_errors=True)
        save(place / f"new/{name}.png", draw_pair(9, (70, 90), 3)[0])
        prepared("cadastre", images="images", masks="masks", test_images="new")
        ids = np.load("output/cadastre/imgs_id_test.npy")
        assert (ids.dtype.kind, str(ids[0])) == (kind, name)


def test_numbers_in_names_count_as_numbers():
    names = ["10.tif", "2.tif", "1_10.tif", "1_9.tif", "a2", "a10", "a"]
    expected = ["1_9.tif", "1_10.tif", "2.tif", "10.tif", "a", "a2", "a10"]
    assert sorted(names, key=natural_key) == expected


# ---- zips


def zip_folder(folder, path, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(Path(folder).rglob("*"), reverse=True):  # not the order of the arrays
            archive.write(file, file.relative_to(folder))


@pytest.mark.parametrize("inner", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_zips_in_a_zip_give_the_arrays_of_the_folders(place, inner):
    make_car(place / "raw")
    expected = prepared("car", raw="raw")
    expected = expected.images[:], expected.masks[:], expected.test_images[:]
    (place / "zips").mkdir()
    for name in ("train", "train_masks", "test"):
        zip_folder(place / "raw" / name, f"zips/{name}.zip", inner)
    zip_folder("zips", "kaggle.zip")
    shutil.rmtree("raw")
    for raw in ("kaggle.zip", "zips"):
        arrays = prepared("car", raw=raw)
        for array, other in zip(expected, (arrays.images, arrays.masks, arrays.test_images)):
            np.testing.assert_array_equal(array, other)
    assert arrays.files[0]["image"] == "zips/train.zip/c0ffee_01.jpg"
    assert sorted(os.listdir()) == ["kaggle.zip", "output", "zips"]


def test_a_zip_beside_its_unpacked_folder_is_passed_over(place):
    make_nerve(place / "raw")
    zip_folder("raw", "train.zip")
    shutil.move("train.zip", "raw")
    assert len(prepared("nerve").images) == 12


def test_what_macs_and_windows_leave_in_folders_is_passed_over(place):
    make_nerve(place / "raw")
    for name in ("train/.DS_Store", "train/Thumbs.db", "train/._1_1.tif", "notes.txt"):
        (place / "raw" / name).write_bytes(b"junk")
    zip_folder("raw", "mac.zip")
    with zipfile.ZipFile("mac.zip", "a") as archive:
        archive.writestr("__MACOSX/train/._1_1.tif", b"junk")
    assert len(prepared("nerve", raw="mac.zip").images) == 12


# ---- formats


def encoded(pixels, suffix=".png"):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def stored(image, kind):
    """The bytes of a file that another program (Pillow) wrote."""
    file = io.BytesIO()
    image.save(file, format=kind)
    return file.getvalue()


def test_16_bit_is_scaled_to_8():
    image = np.array([[0, 257, 4095, 65535]], np.uint16)
    for white, expected in ((65535, [0, 1, 16, 255]), (4095, [0, 16, 255, 255])):
        reading = Reading(white_level=white)
        assert decode_image(encoded(image), "x", 1, reading=reading).ravel().tolist() == expected
    with pytest.raises(ValueError, match="x: uint16 values; .* --white-level"):
        decode_image(encoded(image), "x", 1)
    mask = np.array([[0, 65535]], np.uint16)
    assert decode_mask(encoded(mask), "x").ravel().tolist() == [0, 1]


def test_transparency_is_dropped_from_images_and_is_background_in_masks():
    rgba = np.full((1, 2, 4), 255, np.uint8)
    rgba[0, 1, 3] = 0
    assert decode_image(encoded(rgba), "x", 3).shape == (1, 2, 3)
    assert decode_mask(encoded(rgba), "x").ravel().tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "tiff"])
def test_a_palette_counts_as_its_colours(kind):
    def with_palette(*colours):
        image = Image.fromarray(np.array([[0, 1, 1, 0]], np.uint8))
        image.putpalette(sum(colours, ()))
        return stored(image, kind)

    black_white = with_palette((0, 0, 0), (255, 255, 255))
    assert decode_mask(black_white, "x").ravel().tolist() == [0, 1, 1, 0]
    black_red = with_palette((0, 0, 0), (128, 0, 0))
    assert decode_mask(black_red, "x").ravel().tolist() == [0, 1, 1, 0]  # by its numbers
    assert decode_mask(black_red, "x", reading=Reading(0)).ravel().tolist() == [0, 1, 1, 0]
    white_red = with_palette((255, 255, 255), (128, 0, 0))
    assert decode_mask(white_red, "x").ravel().tolist() == [0, 1, 1, 0]
    reading = Reading(200, invert=True)
    assert decode_mask(white_red, "x", reading=reading).ravel().tolist() == [0, 1, 1, 0]
    assert decode_image(black_red, "x", 3)[0, 1].tolist() == [128, 0, 0]


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "tiff"])
def test_a_mask_of_one_bit_is_0_and_255(kind):
    bits = np.random.default_rng(0).random((9, 13)) > 0.5
    mask = decode_mask(stored(Image.fromarray(bits), kind), "x")
    np.testing.assert_array_equal(mask, bits)


def test_a_cmyk_jpg_comes_as_rgb():
    ink = Image.fromarray(np.full((16, 16, 4), (0, 0, 0, 255), np.uint8), mode="CMYK")
    assert decode_image(stored(ink, "jpeg"), "x", 3).shape == (16, 16, 3)


def test_images_shrink_by_area_averaging_and_masks_stay_binary(place):
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (64, 96)), np.zeros((64, 96), np.uint8)
    mask[:, :50] = 255
    save(place / "images/1.png", image.astype(np.uint8))
    save(place / "masks/1.png", mask)
    arrays = prepared("cadastre", images="images", masks="masks", image_size=(32, 24), channels=1)
    blocks = image.reshape(32, 2, 24, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(arrays.images[0, ..., 0], blocks, atol=0.51)
    shares = (mask > 0).reshape(32, 2, 24, 4).mean(axis=(1, 3))
    assert set(np.unique(arrays.masks)) == {0, 255}
    sure = shares != 0.5  # a pixel whose half is foreground may go either way
    np.testing.assert_array_equal((arrays.masks[0, ..., 0] > 0)[sure], (shares > 0.5)[sure])


def test_enlarging_keeps_the_channel_axis():
    assert resize(np.zeros((4, 5, 1), np.uint8), (8, 10)).shape == (8, 10, 1)
    assert resize(np.zeros((4, 5, 3), np.uint8), (8, 2)).shape == (8, 2, 3)


# ---- mistakes: one line, nothing half-written


def test_a_missing_folder(place):
    assert "raw: no such folder or zip file" in refused("nerve")
    folders = dict(images="nowhere", masks="nowhere")
    assert "nowhere: no such file or folder" in refused("cadastre", **folders)


def test_a_folder_without_images(place):
    (place / "images").mkdir()
    assert "images: no images in it; allowed: .tif" in refused(
        "cadastre", images="images", masks="images"
    )


def test_an_image_without_its_mask_and_a_mask_without_its_image(place):
    make_nerve(place / "raw")
    os.remove("raw/train/2_3_mask.tif")
    os.remove("raw/train/3_1_mask.tif")
    assert "2_3.tif: image without a mask (and 1 more)" in refused("nerve")
    for name in ("2_3", "3_1"):
        os.remove(f"raw/train/{name}.tif")
    os.remove("raw/train/1_1.tif")
    assert "1_1_mask.tif: mask without an image" in refused("nerve")


def test_an_image_and_a_mask_of_two_sizes(place):
    make_folders(place)
    save(place / "masks/3.png", np.zeros((80, 99), np.uint8))
    message = refused("cadastre", images="images", masks="masks")
    assert "masks/3.png: mask is 80x99, its image images/3.png 80x100" in message


def test_images_of_two_sizes_where_they_are_kept(place):
    make_folders(place)
    for folder in ("images", "masks"):
        save(place / folder / "4.png", np.zeros((80, 99), np.uint8))
    message = refused("cadastre", images="images", masks="masks", image_size=(0, 0))
    assert "4.png: is 80x99" in message
    assert "pass --image-size H W" in message
    assert prepared("cadastre", images="images", masks="masks").images.shape == (5, 256, 256, 3)


def test_a_threshold_that_no_value_can_exceed(place):
    make_folders(place)
    message = refused("cadastre", images="images", masks="masks", mask_threshold=255)
    assert "masks/1.png: no value above --mask-threshold 255; pass 0 to 254" in message


def test_two_files_for_one_id(place):
    make_folders(place)
    shutil.copy("images/2.png", "images/2.bmp")
    message = refused("cadastre", images="images", masks="masks")
    assert "images/2.bmp and images/2.png: two files of one name" in message


def test_a_name_that_does_not_belong_to_the_layout(place):
    make_nerve(place / "raw")
    save(place / "raw/train/copy of 1_1.tif", np.zeros((4, 4), np.uint8))
    assert "train/copy of 1_1.tif: unexpected name; python data.py nerve expects" in refused(
        "nerve"
    )


def test_an_encrypted_or_damaged_zip_inside_is_named(place):
    make_nerve(place / "raw")
    zip_folder("raw", "inner.zip", zipfile.ZIP_LZMA)
    hurt = bytearray(Path("inner.zip").read_bytes())
    hurt[200:400] = bytes(200)
    Path("inner.zip").write_bytes(hurt)
    assert "inner.zip/t" in refused("nerve", raw="inner.zip")
    with zipfile.ZipFile("outer.zip", "w") as archive:
        archive.write("inner.zip", "train.zip")
        archive.infolist()[0].flag_bits |= 1  # says that it is encrypted
    assert "outer.zip/train.zip: not a zip file, or cut short" in refused("nerve", raw="outer.zip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no lines under its header"),
        ("image,mask\n", "no lines under its header"),
        (
            "picture\n1,2\n3\n",
            "has columns picture; expected image and mask, or under other names",
        ),
        ("mask,path\n1,2\n", "has columns mask, path; expected image and mask"),
        ("1.png,2.png\n1.png,2.png\n", "its first line is files, 1.png and 2.png"),
        ("picture,truth\n1\n", "line 2: has '1' and None; expected the paths"),
        ("picture,truth\n1,2\n", "line 2: 1, 2: no such file"),
        ("image,mask\n1.png,none.png\n", "line 2: none.png: no such file"),
        ("image,mask,split\n1.png,2.png,third\n", "line 2: split third; expected train, val"),
        ("image,mask\n,2.png\n", "line 2: no image; expected its path"),
        ("image,mask\n../1.png,2.png\n", "line 2: ../1.png: lies outside the table's folder"),
        ("image,mask\n/1.png,2.png\n", "line 2: /1.png: lies outside the table's folder"),
    ],
)
def test_a_table_of_other_columns_or_cells(text, message, place):
    for name in ("1.png", "2.png"):
        Path(name).touch()
    Path("a.csv").write_text(text)
    assert f"a.csv: {message}" in refused("car", table="a.csv")
    assert "no.csv: no such CSV file" in refused("car", table="no.csv")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (({"a": ["x"], "b": ["y"]}, 0), "batch_size 0: expected a whole number of at least 1"),
        (({"a": ["x"], "b": ["y"]}, 2.5), "batch_size 2.5: expected a whole number"),
        (({"a": ["x"], "b": ["y"]}, 2, 64), "image size 64: expected height and width"),
        (({"a": ["x"], "b": ["y"]}, 2, (0, 9)), "image size 0: expected a whole number"),
        (
            ({"a": ["x", "z"], "b": ["y"]}, 2),
            "table: expected a CSV file, or columns of one length by name",
        ),
        ((None, 2), "table: expected a CSV file, or columns of one length by name"),
    ],
)
def test_a_generator_that_cannot_begin_says_so_at_once(arguments, text, place):
    with pytest.raises(InputError, match=text):
        keras_generator(*arguments)


def test_subjects_that_are_one_patient_are_held_out_as_one(place):
    make_nerve(place / "raw", subjects=23, frames=2)
    arrays = prepared("nerve")
    subjects = {row["id"]: row["subject"] for row in arrays.files}
    assert subjects["18_1"] == subjects["17_2"] == "17"
    assert subjects["22_1"] == subjects["21_1"] == "21"
    assert len(set(subjects.values())) == 21


def test_options_that_go_together(place):
    with pytest.raises(InputError, match="--placement applies to circles only"):
        prepare(Options(shape="rectangle", placement="anywhere"))
    assert "--images and --masks go together" in refused("car", images="x")
    assert "--validation-table goes with --table" in refused("car", validation_table="x")
    assert "noise draws its own images" in refused("noise", images="x", masks="x")
    assert "pass one" in refused("car", table="x", images="x", masks="x")
    make_nerve(place / "raw")
    assert "--image-size 0 80: expected two lengths" in refused("nerve", image_size=(0, 80))


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of POSIX")
def test_a_folder_without_permission(place):
    make_nerve(place / "raw")
    os.chmod("raw/train", 0)
    user = os.geteuid()
    os.chmod(place, 0o777)
    for parent in place.parents:
        if parent.owner() == Path.home().owner() and not parent.stat().st_mode & stat.S_IXOTH:
            os.chmod(parent, parent.stat().st_mode | stat.S_IXOTH)
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(PermissionError, match=r"raw/train"):
            prepare(Options(job="nerve"))
    finally:
        os.seteuid(user)
        os.chmod("raw/train", 0o755)
    assert not Path("output").exists()


def test_an_error_leaves_the_arrays_of_before(place):
    make_folders(place)
    prepared("cadastre", images="images", masks="masks")
    (place / "images/5.png").write_bytes(b"")
    assert "5.png: not an image" in refused_again("cadastre", images="images", masks="masks")


def test_a_full_disk_is_told_before_anything_is_written(place, monkeypatch):
    make_folders(place)
    prepared("cadastre", images="images", masks="masks")
    usage = shutil.disk_usage(".")._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = refused_again("cadastre", images="images", masks="masks")
    assert "/imgs_train.npy: needs 983.2 kB, the disk has 100.0 kB free; make room" in message


@pytest.mark.skipif(
    not hasattr(os, "posix_fallocate"), reason="files that are given their room at once"
)
def test_a_file_size_limit_is_told_in_one_line(place):
    import resource

    make_folders(place)
    prepared("cadastre", images="images", masks="masks")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        message = refused_again("cadastre", images="images", masks="masks")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "output/cadastre/imgs_train.npy" in message


def test_a_file_is_replaced_whole_or_not_at_all(place):
    path = place / "weights.txt"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), replace_file(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert (path.read_text(), os.listdir()) == ("old", ["weights.txt"])
    with replace_file(path) as temporary:
        temporary.write_text("new")
    assert (path.read_text(), os.listdir()) == ("new", ["weights.txt"])
    with pytest.raises(FileExistsError) as failed, replace_file(path / "x.txt"):
        pass
    assert failed.value.filename == str(path)  # what is in the way


# ---- reading back


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_those_of_the_array(place, order):
    expected = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    np.save("rows.npy", np.asarray(expected, order=order))
    rows = Rows("rows.npy", "")
    assert (len(rows), rows.shape, rows.dtype) == (4, (4, 3, 2), np.uint8)
    for index in (2, -1, np.array([3, 0]), [1], slice(1, 3), slice(None), slice(0)):
        np.testing.assert_array_equal(rows[index], expected[index])
    assert len(list(rows)) == 4
    rows[0][:] = 99
    assert rows[0, 0, 1] == 1
    np.testing.assert_array_equal(rows[1:3, ..., 1], expected[1:3, ..., 1])
    np.testing.assert_array_equal(rows[:, 2], expected[:, 2])
    np.testing.assert_array_equal(rows[..., 0], expected[..., 0])
    with pytest.raises(IndexError):
        rows[4]


def test_rows_of_a_file_that_was_cut_short_meanwhile_are_refused(place):
    np.save("rows.npy", np.zeros((4, 300, 20), np.uint8))
    rows = Rows("rows.npy", "run it again")
    os.truncate("rows.npy", 4000)
    with pytest.raises(ValueError, match="rows.npy: was cut short while it was read; run it"):
        rows[3]


def test_threads_read_the_rows_that_they_asked_for(place):
    np.save("rows.npy", np.arange(2000).repeat(50).reshape(2000, 50, 1))
    rows = Rows("rows.npy", "")
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda n: rows[n], range(2000)))
    assert all((row == n).all() for n, row in enumerate(read))


def test_rows_stay_those_of_the_file_that_was_opened(place):
    np.save("rows.npy", np.zeros((4, 2), np.uint8))
    rows = Rows("rows.npy", "")
    with replace_file("rows.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, np.ones((2, 2), np.uint8))
    assert len(np.load("rows.npy")) == 2
    assert rows[3].tolist() == [0, 0]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_reading_all_rows_keeps_only_the_last_ones_in_memory(place):
    def resident():  # MB
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    create_array("rows.npy", (200, 1000, 1000), np.uint8)  # 200 MB
    rows, before = Rows("rows.npy", ""), resident()
    assert sum(int(rows[n : n + 4].sum()) for n in range(0, 200, 4)) == 0
    assert resident() - before < 30


@pytest.mark.parametrize(
    ("name", "shape"), [("imgs_train", (4, 256, 256, 3)), ("imgs_mask_train", (5, 64, 64, 1))]
)
def test_arrays_of_two_runs_are_refused(place, name, shape):
    make_folders(place)
    prepared("cadastre", images="images", masks="masks")
    np.save(f"output/cadastre/{name}.npy", np.zeros(shape, np.uint8))
    with pytest.raises(
        InputError,
        match=rf"{name}.npy: is uint8 .*, expected uint8 .*run python data.py cadastre again",
    ):
        load_arrays("cadastre")


def test_the_generator_yields_endless_batches_of_a_table(place):
    make_folders(place)
    rows = [(f"images/{n}.png", f"masks/{n}.png") for n in range(1, 6)]
    Path("table.csv").write_text("\n".join(["image,mask", *map(",".join, rows)]))
    columns = {"image": [row[0] for row in rows], "mask": [row[1] for row in rows]}
    named = {"photo": columns["image"], "cut out": columns["mask"]}  # the first two columns
    for table in ("table.csv", columns, dict(reversed(columns.items())), named):
        batches = keras_generator(table, 4, image_size=(40, 50), seed=0)
        for _ in range(5):
            images, masks = next(batches)
            assert (images.shape, masks.shape) == ((4, 40, 50, 3), (4, 40, 50, 1))
            assert images.dtype == masks.dtype == np.float32
            assert 0 <= images.min() < images.max() <= 1
            assert set(np.unique(masks)) == {0, 1}
    wanted = resize(draw_pair(3, (80, 100), 3)[0][..., ::-1], (40, 50)) / np.float32(255)
    assert any(np.abs(image - wanted).max() < 1e-6 for _ in range(9) for image in next(batches)[0])


PEAK = """
import resource, data
data.prepare(data.Options(job="cadastre", images="images", masks="masks", image_size=(104, 104)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_images(place):
    image, mask = (encoded(pixels) for pixels in draw_pair(1, (64, 64), 3))
    peaks = []  # kilobytes; the arrays of 2,400 images take 91,000 more than those of 300
    for count in (300, 2400):
        for number in range(count):
            for name, content in (("images", image), ("masks", mask)):
                path = place / f"{count}/{name}/{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        output = subprocess.run(
            [sys.executable, "-c", PEAK],
            cwd=place / str(count),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        peaks.append(int(output.split()[-1]))
    assert peaks[1] - peaks[0] < 20_000


def test_list_images_refuses_a_file_that_is_no_zip(place):
    Path("raw.txt").write_text("x")
    with pytest.raises(
        ValueError, match=r"raw.txt: not read; expected a folder, an image or a .zip"
    ):
        list_images("raw.txt")


def test_importing_a_script_does_nothing(place):
    assert data.Options().job == "noise"
    assert os.listdir() == []
