"""The number of epochs that end in a given time, --minutes, by the steps that are timed here."""

import math
import time
from dataclasses import replace

import keras

from unet.errors import InputError
from unet.training.checkpoint import Progress
from unet.training.lines import steps_done
from unet.training.session import note
from unet.training.steps import memory_errors

KEPT_BACK = 0.1  # of the time, for files, pictures, and the predictions at the end
TIMED = 0.05  # of the time, in which steps are timed
MOST = 15  # seconds of it
LEAST = 3  # steps that are timed
LONG = 10**4  # steps of the epoch that is timed, for none may begin anew
FORWARD = 0.4  # of a training step's time, that one of the validation takes
FEWEST = 4  # epochs, where their validations take a fifth of the time at the most


class Clock(keras.callbacks.Callback):
    """Times the steps of a fit after its first call, and ends it after some seconds."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.first, self.before, self.step = seconds, None, 0, None

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # waits for a card
        done, now = steps_done(batch, self.params), time.monotonic()
        if self.first is None:
            self.first, self.before = now, done
            return
        num_steps = done - self.before
        self.step = (now - self.first) / num_steps
        self.model.stop_training = num_steps >= LEAST and now - self.first > self.seconds


def plan(seconds, step, of_epoch, num_steps):
    """Epochs, of about so many steps, and the steps of each, that take so many seconds, where a
    step takes `step` of them and an epoch's validation `of_epoch`. Epochs are longer where their
    validations would take more than a fifth of the time.
    """
    num_steps = max(num_steps, math.ceil(4 * of_epoch / step))
    fewest = min(FEWEST, int(seconds / 5 / max(step, of_epoch)))
    epochs = max(1, fewest, int(seconds / (num_steps * step + of_epoch)))
    return epochs, max(1, int((seconds / epochs - of_epoch) / step))


def plan_epochs(session, build):
    """The Session with the epochs that its options' minutes leave time for, which its checkpoint
    then has. Raises InputError where there is no time for a step.

    build: train.build_training. The model that is timed is given up: the training begins with one
    that has the same first weights, and a rate that falls over the planned steps.
    """
    begun, record, minutes = time.monotonic(), session.progress.record, session.options.minutes
    clock = Clock(min(MOST, TIMED * 60 * minutes))
    with session.devices.scope(), memory_errors(record):
        num_steps = session.prepare(record)[0].num_steps
        long = replace(record, recipe=replace(record.recipe, steps_per_epoch=LONG))
        model, training, validation = build(session, long)
        model.fit(training, epochs=10**6, callbacks=[clock], shuffle=False, verbose=0)
    keras.backend.clear_session()
    keras.config.set_dtype_policy("float32")
    spent, start, step = time.monotonic() - session.begun, clock.first - begun, clock.step
    of_epoch, num_networks = FORWARD * step * len(validation or ()), len(session.splits)
    left = ((1 - KEPT_BACK) * 60 * minutes - spent) / num_networks - start
    if left < step + of_epoch:
        least = (spent + num_networks * (start + 10 * step + of_epoch)) / (1 - KEPT_BACK)
        raise InputError(
            f"--minutes {minutes:.3g}: no time for a step; pass at least "
            f"{math.ceil(least / 6) / 10:g}"
        )
    epochs, steps = plan(left, step, of_epoch, num_steps)
    print(
        f"{epochs} epochs of {steps} steps end in {minutes:.3g} minutes: a step takes {step:.3g} "
        f"s, and {KEPT_BACK:.0%} of the time is kept for files and predictions",
        flush=True,
    )
    ends = dict(epochs=epochs, steps_per_epoch=steps)
    options, job = replace(session.options, **ends), session.job
    job = replace(job, recipe=replace(job.recipe, **ends))
    session = replace(session, options=options, job=job)
    session = replace(session, progress=Progress(session.describe(record.name)))
    note(session)
    return session
