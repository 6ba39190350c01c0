"""Photos of any size, cut into tiles."""

from pathlib import Path

import numpy as np
import pytest
from conftest import draw_pair, make_folders, run_well, save, slow

import data
from unet.data.arrays import load_arrays
from unet.data.form import tile_places
from unet.data.split import split_rows
from unet.errors import InputError
from unet.runs import read_record

SIZES = {"a": (100, 140), "b": (64, 80), "c": (40, 200)}  # (H, W)


@pytest.fixture
def photos(place):
    for number, (name, size) in enumerate(SIZES.items()):
        image = np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)
        save(place / f"images/{name}.png", image[..., ::-1])
        save(place / f"masks/{name}.png", np.where(image[..., 0] > 127, 255, 0).astype(np.uint8))
    return place


def options(**given):
    given = {"images": "images", "masks": "masks", "tile_size": (64, 80), **given}
    return data.Options(job="cadastre", **given)


def test_tiles_cover_an_image_and_end_with_it():
    assert tile_places((100, 140), (64, 80)) == [(0, 0), (0, 60), (36, 0), (36, 60)]
    assert tile_places((128, 160), (64, 80)) == [(0, 0), (0, 80), (64, 0), (64, 80)]
    assert tile_places((40, 200), (64, 80)) == [(0, 0), (0, 80), (0, 120)]


def test_photos_of_any_size_become_rows_of_one(photos):
    data.prepare(options())
    arrays = load_arrays("cadastre")
    assert arrays.images.shape == (4 + 1 + 3, 64, 80, 3)
    ids = [row["id"] for row in arrays.files]
    assert ids[:5] == ["a_0_0", "a_0_60", "a_36_0", "a_36_60", "b_0_0"]
    photo = np.random.default_rng(0).integers(0, 255, (100, 140, 3), np.uint8)
    np.testing.assert_array_equal(arrays.images[3], photo[36:, 60:])
    np.testing.assert_array_equal(arrays.masks[3][..., 0] > 0, photo[36:, 60:, 0] > 127)
    low = np.random.default_rng(2).integers(0, 255, (40, 200, 3), np.uint8)
    np.testing.assert_array_equal(arrays.images[7, :40], low[:, 120:])
    np.testing.assert_array_equal(arrays.images[7, 40:], low[:15:-1, 120:])  # mirrored
    assert not arrays.is_resized


def test_all_tiles_of_a_photo_are_on_one_side_of_the_split(photos):
    data.prepare(options())
    files = load_arrays("cadastre").files
    training, held_out = split_rows(files, 0.3, True, seed=1)
    subjects = [{files[row]["id"][0] for row in rows} for rows in (training, held_out)]
    assert subjects[0] and subjects[1] and not subjects[0] & subjects[1]


def test_a_bad_photo_is_left_out_with_all_of_its_tiles(photos, capsys):
    Path("images/a.png").write_bytes(b"no picture")
    data.prepare(options(skip_bad=True))
    assert {row["id"][0] for row in load_arrays("cadastre").files} == {"b", "c"}
    assert "1 of 3 images left out" in capsys.readouterr().out


def test_a_mask_of_another_size_is_refused(photos):
    save(photos / "masks/b.png", np.zeros((80, 64), np.uint8))
    with pytest.raises(InputError, match="b.png: mask is 80x64, its image .* 64x80"):
        data.prepare(options())
    assert not Path("output/cadastre/files.csv").exists()


def test_tiles_do_not_go_with_other_sizes_or_test_images(photos):
    with pytest.raises(InputError, match="--tile-size cuts images, --image-size resizes them"):
        data.prepare(options(image_size=(64, 80)))
    with pytest.raises(InputError, match="images/a.png: a test image does not go with --tile-"):
        data.prepare(options(test_images="images"))


def test_noise_that_cannot_be_cut_stays_as_it_was(place):
    data.prepare(data.Options(image_size=(64, 64)))
    with pytest.raises(InputError, match="--tile-size: noise draws its own images"):
        data.prepare(data.Options(tile_size=(32, 32)))
    assert load_arrays("noise").images.shape[1:3] == (64, 64)


@slow
def test_photos_of_three_sizes_from_three_commands(place):
    make_folders(place, count=3, size=(90, 130))
    for number, size in ((4, (64, 70)), (5, (140, 90))):
        image, mask = draw_pair(number, size, 3)
        save(place / f"images/{number}.png", image)
        save(place / f"masks/{number}.png", mask)
    printed = run_well(
        "data.py", "cadastre", "--images", "images", "--masks", "masks", "--tile-size", 48, 64
    )
    small = ["--set", "network.filters=4,4", "network.bottleneck=4", "network.dropout="]
    run_well("train.py", "cadastre", "--epochs", 1, "--steps-per-epoch", 2, *small)
    assert not read_record("cadastre").is_resized
    printed = run_well("test.py", "cadastre", "--images", "images", "--masks", "masks")
    assert "5 masks in output/cadastre/masks/" in printed
    assert "over 5 images" in printed
