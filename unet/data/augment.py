"""Image and mask moved as one, and the border weight map of the U-Net paper."""

import math

import cv2
import numpy as np

from unet.jobs.settings import SYMMETRIES
from unet.reading.values import IGNORED_GREY

GRID = 3  # the paper's coarse grid of displacement vectors is 3x3


def sample_window(
    image,
    mask,
    window,
    augmentation=None,
    rng=None,
    has_classes=False,
    weights=None,
    ignores=False,
):
    """A window out of an image, its mask and its border weights, moved as one.

    image: (H, W, C) uint8; mask: (H, W, 1) uint8 0 or 255, or with has_classes class numbers;
    window: (H', W') pixels; weights: (H, W) float32 or None; ignores: the mask may hold pixels
    that do not count, too. With an Augmentation and a random generator place, shape and grey
    values are random; without them it is the middle, unmoved. What lies beyond the border is
    mirrored, or with augmentation.wrap comes in from the other side.
    Returns image float32 (H', W', C) in 0..255 (contrast and brightness may leave that), mask
    uint8 (H', W', 1) 0 or 255: 255 where the interpolated mask is above the middle, so that it
    moves as the image does to the pixel, and IGNORED_GREY where what does not count is; or the
    class number of the nearest pixel; and weights, where they are given, float32 (H', W', 1).
    """
    if rng is None:
        x, y = _middle(image.shape[:2], window)
    else:
        x, y = window_maps(image.shape[:2], window, augmentation, rng)
    wrap = augmentation is not None and augmentation.wrap
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REFLECT_101
    kinds = cv2.INTER_LINEAR, cv2.INTER_NEAREST if has_classes else cv2.INTER_LINEAR
    parts = [(image, kinds[0]), (mask, kinds[1])]
    if weights is not None:
        parts.append((weights, cv2.INTER_LINEAR))
    if ignores and not has_classes:
        parts.append((255 * (mask == IGNORED_GREY), cv2.INTER_LINEAR))
    image, mask, *moved = (
        cv2.remap(part.astype(np.float32), x, y, kind, borderMode=border).reshape(*window, -1)
        for part, kind in parts
    )
    if rng is not None:
        image = vary_greys(image, augmentation, rng)
    if has_classes:
        mask = mask.astype(np.uint8)
    else:
        # IGNORED_GREY is the middle: beside such pixels the rest of the neighbours decide.
        mask = np.where(mask > 127.5, np.uint8(255), np.uint8(0))
        if ignores:
            mask[moved.pop() > 127.5] = IGNORED_GREY
    return image, mask, *moved


def _middle(shape, window):
    """Maps of the window in the middle of an image, on whole pixels."""
    x, y = _centred(window)
    top, left = (math.ceil((size - length) / 2) for size, length in zip(shape, window))
    return x + np.float32(left + (window[1] - 1) / 2), y + np.float32(top + (window[0] - 1) / 2)


def crop_middle(pixels, size):
    """The middle (..., H, W, C) of pixels that are higher and wider."""
    top, left = ((a - b) // 2 for a, b in zip(pixels.shape[-3:-1], size))
    return pixels[..., top : top + size[0], left : left + size[1], :]


def _centred(window):
    """Column and row of each pixel of a window, seen from its middle: float32 (H, W) twice."""
    height, width = window
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x - np.float32((width - 1) / 2), y - np.float32((height - 1) / 2)


def window_maps(shape, window, augmentation, rng):
    """Where each pixel of a random window lies in an image of `shape`: x and y, float32 (H, W).

    Quarter turns and flips of augmentation.symmetry, rotation, scale, the paper's elastic
    deformation (section 3.1: displacements from a normal distribution on a coarse 3x3 grid,
    between its points bicubic), and a place anywhere inside, or `shift` beyond.
    """
    x, y = _centred(window)
    turns, flip = SYMMETRIES[augmentation.symmetry][
        rng.integers(len(SYMMETRIES[augmentation.symmetry]))
    ]
    if flip:
        x = -x
    for _ in range(turns):
        x, y = -y, x
    angle = np.deg2rad(rng.uniform(-1, 1) * augmentation.rotation)
    factor = np.exp(rng.uniform(-1, 1) * np.log1p(augmentation.scale))
    sine, cosine = np.float32(np.sin(angle) * factor), np.float32(np.cos(angle) * factor)
    if angle or factor != 1:
        x, y = cosine * x - sine * y, sine * x + cosine * y
    if augmentation.elastic:
        grid = rng.normal(0, augmentation.elastic, (2, GRID, GRID)).astype(np.float32)
        dx, dy = (cv2.resize(g, window[::-1], interpolation=cv2.INTER_CUBIC) for g in grid)
        x, y = x + dx, y + dy
    centre_x, centre_y = _place(shape, window, augmentation, rng)
    return x + np.float32(centre_x), y + np.float32(centre_y)


def _place(shape, window, augmentation, rng):
    """Column and row of a window's middle in an image, so that its pixels are whole ones."""
    centre = []
    for size, length in zip(shape, window):
        free = size - length  # a larger window goes around the image's middle
        low, high = 0, free
        if free <= 0:
            low = high = math.ceil(free / 2)
        reach = augmentation.shift * size
        start = np.rint(rng.uniform(low - reach, high + reach))
        centre.append(start + (length - 1) / 2)
    return centre[1], centre[0]


def vary_greys(image, augmentation, rng):
    """An image float32 (H, W, C) in 0..255 with other contrast, brightness and gamma, and with a
    gain and offset of each channel's own (color).
    """
    if augmentation.contrast or augmentation.brightness:
        image = image * np.float32(rng.normal(1, augmentation.contrast))
        image = image + np.float32(255 * rng.normal(0, augmentation.brightness))
    if augmentation.gamma:
        power = np.exp(rng.normal(0, augmentation.gamma))
        image = 255 * (np.clip(image, 0, 255) / 255) ** np.float32(power)
    if augmentation.color:
        gain, offset = rng.normal(0, augmentation.color, (2, image.shape[2])).astype(np.float32)
        mean = image.mean()
        image = mean + (image - mean) * np.exp(gain) + image.std() * offset
    return image


def border_weights(mask, share=None, w0=10.0, sigma=5.0):
    """The paper's weight map, equation 2: float32 (H, W).

        w(x) = wc(x) + w0 * exp(-(d1(x) + d2(x))^2 / (2 sigma^2)), the sum between cells only

    mask: (H, W) or (H, W, 1), a cell's pixels above 0; cells are 4-connected. d1, d2: distance in
    pixels to the nearest and second nearest cell; with fewer than two cells the second term is 0.
    wc balances the classes: it is 1 over twice the share of the pixel's class, 1 where there is
    only one class; share: of the cells, in all training masks; None: in this one. Cells further
    than 6 sigma add less than 2e-7 * w0 and are left out, so that time grows with the pixels.
    """
    cells = (mask.reshape(mask.shape[:2]) > 0).astype(np.uint8)
    share = cells.mean() if share is None else share
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
