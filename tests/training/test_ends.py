"""When a training ends: later, earlier, and what was stopped before."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import slow, what_a_run_left

import model
import submission
import train
from unet.machine.disk import lock
from unet.options import parse_options
from unet.runs import Decision, Paths, from_json, read_record
from unet.training import ends
from unet.training.decide import choose_threshold_now

pytestmark = pytest.mark.usefixtures("undrawn")
STILL = {"learning_rate": 1e-12}  # a loss that has no new low after its first


def go_on(**given):
    """train.py nerve --resume, with the options that are given."""
    options = train.read_options({"job": "nerve", "resume": True, **given})
    train.train_predict(options)


def epochs():
    return len(Path("weights/nerve.csv").read_text().splitlines()) - 1


def stop(*arguments):
    raise KeyboardInterrupt


def test_a_finished_training_goes_on_as_one_of_more_epochs(small, place, capsys):
    small(epochs=4)
    expected = what_a_run_left(place, "nerve")
    shutil.rmtree(place / "weights")
    small(epochs=2)
    size = Path("weights/nerve.finished.h5").stat().st_size
    assert (
        f"weights/nerve.finished.h5 ({size / 1e3:.1f} kB) stays until the next training: python "
        "train.py nerve --resume --epochs N goes on\n"
    ) in capsys.readouterr().out
    go_on(epochs=4)
    assert what_a_run_left(place, "nerve") == expected
    record = read_record("nerve")
    assert record.recipe.epochs == record.options["epochs"] == 4
    assert " && " in record.command
    with pytest.raises(SystemExit) as ended:
        train.read_options({"job": "nerve", "resume": True})
    assert ended.value.code == 0
    assert "; python train.py nerve --resume --epochs N goes on\n" in capsys.readouterr().out
    small(epochs=1, validation_split=0)
    assert epochs() == 1
    assert not list(Path("weights").glob("*.checkpoint*"))


@slow
def test_a_new_training_takes_the_place_of_a_finished_one(small, monkeypatch):
    small(epochs=1)
    finished = Paths("nerve").finished_checkpoint
    kept = finished.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("unet.training.fit.fit", stop)
        with pytest.raises(KeyboardInterrupt):
            small(epochs=2)
    assert finished.read_bytes() == kept  # the other one has no step of its own
    with monkeypatch.context() as patch:
        patch.setattr("train.predict_after", stop)
        with pytest.raises(KeyboardInterrupt):
            small(epochs=2)
    assert not finished.exists()
    go_on()
    assert epochs() == 2


def test_an_interrupted_training_ends_earlier_or_later(small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("train.predict_after", stop)
        with pytest.raises(KeyboardInterrupt):
            small(epochs=2)
    with pytest.raises(ValueError, match="weights/nerve.checkpoint.h5 is of 2 epochs already"):
        go_on(epochs=1)
    go_on(epochs=3)
    assert epochs() == 3


@pytest.mark.parametrize("is_stopped", [True, pytest.param(False, marks=slow)])
def test_another_end_of_a_cosine_is_refused_with_what_to_do(small, place, monkeypatch, is_stopped):
    if is_stopped:
        monkeypatch.setattr("train.predict_after", stop)
    with pytest.raises(KeyboardInterrupt) if is_stopped else pytest.MonkeyPatch.context():
        small("recipe.cosine=true")
    assert not Paths("nerve").finished_checkpoint.exists()
    with pytest.raises(ValueError, match="--epochs 6: the rate of weights/nerve.* falls ") as told:
        go_on(epochs=6)
    text = str(told.value).partition("from its weights: python train.py ")[2]
    command, options = text.split(", with the options of ")
    assert options == "weights/nerve.json"
    monkeypatch.undo()
    monkeypatch.chdir(place)
    words = shlex.split(command.replace("NAME", "longer"))
    begun = read_record("nerve")
    given = from_json(train.Options, begun.options)
    options = parse_options(train.Options, "train.py", "", words)
    own = dict(name=options.name, arrays=options.arrays, weights=options.weights, epochs=4)
    train.train_predict(replace(given, **own))
    longer = read_record("longer")
    assert (longer.network, longer.arrays) == (begun.network, "nerve")
    assert longer.recipe == replace(begun.recipe, epochs=4)
    assert longer.validation == begun.validation


@slow
def test_folds_and_lost_checkpoints_end_as_they_did(small):
    small(epochs=1)
    Paths("nerve").finished_checkpoint.unlink()
    with pytest.raises(
        ValueError, match="--epochs 2: weights/nerve.json has no checkpoint to go on"
    ):
        go_on(epochs=2)
    small(epochs=1, folds=2)
    assert not Paths("nerve").finished_checkpoint.exists()
    with pytest.raises(ValueError, match="--epochs 2: weights/nerve.json is of folds"):
        go_on(epochs=2)


@slow
def test_new_ends_are_kept_from_the_start(small, monkeypatch):
    small(epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr("unet.training.fit.fit", stop)  # before its first step
        with pytest.raises(KeyboardInterrupt):
            go_on(epochs=3)
    go_on()
    assert epochs() == 3


@slow
def test_a_cosine_that_went_on_to_its_end_leaves_nothing_to_go_on_from(small):
    small("recipe.cosine=true", epochs=3, patience=1, **STILL)
    assert epochs() == 2
    go_on(patience=9)
    assert epochs() == 3
    assert not [*Path("weights").glob("*.checkpoint.h5"), *Path("weights").glob("*.finished.h5")]
    with pytest.raises(ValueError, match="--patience 5: the rate of weights/nerve.json falls"):
        go_on(patience=5)


@slow
def test_an_option_counts_beside_a_field_that_is_set(small):
    small("recipe.epochs=2", epochs=None)
    go_on(epochs=3)
    assert epochs() == 3


@pytest.mark.parametrize("changes", [(), pytest.param(("recipe.cosine=true",), marks=slow)])
def test_patience_ends_a_training_that_may_go_on_with_more(small, capsys, changes):
    small(*changes, epochs=9, patience=2, **STILL)
    assert epochs() == 3
    told = capsys.readouterr().out
    assert "no new low for 2 epochs: training ends here" in told
    assert "train.py nerve --resume --patience N goes on" in told
    with pytest.raises(SystemExit):
        go_on()
    if not changes:
        with pytest.raises(ValueError, match="--epochs 12: .* ended for 2 epochs without a lower"):
            go_on(epochs=12)
    go_on(patience=3)
    assert epochs() == 4
    assert read_record("nerve").recipe.patience == 3


def test_a_training_that_died_after_its_patience_trains_no_more(small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("train.predict_after", stop)
        with pytest.raises(KeyboardInterrupt):
            small(epochs=9, patience=1, **STILL)
    go_on()
    assert epochs() == 2


@pytest.mark.parametrize(
    ("losses", "patience", "stagnates"),
    [
        ([3, 2, 1], 1, False),
        ([3, 1, 2], 1, True),
        ([3, 1, 1, 1], 3, False),  # as low is not lower
        ([3, 1, 1, 1], 2, True),
        ([3, 1, 2, 2], None, False),
        ([], 1, False),
    ],
)
def test_stagnation_is_counted_from_the_lowest_loss(losses, patience, stagnates):
    assert (
        ends.stagnates([{"loss": 0, "val_loss": loss} for loss in losses], patience) is stagnates
    )
    assert ends.stagnates([{"loss": loss} for loss in losses], patience) is stagnates


class TestThresholdOfAStoppedTraining:
    """Of a recipe that chooses one at its end."""

    trained = {}  # files of the first test's trainings, by path

    @pytest.fixture
    def expected(self, place, request, monkeypatch):
        if not self.trained:
            small = request.getfixturevalue("small")
            small("recipe.decide=true")
            self.trained["whole"] = read_record("nerve")
            with monkeypatch.context() as patch:
                patch.setattr("train.predict_after", stop)
                with pytest.raises(KeyboardInterrupt):
                    small("recipe.decide=true")
            assert read_record("nerve").constant_dice is None
            files = [path for path in Path().rglob("*") if path.is_file()]
            self.trained["files"] = {path: path.read_bytes() for path in files}
        for path, content in self.trained["files"].items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self.trained["whole"]

    def test_is_chosen_once_and_noted(self, expected, capsys):
        choose_threshold_now(train.load_run("nerve"))
        told = capsys.readouterr().out
        assert told.startswith(
            "weights/nerve.json: no threshold was chosen yet, as at the end of its training; this "
            "is done now\nheld out: Dice "
        )
        record = read_record("nerve")
        assert (record.decision, record.constant_dice) == (
            expected.decision,
            expected.constant_dice,
        )
        assert not record.lacks_threshold
        go_on()
        assert read_record("nerve").decision == expected.decision

    @slow
    def test_is_05_where_it_cannot_be_chosen(self, expected, capsys):
        with lock(Paths("nerve").weights_lock):
            choose_threshold_now(train.load_run("nerve"))
        assert "is at work there; wait for it, or stop it): 0.5 counts" in capsys.readouterr().out
        shutil.rmtree("output/nerve")
        choose_threshold_now(train.load_run("nerve"))
        assert "and none can be now (output/nerve" in capsys.readouterr().out
        assert read_record("nerve").decision == Decision()
        assert read_record("nerve").lacks_threshold

    @slow
    def test_is_wanted_by_hosts_before_they_meet(self, expected):
        with pytest.raises(ValueError, match="run python test.py nerve first, or pass --thr"):
            submission.submission("nerve", submission.Options(hosts="a:1,b:1"))

    @slow
    def test_is_told_by_every_script(self, expected, capsys):
        submission.submission("nerve")
        assert "this is done now" in capsys.readouterr().out
        path = Paths("nerve").record
        fields = json.loads(path.read_text())
        path.write_text(
            json.dumps({**fields, "constant_dice": None, "decision": vars(Decision())})
        )
        model.main(model.Options(run="nerve", export="exported"))
        assert "this is done now" in capsys.readouterr().out
        assert read_record("nerve").decision == expected.decision
