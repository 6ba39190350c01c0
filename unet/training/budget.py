"""How many epochs end in a given time, --minutes: by the times that this machine takes."""

import time
from dataclasses import dataclass, replace

import keras

from unet import BEGAN
from unet.errors import InputError
from unet.machine.precision import in_precision
from unet.prediction.predict import batch_size, predict_batch
from unet.prediction.run import Network, Run
from unet.runs import Decision
from unet.training.lines import steps_done
from unet.training.plan import describe_run, is_scored
from unet.training.steps import memory_errors

SHARE, MOST, LEAST = (
    0.05,
    15,
    3,
)  # of the time, seconds at the most, and calls that steps are timed
DRAWING = 1.02  # with what pictures take beside the steps


@dataclass(frozen=True)
class Times:
    """Seconds that parts of a training take."""

    start: float  # to the end of the first step of a network
    step: float
    validation: float  # and files, of an epoch
    end: float  # of all that follows the last epoch

    def plan(self, seconds, num_steps, num_networks=1):
        """Epochs, of about so many steps, and the steps of each, that take so many seconds for
        each of several networks, the end included; raises InputError where there is no time for a
        step.
        """
        left = (seconds - self.end) / num_networks - self.start
        step = DRAWING * self.step
        if left < step + self.validation:
            least = self.end + num_networks * (self.start + step + self.validation)
            raise InputError(
                f"start and end alone take {least:.0f} s, {seconds:.0f} s are left; pass more "
                "--minutes"
            )
        epochs = max(1, int(left / (num_steps * step + self.validation)))
        return epochs, max(1, int((left / epochs - self.validation) / step))

    def describe(self, seconds, epochs, steps):
        """The plan, for a reader."""
        return (
            f"{epochs} epochs of {steps} steps end in {seconds / 60:.3g} minutes: a step takes "
            f"{self.step:.3g} s, an epoch's end {self.validation:.3g} s, start and end about "
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
    """The Session with the epochs that its options' minutes leave time for; as it is without them,
    and where a training goes on, which has its plan. Raises InputError.

    build_unet, build_training: of model.py and of train.py.
    """
    options, job, arrays = session.options, session.job, session.arrays
    if not options.minutes or options.epochs:
        return session
    seconds, recipe = 60 * options.minutes, job.recipe
    record = describe_run(session, session.progress)
    with session.devices.scope(), memory_errors(record.network, recipe.batch_size):
        model, training, validation = build_training(session, record)
        times = measure(model, training, validation, min(MOST, SHARE * seconds))
        num_steps = len(training)
    keras.config.set_dtype_policy("float32")
    num_images = len(arrays.test_images)
    if is_scored(options, recipe):
        passes = 1 if options.precision == "float32" else 3  # both precisions are tried first
        num_images += passes * sum(len(held_out) for _, held_out in session.splits.values())
    times = replace(times, end=measure_end(build_unet, record, arrays.images, num_images))
    keras.backend.clear_session()
    left = seconds - (time.monotonic() - BEGAN)
    epochs, steps = times.plan(left, num_steps, len(session.splits))
    print(times.describe(seconds, epochs, steps), flush=True)
    ends = {"epochs": epochs, "steps_per_epoch": steps}
    progress = replace(session.progress, options={**session.progress.options, **ends})
    job = replace(job, recipe=replace(recipe, **ends))
    return replace(session, options=replace(options, **ends), job=job, progress=progress)


def measure(model, training, validation, seconds):
    """The Times, but for the end, of a compiled model and its Batches, in about so many seconds;
    leaves it with other weights.
    """
    begun, clock = time.monotonic(), Clock(seconds)
    model.fit(training, epochs=10**6, callbacks=[clock], shuffle=False, verbose=0)
    start, of_epoch = clock.first - begun, 0.0
    if validation:
        model.evaluate(validation, steps=1, verbose=0)
        begun, num_steps = time.monotonic(), min(len(validation), LEAST)
        model.evaluate(validation, steps=num_steps, verbose=0)
        of_epoch = (time.monotonic() - begun) / num_steps * len(validation)
    return Times(start, clock.step, of_epoch, 0.0)


def measure_end(build_unet, record, images, num_images):
    """Seconds of the predictions that follow a training with a Record: of so many images like
    these, uint8 (N, H, W, C), in float32.
    """
    if not num_images:
        return 0.0
    with in_precision("float32"):
        network = Network(build_unet(record.network_of_any_size()), record)
    run, count = Run((network,), Decision(), record.symmetry), batch_size(images)
    begun = time.monotonic()
    predict_batch(run, images[:count])
    start, begun = time.monotonic() - begun, time.monotonic()
    predict_batch(run, images[:count])
    return start + (time.monotonic() - begun) * num_images / min(count, len(images))
