"""A trained network from its files, and images of any size to maps of probability."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from files import create_array, replace_file, resize, with_progress
from jobs import InputError, UNetConfig
from model import build_unet, load_weights

TILE = 1024  # pixels; a larger image is predicted tile by tile
OVERLAP = 64  # pixels at a padded network's tile edge that its zeros may have spoiled
BATCH_PIXELS = 2**21  # predicted at once: 32 images of 256x256

FORMAT = 1  # of JOB.json


@dataclass(frozen=True)
class Run:
    """A trained network and what train.py noted of it in weights/JOB.json."""

    model: keras.Model
    record: dict

    def standardize(self, images):
        """uint8 images as the network was fed with: float32, (x - mean) / std of the training
        images.
        """
        return standardize(images, self.record["mean"], self.record["std"])


def standardize(images, mean, std):
    """(images - mean) / std, float32."""
    return (images.astype(np.float32) - np.float32(mean)) / np.float32(std)


def load_run(job, weights=None):
    """The Run of a job, for images of any size; raises InputError where it was not trained yet."""
    path = Path("weights", f"{job}.json")
    if not path.exists():
        raise InputError(f"{path}: no trained network there yet; first run: python train.py {job}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, expected {FORMAT}")
        fields = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record["network"].items()
        }
        model = build_unet(replace(UNetConfig(**fields), image_size=(None, None)), name=job)
        for name in ("job", "mean", "std", "array_size", "is_resized", "validation"):
            record[name]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: not a run of this version ({error!r}); run python train.py {job} again"
        ) from error
    load_weights(model, weights or Path("weights", f"{job}.weights.h5"))
    return Run(model, record)


def check_arrays(run, arrays):
    """Raise InputError for arrays of another size than the run's."""
    size = [*arrays.images.shape[1:3], arrays.images.shape[3]]
    trained = [*run.record["array_size"], run.record["network"]["channels"]]
    if size != trained:
        raise InputError(
            f"the arrays are of {size}, the network was trained on {trained} (height, width, "
            f"channels); run python train.py {run.record['job']} again"
        )


def validation_rows(run, arrays):
    """Numbers of the rows that the training held out; raises InputError where the arrays are not
    those of the run.
    """
    check_arrays(run, arrays)
    again = f"run python train.py {run.record['job']} again"
    ids = set(run.record["validation"])
    rows = [row for row, file in enumerate(arrays.files) if file["id"] in ids]
    if len(rows) < len(ids):
        raise InputError(f"the arrays are of other images than those of the training; {again}")
    if not rows:
        raise InputError(
            f"weights/{run.record['job']}.json: training held no image out; {again} with a "
            "--validation-split, or give images: test.py --images, data.py --test-images"
        )
    return rows


def predict_image(model, image, tile=TILE, overlap=OVERLAP):
    """Probability of the foreground in each pixel of an image of any size: float32 (H, W, 1).

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
    least = 2 * (border + overlap) + config.divisor  # a smaller tile would leave gaps
    tiles = [min(size, config.fit_length(max(tile, least))) for size in sizes]
    padding = [(border, size - border - length) for size, length in zip(sizes, (height, width))]
    image = np.pad(image, [*padding, (0, 0)], mode="reflect")

    result = np.empty((sizes[0] - 2 * border, sizes[1] - 2 * border, 1), np.float32)
    rows, columns = (
        _tile_starts(size, length, border + overlap, config.divisor)
        for size, length in zip(sizes, tiles)
    )
    for top in rows:
        for left in columns:
            part = image[None, top : top + tiles[0], left : left + tiles[1]]
            probability = model.predict_on_batch(part)[0, ..., -1:]
            y, x = overlap * (top > 0), overlap * (left > 0)
            result[top + y : top + len(probability), left + x : left + probability.shape[1]] = (
                probability[y:, x:]
            )
    return result[:height, :width]


def _tile_starts(size, tile, border, divisor):
    """Where tiles start that cover `size` pixels: on the grid of the poolings, so that tiles agree
    with the whole.
    """
    step = max((tile - 2 * border) // divisor, 1) * divisor
    return [*range(0, size - tile, step), size - tile]


def predict_arrays(run, images, rows=None):
    """Yield the probabilities, float32 (H, W, 1), of uint8 images (N, H, W, C), of some rows or of
    all.
    """
    rows = range(len(images)) if rows is None else rows
    size, config = images.shape[1:3], run.model.unet_config
    whole = config.padding == "same" and all(
        length <= TILE and config.output_length(length) for length in size
    )
    count = min(32, max(1, BATCH_PIXELS // (size[0] * size[1])))
    for start in range(0, len(rows), count):
        batch = run.standardize(images[rows[start : start + count]])
        yield from (
            run.model.predict_on_batch(batch)
            if whole
            else (predict_image(run.model, x) for x in batch)
        )


def predict_file(run, image):
    """Probabilities float32 (H, W, 1) of a uint8 image (H, W, C) at its own size.

    Where the training images were resized, so is this one, and its probabilities back.
    """
    if not run.record["is_resized"]:
        return predict_image(run.model, run.standardize(image))
    small = run.standardize(resize(image, run.record["array_size"]))
    return resize(predict_image(run.model, small), image.shape[:2])


def predict_test(run, arrays, path):
    """Write the probabilities of all test images to a .npy file, float32 (N, H, W, 1)."""
    check_arrays(run, arrays)
    images = arrays.test_images
    probabilities = with_progress(predict_arrays(run, images), len(images), "predicted")
    with replace_file(path) as temporary:
        create_array(temporary, (*images.shape[:3], 1), np.float32)
        for row, probability in enumerate(probabilities):
            np.load(temporary, mmap_mode="r+")[row] = probability  # see arrays.py
