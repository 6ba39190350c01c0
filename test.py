"""Predict a run's validation images, or any folder of images: scores, and pictures in vis/NAME/.

python test.py nerve
"""

from dataclasses import dataclass, replace

from jobs import InputError, check_name
from options import one_line_errors, option, parse_options, run_option, stop_in_one_line


@dataclass(frozen=True)
class Options:
    run: str = run_option()
    images: str | None = option(
        None,
        "folder of images to predict instead; their masks go to output/NAME/masks/",
        group="what is predicted",
    )
    masks: str | None = option(None, "folder of their true masks, paired by name, to score them")
    threshold: int | None = option(
        None, "true-mask values above it are foreground, as in data.py", least=0, most=65534
    )
    white_level: int = option(
        65535, "value of a 16-bit image that becomes 255, as in data.py", least=1, most=65535
    )
    skip_bad: bool = option(
        False, "leave out those of --images that cannot be read, and list them"
    )
    num_images: int = option(
        100, "pictures drawn at the most; all images are scored", least=0, group="how"
    )
    weights: str | None = option(None, "HDF5 file (default: weights/NAME.weights.h5)")
    compare: str | None = option(
        None,
        "name of a second run: scores and pictures of both go to vis/NAME+NAME/",
        metavar="NAME",
        check=check_name,
    )
    average: bool = option(
        True, "average predictions over the turns and flips that the training had"
    )


if __name__ == "__main__":
    stop_in_one_line()
    with one_line_errors():  # before Keras, which takes seconds to load
        OPTIONS = parse_options(Options, "test.py", __doc__)

import json
import re
from pathlib import Path

import numpy as np

from classes import TWO_CLASSES, class_dice, colors_of, mean_dice
from disk import csv_text, lock, write_text
from files import with_progress, write_image
from gallery import describe, new_layers, summarize, write_layers, write_page
from pictures import draw, draw_channels, draw_pair
from predict import load_run
from runs import HeldOut, count_pixels
from scoring import SCORES, folder_images, held_out, predict_again, score, unseen_by

OF_TRAINING = ("curves", "progress", "filmstrip")  # pictures in vis/NAME that are train.py's


def main(options):
    if options.masks and not options.images:
        raise InputError("--masks goes with --images; pass both")
    if options.compare and options.weights:
        raise InputError("--weights is of one run; leave it out, or --compare")
    # Before any folder is made
    run = load_run(options.run, options.weights, options.average)
    other = load_run(options.compare, average=options.average) if options.compare else None
    with lock(Path("vis", f".{options.run}.lock")):
        if other:
            compare(run, other, options)
        else:
            predict_and_draw(run, options)


def predict_and_draw(run, options):
    """Write masks, pictures, scores and the page of what the options name, and print the means."""
    count, results = folder_images(run, options) if options.images else held_out(run)
    vis, masks = Path("vis", options.run), Path("output", options.run, "masks")
    if options.images:
        vis = vis / "images"  # apart from the pictures and scores of the held-out images
    classes = run.classes or TWO_CLASSES
    rows, pixels, levels, shown, taken, number = [], [], [], [], set(), -1
    with new_layers(vis) as layers:
        for number, result in enumerate(with_progress(results, count, "images")):
            if result.truth is not None:
                scores, of_classes = score(result, len(classes))
                rows.append((result.id, *scores))
                pixels.append(of_classes)
                if not run.classes:
                    counts = count_pixels(result.truth[..., None] > 0, result.probability)
                    levels.append((0, *counts, result.truth.size))
            if options.images:
                white = np.uint8(1 if run.classes else 255)
                write_image(masks / f"{file_name(result.id)}.png", white * result.prediction)
            if number < options.num_images:
                dice = rows[-1][1] if result.truth is not None else None
                name = picture_name(result.id, taken)
                draw_result(result, dice, vis / f"{name}.png", run)
                sizes = write_layers(
                    layers,
                    number + 1,
                    result.image,
                    result.truth,
                    [result.prediction],
                    colors_of(classes),
                )
                shown.append(dict(name=result.id, dice=dice, picture=f"{name}.png", **sizes))
    if options.images:
        print(f"{number + 1} masks in {masks}/")
    print(f"{len(shown)} pictures in {vis}/")
    figures = None
    if rows:
        means = write_scores(vis, rows, np.sum(pixels, axis=0), run.classes)
        held = HeldOut(*map(np.array, zip(*levels))) if levels else None
        figures = summarize([row[1] for row in rows], held, run.decision)
        figures["classes"] = means.get("classes", {})
    about = describe(options.run, run.record, len(run.networks))
    write_page(vis, about, shown, figures, classes)
    print(f"all of them on one page: {vis}/index.html")
    if rows:
        print_scores(means, len(rows), run)


def file_name(id):
    """The name of an image's files: a table's ids are paths."""
    return re.sub(r"[\\/:]", "_", id)


def picture_name(id, taken):
    """The name of an image's picture, apart from those that are taken, lower case, to which it is
    added: from a/b and a_b, and from what a training draws.
    """
    name = stem = file_name(id)
    number = 1
    while name.lower() in taken or name.lower().startswith(OF_TRAINING):
        number += 1
        name = f"image {stem} {number}"
    taken.add(name.lower())
    return name


def draw_result(result, dice, path, run):
    """Write the side-by-side picture of a Result, for noise the document's picture, too."""
    caption = result.id if dice is None else f"{result.id}  Dice {dice:.3f}"
    write_image(path, draw(result, caption, run.classes))
    if run.record["job"] == "noise" and dice is not None:
        write_image(path.with_name(f"{path.stem}_channels.png"), draw_channels(result))


def write_scores(vis, rows, pixels, classes):
    """Write each image's scores and their means, a dict, which is returned; of more than two
    classes the Dice of each, too, over the pixels of all images.
    """
    means = {name: float(np.mean(values)) for name, values in zip(SCORES, list(zip(*rows))[1:])}
    means["worst_dice"] = min(row[1] for row in rows)
    if classes:
        dice = class_dice(*pixels)
        means["classes"] = {
            one.name: None if np.isnan(value) else float(value)
            for one, value in zip(classes, dice)
        }
        means["mean_of_classes"] = mean_dice(dice)
    write_text(vis / "scores.csv", csv_text(("image", *SCORES), rows))
    write_text(vis / "scores.json", json.dumps({"num_images": len(rows), **means}, indent=1))
    return means


def print_scores(means, count, run):
    if not run.classes:
        rule = f"foreground above {run.decision.threshold:.2f}"
    else:
        rule = "of the classes in each"
        dice = ", ".join(
            f"{name} {'-' if value is None else format(value, '.3f')}"
            for name, value in means["classes"].items()
        )
        mean = means["mean_of_classes"]
        print(f"Dice of all pixels: {dice}; mean without the background {mean:.3f}")
    print(
        f"Dice {means['dice']:.3f} (worst {means['worst_dice']:.3f}) over {count} images, {rule}"
    )


# ---- two runs


def compare(run, other, options):
    """Write scores, pictures and a page of what two runs make of the same images, those that none
    of them has seen, and print what the second one gains.
    """
    names = run.name, other.name
    check_comparable(run, other, options)
    count, results = folder_images(run, options) if options.images else held_out(run)
    vis, classes = Path("vis", f"{names[0]}+{names[1]}"), run.classes or TWO_CLASSES
    unseen = None if options.images else unseen_by(other)
    rows, shown, taken = [], [], set()
    with new_layers(vis) as layers:
        for first in with_progress(results, count, "images"):
            if unseen is not None and first.id not in unseen:
                continue
            alone = other if unseen is None else replace(other, networks=(unseen[first.id],))
            second = predict_again(alone, first)
            dice = [score(result, len(classes))[0][0] for result in (first, second)]
            rows.append((first.id, *dice, dice[1] - dice[0]))
            if len(rows) > options.num_images:
                continue
            picture = f"{picture_name(first.id, taken)}.png"
            write_image(vis / picture, draw_pair(first, second, names, dice, run.classes))
            masks = first.prediction, second.prediction
            sizes = write_layers(
                layers, len(rows), first.image, first.truth, masks, colors_of(classes)
            )
            facts = [f"{name} {value:.3f}" for name, value in zip(names, dice)]
            shown.append(
                dict(name=first.id, dice=rows[-1][3], picture=picture, facts=facts, **sizes)
            )
        if not rows:  # a page of before stays
            raise InputError(
                f"{names[0]} and {names[1]} held out no image in common; train both with the same "
                "--seed, --validation-split and --folds"
            )
    write_text(vis / "scores.csv", csv_text(("image", *names, "difference"), rows))
    about = describe(names[1], other.record, len(other.networks))
    about["title"] = f"{names[1]} against {names[0]}"
    views = ["truth", *(f"error of {name}" for name in names)]
    about["summary"] = describe_gain(names, np.array([row[1:] for row in rows]))
    write_page(vis, about, shown, None, classes, views)
    print(f"{len(shown)} pictures in {vis}/, all of them on one page: {vis}/index.html")
    print(about["summary"])


def check_comparable(run, other, options):
    """Raise InputError for runs that cannot be compared on the same images."""
    names = f"{run.name} and {other.name}"
    if run.name == other.name:
        raise InputError(f"--compare {other.name}: is the same run; name another")
    if run.classes != other.classes:
        raise InputError(f"{names} tell other classes apart; compare runs of the same")
    if run.record["network"]["channels"] != other.record["network"]["channels"]:
        raise InputError(f"{names}: one takes grey images, one RGB; compare runs of the same")
    if options.images and not options.masks:
        raise InputError("--compare scores; pass --masks with --images")
    if not options.images and run.record["arrays"] != other.record["arrays"]:
        raise InputError(
            f"{names} were trained on other arrays; compare them on a folder: --images DIR "
            "--masks DIR"
        )
    if not options.images and run.record.get("data") != other.record.get("data"):
        raise InputError(
            f"{names}: output/{run.record['arrays']} has changed between their trainings; compare "
            "them on a folder: --images DIR --masks DIR"
        )


def describe_gain(names, dice):
    """The mean Dice of two runs and their difference, (N, 3), with its standard error, a line."""
    first, second, gain = dice.mean(axis=0)
    error = dice[:, 2].std(ddof=1) / np.sqrt(len(dice)) if len(dice) > 1 else np.nan
    better, worse = (np.count_nonzero(sign * dice[:, 2] > 0) for sign in (1, -1))
    return (
        f"Dice {first:.3f} {names[0]}, {second:.3f} {names[1]}: {gain:+.3f} ± {error:.3f} "
        f"(standard error) over {len(dice)} images, {better} better, {worse} worse"
    )


if __name__ == "__main__":
    with one_line_errors():
        main(OPTIONS)
