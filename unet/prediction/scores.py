"""Dice of predictions and their truths, and the decision that the images speak for."""

from dataclasses import dataclass

import numpy as np

from unet.jobs.settings import IGNORED, THRESHOLD
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
        dice = foreground_dice(self.right[:, column], self.truth + self.predicted[:, column])
        return np.where(is_empty, self.truth == 0, dice)

    def choose(self):
        """The Decision that the images speak for: of THRESHOLDS the one with the highest mean Dice
        whose gain over 0.5 is no chance, then the smallest area of which the same is true.

        A gain is no chance where the mean of the images' gains is above its standard error, their
        standard deviation (ddof 1) / sqrt(N); that of one image alone never is. Of equal ones it
        is the threshold nearest to 0.5 and the smallest area. Emptying all masks is no gain, even
        if most true ones are empty: a threshold by which the images with a foreground lose, which
        is no chance by the same rule, is not taken, and no area above the smallest of their true
        masks, as a share of its image. An area can gain only by images whose true mask is empty.
        Where all are, and of a single image, Decision().
        """
        if len(self.truth) < 2 or not self.truth.any():
            return Decision()
        columns = np.argsort(np.abs(THRESHOLDS - THRESHOLD), kind="stable")  # 0.5 comes first
        dice = np.stack([self.dice(Decision(float(THRESHOLDS[column]))) for column in columns])
        gains = dice - dice[0]
        losses = sure_gains(*sums(-gains[:, self.truth > 0]))
        best = int(np.argmax(np.where(losses > 0, 0, sure_gains(*sums(gains)))))
        area = self.choose_area(columns[best], dice[best])
        return Decision(float(THRESHOLDS[columns[best]]), area)

    def choose_area(self, column, dice):
        """The smallest area that `choose` takes with the threshold of a column, whose Dice is
        (N,); 0 for none.
        """
        num_pixels = np.maximum(self.num_pixels, 1)
        areas = self.predicted[:, column] / num_pixels
        order = np.argsort(areas, kind="stable")
        # Number n is of an area between the n-th smallest mask, which it empties, and the next.
        gains = np.append(0, (self.truth == 0)[order] - dice[order])
        below, above = np.append(0, areas[order]), np.append(areas[order], 1)
        least = (self.truth / num_pixels)[self.truth > 0].min()
        can_be = (below < above) & (below < least)
        totals = np.where(can_be, gains.cumsum(), 0)
        number = int(np.argmax(sure_gains(totals, np.square(gains).cumsum(), len(dice))))
        return float(min((below[number] + above[number]) / 2, least)) if number else 0.0

    def constant_dice(self):
        """The highest mean Dice that one mask for all images gets, where what is counted is the
        same map of probabilities in each: that map above one of THRESHOLDS, nothing, or all.
        """
        dice = [self.dice(Decision(float(threshold))) for threshold in THRESHOLDS]
        dice += [self.truth == 0, foreground_dice(self.truth, self.truth + self.num_pixels)]
        return float(max(np.mean(of_mask) for of_mask in dice))


@dataclass(frozen=True)
class HeldOutClasses:
    """Pixels of each class in each image that a training of more than two classes held out, those
    that count.
    """

    fold: np.ndarray  # (N,) number of the network that did not see it
    truth: np.ndarray  # (N, K) in the true mask
    right: np.ndarray  # (N, K) in both masks
    total: np.ndarray  # (N, K) in the one plus in the other
    first: int = 1  # class that means begin with

    def dice(self):
        """mean_dice of each image, (N,)."""
        return mean_dices(self.right, self.total, self.first)

    def constant_dice(self):
        """The highest mean Dice that one class, or the background, in every pixel gets."""
        means = []
        for is_class in np.eye(self.truth.shape[1], dtype=int):
            prediction = is_class * self.truth.sum(axis=1, keepdims=True)
            counts = is_class * self.truth, self.truth + prediction
            means.append(mean_dices(*counts, self.first).mean())
        return float(max(means))


def sure_gains(totals, squares, count):
    """Mean gains, (K,), 0 where one is not above its standard error, of K changes. totals,
    squares: (K,) sums of the gains of `count` images, and of their squares.
    """
    means = totals / count
    errors = np.sqrt(np.maximum(squares - totals * means, 0) / max(count - 1, 1) / count)
    return np.where(means > errors + 1e-9, means, 0)


def sums(gains):
    """The arguments of sure_gains for gains (K, N)."""
    return gains.sum(axis=1), np.square(gains).sum(axis=1), gains.shape[1]


def foreground_dice(right, total):
    """2 * right / total, 1 where total is 0."""
    return np.where(total > 0, 2 * right / np.maximum(total, 1), 1.0)


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
    """Pixels of each true class, a row, with each predicted one, a column, of two masks of class
    numbers uint8 (H, W), those left out that do not count: int (K, K).
    """
    counted = truth != IGNORED
    pairs = truth[counted] * np.uint16(num_classes) + prediction[counted]  # at most 255 * 255
    counts = np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def class_counts(confusion):
    """Pixels of each class in both of two masks, and in the one plus in the other, int (K,) twice,
    of the counts of count_confusion, which may be sums over images.
    """
    return np.diagonal(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)


def precision_and_recall(confusion, first=1):
    """The share of the pixels predicted as foreground that are of the class predicted, 1 where
    none is, and the share of the true foreground that is predicted as its class, 1 where there is
    none; of the counts of count_confusion.

    Foreground is every class but the background, 0, or from the first one on, so these are means
    over the classes by pixels.
    """
    right = np.trace(confusion[first:, first:])
    totals = confusion[:, first:].sum(), confusion[first:].sum()
    return tuple(float(right / total) if total else 1.0 for total in totals)


def class_dice(right, total):
    """Dice of each class, (K,), 2 * right / total, of class_counts; not a number for a class that
    is in none of the masks.
    """
    return np.divide(2 * right, total, out=np.full(len(total), np.nan), where=total > 0)


def mean_dice(dice, first=1):
    """Mean Dice of the classes that are in one of the masks, from the first one on, so without the
    background, 0; 1 where none is. dice: (K,), of class_dice.
    """
    of_classes = dice[first:][~np.isnan(dice[first:])]
    return float(of_classes.mean()) if len(of_classes) else 1.0


def mean_dices(right, total, first=1):
    """mean_dice of each image, (N,), of counts (N, K)."""
    return np.array([mean_dice(class_dice(*counts), first) for counts in zip(right, total)])
