"""The optimizer of a recipe, and Keras's fit from where a training was interrupted."""

import sys

import keras
import numpy as np

from unet.encoders import IMAGENET, NONE, start_encoder
from unet.losses import METRICS, accuracy, ignoring, make_loss
from unet.machine.devices import num_devices
from unet.training.callbacks import Patience
from unet.weights import start_from


def take_weights(model, weights, encoder_weights):
    """Give a built network the weights that it starts from: those of a file, else its encoder
    those of IMAGENET, which is the default, of a file or NONE. Raises InputError.
    """
    if weights:
        start_from(model, weights)
    elif model.unet_config.encoder and encoder_weights != NONE:
        start_encoder(model, encoder_weights or IMAGENET)


def compile_unet(model, recipe, num_steps=1, ignores=False):
    """Give a model the optimizer, the loss and the metrics of its recipe, for so many steps;
    ignores: of those pixels alone that count, for masks that have others.
    """
    loss, metrics = make_loss(recipe.loss, recipe.class_weights), make_metrics(recipe)
    if ignores:
        loss = ignoring(loss)
        metrics = [ignoring(accuracy if m == "accuracy" else m) for m in metrics]
    optimizer = make_optimizer(recipe, num_steps)
    model.compile(optimizer, loss, metrics=metrics)
    build_variables(model)
    return model


def make_optimizer(recipe, num_steps):
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


def make_metrics(recipe):
    """What a recipe watches: functions of losses.METRICS, or Keras's names."""
    return [METRICS.get(name, name) for name in recipe.metrics]


def build_variables(model):
    """Make what the first step of a compiled model would make, and be traced twice for."""
    if num_devices() > 1:
        return
    model.optimizer.build(model.trainable_variables)
    truth, prediction = np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, model.output_shape[-1]))
    model.compute_loss(y=truth, y_pred=prediction)
    model.compute_metrics(None, truth, prediction)
    model.reset_metrics()


def fit(model, training, validation, recipe, callbacks, progress):
    """Keras's fit, from a Progress on, to the end that a recipe has. It takes the number of steps
    from its first epoch, so what is left of one is a fit of its own.
    """
    epoch, step, num_epochs = progress.epoch, progress.step, recipe.epochs
    patience = Patience(progress.history, recipe.patience)
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: setattr(model, "stop_training", True)
    )
    while epoch < num_epochs and not patience.is_over:
        training.go_to(epoch, step)
        try:
            model.fit(
                training,
                validation_data=validation,
                initial_epoch=epoch,
                epochs=num_epochs,
                callbacks=[patience, *callbacks, *([stop] if step else ())],
                shuffle=False,  # of batches, which already have a new order of images
                verbose=0,
            )
        except BaseException:
            if sys.stderr.isatty():
                print(file=sys.stderr)  # the progress bar has not ended its line
            raise
        epoch, step = epoch + 1 if step else num_epochs, 0
    if patience.is_over:
        print(f"the loss has had no new low for {recipe.patience} epochs: training ends here")
