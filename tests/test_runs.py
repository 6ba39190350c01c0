"""How probabilities become a mask, how that is chosen, and what a run notes."""

import json
import shutil
import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, make_record

from train import get_unet, load_run
from unet.errors import InputError
from unet.jobs import JOBS
from unet.jobs.settings import Augmentation
from unet.prediction.predict import predict_file
from unet.prediction.scores import THRESHOLDS, HeldOut, HeldOutClasses
from unet.runs import Decision, Paths, read_record
from unet.training.callbacks import RunFiles
from unet.training.checkpoint import read_progress
from unet.training.session import with_ends

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
    assert record.decision_at() == Decision(0.15, 0.01)
    assert record.decision_at(0.0) == Decision(0.0, 0.01)
    several = make_record(classes=[dict(name=name, color=[0, 0, 0]) for name in "abc"])
    assert several.decision_at() == Decision()
    with pytest.raises(InputError, match="--threshold 0.3: weights/nerve.json is of 3 classes"):
        several.decision_at(0.3)


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


FAINT = image((20, 0.32, 1), (20, 0.28, 0))  # right above 0.3 alone


def test_the_threshold_is_the_one_with_the_highest_mean_dice():
    measured = held_out([FAINT, FAINT])
    decision = measured.choose()
    assert decision == Decision(0.3)
    np.testing.assert_array_equal(measured.dice(decision), [1, 1])
    np.testing.assert_array_equal(measured.dice(Decision()), [0, 0])
    assert measured.dice(Decision(0.25)) == pytest.approx([40 / 60] * 2)


def test_one_image_chooses_nothing():
    assert held_out([FAINT]).choose() == Decision()


@pytest.mark.parametrize("others", [1, 2, 50])
def test_what_one_image_gains_alone_is_chance(others):
    """A mean of g / N has a standard error of g / N."""
    rest = [image((20, 0.9, 1))] * others
    assert held_out([FAINT, *rest]).choose() == Decision()
    assert held_out([FAINT, FAINT, *rest]).choose() == Decision(0.3)


def test_a_gain_within_its_standard_error_is_not_taken():
    """Above 0.3 one image loses 1, of two others each gains 1, and then of three: means of 1/3 and
    1/2 with standard errors of sqrt((3 - 1/3) / 2 / 3) = 0.67 and sqrt((4 - 1) / 3 / 4) = 0.5; of
    four the mean is 0.6, its error sqrt((5 - 9/5) / 4 / 5) = 0.4.
    """
    worse = image((60, 0.32, 0))
    for count, threshold in ((2, 0.5), (3, 0.5), (4, 0.3)):
        measured = held_out([worse, *[FAINT] * count])
        assert measured.choose() == Decision(threshold), count


def test_small_masks_of_empty_truths_are_emptied():
    wrong, right = image((4, 0.9, 0)), image((30, 0.9, 1))
    measured = held_out([wrong, right, wrong, image()])
    decision = measured.choose()
    assert decision.threshold == 0.5
    assert decision.min_area == pytest.approx((4 + 30) / 2 / NUM_PIXELS)
    np.testing.assert_array_equal(measured.dice(decision), [1, 1, 1, 1])
    np.testing.assert_array_equal(measured.dice(Decision()), [0, 1, 0, 1])


def test_one_small_mask_of_an_empty_truth_is_chance():
    measured = held_out([image((4, 0.9, 0)), image((30, 0.9, 1)), image(), image()])
    assert measured.choose() == Decision()


def test_no_area_separates_masks_of_one_size():
    measured = held_out([image((8, 0.9, 0)), image((8, 0.9, 1)), image((8, 0.9, 1))])
    assert measured.choose() == Decision()


def test_an_area_is_not_above_the_smallest_true_mask():
    """Though emptying masks of 40 would be right for three images and wrong for none."""
    small = image((5, 0.99, 1))
    wrong = [image((40, 0.99, 0))] * 3
    assert held_out([small, *wrong]).choose() == Decision()
    found = image((40, 0.99, 1), (5, 0.99, 0))
    decision = held_out([found, found, *[image((4, 0.99, 0))] * 3]).choose()
    assert decision.min_area == pytest.approx((4 + 45) / 2 / NUM_PIXELS)
    few = image((10, 0.99, 1), (70, 0.99, 0))
    decision = held_out([few, few, *[image((4, 0.99, 0))] * 3]).choose()
    assert decision.min_area == pytest.approx(10 / NUM_PIXELS)  # and not (4 + 80) / 2


def test_no_threshold_empties_all_masks_though_most_truths_are_empty():
    """Above 0.8 all masks are empty, for a mean of 6/8 in place of 2 * 0.8 / 8."""
    found, wrong = image((40, 0.8, 1), (20, 0.8, 0)), image((40, 0.8, 0))
    assert held_out([found, found, *[wrong] * 6]).choose() == Decision()
    # What is found stays above 0.8.
    found = image((40, 0.88, 1))
    assert held_out([found, found, *[wrong] * 6]).choose().threshold == 0.8
    half, more = image((20, 0.95, 1), (20, 0.6, 1)), image((20, 0.95, 1), (20, 0.6, 0))
    # Above 0.8 one image loses 1/3 and another gains 1/3, which may be chance, and six gain 1.
    assert held_out([half, more, *[wrong] * 6]).choose().threshold == 0.8


def test_where_no_truth_is_empty_there_is_no_smallest_area():
    """An area that empties faint small masks would cost nothing: they score 0 as they are."""
    missed = image((3, 0.9, 0), (20, 0.1, 1))
    assert held_out([missed, missed, image((30, 0.9, 1))]).choose().min_area == 0


def test_where_all_truths_are_empty_nothing_says_what_a_mask_may_be():
    measured = held_out([image((8, 0.99, 0)), image((90, 0.7, 0)), image((8, 0.7, 0))])
    assert measured.choose() == Decision()


def is_no_chance(gains):
    """The rule, by the formulas of a textbook."""
    return statistics.mean(gains) > statistics.stdev(gains) / len(gains) ** 0.5


@pytest.mark.parametrize("seed", range(8))
def test_no_other_decision_whose_gain_is_no_chance_is_better(seed):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(30):
        truth = rng.random(NUM_PIXELS) < rng.choice([0, 0.1, 0.3])
        probability = truth * 0.3 + rng.random(NUM_PIXELS) * rng.choice([0.35, 0.6, 0.7])
        images.append((np.clip(probability, 0, 1), truth))
    measured = held_out(images)
    decision = measured.choose()

    def dice(threshold, area=0.0):
        return [float(d) for d in measured.dice(Decision(float(threshold), area))]

    def best(candidates, before, may_cost):
        gains = [[b - a for a, b in zip(before, dice)] for dice in candidates]
        costs = [[-x for x, (_, truth) in zip(g, images) if truth.any()] for g in gains]
        taken = [may_cost or not is_no_chance(cost) for cost in costs]
        found = [statistics.mean(g) for g, t in zip(gains, taken) if t and is_no_chance(g)]
        return max(found, default=0)

    usual, chosen = dice(0.5), dice(decision.threshold)
    gain = statistics.mean(chosen) - statistics.mean(usual)
    assert gain == pytest.approx(best(map(dice, THRESHOLDS), usual, False))
    least = min(truth.sum() for _, truth in images if truth.any())
    areas = [dice(decision.threshold, n / NUM_PIXELS) for n in range(least + 1)]
    gain = statistics.mean(dice(*vars(decision).values())) - statistics.mean(chosen)
    assert gain == pytest.approx(best(areas, chosen, True))
    assert decision.min_area <= least / NUM_PIXELS


def test_thousands_of_images_are_decided_on_at_once():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 20_000) * rng.integers(100, 2000, 20_000)
    predicted = np.sort(rng.integers(0, 2000, (20_000, 19)))[:, ::-1]
    right = np.minimum(predicted, truth[:, None])
    measured = HeldOut(0 * truth, truth, predicted, right, 0 * truth + 10_000)
    start = time.monotonic()
    measured.choose()
    assert time.monotonic() - start < 1


def test_a_constant_mask_is_the_best_of_nothing_everything_and_what_is_above_a_threshold():
    half, quarter = image((50, 0.6, 1), (25, 0.2, 0)), image((50, 0.6, 0), (25, 0.2, 1))
    # Above 0.5 it is the 50 of each, above 0.15 the 75, and everything has the 100.
    assert held_out([half, half]).constant_dice() == 1
    assert held_out([half, quarter]).constant_dice() == pytest.approx(
        (2 * 50 / (75 + 50) + 2 * 25 / (75 + 25)) / 2
    )
    full, empty = image((100, 0.01, 1)), image((100, 0.01, 0))
    assert held_out([full, full, empty]).constant_dice() == pytest.approx(2 / 3)
    full, empty = image((100, 0.99, 1)), image((100, 0.99, 0))
    assert held_out([full, empty, empty]).constant_dice() == pytest.approx(2 / 3)
    corner = image((30, 0.01, 1))
    assert held_out([corner]).constant_dice() == pytest.approx(2 * 30 / (30 + 100))


def test_a_constant_class_is_the_best_of_all():
    truth = np.array([[50, 50, 0], [0, 100, 0], [60, 0, 40]])
    measured = HeldOutClasses(np.zeros(3), truth, truth, 2 * truth)
    np.testing.assert_array_equal(measured.dice(), [1, 1, 1])
    # Class 1 everywhere: the third image has it and class 2, neither of them right.
    assert measured.constant_dice() == pytest.approx((100 / 150 + 1 + 0) / 3)
    empty = np.array([[100, 0, 0], [100, 0, 0], [0, 0, 100]])
    measured = HeldOutClasses(np.zeros(3), empty, empty, 2 * empty)
    assert measured.constant_dice() == pytest.approx(2 / 3)


def write_record(name="nerve", **changes):
    recipe = replace(JOBS["nerve"].recipe, augmentation=Augmentation("mirror"))
    record = make_record(
        name=name,
        recipe=recipe,
        mean=90.5,
        std=40.0,
        array_size=[64, 80],
        is_resized=True,
        validation=["1_1"],
        decision=Decision(0.4, 0.01),
        network=JOBS["nerve"].network,
        command="python train.py nerve",
    )
    fields = {**json.loads(record.text()), **changes}
    Path("weights").mkdir(exist_ok=True)
    Path("weights", f"{name}.json").write_text(json.dumps(fields))


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
        {"arrays": "../x"},
        {"arrays": None},
        {"arrays": ["x"]},
        {"constant_dice": 1.5},
        {"constant_dice": "0.5"},
        {"constant_dice": float("nan")},
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
        {"recipe": asdict(replace(JOBS["nerve"].recipe, augmentation=Augmentation("all")))},
        {"recipe": {**asdict(JOBS["nerve"].recipe), "epochs": "9"}},
        {"options": None},
        {"pixels": None},
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


def test_a_record_keeps_the_constant_dice(place):
    write_record()
    assert read_record("nerve").constant_dice is None
    replace(read_record("nerve"), constant_dice=0.25, arrays="roads").write()
    assert read_record("nerve").constant_dice == 0.25
    assert read_record("nerve").arrays == "roads"


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
        files = RunFiles(progress)
        model = get_unet("nerve", files.progress.record.network_of_any_size(), num_steps=2)
        files.begin(model)
        assert int(model.optimizer.iterations) == 1  # a step of two images, one is held out

    def test_a_training_begun_by_another_recipe_is_not_gone_on_with(self, kept):
        path = Paths("nerve").checkpoint
        record = read_progress(path).record
        now = replace(record, recipe=replace(record.recipe, validation_split=0, epochs=9))
        with pytest.raises(
            ValueError, match=r"checkpoint.h5: begun by .* another validation_split;"
        ):
            with_ends(record, now, path)
        network = replace(record.network, momentum=0.9)
        with pytest.raises(ValueError, match="another momentum; go on with that version, or"):
            with_ends(record, replace(record, network=network), path)

    def test_files_of_another_version_are_refused(self, kept):
        with h5py.File("weights/nerve.weights.h5", "r+") as file:
            file.attrs["format"] = 99
        with pytest.raises(ValueError, match=r"nerve.weights.h5: .*format 99, expected 1"):
            load_run("nerve")
        text = Path("weights/nerve.json").read_text().replace('"format": 2', '"format": 99')
        Path("weights/nerve.json").write_text(text)
        with pytest.raises(ValueError, match=r"nerve.json: .*format 99, expected 2"):
            load_run("nerve")
