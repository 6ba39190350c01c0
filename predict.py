"""Trained networks from their files, and images of any size to maps of probability."""

import collections
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from augment import SYMMETRIES
from classes import SegmentClass, class_dice, count_classes, mean_dice
from devices import ONE_DEVICE
from disk import create_array, replace_file
from files import resize, with_progress
from jobs import InputError, command
from model import build_unet, load_weights
from runs import Decision, HeldOut, count_pixels, read_network, read_record

TILE = 1536  # pixels; a larger image is predicted tile by tile
OVERLAP = 64  # pixels at a padded network's tile edge that its zeros may have spoiled
BATCH_PIXELS = 2**21  # predicted at once: 32 images of 256x256


@dataclass(frozen=True)
class Network:
    """A trained network and what train.py noted of it in weights/NAME.json."""

    model: keras.Model
    record: dict

    def standardize(self, images):
        """uint8 images as the network was fed with: float32, (x - mean) / std."""
        return standardize(images, self.record["mean"], self.record["std"])


@dataclass(frozen=True)
class Run:
    """The network of a job, or one for each fold of its cross-validation, and the decision."""

    networks: tuple[Network, ...]
    decision: Decision
    symmetry: str = "none"  # key of augment.SYMMETRIES: predictions are averaged over these

    @property
    def record(self):
        """What all the networks have in common: job, network, array_size, is_resized, arrays."""
        return self.networks[0].record

    @property
    def num_maps(self):
        return self.networks[0].model.unet_config.num_maps

    @property
    def classes(self):
        """SegmentClass of each class, () for foreground and background."""
        return tuple(
            SegmentClass(one["name"], tuple(one["color"])) for one in self.record["classes"]
        )

    @property
    def name(self):
        return self.record["name"].partition(".")[0]

    @property
    def again(self):
        """What an InputError about the run says to do."""
        return f"run {command('train.py', self.name, self.record['job'])} again"


def standardize(images, mean=None, std=None):
    """(images - mean) / std, float32, of one image (H, W, C) or several (B, H, W, C); without mean
    and std each image has its own, a flat one's std being 1.
    """
    images = images.astype(np.float32)
    if mean is None:
        mean, std = (f(images, axis=(-3, -2, -1), keepdims=True) for f in (np.mean, np.std))
        std = np.where(std > 0, std, 1)
    return (images - np.float32(mean)) / np.float32(std)


def load_run(name, weights=None, average=True):
    """The Run of some name, for images of any size; raises InputError where it was not trained
    yet.

    weights: an HDF5 file in place of the run's own; average: over the turns and flips that were
    among the training's augmentations.
    """
    record = read_record(name)
    if weights and not Path(weights).is_file():
        raise InputError(f"--weights {weights}: no such file; pass an HDF5 file of weights")
    names = [fold["name"] for fold in record.get("folds", ())]
    if names and weights:
        raise InputError(
            f"--weights {weights}: weights/{name}.json is of {len(names)} folds with weights of "
            f"their own; run {command('train.py', name, record['job'])} without --folds first"
        )
    networks = tuple(
        load_network(network, weights or Path("weights", f"{network}.weights.h5"))
        for network in names or [name]
    )
    symmetry = networks[0].record["recipe"]["augmentation"]["symmetry"] if average else "none"
    return Run(networks, Decision(**record["decision"]), symmetry)


def load_network(name, weights):
    """The Network of weights/NAME.json with weights from an HDF5 file."""
    record = read_record(name)
    again = command("train.py", name.partition(".")[0], record["job"])
    again = f"run {again} again, with the options of before"
    config = read_network(record)
    smallest = config.least_bytes
    if Path(weights).is_file() and smallest > Path(weights).stat().st_size:
        raise InputError(
            f"{weights}: smaller than the {smallest:,} bytes of the network that weights/{name}"
            f".json names; {again}"
        )
    try:
        model = build_unet(config, name=record["job"])
    except InputError as error:
        raise InputError(f"weights/{name}.json: {error}; {again}") from error
    try:
        load_weights(model, weights)
    except InputError as error:
        raise InputError(f"{error}; {again}") from error
    return Network(model, record)


def check_arrays(run, arrays):
    """Raise InputError for arrays of another size than the run's."""
    size = [*arrays.images.shape[1:3], arrays.images.shape[3]]
    trained = [*run.record["array_size"], run.record["network"]["channels"]]
    if size != trained:
        raise InputError(
            f"the arrays are of {size}, the network was trained on {trained} (height, width, "
            f"channels); {run.again}"
        )


def validation_rows(run, arrays):
    """Numbers of the rows that the training held out, a list for each network; raises InputError
    where the arrays are not those of the run.
    """
    check_arrays(run, arrays)
    row_of = {file["id"]: row for row, file in enumerate(arrays.files)}
    held_out = [network.record["validation"] for network in run.networks]
    if not all(id in row_of for ids in held_out for id in ids):
        raise InputError(f"the arrays are of other images than those of the training; {run.again}")
    if len({id for ids in held_out for id in ids}) < sum(map(len, held_out)):
        raise InputError(f"weights/{run.name}.*: folds of two trainings; {run.again}")
    if not any(held_out):
        raise InputError(
            f"weights/{run.name}.json: training held no image out; {run.again} with a "
            "--validation-split, or give images: test.py --images, data.py --test-images"
        )
    return [sorted(row_of[id] for id in ids) for ids in held_out]


def predict_held_out(run, arrays):
    """Yield (row, probabilities float32 (H, W, 1)) of each image that the training held out, from
    the network that did not see it.
    """
    for network, rows in zip(run.networks, validation_rows(run, arrays)):
        alone = replace(run, networks=(network,))
        yield from zip(rows, predict_arrays(alone, arrays.images, rows))


def predict_image(model, image, tile=TILE, overlap=OVERLAP):
    """Probability of the foreground in each pixel of an image of any size, float32 (H, W, 1), or
    that of each of more than two classes, (H, W, K).

    image: (H, W, C), standardized. It is mirrored out to a size that fits and cropped back; an
    unpadded network gets all the context that it needs by mirroring, as in the paper
    (overlap-tile, figure 2). Where more than `tile` pixels of height or width are needed, tile by
    tile: equal to the whole for an unpadded network, nearly so for a padded one, which drops
    `overlap` pixels at each inner edge of a tile.
    """
    config = model.unet_config
    smallest = config.fit_length(1)
    border = (smallest - config.output_length(smallest)) // 2  # context lost on each side
    overlap = -(-overlap // config.divisor) * config.divisor if config.padding == "same" else 0
    height, width = image.shape[:2]
    sizes = [config.fit_length(length + 2 * border) for length in (height, width)]
    tiles = [_tile_length(config, size, tile, border + overlap) for size in sizes]
    padding = [(border, size - border - length) for size, length in zip(sizes, (height, width))]
    image = np.pad(image, [*padding, (0, 0)], mode="reflect")

    maps = config.num_maps
    result = np.empty((sizes[0] - 2 * border, sizes[1] - 2 * border, maps), np.float32)
    rows, columns = (
        _tile_starts(size, length, border + overlap, config.divisor)
        for size, length in zip(sizes, tiles)
    )
    for top in rows:
        for left in columns:
            part = image[None, top : top + tiles[0], left : left + tiles[1]]
            probability = model.predict_on_batch(part)[0, ..., -maps:]
            y, x = overlap * (top > 0), overlap * (left > 0)
            result[top + y : top + len(probability), left + x : left + probability.shape[1]] = (
                probability[y:, x:]
            )
    return result[:height, :width]


def _tile_length(config, size, tile, border):
    """The length of the tiles, at most about `tile`, that cover `size` pixels with the least of
    them predicted twice.
    """
    inner = max(tile - 2 * border, config.divisor)  # of a tile that has neighbours on both sides
    count = -(-(size - 2 * border) // inner)
    if count <= 1:
        return size
    return min(size, config.fit_length(-(-(size - 2 * border) // count) + 2 * border))


def _tile_starts(size, tile, border, divisor):
    """Where tiles start that cover `size` pixels: on the grid of the poolings, so that tiles agree
    with the whole.
    """
    step = max((tile - 2 * border) // divisor, 1) * divisor
    return [*range(0, size - tile, step), size - tile]


def predict_batch(run, images):
    """Probabilities float32 (B, H, W, 1), of classes (B, H, W, K), of uint8 images (B, H, W, C):
    their mean over the run's networks and over the turns and flips of its symmetry.
    """
    turnings, total = SYMMETRIES[run.symmetry], 0
    for network in run.networks:
        batch = network.standardize(images)
        for turns, flip in turnings:
            turned = np.rot90(batch[:, :, ::-1] if flip else batch, turns, axes=(1, 2))
            result = _predict_sizes(network.model, np.ascontiguousarray(turned))
            result = np.rot90(result, -turns, axes=(1, 2))
            total = total + (result[:, :, ::-1] if flip else result)
    return total / np.float32(len(run.networks) * len(turnings))


def _predict_sizes(model, batch):
    """Probabilities (B, H, W, 1) of a standardized batch of any size."""
    config, size = model.unet_config, batch.shape[1:3]
    if config.padding == "same" and all(n <= TILE and config.output_length(n) for n in size):
        return np.asarray(model.predict_on_batch(batch))[..., -config.num_maps :]
    return np.stack([predict_image(model, image) for image in batch])


def predict_arrays(run, images, rows=None):
    """Yield the probabilities, float32 (H, W, 1), of uint8 images (N, H, W, C), of some rows or of
    all.
    """
    rows = range(len(images)) if rows is None else rows
    count = batch_size(images)
    for start in range(0, len(rows), count):
        yield from predict_batch(run, images[rows[start : start + count]])


def batch_size(images):
    """How many images of an array (N, H, W, C) are predicted at once."""
    return min(32, max(1, BATCH_PIXELS // (images.shape[1] * images.shape[2])))


def predict_shared(run, images, devices):
    """predict_arrays of all images, each host of `devices` predicting one batch in turn: the same
    batches, so the same probabilities, as one host alone.
    """
    count = batch_size(images)
    for start in range(0, len(images), count * devices.num_processes):
        own = start + count * devices.process_id
        part = images[own : own + count]
        batch = np.zeros((count, *images.shape[1:3], run.num_maps), np.float32)
        if len(part):
            batch[: len(part)] = predict_batch(run, part)
        yield from devices.gather(batch)[: len(images) - start]


def predict_file(run, image):
    """Probabilities float32 (H, W, 1) of a uint8 image (H, W, C) at its own size.

    Where the training images were resized, so is this one, and its probabilities back.
    """
    if not run.record["is_resized"]:
        return predict_batch(run, image[None])[0]
    small = resize(image, run.record["array_size"])
    return resize(predict_batch(run, small[None])[0], image.shape[:2])


def predict_test(run, arrays, path, devices=ONE_DEVICE):
    """Write the probabilities of all test images to a .npy file, float32 (N, H, W, 1). Each host
    predicts its share of the batches, and the first writes the file.
    """
    check_arrays(run, arrays)
    images = arrays.test_images
    probabilities = predict_shared(run, images, devices)
    if devices.process_id:
        collections.deque(probabilities, maxlen=0)  # take part, keep nothing
        return
    probabilities = with_progress(probabilities, len(images), "predicted")
    with replace_file(path) as temporary:
        write = create_array(temporary, (*images.shape[:3], run.num_maps), np.float32)
        for row, probability in enumerate(probabilities):
            write(row, probability)


def measure_held_out(run, arrays, predictions=None):
    """The HeldOut of a run, from its predictions, those of predict_held_out; raises InputError as
    validation_rows does.
    """
    fold_of = {
        row: number for number, rows in enumerate(validation_rows(run, arrays)) for row in rows
    }
    rows = []
    predictions = predictions or predict_held_out(run, arrays)
    for row, probability in with_progress(predictions, len(fold_of), "held-out images"):
        rows.append((fold_of[row], *count_pixels(arrays.masks[row] > 0, probability)))
    return HeldOut(*map(np.array, zip(*rows)), num_pixels=arrays.masks[0].size)


def measure_classes(run, arrays):
    """The number of the network that did not see it and the mean_dice of each image that a run of
    more than two classes held out, int (N,) and float (N,).
    """
    rows_of = validation_rows(run, arrays)
    fold_of = {row: number for number, rows in enumerate(rows_of) for row in rows}
    folds, scores = [], []
    predictions = predict_held_out(run, arrays)
    for row, probability in with_progress(predictions, len(fold_of), "held-out images"):
        prediction = run.decision.mask(probability)
        counts = count_classes(arrays.masks[row][..., 0], prediction, run.num_maps)
        folds.append(fold_of[row])
        scores.append(mean_dice(class_dice(*counts)))
    return np.array(folds), np.array(scores)
