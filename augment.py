"""Image and mask moved as one, and the border weight map, as the U-Net paper describes them
(section 3).
"""

import cv2
import numpy as np

SIGMA_ELASTIC, GRID = 10.0, 3  # pixels; the paper's 3x3 grid of displacement vectors
CONTRAST, BRIGHTNESS = 0.1, 0.1  # spread of the grey-value variation, which the paper leaves open


def window_maps(shape, window, rng=None):
    """Where each pixel of a window lies in an image of `shape`: x and y, float32 (H, W).

    With a random generator the window has a random place and angle, and displacements drawn from
    N(0, 10 px) on a coarse 3x3 grid, between its points bicubic; without one it is the middle,
    unmoved.
    """
    height, width = window
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    centre_y, centre_x = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    if rng is None:  # whole pixels
        return x + np.float32(
            np.ceil(centre_x - (width - 1) / 2) + (width - 1) / 2
        ), y + np.float32(np.ceil(centre_y - (height - 1) / 2) + (height - 1) / 2)
    angle = rng.uniform(0, 2 * np.pi)
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    dx, dy = (
        cv2.resize(
            rng.normal(0, SIGMA_ELASTIC, (GRID, GRID)).astype(np.float32),
            (width, height),
            interpolation=cv2.INTER_CUBIC,
        )
        for _ in range(2)
    )
    place_y, place_x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    return (
        cosine * x - sine * y + dx + np.float32(place_x),
        sine * x + cosine * y + dy + np.float32(place_y),
    )


def sample_window(image, mask, window, rng=None):
    """A window out of an image and its mask, moved as one; what lies beyond the border is
    mirrored.

    image: (H, W, C) uint8; mask: (H, W, 1) uint8 0 or 255; window: (H', W') pixels. With a random
    generator place, angle and elastic deformation are random, and the grey values vary by a factor
    and a shift. Returns image float32 (H', W', C) in 0..255 (and a little beyond), mask uint8 (H',
    W', 1) 0 or 255.
    """
    x, y = window_maps(image.shape[:2], window, rng)
    border = cv2.BORDER_REFLECT_101
    image = cv2.remap(image.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=border)
    mask = cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=border)
    if rng is not None:
        image = image * rng.normal(1, CONTRAST) + 255 * rng.normal(0, BRIGHTNESS)
    return image.reshape(*window, -1).astype(np.float32), mask.reshape(*window, 1)


def border_weights(mask, w0=10.0, sigma=5.0):
    """The paper's weight map, equation 2: float32 (H, W).

        w(x) = wc(x) + w0 * exp(-(d1(x) + d2(x))^2 / (2 sigma^2)), the sum between cells only

    mask: (H, W) or (H, W, 1), a cell's pixels above 0; cells are 4-connected. d1, d2: distance in
    pixels to the nearest and second nearest cell; with fewer than two cells the second term is 0.
    wc balances the classes: it is 1 over twice the share of the pixel's class, 1 where there is
    only one class. Cells further than 6 sigma add less than 2e-7 * w0 and are left out, so that
    time grows with the pixels.
    """
    cells = (mask.reshape(mask.shape[:2]) > 0).astype(np.uint8)
    share = cells.mean()
    weights = np.where(cells, 0.5 / max(share, 1e-9), 0.5 / max(1 - share, 1e-9)).astype(
        np.float32
    )
    if share in (0, 1):
        weights[:] = 1
    reach = int(np.ceil(6 * sigma))
    nearest = np.full(cells.shape, np.inf, np.float32)
    second = nearest.copy()
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(cells, connectivity=4)
    for label in range(1, count):
        left, top, width, height = boxes[label, :4]
        window = np.s_[
            max(top - reach, 0) : top + height + reach, max(left - reach, 0) : left + width + reach
        ]
        distance = cv2.distanceTransform(
            (labels[window] != label).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        d1, d2 = nearest[window], second[window]
        np.minimum(d2, np.maximum(d1, distance), out=d2)
        np.minimum(d1, distance, out=d1)
    return weights + w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2)) * (cells == 0)
