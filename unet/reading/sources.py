"""Frames from the places that the options of data.py name."""

import re
from collections import Counter

from unet.errors import InputError, refuse
from unet.reading.files import describe_passed
from unet.reading.folders import read_folders
from unet.reading.frames import Found, folder_frames, with_subjects
from unet.reading.raw import read_raw
from unet.reading.tables import read_tables

# What is before the place of a tile, its row and column, in a name; what is before a number.
SUBJECTS = (r"(.+)[-_ ]\d+[-_ ]\d+$", r"(.+)[-_ ][^\W\d]*\d+$")


def read_frames(job, source, classes=()):
    """The Found of a job, from where a Source says; raises InputError."""
    check_source(source)
    if source.table:
        found = read_tables(source, job, classes)
    elif source.images:
        found = read_folders(source, job, classes)
    else:
        found = Found(read_raw(job, source.raw))
        if source.subject:
            found.frames = with_subjects(found.frames, source.subject)
    found.classes = found.classes or classes
    if source.test_images:
        test, passed = folder_frames(source.test_images)
        found.frames = [frame for frame in found.frames if frame.split != "test"] + test
        if passed:
            found.notes.append(f"passed over of {source.test_images}: {describe_passed(passed)}")
    subjects = Counter(frame.subject for frame in found.frames if frame.split != "test")
    count = sum(subjects.values())
    if len(subjects) < count:
        found.notes.append(
            f"{count} images show {len(subjects)} subject{'s' if len(subjects) > 1 else ''}, such "
            f"as {next(iter(subjects))}; validation holds out whole subjects"
        )
    elif not source.subject:
        found.notes += hint_at_subjects(found.frames)
    return found


def hint_at_subjects(frames):
    """A line where one of SUBJECTS makes a few groups of all names; [] else."""
    ids = [frame.id for frame in frames if frame.split != "test"]
    for pattern in SUBJECTS:
        found = [re.search(pattern, id) for id in ids]
        groups = {match and match[1] for match in found}
        if all(found) and 2 <= len(groups) <= len(ids) / 2:
            return [
                f"each image is a subject of its own; if the {len(groups)} groups such as "
                f"{found[0][1]} show one patient or thing each, say so with --subject '{pattern}'"
            ]
        if all(found) and len(groups) == 1:  # tiles of one photo
            return []
    return []


def check_source(source):
    """Raise InputError for options that contradict each other."""
    images, masks, table = source.images, source.masks, source.table
    validation = source.validation_images, source.validation_masks
    refuse(
        ((images is None) != (masks is None), "--images and --masks go together; pass both"),
        (
            validation.count(None) == 1,
            "--validation-images and --validation-masks go together; pass both",
        ),
        (table and masks, "--table and --images are two ways to say the same; pass one"),
        (source.validation_table and not table, "--validation-table goes with --table; pass both"),
        (validation[0] and not images, "--validation-images goes with --images; pass both"),
    )
    try:
        re.compile(source.subject or "")
    except re.error as error:
        raise InputError(f"--subject {source.subject}: not a pattern ({error})") from error
