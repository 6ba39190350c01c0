"""The batches that a network sees."""

import functools
import math

import cv2
import keras
import numpy as np

from unet.data.augment import border_weights, crop_middle, cut_windows, draw_middle, draw_windows
from unet.data.scale import find_scale, standardize
from unet.errors import InputError
from unet.jobs.settings import IGNORED, Augmentation
from unet.machine.devices import ONE_DEVICE
from unet.machine.heap import keep_freed_memory

NUM_THREADS = 2  # that make the next batches during a step; see Batches
WEIGHT_BYTES = 2**29  # of border weight maps that are kept


class BorderWeights:
    """The paper's weight map of each true mask of Arrays, (H, W) float32, its classes balanced
    over those pixels of all training masks that count: made when a row is first wanted, and kept
    as far as WEIGHT_BYTES go.
    """

    def __init__(self, arrays, training_rows):
        self.arrays, num_cells, num_counted = arrays, 0, 0
        for numbers in map(arrays.numbers, training_rows):
            num_cells += np.count_nonzero(numbers == 1)
            num_counted += np.count_nonzero(numbers != IGNORED)
        self.share = num_cells / max(num_counted, 1)
        most = max(1, WEIGHT_BYTES // (4 * math.prod(arrays.masks.shape[1:])))
        self.of_row = functools.lru_cache(most)(self.make)

    def make(self, row):
        return border_weights(self.arrays.numbers(row) == 1, self.share)


class Batches(keras.utils.PyDataset):
    """Batches (images, masks) out of the arrays: float32 (B, H, W, C) standardized, float32
    (B, H', W', 1) class numbers, IGNORED where a pixel does not count; `count` images an epoch,
    the last batch short if they do not divide.

    With a seed the rows come in a new order each epoch, all of them before one comes again in it,
    and windows as the recipe's augmentation has them; without one the images' middle.
    With BorderWeights a third part is the weights of the pixels, float32 (B, H', W'), 0 where one
    does not count.
    On TensorFlow they are made by several threads at a time. Several devices share each batch
    equally: for JAX a short one is padded with its last image, for TensorFlow it loses what is
    left over. Of several hosts each makes its own part of a batch. Raises ValueError for batches
    that the devices cannot share.
    """

    def __init__(
        self,
        arrays,
        rows,
        count,
        recipe,
        scale,
        sizes,
        seed=None,
        devices=ONE_DEVICE,
        weights=None,
    ):
        # From two threads on, Keras turns the autotuning of tf.data off. With it, TensorFlow waits
        # at the end of each epoch until the autotuning's thread wakes, for seconds (RESULTS.md,
        # Feeding). But MirroredStrategy waits forever for the only thread that Keras then leaves
        # it, and on JAX and PyTorch Keras 3.15 keeps what the threads had made before the first
        # epoch for the epochs after it, so that these see batches of another order.
        has_threads = keras.backend.backend() == "tensorflow" and len(devices) == 1
        super().__init__(workers=NUM_THREADS if has_threads else 1)
        self.devices = devices
        if recipe.batch_size % len(devices):
            least = max(recipe.batch_size // len(devices), 1) * len(devices)
            raise InputError(
                f"{len(devices)} devices cannot share batches of {recipe.batch_size} images "
                f"equally; pass --batch-size {least}"
            )
        if count < len(devices) and not devices.pads_batches:
            what = "training" if seed is not None else "validation"
            raise InputError(
                f"{len(devices)} devices cannot share {count} {what} images; pass fewer --devices"
            )
        if not devices.pads_batches:
            count -= count % len(devices)
        self.arrays, self.rows, self.count, self.recipe = arrays, rows, count, recipe
        self.batch_size, self.scale, self.seed = recipe.batch_size, scale, seed
        self.weights = weights
        self.window, self.mask_size = sizes
        self.is_plain = (
            self.window == self.mask_size == arrays.images.shape[1:3]
            and (seed is None or recipe.augmentation == Augmentation())
            and not weights
        )
        self.epoch, self.first_step = -1, 0
        self.on_epoch_end()

    def attach(self, model, validation):
        """Make the steps of a compiled Keras model take these batches in training, and those for
        validation (or None) in evaluation: each step gets what `cut` makes of a batch.
        """
        for batches, name in ((self, "train_step"), (validation, "test_step")):
            if batches is not None:
                setattr(model, name, cutting(getattr(model, name), batches.cut))

    def cut(self, batch):
        """A batch without the images that pad it, inside a step."""
        num_images = self.count % self.batch_size
        if batch[0].shape[0] != self.padded_size(num_images):
            return batch
        return tuple(part[:num_images] for part in batch)

    def __len__(self):
        return self.num_steps - self.first_step

    @property
    def num_steps(self):
        """Steps of a whole epoch."""
        return math.ceil(self.count / self.batch_size)

    def go_to(self, epoch, step):
        """Have the next fit begin with this epoch, behind its first steps."""
        self.epoch, self.first_step = epoch, step  # Keras calls on_epoch_end at the start, too

    def on_epoch_end(self):
        self.epoch += 1
        order = [self.rows] * math.ceil(self.count / len(self.rows))
        if self.seed is not None:
            rng = np.random.default_rng((self.seed, self.epoch))
            order = [rng.permutation(rows) for rows in order]
        self.order = np.concatenate(order)[: self.count]

    def padded_size(self, images):
        """Number of images that a batch of so many is padded to, for the devices to share it.
        No whole batch has as many as a padded one.
        """
        num_devices = len(self.devices)
        if not self.devices.pads_batches or images % num_devices == 0:
            return images
        padded = math.ceil(images / num_devices) * num_devices
        return padded if padded != self.batch_size else padded + num_devices

    def places(self, step):
        """Numbers of the images of a step in the epoch's order: of this process's part of it."""
        step += self.first_step
        places = range(self.count)[step * self.batch_size : (step + 1) * self.batch_size]
        if self.devices.pads_batches:
            size = self.padded_size(len(places)) // self.devices.num_processes
            first = size * self.devices.process_id
            places = [min(places[0] + n, places[-1]) for n in range(first, first + size)]
        return list(places)

    def __getitem__(self, step):
        places = self.places(step)
        rows = self.order[places]
        if self.is_plain:
            images = standardize(self.arrays.images[rows], *self.scale)
            return images, self.as_truth(self.arrays.masks[rows])
        parts = [self.arrays.images[rows], self.arrays.masks[rows]]
        if self.weights:
            parts.append([self.weights.of_row(int(row)) for row in rows])
        images, masks, *weights = cut_windows(
            list(zip(*parts)),
            self.draw(places),
            self.window,
            self.recipe.augmentation.wrap and self.seed is not None,
            bool(self.arrays.classes),
            self.arrays.has_numbers,
        )
        truth = self.as_truth(crop_middle(masks, self.mask_size))
        weights = [crop_middle(part[..., None], self.mask_size)[..., 0] for part in weights]
        weights = [np.where(truth[..., 0] == IGNORED, np.float32(0), part) for part in weights]
        return standardize(images, *self.scale), truth, *weights

    def draw(self, places):
        """Draws of the windows at some places of the epoch's order."""
        shape = self.arrays.images.shape[1:]
        if self.seed is None:
            return draw_middle(shape, self.window, len(places))
        rngs = [np.random.default_rng((self.seed, self.epoch, place)) for place in places]
        return draw_windows(shape, self.window, self.recipe.augmentation, rngs)

    def as_truth(self, masks):
        """The class numbers of masks that the network is to predict, float32."""
        return self.arrays.as_numbers(masks).astype(np.float32)


def cutting(step, cut):
    """A step of Keras, (batch) or on JAX (state, batch), that gets what `cut` makes of a batch."""
    return lambda *arguments: step(*arguments[:-1], cut(arguments[-1]))


def prepare_feeding():
    """Have the threads that make batches share the processor with the training: once a process."""
    keep_freed_memory()
    cv2.setNumThreads(1)


def make_batches(arrays, split, recipe, scale, seed, sizes, devices=ONE_DEVICE, kind=Batches):
    """Batches for training and for validation (None where the split holds nothing out); scale: of
    the training images; sizes: of their windows and of the masks in those; kind: their class.
    """
    prepare_feeding()
    rows, validation_rows = split
    size, count = recipe.batch_size, len(rows) * recipe.repeats
    if recipe.steps_per_epoch:
        count = recipe.steps_per_epoch * size
    weights = BorderWeights(arrays, rows) if recipe.is_weighted else None
    training = kind(arrays, rows, count, recipe, scale, sizes, seed, devices, weights)
    if not len(validation_rows):
        return training, None
    count = len(validation_rows)
    if recipe.validation_steps:
        count = min(count, recipe.validation_steps * size)
    if recipe.standardize == "set":
        scale = find_scale(arrays.images, validation_rows, "set")
    return training, kind(
        arrays, validation_rows, count, recipe, scale, sizes, devices=devices, weights=weights
    )
