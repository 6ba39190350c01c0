"""Lines of a training in the terminal."""

import sys
import time

import keras

from unet.machine.terminal import progress_bar


class ProgressLines(keras.callbacks.Callback):
    """A bar with images per second and time left on a terminal's error stream, a line after each
    epoch, and once how long the whole will take.

    training: its Batches. After the first step of a run the clock starts: that one compiles. So
    may the first epoch's last, on JAX, where it has fewer images: nothing is told by that one.
    """

    def __init__(self, training):
        super().__init__()
        self.training, self.is_told, self.is_compiled = training, False, False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.first_step = epoch, self.training.first_step
        self.began = self.start = self.shown = time.monotonic()
        self.untimed = 0  # steps before the start

    def on_train_batch_end(self, batch, logs=None):
        now, done = time.monotonic(), steps_done(batch, self.params)
        step = self.first_step + done
        total, epochs = self.training.num_steps, self.params["epochs"]
        if not self.untimed and not self.is_told:
            self.start, self.untimed = now, done
            return
        seconds = (now - self.start) / (done - self.untimed)
        num_left = total * (epochs - self.epoch) - step
        may_tell = num_left and (step < total or self.is_compiled)
        if not self.is_told and now - self.start > 3 and may_tell:
            self.is_told = True
            epoch, left = seconds * total, seconds * num_left
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            print(
                f"{clear}an epoch of {total} steps takes about {duration(epoch)} without its "
                f"validation, the {epochs - self.epoch} to come {duration(left)}",
                flush=True,
            )
        if sys.stderr.isatty() and (now - self.shown > 0.1 or step == total):
            self.shown = now
            rate = self.training.batch_size / max(seconds, 1e-9)
            text = f"loss {float(logs['loss']):.4f}"
            progress_bar(f"epoch {self.epoch + 1}/{epochs}", step, total, seconds, rate, text)

    def on_epoch_end(self, epoch, logs=None):
        self.is_compiled = True
        seconds = time.monotonic() - self.began
        values = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        print(f"epoch {epoch + 1}/{self.params['epochs']}  {seconds:.1f}s  {values}", flush=True)


def steps_done(batch, params):
    """Steps of an epoch after Keras's call on_train_batch_end(batch): the last of several steps
    that it takes at once may lie beyond the epoch.
    """
    return min(batch + 1, params["steps"])


def duration(seconds):
    """Seconds for a reader: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
