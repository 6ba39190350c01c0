"""Predicted images with their truths, and their scores."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unet.data.arrays import load_arrays
from unet.data.form import Form
from unet.data.split import are_tiled, image_of
from unet.errors import InputError, error_text, refuse
from unet.jobs.settings import IGNORED
from unet.machine.terminal import quiet, with_progress
from unet.prediction.predict import predict_arrays, predict_batch, predict_file, predict_held_out
from unet.prediction.run import check_arrays, check_images, validation_rows
from unet.prediction.scores import (
    HeldOut,
    HeldOutClasses,
    class_counts,
    class_dice,
    count_confusion,
    count_pixels,
    mean_dice,
    precision_and_recall,
)
from unet.prediction.seen import SeenImages
from unet.reading.files import describe_passed
from unet.reading.folders import read_folders
from unet.reading.frames import Source, check_sizes, folder_frames
from unet.reading.levels import check_levels, find_levels
from unet.reading.mask_sources import find_kind
from unet.reading.masks import decode_mask
from unet.reading.pixels import NeedsLevels, decode_image
from unet.runs import Paths, command

SCORES = ("dice", "iou", "pixel_error", "precision", "recall")


@dataclass(frozen=True)
class Result:
    """One predicted image: uint8 (H, W, C); probability float32 (H, W, 1), of classes (H, W, K);
    prediction and truth (or None): class numbers uint8 (H, W), 0 the background, and in the truth
    IGNORED where a pixel does not count. seen_by: names of the runs that were trained on it.
    """

    id: str
    image: np.ndarray
    probability: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray | None
    seen_by: tuple[str, ...] = ()


def make_result(run, id, image, probability, truth, seen_by=()):
    """The Result of an image whose probabilities a run gave."""
    counted = None if truth is None else truth != IGNORED
    prediction = run.decision.mask(probability, counted).astype(np.uint8)
    return Result(id, image, probability, prediction, truth, seen_by)


class PreparedImages:
    """The Results of the images with a truth in a run's arrays: of the test images where they have
    masks (noise), else of the validation share, and where nothing was held out of the training
    images, which are `seen` then. Raises InputError.
    """

    are_rows = True

    def __init__(self, run):
        self.arrays = arrays = load_arrays(run.record.arrays, run.record.job)
        check_arrays(run, arrays)
        check_images(run, arrays)
        self.are_tested = any(row["mask"] for row in arrays.test_files)
        self.are_seen = not (self.are_tested or run.holds_out)
        self.run = self.adapt(run)
        self.unit = "tiles" if are_tiled(arrays.files) and not self.are_tested else "images"
        self.count = len(arrays.test_files if self.are_tested else arrays.files)
        if not (self.are_tested or self.are_seen):
            self.count = sum(map(len, validation_rows(run, arrays)))

    def adapt(self, run):
        """A run as it predicts these images."""
        return run.of_set(self.arrays.test_images) if self.are_tested else run

    def __len__(self):
        return self.count

    def __iter__(self):
        run, arrays = self.run, self.arrays
        files, images, read_truth = arrays.files, arrays.images, arrays.numbers
        if self.are_tested:
            files, images, read_truth = arrays.test_files, arrays.test_images, self.read_test_mask
        predictions = enumerate(predict_arrays(run, images))
        if not (self.are_tested or self.are_seen):
            predictions = predict_held_out(run, arrays)
        seen_by = (run.name,) if self.are_seen else ()
        for row, probability in predictions:
            truth = read_truth(row)
            yield make_result(run, files[row]["id"], images[row], probability, truth, seen_by)

    def read_test_mask(self, row):
        """The true mask of a test image, which data.py drew, from its file: uint8 (H, W)."""
        record, path = self.run.record, self.arrays.test_files[row]["mask"]
        folder = Paths(record.arrays).arrays
        remedy = f"run {command('data.py', record.arrays, record.job)} again"
        refuse(
            # files.csv names no file from elsewhere.
            (Path(path).parent != folder, f"{path}: not in {folder}; {remedy}"),
            (not Path(path).is_file(), f"{path}: missing; {remedy}"),
        )
        truth = decode_mask(Path(path).read_bytes(), path)
        size = self.arrays.test_images.shape[1:3]
        if truth.shape[:2] != size:
            sizes = "{}x{}, the array {}x{}".format(*truth.shape[:2], *size)
            raise InputError(f"{path}: is {sizes}; {remedy}")
        return truth


class FolderImages:
    """The Results of the images in a folder, or of one, each at its own size, with the masks of
    another folder, or what else data.py takes for masks, as truths. Raises InputError.

    reading: fields of Reading in place of those that the run was trained with; skip_bad: leave out
    what cannot be read, and say so; other: a second Run, which may have seen them in training;
    run_length: of Source, in place of the order of the masks trained on.
    """

    are_rows, are_seen, unit = False, False, "images"

    def __init__(
        self, run, images, masks=None, reading=None, skip_bad=False, other=None, run_length=None
    ):
        record = run.record
        given = {name: value for name, value in (reading or {}).items() if value is not None}
        if run.classes and "mask_threshold" in given:
            raise InputError("--mask-threshold is for masks of two classes; leave it out")
        self.run, self.folder, self.skip_bad = run, images, skip_bad
        reading = replace(run.record.reading, in_alpha=False, foreground=None, **given)
        if masks:
            if form := record.reading.submission:
                run_length = run_length or form.order
            source = Source(
                images=images,
                masks=masks,
                run_length=run_length,
                missing_is_empty=True,
                skip_bad=skip_bad,
            )
            found = read_folders(source, record.job, run.classes)
            self.frames, notes = found.frames, found.notes
            if not all(frame.mask for frame in self.frames):
                notes.append("images without a mask are predicted, and not scored")
            reading = find_kind(self.frames, reading, run.classes, skip_bad)
        else:
            self.frames, passed = folder_frames(images)
            notes = [f"passed over: {describe_passed(passed)}"] if passed else []
        if given.get("white_level"):
            check_levels([frame.image for frame in self.frames], reading, skip_bad)
        channels, is_colored = record.network.channels, record.is_colored
        self.form = Form((0, 0), channels, reading, False, run.classes, is_colored)
        for note in notes:
            print(note)
        self.scored_runs = [r for r in (run, other) if r and masks]

    def __len__(self):
        return len(self.frames)

    def __iter__(self):
        trained_on = {run.name: SeenImages(run) for run in self.scored_runs}
        for name, seen in trained_on.items():
            if not seen.arrays:
                print(
                    f"{name}: its arrays are gone or others, so what it was trained on is unknown"
                )
        for frame, image, truth in quiet(self.read_all()):
            probability = predict_file(self.run, image)
            seen_by = tuple(name for name, seen in trained_on.items() if seen.has(image))
            yield make_result(self.run, frame.id, image, probability, truth, seen_by)

    def read_all(self):
        """Yield each frame with its image and its truth, None without a mask."""
        left_out = 0
        for frame in self.frames:
            try:
                image = self.read_image(frame.image)
                truth = None
                if frame.mask:
                    form = self.form
                    truth = frame.mask.decode(form.reading, form.classes, form.is_colored)
                    check_sizes(frame, image.shape[:2], truth.shape)
            except (InputError, OSError) as error:
                if not self.skip_bad:
                    raise
                print(f"left out: {error_text(error)}")
                left_out += 1
            else:
                yield frame, image, truth
        if left_out:
            print(f"{left_out} of {len(self.frames)} images left out")
        if left_out == len(self.frames):
            raise InputError(f"{self.folder}: no image is left; see above why")

    def read_image(self, file):
        """uint8 (H, W, C); the first of more than 8 bit, where the training had none, has the
        levels found.
        """
        channels, data = self.form.channels, file.read()
        try:
            return decode_image(data, file.path, channels, file.page, self.form.reading)
        except NeedsLevels:
            images = [frame.image for frame in self.frames]
            reading, note = find_levels(images, self.form.reading, self.skip_bad)
            print(note)
            self.form = replace(self.form, reading=reading)
            return decode_image(data, file.path, channels, file.page, reading)


def unseen_by(run, files):
    """The Run of the network that did not see a held-out image, by the id that the image has in
    `files`, the rows of files.csv of equal arrays. Raises InputError.
    """
    arrays = load_arrays(run.record.arrays, run.record.job)
    unseen = {}
    for network, rows in zip(run.networks, validation_rows(run, arrays) if run.holds_out else ()):
        alone = replace(run, networks=(network,)).of_set(arrays.images, rows)
        unseen |= {files[row]["id"]: alone for row in rows}
    return unseen


def predict_again(run, result, is_row):
    """The Result of another run on the image of a Result; is_row: one of the arrays, of the size
    that networks see.
    """
    image = result.image
    probability = predict_batch(run, image[None])[0] if is_row else predict_file(run, image)
    return make_result(run, result.id, image, probability, result.truth)


def score(result, num_classes=2, first=1):
    """SCORES of one Result with a truth, a tuple of floats, and count_confusion of its pixels.

    Dice and IoU are means over the classes, from the first one on, that are in the truth or in the
    prediction, 1 where none is; pixel_error is the share of pixels of another class, 0 where no
    pixel counts; precision and recall are precision_and_recall.
    """
    confusion = count_confusion(result.truth, result.prediction, num_classes)
    right, total = class_counts(confusion)
    dice = class_dice(right, total)
    num_pixels = confusion.sum()
    wrong = 1 - right.sum() / num_pixels if num_pixels else 0
    scores = mean_dice(dice, first), mean_dice(dice / (2 - dice), first), float(wrong)
    return (*scores, *precision_and_recall(confusion, first)), confusion


def measure_held_out(run, arrays, predictions=None):
    """The HeldOut of a run, from its predictions, those of predict_held_out; raises InputError as
    validation_rows does.
    """
    return HeldOut(*count_images(run, arrays, count_pixels, predictions))


def measure_classes(run, arrays):
    """The HeldOutClasses of a run of more than two classes; raises as measure_held_out does."""

    def count(truth, probability):
        confusion = count_confusion(truth, run.decision.mask(probability), run.num_maps)
        return confusion.sum(axis=1), *class_counts(confusion)

    return HeldOutClasses(*count_images(run, arrays, count), run.first_class)


def count_images(run, arrays, count, predictions=None):
    """Arrays of N images that were held out: number of the network that did not see each, and
    what count(truth, probability), a tuple, gives; of an image cut into tiles the sums over them.

    Where tiles overlap, the last ones with their neighbours, pixels are counted once for each.
    """
    rows_of, sums = validation_rows(run, arrays), {}
    fold_of = {row: number for number, rows in enumerate(rows_of) for row in rows}
    predictions = predictions or predict_held_out(run, arrays)
    for row, probability in with_progress(predictions, len(fold_of), "held-out images"):
        image = fold_of[row], image_of(arrays.files[row])
        counts = count(arrays.numbers(row), probability)
        sums[image] = [a + b for a, b in zip(sums.get(image, itertools.repeat(0)), counts)]
    folds = np.array([fold for fold, _ in sums])
    return folds, *map(np.array, zip(*sums.values()))


def mean_masks(run, arrays):
    """Yield (row, mean mask (H, W, 1) in [0, 1]) of each image that the training held out: of the
    masks that the network which did not see it was trained on, where their pixels count.
    """
    for held_out in validation_rows(run, arrays):
        foreground, counted = 0, 0
        for row in sorted(set(range(len(arrays.files))) - set(held_out)):
            numbers = arrays.numbers(row)
            foreground = foreground + (numbers == 1)
            counted = counted + (numbers != IGNORED)
        mean = (foreground / np.maximum(counted, 1))[..., None]
        yield from ((row, mean) for row in held_out)
