"""Images that a run was trained on are known again, by their pixels or by their files."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import draw_pair, make_folders, make_record, refusal, run_well, save, slow

import data
from unet.data.arrays import load_arrays
from unet.prediction.run import Network, Run
from unet.prediction.seen import SeenImages
from unet.reading.pixels import decode_image
from unet.runs import Decision


def make_run(*held_out, **options):
    """Arrays of five colour images, and a run whose networks held some of them out."""
    folders = dict(images="images", masks="masks", **options)
    data.prepare(data.Options(job="cadastre", **folders))
    arrays = load_arrays("cadastre")
    record = make_record(
        name="cadastre", job="cadastre", arrays="cadastre", pixels=arrays.pixels_digest,
        is_resized=arrays.is_resized, network=data.JOBS["cadastre"].network,
    )  # fmt: skip
    networks = [Network(None, make_record(**{**vars(record), "validation": v})) for v in held_out]
    return Run(tuple(networks), Decision())


def decoded(path):
    return decode_image(Path(path).read_bytes(), path, 3)


def seen_among(run, paths):
    seen = SeenImages(run)
    return [Path(path).stem for path in paths if seen.has(decoded(path))]


PATHS = [f"images/{number}.png" for number in range(1, 6)]


@pytest.mark.parametrize("size", [(0, 0), (32, 48)])
def test_an_image_is_known_again_under_another_name_and_not_if_it_was_held_out(place, size):
    make_folders(place)
    run = make_run(["2", "4"], image_size=size)
    assert seen_among(run, PATHS) == ["1", "3", "5"]
    shutil.move("images", "moved")
    copies = [path.replace("images", "moved") for path in PATHS]
    assert seen_among(run, copies) == ["1", "3", "5"]
    image = cv2.imread(copies[0])
    image[image.shape[0] // 3, 0, 0] ^= 255  # between the lines that are compared first
    save(place / "moved/changed.png", image)
    if size == (0, 0):
        assert seen_among(run, ["moved/changed.png"]) == []


def test_the_networks_of_folds_have_together_seen_all(place):
    make_folders(place)
    run = make_run(["1", "2"], ["3", "4", "5"], image_size=(0, 0))
    assert seen_among(run, PATHS) == ["1", "2", "3", "4", "5"]


def test_an_image_is_known_again_by_its_tiles(place):
    make_folders(place)
    places = [(y, x) for y in (0, 32) for x in (0, 48, 52)]  # of tiles in 80x100 pixels
    run = make_run([f"2_{y}_{x}" for y, x in places], tile_size=(48, 48))
    assert len(load_arrays("cadastre").files) == 5 * 6
    shutil.move("images", "moved")
    copies = [path.replace("images", "moved") for path in PATHS]
    assert seen_among(run, copies) == ["1", "3", "4", "5"]


def test_one_tile_that_was_trained_on_is_enough_but_an_empty_border_is_not(place):
    make_folders(place, size=(96, 96))
    for number in range(1, 6):
        image = cv2.imread(f"images/{number}.png")
        image[:48] = 0  # the two upper tiles
        save(place / f"images/{number}.png", image)
    corners = [(y, x) for y in (0, 48) for x in (0, 48)]
    held_out = [f"{n}_{y}_{x}" for n in (2, 4) for y, x in corners]
    run = make_run([*held_out[1:], "5_0_0"], tile_size=(48, 48))  # of 2 the first was trained on
    assert seen_among(run, PATHS) == ["1", "3", "5"]
    run = make_run(held_out[:-1], tile_size=(48, 48))  # and of 4 the last, with pixels of its own
    assert seen_among(run, PATHS) == ["1", "3", "4", "5"]


def test_other_images_under_the_paths_of_the_training_are_new(place):
    make_folders(place)
    run = make_run([], image_size=(64, 96))
    for number in range(1, 6):
        save(place / f"images/{number}.png", cv2.imread(f"images/{number}.png")[:70, ::-1])
    assert seen_among(run, PATHS) == []


def test_images_of_equal_lines_are_told_apart(place):
    """All are black where the lines lie."""
    for number in range(1, 6):
        image = np.zeros((80, 100, 3), np.uint8)
        image[5, number] = 255
        save(place / f"images/{number}.png", image)
        save(place / f"masks/{number}.png", draw_pair(number, (80, 100))[1])
    run = make_run(["3"], image_size=(0, 0))
    shutil.move("images", "moved")
    copies = [path.replace("images", "moved") for path in PATHS]
    assert seen_among(run, copies) == ["1", "2", "4", "5"]


def test_without_the_arrays_or_with_others_nothing_is_said(place):
    make_folders(place)
    run = make_run(["2"], image_size=(0, 0))
    make_folders(place, size=(64, 96))
    make_run([], image_size=(0, 0))
    assert seen_among(run, PATHS) == []
    shutil.rmtree("output")
    assert seen_among(run, PATHS) == []


@slow
def test_a_folder_of_training_images_is_scored_as_such(place):
    make_folders(place, count=6, size=(64, 64))
    small = "--set", "network.filters=4,4,4", "network.bottleneck=4", "network.dropout="
    folders = "--images", "images", "--masks", "masks"
    run_well("data.py", "cadastre", *folders, "--image-size", 0, 0)
    run_well("train.py", "cadastre", "--epochs", 1, "--validation-split", 0.3, *small)
    held_out = json.loads(Path("weights/cadastre.json").read_text())["validation"]
    make_folders(place / "more", count=1, size=(70, 64))
    save(place / "images/new.png", cv2.imread("more/images/1.png")[:, ::-1])
    save(place / "masks/new.png", cv2.imread("more/masks/1.png")[:, ::-1, 0])
    printed = run_well("test.py", "cadastre", *folders, "--num-images", 0)
    number = 6 - len(held_out)
    lines = Path("vis/cadastre/images/scores.csv").read_text().splitlines()
    seen = {line.split(",")[0]: line.split(",")[-1] for line in lines[1:]}
    assert {id for id, is_seen in seen.items() if is_seen == "no"} == {*held_out, "new"}
    dice = {line.split(",")[0]: float(line.split(",")[1]) for line in lines[1:]}
    others = np.mean([dice[id] for id in (*held_out, "new")])
    text = f"{number} of them seen in training, Dice {others:.3f} of the other {7 - number}"
    assert printed.splitlines()[-1].endswith(f"; {text}")
    scores = json.loads(Path("vis/cadastre/images/scores.json").read_text())
    assert (scores["num_images"], scores["seen_in_training"]) == (7, number)
    assert text in Path("vis/cadastre/images/index.html").read_text()
    trained = next(id for id in seen if seen[id] == "yes")
    one = "--images", f"images/{trained}.png", "--masks"
    line = "over 1 images, foreground above 0.50; all of them seen in training: expect less of"
    for masks in ("masks", f"masks/{trained}.png"):
        assert line in run_well("test.py", "cadastre", *one, masks)
    other = next(id for id in dice if id not in (trained, "new"))
    save(place / "apart/x.png", cv2.imread(f"masks/{other}.png"))
    save(place / "apart/y.png", cv2.imread(f"masks/{other}.png"))
    assert "none of 2 masks such as apart/x.png has its name" in refusal(
        "test.py", "cadastre", *one, "apart"
    )
