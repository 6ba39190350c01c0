"""CSV tables that say which image belongs to which mask."""

import os
from dataclasses import replace
from pathlib import Path, PureWindowsPath

from unet.errors import InputError
from unet.machine.disk import read_csv
from unet.reading.annotations import is_run_length_table
from unet.reading.files import ImageFile, list_images
from unet.reading.folders import order_text, run_length_masks
from unet.reading.frames import Found, Source, add_frames, page_frames, with_subjects
from unet.reading.masks import UnitedMask
from unet.reading.pairing import SPLITS

MISSING = ("", "nan", "none", "na", "null")  # cells that name nothing


def read_table(path):
    """The rows of a CSV table, dicts with image, mask (None: none), subject (or None) and their
    line, paths seen from the table's folder; raises InputError for one that leads out of it.
    """
    rows = pair_rows(read_csv(path, by_hand=True), path)
    return [check_row(row, number, path) for number, row in enumerate(rows, 2)]


def check_row(row, number, path):
    """A row as read_table has it, from one of pair_rows."""
    checked = {"line": number, "subject": row.get("subject") or None, "split": "train"}
    if row.get("split"):
        checked["split"] = SPLITS.get(row["split"].casefold())
        if not checked["split"]:
            raise InputError(
                f"{path}: line {number}: split {row['split']}; expected train, validation or test"
            )
    for name in ("image", "mask"):
        cell = str(row[name]).replace("\\", "/")
        if cell.lower() in MISSING:
            if name == "image":
                raise InputError(f"{path}: line {number}: no image; expected its path")
            checked[name] = None
            continue
        checked[name] = inside(cell, Path(path).parent, f"{path}: line {number}")
    return checked


def inside(cell, folder, where):
    """The path that a cell names, seen from the table's folder; raises InputError for one outside,
    for a table from somewhere is not to name any file of yours.
    """
    if Path(cell).is_absolute() or PureWindowsPath(cell).is_absolute():
        relative = os.path.relpath(cell, folder.absolute()) if Path(cell).is_absolute() else ".."
        if relative.startswith(".."):
            raise InputError(
                f"{where}: {cell}: is absolute, and not below the table's folder; put the table "
                "above its files"
            )
        return relative
    if os.path.normpath(cell).startswith(".."):
        raise InputError(
            f"{where}: {cell}: leads out of the table's folder; put the table above its files"
        )
    return cell


def pair_rows(rows, path):
    """The rows of a table, dicts, with its columns of images and masks as image and mask: those of
    these names, where it has none of them the first and the second.
    """
    # None: cells too many; a column without a name is an index, as pandas writes it
    names = [name for name in rows[0] if name not in (None, "")] if rows else []
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
    rows = pair_rows(rows, "table")
    own = {"subject": None, "split": "train"}
    return [{**row, **own, "line": number} for number, row in enumerate(rows, 2)]


def read_pairs(table):
    """Frames of a CSV file's lines, or of a mapping of columns, such as a DataFrame."""
    if isinstance(table, (str, os.PathLike)):
        return row_frames(read_table(table), "train", table)
    return row_frames(table_rows(table), "train", "table")


def read_tables(source, job):
    """The Found of a table for training and of one for validation, which share no image."""
    found = Found()
    table_frames(found, source.table, source, job, "train")
    if source.validation_table:
        table_frames(found, source.validation_table, source, job, "validation")
        if len({frame.id for frame in found.frames}) < len(found.frames):
            raise InputError(
                f"{source.validation_table}: has images that {source.table} has too, by their "
                "names; keep them apart"
            )
    return found


def table_frames(found, path, source, job, split):
    """Add the frames of a CSV table of images and masks, or of run-length code, to a Found."""
    if is_run_length_table(read_csv(path, by_hand=True)):
        images = Path(path).parent
        remedy = "pass the images' folder as --images, and the table as --masks"
        try:
            files = list_images(images, zips=False)
        except InputError as error:
            raise InputError(f"{path}: run-length code, but {error}; {remedy}") from error
        masks = run_length_masks(path, files, job, found)
        files = [file for file in files if file.name in masks]
        if not files:
            raise InputError(
                f"{path}: run-length code, but none of its images is in {images}; {remedy}"
            )
        rule = f"run-length code in {path}, {order_text(job)}"
        add_frames(found, files, masks, rule, source, split)
        return
    frames = row_frames(read_table(path), split, path, source)
    found.frames += [frame for frame in frames if frame.split != "test"]
    if len(found.frames) < len(frames):
        found.notes.append(f"{path}: lines of the split test are left out")


ALONE = Source()


def row_frames(rows, split, path, source=ALONE):
    """Frames of the rows of a table, dicts as read_table has them, seen from the table's folder;
    several masks of one image are united.
    """
    folder, masks, first = Path(path).parent, {}, {}
    for row in rows:
        where = f"{path}: line {row['line']}"
        for name in ("image", "mask"):
            if row[name] and not os.path.isfile(folder / row[name]):
                raise InputError(f"{where}: {folder / row[name]}: no such file")
        id = os.path.splitext(os.path.normpath(row["image"]))[0]
        other = first.get(id, row)["image"]
        if os.path.normpath(other) != os.path.normpath(row["image"]):
            raise InputError(
                f"{where}: {row['image']} and {other}: two files of one name; rename one"
            )
        if not row["mask"] and not source.missing_is_empty:
            if not source.skip_bad:
                raise InputError(
                    f"{where}: no mask for {row['image']}; pass --missing-is-empty if it shows "
                    "nothing of what is looked for, --skip-bad to leave it out"
                )
            print(f"left out: {where}: no mask for {row['image']}")
            continue
        first.setdefault(id, row)
        mask = row["mask"] and ImageFile(str(folder / row["mask"]), "", id)
        if mask and mask in masks.get(id, ()):
            raise InputError(f"{where}: a second line for image {id} and this mask; keep one")
        masks.setdefault(id, []).extend([mask] if mask else [])
    frames = []
    for id, of_image in masks.items():
        mask = UnitedMask(tuple(of_image)) if len(of_image) > 1 else next(iter(of_image), None)
        image = ImageFile(str(folder / first[id]["image"]), "", id)
        subject = first[id]["subject"]
        pages = page_frames(image, mask, split)
        of_row = split if split != "train" else first[id]["split"]
        subject = subject or (id if len(pages) > 1 else None)
        frames += [replace(f, subject=subject or f.id, split=of_row) for f in pages]
    if not frames:
        raise InputError(f"{path}: no lines under its header; expected one an image")
    if source.subject:
        return with_subjects(frames, source.subject)
    return frames
