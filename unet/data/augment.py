"""Image and mask moved as one, and the border weight map of the U-Net paper."""

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

from unet.jobs.settings import IGNORED, SYMMETRIES

GRID = 3  # the paper's coarse grid of displacement vectors is 3x3
# Grey values of the class numbers 0 and 1, to interpolate between. IGNORED is the middle: beside
# such pixels the other neighbours decide.
GREYS = np.zeros(IGNORED + 1, np.uint8)
GREYS[1], GREYS[IGNORED] = 255, 128


class Draws(NamedTuple):
    """The random numbers of B windows, float32; None where an Augmentation has none of a kind.

    A window's pixel (x, y), seen from its middle, lies in the image at matrix @ (x, y), plus its
    displacement, bicubic between the grid's, plus centre; x is the column. Grey values v in 0..255
    become v * gain + offset, then 255 * (v / 255) ** power, then of each channel
    mean + (v - mean) * channel_gain + std * channel_offset, mean and std being the window's.
    """

    matrix: np.ndarray  # (B, 2, 2)
    centre: np.ndarray  # (B, 2), pixels
    grid: np.ndarray | None = None  # (B, 2, GRID, GRID), pixels
    gain: np.ndarray | None = None  # (B,)
    offset: np.ndarray | None = None  # (B,)
    power: np.ndarray | None = None  # (B,)
    channel_gain: np.ndarray | None = None  # (B, C)
    channel_offset: np.ndarray | None = None  # (B, C)


def draw_windows(shape, window, augmentation, rngs):
    """Draws of a random window (H, W) for each random generator, out of images of a shape
    (H, W, C).

    Quarter turns and flips of augmentation.symmetry, rotation, scale, the paper's elastic
    deformation (section 3.1: displacements from a normal distribution on a coarse 3x3 grid,
    between its points bicubic), a place anywhere inside, or `shift` beyond, and grey values.
    """
    drawn = zip(*(_draw_window(shape, window, augmentation, rng) for rng in rngs))
    return Draws(*(None if part[0] is None else np.array(part, np.float32) for part in drawn))


def draw_middle(shape, window, count):
    """Draws of the window (H, W) in the middle of each of `count` images of a shape (H, W, C)."""
    start = [math.ceil((size - length) / 2) for size, length in zip(shape, window)]
    centre = [first + (length - 1) / 2 for first, length in zip(start, window)]
    one = np.eye(2, dtype=np.float32), np.array(centre[::-1], np.float32)
    return Draws(*(np.repeat(part[None], count, axis=0) for part in one))


def _draw_window(shape, window, augmentation, rng):
    """The fields of one window's Draws."""
    symmetries = SYMMETRIES[augmentation.symmetry]
    turns, flip = symmetries[rng.integers(len(symmetries))]
    angle = np.deg2rad(rng.uniform(-1, 1) * augmentation.rotation)
    factor = np.exp(rng.uniform(-1, 1) * np.log1p(augmentation.scale))
    sine, cosine = np.float32(np.sin(angle) * factor), np.float32(np.cos(angle) * factor)
    matrix = [[cosine, -sine], [sine, cosine]]
    for _ in range(turns):
        matrix = [[b, -a] for a, b in matrix]
    if flip:
        matrix = [[-a, b] for a, b in matrix]
    grid = gain = offset = power = channel_gain = channel_offset = None
    if augmentation.elastic:
        grid = rng.normal(0, augmentation.elastic, (2, GRID, GRID))
    centre = []
    for size, length in zip(shape, window):
        free, reach = size - length, augmentation.shift * size
        middle = math.ceil(free / 2)  # a larger window goes around the image's middle
        start = np.rint(rng.uniform(min(0, middle) - reach, max(free, middle) + reach))
        centre.append(start + (length - 1) / 2)
    if augmentation.contrast or augmentation.brightness:
        gain = rng.normal(1, augmentation.contrast)
        offset = 255 * rng.normal(0, augmentation.brightness)
    if augmentation.gamma:
        power = np.exp(rng.normal(0, augmentation.gamma))
    if augmentation.color:
        gains, channel_offset = rng.normal(0, augmentation.color, (2, shape[2]))
        channel_gain = np.exp(gains.astype(np.float32))
    return matrix, centre[::-1], grid, gain, offset, power, channel_gain, channel_offset


def cut_windows(rows, draws, window, wrap=False, has_classes=False, has_numbers=False):
    """Windows out of images and of what belongs to each, moved as one.

    rows: for each of the B Draws an image (H, W, C) uint8, its mask (H, W, 1) uint8 0 or 255, or
    with has_numbers 0, 1 or IGNORED, with has_classes any class number, and, where they are
    wanted, border weights (H, W) float32; window: (H', W') pixels. What lies beyond the border is
    mirrored, or with wrap comes in from the other side.
    Returns images float32 (B, H', W', C) in 0..255 (contrast and brightness may leave that), masks
    uint8 (B, H', W', 1) of the same values: foreground where the interpolated mask is above the
    middle, so that it moves as the image does to the pixel, and IGNORED where the interpolated map
    of such pixels is; with has_classes the class number of the nearest pixel; and weights, where
    they are given, float32 (B, H', W').
    """
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REFLECT_101
    count, channels = len(rows), rows[0][0].shape[2]
    images = np.empty((count, *window, channels), np.float32)
    masks = np.empty((count, *window, 1), np.uint8)
    weights = [np.empty((count, *window), np.float32) for _ in rows[0][2:]]
    for number, parts in enumerate(rows):
        outs = [part[number] for part in (images, masks, *weights)]
        matrix, corner = draws.matrix[number], _whole_corner(draws, number, window)
        if corner is None:
            x, y = window_maps(draws, number, window)
            _interpolate(_crop(parts, x, y), outs, (x, y), border, has_classes, has_numbers)
        else:
            for part, out in zip(parts, outs):
                out[...] = _take(part, matrix, corner, window, border).reshape(out.shape)
    return vary_greys(images, draws), masks, *weights


def _whole_corner(draws, number, window):
    """Row and column of the least pixel that a window takes, where it takes whole ones; else
    None.
    """
    if draws.grid is not None or (draws.matrix[number] % 1).any():
        return None
    lengths = np.abs(draws.matrix[number]) @ (np.array(window[::-1]) - 1)
    corner = (draws.centre[number] - lengths / 2)[::-1]
    return None if (corner % 1).any() else corner.astype(int)


def _take(part, matrix, corner, window, border):
    """The whole pixels of a part (H, W) or (H, W, C) that a window takes, turned and flipped."""
    is_turned = matrix[0, 0] == 0
    (top, left), (height, width) = corner, window[::-1] if is_turned else window
    below, right = top + height - part.shape[0], left + width - part.shape[1]
    beyond = [max(0, n) for n in (-top, below, -left, right)]
    if any(beyond):
        part = cv2.copyMakeBorder(part, *beyond, border)
        top, left = top + beyond[0], left + beyond[2]
    part = part[top : top + height, left : left + width]
    if is_turned:
        part = cv2.transpose(part)
    flips_columns, flips_rows = matrix.sum(axis=0) < 0
    if flips_columns or flips_rows:
        part = cv2.flip(part, -1 if flips_columns and flips_rows else int(flips_columns))
    return part


def window_maps(draws, number, window):
    """Where each pixel of a drawn window lies in its image: x and y, float32 (H, W)."""
    (xx, xy), (yx, yy) = draws.matrix[number]
    y, x = map(from_middle, window)
    maps = np.add.outer(xy * y, xx * x), np.add.outer(yy * y, yx * x)
    for axis, part in enumerate(maps):
        if draws.grid is not None:
            grid = draws.grid[number, axis]
            part += cv2.resize(grid, window[::-1], interpolation=cv2.INTER_CUBIC)
        part += draws.centre[number, axis]
    return maps


@functools.cache
def from_middle(length):
    """How far each of so many pixels lies from the middle of them, float32."""
    return np.arange(length, dtype=np.float32) - np.float32((length - 1) / 2)


def _crop(parts, x, y):
    """Of each part what maps that stay inside it need; the maps change with it, in place. A float
    less a whole number is exact, so that the same comes out.
    """
    height, width = parts[0].shape[:2]
    if 2 * x.size > height * width:  # it would not pay
        return parts
    (left, right), (top, bottom) = ((math.floor(m.min()), math.ceil(m.max())) for m in (x, y))
    if left < 0 or top < 0 or right >= width or bottom >= height:
        return parts
    left, top = left - left % 2, top - top % 2  # OpenCV rounds halves to even numbers
    x -= np.float32(left)
    y -= np.float32(top)
    return [part[top : bottom + 1, left : right + 1] for part in parts]


def _interpolate(parts, outs, maps, border, has_classes, has_numbers):
    """Fill outs with what maps have of the parts of one row, as cut_windows returns it."""
    (image, mask, *weights), (image_out, mask_out, *weights_out) = parts, outs
    if has_classes:
        mask_out[..., 0] = cv2.remap(mask, *maps, cv2.INTER_NEAREST, borderMode=border)
        _interpolate_floats([image, *weights], [image_out, *weights_out], maps, border)
        return
    grey, ignored = np.empty((2, *maps[0].shape), np.float32)
    sources, floats = [image, mask, *weights], [image_out, grey, *weights_out]
    if has_numbers:
        sources = [image, GREYS[mask], *weights, 255 * (mask == IGNORED)]
        floats.append(ignored)
    _interpolate_floats(sources, floats, maps, border)
    np.multiply(grey > 127.5, np.uint8(1 if has_numbers else 255), out=mask_out[..., 0])
    if has_numbers:
        mask_out[ignored > 127.5] = IGNORED


def _interpolate_floats(sources, outs, maps, border):
    """Fill outs, float32, with what maps have of sources; both (H, W) or (H, W, C)."""

    def move(pixels):
        return cv2.remap(pixels, *maps, cv2.INTER_LINEAR, borderMode=border)

    sources = [source.astype(np.float32) for source in sources]
    count = sum(source[0, 0].size for source in sources)
    if count < 3:
        for source, out in zip(sources, outs):
            out[...] = move(source).reshape(out.shape)
        return
    # OpenCV moves four channels in less time than two or three.
    groups = [np.zeros((*sources[0].shape[:2], 4), np.float32) for _ in range(0, count, 4)]
    same = np.repeat(np.arange(count), 2)  # from which channel to which
    cv2.mixChannels(sources, groups, same)
    cv2.mixChannels([move(group) for group in groups], outs, same)


def crop_middle(pixels, size):
    """The middle (..., H, W, C) of pixels that are higher and wider."""
    top, left = ((a - b) // 2 for a, b in zip(pixels.shape[-3:-1], size))
    return pixels[..., top : top + size[0], left : left + size[1], :]


def vary_greys(images, draws):
    """Images float32 (B, H, W, C) in 0..255 with the grey values that Draws say, in place."""
    every = np.s_[:, None, None, None]  # pixel and channel of an image
    if draws.gain is not None:
        images *= draws.gain[every]
        images += draws.offset[every]
    if draws.power is not None:
        np.clip(images, 0, 255, out=images)
        images /= 255
        np.power(images, draws.power[every], out=images)
        images *= 255
    if draws.channel_gain is not None:
        count, height, width, channels = images.shape
        lines = images.reshape(count, height, width * channels)  # long rows take NumPy less time
        mean, std = (f(images, axis=(1, 2, 3))[:, None] for f in (np.mean, np.std))
        lines -= mean[..., None]
        lines *= np.tile(draws.channel_gain, width)[:, None]
        lines += mean[..., None]
        lines += np.tile(std * draws.channel_offset, width)[:, None]
    return images


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
