"""How many epochs end in a given time, --minutes: by the times that this machine takes."""

import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from unet.errors import InputError
from unet.prediction.predict import batch_size, predict_batch
from unet.prediction.run import Network, Run
from unet.runs import Decision
from unet.training.fit import take_weights
from unet.training.lines import steps_done
from unet.training.monitor import DRAWING_SHARE, NUM_SAMPLES
from unet.training.plan import describe_run, is_scored
from unet.training.session import note
from unet.training.steps import memory_errors

SHARE = 0.05  # of the time in which steps are timed
MOST = 15  # seconds of it
LEAST = 3  # steps that are timed
LONG = 10**4  # steps of the epoch that is timed, for none may begin anew
DRAWING = 1 + DRAWING_SHARE / 2  # the pictures take up to that share beside the steps
FILES = 3  # of weights: as long as all that an epoch writes, copy and checkpoint too, takes
FEWEST = 4  # epochs, where their validations take a fifth of the time at the most


@dataclass(frozen=True)
class Times:
    """Seconds that parts of a training take."""

    start: float  # to the end of a network's first step, validation and picture
    step: float
    epoch: float  # of an epoch's validation and files
    end: float  # of all that follows the last epoch

    def plan(self, seconds, spent, num_steps, num_networks=1):
        """Epochs, of about so many steps, and the steps of each, that take so many seconds for
        all of several networks, the end and what is spent included. They are longer where their
        ends would take more than a fifth of the time. Raises InputError where there is no time for
        a step.
        """
        left = (seconds - spent - self.end) / num_networks - self.start
        step = DRAWING * self.step
        if left < step + self.epoch:
            least = spent + self.end + num_networks * (self.start + 10 * step + self.epoch)
            raise InputError(
                f"--minutes {seconds / 60:.3g}: no time for a step; pass at least "
                f"{math.ceil(least / 5) / 10:g}"
            )
        num_steps = max(num_steps, math.ceil(4 * self.epoch / step))
        fewest = min(FEWEST, int(left / 5 / max(step, self.epoch)))
        epochs = max(1, fewest, int(left / (num_steps * step + self.epoch)))
        return epochs, max(1, int((left / epochs - self.epoch) / step))

    def describe(self, seconds, epochs, steps):
        """The plan, for a reader."""
        return (
            f"{epochs} epochs of {steps} steps end in {seconds / 60:.3g} minutes: a step takes "
            f"{self.step:.3g} s, an epoch's end {self.epoch:.3g} s, start and end about "
            f"{self.start + self.end:.0f} s"
        )


class Clock(keras.callbacks.Callback):
    """Times the steps of a fit after its first call, and ends it after some seconds."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.first, self.last, self.num_steps = seconds, None, None, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.done = 0

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # waits for a card
        done, self.last = steps_done(batch, self.params), time.monotonic()
        if self.first is None:
            self.first = self.last
        else:
            self.num_steps += done - self.done
        self.done = done
        is_enough = self.num_steps >= LEAST and self.last - self.first > self.seconds
        self.model.stop_training = is_enough

    @property
    def step(self):
        """Seconds of a step."""
        return (self.last - self.first) / self.num_steps


def fit_in(session, build_unet, build_training):
    """The Session with the epochs that its options' minutes leave time for, which its checkpoint
    then has; as it is without them, and where a training goes on, which has its plan. Raises
    InputError.

    build_unet, build_training: of model.py and of train.py.
    """
    options, job, arrays = session.options, session.job, session.arrays
    if not options.minutes or options.epochs:
        return session
    seconds, recipe = 60 * options.minutes, job.recipe
    record = describe_run(session, session.progress)
    with session.devices.scope(), memory_errors(record.network, recipe.batch_size):
        num_steps = session.make_batches(record)[0].num_steps
        begun, long = time.monotonic(), replace(recipe, steps_per_epoch=LONG)
        of_one_epoch = replace(session, job=replace(job, recipe=long))
        model, training, validation = build_training(of_one_epoch, record)
        take_weights(model, options.weights, options.encoder_weights)
        times = measure(model, training, validation, begun, min(MOST, SHARE * seconds))
    keras.config.set_dtype_policy("float32")
    num_networks, num_images = len(session.splits), len(arrays.test_images) * len(session.splits)
    num_starts = 2 * num_networks  # whole batches, and the last
    if is_scored(options, recipe):
        is_half = options.precision != "float32"  # then both are tried, and one predicts
        num_held_out = sum(len(held_out) for _, held_out in session.splits.values())
        num_images += num_held_out * (3 if is_half else 1)
        num_starts *= 2 if is_half else 1
    end = measure_end(build_unet, record, arrays.images, num_images, num_starts)
    times = replace(times, end=end)
    keras.backend.clear_session()
    spent = time.monotonic() - session.begun
    epochs, steps = times.plan(seconds, spent, num_steps, num_networks)
    print(times.describe(seconds, epochs, steps), flush=True)
    ends = {"epochs": epochs, "steps_per_epoch": steps}
    progress = replace(session.progress, options={**session.progress.options, **ends})
    if session.is_first:
        note(progress)
    job = replace(job, recipe=replace(recipe, **ends))
    return replace(session, options=replace(options, **ends), job=job, progress=progress)


def measure(model, training, validation, begun, seconds):
    """The Times, but for the end, of a compiled model and its Batches, in about so many seconds;
    leaves it with other weights. begun: when its building began, of time.monotonic().
    """
    clock = Clock(seconds)
    model.fit(training, epochs=10**6, callbacks=[clock], shuffle=False, verbose=0)
    start, of_epoch = clock.first - begun, FILES * time_save(model)
    begun, shape = time.monotonic(), (NUM_SAMPLES, *model.input_shape[1:])
    model.predict_on_batch(np.zeros(shape, np.float32))
    start += time.monotonic() - begun
    if validation:
        begun, num_steps = time.monotonic(), min(len(validation), LEAST)
        model.evaluate(validation, steps=1, verbose=0)
        start, begun = start + time.monotonic() - begun, time.monotonic()
        model.evaluate(validation, steps=num_steps, verbose=0)
        of_epoch += (time.monotonic() - begun) / num_steps * len(validation)
    return Times(start, clock.step, of_epoch, 0.0)


def time_save(model):
    """Seconds that a file of a model's weights takes."""
    with tempfile.TemporaryDirectory(dir="weights", prefix=".") as folder:
        begun = time.monotonic()
        model.save_weights(Path(folder, "timed.weights.h5"))
        return time.monotonic() - begun


def measure_end(build_unet, record, images, num_images, num_starts):
    """Seconds of the predictions that follow the training of networks with a Record: of so many
    images like these, uint8 (N, H, W, C), in float32, with so many first ones, which compile.
    """
    if not num_images:
        return 0.0
    network = Network(build_unet(record.network_of_any_size()), record)
    run, count = Run((network,), Decision(), record.symmetry), batch_size(images)
    begun = time.monotonic()
    predict_batch(run, images[:count])
    start, begun = time.monotonic() - begun, time.monotonic()
    predict_batch(run, images[:count])
    of_image = (time.monotonic() - begun) / min(count, len(images))
    return num_starts * start + num_images * of_image
