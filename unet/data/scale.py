"""What images are standardized with."""

import math

import numpy as np


def find_scale(images, rows, standardize):
    """The mean and std to standardize with, as a recipe's field says: of the rows, None and None
    for each image's own, 0 and 255, or 0 and 1.
    """
    if standardize in ("training", "set"):
        return mean_and_std(images, rows)
    return {"image": (None, None), "none": (0.0, 255.0), "raw": (0.0, 1.0)}[standardize]


def mean_and_std(images, rows):
    """Mean and standard deviation of all pixels of some rows, in grey values 0..255."""
    count = total = squares = 0
    for start in range(0, len(rows), 64):
        part = images[rows[start : start + 64]].astype(np.float64)
        count, total, squares = count + part.size, total + part.sum(), squares + (part**2).sum()
    mean = total / count
    return float(mean), float(math.sqrt(max(squares / count - mean**2, 0))) or 1.0


def standardize(images, mean=None, std=None):
    """(images - mean) / std, float32, of one image (H, W, C) or several (B, H, W, C); without mean
    and std each image has its own, a flat one's std being 1.
    """
    images = images.astype(np.float32)
    if mean is None:
        mean, std = (f(images, axis=(-3, -2, -1), keepdims=True) for f in (np.mean, np.std))
        std = np.where(std > 0, std, 1)
    images -= np.float32(mean)
    images /= np.float32(std)
    return images
