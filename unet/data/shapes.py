"""Shapes on noise, as the noise document draws them."""

from pathlib import Path

from unet import LARGEST_IMAGE
from unet.errors import InputError
from unet.lazy import lazy

cv2 = lazy("cv2")
np = lazy("numpy")
pixels = lazy("unet.data.pixels")


def create_data(
    num_images=1,
    image_size=(160, 160),
    shape="circle",
    fill="noise",
    num_shapes=1,
    seed=1,
    first=1,
    folder=None,
):
    """Filled shapes on noise, as the noise document draws them.

    Returns (images, masks), uint8 (N, H, W, 1): integer noise 0..79, in the shape a second noise
    0..79 on top (fill "noise") or the value 80 ("constant"); masks 0 and 255. A circle has a
    radius of 15..39 pixels, a rectangle half sides of 15..39, both wholly inside. Image i, counted
    from `first`, depends on `seed` and i alone. With a folder, saves X_i.png and Y_i.png there.
    Raises ValueError for an image side under 32 pixels.
    """
    check_shape_size(image_size)
    images, masks = (np.zeros((num_images, *image_size, 1), np.uint8) for _ in range(2))
    for row, number in enumerate(range(first, first + num_images)):
        rng = np.random.default_rng((seed, number))
        image, mask = images[row, ..., 0], masks[row, ..., 0]
        image[:] = rng.integers(0, 80, image_size)
        for _ in range(num_shapes):
            _draw_shape(mask, shape, rng)
        inside = mask > 0
        if fill == "noise":
            image[inside] += rng.integers(0, 80, inside.sum(), dtype=np.uint8)
        else:
            image[inside] = 80
        if folder:
            pixels.write_image(Path(folder) / f"X_{number}.png", images[row])
            pixels.write_image(Path(folder) / f"Y_{number}.png", masks[row])
    return images, masks


def _draw_shape(mask, shape, rng):
    height, width = mask.shape
    half_y, half_x = rng.integers(15, min(40, height // 2, width // 2), 2)
    if shape == "circle":
        half_x = half_y
    y, x = int(rng.integers(half_y, height - half_y)), int(rng.integers(half_x, width - half_x))
    if shape == "circle":
        cv2.circle(mask, (x, y), int(half_y), 255, thickness=cv2.FILLED)
    else:
        mask[y - half_y : y + half_y + 1, x - half_x : x + half_x + 1] = 255


def check_shape_size(image_size):
    """Raise ValueError for an image in which no shape has room."""
    height, width = image_size
    if min(height, width) < 32 or height * width > LARGEST_IMAGE:
        raise InputError(
            f"image size {height}x{width}: shapes of radius 15 need 32x32 or more, and an "
            f"image has {LARGEST_IMAGE:,} pixels at the most; pass another --image-size"
        )
