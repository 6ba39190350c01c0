"""The optimizer, loss and metrics of a recipe, and Keras's fit from where a training was
interrupted.
"""

import sys

import keras
import numpy as np

from unet import losses
from unet.encoders import IMAGENET, NONE, start_encoder
from unet.machine.devices import num_devices
from unet.training.ends import stagnates
from unet.weights import start_from


def make_optimizer(recipe, num_steps=1):
    """The Keras optimizer of a recipe, for so many steps."""
    rate = recipe.learning_rate
    if recipe.cosine:
        warmup = max(1, num_steps // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, num_steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=recipe.momentum)
    return keras.optimizers.Adam(rate)


def make_loss(recipe, ignores=False):
    """The loss of a recipe, a function; ignores: of those pixels alone that count."""
    loss = losses.make_loss(recipe.loss, recipe.class_weights)
    return losses.ignoring(loss) if ignores else loss


def make_metrics(recipe, ignores=False):
    """The metrics of a recipe: functions of losses.METRICS, or Keras's names."""
    metrics = [losses.METRICS.get(name, name) for name in recipe.metrics]
    if ignores:
        own = {"accuracy": losses.accuracy}
        metrics = [losses.ignoring(own.get(metric, metric)) for metric in metrics]
    return metrics


def build_variables(model):
    """Make the variables that the first step of a compiled model would make, and be traced twice
    for.
    """
    if num_devices() > 1:
        return
    model.optimizer.build(model.trainable_variables)
    truth, prediction = np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, model.output_shape[-1]))
    model.compute_loss(y=truth, y_pred=prediction)
    model.compute_metrics(None, truth, prediction)
    model.reset_metrics()


def take_weights(model, network, weights, encoder_weights):
    """Give the model of a UNetConfig the weights that it starts from: those of a file, else its
    encoder those of IMAGENET, which is the default, of a file or NONE. Raises InputError.
    """
    if weights:
        start_from(model, weights)
    elif network.encoder and encoder_weights != NONE:
        start_encoder(model, encoder_weights or IMAGENET)


def fit(model, training, validation, callbacks, progress):
    """Keras's fit, from a Progress on, to the end that its recipe has. Keras takes the number of
    steps from its first epoch, so what is left of one is a fit of its own.
    """
    epoch, step, recipe = progress.epoch, progress.step, progress.record.recipe
    history = list(progress.history)

    def end_epoch(epoch, logs):
        history.append(logs)
        model.stop_training = step > 0 or stagnates(history, recipe.patience)

    ends = keras.callbacks.LambdaCallback(on_epoch_end=end_epoch)
    while epoch < recipe.epochs and not stagnates(history, recipe.patience):
        training.go_to(epoch, step)
        try:
            model.fit(
                training,
                validation_data=validation,
                initial_epoch=epoch,
                epochs=recipe.epochs,
                callbacks=[ends, *callbacks],
                shuffle=False,  # of batches, which already have a new order of images
                verbose=0,
            )
        except BaseException:
            if sys.stderr.isatty():
                print(file=sys.stderr)  # the progress bar has not ended its line
            raise
        epoch, step = epoch + 1 if step else recipe.epochs, 0
    if stagnates(history, recipe.patience):
        print(f"the loss has had no new low for {recipe.patience} epochs: training ends here")
