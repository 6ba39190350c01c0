"""Which image belongs to which mask: Kaggle's trees, folders paired by name, tables, tif
stacks.
"""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from unet.data.files import ImageFile, list_images, list_pages, natural_key
from unet.errors import InputError
from unet.jobs import JOBS
from unet.jobs.nerve import SAME_PATIENT
from unet.machine.disk import read_csv


@dataclass(frozen=True, slots=True)
class Frame:
    """One image, its mask if it has one, and the subject that it shows."""

    id: str
    image: ImageFile
    mask: ImageFile | None
    split: str  # "train", "validation" or "test"
    subject: str


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
    return match(pages["train-volume"], pages["train-labels"]) + without_masks(
        pages.get("test-volume", {})
    )


def read_folders(images, masks):
    """Frames of a folder of images and a folder of masks (which may be the same) paired by
    name.
    """
    suffix = r"(.+?)(?:_mask|_label|_gt)"
    image_files = list_images(images, recursive=False)
    mask_files = list_images(masks, recursive=False)
    if os.path.abspath(images) == os.path.abspath(masks):
        image_files = [
            file for file in image_files if not re.fullmatch(suffix, file.stem, re.DOTALL)
        ]
        mask_files = [file for file in mask_files if re.fullmatch(suffix, file.stem, re.DOTALL)]
    return match(files_by_id(image_files), files_by_id(mask_files, suffix + "?"))


def read_table(path, split):
    """Frames of a CSV table of images and masks (and subjects, if there is such a column)."""
    rows = pair_rows(read_csv(path), path)
    for number, row in enumerate(rows, 2):
        for name in ("image", "mask"):  # a table from somewhere is not to name any file of yours
            if Path(row[name]).is_absolute() or os.path.normpath(row[name]).startswith(".."):
                raise InputError(
                    f"{path}: line {number}: {row[name]}: leads out of the table's folder; put "
                    "the table above its files"
                )
    return table_frames(rows, split, path)


def pair_rows(rows, path):
    """The rows of a table, dicts, with its columns of images and masks as image and mask: those of
    these names, where it has none of them the first and the second.
    """
    names = [name for name in rows[0] if name is not None] if rows else []  # None: cells too many
    missing = [name for name in ("image", "mask") if name not in names]
    if rows and len(missing) == 1:
        raise InputError(
            f"{path}: has columns {', '.join(map(str, names))}, but no {missing[0]}; name both "
            "columns, or none of them: then images are in the first, masks in the second"
        )
    if rows and missing:
        if len(names) < 2:
            raise InputError(
                f"{path}: has the one column {names[0] if names else 'none'}; expected images in "
                "the first column, masks in the second"
            )
        if os.path.isfile(Path(path).parent / str(names[0])):
            raise InputError(
                f"{path}: its first line is files, {names[0]} and {names[1]}; put a line with the "
                "names of the columns above it: image,mask"
            )
        rows = [{**row, "image": row[names[0]], "mask": row[names[1]]} for row in rows]
    for number, row in enumerate(rows, 2):
        if not all(isinstance(row[name], str | os.PathLike) for name in ("image", "mask")):
            raise InputError(
                f"{path}: line {number}: has {row['image']!r} and {row['mask']!r}; expected the "
                "paths of an image and a mask"
            )
    return rows


def table_rows(table):
    """The rows, dicts, of a mapping of columns of one length, such as a DataFrame."""
    try:
        columns = {name: list(table[name]) for name in table}
    except TypeError as error:
        raise InputError(
            f"table: expected columns by name or a CSV file, not {table!r}"
        ) from error
    lengths = {str(name): len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"table: has columns of several lengths, {lengths}")
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return pair_rows(rows, "table")


def table_frames(rows, split, path):
    """Frames of the rows of a table, dicts with image and mask, seen from the folder of `path`."""
    folder, frames = Path(path).parent, {}
    for number, row in enumerate(rows, 2):
        for name in ("image", "mask"):
            if not os.path.isfile(folder / row[name]):
                raise InputError(f"{path}: line {number}: {folder / row[name]}: no such file")
        id = os.path.splitext(os.path.normpath(row["image"]))[0]
        if id in frames:
            raise InputError(f"{path}: line {number}: a second line for image {id}; keep one")
        image, mask = (ImageFile(str(folder / row[name]), "", id) for name in ("image", "mask"))
        frames[id] = Frame(id, image, mask, split, row.get("subject") or id)
    if not frames:
        raise InputError(f"{path}: no lines under its header; expected one an image")
    return list(frames.values())


def read_tables(train, validation=None):
    """Frames of a table for training and of one for validation, which share no image."""
    frames = read_table(train, "train") + (
        read_table(validation, "validation") if validation else []
    )
    if len({frame.id for frame in frames}) < len(frames):
        raise InputError(
            f"{validation}: has images that {train} has too, by their names; keep them apart"
        )
    return frames


def files_by_id(files, pattern="(.+)"):
    """A dict of files by the id that group 1 of the pattern finds in their name; raises InputError
    for twins.
    """
    found = {}
    for file in files:
        id = re.fullmatch(pattern, file.stem, re.DOTALL)[1]
        if id in found:
            raise InputError(f"{found[id].path} and {file.path}: two files for id {id}; keep one")
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
            raise InputError(f"{alone[0]}: {text}{more}; add it, or take this file away")
    return [
        Frame(id, images[id], masks[id], "train", subject(id))
        for id in sorted(images, key=natural_key)
    ]


def check_sizes(frame, size, mask_size):
    """Raise InputError where the (H, W) of a frame's image and of its mask differ."""
    if size != mask_size:
        raise InputError(
            f"{frame.mask.path}: mask is {mask_size[0]}x{mask_size[1]}, its image "
            f"{frame.image.path} {size[0]}x{size[1]}; they must be of one size"
        )


def without_masks(images):
    """Test frames from a dict of files by id, in numeric order."""
    return [Frame(id, images[id], None, "test", id) for id in sorted(images, key=natural_key)]


def read_frames(
    job, raw, images=None, masks=None, table=None, validation_table=None, test_images=None
):
    """Every frame of a job, from where the options of data.py say; raises InputError."""
    if (images is None) != (masks is None):
        raise InputError("--images and --masks go together; pass both")
    if table and images:
        raise InputError("--table and --images are two ways to say the same; pass one")
    if validation_table and not table:
        raise InputError("--validation-table goes with --table; pass both")
    if table:
        frames = read_tables(table, validation_table)
    elif images:
        frames = read_folders(images, masks)
    else:
        frames = read_raw(job, raw)
    if test_images:
        test = without_masks(files_by_id(list_images(test_images, recursive=False)))
        frames = [frame for frame in frames if frame.split != "test"] + test
    return frames


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
