"""Windows cut where the network is trained: augment.cut_windows by keras.ops, inside the step.

A graphics card trains faster than a processor moves pixels. So all images lie on the card, and a
batch is the Draws of its windows.
"""

import cv2
import numpy as np
from keras import backend, ops

from unet.data.augment import GREYS, GRID, crop_middle, from_middle
from unet.data.batches import Batches
from unet.jobs.settings import IGNORED
from unet.machine.disk import size_text
from unet.machine.precision import card_name

# Bytes of images, masks and weights that go to the card, more stay with the processor: a share of
# what is free there or, where the backend does not say, MOST_BYTES.
SHARE, MOST_BYTES = 0.25, 2**31
STEPS_PER_CALL = 8  # of TensorFlow; on the other backends Keras takes one at a time


def choose_batches(arrays, recipe, devices):
    """The class of the Batches for Devices: DrawnBatches on one graphics card that all rows of
    Arrays, with their border weights where a recipe has them, fit on; where they do not, it says
    so.
    """
    if len(devices) > 1 or not card_name():
        return Batches
    count, height, width, channels = arrays.images.shape
    most = room_on_card()
    if count * height * width * (channels + 1 + 4 * recipe.is_weighted) <= most:
        return DrawnBatches
    print(
        f"windows are cut by the processor: more than {size_text(most)} of images and masks do "
        "not go to the card"
    )
    return Batches


def room_on_card():
    """Bytes of images, masks and weights that may go to the card."""
    if backend.backend() == "torch":
        import torch

        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(SHARE * (torch.cuda.mem_get_info()[0] + cached))
    if backend.backend() == "jax":
        import jax

        memory = jax.local_devices()[0].memory_stats() or {}
        if {"bytes_limit", "bytes_in_use"} <= set(memory):
            return int(SHARE * (memory["bytes_limit"] - memory["bytes_in_use"]))
    return MOST_BYTES


class DrawnBatches(Batches):
    """Batches of Draws in place of pixels: a dict of rows, int32 (B,), and of those fields that
    are not None. `cut` makes of it, inside the step, what Batches have.
    """

    tensors = None  # {name: tensor} of all rows, as `attach` puts them on the device

    def __getitem__(self, step):
        places = self.places(step)
        drawn = self.draw(places)._asdict()
        batch = {name: values for name, values in drawn.items() if values is not None}
        batch["rows"] = self.order[places].astype(np.int32)
        # JAX would copy what a compiled function does not get as an argument into its program.
        return {**batch, **self.tensors} if backend.backend() == "jax" else batch

    def cut(self, batch):
        """Tensors (images, truth), and weights where there are any, as Batches have them, of a
        dict that self[step] returned.
        """
        batch = {**self.tensors, **batch}
        maps = window_maps(batch, self.window)
        wrap = self.recipe.augmentation.wrap and self.seed is not None
        pixels = ops.take(batch["pixels"], batch["rows"], axis=0)
        moved = interpolate(pixels, maps, wrap)
        images, truth = moved[..., :-1], ops.cast(moved[..., -1:] > 127.5, "float32")
        masks = pixels[..., -1:]
        if self.arrays.classes:
            truth = ops.cast(take(masks, *map(ops.round, maps), wrap), "float32")
        elif self.arrays.has_numbers:
            greys = ops.take(GREYS, ops.cast(masks, "int32"))
            ignored = 255 * ops.cast(masks == IGNORED, "float32")
            truth = ops.cast(interpolate(greys, maps, wrap) > 127.5, "float32")
            truth = ops.where(interpolate(ignored, maps, wrap) > 127.5, float(IGNORED), truth)
        images = standardize(vary_greys(images, batch), *self.scale)
        truth = crop_middle(truth, self.mask_size)
        if not self.weights:
            return images, truth
        weights = ops.take(batch["weights"], batch["rows"], axis=0)[..., None]
        weights = crop_middle(interpolate(weights, maps, wrap), self.mask_size)
        return images, truth, ops.where(truth == IGNORED, 0.0, weights)[..., 0]

    def attach(self, model, validation):
        """Put all rows on the device, and make the steps of a compiled model cut their windows,
        on TensorFlow STEPS_PER_CALL at once; validation: DrawnBatches, too, or None.
        """
        arrays = self.arrays
        tensors = {"pixels": np.concatenate([arrays.images[:], arrays.masks[:]], axis=-1)}
        if self.weights:
            rows = range(len(arrays.images))
            tensors["weights"] = np.stack([self.weights.make(row) for row in rows])
        self.tensors = {name: ops.convert_to_tensor(values) for name, values in tensors.items()}
        if validation is not None:
            validation.tensors = self.tensors
        if backend.backend() == "tensorflow":
            model.steps_per_execution = STEPS_PER_CALL
        super().attach(model, validation)


def window_maps(batch, window):
    """Column and row in its image of each pixel of the drawn windows: x and y, float32
    (B, H, W).
    """
    y, x = (ops.convert_to_tensor(from_middle(length)) for length in window)
    points = np.eye(GRID, dtype=np.float32)  # of which bicubic weights are made
    weights_y, weights_x = (
        ops.convert_to_tensor(cv2.resize(points, (GRID, n), interpolation=cv2.INTER_CUBIC))
        for n in window
    )
    maps = []
    for axis in range(2):
        of_x, of_y = (batch["matrix"][:, axis, n, None, None] for n in range(2))
        part = of_x * x + of_y * y[:, None] + batch["centre"][:, axis, None, None]
        if "grid" in batch:  # by sums, for a card may round a matrix product's numbers to ten bits
            grid = batch["grid"][:, axis]
            lines = sum(grid[:, :, n, None] * weights_x[:, n] for n in range(GRID))
            part = part + sum(lines[:, n, None] * weights_y[:, n, None] for n in range(GRID))
        maps.append(part)
    return maps


def interpolate(pixels, maps, wrap):
    """Linear between the pixels (B, H, W, C) of images, float32 (B, H', W', C)."""
    left, top = map(ops.floor, maps)
    right_share, below_share = ((m - low)[..., None] for m, low in zip(maps, (left, top)))
    moved = 0.0
    for down, of_row in enumerate((1 - below_share, below_share)):
        for right, of_column in enumerate((1 - right_share, right_share)):
            part = take(pixels, left + right, top + down, wrap)
            moved = moved + of_column * of_row * ops.cast(part, "float32")
    return moved


def take(pixels, x, y, wrap):
    """The pixels of images (B, H, W, C) at whole columns and rows (B, H', W'), also beyond the
    border: (B, H', W', C).
    """
    height, width, channels = pixels.shape[1:]
    x, y = (_inside(ops.cast(m, "int32"), n, wrap) for m, n in ((x, width), (y, height)))
    first = ops.arange(ops.shape(x)[0], dtype="int32")[:, None, None] * (height * width)
    return ops.take(ops.reshape(pixels, (-1, channels)), first + y * width + x, axis=0)


def _inside(places, size, wrap):
    """Places beyond a border mirrored at it, or come in from the other side."""
    if wrap or size == 1:
        return ops.mod(places, size)
    places = ops.mod(places, 2 * size - 2)
    return ops.minimum(places, 2 * size - 2 - places)


def vary_greys(images, batch):
    """augment.vary_greys of tensors."""
    every = np.s_[:, None, None, None]  # pixel and channel of an image
    if "gain" in batch:
        images = images * batch["gain"][every] + batch["offset"][every]
    if "power" in batch:
        images = 255 * (ops.clip(images, 0, 255) / 255) ** batch["power"][every]
    if "channel_gain" in batch:
        mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
        std = ops.sqrt(ops.mean((images - mean) ** 2, axis=(1, 2, 3), keepdims=True))
        gain, offset = (batch[f"channel_{name}"][:, None, None] for name in ("gain", "offset"))
        images = mean + (images - mean) * gain + std * offset
    return images


def standardize(images, mean=None, std=None):
    """scale.standardize of tensors (B, H, W, C). That an image is flat is told by its extent: the
    std of one may be a rounding error on JAX.
    """
    if mean is None:
        mean, std = (f(images, axis=(1, 2, 3), keepdims=True) for f in (ops.mean, ops.std))
        extent = ops.subtract(*(f(images, (1, 2, 3), keepdims=True) for f in (ops.max, ops.min)))
        std = ops.where(extent > 0, std, 1.0)
    return (images - mean) / std
