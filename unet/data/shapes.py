"""Shapes on noise, as the noise document draws them."""

import cv2
import numpy as np

from unet import LARGEST_IMAGE
from unet.errors import InputError
from unet.jobs.noise import FILLS, PLACEMENTS, SHAPES

LEAST, MOST = 15, 39  # pixels: radius of a circle, side of a rectangle


def draw_shapes(image_size, shape="circle", fill="noise", placement="document", seed=1):
    """Yield image after image with its mask, uint8 (H, W, 1), all out of one stream of NumPy's
    legacy generator, as the noise document's code does: seed 1 begins with its author's image.

    An image is integer noise 0..79; in the shape a second noise 0..79 is added (fill "noise") or
    all is 80 ("constant"). A circle has a radius of 15..39 pixels and stays two radii away from
    every side, or with placement "anywhere" just inside; a rectangle has sides of 15..39 and lies
    inside. Masks are 0 and 255.
    """
    rng = np.random.RandomState(seed)
    while True:
        mask = np.zeros((*image_size, 1), np.uint8)
        draw = _draw_circle if shape == "circle" else _draw_rectangle
        draw(mask[..., 0], placement, rng)
        image = rng.randint(0, 80, image_size)[..., None]
        if fill == "noise":
            image += (mask > 0) * rng.randint(0, 80, image_size)[..., None]
        else:
            image[mask > 0] = 80
        yield image.astype(np.uint8), mask


def _draw_circle(mask, placement, rng):
    margin = 2 if placement == "document" else 1  # radii from the middle to a side, at the least
    most = min(MOST, (min(mask.shape) - 1) // (2 * margin))
    radius = rng.randint(LEAST, most + 1)
    y, x = (rng.randint(margin * radius, length - margin * radius) for length in mask.shape)
    cv2.circle(mask, (x, y), radius, 255, thickness=cv2.FILLED)


def _draw_rectangle(mask, placement, rng):
    sides = [rng.randint(LEAST, min(MOST, length - 2) + 1) for length in mask.shape]
    y, x = (rng.randint(0, length - side - 1) for length, side in zip(mask.shape, sides))
    mask[y : y + sides[0], x : x + sides[1]] = 255


def check_shape(image_size, shape="circle", fill="noise", placement="document"):
    """Raise ValueError for a shape, fill or placement that there is not, and for an image in which
    the shape has no room.
    """
    for value, allowed in ((shape, SHAPES), (fill, FILLS), (placement, PLACEMENTS)):
        if value not in allowed:
            raise InputError(f"{value!r}: expected one of {', '.join(allowed)}")
    height, width = image_size
    is_roomy = (shape, placement) == ("circle", "document")
    least = 4 * LEAST + 1 if is_roomy else 2 * LEAST + 2
    if min(height, width) < least or height * width > LARGEST_IMAGE:
        remedy = " or --placement anywhere" if is_roomy and min(height, width) < least else ""
        raise InputError(
            f"image size {height}x{width}: a {shape} needs {least}x{least} or more, and an "
            f"image has {LARGEST_IMAGE:,} pixels at the most; pass another --image-size{remedy}"
        )
