"""Rows of the arrays that a network is trained on, and those that it is scored on."""

import math
import re

import numpy as np

from unet.errors import InputError, refuse
from unet.runs import fold_name


def find_subjects(names, shown=None):
    """The S subjects of N rows, from the name of each row's: their numbers, (N,), sizes in rows,
    (S,), what they show and how rare that is.

    shown: bool (N, K), the classes in the mask of each row, None where they do not matter. What
    the subjects show is bool (S, K), a column for each class that some of them show and others do
    not, and one for showing nothing; its rarity, (S,), the number of subjects that show the rarest
    class of each, S for none.
    """
    _, numbers, sizes = np.unique(names, return_inverse=True, return_counts=True)
    shown = np.zeros((len(names), 0), bool) if shown is None else shown
    shows = np.zeros((len(sizes), shown.shape[1]), bool)
    np.logical_or.at(shows, numbers, shown)
    rarity = np.where(shows, shows.sum(axis=0), len(sizes)).min(axis=1, initial=len(sizes))
    shows = np.column_stack([shows, ~shows.any(axis=1)])
    return numbers, sizes, shows[:, shows.any(axis=0) & ~shows.all(axis=0)], rarity


def split_rows(files, share, by_subject, seed, shown=None):
    """Numbers of the training and of the validation rows of files.csv, two int arrays.

    A split that the files state (noise, tables) stands. Else subjects are drawn and held out whole
    as long as that brings their images nearer to the share; or, not by subject, the last rows are,
    as Keras's validation_split does. shown: as for find_subjects. Raises ValueError where a side
    would stay empty.
    """
    rows = np.arange(len(files))
    held_out = np.array([row["split"] == "validation" for row in files])
    if held_out.any() or share == 0:
        return rows[~held_out], rows[held_out]
    if by_subject:
        numbers, *subjects = find_subjects([row["subject"] for row in files], shown)
        held_out = draw_subjects(*subjects, share, seed)[numbers]
    else:
        held_out = rows >= len(rows) - math.ceil(share * len(rows))
    if held_out.all():
        is_subject = by_subject and len(rows) > 1
        what = "subject; pass --no-split-by-subject or" if is_subject else "image; pass"
        raise InputError(f"a validation split needs more than one {what} --validation-split 0")
    return rows[~held_out], rows[held_out]


def draw_subjects(sizes, shows, rarity, share, seed):
    """bool (S,): some of the subjects of find_subjects, drawn so that they have about a share of
    the rows; at least one, and not all if there are several.

    First come those of the rarest classes, until a class has its share, which is one at the least;
    what is left is filled up, the rarest last. A class that several show stays on both sides, and
    one that a single subject shows is trained on, as far as whole subjects allow.
    """
    count, num_showing = math.ceil(share * sizes.sum()), shows.sum(axis=0)
    wanted = np.minimum(np.rint(share * num_showing).clip(1), num_showing - 1)
    order = sorted(np.random.default_rng(seed).permutation(len(sizes)), key=rarity.__getitem__)
    is_drawn, total, num_drawn = np.zeros(len(sizes), bool), 0, np.zeros(len(num_showing), int)
    for most, candidates in ((wanted, order), (num_showing - 1, order[::-1])):
        for number in candidates:
            is_nearer = abs(total + sizes[number] - count) < abs(total - count)
            is_free = not is_drawn[number] and (num_drawn < most)[shows[number]].all()
            if is_nearer and is_free and is_drawn.sum() < len(sizes) - 1:
                is_drawn[number] = True
                total += sizes[number]
                num_drawn += shows[number]
    if not total:  # each is too large
        is_drawn[np.lexsort([sizes, rarity == len(sizes), rarity == 1])[0]] = True
    return is_drawn


def fold_rows(files, num_folds, by_subject, seed, shown=None):
    """The (training, validation) rows of each fold of a cross-validation: every row is held out
    once, and the folds are as equal as whole subjects allow; or, not by subject, blocks of
    neighbouring rows. shown: as for find_subjects. Raises ValueError where there are fewer
    subjects (or rows) than folds.
    """
    rows = np.arange(len(files))
    names = [row["subject"] for row in files] if by_subject else rows
    numbers, sizes, shows, rarity = find_subjects(names, shown)
    what, or_else = ("subjects", ", or --no-split-by-subject") if by_subject else ("images", "")
    refuse(
        (
            any(row["split"] == "validation" for row in files),
            f"--folds {num_folds}: these images come with a validation share of their own; train "
            "without --folds",
        ),
        (
            len(sizes) < num_folds,
            f"--folds {num_folds}: there are only {len(sizes)} {what}; pass fewer{or_else}",
        ),
    )
    if by_subject:
        held_out = [[] for _ in range(num_folds)]
        counts, lacking = [0] * num_folds, np.ones((num_folds, shows.shape[1]), bool)
        weights = 1 / shows.sum(axis=0)
        order = np.random.default_rng(seed).permutation(len(sizes))
        for number in sorted(order, key=lambda n: (rarity[n], -sizes[n])):  # rarest, then largest
            gains = (lacking & shows[number]) @ weights
            fold = np.lexsort([counts, -gains])[0]
            held_out[fold].append(number)
            counts[fold] += sizes[number]
            lacking[fold] &= ~shows[number]
    else:
        held_out = np.array_split(rows, num_folds)
    inside = [np.isin(numbers, of_fold) for of_fold in held_out]
    return [(rows[~mask], rows[mask]) for mask in inside]


def split_networks(name, files, share, num_folds, by_subject, seed, shown=None):
    """{name of a network: its training and its validation rows} of a run: one network, or one a
    fold. Raises ValueError as split_rows and fold_rows do.
    """
    if not num_folds:
        return {name: split_rows(files, share, by_subject, seed, shown)}
    folds = fold_rows(files, num_folds, by_subject, seed, shown)
    return {fold_name(name, number): rows for number, rows in enumerate(folds, 1)}


def are_tiled(files):
    """Whether rows of files.csv are tiles of images."""
    return len(set(map(image_of, files))) < len(files)


def image_of(file):
    """Path and id of the image that a row of files.csv is a tile of; the id, without the tile's
    place, tells the pages of a file apart.
    """
    return file["image"], re.sub(r"_\d+_\d+$", "", file["id"])
