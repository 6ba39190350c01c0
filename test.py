"""Predict a run's validation images, or any folder of images: scores, and pictures in vis/NAME/.

python test.py nerve
"""

from dataclasses import dataclass

from jobs import InputError, command
from options import (
    error_text,
    one_line_errors,
    option,
    parse_options,
    run_option,
    stop_in_one_line,
)


@dataclass(frozen=True)
class Options:
    run: str = run_option()
    images: str | None = option(
        None, "folder of images to predict instead; their masks go to output/NAME/masks/"
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
    num_images: int = option(100, "pictures drawn at the most; all images are scored", least=0)
    weights: str | None = option(None, "HDF5 file (default: weights/NAME.weights.h5)")
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

from arrays import load_arrays
from disk import csv_text, lock, write_text
from files import decode_image, decode_mask, list_images, quiet, with_progress, write_image
from frames import check_sizes, files_by_id, read_folders, without_masks
from gallery import describe, new_layers, summarize, write_layers, write_page
from losses import dice_per_image, iou_per_image
from pictures import draw, draw_channels
from predict import (
    check_arrays,
    load_run,
    predict_arrays,
    predict_file,
    predict_held_out,
    validation_rows,
)
from runs import HeldOut, count_pixels

SCORES = ("dice", "iou", "pixel_error")


@dataclass(frozen=True)
class Result:
    """One predicted image: uint8 (H, W, C); probability float32 (H, W, 1); prediction bool (H, W);
    truth uint8 (H, W, 1) or None.
    """

    id: str
    image: np.ndarray
    probability: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray | None


def held_out(run):
    """How many images with a truth the training did not see, and their Results: of the test images
    where they have masks (noise), else of the validation share. Raises InputError.
    """
    name, job = run.record["arrays"], run.record["job"]
    arrays = load_arrays(name, job)
    check_arrays(run, arrays)
    if any(row["mask"] for row in arrays.test_files):
        images, files, count = arrays.test_images, arrays.test_files, len(arrays.test_files)
        predicted = enumerate(predict_arrays(run, images))
    else:
        images, files = arrays.images, arrays.files
        count = sum(map(len, validation_rows(run, arrays)))
        predicted = predict_held_out(run, arrays)

    def read_truth(row):
        if images is arrays.images:
            return arrays.masks[row]
        path, again = files[row]["mask"], f"run {command('data.py', name, job)} again"
        if Path(path).parent != Path("output", name):  # files.csv names no file from elsewhere
            raise InputError(f"{path}: not in output/{name}; {again}")
        if not Path(path).is_file():
            raise InputError(f"{path}: missing; {again}")
        truth = decode_mask(Path(path).read_bytes(), path)
        if truth.shape[:2] != images.shape[1:3]:
            sizes = "{}x{}, the array {}x{}".format(*truth.shape[:2], *images.shape[1:3])
            raise InputError(f"{path}: is {sizes}; {again}")
        return truth

    def results():
        for row, probability in predicted:
            prediction = run.decision.mask(probability)
            yield Result(files[row]["id"], images[row], probability, prediction, read_truth(row))

    return count, results()


def folder_images(run, options):
    """How many images there are in a folder of any images, and their Results, each at its own
    size.
    """
    if options.masks:
        frames = read_folders(options.images, options.masks)
    else:
        frames = without_masks(files_by_id(list_images(options.images, recursive=False)))

    def read(frame):
        channels = run.record["network"]["channels"]
        image = decode_image(
            frame.image.read(), frame.image.path, channels, 0, options.white_level
        )
        truth = None
        if frame.mask:
            truth = decode_mask(frame.mask.read(), frame.mask.path, 0, options.threshold)
            check_sizes(frame, image.shape[:2], truth.shape[:2])
        return image, truth

    def pairs():
        left_out = 0
        for frame in frames:
            try:
                yield frame, *read(frame)
            except (InputError, OSError) as error:
                if not options.skip_bad:
                    raise
                print(f"left out: {error_text(error)}")
                left_out += 1
        if options.skip_bad:
            print(f"{left_out} of {len(frames)} images left out")
        if left_out == len(frames):
            raise InputError(f"{options.images}: no image is left; see above why")

    def results():
        for frame, image, truth in quiet(pairs()):
            probability = predict_file(run, image)
            prediction = run.decision.mask(probability)
            yield Result(frame.id, image, probability, prediction, truth)

    return len(frames), results()


def score(result):
    """Dice, IoU and share of wrong pixels of one Result with a truth, three floats."""
    truth, prediction = result.truth[None] > 0, result.prediction[None, ..., None]
    wrong = np.mean(truth != prediction)
    return (
        float(dice_per_image(truth, prediction)[0]),
        float(iou_per_image(truth, prediction)[0]),
        float(wrong),
    )


def main(options):
    if options.masks and not options.images:
        raise InputError("--masks goes with --images; pass both")
    run = load_run(options.run, options.weights, options.average)  # before any folder is made
    with lock(Path("vis", f".{options.run}.lock")):
        predict_and_draw(run, options)


def predict_and_draw(run, options):
    """Write masks, pictures, scores and the page of what the options name, and print the means."""
    count, results = folder_images(run, options) if options.images else held_out(run)
    vis, masks = Path("vis", options.run), Path("output", options.run, "masks")
    if options.images:
        vis = vis / "images"  # apart from the pictures and scores of the held-out images
    rows, counts, shown, number = [], [], [], -1
    with new_layers(vis) as layers:
        for number, result in enumerate(with_progress(results, count, "images")):
            name = re.sub(r"[\\/:]", "_", result.id)  # a table's ids are paths
            if result.truth is not None:
                rows.append((result.id, *score(result)))
                pixels = count_pixels(result.truth > 0, result.probability)
                counts.append((0, *pixels, result.truth.size))
            if options.images:
                write_image(
                    masks / f"{name}.png", np.where(result.prediction, np.uint8(255), np.uint8(0))
                )
            if number < options.num_images:
                dice = rows[-1][1] if result.truth is not None else None
                draw_result(result, dice, vis / f"{name}.png", run.record["job"])
                mask = None if dice is None else (result.truth[..., 0] > 0).astype(np.uint8)
                sizes = write_layers(
                    layers, number + 1, result.image, mask, result.prediction.astype(np.uint8)
                )
                shown.append(dict(name=result.id, dice=dice, picture=f"{name}.png", **sizes))
    if options.images:
        print(f"{number + 1} masks in {masks}/")
    print(f"{len(shown)} pictures in {vis}/")
    figures = None
    if rows:
        means = write_scores(vis, rows)
        held = HeldOut(*map(np.array, zip(*counts)))
        figures = summarize([row[1] for row in rows], held, run.decision)
    write_page(vis, describe(options.run, run.record, len(run.networks)), shown, figures)
    print(f"all of them on one page: {vis}/index.html")
    if rows:
        print(
            f"Dice {means['dice']:.3f} (worst {means['worst_dice']:.3f}) over {len(rows)} images, "
            f"foreground above {run.decision.threshold:.2f}"
        )


def draw_result(result, dice, path, job):
    """Write the side-by-side picture of a Result, for noise the document's picture, too."""
    caption = result.id if dice is None else f"{result.id}  Dice {dice:.3f}"
    write_image(path, draw(result, caption))
    if job == "noise" and dice is not None:
        write_image(path.with_name(f"{path.stem}_channels.png"), draw_channels(result))


def write_scores(vis, rows):
    """Write each image's scores and their means, a dict, which is returned."""
    means = {name: float(np.mean(values)) for name, values in zip(SCORES, list(zip(*rows))[1:])}
    means["worst_dice"] = min(row[1] for row in rows)
    write_text(vis / "scores.csv", csv_text(("image", *SCORES), rows))
    write_text(vis / "scores.json", json.dumps({"num_images": len(rows), **means}, indent=1))
    return means


if __name__ == "__main__":
    with one_line_errors():
        main(OPTIONS)
