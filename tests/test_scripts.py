"""The scripts as a user runs them: each job end to end, its files, the README's commands."""

import ast
import csv
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import (
    ROOT,
    draw_pair,
    make_car,
    make_folders,
    make_nerve,
    page_data,
    refusal,
    run_anew,
    run_well,
    save,
    slow,
)

import submission
from submission import run_length_enc
from unet.data.arrays import load_arrays
from unet.errors import InputError
from unet.jobs import JOBS
from unet.options import make_parser, parse_options
from unet.reading.run_length import run_length_dec

SCRIPTS = ("data.py", "train.py", "test.py", "submission.py", "model.py")


def make_membrane(root):
    root.mkdir(parents=True)
    pairs = [draw_pair(number, (64, 72)) for number in range(3)]
    assert cv2.imwritemulti(str(root / "train-volume.tif"), [image for image, _ in pairs])
    assert cv2.imwritemulti(str(root / "train-labels.tif"), [mask for _, mask in pairs])


def make_cadastre(root):
    make_folders(root, count=6, size=(64, 96))


# How to make a job's raw files, prepare them, train for a moment; test images in the submission.
RUNS = {
    "noise": (lambda root: None, [], ["--epochs", 1, "--steps-per-epoch", 3], 100),
    "nerve": (
        make_nerve,
        ["--raw", "raw"],
        ["--epochs", 2, "--batch-size", 4, "--precision", "auto"],
        3,
    ),
    "car": (
        make_car,
        ["--raw", "raw", "--image-size", 64, 96],
        [
            "--epochs",
            1,
            "--steps-per-epoch",
            2,
            "--batch-size",
            2,
            "--precision",
            "mixed_bfloat16",
        ],
        2,
    ),
    "cadastre": (
        make_cadastre,
        ["--images", "raw/images", "--masks", "raw/masks", "--image-size", 0, 0],
        ["--epochs", 2, "--batch-size", 2],
        2,  # the validation share: there are no test images
    ),
    "membrane": (make_membrane, ["--raw", "raw"], ["--epochs", 1, "--steps-per-epoch", 1], 1),
}


def jobs(*quick):
    """Every job, but those that are not quick with SLOW alone."""
    return [pytest.param(job, marks=() if job in quick else slow) for job in RUNS]


@pytest.mark.parametrize("job", jobs("noise", "nerve"))
def test_the_four_commands_of_a_job(job, place):
    make_raw, data_options, train_options, num_lines = RUNS[job]
    make_raw(place / "raw")
    assert f"next: python train.py {job}" in run_well("data.py", job, *data_options)
    assert f"next: python test.py {job}" in run_well("train.py", job, *train_options)
    check_training_files(job)
    check_test(job, run_well("test.py", job, "--num-images", 2))
    check_submission(job, run_well("submission.py", job), num_lines)
    left = [path for path in place.rglob("*") if path.name.startswith(".partial")]
    assert not left


def check_training_files(job):
    record = json.loads(Path(f"weights/{job}.json").read_text())
    assert record["job"] == job
    assert record["command"].startswith("python ")
    assert f"train.py {job} --epochs" in record["command"]
    assert {"keras", "numpy", "python", "backend"} <= set(record["versions"])
    assert record["options"]["precision"] != "auto"  # what it came to is noted
    assert re.fullmatch("[0-9a-f]{40}", record["commit"] or "0" * 40)
    with open(f"weights/{job}.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == record["recipe"]["epochs"]
    loss = "loss" if job == "nerve" else "val_loss"  # nerve's document holds nothing out
    assert all(np.isfinite(float(row[loss])) for row in rows)
    for name in (f"{job}.weights.h5", f"{job}.last.weights.h5"):
        assert Path("weights", name).stat().st_size > 4 * 1_900_000  # float32 parameters
    assert cv2.imread(f"vis/{job}/curves.png").shape[0] == 400
    arrays = load_arrays(job)
    if len(arrays.test_images):
        predicted = np.load(f"output/{job}/imgs_mask_test.npy")
        assert predicted.dtype == np.float32
        assert predicted.shape == (*arrays.test_images.shape[:3], 1)
        assert 0 <= predicted.min() <= predicted.max() <= 1


def check_test(job, output):
    scores = json.loads(Path(f"vis/{job}/scores.json").read_text())
    with open(f"vis/{job}/scores.csv") as file:
        rows = list(csv.DictReader(file))
    for name in ("dice", "iou", "pixel_error"):
        values = [float(row[name]) for row in rows]
        assert scores[name] == pytest.approx(np.mean(values))
        assert all(0 <= value <= 1 for value in values)
    worst = min(float(row["dice"]) for row in rows)
    threshold = json.loads(Path(f"weights/{job}.json").read_text())["decision"]["threshold"]
    line = f"Dice {scores['dice']:.3f} (worst {worst:.3f}) over {len(rows)} images"
    seen = "; all of them seen in training, which held none out: expect less of other images"
    end = seen if job == "nerve" else ""
    assert output.splitlines()[-1] == f"{line}, foreground above {threshold:.2f}{end}"
    assert scores["threshold"] == threshold
    assert scores["seen_in_training"] == (len(rows) if job == "nerve" else 0)
    assert {row.get("seen_in_training") for row in rows} == {"yes" if job == "nerve" else None}
    pictures = list(Path("vis", job).glob("*.png"))
    if job == "noise":
        pictures = [path for path in pictures if not re.fullmatch(r"test_\d+", path.stem)]
    of_training = {"data.png", "curves.png", "progress.png", "filmstrip.png"}
    assert {path.name for path in pictures} > of_training
    pictures = [path for path in pictures if path.name not in of_training]
    assert len(pictures) == min(2, len(rows))
    picture = cv2.imread(str(pictures[0]))
    assert picture.shape[1] > 4 * 250  # four panels
    page = page_data(Path(f"vis/{job}/index.html"))
    assert f"vis/{job}/index.html" in output
    assert [image["name"] for image in page["images"]] == [row["image"] for row in rows[:2]]
    assert page["about"].get("summary", "").startswith("All of them seen in") == (job == "nerve")
    assert page["figures"]["dice"] == [float(row["dice"]) for row in rows]
    assert dict(page["figures"]["curve"])[threshold] == pytest.approx(scores["dice"])
    files = {path.name for path in Path(f"vis/{job}/gallery").iterdir()}
    drawn = range(1, 1 + min(2, len(rows)))
    assert files == {f"{n}{ending}.png" for n in drawn for ending in ("", ".masks")}
    if job == "noise":
        assert len(rows) == 100
        check_channels(rows[0]["image"])


def check_channels(name):
    assert name == "test_0"
    blue, green, red = np.moveaxis(cv2.imread(f"vis/noise/{name}.png"), -1, 0)
    truth = cv2.imread(f"output/noise/Y_{name}.png", cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(blue, truth)
    assert not green.any()
    probability = np.load("output/noise/imgs_mask_test.npy", mmap_mode="r")[0, ..., 0]
    np.testing.assert_array_equal(red, np.round(255 * probability))


def check_submission(job, output, num_lines):
    rules = JOBS[job].submission
    arrays = load_arrays(job)
    files = {Path(row["image"]).name: row for row in arrays.files + arrays.test_files}
    with open(f"output/{job}/submission.csv", newline="") as file:
        header, *lines = list(csv.reader(file))
    assert tuple(header) == {"nerve": ("img", "pixels")}.get(job, ("img", "rle_mask"))
    assert len(lines) == num_lines
    assert f"{num_lines} rows" in output
    for name, code in lines:
        row = files.get(f"{name}.tif") or files.get(name) or arrays.files[0]
        run_length_dec(code, row["height"], row["width"], rules.columns_first)
    if job == "nerve":
        assert [name for name, _ in lines] == ["1", "2", "3"]
    if job == "car":
        assert [name for name, _ in lines] == ["deadbeef_01.jpg", "deadbeef_02.jpg"]
    if job == "noise":
        assert [name for name, _ in lines][:2] == ["test_0.png", "test_1.png"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("nerve")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_nerve(place / "raw")
        run_well("data.py", "nerve")
        run_well("train.py", "nerve", "--epochs", 1, "--batch-size", 4)
    return place


@pytest.fixture
def there(trained, monkeypatch):
    """The working directory of a short nerve run."""
    monkeypatch.chdir(trained)
    return trained


class TestAfterANerveRun:
    def test_a_folder_of_images_gets_masks_of_their_own_sizes(self, there):
        sizes = {"a": (84, 116), "b": (33, 47), "c": (200, 90)}
        for name, size in sizes.items():
            save(there / f"new/{name}.png", np.full(size, 100, np.uint8))
        run_well("test.py", "nerve", "--images", "new")
        for name, size in sizes.items():
            mask = cv2.imread(f"output/nerve/masks/{name}.png", cv2.IMREAD_UNCHANGED)
            assert mask.shape == size
            assert set(np.unique(mask)) <= {0, 255}
            assert Path(f"vis/nerve/images/{name}.png").exists()
        page = page_data(Path("vis/nerve/images/index.html"))
        assert [image["name"] for image in page["images"]] == list(sizes)
        assert [(image["height"], image["width"]) for image in page["images"]] == [*sizes.values()]
        assert page["figures"] is None

    def test_a_folder_with_masks_is_scored(self, there):
        make_folders(there / "own", channels=1, suffix="_gt")
        arguments = "test.py", "nerve", "--images", "own/images"
        output = run_well(*arguments, "--masks", "own/masks", "--num-images", 1)
        assert "over 5 images, foreground above " in output.splitlines()[-1]
        page = page_data(Path("vis/nerve/images/index.html"))
        assert (len(page["images"]), len(page["figures"]["dice"])) == (1, 5)
        save(there / "own/masks/3_gt.png", np.zeros((10, 10), np.uint8))
        assert "3_gt.png: mask is 10x10" in refusal(*arguments, "--masks", "own/masks")

    @slow
    def test_masks_go_where_output_says(self, there):
        save(there / "one/a.png", np.full((40, 50), 100, np.uint8))
        arguments = "test.py", "nerve", "--images", "one/a.png"
        printed = run_well(*arguments, "--output", "put/here", "--num-images", 0)
        assert "1 masks in put/here/, their objects in objects.csv\n" in printed
        names = {path.name for path in Path("put/here").iterdir()}
        assert names == {"a.png", "objects.csv"}
        assert "the images or their true masks lie in" in refusal(*arguments, "--output", "one")
        corrected = "--images", "one/a.png", "--masks", "output/nerve/masks/a.png"
        save(Path("output/nerve/masks/a.png"), np.zeros((40, 50), np.uint8))
        before = Path("output/nerve/masks/a.png").read_bytes()
        assert "name another folder with --output" in refusal("test.py", "nerve", *corrected)
        assert Path("output/nerve/masks/a.png").read_bytes() == before
        assert "--output is for the masks of --images" in refusal(
            "test.py", "nerve", "--output", "put/here"
        )

    def test_another_decision_makes_other_masks(self, there):
        """Above 1 is nothing; above 0 is all that a sigmoid gives."""
        save(there / "one/a.png", np.full((40, 50), 100, np.uint8))
        arguments = "test.py", "nerve", "--images", "one/a.png", "--num-images", 0
        for decision, value in ((0, 255), (1, 0)):
            run_well(*arguments, "--threshold", decision)
            mask = cv2.imread("output/nerve/masks/a.png", cv2.IMREAD_UNCHANGED)
            assert (mask == value).all()
        printed = run_well("test.py", "nerve", "--threshold", 0, "--num-images", 0)
        assert "foreground above 0.00; " in printed.splitlines()[-1]
        assert "recall 1.000 of the foreground's pixels" in printed.splitlines()[-2]
        assert json.loads(Path("vis/nerve/scores.json").read_text())["threshold"] == 0
        page = page_data(Path("vis/nerve/index.html"))
        assert page["about"]["rows"]["masks"] == "foreground above 0.00"
        assert "--threshold 2.0: expected 0 to 1" in refusal("test.py", "nerve", "--threshold", 2)
        before = Path("output/nerve/imgs_mask_test.npy").stat().st_mtime_ns
        for decision, count in ((0, 3), (1, 0)):
            printed = run_well("submission.py", "nerve", "--threshold", decision)
            assert f"3 rows, {count} with a mask, foreground above {decision}.00" in printed
        assert Path("output/nerve/imgs_mask_test.npy").stat().st_mtime_ns == before

    def test_a_test_image_that_cannot_be_read_is_an_empty_row_of_the_submission(self, there):
        whole = Path("raw/test/2.tif").read_bytes()
        Path("raw/test/2.tif").write_bytes(whole[:500])
        printed = run_well("data.py", "nerve", "--skip-bad")
        assert "1 of them test images, of which submission.py writes empty masks" in printed
        assert [row["id"] for row in load_arrays("nerve").test_files] == ["1", "3"]
        printed = run_well("submission.py", "nerve", "--threshold", 0)
        assert "3 rows, 2 with a mask, foreground above 0.00\n1 of them empty, of" in printed
        lines = dict(csv_rows("output/nerve/submission.csv"))
        assert (list(lines), lines["2"]) == (["1", "3", "2"], "")
        for code, score in (("", 1), ("1 20", 2 / 3)):
            rows = [f"{name},{lines[name] or code}" for name in lines]
            Path("truth.csv").write_text("\n".join(["img,pixels", *rows]))
            printed = run_well("submission.py", "nerve", "--threshold", 0, "--truth", "truth.csv")
            assert f"score {score:.5f}; " in printed
        for number in (1, 3):
            shutil.copy("raw/test/2.tif", f"raw/test/{number}.tif")
        assert "no test image is left" in refusal("data.py", "nerve", "--skip-bad")
        for number in (1, 2, 3):
            Path(f"raw/test/{number}.tif").write_bytes(whole)
        run_well("data.py", "nerve")
        assert "of them empty" not in run_well("submission.py", "nerve")

    def test_the_truth_scores_the_submission(self, there):
        run_well("submission.py", "nerve")
        lines = dict(csv_rows("output/nerve/submission.csv"))
        Path("same.csv").write_text(Path("output/nerve/submission.csv").read_text())
        output = run_well("submission.py", "nerve", "--truth", "same.csv")
        empty = np.mean([code == "" for code in lines.values()])
        assert f"score 1.00000; an all-empty file scores {empty:.5f}" in output
        Path("short.csv").write_text("img,pixels\n1,\n")
        message = refusal("submission.py", "nerve", "--truth", "short.csv")
        assert "short.csv: no line for image 2" in message
        Path("other.csv").write_text("img,rle_mask\n1,\n")
        message = refusal("submission.py", "nerve", "--truth", "other.csv")
        assert "other.csv: has columns img, rle_mask; expected img, pixels" in message

    def test_masks_under_ten_pixels_are_submitted_as_empty(self, there, monkeypatch):
        monkeypatch.chdir(there)
        whole = np.load("output/nerve/imgs_mask_test.npy")
        few = np.zeros_like(whole)
        few[0, 30:32, 40:42] = 1
        few[1, 20:40, 20:40] = 1
        np.save("output/nerve/imgs_mask_test.npy", few)
        assert submission.submission("nerve").num_masks == 1
        with open("output/nerve/submission.csv") as file:
            codes = [line.rstrip("\n").partition(",")[2] for line in file][1:]
        resized = cv2.resize(few[0, ..., 0], (116, 84)) > 0.5
        assert 0 < resized.sum() < 10
        assert codes[0] == codes[2] == ""
        assert codes[1] == run_length_enc(cv2.resize(few[1, ..., 0], (116, 84)) > 0.5)
        np.save("output/nerve/imgs_mask_test.npy", whole)

    def test_predictions_older_than_the_weights_are_made_anew(self, there):
        before = np.load("output/nerve/imgs_mask_test.npy")
        np.save("output/nerve/imgs_mask_test.npy", np.zeros_like(before))
        later = Path("output/nerve/imgs_mask_test.npy").stat().st_mtime + 1
        os.utime("weights/nerve.weights.h5", (later, later))
        run_well("submission.py", "nerve")
        np.testing.assert_allclose(np.load("output/nerve/imgs_mask_test.npy"), before, atol=1e-6)

    def test_a_damaged_record_and_damaged_weights_are_named(self, there):
        for path, message in (
            ("weights/nerve.json", "weights/nerve.json: not a run of this version"),
            ("weights/nerve.weights.h5", "weights/nerve.weights.h5: damaged, or not Keras's"),
        ):
            whole = Path(path).read_bytes()
            Path(path).write_bytes(whole[: len(whole) // 2])
            assert message in refusal("test.py", "nerve")
            Path(path).write_bytes(whole)

    def test_predictions_of_another_shape_are_made_anew(self, there):
        before = np.load("output/nerve/imgs_mask_test.npy")
        np.save("output/nerve/imgs_mask_test.npy", before[:2])
        assert "3 rows" in run_well("submission.py", "nerve")
        np.testing.assert_allclose(np.load("output/nerve/imgs_mask_test.npy"), before, atol=1e-6)

    def test_arrays_of_another_size_than_the_networks_are_refused(self, there):
        run_well("data.py", "nerve", "--image-size", 32, 48)
        message = refusal("test.py", "nerve")
        assert "the arrays are of [32, 48, 1], the network was trained on [64, 80, 1]" in message
        run_well("data.py", "nerve")


def csv_rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.mark.parametrize("script", ["train.py", "test.py", "submission.py"])
def test_a_step_that_comes_too_early_names_the_one_before(script, place):
    before = "data.py" if script == "train.py" else "train.py"
    assert f"first run: python {before} nerve" in refusal(script, "nerve")
    assert not list(place.iterdir())


def test_the_model_script_prints_the_summary_in_80_columns_and_what_is_connected(place):
    lines = run_well("model.py", "cadastre").splitlines()
    assert lines[-1] == "cadastre: 1,947,277 parameters, 2,948 not trainable"
    assert max(map(len, lines)) <= 80
    (row,) = (n for n, line in enumerate(lines) if line.startswith("concatenate "))
    assert lines[row].split() == ["concatenate", "32x32x256", "0", "dropout"]
    assert lines[row + 1].split() == ["conv2d_10"]


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("raw", "raw/ has files: python data.py JOB --raw raw, then python submission.py JOB"),
        ("output/cells", "output/ has arrays of cells: python submission.py cells"),
    ],
)
def test_a_script_without_a_job_says_what_else_lies_here(folder, told, place):
    (place / folder).mkdir(parents=True)
    (place / folder / "files.csv").touch()
    assert f"no job named: this is noise; {told}" in run_anew("submission.py").stdout
    assert "no job named" not in run_anew("submission.py", "noise").stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_states_every_option_and_loads_no_keras(script, place):
    done = run_anew(script, "--help")
    assert done.returncode == 0
    assert "(default: noise)" in " ".join(done.stdout.split())
    assert "oneDNN" not in done.stderr  # TensorFlow's first words
    for option in re.findall(r"^    (\w+): .*option\(", (ROOT / script).read_text(), re.MULTILINE):
        assert option in ("job", "run") or "--" + option.replace("_", "-") in done.stdout


FILES = (*ROOT.glob("*.py"), *ROOT.glob("unet/**/*.py"), *ROOT.glob("benchmarks/*.py"))
MODULES = [str(path.relative_to(ROOT)) for path in sorted(FILES) if path.stat().st_size]


@pytest.mark.parametrize("script", MODULES)
def test_every_public_function_says_what_it_does(script):
    tree = ast.parse((ROOT / script).read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        small = isinstance(node, ast.FunctionDef) and len(node.body) <= 2  # its name says it
        if not small and not node.name.startswith("_") and node.name not in ("Options", "main"):
            assert ast.get_docstring(node), f"{script}: {node.name}"


def test_fields_are_set_by_one_option_or_by_several():
    from train import Options

    for words in ("--set a=1 b=2", "--set a=1 --set b=2"):
        assert parse_options(Options, "train.py", "x", words.split()).set == ("a=1", "b=2")
    assert parse_options(Options, "train.py", "x", []).set == ()
    with pytest.raises(ValueError, match="expected at least one argument"):
        parse_options(Options, "train.py", "x", ["--set"])


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        ("train", {"job": "ovn"}, "job 'ovn': expected one of noise, "),
        ("train", {"epochs": "3"}, "--epochs '3': expected int | None"),
        ("train", {"epochs": 0}, "--epochs"),
        ("train", {"epochs": True}, "--epochs True: expected int"),
        ("train", {"set": "recipe.epochs=3"}, "--set 'recipe.epochs=3': expected tuple"),
        ("data", {"image_size": (96,)}, r"--image-size \(96,\): expected tuple"),
        ("data", {"classes": 2}, "--classes 2: expected 3 to 255"),
        ("test", {"threshold": 3}, "--threshold"),
        ("submission", {"run": None}, "run None: expected str"),
    ],
)
def test_values_from_python_are_checked_as_those_of_the_command_line(script, options, message):
    with pytest.raises(InputError, match=message):
        importlib.import_module(script).Options(**options)


def test_values_from_python_may_be_paths_and_numbers_of_numpy():
    import data
    import train

    data.Options(images=Path("images"), image_size=(np.int64(32), 32))
    assert train.Options(learning_rate=1, epochs=np.int32(3)).epochs == 3


def test_a_backend_of_kerass_settings_that_is_not_there_is_named(place):
    Path("keras.json").write_text('{"backend": "theano"}')
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, ROOT / "model.py", "noise"],
        capture_output=True,
        text=True,
        env={**environment, "KERAS_HOME": str(place)},
        check=False,
    )
    assert done.returncode == 2
    assert f"error: {place}/keras.json: backend theano: expected " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bool_option_can_be_turned_off():
    from train import Options

    parser = make_parser(Options, "train.py", "x")
    assert parser.parse_args(["--no-split-by-subject"]).split_by_subject is False


SMALL = ("network.filters=4,6", "network.bottleneck=8", "network.decoder_filters=")


@pytest.mark.parametrize("job", [pytest.param("noise", marks=slow), "cadastre"])
def test_the_modern_recipe_of_a_job_trains_a_small_network(job, place, capsys):
    import data
    import train
    from model import get_unet

    make_raw, data_options, *_ = RUNS[job]
    make_raw(place / "raw")
    data_options = parse_options(data.Options, "data.py", "x", [job, *map(str, data_options)])
    data.prepare(data_options)
    train.train_predict(
        train.Options(job=job, recipe="modern", epochs=1, steps_per_epoch=2, set=SMALL)
    )
    record = json.loads(Path(f"weights/{job}.json").read_text())
    assert record["recipe"]["cosine"]
    assert record["network"]["filters"] == [4, 6]
    printed = capsys.readouterr().out
    assert "held out: Dice" in printed
    assert f"a constant mask gets {record['constant_dice']:.4f}\n" in printed
    assert get_unet(job).count_params() > 1_900_000  # get_unet is the document's still


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    place = tmp_path_factory.mktemp("folds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_cadastre(place / "raw")
        options = ("--images", "raw/images", "--masks", "raw/masks", "--image-size", 0, 0)
        run_well("data.py", "cadastre", *options)
        arguments = ("--recipe", "modern", "--folds", 2, "--epochs", 1, "--steps-per-epoch", 1)
        arguments += ("--precision", "float32")
        output = run_well("train.py", "cadastre", *arguments, "--set", *SMALL)
        assert "±" in output
    return place


class TestAfterFolds:
    def test_every_image_is_scored_by_the_network_that_did_not_see_it(self, folds, monkeypatch):
        monkeypatch.chdir(folds)
        output = run_well("test.py", "cadastre", "--num-images", 1)
        assert "over 6 images, foreground above " in output.splitlines()[-1]
        record = json.loads(Path("weights/cadastre.json").read_text())
        scores = json.loads(Path("vis/cadastre/scores.json").read_text())
        means = [fold["dice"] * fold["num_images"] for fold in record["folds"]]
        assert scores["dice"] == pytest.approx(sum(means) / 6, abs=1e-6)
        about = page_data(Path("vis/cadastre/index.html"))["about"]
        assert about["rows"]["networks"].startswith("2 folds; ")
        assert about["rows"]["trained by"] == record["command"]

    def test_without_test_images_every_image_is_submitted(self, folds, monkeypatch):
        monkeypatch.chdir(folds)
        assert "6 rows" in run_well("submission.py", "cadastre")

    def test_a_folder_of_images_gets_the_mean_of_the_folds(self, folds, monkeypatch):
        monkeypatch.chdir(folds)
        run_well("test.py", "cadastre", "--images", "raw/images", "--no-average")
        assert len(list(Path("output/cadastre/masks").glob("*.png"))) == 6

    def test_weights_of_one_network_are_refused(self, folds, monkeypatch):
        monkeypatch.chdir(folds)
        message = refusal("test.py", "cadastre", "--weights", "weights/cadastre.fold1.weights.h5")
        assert "is of 2 folds with weights of their own" in message

    def test_a_fold_that_is_missing_is_named(self, folds, monkeypatch):
        monkeypatch.chdir(folds)
        Path("weights/cadastre.fold2.json").rename("away.json")
        assert "weights/cadastre.fold2.json: missing; " in refusal("test.py", "cadastre")
        Path("away.json").rename("weights/cadastre.fold2.json")


def test_folds_of_noise_are_refused(place):
    message = refusal("train.py", "noise", "--folds", 3)
    assert "--folds 3: these images come with a validation share of their own" in message


def test_noise_beside_raw_files_says_how_to_prepare_them(place):
    make_nerve(place / "raw")
    printed = run_well("data.py", "--image-size", 61, 61)
    line = "no job named: noise draws its own images; for what is in raw: python data.py nerve"
    assert printed.splitlines()[0] == f"{line} --raw raw"
    assert "for what is in" not in run_well("data.py", "noise", "--image-size", 61, 61)
    for words in (["--raw", "raw"], ["--ra", "raw"], ["noise", "--raw", "raw"]):
        line = refusal("data.py", *words)
        assert "--raw raw: of which job? for what is in raw" in line
