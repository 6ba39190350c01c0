"""What happens between a training's steps and epochs: files, checkpoints, its end when it is asked
to stop or computes no number.
"""

import contextlib
import json
import math
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np

from checkpoint import (
    WEIGHTS_FORMAT,
    checkpoint_path,
    put_aside,
    read_variables,
    replace_hdf5,
    write_checkpoint,
)
from devices import one_process
from disk import check_room, csv_text, replace_file, write_text
from jobs import InputError, command
from options import Stopped
from runs import read_record

INTERVAL = 300  # seconds between checkpoints inside an epoch


class RunFiles(keras.callbacks.Callback):
    """After each epoch: last weights, best weights by validation loss, weights/NAME.json and .csv,
    and the checkpoint, each whole. Inside an epoch a checkpoint every INTERVAL seconds, and one
    when a signal asks to stop.

    progress: the Progress to go on from; record: what weights/NAME.json is to say. can_pause:
    whether checkpoints inside an epoch are possible. Raises FloatingPointError where a loss or a
    weight is no finite number, options.Stopped.
    """

    def __init__(self, progress, record, can_pause=True):
        super().__init__()
        self.progress, self.can_pause = progress, can_pause
        self.record = progress.record or record
        self.name, self.job = progress.name, record["job"]
        self.run = self.name.partition(".")[0]
        self.signal, self.unchecked, self.kept = None, None, progress
        self.is_new = not progress.record

    @property
    def history(self):
        """A dict for each whole epoch."""
        return self.progress.history

    @property
    def checkpoint(self):
        return checkpoint_path(self.run)

    def restore(self):
        """Give the compiled model's variables the values of the checkpoint, where there are any;
        raises InputError.
        """
        if not self.progress.record:
            return
        if self.progress.step and not self.can_pause:
            raise InputError(
                f"{self.checkpoint}: stopped inside an epoch, which one device alone can end; "
                "leave --devices and --hosts out until it has"
            )
        self.model.optimizer.build(self.model.trainable_variables)
        variables = self.variables(self.progress.step)
        values = read_variables(self.checkpoint, [variable.shape for variable in variables])
        for variable, value in zip(variables, values):
            variable.assign(value)
        self.metrics = values[len(self.variables(0)) :]

    def variables(self, step):
        """All that a step changes: weights, averages, seeds, optimizer, and after some steps of an
        epoch what its metrics have summed up.
        """
        model, found = self.model, {}
        metrics = model.metrics_variables if step else ()
        for variable in (*model.variables, *model.optimizer.variables, *metrics):
            found.setdefault(id(variable), variable)
        return list(found.values())

    # ---- inside an epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.first_step = epoch, self.progress.step
        self.start = self.saved = time.monotonic()
        self.unchecked = None
        if self.first_step:  # Keras has just set the metrics back
            for variable, value in zip(self.model.metrics_variables, self.metrics):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        self.check_loss()
        step, is_last = self.first_step + batch + 1, batch + 1 == self.params["steps"]
        self.unchecked = step, logs  # looked at after the next step: a graphics card need not wait
        is_due = time.monotonic() - self.saved > INTERVAL
        if is_last or not (is_due or self.signal):
            return
        if self.can_pause:
            self.check_loss()
            if keras.backend.backend() == "jax":
                self.model.jax_state_sync()
            progress = replace(
                self.progress, step=step, seconds=self.seconds(), record=self.record
            )
            self.save(progress, self.read_variables(step))
        self.stop_if_asked()

    def seconds(self):
        return self.progress.seconds + time.monotonic() - self.start

    def check_loss(self):
        """Raise FloatingPointError where the last step's loss, a mean since the epoch's first, is
        no number.
        """
        if self.unchecked:
            step, logs = self.unchecked
            self.unchecked = None
            if not math.isfinite(float(logs["loss"])):
                self.fail(f"the loss is {float(logs['loss'])}", step)

    def fail(self, what, step):
        rate, epochs = float(self.model.optimizer.learning_rate), len(self.history)
        weights = f"weights/{self.name}.weights.h5"
        kept = "nothing was written" if not epochs else f"{weights} is of epoch {self.best_epoch}"
        remedy = "pass a lower --learning-rate"
        if epochs and not self.name.partition(".")[2]:
            remedy += f" (and --weights {weights} to start from there)"
        raise FloatingPointError(
            f"{self.name}: {what} in epoch {self.epoch + 1}, step {step}, at a rate of {rate:g}; "
            f"{kept}; {remedy}"
        )

    @property
    def best_epoch(self):
        return self.record["best"]["epoch"]

    # ---- after an epoch

    def on_epoch_end(self, epoch, logs=None):
        self.check_loss()
        loss, steps = logs.get("val_loss", logs["loss"]), self.first_step + self.params["steps"]
        if not math.isfinite(loss):
            self.fail(f"the validation loss is {loss}", steps)
        arrays = self.read_variables()  # before anything is written
        row = {"epoch": epoch + 1, "seconds": round(self.seconds(), 2), **logs}
        history = [*self.history, row]
        is_best = self.progress.best is None or loss < self.progress.best
        if is_best:
            self.record["best"] = row
        self.write_files(history, is_best)
        progress = replace(
            self.progress,
            epoch=epoch + 1,
            step=0,
            seconds=0.0,
            history=history,
            best=loss if is_best else self.progress.best,
            record=self.record,
        )
        self.save(progress, arrays)
        self.progress = progress
        self.stop_if_asked()

    def write_files(self, history, is_best):
        """Write weights/NAME.*; before the first epoch's are there, nothing is changed."""
        best, last, record, table = (
            Path("weights", self.name + kind)
            for kind in (".weights.h5", ".last.weights.h5", ".json", ".csv")
        )
        sizes = [4 * math.prod(weight.shape) for weight in self.model.weights]
        with replace_hdf5(last, sizes) as temporary, one_process():
            self.model.save_weights(temporary)
            with h5py.File(temporary, "r+") as file:
                file.attrs["format"] = WEIGHTS_FORMAT
        if is_best:
            # Both are whole before one takes its place, and another training's record goes before
            # its weights do: files of two trainings never stand side by side.
            with replace_file(record) as new_record, replace_file(best) as new_best:
                new_record.write_text(json.dumps(self.record, indent=1), encoding="utf-8")
                shutil.copyfile(last, new_best)
                if len(history) == 1:
                    record.unlink(missing_ok=True)
                    forget_folds(self.run)
        write_text(table, csv_text(history[0], [row.values() for row in history]))

    def read_variables(self, step=0):
        """The values of all variables, NumPy arrays; raises FloatingPointError where one is not
        finite.
        """
        variables = self.variables(step)
        arrays = [np.asarray(variable) for variable in variables]
        for variable, array in zip(variables, arrays):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                last = step or self.first_step + self.params["steps"]
                self.fail(f"{variable.path} is not finite", last)
        return arrays

    def save(self, progress, arrays):
        """Write the checkpoint; a new training's first one puts an older training's aside."""
        if self.is_new:
            put_aside(self.checkpoint, progress)
        self.is_new = False
        write_checkpoint(self.checkpoint, progress, arrays)
        self.saved, self.kept = time.monotonic(), progress

    def check_room(self):
        """Raise InputError where the disk has no room for this run's files, beside those that they
        take the place of.
        """
        size = sum(math.prod(variable.shape) * 4 for variable in self.variables(0))
        names = f"{self.name}.weights.h5", f"{self.name}.last.weights.h5", self.checkpoint.name
        paths = [Path("weights", name) for name in names]
        there = sum(path.stat().st_size for path in paths if path.exists())
        check_room(paths[0], max(size, 3 * size - there))

    # ---- signals

    @contextlib.contextmanager
    def signals(self):
        """Context in which SIGINT and SIGTERM let the step end and its checkpoint be written, and
        raise Stopped then; a second one raises it at once.
        """
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def ask(number, frame):
            if self.signal:
                raise Stopped(number, f"stopped at once; {self.resume_line()}")
            self.signal = number
            print("\nstopping after this step; once more: at once", flush=True)

        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop_if_asked(self):
        """Raise Stopped where a signal came."""
        if self.signal:
            raise Stopped(self.signal, f"stopped; {self.resume_line()}")

    def resume_line(self):
        again = command("train.py", self.run, self.job)
        return f"{again} --resume goes on after {self.kept.describe()}"


def forget_folds(name):
    """Remove weights/JOB.json where it names folds, which are about to be replaced one by one."""
    path = Path("weights", f"{name}.json")
    try:
        is_of_folds = "folds" in read_record(name)
    except InputError:
        is_of_folds = False
    if is_of_folds:
        path.unlink()
