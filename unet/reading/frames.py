"""Frames: an image, its mask, and the subject that it shows."""

import re
from dataclasses import dataclass, field, replace

from unet.errors import InputError
from unet.jobs.settings import Submission
from unet.reading.files import ImageFile, list_files, list_pages
from unet.reading.pairing import SPLITS, folder_of, split_of


@dataclass(frozen=True, slots=True)
class Frame:
    """One image, its mask if it has one, and the subject that it shows.

    mask: a PictureMask or a DrawnMask; None of an image of the split "train" or "validation": an
    empty one.
    """

    id: str
    image: ImageFile
    mask: object
    split: str  # "train", "validation" or "test"
    subject: str


@dataclass(frozen=True)
class Source:
    """Places of images and masks, as the options of data.py of these names give them."""

    raw: str = "raw"
    images: str | None = None
    masks: str | None = None
    validation_images: str | None = None
    validation_masks: str | None = None
    test_images: str | None = None
    table: str | None = None
    validation_table: str | None = None
    subject: str | None = None
    run_length: str | None = None  # "rows" or "columns"
    missing_is_empty: bool = False
    skip_bad: bool = False


@dataclass
class Found:
    """Frames that read_frames found, the classes with the names that annotations or folders give
    them, and lines for a reader.

    labels: of all masks that carry any, and whether each is in use; numbers: their class numbers.
    has_void: whether some of these do not count. submission: the form of a table of run-length
    code that had the masks.
    """

    frames: list = field(default_factory=list)
    classes: tuple = ()
    notes: list = field(default_factory=list)
    labels: dict = field(default_factory=dict)
    numbers: dict = field(default_factory=dict)
    has_void: bool = False
    submission: Submission | None = None


def with_subjects(frames, pattern=None):
    """Frames with their subjects: what a pattern finds in their names (its group 1, or all), else
    the folder, of pages the file, where there are several; else each is a subject of its own.
    """
    if pattern:
        found = [re.search(pattern, frame.id) for frame in frames]
        names = [(m[1] if m.re.groups else m[0]) if m else None for m in found]
        nameless = [frame.id for frame, name in zip(frames, names) if not name]
        if nameless:
            raise InputError(f"--subject {pattern}: finds nothing in {nameless[0]}, an image")
    else:
        names = [
            "/".join(f for f in folder_of(frame.id).split("/") if f.casefold() not in SPLITS)
            for frame in frames
        ]
        if len(set(names)) < 2:
            names = [frame.id for frame in frames]
        names = [name or frame.id for name, frame in zip(names, frames)]
    return [replace(frame, subject=name) for frame, name in zip(frames, names)]


def page_frames(file, mask, split):
    """The frames of an image file, one for each of its pages."""
    try:
        images = list_pages(file)
        masks = mask.pages() if mask else [None] * len(images)
    except InputError:  # which decoding says, too, or --skip-bad leaves out
        images, masks = [file], [mask]
    if len(images) != len(masks):
        raise InputError(
            f"{file.path}: has {len(images)} pages, its mask {mask.path} {len(masks)}; they must "
            "be equal"
            + (" (channels? save them as one image, (H, W, C))" if 1 < len(images) < 5 else "")
        )
    return [Frame(f.name, f, m, split, "") for f, m in zip(images, masks)]


def add_frames(found, image_files, masks_of, rule, source, split=None):
    """Add the frames of images and their masks to a Found, a page each, and say how they pair."""
    alone = [file for file in image_files if file.name not in masks_of]
    if alone and not source.missing_is_empty and not source.skip_bad:
        more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
        raise InputError(
            f"{alone[0].path}: image without a mask{more}; {rule}. Pass --missing-is-empty if it "
            "shows nothing of what is looked for, --skip-bad to leave it out"
        )
    if not source.missing_is_empty:
        for file in alone:
            print(f"left out: {file.path}: image without a mask")
        image_files = [file for file in image_files if file.name in masks_of]
    splits = {} if split else split_of([file.name for file in image_files])
    frames = []
    for file in image_files:
        of_file = split or splits.get(file.name, "train")
        frames += page_frames(file, masks_of.get(file.name), of_file)
    tests = [frame for frame in frames if frame.split == "test"]
    if tests:
        found.notes.append(
            f"{len(tests)} images of the folder test are left out; score them with test.py NAME "
            "--images DIR --masks DIR"
        )
    frames = [frame for frame in frames if frame.split != "test"]
    found.frames += with_subjects(frames, source.subject)
    example = next((f for f in frames if f.mask), None)
    shown = f", such as {example.image.path} with {example.mask.path}" if example else ""
    found.notes.append(f"pairs: {rule}{shown}")
    if alone and source.missing_is_empty:
        found.notes.append(f"{len(alone)} images have no mask")


def by_name(files, name_of=lambda file: file.name):
    """Files by their names; raises InputError for two that differ in their ending alone."""
    found = {}
    for file in files:
        twin = found.setdefault(name_of(file), file)
        if twin is not file:
            raise InputError(
                f"{twin.path} and {file.path}: two files of one name; rename one, or say which is "
                "meant with a pattern such as 'photos/*.jpg'"
            )
    return found


def check_sizes(frame, size, mask_size):
    """Raise InputError where the (H, W) of a frame's image and of its mask differ."""
    if size != mask_size:
        turned = " (turned as its EXIF says?)" if size == mask_size[::-1] else ""
        raise InputError(
            f"{frame.mask.path}: mask is {mask_size[0]}x{mask_size[1]}, its image "
            f"{frame.image.path} {size[0]}x{size[1]}{turned}; they must be of one size, "
            "--skip-bad leaves such out"
        )


def folder_frames(images):
    """Test frames of a folder of images, a page each, and the files that were passed over."""
    files, passed = list_files(images, zips=False)
    pages = (page_frames(file, None, "test") for file in by_name(files).values())
    return [replace(frame, subject=frame.id) for of_file in pages for frame in of_file], passed
