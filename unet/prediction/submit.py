"""The files that submission.py reads: saved probabilities, and true masks for the competition's
score. No Keras, which what is saved already does not need.
"""

import csv
import itertools

import numpy as np

from unet.data.arrays import TEST_IMAGES, Rows
from unet.errors import InputError
from unet.machine.disk import read_csv
from unet.reading.run_length import run_length_dec
from unet.runs import Paths


def saved_probabilities(record, arrays):
    """The probabilities of the test images that training or an earlier submission wrote, Rows;
    None where they are missing, older than weights or images, or of another size.
    """
    paths = Paths(record.name)
    sources = [Paths(network).weights for network in record.network_names]
    sources += [paths.record, Paths(record.arrays).arrays / TEST_IMAGES]
    if not all(file.exists() for file in (paths.probabilities, *sources)):
        return None
    written = paths.probabilities.stat().st_mtime_ns
    if any(file.stat().st_mtime_ns > written for file in sources):
        return None
    probabilities = open_probabilities(record.name)
    shape = (*arrays.test_images.shape[:3], 1)
    is_right = (probabilities.dtype, probabilities.shape) == (np.float32, shape)
    return probabilities if is_right else None


def open_probabilities(name):
    """The Rows of the probabilities that are saved for a run; raises InputError."""
    return Rows(Paths(name).probabilities, f"delete it and run python submission.py {name}")


def read_truth(path, rules):
    """Run-length codes by image name, from a CSV in the submission's columns; with a column
    subject, as Kaggle's own for nerve, the name is subject_img. Raises InputError.
    """
    name, code = rules.columns
    truth = {}
    for number, row in enumerate(read_csv(path, rules.columns), 2):
        key = f"{row['subject']}_{row[name]}" if "subject" in row else row[name]
        if key in truth:
            raise InputError(f"{path}: line {number}: a second line for image {key}; keep one")
        truth[key] = row[code]
    return truth


def score_file(path, truth_path, truth, sizes, rules):
    """The competition's score of a submission, the mean Dice of its images, and that of an all
    empty one.

    truth: run-length codes by image name, from a file at truth_path; sizes: (H, W) by image name.
    Raises InputError for an image that the truth lacks, or whose code is damaged.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:  # line by line: codes are long
            scores = [
                [image_dice(name, c, sizes[name], truth, rules.columns_first) for c in (code, "")]
                for name, code in itertools.islice(csv.reader(file), 1, None)
            ]
    except InputError as error:
        raise InputError(f"{truth_path}: {error}") from error
    return np.mean(scores, axis=0)


def image_dice(name, code, size, truth, columns_first):
    """Dice of a line's mask with the true one, empty against empty 1, in [0, 1]: the competition's
    score is the mean over the images.

    size: (H, W), None of an image that could not be read, whose code is empty; truth: run-length
    codes by image name. Raises InputError for an image that it lacks.
    """
    if name not in truth:
        raise InputError(f"no line for image {name}; every image of the submission needs one")
    if size is None:
        return float(not truth[name].strip())
    try:
        a, b = (run_length_dec(c, *size, columns_first) for c in (code, truth[name]))
    except InputError as error:
        raise InputError(f"image {name}: {error}") from error
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0
