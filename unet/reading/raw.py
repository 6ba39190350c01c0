"""Files as the documents hand them out: Kaggle's trees and the membrane challenge's tif stacks."""

import contextlib
import os
import re

from unet.errors import InputError, refuse
from unet.jobs import JOBS
from unet.jobs.nerve import SAME_PATIENT
from unet.reading.files import list_images, list_pages, natural_key
from unet.reading.frames import Frame, by_name
from unet.reading.mask_sources import PictureMask

# Where Kaggle puts images, masks and test images: folder, and pattern of the name with the id.
LAYOUTS = {
    "nerve": (("train", r"(\d+_\d+)"), ("train", r"(\d+_\d+)_mask"), ("test", r"(\d+)")),
    "car": (("train", r"(\w+_\d+)"), ("train_masks", r"(\w+_\d+)_mask"), ("test", r"(\w+_\d+)")),
}
RAW_JOBS = (*LAYOUTS, "membrane")  # whose documents hand out files


def read_kaggle(raw, job):
    """Frames of a Kaggle tree; the subject is the id without its last number, of nerve the
    patient. Raises InputError for an image without its mask, or a mask without its image.
    """
    files, layout = list_images(raw), LAYOUTS[job]
    expected = f"python data.py {job} expects {JOBS[job].raw}"
    for file in files:
        patterns = [pattern for folder, pattern in layout if folder == file.folder]
        if patterns and not any(re.fullmatch(pattern, file.stem) for pattern in patterns):
            raise InputError(f"{file.path}: unexpected name; {expected}")

    def in_place(folder, pattern):
        there = [f for f in files if f.folder == folder and re.fullmatch(pattern, f.stem)]
        found = by_name(there, lambda file: re.fullmatch(pattern, file.stem)[1])
        return {id: found[id] for id in sorted(found, key=natural_key)}

    images, masks, test = (in_place(*place) for place in layout)
    alone = [
        *(f"{images[id].path}: image without a mask" for id in images if id not in masks),
        *(f"{masks[id].path}: mask without an image" for id in masks if id not in images),
    ]
    folders = ", ".join(sorted({file.folder for file in files}))
    more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
    refuse(
        (
            not images,
            f"{raw}: no folder {layout[0][0]!r} with images in it, it has {folders}; {expected}",
        ),
        (alone, f"{''.join(alone[:1])}{more}; put that beside the others"),
    )
    frames = []
    for id in images:
        subject = id.rpartition("_")[0]
        subject = SAME_PATIENT.get(subject, subject) if job == "nerve" else subject
        frames.append(Frame(id, images[id], PictureMask((masks[id],)), "train", subject))
    return frames + [Frame(id, test[id], None, "test", id) for id in test]


def read_volumes(raw):
    """Frames of train-volume.tif and train-labels.tif, and test-volume.tif if there is one."""
    stacks = {file.stem: file for file in list_images(raw)}
    if "train-volume" not in stacks or "train-labels" not in stacks:
        raise InputError(
            f"{raw}: expected train-volume.tif and train-labels.tif in it; has "
            + ", ".join(file.path for file in list(stacks.values())[:3])
        )
    images, masks, test = (
        list_pages(stacks[stem]) if stem in stacks else []
        for stem in ("train-volume", "train-labels", "test-volume")
    )
    if len(images) != len(masks):
        raise InputError(
            f"{raw}: train-volume.tif has {len(images)} pages, train-labels.tif {len(masks)}; "
            "they must be equal"
        )
    pairs = [(image, PictureMask((mask,)), "train") for image, mask in zip(images, masks)]
    alone = [(image, None, "test") for image in test]
    return [
        Frame(str(number), *part, subject=str(number))
        for parts in (pairs, alone)
        for number, part in enumerate(parts)
    ]


def describe_raw(raw):
    """Advice on how to prepare the raw files in a folder or zip."""
    found = []
    for job in RAW_JOBS:
        with contextlib.suppress(InputError, OSError):
            read_raw(job, raw)
            found.append(job)
    commands = (f"python data.py {job} --raw {raw}" for job in found or RAW_JOBS)
    return f"for what is in {raw}: {' or '.join(commands)}"


def read_raw(job, raw):
    """Frames of the files that a job's document hands out, a folder or zip; raises InputError."""
    expected = f"python data.py {job} expects {JOBS[job].raw}"
    refuse(
        (job not in RAW_JOBS, expected),
        (not os.path.exists(raw), f"{raw}: no such folder or zip file; {expected}"),
    )
    return read_volumes(raw) if job == "membrane" else read_kaggle(raw, job)
