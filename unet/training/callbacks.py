"""The files of a training between its steps and epochs, and its end when it is asked to stop or
computes no number.
"""

import contextlib
import math
import shutil
import time
from dataclasses import replace

import h5py
import keras
import numpy as np

from unet.errors import InputError
from unet.machine.devices import one_process
from unet.machine.disk import check_room, csv_text, replace_file, write_text
from unet.pictures.curves import draw_curves
from unet.reading.pixels import write_image
from unet.runs import Paths, command, read_record
from unet.training.checkpoint import (
    Progress,
    find_checkpoint,
    put_aside,
    read_variables,
    write_checkpoint,
)
from unet.training.ends import loss_of
from unet.training.lines import steps_done
from unet.training.signals import StopSignals
from unet.weights import WEIGHTS_FORMAT, replace_hdf5

INTERVAL = 300  # seconds between checkpoints inside an epoch


class RunFiles(keras.callbacks.Callback):
    """After each epoch: last weights, those that the recipe keeps, weights/NAME.json and .csv, and
    the checkpoint, each whole. Inside an epoch a checkpoint every INTERVAL seconds, and one
    when a signal asks to stop.

    progress: the Progress to go on from; is_new: another training's checkpoint may be there;
    can_pause: checkpoints inside an epoch are possible. Raises FloatingPointError where a loss or
    a weight is no finite number, errors.Stopped, InputError.
    """

    def __init__(self, progress, is_new=False, can_pause=True):
        super().__init__()
        self.progress = progress  # after the last whole epoch
        self.kept = progress  # in the checkpoint on the disk
        self.paths, self.is_new, self.can_pause = Paths(progress.name), is_new, can_pause
        self.signals = StopSignals(self.describe_resume)
        self.epoch, self.first_step = progress.epoch, progress.step
        self.start = self.saved = time.monotonic()
        self.unchecked = None  # step and logs that nobody has looked at
        self.metrics = []  # what the metrics had summed up in the steps of an interrupted epoch

    def begin(self, model, is_first=True):
        """Give a compiled model's variables the values of the checkpoint, where there are any; the
        first process then writes it, with the ends that it has now, and in its place. Raises
        InputError, also where the disk has no room.
        """
        self.set_model(model)
        if is_first:
            self.check_room()
        if not self.progress.has_steps:
            return
        if self.progress.step and not self.can_pause:
            raise InputError(
                f"{self.paths.checkpoint}: stopped inside an epoch, which one device alone can "
                "end; leave --devices and --hosts out until it has"
            )
        self.model.optimizer.build(self.model.trainable_variables)
        variables = changing_variables(self.model, self.progress.step)
        shapes = [variable.shape for variable in variables]
        values = read_variables(find_checkpoint(self.paths.run), shapes)
        for variable, value in zip(variables, values):
            variable.assign(value)
        self.metrics = values[len(changing_variables(self.model)) :]
        if is_first:
            self.save(self.progress, values)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.first_step = epoch, self.progress.step
        self.start = self.saved = time.monotonic()
        self.unchecked = None
        if self.first_step:  # Keras has just set the metrics back
            for variable, value in zip(self.model.metrics_variables, self.metrics):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        self.check_loss()
        done = steps_done(batch, self.params)
        step, is_last = self.first_step + done, done == self.params["steps"]
        self.unchecked = step, logs  # looked at after the next step: a graphics card need not wait
        is_due = time.monotonic() - self.saved > INTERVAL
        if is_last or not (is_due or self.signals.number):
            return
        if self.can_pause:
            self.check_loss()
            if keras.backend.backend() == "jax":
                self.model.jax_state_sync()
            values = self.read_values(step)
            self.save(replace(self.progress, step=step, seconds=self.seconds()), values)
        self.signals.stop_if_asked()

    def seconds(self):
        """That the steps of this epoch took, those before an interruption, too."""
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
        """Raise FloatingPointError: what is no number, where, what is kept, and what to do."""
        rate = float(self.model.optimizer.learning_rate)
        kept, remedy = "nothing was written", "pass a lower --learning-rate"
        if self.progress.history:
            kept = f"{self.paths.weights} is of epoch {self.progress.record.best['epoch']}"
            if not self.paths.fold:
                remedy += f" (and --weights {self.paths.weights} to start from there)"
        raise FloatingPointError(
            f"{self.paths.name}: {what} in epoch {self.epoch + 1}, step {step}, at a rate of "
            f"{rate:g}; {kept}; {remedy}"
        )

    def on_epoch_end(self, epoch, logs=None):
        self.check_loss()
        loss, steps = logs.get("val_loss", logs["loss"]), self.first_step + self.params["steps"]
        if not math.isfinite(loss):
            self.fail(f"the validation loss is {loss}", steps)
        values = self.read_values()  # before anything is written
        row = {"epoch": epoch + 1, "seconds": round(self.seconds(), 2), **logs}
        record, history = self.progress.record, [*self.progress.history, row]
        is_best = not record.best or record.recipe.keep == "last" or loss < loss_of(record.best)
        if is_best:
            record = replace(record, best=row)
        self.write_files(record, history, is_best)
        self.progress = Progress(record, epoch + 1, history=history)
        self.save(self.progress, values)
        self.signals.stop_if_asked()

    def write_files(self, record, history, is_best):
        """Write weights/NAME.*; before the first epoch's are there, nothing is changed."""
        paths = self.paths
        sizes = [4 * math.prod(weight.shape) for weight in self.model.weights]
        with replace_hdf5(paths.last_weights, sizes) as temporary, one_process():
            self.model.save_weights(temporary)
            with h5py.File(temporary, "r+") as file:
                file.attrs["format"] = WEIGHTS_FORMAT
        if is_best:
            # Both are whole before one takes its place, and another training's record goes before
            # its weights do: files of two trainings never stand side by side.
            with replace_file(paths.record) as text, replace_file(paths.weights) as weights:
                text.write_text(record.text(), encoding="utf-8")
                shutil.copyfile(paths.last_weights, weights)
                if len(history) == 1:
                    paths.record.unlink(missing_ok=True)
                    # A record that names folds goes, for they are replaced one by one.
                    with contextlib.suppress(InputError):
                        if read_record(paths.run).folds:
                            Paths(paths.run).record.unlink()
        write_text(paths.table, csv_text(history[0], [row.values() for row in history]))

    def read_values(self, step=0):
        """The values of all that a step changes, NumPy arrays; raises FloatingPointError where one
        is not finite.
        """
        variables = changing_variables(self.model, step)
        values = [np.asarray(variable) for variable in variables]
        for variable, value in zip(variables, values):
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                last = step or self.first_step + self.params["steps"]
                self.fail(f"{variable.path} is not finite", last)
        return values

    def save(self, progress, values):
        """Write the checkpoint of a Progress; a new training's first one puts an older training's
        aside. That of a training that had ended, the same or another, goes.
        """
        if self.is_new:
            put_aside(self.paths)
        self.is_new = False
        write_checkpoint(self.paths.checkpoint, progress, values)
        self.paths.finished_checkpoint.unlink(missing_ok=True)
        self.saved, self.kept = time.monotonic(), progress

    def check_room(self):
        """Raise InputError where the disk has no room for this run's files, beside those that they
        take the place of.
        """
        size = sum(math.prod(variable.shape) * 4 for variable in changing_variables(self.model))
        paths = self.paths.weights, self.paths.last_weights, self.paths.checkpoint
        there = sum(path.stat().st_size for path in paths if path.exists())
        check_room(paths[0], max(size, 3 * size - there))

    def finish(self):
        """Draw the curves, print losses and scores of the epoch whose weights are kept, and write
        the Record: it may have a new end, though no epoch was better.
        """
        write_image(self.paths.picture("curves"), draw_curves(self.progress.history))
        best = self.progress.record.best
        scores = [f"{key} {best[key]:.4f}" for key in best if key not in ("epoch", "seconds")]
        print(f"{self.progress.record.recipe.keep} epoch {best['epoch']}: {', '.join(scores)}")
        self.progress.record.write()

    def describe_resume(self):
        """The command that goes on after a stop, for a reader."""
        train = command("train.py", self.paths.run, self.progress.record.job)
        return f"{train} --resume goes on after {self.kept.describe()}"


def changing_variables(model, step=0):
    """All variables that a step changes: weights, averages, seeds, optimizer, and after some steps
    of an epoch the sums of its metrics.
    """
    metrics = model.metrics_variables if step else ()
    variables = (*model.variables, *model.optimizer.variables, *metrics)
    return list({id(variable): variable for variable in variables}.values())
