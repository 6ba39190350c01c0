"""Images of the arrays that are copies of each other, and subjects that share such images."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from unet.jobs.settings import IGNORED
from unet.machine.terminal import map_in_threads

THUMBNAIL = 16  # pixels a side of what all images are compared by
MOST_ROWS = 20_000  # that are compared, each with each: about two seconds and 20 MB
MOST_PAIRS = 1_000  # that are looked at closely
LONGEST = 128  # pixels of an image's longer side, before that and then
# A pair of copies has all of these. Measured, between subjects: frames that were copied 0.9997,
# 0.015 and 0.998 at the worst; neighbouring frames of an ultrasound film 0.998, 0.11 and 0.965;
# two cars photographed in one place 0.98, 0.16 and 0.59.
ALIKE = 0.995  # correlation of the thumbnails, at least
DIFFERENT = 0.08  # mean difference of the pixels in the images' own standard deviations, at most
SAME_DETAIL = 0.9  # correlation of what is finer than about four pixels, at least


@dataclass(frozen=True)
class Pair:
    """Two rows whose images are copies. dice: of their masks, None where both are empty."""

    first: int
    second: int
    dice: float | None


def shrink_factor(size):
    """By how many pixels a side an image of a size (H, W) is averaged, so that its longer side is
    at most LONGEST: a whole number, with which OpenCV is 20 times as fast as with any other.
    """
    return math.ceil(max(size) / LONGEST)


def shrink_grey(image):
    """An image, uint8 (H, W, C), as grey float32 (H // factor, W // factor), at least 1 pixel a
    side; what is left over at its end is cut off.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.shape[2] == 3 else image[..., 0]
    factor = shrink_factor(grey.shape)
    if factor > 1:
        height, width = (max(length // factor, 1) for length in grey.shape)
        whole = grey[: max(height * factor, 1), : max(width * factor, 1)]
        grey = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return grey.astype(np.float32)


def thumbnail(image):
    """An image, uint8 (H, W, C), as float32 (THUMBNAIL**2,) of mean 0 and length 1; zeros where it
    is of one grey value.
    """
    small = shrink_grey(image)  # in whole grey values, whose mean is finer
    small = cv2.resize(small, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
    small -= small.mean()
    length = np.linalg.norm(small)
    return small / length if length > 1e-3 else np.zeros_like(small)


def find_copies(arrays, thumbnails):
    """A list of Pairs: of each row at most the most similar one after it in its own subject, and
    in another one; of the first MOST_ROWS rows, and the MOST_PAIRS most similar, those in two
    subjects before the others.
    """
    names = [row["subject"] for row in arrays.files[:MOST_ROWS]]
    subjects = np.unique(names, return_inverse=True)[1]
    candidates = similar_rows(thumbnails[:MOST_ROWS], subjects)
    found = map_in_threads(lambda *rows: compare(arrays, *rows), candidates[:MOST_PAIRS])
    found = [pair for pair in found if pair]
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def similar_rows(thumbnails, subjects, block=128):
    """Pairs of rows (first, second) whose thumbnails are ALIKE, those in two subjects first, the
    most similar first.
    """
    found = []
    for start in range(0, len(thumbnails), block):
        part = thumbnails[start : start + block]
        similar = part @ thumbnails[start:].T
        similar[np.tril_indices(len(part))] = -1  # each pair once, and no row with itself
        for row in np.flatnonzero(similar.max(axis=1) > ALIKE):
            is_same = subjects[start:] == subjects[start + row]
            for is_asked in (~is_same, is_same):
                values = np.where(is_asked, similar[row], -1)
                best = int(values.argmax())
                if values[best] > ALIKE:
                    is_within = bool(is_same[best])
                    found.append((is_within, -values[best], start + int(row), start + best))
    return [(first, second) for *_, first, second in sorted(found)]


def compare(arrays, first, second):
    """The Pair of two rows if their images are copies, else None."""
    images = [shrink_grey(arrays.images[row]) for row in (first, second)]
    contrast = sum(image.std() for image in images) / 2
    if np.abs(images[0] - images[1]).mean() > DIFFERENT * contrast:
        return None
    details = [image - cv2.GaussianBlur(image, (0, 0), 2) for image in images]
    lengths = [np.linalg.norm(detail) for detail in details]
    if (details[0] * details[1]).sum() < SAME_DETAIL * lengths[0] * lengths[1]:
        return None
    return Pair(first, second, agreement(arrays.numbers(first), arrays.numbers(second)))


def agreement(first, second):
    """Dice of two masks of class numbers, (H, W), over all classes but the background:

        2 * count(first == second > 0) / (count(first > 0) + count(second > 0))

    where neither is IGNORED; None where both are empty.
    """
    counted = (first != IGNORED) & (second != IGNORED)
    first, second = first[counted], second[counted]
    total = np.count_nonzero(first) + np.count_nonzero(second)
    if not total:
        return None
    return float(2 * np.count_nonzero((first == second) & (first > 0)) / total)


def join_subjects(subjects, pairs):
    """The subjects (a list, one of each row) with those that share copies as one, which has the
    name of the first of them.
    """
    first = {name: row for row, name in reversed(list(enumerate(subjects)))}
    parent = {name: name for name in subjects}

    def root(name):
        while parent[name] != name:
            name = parent[name]
        return name

    for pair in pairs:
        names = {root(subjects[row]) for row in (pair.first, pair.second)}
        least = min(names, key=first.get)
        for name in names - {least}:
            parent[name] = least
    return [root(name) for name in subjects]
