"""Names of one's own: several runs of a job side by side."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import make_folders, make_nerve, page_data, refusal, run_well, slow

import data
import train
from train import load_run
from unet.data.arrays import load_arrays
from unet.errors import InputError, Stopped
from unet.prediction.report import picture_name
from unet.prediction.scoring import PreparedImages, score
from unet.runs import command, read_record
from unet.training.callbacks import RunFiles
from unet.training.checkpoint import read_progress

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ("network.filters=4,6", "network.bottleneck=8", "network.dropout=")


def small_run(**options):
    if not options.get("folds"):  # nerve's document holds nothing out
        options = {"validation_split": 0.2, **options}
    train.train_predict(train.Options(job="nerve", epochs=1, batch_size=4, set=SMALL, **options))


def contents(*folders):
    files = [p for folder in folders for p in Path(folder).rglob("*") if p.is_file()]
    return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a trained run of the job's own name."""
    folder = tmp_path_factory.mktemp("trained")
    make_nerve(folder / "raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data.prepare(data.Options(job="nerve"))
        small_run()
    return folder


@pytest.fixture
def nerve(trained, place):
    """A copy of that folder, to work in."""
    shutil.copytree(trained, place, dirs_exist_ok=True)
    return place


@slow
def test_the_four_commands_under_a_name_leave_the_jobs_own_files_alone(place):
    make_folders(place / "raw", count=6, size=(64, 96))
    folders = ["--images", "raw/images", "--masks", "raw/masks", "--image-size", 32, 48]
    size = ["--set", "network.filters=4,4,4", "network.bottleneck=4", "network.dropout="]
    printed = run_well("data.py", "cadastre", "--name", "roads", *folders)
    assert "next: python train.py cadastre --name roads" in printed
    printed = run_well("train.py", "cadastre", "--name", "roads", "--epochs", 1, *size)
    assert "next: python test.py roads" in printed
    assert "2 pictures in vis/roads/" in run_well("test.py", "roads", "--num-images", 5)
    run_well("submission.py", "roads")
    assert Path("output/roads/submission.csv").read_text().startswith("img,rle_mask\n")
    assert {path.name for path in Path("vis").iterdir()} == {"roads", ".roads.lock"}
    names = {path.name.split(".")[0] for path in Path("weights").iterdir()} - {""}
    assert names == {"roads"}
    assert not Path("output/cadastre").exists()


def test_a_run_without_arrays_of_its_name_trains_on_the_jobs(nerve):
    before = contents("weights", "output/nerve")
    small_run(name="wide")
    after = contents("weights", "output/nerve")
    assert {path: after[path] for path in before} == before
    assert read_record("wide").arrays == "nerve"
    assert read_record("wide").job == "nerve"
    assert Path("output/wide/imgs_mask_test.npy").exists()
    assert load_run("wide").name == "wide"


@slow
def test_a_run_trains_on_the_arrays_of_its_own_name_where_there_are_any(nerve):
    make_nerve(nerve / "more", subjects=2, frames=2)
    data.prepare(data.Options(job="nerve", name="wide", raw="more"))
    small_run(name="wide", folds=2)
    assert read_record("wide").arrays == "wide"
    names = [fold["name"] for fold in read_record("wide").folds]
    assert names == ["wide.fold1", "wide.fold2"]
    assert {id.split("_")[0] for n in names for id in read_record(n).validation} == {"1", "2"}
    assert len(PreparedImages(load_run("wide"))) == 4


def test_an_interrupted_run_of_a_name_is_gone_on_with(nerve, monkeypatch):
    """With the arrays that it began with, though there are some of its own name now."""
    before = contents("weights")
    write_files = RunFiles.write_files

    def stop(files, *arguments):
        write_files(files, *arguments)
        files.signals.number = 2

    monkeypatch.setattr(RunFiles, "write_files", stop)
    with pytest.raises(Stopped, match="python train.py nerve --name wide --resume goes on after"):
        small_run(name="wide", folds=2)
    assert read_progress(Path("weights/wide.checkpoint.h5")).record.options["name"] == "wide"
    monkeypatch.setattr(RunFiles, "write_files", write_files)
    with pytest.raises(InputError, match="run python train.py JOB --name wide --resume"):
        read_record("wide")
    data.prepare(data.Options(job="nerve", name="wide", image_size=(32, 48)))
    options = train.read_options({"job": "nerve", "name": "wide", "resume": True})
    assert options.folds == 2
    train.train_predict(options)
    assert [len(read_record(f"wide.fold{n}").validation) for n in (1, 2)] == [8, 4]
    names = "wide", "wide.fold1", "wide.fold2"
    assert {read_record(name).arrays for name in names} == {"nerve"}
    after = contents("weights")
    assert {path: after[path] for path in before} == before


@pytest.fixture
def roads(nerve):
    """Beside the job's arrays those of the name roads, of 2 subjects and 2 test images."""
    make_nerve(nerve / "more", subjects=2, frames=2, num_test=2)
    data.prepare(data.Options(job="nerve", name="roads", raw="more"))
    return nerve


@slow
def test_a_run_trains_on_the_arrays_of_another_run(roads):
    small_run(name="roads", validation_split=0.5)
    before = contents("weights", "output/roads", "output/nerve")
    small_run(name="wide", arrays="roads", validation_split=0.5, learning_rate=1e-2)
    after = contents("weights", "output/roads", "output/nerve")
    assert {path: after[path] for path in before} == before
    assert read_record("wide").arrays == "roads"
    assert np.load("output/wide/imgs_mask_test.npy").shape[0] == 2
    assert len(PreparedImages(load_run("wide"))) == 2
    printed = run_well("test.py", "roads", "--compare", "wide")
    assert "over 2 images" in printed.splitlines()[-1]
    assert "rows, " in run_well("submission.py", "wide")
    assert len(Path("output/wide/submission.csv").read_text().splitlines()) == 1 + 2


def test_arrays_that_are_named_go_before_those_of_the_runs_own_name(roads):
    small_run(name="roads", arrays="nerve")
    assert read_record("roads").arrays == "nerve"
    assert len(read_record("roads").validation) == 4


def test_the_arrays_may_be_of_another_job_and_what_does_not_fit_is_refused(roads):
    small = ("network.filters=4,4", "network.bottleneck=4", "network.dropout=")
    options = dict(epochs=1, batch_size=4, set=small, validation_split=0.2)
    given = dict(job="cadastre", name="wide", arrays="nerve")
    train.train_predict(train.Options(**given, **options))
    record = read_record("wide")
    assert (record.job, record.arrays, record.network.channels) == ("cadastre", "nerve", 1)
    with pytest.raises(InputError, match="--loss weighted_cross_entropy does not fit"):
        train.train_predict(
            train.Options(**given, **{**options, "loss": "weighted_cross_entropy"})
        )


def test_arrays_that_are_not_there_are_answered_with_those_that_are(roads):
    Path("output/empty").mkdir()
    line = refusal("train.py", "nerve", "--name", "wide", "--arrays", "empty")
    assert line.endswith("empty: there are none in output/empty; there are those of nerve, roads")
    assert "--arrays x: there are none in output/x" in refusal("train.py", "--arrays", "x")
    assert "cannot name a run" in refusal("train.py", "nerve", "--arrays", "../x")
    shutil.rmtree("output")
    assert "output/x; first run data.py" in refusal("train.py", "nerve", "--arrays", "x")


@slow
def test_a_training_on_the_arrays_of_another_run_is_gone_on_with_there(roads, monkeypatch):
    write_files = RunFiles.write_files

    def stop(files, *arguments):
        write_files(files, *arguments)
        files.signals.number = 2

    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "write_files", stop)
        with pytest.raises(Stopped):
            small_run(name="wide", arrays="roads", folds=2)
    given = {"job": "nerve", "name": "wide", "resume": True}
    with pytest.raises(InputError, match="--arrays nerve .it has roads."):
        train.read_options({**given, "arrays": "nerve"})
    train.train_predict(train.read_options(given))
    names = "wide", "wide.fold1", "wide.fold2"
    assert {read_record(name).arrays for name in names} == {"roads"}


def test_what_trains_such_a_run_again_names_its_arrays(roads):
    small_run(name="wide", arrays="roads", validation_split=0)
    again = "run python train.py nerve --name wide --arrays roads again with --validation-split"
    assert again in load_run("wide").held_nothing_out


@pytest.mark.parametrize("name", ["../x", "a.b", "a/b", "-x", "", "ä", "x" * 65, "a\nb", "NUL"])
def test_a_name_that_cannot_name_files_is_refused(name, place):
    assert "cannot name a run: expected up to 64" in refusal("train.py", "nerve", f"--name={name}")


def test_the_name_of_another_job_is_refused(place):
    for script in ("data.py", "train.py"):
        assert "--name Nerve: is a job of its own" in refusal(script, "car", "--name", "Nerve")


def test_a_name_in_the_wrong_place_is_answered_with_the_right_one(place):
    assert "a run of another name: JOB --name NAME" in refusal("train.py", "roads")
    assert "a run's name stands alone" in refusal("test.py", "--name", "roads")


def test_pictures_of_images_whose_names_meet_are_all_there():
    taken = set()
    names = [picture_name(id, taken) for id in ("a/b", "a_b", "A_B", "curves", "Data", "data_1")]
    assert names[:3] == ["a_b", "image a_b 2", "image A_B 3"]
    assert names[3:] == ["image curves 2", "image Data 2", "data_1"]


def test_a_run_that_there_is_not_is_answered_with_those_that_there_are(nerve):
    shutil.copy("weights/nerve.json", "weights/wide.json")
    assert "; trained are nerve, wide; first run: python train.py JOB --name roads" in refusal(
        "test.py", "roads"
    )


@slow
def test_a_run_whose_files_were_copied_is_tested_submitted_and_exported(nerve):
    for kind in ("json", "weights.h5"):
        shutil.copy(f"weights/nerve.{kind}", f"weights/other.{kind}")
    before = contents("weights", "output/nerve")
    scores = [read_scores(nerve / f"vis/{name}/scores.csv") for name in scored("nerve", "other")]
    assert scores[0] == scores[1]
    assert "3 rows" in run_well("submission.py", "other")
    run_well("model.py", "other", "--export", "other.savedmodel")
    assert contents("weights", "output/nerve") == before
    assert {path.name for path in Path("output/other").iterdir()} == {
        "imgs_mask_test.npy",
        "submission.csv",
    }


def scored(*names):
    """Yield the names of runs, once test.py has run."""
    for name in names:
        run_well("test.py", name, "--num-images", 1)
        yield name


def test_a_command_names_what_the_script_needs():
    assert command("train.py", "nerve", "nerve") == "python train.py nerve"
    assert command("train.py", "roads", "cadastre") == "python train.py cadastre --name roads"
    assert command("test.py", "roads", "cadastre") == "python test.py roads"


# ---- two runs side by side


def copy_run(name, **changes):
    """A second run: the first one's network under another name, with changes in its record."""
    record = json.loads(Path("weights/nerve.json").read_text())
    Path(f"weights/{name}.json").write_text(json.dumps({**record, "name": name, **changes}))
    shutil.copy("weights/nerve.weights.h5", f"weights/{name}.weights.h5")


def read_scores(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_two_runs_are_scored_and_drawn_side_by_side(nerve):
    copy_run("wide", decision={"threshold": 0.3, "min_area": 0.0})
    printed = run_well("test.py", "nerve", "--compare", "wide", "--num-images", 3).splitlines()
    folder = Path("vis/nerve+wide")
    rows = read_scores(folder / "scores.csv")
    assert {row["image"] for row in rows} == set(read_record("nerve").validation)
    alone = {
        name: {result.id: score(result)[0][0] for result in PreparedImages(load_run(name))}
        for name in ("nerve", "wide")
    }
    for row in rows:
        assert float(row["nerve"]) == pytest.approx(alone["nerve"][row["image"]])
        assert float(row["wide"]) == pytest.approx(alone["wide"][row["image"]])
        assert float(row["difference"]) == float(row["wide"]) - float(row["nerve"])
    assert "3 pictures in vis/nerve+wide/, all of them on one page" in printed[-2]
    means = [np.mean([float(row[name]) for row in rows]) for name in ("nerve", "wide")]
    assert printed[-1].startswith(f"Dice {means[0]:.3f} nerve, {means[1]:.3f} wide: ")
    assert "over 4 images" in printed[-1]
    page = page_data(folder / "index.html")
    assert page["about"]["summary"] == printed[-1]
    assert page["views"] == ["truth", "error of nerve", "error of wide"]
    assert [image["facts"] for image in page["images"]] == [
        [f"{name} {float(row[name]):.3f}" for name in ("nerve", "wide")] for row in rows[:3]
    ]
    pictures = list(folder.glob("*.png"))
    assert len(pictures) == 3
    assert cv2.imread(str(pictures[0])).shape[1] > 4 * 250  # image, truth and two errors


def test_runs_that_no_image_is_new_to_are_refused(nerve):
    ids = [row["id"] for row in load_arrays("nerve").files]
    copy_run("last", validation=[id for id in ids if id not in read_record("nerve").validation])
    line = refusal("test.py", "nerve", "--compare", "last")
    assert "nerve and last held out no image in common" in line
    assert not Path("vis/nerve+last").exists()


def test_a_run_is_compared_with_another_on_the_same_masks(nerve):
    assert "is the same run" in refusal("test.py", "nerve", "--compare", "nerve")
    pixels = read_record("nerve").pixels
    copy_run("wide", pixels="of other masks")
    line = refusal("test.py", "nerve", "--compare", "wide")
    assert "nerve and wide were trained on other images or masks, of output/nerve as" in line
    copy_run("wide", pixels=pixels)
    assert "over 4 images" in run_well("test.py", "nerve", "--compare", "wide")


def test_runs_of_two_folders_with_the_same_images_are_compared_by_these(nerve):
    """Though the images have other names there: the second network is the first's."""
    shutil.copytree("output/nerve", "output/wide")
    table = Path("output/wide/files.csv")
    lines = [line.split(",") for line in table.read_text().splitlines()]
    lines[1:] = [[split, f"of/{id}", *rest] for split, id, *rest in lines[1:]]
    table.write_text("".join(",".join(line) + "\n" for line in lines))
    held_out = [f"of/{id}" for id in read_record("nerve").validation]
    copy_run("wide", arrays="wide", validation=held_out)
    assert "+0.000 ± 0.000" in run_well("test.py", "nerve", "--compare", "wide")
    rows = read_scores("vis/nerve+wide/scores.csv")
    assert {row["image"] for row in rows} == set(read_record("nerve").validation)


@slow
def test_a_run_that_held_nothing_out_is_compared_on_a_folder_alone(nerve):
    small_run(name="wide", validation_split=0)
    for pair in (("wide", "nerve"), ("nerve", "wide")):
        line = refusal("test.py", pair[0], "--compare", pair[1])
        assert "weights/wide.json: training held no image out" in line
        assert "--validation-split 0.2 or --folds 5" in line
    folder = "--images", "raw/train", "--masks", "raw/train"
    printed = run_well("test.py", "wide", "--compare", "nerve", *folder)
    seen = "12 of them seen in the training of wide and 8 of them seen in the training of nerve"
    assert printed.splitlines()[-1].endswith(f"; {seen}: expect less of other images")
    held_out = read_record("nerve").validation
    for row in read_scores("vis/wide+nerve/scores.csv"):
        seen_by = "wide" if row["image"] in held_out else "wide nerve"
        assert row["seen_in_training"] == seen_by


@slow
def test_runs_of_other_arrays_are_compared_on_a_folder(nerve):
    make_folders(nerve, count=3, size=(64, 80), channels=1)
    copy_run("wide", arrays="wide", pixels="of other images")
    line = refusal("test.py", "nerve", "--compare", "wide")
    assert "trained on other images or masks, of output/nerve and output/wide as it was" in line
    folder = "--images", "images", "--masks", "masks"
    assert "pass --masks" in refusal("test.py", "nerve", "--compare", "wide", *folder[:2])
    printed = run_well("test.py", "nerve", "--compare", "wide", *folder)
    assert "over 3 images" in printed.splitlines()[-1]
    assert [row["image"] for row in read_scores("vis/nerve+wide/scores.csv")] == ["1", "2", "3"]
