"""Dice of predictions and their truths, and the decision that scores best."""

from dataclasses import dataclass

import numpy as np

from unet.jobs.settings import THRESHOLD
from unet.reading.values import IGNORED
from unet.runs import Decision

THRESHOLDS = np.arange(1, 20) / 20  # of the probability, that HeldOut.choose tries


@dataclass(frozen=True)
class HeldOut:
    """Pixels of each image that a training held out, those that count: what every Decision is
    scored with.
    """

    fold: np.ndarray  # (N,) number of the network that did not see it
    truth: np.ndarray  # (N,) in the true mask
    predicted: np.ndarray  # (N, 19) above each of THRESHOLDS
    right: np.ndarray  # (N, 19) in both
    num_pixels: np.ndarray  # (N,)

    def dice(self, decision):
        """Dice of each image with a Decision whose threshold is among THRESHOLDS, (N,); empty
        against empty 1.
        """
        column = int(np.argmin(np.abs(THRESHOLDS - decision.threshold)))
        is_empty = self.predicted[:, column] < decision.min_area * self.num_pixels
        total = self.truth + self.predicted[:, column]
        dice = np.where(total > 0, 2 * self.right[:, column] / np.maximum(total, 1), 1.0)
        return np.where(is_empty, self.truth == 0, dice)

    def choose(self):
        """The Decision with the highest mean Dice, the competitions' score; of equal ones that
        with the threshold nearest to 0.5 and the smallest area.
        """
        best, chosen = -1, Decision()
        size = np.max(self.num_pixels)
        to_size = size / np.maximum(self.num_pixels, 1)  # areas as of images of one size
        for column in np.argsort(np.abs(THRESHOLDS - THRESHOLD), kind="stable"):
            threshold = float(THRESHOLDS[column])
            dice = self.dice(Decision(threshold))
            areas = self.predicted[:, column] * to_size
            order = np.argsort(areas, kind="stable")
            areas, kept, is_empty = areas[order], dice[order], self.truth[order] == 0
            # what all images score when the n smallest masks become empty, n = 0, 1, ...
            scores = np.append(0, is_empty.cumsum()) + kept.sum() - np.append(0, kept.cumsum())
            scores[1:-1][areas[1:] == areas[:-1]] = -1  # no limit lies between equal areas
            number = int(np.argmax(scores))
            if scores[number] > best + 1e-9:
                limits = np.append(areas, areas[-1] + 2)
                area = (limits[number - 1] + limits[number]) / 2 if number else 0
                best, chosen = scores[number], Decision(threshold, float(area / max(size, 1)))
        return chosen


def count_pixels(truth, probability):
    """Pixels of the foreground in a truth, class numbers uint8 (H, W), then (19,) of those of its
    probabilities, (H, W, 1), that are above each of THRESHOLDS, (19,) of those in both, and all
    pixels that count: a row of HeldOut.
    """
    counted = truth != IGNORED
    truth = truth[counted] > 0
    level = np.digitize(probability[..., 0][counted], THRESHOLDS, right=True)  # thresholds below
    counts = [np.count_nonzero(truth)]
    for levels in (level, level[truth]):
        of_level = np.bincount(levels, minlength=len(THRESHOLDS) + 1)
        counts.append(of_level[::-1].cumsum()[::-1][1:])
    return *counts, truth.size


def count_confusion(truth, prediction, num_classes):
    """How many pixels of each true class, a row, have each predicted one, a column, of two masks
    of class numbers uint8 (H, W), those left out that do not count: int (K, K).
    """
    counted = truth != IGNORED
    pairs = truth[counted] * np.uint16(num_classes) + prediction[counted]  # at most 255 * 255
    counts = np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def count_classes(truth, prediction, num_classes):
    """class_counts of two masks, as count_confusion takes them."""
    return class_counts(count_confusion(truth, prediction, num_classes))


def class_counts(confusion):
    """Pixels of each class in both of two masks, and in the one plus in the other, int (K,) twice,
    of the counts of count_confusion, which may be sums over images.
    """
    return np.diagonal(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)


def precision_and_recall(confusion):
    """The share of the pixels predicted as foreground that are of the class predicted, 1 where
    none is, and the share of the true foreground that is predicted as its class, 1 where there is
    none; of the counts of count_confusion.

    Foreground is every class but the background, so these are means over the classes by pixels.
    """
    right = np.trace(confusion[1:, 1:])
    totals = confusion[:, 1:].sum(), confusion[1:].sum()
    return tuple(float(right / total) if total else 1.0 for total in totals)


def class_dice(right, total):
    """Dice of each class, (K,), 2 * right / total, of class_counts; not a number for a class that
    is in none of the masks.
    """
    return np.divide(2 * right, total, out=np.full(len(total), np.nan), where=total > 0)


def mean_dice(dice):
    """Mean Dice of the classes that are in one of the masks, the background left out; 1 where none
    is. dice: (K,), of class_dice.
    """
    of_classes = dice[1:][~np.isnan(dice[1:])]
    return float(of_classes.mean()) if len(of_classes) else 1.0
