"""The studies: each one's tiny mode, and the scores of results.py against arithmetic."""

import csv
import importlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import make_folders, make_nerve, run_well, slow

import data
import train
from model import build_unet
from unet.data.arrays import Arrays
from unet.errors import InputError
from unet.jobs import JOBS
from unet.machine.disk import csv_text, write_text
from unet.prediction.scores import HeldOut
from unet.runs import Decision


@pytest.fixture(scope="module")
def results():
    return importlib.import_module("benchmarks.results")


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@slow
def test_the_noise_study_runs_and_does_not_run_twice(place):
    output = run_well("-m benchmarks.noise", "--tiny", "--part", "target", "--output", place)
    assert (
        "setting modern, shape circle, fill noise, placement document, precision float" in output
    )
    rows = rows_of("noise.tiny.csv")
    assert [(row["image"], row["weights"], row["step"]) for row in rows] == [("1", "1", "2")]
    assert all(0 <= float(row["worst"]) <= float(row["mean"]) <= 1 for row in rows)
    assert cv2.imread("noise.tiny.png").shape[0] == 400
    output = run_well("-m benchmarks.noise", "--tiny", "--part", "target", "--output", place)
    assert "setting" not in output.partition("| setting")[0]
    assert rows_of("noise.tiny.csv") == rows


@pytest.mark.parametrize(
    ("step", "text"),
    [("5.5", "step is '5.5', expected a whole number"), (None, "so it lacks step")],
)
def test_a_table_of_other_runs_is_left_alone(place, step, text):
    noise = importlib.import_module("benchmarks.noise")
    columns = [name for name in noise.COLUMNS if step or name != "step"]
    table = csv_text(columns, [[step if name == "step" else "1" for name in columns]])
    write_text("noise.csv", table)
    with pytest.raises(InputError, match=text):
        noise.main(noise.Options(output="."))
    assert Path("noise.csv").read_text() == table


@slow
def test_the_reasons_of_the_noise_study_run(place):
    run_well("-m benchmarks.noise", "--tiny", "--part", "reasons", "--output", place)
    names = {row["setting"] for row in rows_of("noise.tiny.csv")}
    noise = importlib.import_module("benchmarks.noise")
    assert names == {noise.TODAY, *noise.REASONS}


@slow
def test_the_cadastre_study_runs(place):
    make_folders(place, count=5)
    data.prepare(data.Options(job="cadastre", images="images", masks="masks", image_size=(0, 0)))
    output = run_well("-m benchmarks.cadastre", "--tiny", "--output", place)
    assert output.splitlines()[-1].startswith("| document | 0.01 | False | 16 | 4 | 8 | 0.9 | Tr")
    rows = rows_of("cadastre.tiny.csv")
    assert len(rows) == 4
    assert all(0 <= float(row["dead"]) <= 1 for row in rows)


def test_the_noise_study_has_each_setting_it_names():
    noise = importlib.import_module("benchmarks.noise")
    for part, count in (
        ("document", 1),
        ("target", 1),
        ("pairs", 1),
        ("shapes", 8),
        ("reasons", 7),
        ("modern", 10),
        ("scales", 4),
    ):
        assert len(list(noise.settings(noise.Options(part=part)))) == count
    for name, (recipe, changes) in {**noise.REASONS, **noise.ABLATIONS}.items():
        job = noise.RECIPES[recipe]["noise"]
        assert job.change(changes.split()) != job or name == noise.MIRRORED


def test_the_settings_are_those_of_the_question():
    cadastre = importlib.import_module("benchmarks.cadastre")
    varied = {
        "document": (12, {"rate", "decay"}),
        "filters": (6, {"filters"}),
        "batches": (9, {"batch"}),
        "levels": (6, {"levels"}),
        "head": (12, {"rate", "initializer"}),
        "reference": (3, set()),
        "longer": (3, set()),
    }
    for part, (count, names) in varied.items():
        settings = [s for s, _ in cadastre.settings(cadastre.Options(part=part))]
        assert len({tuple(s.values()) for s in settings}) == len(settings) == count
        found = {name for name in settings[0] if len({s[name] for s in settings}) > 1}
        assert found == {*names, "normalization"}
    assert len(list(cadastre.settings(cadastre.Options()))) == sum(n for n, _ in varied.values())


def test_what_a_setting_leaves_alone_is_as_the_document_has_it():
    cadastre = importlib.import_module("benchmarks.cadastre")
    job = JOBS["cadastre"]
    changed = cadastre.choose(cadastre.DOCUMENT)
    recipe = replace(job.recipe, window=(64, 64), steps_per_epoch=10)
    assert changed == replace(job, recipe=recipe)


def test_the_reference_has_as_many_parameters_as_its_authors_count():
    cadastre = importlib.import_module("benchmarks.cadastre")
    network = cadastre.choose(cadastre.REFERENCE).network
    assert network.dropout == (0, 0, 0, 0.5, 0.5)
    model = build_unet(replace(network, channels=1))
    assert model.count_params() == 31_031_685


def test_the_measures_of_a_dead_head():
    cadastre = importlib.import_module("benchmarks.cadastre")
    units = np.zeros((2, 4, 4, 2), np.float32)
    units[0, 0, 0, 1] = 3
    logits = np.full((2, 4, 4, 1), -9.0, np.float32)
    masks = np.zeros((2, 4, 4, 1), np.float32)
    measured = cadastre.measure(units, logits, 1 / (1 + np.exp(-logits)), masks)
    assert measured["dead"] == 0.5
    assert measured["spread"] == measured["logit_std"] == 0
    assert measured["saturated"] == 1
    assert measured["mean"] == pytest.approx(1.2e-4, rel=0.05)


class TestScores:
    def test_two_perfect_classes_score_1_and_a_coin_two_thirds_of_each(self, results):
        truth = np.zeros((10, 10), bool)
        truth[:5] = True
        assert results.mean_class_dice(truth.astype(float), truth) == 1
        half = np.full((10, 10), 0.5)
        # 2 * 0.5 * 50 / (0.25 * 100 + 50), for both classes
        assert results.mean_class_dice(half, truth) == pytest.approx(50 / 75)

    def test_equal_cells_score_1_however_wide_the_border(self, results):
        truth = np.ones((20, 30), bool)
        truth[:, 14:17] = False
        prediction = np.ones((20, 30), bool)
        prediction[:, 15] = False
        assert results.segment_scores(prediction, truth) == pytest.approx((1, 1))

    def test_two_cells_taken_for_one(self, results):
        truth = np.ones((20, 31), bool)
        truth[:, 15] = False
        rand, information = results.segment_scores(np.ones_like(truth), truth)
        assert rand == pytest.approx((1 / 4 + 1 / 4) / (0.5 * 1 + 0.5 * (1 / 4 + 1 / 4)))
        assert information == pytest.approx(0)

    def test_one_cell_taken_for_two(self, results):
        truth = np.zeros((20, 41), bool)
        truth[:, :40] = True
        prediction = truth.copy()
        prediction[:, 10] = False  # grown shut again, to a quarter and three quarters
        rand, _ = results.segment_scores(prediction, truth)
        # the middle column goes to one of the two
        p = [np.sum(np.square([11, 29])) / 40**2, np.sum(np.square([10, 30])) / 40**2]
        assert min(abs(rand - q / (0.5 * q + 0.5)) for q in p) < 1e-9

    def test_no_cell_at_all_is_one(self, results):
        truth = np.ones((8, 8), bool)
        assert results.segment_scores(np.zeros((8, 8), bool), truth) == (1, 1)

    def test_a_patch_is_road_above_a_quarter_of_its_pixels(self, results):
        truth = np.zeros((40, 35), bool)  # 2 x 2 patches, what is left over is cut off
        truth[:16, :16] = True
        truth[16:20, :16] = True  # a quarter, not more
        prediction = np.zeros_like(truth)
        prediction[:5, :16] = True
        prediction[:16, 16:32] = True
        prediction[32:] = True
        assert results.count_patches(prediction, truth) == (1, 3)

    def test_the_score_of_each_fold_stands_behind_that_of_all(self, results):
        folds = np.array([0, 0, 1])
        assert (
            results.by_fold(np.array([0.5, 0.7, 0.9]), folds) == "0.7500 ± 0.2121 (0.6000, 0.9000)"
        )
        assert results.by_fold(np.array([0.5, 0.7, 0.9]), 0 * folds) == "0.7000"
        counts = np.array([1, 2, 4]), np.array([4, 4, 8])  # right, and of both
        assert results.f1_by_fold(*counts, folds) == "0.8750 (0.7500, 1.0000)"
        assert results.f1_by_fold(*counts, 0 * folds) == "0.8750"

    def test_a_fold_is_scored_with_what_is_best_for_the_others(self, results):
        # Two images each: above 0.5 those of fold 0 are empty and those of fold 1 right; above
        # 0.3 both are the other way.
        counts = np.zeros((4, 19), int)
        counts[:2, :6], counts[2:, 6:10] = 10, 10
        tens = np.full(4, 10)
        measured = HeldOut(np.array([0, 0, 1, 1]), tens, counts, counts, 10 * tens)
        assert measured.choose() == Decision()
        np.testing.assert_array_equal(results.chosen_dice(measured), [0, 0, 0, 0])


@slow
def test_results_scores_a_run_of_folds(place):
    make_nerve(place / "raw")
    data.prepare(data.Options(job="nerve"))
    small = ("network.filters=4,6", "network.bottleneck=8")
    train.train_predict(train.Options(job="nerve", folds=3, epochs=1, set=small))
    output = run_well("-m benchmarks.results", "nerve", "--full-size", "--segments", "--patches")
    lines = output.splitlines()
    assert lines[3].split() == ["images", "12", "in", "3", "folds"]
    names = ["Rand score", "information", "images", "Dice at 0.5", "Dice, chosen", "pixel error",
             "F1 of all", "F1 of 16x16", "Dice of both", "Dice at full", "seconds to"]  # fmt: skip
    assert [next(n for n in names if line.startswith(n)) for line in lines[1:]] == names
    assert len(lines[-1].split(",")) == 3


def test_a_damaged_table_is_named_before_the_first_run(place):
    make_folders(place, count=5)
    data.prepare(data.Options(job="cadastre", images="images", masks="masks"))
    cadastre = importlib.import_module("benchmarks.cadastre")
    rows = [dict.fromkeys(cadastre.COLUMNS, "1"), dict.fromkeys(cadastre.COLUMNS, "1")]
    rows[1]["dice"] = "x"
    table = csv_text(cadastre.COLUMNS, [row.values() for row in rows])
    write_text("out/cadastre.csv", table)
    with pytest.raises(InputError, match="cadastre.csv: line 3: dice is 'x', expected a number"):
        cadastre.main(cadastre.Options(output="out"))


def test_what_the_labels_allow(place, capsys):
    labels = importlib.import_module("benchmarks.labels")
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (8, 8, 1), np.uint8)
    images = np.stack([image, image, rng.integers(0, 256, (8, 8, 1), np.uint8), image])
    masks = np.zeros((4, 8, 8, 1), np.uint8)
    masks[0, 2:6, 2:6], masks[1, 2:6, 2:4] = 255, 255
    files = [{"subject": subject} for subject in ("1", "1", "1", "2")]
    arrays = Arrays(images, masks, images[:0], files, [])
    assert labels.agreement(arrays, 0.98) == [pytest.approx(2 * 8 / 24)]
    assert labels.one_pixel(masks[:1]) == pytest.approx(12 / 64)
    make_nerve(place / "raw")
    data.prepare(data.Options(job="nerve"))
    labels.main(labels.Options("nerve"))
    assert "pixel error of one pixel of border" in capsys.readouterr().out
