"""CSV tables that say which image belongs to which mask."""

import os
from dataclasses import replace
from pathlib import Path, PureWindowsPath

from unet.errors import InputError, refuse
from unet.machine.disk import read_csv
from unet.reading.codes import code_columns
from unet.reading.files import ImageFile, list_images
from unet.reading.folders import number_labels, run_length_masks
from unet.reading.frames import Found, Source, add_frames, page_frames, with_subjects
from unet.reading.mask_sources import PictureMask
from unet.reading.pairing import SPLITS

MISSING = ("", "nan", "none", "na", "null")  # cells that name nothing
ALONE = Source()


def read_table(path):
    """Rows of a CSV table, dicts with image, mask (None: none), subject, split and line, paths
    seen from the table's folder; raises InputError for one that leads out of it.
    """
    rows = pair_rows(read_csv(path, by_hand=True), path)
    for row in rows:
        where, split = f"{path}: line {row['line']}", row.get("split") or "train"
        for name in ("image", "mask"):
            row[name] = inside(str(row[name]), Path(path).parent, where)
        row["split"] = SPLITS.get(split.casefold())
        refuse(
            (not row["split"], f"{where}: split {split}; expected train, validation or test"),
            (not row["image"], f"{where}: no image; expected its path"),
        )
    return rows


def inside(cell, folder, where):
    """The path that a cell names, seen from the table's folder, None for none; raises InputError
    for one outside, for a table from somewhere is not to name any file of yours.
    """
    if cell.lower() in MISSING:
        return None
    path = cell.replace("\\", "/")
    if Path(path).is_absolute():
        path = os.path.relpath(path, folder.absolute())
    if os.path.normpath(path).startswith("..") or PureWindowsPath(path).is_absolute():
        raise InputError(
            f"{where}: {cell}: lies outside the table's folder; put the table above its files"
        )
    return path


def pair_rows(rows, path):
    """The rows of a table, dicts, with their lines and the columns of images and masks as image
    and mask: those of these names, where it has none of them the first and the second.
    """
    # None: cells too many; a column without a name is an index, as pandas writes it
    names = [name for name in rows[0] if name not in (None, "")] if rows else []
    named = [name for name in ("image", "mask") if name in names]
    columns = named or names[:2]
    texts = [str(name) for name in names]
    first_file = os.path.join(Path(path).parent, *texts[:1])
    refuse(
        (
            rows and len(columns) < 2,
            f"{path}: has columns {', '.join(texts) or 'none'}; expected image and mask, or under "
            "other names images in the first and masks in the second",
        ),
        (
            not named and os.path.isfile(first_file),
            f"{path}: its first line is files, {' and '.join(texts[:2])}; put a line with the "
            "names of the columns above it: image,mask",
        ),
    )
    paired = []
    for line, row in enumerate(rows, 2):
        cells = dict(zip(("image", "mask"), (row[name] for name in columns)))
        if not all(isinstance(cell, str | os.PathLike) for cell in cells.values()):
            raise InputError(
                f"{path}: line {line}: has {cells['image']!r} and {cells['mask']!r}; expected the "
                "paths of an image and a mask"
            )
        paired.append({**row, **cells, "line": line})
    return paired


def table_rows(table):
    """The rows, dicts, of a mapping of columns of one length, such as a DataFrame."""
    try:
        columns = {name: list(table[name]) for name in table}
        rows = [dict(zip(columns, row)) for row in zip(*columns.values(), strict=True)]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"table: expected a CSV file, or columns of one length by name ({error})"
        ) from error
    return pair_rows(rows, "table")


def read_pairs(table):
    """Frames of a CSV file's lines, or of a mapping of columns, such as a DataFrame."""
    if isinstance(table, (str, os.PathLike)):
        return row_frames(read_table(table), "train", table)
    return row_frames(table_rows(table), "train", "table")


def read_tables(source, job, classes=()):
    """The Found of a table for training and of one for validation, which share no image."""
    found = Found(classes=classes)
    add_table(found, source.table, source, job, "train")
    if source.validation_table:
        add_table(found, source.validation_table, source, job, "validation")
        if len({frame.id for frame in found.frames}) < len(found.frames):
            raise InputError(
                f"{source.validation_table}: has images that {source.table} has too, by their "
                "names; keep them apart"
            )
    number_labels(found)
    return found


def add_table(found, path, source, job, split):
    """Add the frames of a CSV table of images and masks, or of run-length code, to a Found."""
    if code_columns(read_csv(path, by_hand=True)):
        try:
            files = list_images(Path(path).parent, zips=False)
        except InputError as error:
            raise InputError(
                f"{path}: run-length code, but {error}; pass the images' folder as --images, and "
                "the table as --masks"
            ) from error
        masks, rule = run_length_masks(path, files, source, job, found)
        files = [file for file in files if file.name in masks]
        add_frames(found, files, masks, rule, source, split)
        return
    frames = row_frames(read_table(path), split, path, source)
    found.frames += [frame for frame in frames if frame.split != "test"]
    if len(found.frames) < len(frames):
        found.notes.append(f"{path}: lines of the split test are left out")


def row_frames(rows, split, path, source=ALONE):
    """Frames of the rows of a table, dicts as read_table has them, seen from the table's folder;
    several masks of one image are united.
    """
    folder, masks, first = Path(path).parent, {}, {}
    for row in rows:
        where, image = f"{path}: line {row['line']}", os.path.normpath(row["image"])
        id = os.path.splitext(image)[0]
        files = [str(folder / row[name]) for name in ("image", "mask") if row[name]]
        gone = ", ".join(file for file in files if not os.path.isfile(file))
        part = ImageFile(files[-1], "", id)
        other = first.get(id, row)["image"]
        is_bare = len(files) == 1
        lacks = f"{where}: no mask for {row['image']}"
        refuse(
            (gone, f"{where}: {gone}: no such file"),
            (
                os.path.normpath(other) != image,
                f"{where}: {row['image']} and {other}: two files of one name; rename one",
            ),
            (
                is_bare and not source.missing_is_empty and not source.skip_bad,
                f"{lacks}; pass --missing-is-empty if it shows nothing of what is looked for, "
                "--skip-bad to leave it out",
            ),
            (
                not is_bare and part in masks.get(id, ()),
                f"{where}: a second line for image {id} and this mask; keep one",
            ),
        )
        if is_bare and not source.missing_is_empty:
            print(f"left out: {lacks}")
            continue
        first.setdefault(id, row)
        masks.setdefault(id, []).extend([] if is_bare else [part])
    frames = []
    for id, parts in masks.items():
        row = first[id]
        image = ImageFile(str(folder / row["image"]), "", id)
        pages = page_frames(image, PictureMask(tuple(parts)) if parts else None, split)
        of_row = split if split != "train" else row.get("split", "train")
        subject = row.get("subject") or (id if len(pages) > 1 else None)
        frames += [replace(f, subject=subject or f.id, split=of_row) for f in pages]
    if not frames:
        raise InputError(f"{path}: no lines under its header; expected one an image")
    return with_subjects(frames, source.subject) if source.subject else frames
