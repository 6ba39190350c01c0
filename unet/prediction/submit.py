"""The files that submission.py reads: saved probabilities, and true masks for the competition's
score. No Keras, which what is saved already does not need.
"""

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from unet.data.arrays import TEST_IMAGES, Rows
from unet.errors import InputError
from unet.jobs import JOBS
from unet.machine.disk import read_csv
from unet.prediction.masks import CONNECTIVITY
from unet.reading.codes import EMPTY
from unet.reading.run_length import run_length_dec, run_length_enc
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
    num_maps = len(record.classes) or 1
    shape = (*arrays.test_images.shape[:3], num_maps)
    is_right = (probabilities.dtype, probabilities.shape) == (np.float32, shape)
    return probabilities if is_right else None


def open_probabilities(name):
    """The Rows of the probabilities that are saved for a run; raises InputError."""
    return Rows(Paths(name).probabilities, f"delete it and run python submission.py {name}")


def rules_of(record, header=None, run_length=None):
    """The Submission of a Record: of the table of run-length code that it was trained on, else of
    its job, with another header, a text with commas, and order where they are given. Raises
    InputError.
    """
    rules = record.reading.submission or JOBS[record.job].submission
    if record.classes and not rules.labels:
        raise InputError(
            f"{Paths(record.name).record}: a run of {len(record.classes)} classes; the table of "
            "its training has no class beside the code; use the masks of python test.py "
            f"{record.name} --images DIR"
        )
    if rules.labels and not record.classes:  # all of them are foreground
        rules = replace(rules, labels="", columns=(rules.columns[0], rules.columns[-1]))
    columns = tuple(header.split(",")) if header else rules.columns
    if len(columns) != len(rules.columns):
        raise InputError(
            f"--header {header}: {len(columns)} columns, expected {len(rules.columns)}, as "
            f"{','.join(rules.columns)}"
        )
    columns_first = run_length == "columns" if run_length else rules.columns_first
    return replace(rules, columns=columns, columns_first=columns_first)


def encode_image(file, mask, rules, names):
    """The lines of a submission for an image, a row of files.csv, and its class numbers, uint8
    (H, W): tuples of the cells before the code, and a list of codes.

    names: of the classes, () for foreground and background.
    """
    image = file["id"] + Path(file["image"]).suffix if rules.extension else file["id"]
    for number, label in enumerate(names[1:] or ("",), 1):
        key = (image, label) if rules.labels == "column" else (f"{image}_{label}",)
        part = np.asarray(mask == number, np.uint8)
        parts = [part]
        if rules.per_object:
            count, objects = cv2.connectedComponents(part, connectivity=CONNECTIVITY)
            parts = (objects == n for n in range(1, count))
        codes = [run_length_enc(p, rules.columns_first, rules.min_pixels) for p in parts]
        yield key if rules.labels else (image,), [code for code in codes if code]


def read_truth(path, rules):
    """Lists of run-length codes by the cells before them, tuples, from a CSV in the submission's
    columns; with a column subject, as Kaggle's own for nerve, the name is subject_img. Raises
    InputError.
    """
    *keys, code = rules.columns
    truth = {}
    for number, row in enumerate(read_csv(path, rules.columns), 2):
        cells = tuple(row[key] for key in keys)
        key = (f"{row['subject']}_{cells[0]}",) if "subject" in row else cells
        if key in truth and not rules.per_object:
            name = " ".join(key)
            raise InputError(f"{path}: line {number}: a second line for image {name}; keep one")
        text = row[code].strip()
        truth.setdefault(key, []).extend([] if text.lower() in EMPTY else [text])
    return truth


def score_file(path, truth_path, truth, sizes, rules):
    """The competition's score of a submission, the mean Dice of its images (of each class, where
    it has such lines), and that of an all empty one.

    truth: of read_truth, from a file at truth_path; sizes: (H, W) by the cells before a code.
    Raises InputError for an image that the truth lacks, or whose code is damaged.
    """
    scores, may_lack = {}, rules.empty is None
    try:
        with open(path, encoding="utf-8", newline="") as file:  # line by line: codes are long
            lines = itertools.islice(csv.reader(file), 1, None)
            for key, of_key in itertools.groupby(lines, lambda line: tuple(line[:-1])):
                codes = [line[-1] for line in of_key if line[-1] != rules.empty]
                scores[key] = [
                    image_dice(key, c, sizes[key], truth, rules.columns_first, may_lack)
                    for c in (codes, [])
                ]
        for key in sizes.keys() - scores.keys():  # an empty mask, which has no line
            dice = image_dice(key, [], sizes[key], truth, rules.columns_first, may_lack)
            scores[key] = [dice, dice]
    except InputError as error:
        raise InputError(f"{truth_path}: {error}") from error
    return np.mean(list(scores.values()), axis=0)


def image_dice(key, codes, size, truth, columns_first, may_lack=False):
    """Dice of a mask with the true one, empty against empty 1, in [0, 1]: the competition's score
    is the mean over the images.

    key: the cells before the code; size: (H, W), None of an image that could not be read, whose
    mask is empty; truth: of read_truth. may_lack: an empty mask has no line. Raises InputError
    for an image that the truth lacks.
    """
    name = " ".join(key)
    if key not in truth and not may_lack:
        raise InputError(f"no line for image {name}; every image of the submission needs one")
    true_codes = truth.get(key, [])
    if size is None:
        return float(not true_codes)
    try:
        a, b = (union(of_mask, size, columns_first) for of_mask in (codes, true_codes))
    except InputError as error:
        raise InputError(f"image {name}: {error}") from error
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0


def union(codes, size, columns_first):
    """The mask, bool (H, W), of what any of some run-length codes has; raises InputError."""
    masks = [run_length_dec(code, *size, columns_first) for code in codes]
    return np.any(masks, axis=0) if masks else np.zeros(size, bool)
