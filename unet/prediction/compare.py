"""The gain of a second run over a first one, on images that none of them saw."""

import numpy as np

from unet.errors import InputError, refuse
from unet.machine.disk import csv_text, write_text
from unet.machine.terminal import with_progress
from unet.pictures.panels import draw_pair
from unet.prediction.report import classes_of, describe_run, new_page
from unet.prediction.scoring import predict_again, score
from unet.runs import Paths


def compare(run, other, results, unseen, most_pictures):
    """Write scores, pictures and a page of what two runs make of the same images, and print what
    the second one gains.

    results: of the first run; unseen: the Run of the other for each image by its id, images
    without one being left out, or None for all of its networks on all images. Raises InputError.
    """
    names, classes = (run.name, other.name), classes_of(run)
    vis, rows, seen_by = Paths(f"{run.name}+{other.name}").vis, [], []
    with new_page(vis, most_pictures, classes) as page:
        for first in with_progress(results, len(results), "images"):
            if unseen is not None and first.id not in unseen:
                continue
            alone = other if unseen is None else unseen[first.id]
            second = predict_again(alone, first, results.are_rows)
            dice = [
                score(result, len(classes), run.first_class)[0][0] for result in (first, second)
            ]
            rows.append((first.id, *dice, dice[1] - dice[0]))
            seen_by.append(first.seen_by)
            if not page.is_full:
                picture = draw_pair(first, second, names, dice, run.classes)
                facts = [f"{name} {value:.3f}" for name, value in zip(names, dice)]
                predictions = first.prediction, second.prediction
                page.add(first, predictions, dice[1] - dice[0], {"": picture}, facts)
        if not rows:  # a page of before stays
            raise InputError(
                f"{names[0]} and {names[1]} held out no image in common; train both with the same "
                "--seed, --validation-split and --folds"
            )
    write_scores(vis / "scores.csv", names, rows, seen_by)
    about = describe_run(names[1], other.record, len(other.networks), other.decision)
    about["title"] = f"{names[1]} against {names[0]}"
    about["summary"] = summarize_gain(run, other, np.array([row[1:] for row in rows]), seen_by)
    page.write(about, views=["truth", *(f"error of {name}" for name in names)])
    print(f"{len(page.images)} pictures in {vis}/, all of them on one page: {vis}/index.html")
    print(about["summary"])


def write_scores(path, names, rows, seen_by):
    """Write each image's Dice by both runs, and the names of those that were trained on it."""
    header = ("image", *names, "difference")
    if any(seen_by):
        header = (*header, "seen_in_training")
        rows = [(*row, " ".join(seen)) for row, seen in zip(rows, seen_by)]
    write_text(path, csv_text(header, rows))


def check_comparable(run, other, is_of_folder):
    """Raise InputError for runs that cannot be compared on the same images: on a folder's, or on
    those that both held out.
    """
    names, records = f"{run.name} and {other.name}", (run.record, other.record)
    folders = " and ".join(dict.fromkeys(str(Paths(r.arrays).arrays) for r in records))
    channels = {record.network.channels for record in records}
    refuse(
        (run.name == other.name, f"--compare {other.name}: is the same run; name another"),
        (
            run.classes != other.classes,
            f"{names} tell other classes apart; compare runs of the same",
        ),
        (len(channels) > 1, f"{names}: one takes grey images, one RGB; compare runs of the same"),
        (
            run.record.pixels != other.record.pixels and not is_of_folder,
            f"{names} were trained on other images or masks, of {folders} as it was then; compare "
            "them on a folder: --images DIR --masks DIR",
        ),
    )


def check_unseen(run, is_seen):
    """Raise InputError for a run that is to be compared on images that it was trained on."""
    if is_seen:
        raise InputError(f"{run.held_nothing_out}, or compare on --images DIR --masks DIR")


def summarize_gain(run, other, dice, seen_by):
    """A line with the mean Dice of two runs and their difference, with its standard error, of the
    rules by which they make masks, and of how many images each was trained on.

    dice: (N, 3), of both and their difference; seen_by: of each image the names of the runs that
    were trained on it.
    """
    names, (first, second, gain) = (run.name, other.name), dice.mean(axis=0)
    error = dice[:, 2].std(ddof=1) / np.sqrt(len(dice)) if len(dice) > 1 else np.nan
    better, worse = np.count_nonzero(dice[:, 2] > 0), np.count_nonzero(dice[:, 2] < 0)
    texts = [
        f"Dice {first:.3f} {names[0]}, {second:.3f} {names[1]}: {gain:+.3f} ± {error:.3f} "
        f"(standard error) over {len(dice)} images, {better} better, {worse} worse"
    ]
    rules = run.decision.describe(), other.decision.describe()
    if not run.classes:
        own = f" and, of {names[1]}, {rules[1]}" if rules[0] != rules[1] else ""
        texts.append(f"{rules[0]}{own}")
    counts = {name: sum(name in seen for seen in seen_by) for name in names}
    seen = [f"{n} of them seen in the training of {name}" for name, n in counts.items() if n]
    if seen:
        texts.append(f"{' and '.join(seen)}: expect less of other images")
    return "; ".join(texts)
