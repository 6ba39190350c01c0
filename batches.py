"""Which rows of the arrays a network is trained on, and the batches that it sees."""

import math

import keras
import numpy as np

from augment import border_weights, sample_window
from devices import ONE_DEVICE
from jobs import Augmentation, InputError
from predict import standardize

NUM_THREADS = 2  # that make the next batches during a step; see Batches


def split_rows(files, share, by_subject, seed):
    """Numbers of the training and of the validation rows of files.csv, two int arrays.

    A split that the files state (noise, tables) stands. Else subjects are drawn and held out whole
    as long as that brings their images nearer to the share; or, not by subject, the last rows are,
    as Keras's validation_split does. Raises ValueError where a side would stay empty.
    """
    rows = np.arange(len(files))
    held_out = np.array([row["split"] == "validation" for row in files])
    if held_out.any() or share == 0:
        return rows[~held_out], rows[held_out]
    count = math.ceil(share * len(rows))
    if by_subject:
        subjects = np.array([row["subject"] for row in files])
        held_out = np.isin(subjects, draw_subjects(subjects, count, seed))
    else:
        held_out = rows >= len(rows) - count
    if held_out.all():
        what = "image; pass"
        if by_subject and len(rows) > 1:
            what = "subject; pass --no-split-by-subject or"
        raise InputError(f"a validation split needs more than one {what} --validation-split 0")
    return rows[~held_out], rows[held_out]


def draw_subjects(subjects, count, seed):
    """Some of the subjects of `subjects` (N,), drawn so that they have about `count` rows; at
    least one, and not all if there are several.
    """
    names, sizes = np.unique(subjects, return_counts=True)
    drawn, total = [], 0
    for number in np.random.default_rng(seed).permutation(len(names)):
        nearer = abs(total + sizes[number] - count) < abs(total - count)
        if nearer and len(drawn) < len(names) - 1:
            drawn, total = [*drawn, names[number]], total + sizes[number]
    return drawn or [names[np.argmin(sizes)]]


def fold_rows(files, num_folds, by_subject, seed):
    """The (training, validation) rows of each fold of a cross-validation: every row is held out
    once, and the folds are as equal as whole subjects allow; or, not by subject, blocks of
    neighbouring rows. Raises ValueError where there are fewer subjects (or rows) than folds.
    """
    rows = np.arange(len(files))
    if any(row["split"] == "validation" for row in files):
        raise InputError(
            f"--folds {num_folds}: these images come with a validation share of their own; "
            "train without --folds"
        )
    subjects = np.array([row["subject"] for row in files]) if by_subject else rows
    names, sizes = np.unique(subjects, return_counts=True)
    if len(names) < num_folds:
        what = "subjects" if by_subject else "images"
        remedy = "fewer, or --no-split-by-subject" if by_subject else "fewer"
        raise InputError(f"--folds {num_folds}: there are only {len(names)} {what}; pass {remedy}")
    if by_subject:
        held_out = [[] for _ in range(num_folds)]
        counts = [0] * num_folds
        order = np.random.default_rng(seed).permutation(len(names))
        for number in order[np.argsort(-sizes[order], kind="stable")]:  # largest first
            smallest = counts.index(min(counts))
            held_out[smallest].append(names[number])
            counts[smallest] += sizes[number]
    else:
        held_out = np.array_split(rows, num_folds)
    inside = [np.isin(subjects, some) for some in held_out]
    return [(rows[~mask], rows[mask]) for mask in inside]


def find_scale(images, rows, standardize):
    """The mean and std to standardize with, as a recipe's field says: of the rows, None and None
    for each image's own, or 0 and 255.
    """
    if standardize == "training":
        return mean_and_std(images, rows)
    return {"image": (None, None), "none": (0.0, 255.0)}[standardize]


def mean_and_std(images, rows):
    """Mean and standard deviation of all pixels of some rows, in grey values 0..255."""
    count = total = squares = 0
    for start in range(0, len(rows), 64):
        part = images[rows[start : start + 64]].astype(np.float64)
        count, total, squares = count + part.size, total + part.sum(), squares + (part**2).sum()
    mean = total / count
    return float(mean), float(math.sqrt(max(squares / count - mean**2, 0))) or 1.0


class Batches(keras.utils.PyDataset):
    """Batches (images, masks) out of the arrays: float32 (B, H, W, C) standardized, float32
    (B, H', W', 1) 0 or 1, or class numbers; `count` images an epoch, the last batch short if they
    do not divide.

    With a seed the rows come in a new order each epoch, all of them before one comes again in it,
    and windows as the recipe's augmentation has them; without one the images' middle.
    Where the recipe's loss is weighted, a third part is the border weights float32 (B, H', W').
    On TensorFlow they are made by several threads at a time. Several devices share each batch
    equally: for JAX a short one is padded with its last image, for TensorFlow it loses what is
    left over. Of several hosts each makes its own part of a batch. Raises ValueError for batches
    that the devices cannot share.
    """

    def __init__(self, arrays, rows, count, recipe, scale, sizes, seed=None, devices=ONE_DEVICE):
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
        self.window, self.mask_size = sizes
        self.mask_unit = np.float32(1 if arrays.classes else 255)
        self.is_plain = (
            self.window == self.mask_size == arrays.images.shape[1:3]
            and (seed is None or recipe.augmentation == Augmentation())
            and not recipe.is_weighted
        )
        self.epoch, self.first_step = -1, 0
        self.on_epoch_end()

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
        """How many images a batch of so many is padded to, for the devices to share it. No whole
        batch has as many as a padded one.
        """
        num_devices = len(self.devices)
        if not self.devices.pads_batches or images % num_devices == 0:
            return images
        padded = math.ceil(images / num_devices) * num_devices
        return padded + num_devices * (padded == self.batch_size)

    @property
    def short_batch(self):
        """{padded: images} of the last batch where it is padded, {} else."""
        images = self.count % self.batch_size
        padded = self.padded_size(images)
        return {padded: images} if padded > images else {}

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
        if not self.is_plain:
            return tuple(np.stack(part) for part in zip(*map(self.sample, places)))
        rows = self.order[places]
        masks = self.arrays.masks[rows].astype(np.float32) / self.mask_unit
        return standardize(self.arrays.images[rows], *self.scale), masks

    def sample(self, place):
        """Image and mask of one window, and its weights where the loss has them."""
        rng = None if self.seed is None else np.random.default_rng((self.seed, self.epoch, place))
        (height, width), (out_height, out_width) = self.window, self.mask_size
        row = self.order[place]
        image, mask = sample_window(
            self.arrays.images[row],
            self.arrays.masks[row],
            self.window,
            self.recipe.augmentation,
            rng,
            bool(self.arrays.classes),
        )
        top, left = (height - out_height) // 2, (width - out_width) // 2
        mask = mask[top : top + out_height, left : left + out_width]
        pair = standardize(image, *self.scale), mask.astype(np.float32) / self.mask_unit
        return (*pair, border_weights(mask)) if self.recipe.is_weighted else pair
