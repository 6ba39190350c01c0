"""Rows of the arrays that a network is trained on, and those that it is scored on."""

import itertools
import math
import re
from collections import Counter

import numpy as np

from unet.errors import InputError, refuse
from unet.runs import fold_name


def split_rows(files, share, by_subject, seed, labels=None):
    """Numbers of the training and of the validation rows of files.csv, two int arrays.

    A split that the files state (noise, tables) stands. Else subjects are drawn and held out whole
    as long as that brings their images nearer to the share; or, not by subject, the last rows are,
    as Keras's validation_split does. labels: a set of classes of each row; where subjects differ
    in them, both sides get of each. Raises ValueError where a side would stay empty.
    """
    rows = np.arange(len(files))
    held_out = np.array([row["split"] == "validation" for row in files])
    if held_out.any() or share == 0:
        return rows[~held_out], rows[held_out]
    count = math.ceil(share * len(rows))
    if by_subject:
        subjects = np.array([row["subject"] for row in files])
        shares = spread(subjects, labels, (share, 1 - share), seed)
        if shares is None:
            held_out = np.isin(subjects, draw_subjects(subjects, count, seed))
        else:
            held_out = shares == 0
    else:
        held_out = rows >= len(rows) - count
    if held_out.all():
        is_subject = by_subject and len(rows) > 1
        what = "subject; pass --no-split-by-subject or" if is_subject else "image; pass"
        raise InputError(f"a validation split needs more than one {what} --validation-split 0")
    return rows[~held_out], rows[held_out]


def draw_subjects(subjects, count, seed):
    """Some of the subjects of `subjects` (N,), drawn so that they have about `count` rows; at
    least one, and not all if there are several.
    """
    names, sizes = np.unique(subjects, return_counts=True)
    drawn, total = [], 0
    for number in np.random.default_rng(seed).permutation(len(names)):
        nearer = abs(total + sizes[number] - count) < abs(total - count)
        if nearer and len(drawn) < len(names) - 1:
            drawn, total = [*drawn, names[number]], total + sizes[number]
    return drawn or [names[np.argmin(sizes)]]


def spread(subjects, labels, shares, seed):
    """Number of the share, int (N,), that each row is in, whole subjects (N,) together: subjects
    of each label are spread by the shares, those of the rarest first (iterative stratification,
    Sechidis et al. 2011). None where all subjects have the same labels.

    labels: a set for each row; subjects without any are spread as those of a label are.
    """
    names, where, sizes = np.unique(subjects, return_inverse=True, return_counts=True)
    of_subject = [set() for _ in names]
    for number, of_row in zip(where, labels or ()):
        of_subject[number] |= of_row
    if all(found == of_subject[0] for found in of_subject):
        return None
    of_subject = [found or {"none"} for found in of_subject]
    counts, shares = Counter(itertools.chain(*of_subject)), np.array(shares)
    wanted = {label: shares * count for label, count in counts.items()}
    for label in counts.keys() - {"none"}:  # of two subjects each side has one
        if counts[label] >= len(shares):
            wanted[label] = np.maximum(wanted[label], 1)
    rows, share_of = shares * len(where), np.zeros(len(names), int)
    left = np.random.default_rng(seed).permutation(len(names)).tolist()
    while left:
        counts = Counter(itertools.chain(*(of_subject[number] for number in left)))
        rarest = min(counts, key=lambda label: (counts[label], str(label)))
        here = [number for number in left if rarest in of_subject[number]]
        for number in sorted(here, key=lambda number: -sizes[number]):
            share = max(range(len(shares)), key=lambda n: (wanted[rarest][n], rows[n]))
            share_of[number] = share
            rows[share] -= sizes[number]
            for label in of_subject[number]:
                wanted[label][share] -= 1
        left = [number for number in left if number not in here]
    return share_of[where]


def fold_rows(files, num_folds, by_subject, seed, labels=None):
    """The (training, validation) rows of each fold of a cross-validation: every row is held out
    once, and the folds are as equal as whole subjects allow; or, not by subject, blocks of
    neighbouring rows. labels: as in split_rows. Raises ValueError where there are fewer subjects
    (or rows) than folds.
    """
    rows = np.arange(len(files))
    subjects = np.array([row["subject"] for row in files]) if by_subject else rows
    names, sizes = np.unique(subjects, return_counts=True)
    what, remedy = "images", "fewer"
    if by_subject:
        what, remedy = "subjects", "fewer, or --no-split-by-subject"
    refuse(
        (
            any(row["split"] == "validation" for row in files),
            f"--folds {num_folds}: these images come with a validation share of their own; train "
            "without --folds",
        ),
        (
            len(names) < num_folds,
            f"--folds {num_folds}: there are only {len(names)} {what}; pass {remedy}",
        ),
    )
    shares = spread(subjects, labels, [1 / num_folds] * num_folds, seed) if by_subject else None
    if shares is not None:
        return [(rows[shares != fold], rows[shares == fold]) for fold in range(num_folds)]
    if by_subject:
        held_out = [[] for _ in range(num_folds)]
        counts = [0] * num_folds
        order = np.random.default_rng(seed).permutation(len(names))
        for number in order[np.argsort(-sizes[order], kind="stable")]:  # largest first
            smallest = counts.index(min(counts))
            held_out[smallest].append(names[number])
            counts[smallest] += sizes[number]
    else:
        held_out = np.array_split(rows, num_folds)
    inside = [np.isin(subjects, of_fold) for of_fold in held_out]
    return [(rows[~mask], rows[mask]) for mask in inside]


def split_networks(name, files, share, num_folds, by_subject, seed, labels=None):
    """{name of a network: its training and its validation rows} of a run: one network, or one a
    fold. labels: as in split_rows. Raises ValueError as split_rows and fold_rows do.
    """
    if not num_folds:
        return {name: split_rows(files, share, by_subject, seed, labels)}
    folds = fold_rows(files, num_folds, by_subject, seed, labels)
    return {fold_name(name, number): rows for number, rows in enumerate(folds, 1)}


def are_tiled(files):
    """Whether rows of files.csv are tiles of images."""
    return len(set(map(image_of, files))) < len(files)


def image_of(file):
    """Path and id of the image that a row of files.csv is a tile of; the id, without the tile's
    place, tells the pages of a file apart.
    """
    return file["image"], re.sub(r"_\d+_\d+$", "", file["id"])
