"""What the documents hand out: Kaggle's trees and the membrane challenge's tif stacks."""

import contextlib
import os
import re

from unet.errors import InputError
from unet.jobs import JOBS
from unet.jobs.nerve import SAME_PATIENT
from unet.reading.files import list_images, list_pages, natural_key
from unet.reading.frames import Frame, without_masks

# Where Kaggle puts images, masks and test images: folder, and pattern of the name with the id.
LAYOUTS = {
    "nerve": (("train", r"(\d+_\d+)"), ("train", r"(\d+_\d+)_mask"), ("test", r"(\d+)")),
    "car": (("train", r"(\w+_\d+)"), ("train_masks", r"(\w+_\d+)_mask"), ("test", r"(\w+_\d+)")),
}
RAW_JOBS = (*LAYOUTS, "membrane")  # whose documents hand out files


def read_kaggle(raw, job):
    """Frames of a Kaggle tree; the subject is the id without its last number, of nerve the
    patient.
    """
    files, layout = list_images(raw), LAYOUTS[job]
    _check_names(files, job)
    images, masks, test = (files_by_id(_in_place(files, *place), place[1]) for place in layout)
    if not images:
        folders = ", ".join(sorted({file.folder for file in files}))
        raise InputError(
            f"{raw}: no folder {layout[0][0]!r} with images in it, it has {folders}; "
            f"python data.py {job} expects {JOBS[job].raw}"
        )

    def subject(id):
        name = id.rpartition("_")[0]
        return SAME_PATIENT.get(name, name) if job == "nerve" else name

    return match(images, masks, subject) + without_masks(test)


def _in_place(files, folder, pattern):
    return [file for file in files if file.folder == folder and re.fullmatch(pattern, file.stem)]


def _check_names(files, job):
    """Refuse a file that its folder has no place for."""
    for file in files:
        patterns = [pattern for folder, pattern in LAYOUTS[job] if folder == file.folder]
        if patterns and not any(re.fullmatch(pattern, file.stem) for pattern in patterns):
            raise InputError(
                f"{file.path}: unexpected name; python data.py {job} expects {JOBS[job].raw}"
            )


def read_volumes(raw):
    """Frames of train-volume.tif and train-labels.tif, and test-volume.tif if there is one."""
    stacks = {file.stem: file for file in list_images(raw)}
    if "train-volume" not in stacks or "train-labels" not in stacks:
        raise InputError(
            f"{raw}: expected train-volume.tif and train-labels.tif in it; has "
            + ", ".join(file.path for file in list(stacks.values())[:3])
        )
    pages = {
        stem: {page.stem: page for page in list_pages(stacks[stem])}
        for stem in ("train-volume", "train-labels", "test-volume")
        if stem in stacks
    }
    counts = [len(pages[stem]) for stem in ("train-volume", "train-labels")]
    if counts[0] != counts[1]:
        raise InputError(
            f"{raw}: train-volume.tif has {counts[0]} pages, train-labels.tif {counts[1]}; "
            "they must be equal"
        )
    if counts[0] == 1:  # no pages, but one image each
        pages = {stem: dict(zip("0", of_stem.values())) for stem, of_stem in pages.items()}
    return match(pages["train-volume"], pages["train-labels"]) + without_masks(
        pages.get("test-volume", {})
    )


def files_by_id(files, pattern="(.+)"):
    """A dict of files by the id that group 1 of the pattern finds in their stem; raises InputError
    for twins.
    """
    found = {}
    for file in files:
        id = re.fullmatch(pattern, file.stem, re.DOTALL)[1]
        if id in found:
            raise InputError(
                f"{found[id].path} and {file.path}: two files for id {id}; rename one"
            )
        found[id] = file
    return found


def match(images, masks, subject=str):
    """Frames from two dicts of files by id, in numeric order; raises InputError for one without
    its twin.
    """
    for having, other, text in (
        (images, masks, "image without a mask"),
        (masks, images, "mask without an image"),
    ):
        alone = [file.path for id, file in having.items() if id not in other]
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise InputError(f"{alone[0]}: {text}{more}; put that beside the others")
    return [
        Frame(id, images[id], masks[id], "train", subject(id))
        for id in sorted(images, key=natural_key)
    ]


def describe_raw(raw):
    """How to prepare the raw files in a folder or zip, for a reader."""
    found = []
    for job in RAW_JOBS:
        with contextlib.suppress(InputError, OSError):
            read_raw(job, raw)
            found.append(job)
    commands = (f"python data.py {job} --raw {raw}" for job in found or RAW_JOBS)
    return f"for what is in {raw}: {' or '.join(commands)}"


def read_raw(job, raw):
    """Frames of what a job's document hands out, a folder or zip; raises InputError."""
    expected = f"python data.py {job} expects {JOBS[job].raw}"
    if job not in RAW_JOBS:
        raise InputError(expected)
    if not os.path.exists(raw):
        raise InputError(f"{raw}: no such folder or zip file; {expected}")
    return read_volumes(raw) if job == "membrane" else read_kaggle(raw, job)
