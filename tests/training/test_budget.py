"""A training that ends in the minutes that it is given."""

import time
from pathlib import Path

import keras
import pytest
from conftest import slow, what_a_run_left

import train
from unet.options import parse_options
from unet.runs import read_record
from unet.training import budget
from unet.training.plan import check_options


@pytest.mark.parametrize("seconds", [120, 300, 3600, 8 * 3600])
@pytest.mark.parametrize("step", [0.002, 0.1, 2.5])
@pytest.mark.parametrize("of_epoch", [0, 1, 5])
@pytest.mark.parametrize("num_steps", [3, 100, 1409])
def test_planned_epochs_fill_the_time(seconds, step, of_epoch, num_steps):
    epochs, steps = budget.plan(seconds, step, of_epoch, num_steps)
    took = epochs * (steps * step + of_epoch)
    assert seconds - epochs * step < took + 1e-6  # less than a step of each epoch is left
    assert took <= seconds + 1e-6


def test_no_time_for_a_step_is_refused_with_what_would_do(small):
    with pytest.raises(ValueError, match="--minutes 0.01: no time for a step; pass at least 0"):
        small(epochs=None, minutes=0.01)
    assert not list(Path("weights").glob("*.h5"))


@pytest.mark.parametrize(
    "option",
    [
        ["--epochs", 3],
        ["--steps-per-epoch", 3],
        ["--set", "recipe.epochs=3"],
        ["--hosts", "127.0.0.1:1,127.0.0.1:2"],
    ],
)
def test_minutes_plan_what_is_not_given(option):
    words = ["nerve", "--minutes", "5", *map(str, option)]
    given = parse_options(train.Options, "train.py", "", words)
    refused = "--set recipe.epochs" if option[0] == "--set" else option[0]
    with pytest.raises(ValueError, match=f"so {refused} does not go with it"):
        check_options(given)


@slow
@pytest.mark.parametrize(("delay", "folds", "minutes"), [(1, None, 0.3), (2, 2, 0.6)])
def test_a_training_with_slow_steps_ends_in_its_minutes(
    small, place, monkeypatch, capsys, delay, folds, minutes
):
    """As one with the epochs and steps that were planned; by a clock that only steps move."""
    seconds, last = [0.0], [0]
    train_batch_end = keras.callbacks.CallbackList.on_train_batch_end
    test_batch_end = keras.callbacks.CallbackList.on_test_batch_end

    def tick(callbacks, batch, logs=None):
        done = batch + 1
        seconds.append(seconds[-1] + delay * (done - last[-1] if done > last[-1] else done))
        last.append(done)
        train_batch_end(callbacks, batch, logs)

    def tick_less(callbacks, batch, logs=None):
        seconds.append(seconds[-1] + 0.4 * delay)
        test_batch_end(callbacks, batch, logs)

    monkeypatch.setattr("unet.training.monitor.Monitor.on_epoch_end", lambda *arguments: None)
    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.CallbackList, "on_train_batch_end", tick)
        patch.setattr(keras.callbacks.CallbackList, "on_test_batch_end", tick_less)
        patch.setattr(time, "monotonic", lambda: seconds[-1])
        small(epochs=None, minutes=minutes, folds=folds)
    assert 0.75 < seconds[-1] / (60 * minutes) < 1.02
    options = read_record("nerve").options
    plan = {name: options[name] for name in ("epochs", "steps_per_epoch")}
    assert (
        f"{plan['epochs']} epochs of {plan['steps_per_epoch']} steps end in {minutes} minutes"
        in capsys.readouterr().out
    )
    name = "nerve.fold2" if folds else "nerve"
    left = what_a_run_left(place, name)
    small(**plan, folds=folds)
    assert what_a_run_left(place, name)[:4] == left[:4]


def test_a_training_that_goes_on_keeps_its_plan(small, monkeypatch):
    calls = []

    def plan(*arguments):
        calls.append(arguments)
        return 3, 2

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(budget, "plan", plan)
    with monkeypatch.context() as patch:
        patch.setattr("unet.training.fit.fit", stop)  # before its first step
        with pytest.raises(KeyboardInterrupt):
            small(epochs=None, minutes=1)
    options = train.read_options({"job": "nerve", "resume": True, "minutes": 1})
    assert (options.epochs, options.steps_per_epoch) == (3, 2)
    train.train_predict(options)
    assert len(calls) == 1
    assert len(Path("weights/nerve.csv").read_text().splitlines()) == 4
