"""What a second run makes better, or worse, than a first one, on images that none of them saw."""

import numpy as np

from unet.errors import InputError
from unet.machine.disk import csv_text, write_text
from unet.machine.terminal import with_progress
from unet.pictures.panels import draw_pair
from unet.prediction.report import classes_of, describe, new_page
from unet.prediction.scoring import predict_again, score
from unet.reading.pixels import write_image
from unet.runs import Paths


def compare(run, other, results, unseen, most_pictures):
    """Write scores, pictures and a page of what two runs make of the same images, and print what
    the second one gains.

    results: of the first run; unseen: what the other is for each image by its id, a Run, those
    without being left out, or None for all of its networks on all images. Raises InputError.
    """
    names, classes = (run.name, other.name), classes_of(run)
    vis, rows, seen_by = Paths(run.name).versus(Paths(other.name)), [], []
    with new_page(vis, most_pictures, classes) as page:
        for first in with_progress(results, len(results), "images"):
            if unseen is not None and first.id not in unseen:
                continue
            alone = other if unseen is None else unseen[first.id]
            second = predict_again(alone, first, results.are_rows)
            dice = [score(result, len(classes))[0][0] for result in (first, second)]
            rows.append((first.id, *dice, dice[1] - dice[0]))
            seen_by.append(first.seen_by)
            if not page.is_full:
                show_pair(page, first, second, names, dice, run.classes)
        if not rows:  # a page of before stays
            raise InputError(
                f"{names[0]} and {names[1]} held out no image in common; train both with the same "
                "--seed, --validation-split and --folds"
            )
    write_scores(vis / "scores.csv", names, rows, seen_by)
    about = describe(names[1], other.record, len(other.networks), other.decision)
    about["title"] = f"{names[1]} against {names[0]}"
    gain = describe_gain(names, np.array([row[1:] for row in rows]))
    rules = [] if run.classes else describe_rules(run, other)
    about["summary"] = "; ".join([gain, *rules, *describe_seen(names, seen_by)])
    page.write(about, views=["truth", *(f"error of {name}" for name in names)])
    print(f"{len(page.images)} pictures in {vis}/, all of them on one page: {vis}/index.html")
    print(about["summary"])


def write_scores(path, names, rows, seen_by):
    """Write each image's Dice by both runs, and where one was trained on it, which."""
    header = ("image", *names, "difference")
    if any(seen_by):
        header = (*header, "seen_in_training")
        rows = [(*row, " ".join(seen)) for row, seen in zip(rows, seen_by)]
    write_text(path, csv_text(header, rows))


def show_pair(page, first, second, names, dice, classes):
    """Add the two runs' Results of an image to the page."""

    def draw_picture(path):
        write_image(path, draw_pair(first, second, names, dice, classes))
        return path

    facts = [f"{name} {value:.3f}" for name, value in zip(names, dice)]
    predictions = first.prediction, second.prediction
    page.add(first, predictions, dice[1] - dice[0], draw_picture, facts)


def check_comparable(run, other, is_of_folder):
    """Raise InputError for runs that cannot be compared on the same images: on a folder's, or on
    those that both held out.
    """
    names = f"{run.name} and {other.name}"
    if run.name == other.name:
        raise InputError(f"--compare {other.name}: is the same run; name another")
    if run.classes != other.classes:
        raise InputError(f"{names} tell other classes apart; compare runs of the same")
    if run.record.network.channels != other.record.network.channels:
        raise InputError(f"{names}: one takes grey images, one RGB; compare runs of the same")
    if is_of_folder:
        return
    records = run.record, other.record
    if all(record.pixels for record in records):
        is_same = records[0].pixels == records[1].pixels
    else:  # of an earlier version
        is_same = len({(record.arrays, record.data) for record in records}) == 1
    if not is_same:
        folders = " and ".join(dict.fromkeys(str(Paths(r.arrays).arrays) for r in records))
        raise InputError(
            f"{names} were trained on other images or masks, of {folders} as it was then; compare "
            "them on a folder: --images DIR --masks DIR"
        )


def check_unseen(run, is_seen):
    """Raise InputError for a run that is to be compared on images that it was trained on."""
    if is_seen:
        raise InputError(f"{run.held_nothing_out}, or compare on --images DIR --masks DIR")


def describe_gain(names, dice):
    """The mean Dice of two runs and their difference, (N, 3), with its standard error, a line."""
    first, second, gain = dice.mean(axis=0)
    error = dice[:, 2].std(ddof=1) / np.sqrt(len(dice)) if len(dice) > 1 else np.nan
    better = np.count_nonzero(dice[:, 2] > 0)
    worse = np.count_nonzero(dice[:, 2] < 0)
    return (
        f"Dice {first:.3f} {names[0]}, {second:.3f} {names[1]}: {gain:+.3f} ± {error:.3f} "
        f"(standard error) over {len(dice)} images, {better} better, {worse} worse"
    )


def describe_rules(run, other):
    """What is foreground for two runs, a list of one text."""
    first, second = run.decision.describe(), other.decision.describe()
    return [first] if first == second else [f"{first} and, of {other.name}, {second}"]


def describe_seen(names, seen_by):
    """How many images each of two runs was trained on, a list of one text; [] of none.

    seen_by: names of the runs that were trained on an image, a tuple for each.
    """
    counts = {name: sum(name in names for names in seen_by) for name in names}
    texts = [f"{count} of them seen in the training of {name}" for name, count in counts.items()]
    texts = [text for text, count in zip(texts, counts.values()) if count]
    return [f"{' and '.join(texts)}: expect less of other images"] if texts else []
