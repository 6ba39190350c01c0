"""Images of any size to maps of probability."""

import collections
import itertools
import math
import zlib
from dataclasses import replace

import numpy as np

from unet.errors import InputError
from unet.jobs.own import zoomed
from unet.jobs.settings import SYMMETRIES
from unet.machine.cards import tell_unseen_card
from unet.machine.devices import ONE_DEVICE, find_devices
from unet.machine.disk import create_array, replace_file
from unet.machine.hosts import stop_with_hosts
from unet.machine.terminal import with_progress
from unet.prediction.run import check_arrays, validation_rows
from unet.prediction.submit import open_probabilities
from unet.reading.pixels import resize, scale_levels
from unet.runs import Paths

TILE = 1536  # pixels; a larger image is predicted tile by tile
# Pixels at a padded network's tile edge that its zeros may have spoiled; an encoder sees further
# (benchmarks/RESULTS.md, An encoder that has seen the world).
OVERLAP, ENCODER_OVERLAP = 64, 128
BATCH_PIXELS = 2**21  # predicted at once: 32 images of 256x256


def predict_held_out(run, arrays):
    """Yield (row, probabilities float32 (H, W, 1)) of each image that the training held out, from
    the network that did not see it.
    """
    for network, rows in zip(run.networks, validation_rows(run, arrays)):
        alone = replace(run, networks=(network,)).of_set(arrays.images, rows)
        yield from zip(rows, predict_arrays(alone, arrays.images, rows))


def predict_image(model, config, image, tile=TILE, overlap=None):
    """Probability of the foreground in each pixel of an image of any size, float32 (H, W, 1), or
    that of each of more than two classes, (H, W, K).

    model: of a UNetConfig, for images of any size; image: (H, W, C), standardized. It is mirrored
    out to a size that fits and cropped back; an unpadded network gets all the context that it
    needs by mirroring, as in the paper (overlap-tile, figure 2). Where more than `tile` pixels of
    height or width are needed, tile by tile: equal to the whole for an unpadded network, nearly so
    for a padded one, which drops `overlap` pixels (default: OVERLAP, or ENCODER_OVERLAP) at each
    inner edge of a tile.
    """
    border, maps = config.border, config.num_maps
    if overlap is None:
        overlap = ENCODER_OVERLAP if config.encoder else OVERLAP
    overlap = math.ceil(overlap / config.divisor) * config.divisor  # on the grid of the poolings
    if config.padding == "valid":
        overlap = 0
    height, width = image.shape[:2]
    sizes = [config.fit_length(length + 2 * border) for length in (height, width)]
    padding = [(border, size - border - length) for size, length in zip(sizes, (height, width))]
    image = np.pad(image, [*padding, (0, 0)], mode="reflect")

    result = np.empty((sizes[0] - 2 * border, sizes[1] - 2 * border, maps), np.float32)
    (high, rows), (wide, columns) = (_cut(size, tile, border + overlap, config) for size in sizes)
    for top, left in itertools.product(rows, columns):
        part = image[None, top : top + high, left : left + wide]
        probability = model.predict_on_batch(part)[0, ..., -maps:]
        y = overlap if top else 0
        x = overlap if left else 0
        bottom, right = top + len(probability), left + probability.shape[1]
        result[top + y : bottom, left + x : right] = probability[y:, x:]
    return result[:height, :width]


def _cut(size, tile, border, config):
    """Length of the tiles, at most about `tile`, that cover `size` pixels with the least of them
    predicted twice, and where they start: on the grid of the poolings, so that they agree with the
    whole.
    """
    inner = max(tile - 2 * border, config.divisor)  # of a tile that has neighbours on both sides
    count, length = math.ceil((size - 2 * border) / inner), size
    if count > 1:
        least = math.ceil((size - 2 * border) / count) + 2 * border
        length = min(size, config.fit_length(least))
    step = max((length - 2 * border) // config.divisor, 1) * config.divisor
    return length, [*range(0, size - length, step), size - length]


def predict_batch(run, images):
    """Probabilities float32 (B, H, W, 1), of classes (B, H, W, K), of uint8 images (B, H, W, C):
    their mean over the run's networks and over the turns and flips of its symmetry.
    """
    turnings, total = SYMMETRIES[run.symmetry], 0
    for network in run.networks:
        batch = network.standardize(images)
        for turns, flip in turnings:
            turned = np.rot90(batch[:, :, ::-1] if flip else batch, turns, axes=(1, 2))
            result = _predict_sizes(network, np.ascontiguousarray(turned))
            result = np.rot90(result, -turns, axes=(1, 2))
            total = total + (result[:, :, ::-1] if flip else result)
    return total / np.float32(len(run.networks) * len(turnings))


def _predict_sizes(network, batch):
    """Probabilities (B, H, W, 1) of a standardized batch of any size."""
    config, size = network.record.network, batch.shape[1:3]
    if config.padding == "same" and all(n <= TILE and config.output_length(n) for n in size):
        return np.asarray(network.model.predict_on_batch(batch))[..., -config.num_maps :]
    return np.stack([predict_image(network.model, config, image) for image in batch])


def predict_arrays(run, images, rows=None, devices=ONE_DEVICE):
    """Yield the probabilities, float32 (H, W, 1), of uint8 images (N, H, W, C), of some rows or of
    all. Each host of `devices` predicts one batch in turn: the same batches, so the same
    probabilities, as one host alone.
    """
    rows = range(len(images)) if rows is None else rows
    count = batch_size(images)
    for start in range(0, len(rows), count * devices.num_processes):
        own = start + count * devices.process_id
        part = rows[own : own + count]
        batch = np.zeros((count, *images.shape[1:3], run.num_maps), np.float32)
        if len(part):
            batch[: len(part)] = predict_batch(run, images[part])
        yield from devices.gather(batch)[: len(rows) - start]


def batch_size(images):
    """Number of images of an array (N, H, W, C) that are predicted at once."""
    return min(32, max(1, BATCH_PIXELS // (images.shape[1] * images.shape[2])))


def predict_file(run, image):
    """Probabilities float32 (H, W, 1), of classes (H, W, K), of an image (H, W, C) at its own
    size: uint8 in 0..255, grey or RGB (OpenCV reads BGR), or, where files of more than 8 bit were
    trained on, values as theirs. Raises InputError for an image of another kind.

    Where the training images were resized, or shrunk by a zoom, so is this one, and its
    probabilities back.
    """
    channels, reading = run.record.network.channels, run.record.reading
    if image.ndim != 3 or image.shape[2] != channels or not image.size:
        kind = "grey" if channels == 1 else "RGB"
        raise InputError(f"image of shape {image.shape}: expected (H, W, {channels}), {kind}")
    if image.dtype != np.uint8 and reading.white_level is None:
        raise InputError(
            f"image of {image.dtype}: expected uint8, 0 to 255, as the images trained on"
        )
    if image.dtype != np.uint8:
        image = scale_levels(image, "image", reading).reshape(image.shape)
    size = zoomed(image.shape[:2], run.record.reading.zoom)
    if run.record.is_resized:
        size = run.record.array_size
    small = resize(image, size)
    return resize(predict_batch(run, small[None])[0], image.shape[:2])


def predict_test(run, arrays, path, devices=ONE_DEVICE):
    """Write the probabilities of all test images to a .npy file, float32 (N, H, W, 1). Each host
    predicts its share of the batches, and the first writes the file.
    """
    check_arrays(run, arrays)
    images = arrays.test_images
    probabilities = predict_arrays(run.of_set(images), images, devices=devices)
    if devices.process_id:
        collections.deque(probabilities, maxlen=0)  # take part, keep nothing
        return
    probabilities = with_progress(probabilities, len(images), "predicted")
    with replace_file(path) as temporary:
        write = create_array(temporary, (*images.shape[:3], run.num_maps), np.float32)
        for row, probability in enumerate(probabilities):
            write(row, probability)


def predict_with_hosts(load, arrays, name, devices, hosts, process_id):
    """Probabilities of the test images of a run, predicted together with other hosts where there
    are any, and saved: Rows of imgs_mask_test.npy, None in all processes but the first.

    load: a function without arguments that loads the Run. Hosts may differ in their instructions,
    but not in their pixels: with them it has to be in float32.
    """
    with stop_with_hosts(hosts, process_id):
        shared = find_devices(devices, hosts, process_id)
        tell_unseen_card()
        with shared.alone.scope():
            run = load()
            if hosts:
                networks, images = run.networks, arrays.test_images
                weights = b"".join(w.tobytes() for n in networks for w in n.model.get_weights())
                has_to_be_same = {
                    str(Paths(run.record.arrays).arrays): (arrays.test_files, images.checksum()),
                    f"weights/{name}": ([n.record for n in networks], zlib.crc32(weights)),
                }
                shared.check_same(has_to_be_same)
            predict_test(run, arrays, Paths(name).probabilities, shared)
        shared.leave()
    return open_probabilities(name) if shared.process_id == 0 else None


def held_out_probabilities(load, arrays, hosts):
    """Rows of files.csv that a run held out, and their probabilities, one after the other; load: a
    function without arguments that loads the Run.
    """
    if hosts:
        raise InputError(
            f"{Paths(arrays.name).arrays}: has no test images, which hosts could share; start it "
            "without --hosts"
        )
    run = load()
    tell_unseen_card()
    rows = [row for rows in validation_rows(run, arrays) for row in rows]
    print(f"no test images (data.py --test-images DIR): taking {len(rows)} validation images")
    probabilities = (probability for _, probability in predict_held_out(run, arrays))
    return [arrays.files[row] for row in rows], probabilities
