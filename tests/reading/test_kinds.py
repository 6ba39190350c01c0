"""Kinds of files, their turn, their values, their bands: read as meant, or refused by name."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scenes import SIZE, check, read, refused, scene, write, write_pairs

from unet.data.arrays import load_arrays
from unet.errors import InputError

# ---- kinds of files


@pytest.mark.parametrize(
    "kind", ["tif", "png", "bmp", "webp", "ppm", "pgm", "jp2", "avif", "npy", "gif"]
)
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


def test_one_level_may_be_stated_and_the_other_found(place):
    write_pairs(lambda x: x.astype(np.uint16) * 20)
    reading = read(black_level=1000.0).reading
    assert (reading.black_level, reading.white_level) == (1000, 4095)
    assert "--black-level 5000: no image is brighter than 3580" in refused(black_level=5000.0)


@pytest.mark.parametrize("options", [dict(white_level=4095.0), dict(black_level=3.0)])
def test_levels_of_images_of_8_bit_are_refused(options, place):
    write_pairs()
    assert "apply to images of more than 8 bit; here all have 8" in refused(**options)


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


# ---- what is kept beside the arrays


@pytest.mark.parametrize("text", [None, "", "[]", "null", '{"zoom": 2}', '{"threshold": 1}'])
def test_arrays_without_a_whole_reading_are_refused(text, place):
    write_pairs(count=1)
    read()
    path = Path("output/cadastre/reading.json")
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="reading.json: missing or damaged .* run data.py again"):
        load_arrays("cadastre")
