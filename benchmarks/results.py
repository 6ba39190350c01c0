"""Score the held-out images of a trained job by the measures of its field.

python train.py nerve --recipe modern --folds 5 && python benchmarks/results.py nerve

Each image is predicted by the network that did not see it. `0.5` takes what is above a
probability of 0.5; `chosen` takes for each fold the threshold and smallest area that are best on
the other folds.
"""

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from options import job_option, one_line_errors, option, parse_options


@dataclass(frozen=True)
class Options:
    job: str = job_option()
    full_size: bool = option(False, "also at the size of the files, not only at the arrays'")
    segments: bool = option(
        False, "also the Rand and information scores of the cells, as the ISBI 2012 challenge has"
    )


if __name__ == "__main__":
    with one_line_errors():
        OPTIONS = parse_options(Options, "benchmarks/results.py", __doc__)

import cv2
import numpy as np

from arrays import load_arrays
from files import decode_mask, read_csv, resize
from jobs import THRESHOLD
from predict import load_run, measure_held_out, predict_held_out
from runs import THRESHOLDS, Decision, HeldOut, read_record


def mean_class_dice(probability, truth):
    """Dice as the mean over both classes, 2 sum(p t) / (sum(p^2) + sum(t^2)), p not thresholded.

    probability: (H, W) in [0, 1]; truth: bool (H, W). A class that neither has scores 1.
    """
    scores = []
    for p, t in ((probability, truth), (1 - probability, ~truth)):
        total = np.sum(np.square(p), dtype=float) + t.sum()
        scores.append(2 * np.sum(p[t], dtype=float) / total if total else 1.0)
    return float(np.mean(scores))


def segment(cells):
    """A label from 1 on for each pixel, int (H, W): 4-connected cells, bool (H, W), grown until
    they touch, which thins the border between them to nothing. Without any cell all are 1.
    """
    if not cells.any():
        return np.ones(cells.shape, int)
    labels = cv2.connectedComponents(cells.astype(np.uint8), connectivity=4)[1]
    nearest = cv2.distanceTransformWithLabels(
        (~cells).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    label_of = np.zeros(nearest.max() + 1, int)
    label_of[nearest[cells]] = labels[cells]
    return label_of[nearest]


def segment_scores(prediction, truth):
    """Foreground-restricted Rand and information scores of cells, both bool (H, W): two floats.

        rand = sum(p_ij^2) / (sum(s_i^2) + sum(t_j^2)) * 2
        information = 2 I(S; T) / (H(S) + H(T))

    over the pixels of the true cells, p_ij the share in segment i and true cell j, s_i and t_j
    its sums (Arganda-Carreras et al., Frontiers in Neuroanatomy 2015, alpha 0.5). One cell in both
    scores 1, and so does all where there is no true cell.
    """
    if not truth.any():
        return 1.0, 1.0
    segments = segment(prediction)[truth]
    cells = cv2.connectedComponents(truth.astype(np.uint8), connectivity=4)[1][truth]
    pairs, counts = np.unique(segments * (cells.max() + 1) + cells, return_counts=True)
    p = counts / counts.sum()
    s = np.bincount(pairs // (cells.max() + 1), weights=p)
    t = np.bincount(pairs % (cells.max() + 1), weights=p)
    rand = 2 * np.sum(p**2) / (np.sum(s**2) + np.sum(t**2))
    entropy_s, entropy_t, entropy = (-np.sum(x[x > 0] * np.log(x[x > 0])) for x in (s, t, p))
    total = entropy_s + entropy_t
    return float(rand), float(2 * (total - entropy) / total) if total else 1.0


def chosen_dice(measured):
    """Dice of each image, (N,), with the Decision that is best on the folds it is not in; with
    one fold on the images themselves.
    """
    dice = np.zeros(len(measured.fold))
    for fold in np.unique(measured.fold):
        inside = measured.fold == fold
        others = subset(measured, inside if inside.all() else ~inside)
        dice[inside] = subset(measured, inside).dice(others.choose())
    return dice


def subset(measured, rows):
    columns = [f.name for f in fields(HeldOut) if f.name != "num_pixels"]
    return replace(measured, **{name: getattr(measured, name)[rows] for name in columns})


def by_fold(values, folds):
    """ "mean ± spread" of the folds' means."""
    means = [np.mean(values[folds == fold]) for fold in np.unique(folds)]
    spread = f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
    return f"{np.mean(means):.4f}{spread}"


def score_pixels(measured):
    """Lines: what the counts of HeldOut tell."""
    dice = measured.dice(Decision())
    column = list(THRESHOLDS).index(THRESHOLD)
    predicted, right = measured.predicted[:, column], measured.right[:, column]
    wrong = (measured.truth + predicted - 2 * right) / measured.num_pixels
    yield f"images                 {len(dice)} in {len(np.unique(measured.fold))} folds"
    yield f"Dice at 0.5            {by_fold(dice, measured.fold)}, worst {dice.min():.4f}"
    chosen = chosen_dice(measured)
    yield f"Dice, chosen           {by_fold(chosen, measured.fold)}, worst {chosen.min():.4f}"
    yield f"pixel error            {by_fold(wrong, measured.fold)}"
    f1 = 2 * right.sum() / max(predicted.sum() + measured.truth.sum(), 1)
    yield f"F1 of all pixels       {f1:.4f}"


class Watch:
    """Scores that need the probabilities themselves, taken as they pass by."""

    def __init__(self, arrays, options):
        self.arrays, self.options = arrays, options
        self.soft, self.full, self.segments = [], [], []

    def pass_on(self, predictions):
        """Yield (row, probability) on, scoring each."""
        for row, probability in predictions:
            truth = self.arrays.masks[row][..., 0] > 0
            self.soft.append(mean_class_dice(probability[..., 0], truth))
            if self.options.segments:
                cells = [probability[..., 0] > threshold for threshold in THRESHOLDS]
                self.segments.append([segment_scores(some, truth) for some in cells])
            if self.options.full_size:
                path = self.arrays.files[row]["mask"]
                truth = decode_mask(Path(path).read_bytes(), path)[..., 0] > 0
                mask = resize(probability, truth.shape)[..., 0] > THRESHOLD
                self.full.append(2 * (mask & truth).sum() / max(mask.sum() + truth.sum(), 1))
            yield row, probability

    def lines(self):
        yield f"Dice of both classes   {np.mean(self.soft):.4f}"
        if self.full:
            yield f"Dice at full size      {np.mean(self.full):.4f}, worst {min(self.full):.4f}"
        means = np.mean(self.segments, axis=0).T if self.segments else ()
        for name, scores in zip(("Rand", "information"), means):
            best = int(np.argmax(scores))
            yield f"{name + ' score':22s} {scores[best]:.4f} above {THRESHOLDS[best]:.2f}"


def main(options):
    run, arrays = load_run(options.job), load_arrays(options.job)
    names = [network.record["name"] for network in run.networks]
    print(f"{options.job}: {read_record(options.job)['command']}")
    watch = Watch(arrays, options)
    predictions = watch.pass_on(predict_held_out(run, arrays))
    measured = measure_held_out(run, arrays, predictions)
    print("\n".join([*score_pixels(measured), *watch.lines()]))
    seconds = [
        sum(float(row["seconds"]) for row in read_csv(f"weights/{name}.csv", ("seconds",)))
        for name in names
    ]
    print(f"seconds to train       {', '.join(f'{s:.0f}' for s in seconds)}")


if __name__ == "__main__":
    with one_line_errors():
        main(OPTIONS)
