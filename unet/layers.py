"""What build_unet is made of: the model's class, convolutions, ways up, initial weights."""

import keras
import numpy as np
from keras import layers

from unet.errors import InputError
from unet.machine.devices import num_devices, num_replicas

TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal distribution cut at -2 and 2
# keras.json, which another project may have left in the home folder, may say otherwise.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)


@keras.saving.register_keras_serializable("unet")
class UNet(keras.Model):
    """A functional Keras model that, given an image that does not fit, names the sizes that do.

    config: the UNetConfig that says which sizes fit; None for any.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):  # as Keras's own functional models
        self.config = kwargs.pop("config", None)
        super().__init__(inputs, outputs, name=name, **kwargs)

    def check(self, images):
        if self.config and len(getattr(images, "shape", ())) == 4:
            self.config.check_size(*images.shape[1:3])

    def call(self, inputs, training=None, mask=None):
        self.check(inputs)
        return super().call(inputs, training=training, mask=mask)

    def predict(self, x, *args, **kwargs):
        self.check(x)  # here too: a graph that was traced for any size does not ask call again
        return super().predict(x, *args, **kwargs)

    def predict_on_batch(self, x):
        self.check(x)
        if (count := num_devices()) == 1:
            return super().predict_on_batch(x)
        padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % count, axis=0)])
        return super().predict(padded, batch_size=len(padded), verbose=0)[: len(x)]


@keras.saving.register_keras_serializable("unet")
class BatchNormalization(layers.BatchNormalization):
    """Keras's layer, which on TensorFlow trains with the fused operation: in bfloat16 on a
    processor the whole training step of a U-Net takes half the time. Its statistics are of the
    whole batch, where that is split among devices, too.
    """

    def call(self, inputs, training=None, mask=None):
        self.synchronized = num_replicas() > 1
        is_of_tensorflow = keras.backend.backend() == "tensorflow"
        if self.synchronized or not (training and self.trainable and is_of_tensorflow):
            return super().call(inputs, training=training, mask=mask)
        from tensorflow.raw_ops import FusedBatchNormV3

        outputs, mean, variance, *_ = FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=self.moving_mean.value,
            variance=self.moving_variance.value,
            epsilon=self.epsilon,
        )
        count = keras.ops.cast(keras.ops.size(inputs) // inputs.shape[-1], "float32")
        variance = variance * (count - 1) / count  # of the pixels, as Keras has it
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return outputs


def convolution(x, filters, config, normalize=True):
    """3x3 convolution with ReLU, then batch normalization where the network has it."""
    x = layers.Conv2D(
        filters,
        3,
        padding=config.padding,
        activation=None if config.separate_relu else "relu",
        kernel_initializer=initializer(config),
    )(x)
    if config.separate_relu:
        x = layers.ReLU()(x)
    return normalization(x, config) if normalize else x


def normalization(x, config):
    if not config.batch_normalization:
        return x
    return BatchNormalization(momentum=config.momentum)(x)


def initializer(config, scale=2, inputs="fan_in"):
    """Initial weights of a kernel: Keras's own by name, or a normal distribution of standard
    deviation sqrt(scale / N), N what Keras counts as the kernel's inputs: "he_untruncated", the
    paper's (section 3); "he_truncated", Keras 2.0.4's he_normal, cut at two deviations and not
    widened again, so that 0.88 of the deviation is left.
    """
    if config.initializer == "he_untruncated":
        return keras.initializers.VarianceScaling(scale, inputs, "untruncated_normal")
    if config.initializer == "he_truncated":  # which Keras 3 divides by what the cut takes away
        scale *= TRUNCATED_DEVIATION**2
        return keras.initializers.VarianceScaling(scale, inputs, "truncated_normal")
    return config.initializer


def nearest(x, filters, config):
    return layers.UpSampling2D(2)(x)


def bilinear(x, filters, config):
    return layers.UpSampling2D(2, interpolation="bilinear")(x)


def transposed(x, filters, config):
    """The paper's 2x2 up-convolution. Each output pixel sees one of the four weights of every
    input channel, which Keras counts as outputs: sqrt(2 / channels) is sqrt(8 / fan_out).
    """
    start = initializer(config, 8, "fan_out")
    return layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer=start)(x)


def nearest_convolution(x, filters, config):
    return layers.Conv2D(
        filters, 2, padding="same", activation="relu", kernel_initializer=initializer(config)
    )(nearest(x, filters, config))


UPSAMPLE = {
    "nearest": nearest,
    "bilinear": bilinear,
    "transposed": transposed,
    "nearest_convolution": nearest_convolution,
}


def check_names(config):
    """Raise InputError for an upsampling or an initializer that there is not."""
    if config.upsample not in UPSAMPLE:
        raise InputError(f"upsample {config.upsample!r}: expected one of {', '.join(UPSAMPLE)}")
    # Not by keras.initializers.get, which draws from the generator that the weights come from.
    kind = getattr(keras.initializers, config.initializer, None)
    is_known = isinstance(kind, type) and issubclass(kind, keras.initializers.Initializer)
    if not is_known and config.initializer not in ("he_untruncated", "he_truncated"):
        raise InputError(f"initializer {config.initializer!r}: not one of Keras's")
