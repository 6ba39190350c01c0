"""How probabilities become a mask, how that is chosen, and what a run notes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, make_record

from model import build_unet, load_run
from unet.errors import InputError
from unet.jobs import JOBS
from unet.prediction.predict import predict_file
from unet.prediction.scores import THRESHOLDS, HeldOut
from unet.runs import Decision, Paths, parse_record, read_record
from unet.training.callbacks import RunFiles
from unet.training.checkpoint import read_progress
from unet.training.fit import compile_unet

NUM_PIXELS = 100


def held_out(images):
    """A HeldOut of images, pairs of probabilities and truths, lists of 100 numbers."""
    p, t = (np.array(part) for part in zip(*images))
    above = p[:, None, :] > THRESHOLDS[:, None]
    inside = above & (t[:, None, :] > 0)
    num_pixels = np.full(len(p), NUM_PIXELS)
    return HeldOut(np.zeros(len(p), int), t.sum(1), above.sum(2), inside.sum(2), num_pixels)


def image(*runs):
    """A probability and a truth for each pixel, from (count, probability, truth)."""
    p = sum(([q] * count for count, q, _ in runs), [])
    t = sum(([truth] * count for count, _, truth in runs), [])
    return p + [0.0] * (NUM_PIXELS - len(p)), t + [0] * (NUM_PIXELS - len(t))


def test_a_mask_is_what_lies_above_the_threshold():
    probability = np.array([[0.2, 0.5], [0.51, 0.9]])[..., None]
    np.testing.assert_array_equal(Decision().mask(probability), [[False, False], [True, True]])
    assert Decision(0.1).mask(probability).all()


def test_another_threshold_leaves_the_smallest_area_and_is_of_two_classes():
    record = make_record(decision=Decision(0.15, 0.01))
    assert record.decide() == Decision(0.15, 0.01)
    assert record.decide(0.0) == Decision(0.0, 0.01)
    several = make_record(classes=[dict(name=name, color=[0, 0, 0]) for name in "abc"])
    assert several.decide() == Decision()
    with pytest.raises(InputError, match="--decision 0.3: weights/nerve.json is of 3 classes"):
        several.decide(0.3)


def test_a_threshold_is_told_with_the_digits_that_it_has():
    assert Decision(0.3).describe() == "foreground above 0.30"
    assert Decision(0.125).describe() == "foreground above 0.1250"


def test_a_mask_smaller_than_the_area_or_the_pixels_is_empty():
    probability = np.array([[0.2, 0.3], [0.6, 0.9]])[..., None]
    assert Decision(min_area=0.5).mask(probability).sum() == 2
    assert Decision(min_area=0.51).mask(probability).sum() == 0


def test_without_a_gain_the_decision_is_the_usual_one():
    measured = held_out([image((10, 0.9, 1)), image((30, 0.8, 1), (10, 0.1, 0))])
    assert measured.choose() == Decision()
    np.testing.assert_array_equal(measured.dice(Decision()), [1, 1])


def test_the_threshold_is_the_one_with_the_highest_mean_dice():
    measured = held_out([image((20, 0.32, 1), (20, 0.28, 0))])
    decision = measured.choose()
    assert decision == Decision(0.3)
    assert measured.dice(decision) == [1]
    assert measured.dice(Decision()) == [0]
    assert measured.dice(Decision(0.25)) == pytest.approx([40 / 60])


def test_small_masks_of_empty_truths_are_emptied():
    wrong, right = image((4, 0.9, 0)), image((30, 0.9, 1))
    measured = held_out([wrong, right, wrong, image()])
    decision = measured.choose()
    assert decision.threshold == 0.5
    assert decision.min_area == pytest.approx((4 + 30) / 2 / NUM_PIXELS)
    np.testing.assert_array_equal(measured.dice(decision), [1, 1, 1, 1])
    np.testing.assert_array_equal(measured.dice(Decision()), [0, 1, 0, 1])


def test_no_area_separates_masks_of_one_size():
    measured = held_out([image((8, 0.9, 0)), image((8, 0.9, 1)), image((8, 0.9, 1))])
    assert measured.choose() == Decision()


def test_where_all_truths_are_empty_every_mask_is_emptied():
    measured = held_out([image((8, 0.99, 0)), image((90, 0.99, 0))])
    decision = measured.choose()
    assert decision.min_area > 0.9
    np.testing.assert_array_equal(measured.dice(decision), [1, 1])


@pytest.mark.parametrize("seed", range(5))
def test_no_other_decision_is_better(seed):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(12):
        truth = rng.random(NUM_PIXELS) < rng.choice([0, 0.3])
        images.append((np.clip(truth * 0.3 + rng.random(NUM_PIXELS) * 0.7, 0, 1), truth))
    measured = held_out(images)
    best = measured.dice(measured.choose()).mean()
    for threshold in THRESHOLDS:
        for area in range(NUM_PIXELS + 2):
            other = Decision(float(threshold), area / NUM_PIXELS)
            assert measured.dice(other).mean() <= best + 1e-9


def write_record(name="nerve", **changes):
    network = {**vars(JOBS["nerve"].network)}
    record = {
        "format": 2,
        "name": name,
        "job": "nerve",
        "mean": 90.5,
        "std": 40.0,
        "array_size": [64, 80],
        "is_resized": True,
        "validation": ["1_1"],
        "decision": {"threshold": 0.4, "min_area": 0.01},
        "recipe": {"augmentation": {"symmetry": "mirror"}},
        "network": network,
        "command": "python train.py nerve",
    }
    Path("weights").mkdir(exist_ok=True)
    Path("weights", f"{name}.json").write_text(json.dumps({**record, **changes}))


def test_a_record_gives_its_network_back(place):
    write_record()
    network = read_record("nerve").network_of_any_size()
    assert network.image_size == (None, None)
    assert network.filters == JOBS["nerve"].network.filters


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"folds": []},
        {"folds": [{"name": ""}]},
        {"folds": [{"name": "../nerve.fold1"}]},
        {"folds": None},
        {"mean": "90"},
        {"std": 0.0},
        {"validation": None},
        {"validation": [1]},
        {"array_size": None},
        {"array_size": [-3, 96]},
        {"array_size": ["a", "b"]},
        {"array_size": [1000000, 1000000]},
        {"decision": {"threshold": None, "min_area": 0}},
        {"decision": {"threshold": 0.5, "min_area": "x"}},
        {"recipe": {}},
        {"recipe": {"augmentation": {"symmetry": "all"}}},
        {"network": {"filters": [4]}},
        {"network": {**vars(JOBS["nerve"].network), "channels": "3"}},
        {"network": {**vars(JOBS["nerve"].network), "filters": [8.5, 16, 32, 64]}},
        {"job": "car"},
        {"network": None},
    ],
    ids=str,
)
def test_a_damaged_record_is_refused(place, change):
    write_record(**change)
    with pytest.raises(ValueError, match="weights/nerve.json: not a run of this version"):
        read_record("nerve")


def test_a_fold_that_names_folds_is_refused(place):
    write_record("nerve.fold1", folds=[{"name": "nerve.fold1"}])
    with pytest.raises(ValueError, match=r"weights/nerve.fold1.json: not a run"):
        read_record("nerve.fold1")


def test_a_missing_fold_is_named_with_the_command_that_made_it(place):
    with pytest.raises(ValueError, match=r"nerve.fold2.json: missing; .* train.py nerve --folds"):
        read_record("nerve.fold2")
    with pytest.raises(ValueError, match=r"nerve.json: no trained network there yet"):
        read_record("nerve")


def test_weights_that_are_not_there_are_named_as_they_were_given(place):
    write_record()
    with pytest.raises(ValueError, match=r"--weights no/such.h5: no such file"):
        load_run("nerve", "no/such.h5")


PREDICTED = 0.43700427, 0.506664, 0.4974485


class TestFilesOfThisVersion:
    """tests/files: a network of two filters, trained when the format numbers were set."""

    @pytest.fixture
    def kept(self, place):
        shutil.copytree(ROOT / "tests/files/weights", "weights")

    def test_weights_and_record_still_predict_as_they_did(self, kept):
        image = np.arange(64 * 80, dtype=np.uint32).reshape(64, 80, 1) % 251
        probability = predict_file(load_run("nerve"), image.astype(np.uint8))
        found = probability.mean(), probability[10, 10, 0], probability[40, 70, 0]
        assert found == pytest.approx(PREDICTED, abs=1e-5)

    def test_a_checkpoint_still_gives_its_variables(self, kept):
        progress = read_progress(Paths("nerve").checkpoint)
        assert (progress.name, progress.epoch, progress.step) == ("nerve", 1, 0)
        files = RunFiles(progress, parse_record(progress.record, "nerve"))
        model = build_unet(files.record.network_of_any_size())
        compile_unet(model, JOBS["nerve"].recipe, 2)
        files.set_model(model)
        files.restore()
        assert int(model.optimizer.iterations) == 1  # a step of two images, one is held out

    def test_a_training_begun_by_another_recipe_is_not_gone_on_with(self, kept):
        progress = read_progress(Paths("nerve").checkpoint)
        record = parse_record(progress.record, "nerve")
        now = replace(record, recipe={**record.recipe, "validation_split": 0, "keep": "best"})
        with pytest.raises(
            ValueError, match=r"checkpoint.h5: begun by .* another validation_split;"
        ):
            RunFiles(progress, now)
        network = replace(record.network, momentum=0.9)
        with pytest.raises(ValueError, match="another momentum; go on with that version, or"):
            RunFiles(progress, replace(record, network=network))

    def test_files_of_another_version_are_refused(self, kept):
        with h5py.File("weights/nerve.weights.h5", "r+") as file:
            file.attrs["format"] = 99
        with pytest.raises(ValueError, match=r"nerve.weights.h5: .*format 99, expected 1"):
            load_run("nerve")
        text = Path("weights/nerve.json").read_text().replace('"format": 2', '"format": 99')
        Path("weights/nerve.json").write_text(text)
        with pytest.raises(ValueError, match=r"nerve.json: .*format 99, expected 2"):
            load_run("nerve")
