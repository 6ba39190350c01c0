"""Score the held-out images of a trained job by the measures of its field.

python train.py nerve --recipe modern --folds 5 && python -m benchmarks.results nerve

Each image is predicted by the network that did not see it. `0.5` takes what is above a
probability of 0.5; `chosen` takes for each fold the threshold and smallest area that are best on
the other folds, and is left out where there is one network only.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import read_numbers
from train import load_run
from unet.data.arrays import load_arrays
from unet.errors import InputError, one_line_errors
from unet.jobs.settings import THRESHOLD, Reading
from unet.options import option, parse_options, run_option
from unet.prediction.predict import predict_held_out
from unet.prediction.scores import THRESHOLDS, HeldOut
from unet.prediction.scoring import measure_held_out
from unet.reading.masks import decode_mask
from unet.reading.pixels import resize
from unet.runs import Decision, read_record


@dataclass(frozen=True)
class Options:
    run: str = run_option()
    full_size: bool = option(False, "also at the size of the files, not only at the arrays'")
    mask_threshold: int | None = option(
        None, "true-mask values above it are foreground, as in data.py", least=0, most=65534
    )
    segments: bool = option(
        False, "first the Rand and information scores of the cells, as the ISBI 2012 challenge has"
    )
    patches: bool = option(
        False, "also F1 of 16x16 patches, as the road challenge has; above a quarter they are road"
    )


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


def count_patches(prediction, truth, side=16, share=0.25):
    """Patches of `side` x `side` pixels, those at the end cut off, that are foreground in more
    than a share of their pixels: in both of two masks, bool (H, W), and in the one plus in the
    other.
    """
    height, width = (length - length % side for length in truth.shape)
    a, b = (
        mask[:height, :width].reshape(height // side, side, width // side, side).mean((1, 3))
        > share
        for mask in (prediction, truth)
    )
    return np.count_nonzero(a & b), np.count_nonzero(a) + np.count_nonzero(b)


def chosen_dice(measured):
    """Dice of each image, (N,), with the Decision that is best on the folds it is not in."""
    dice = np.zeros(len(measured.fold))
    for fold in np.unique(measured.fold):
        inside = measured.fold == fold
        dice[inside] = subset(measured, inside).dice(subset(measured, ~inside).choose())
    return dice


def subset(measured, rows):
    return HeldOut(*(getattr(measured, field.name)[rows] for field in fields(HeldOut)))


def by_fold(values, folds):
    """ "mean ± spread (each)" of the folds' means."""
    means = [np.mean(values[folds == fold]) for fold in np.unique(folds)]
    spread = f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
    return f"{np.mean(means):.4f}{spread}{each_of(means)}"


def each_of(scores):
    """ " (0.8, 0.9)", the folds' scores; "" of one alone."""
    texts = [f"{score:.4f}" for score in scores]
    return f" ({', '.join(texts)})" if len(texts) > 1 else ""


def f1_by_fold(right, total, folds):
    """ "F1 of all (each fold's)" of counts (N,): of what is right, and of predicted and true."""
    parts = [folds >= 0, *(folds == fold for fold in np.unique(folds))]
    whole, *each = (2 * right[part].sum() / max(total[part].sum(), 1) for part in parts)
    return f"{whole:.4f}{each_of(each)}"


def score_pixels(measured):
    """Lines: what the counts of HeldOut tell."""
    dice = measured.dice(Decision())
    column = list(THRESHOLDS).index(THRESHOLD)
    predicted, right = measured.predicted[:, column], measured.right[:, column]
    wrong = (measured.truth + predicted - 2 * right) / measured.num_pixels
    folds = f" in {measured.fold.max() + 1} folds" if measured.fold.any() else ""
    yield f"images                 {len(dice)}{folds}"
    yield f"Dice at 0.5            {by_fold(dice, measured.fold)}, worst {dice.min():.4f}"
    if measured.fold.any():  # with one fold there are no others to choose on
        chosen = chosen_dice(measured)
        yield f"Dice, chosen           {by_fold(chosen, measured.fold)}, worst {chosen.min():.4f}"
    yield f"pixel error            {by_fold(wrong, measured.fold)}"
    f1 = f1_by_fold(right, predicted + measured.truth, measured.fold)
    yield f"F1 of all pixels       {f1}"


def watch(predictions, arrays, options, seen):
    """Yield (row, probability) on, and append the scores that need the probabilities themselves to
    the lists of `seen`.
    """
    for row, probability in predictions:
        truth = arrays.masks[row][..., 0] > 0
        seen["soft"].append(mean_class_dice(probability[..., 0], truth))
        if options.segments:
            cells = [probability[..., 0] > threshold for threshold in THRESHOLDS]
            seen["segments"].append([segment_scores(some, truth) for some in cells])
        if options.patches:
            seen["patches"].append(count_patches(probability[..., 0] > THRESHOLD, truth))
        if options.full_size:
            truth = read_truth(arrays, row, options.mask_threshold)
            mask = resize(probability, truth.shape)[..., 0] > THRESHOLD
            total = mask.sum() + truth.sum()
            seen["full"].append(2 * (mask & truth).sum() / total if total else 1.0)
        yield row, probability


def read_truth(arrays, row, threshold):
    """The true mask of a row at its file's size, bool (H, W)."""
    file = arrays.files[row]
    if (file["height"], file["width"]) == arrays.masks.shape[1:3]:
        return arrays.masks[row][..., 0] > 0
    if not Path(file["mask"]).is_file():
        raise InputError(f"{file['mask']}: --full-size reads masks in folders; unpack the zip")
    reading = arrays.reading if threshold is None else Reading(threshold)
    data = Path(file["mask"]).read_bytes()
    return decode_mask(data, file["mask"], reading=reading) == 1


def describe_segments(seen, folds):
    """Lines: the scores of the cells, with the threshold that is best for each."""
    for number, name in enumerate(("Rand", "information") if seen["segments"] else ()):
        scores = np.array(seen["segments"])[:, :, number]
        best = int(np.argmax(scores.mean(axis=0)))
        score = by_fold(scores[:, best], folds)
        yield f"{name + ' score':22s} {score} above {THRESHOLDS[best]:.2f}"


def describe(seen, folds):
    """Lines: the other scores that watch has seen."""
    if seen["patches"]:
        yield f"F1 of 16x16 patches    {f1_by_fold(*np.transpose(seen['patches']), folds)}"
    yield f"Dice of both classes   {by_fold(np.array(seen['soft']), folds)}"
    if seen["full"]:
        full = by_fold(np.array(seen["full"]), folds)
        yield f"Dice at full size      {full}, worst {min(seen['full']):.4f}"


def read_seconds(name):
    """How long a network was trained, by its weights/NAME.csv; raises InputError."""
    path = f"weights/{name}.csv"
    if not Path(path).exists():
        raise InputError(f"{path}: missing; run python train.py {name.partition('.')[0]} again")
    return sum(float(row["seconds"]) for row in read_numbers(path, ("seconds",), ("seconds",)))


def main(options):
    run = load_run(options.run)
    arrays = load_arrays(run.record.arrays, run.record.job)
    names = [network.record.name for network in run.networks]
    seconds = [read_seconds(name) for name in names]
    print(f"{options.run}: {read_record(options.run).command}")
    seen = {"soft": [], "segments": [], "patches": [], "full": []}
    predictions = watch(predict_held_out(run, arrays), arrays, options, seen)
    measured = measure_held_out(run, arrays, predictions)
    fold = measured.fold
    lines = *describe_segments(seen, fold), *score_pixels(measured), *describe(seen, fold)
    print("\n".join(lines))
    print(f"seconds to train       {', '.join(f'{s:.0f}' for s in seconds)}")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.results", __doc__))
