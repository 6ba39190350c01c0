"""Predicted images with their truths, and their scores."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from arrays import load_arrays
from classes import class_dice, count_classes, decode_classes, mean_dice
from files import decode_image, decode_mask, list_images, quiet
from frames import check_sizes, files_by_id, read_folders, without_masks
from jobs import InputError, command
from options import error_text
from predict import check_arrays, predict_arrays, predict_file, predict_held_out, validation_rows

SCORES = ("dice", "iou", "pixel_error")


@dataclass(frozen=True)
class Result:
    """One predicted image: uint8 (H, W, C); probability float32 (H, W, 1), of classes (H, W, K);
    prediction and truth (or None): class numbers uint8 (H, W), 0 the background.
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
    if has_test_masks(arrays):
        images, files, count = arrays.test_images, arrays.test_files, len(arrays.test_files)
        predicted = enumerate(predict_arrays(run, images))
    else:
        images, files = arrays.images, arrays.files
        count = sum(map(len, validation_rows(run, arrays)))
        predicted = predict_held_out(run, arrays)

    def read_truth(row):
        if images is arrays.images:
            mask = arrays.masks[row][..., 0]
            return mask if arrays.classes else mask // 255
        path, again = files[row]["mask"], f"run {command('data.py', name, job)} again"
        if Path(path).parent != Path("output", name):  # files.csv names no file from elsewhere
            raise InputError(f"{path}: not in output/{name}; {again}")
        if not Path(path).is_file():
            raise InputError(f"{path}: missing; {again}")
        truth = decode_mask(Path(path).read_bytes(), path)[..., 0] // 255
        if truth.shape[:2] != images.shape[1:3]:
            sizes = "{}x{}, the array {}x{}".format(*truth.shape[:2], *images.shape[1:3])
            raise InputError(f"{path}: is {sizes}; {again}")
        return truth

    def results():
        for row, probability in predicted:
            prediction = run.decision.mask(probability).astype(np.uint8)
            yield Result(files[row]["id"], images[row], probability, prediction, read_truth(row))

    return count, results()


def folder_images(run, options):
    """How many images there are in the folder options.images, and their Results, each at its own
    size; options: those of test.py. Raises InputError.
    """
    if run.classes and options.threshold is not None:
        raise InputError("--threshold is for masks of two classes; leave it out")
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
            data, path = frame.mask.read(), frame.mask.path
            if run.classes:
                is_colored = run.record["is_colored"]
                truth = decode_classes(data, path, run.classes, is_colored=is_colored)[..., 0]
            else:
                truth = decode_mask(data, path, 0, options.threshold)[..., 0] // 255
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
            prediction = run.decision.mask(probability).astype(np.uint8)
            yield Result(frame.id, image, probability, prediction, truth)

    return len(frames), results()


def unseen_by(run):
    """The network that did not see a held-out image, by the image's id; None where test images,
    which none has seen, are scored. Raises InputError.
    """
    arrays = load_arrays(run.record["arrays"], run.record["job"])
    check_arrays(run, arrays)
    if has_test_masks(arrays):
        return None
    return {id: network for network in run.networks for id in network.record["validation"]}


def has_test_masks(arrays):
    return any(row["mask"] for row in arrays.test_files)


def predict_again(run, result):
    """The Result of another run on the image of a Result."""
    probability = predict_file(run, result.image)
    prediction = run.decision.mask(probability).astype(np.uint8)
    return replace(result, probability=probability, prediction=prediction)


def score(result, num_classes=2):
    """SCORES of one Result with a truth, a tuple of floats, and count_classes of its pixels.

    Dice and IoU are means over the classes but the background that are in the truth or in the
    prediction, 1 where none is; pixel_error is the share of pixels of another class.
    """
    right, total = count_classes(result.truth, result.prediction, num_classes)
    dice = class_dice(right, total)
    wrong = 1 - right.sum() / result.truth.size
    return (mean_dice(dice), mean_dice(dice / (2 - dice)), float(wrong)), (right, total)
