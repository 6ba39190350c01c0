"""Drawn images and masks, written in the ways of people, and read."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from conftest import save
from PIL import Image

from data import Options, prepare
from unet.data.arrays import load_arrays
from unet.errors import InputError

SIZE = (64, 96)


def scene(number=0, size=SIZE):
    """A grey image with a bright disc on noise, and its mask of 0 and 255."""
    height, width = size
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, (width // 3 + 5 * number, height // 3), height // 5, 255, -1)
    noise = np.random.default_rng(number).integers(0, 80, size)
    return (noise + (mask > 0) * 100).astype(np.uint8), mask


def labels_of(number):
    """A mask of the class numbers 0 to 3."""
    labels = np.zeros(SIZE, np.uint8)
    for k, x in enumerate((8, 30, 52)):
        cv2.circle(labels, (x + 5 * number, 20 + 5 * k), 8, k + 1, -1)
    return labels


def write(path, pixels, **options):
    """An image file in the present folder, by Pillow, or as tif by tifffile with its options."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(pixels, Image.Image):
        pixels.save(path, **options)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **options)
    elif path.suffix == ".npy":
        np.save(path, pixels)
    else:
        save(path, pixels)


def read(**options):
    """The arrays of the folders images and masks."""
    given = {"images": "images", "masks": "masks", "image_size": SIZE, "channels": 1, **options}
    prepare(Options(job="cadastre", **given))
    return load_arrays("cadastre")


def refused(**options):
    with pytest.raises(InputError) as caught:
        read(**options)
    return str(caught.value)


def write_pairs(make_image=None, make_mask=None, image="{}.png", mask="{}.png", count=4, **tags):
    """images/N.png and masks/N.png out of scenes, changed by functions; returns the scenes."""
    scenes = [scene(number) for number in range(count)]
    for number, (pixels, truth) in enumerate(scenes):
        write(
            f"images/{image.format(number)}", make_image(pixels) if make_image else pixels, **tags
        )
        write(f"masks/{mask.format(number)}", make_mask(truth) if make_mask else truth)
    return scenes


def check(arrays, scenes, images=True):
    """The arrays are those of the scenes."""
    if images:
        np.testing.assert_array_equal(arrays.images[..., 0], [image for image, _ in scenes])
    np.testing.assert_array_equal(arrays.masks[..., 0], [mask for _, mask in scenes])
