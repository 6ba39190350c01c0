"""Frames to the .npy arrays of a job, all of them or none."""

import contextlib
import math
from dataclasses import dataclass, replace

import numpy as np

from unet.data.arrays import (
    FILES,
    FILES_HEADER,
    IMAGES,
    MASKS,
    TEST_IDS,
    TEST_IMAGES,
    UNREADABLE,
    split_test,
)
from unet.data.form import decode, tile_places, why_bad
from unet.data.measure import measure_files
from unet.data.survey import REPORT, write_report
from unet.errors import InputError, refuse
from unet.jobs.noise import NUM_VALIDATION
from unet.jobs.own import choose_form, zoomed
from unet.jobs.settings import IGNORED, NO_VALUE, Reading
from unet.machine.disk import create_array, csv_text, lock, replace_file
from unet.machine.terminal import map_in_threads, quiet, with_progress
from unet.options import parse_ignore
from unet.reading.classes import (
    CLASSES,
    classes_text,
    meaning_of,
    number_classes,
    read_classes,
    sort_classes,
)
from unet.reading.files import ImageFile
from unet.reading.frames import Frame, check_sizes
from unet.reading.levels import check_levels, find_levels
from unet.reading.mask_sources import PictureMask, find_kind
from unet.reading.pixels import NeedsLevels, exif_orientation, read_size
from unet.reading.values import READING, reading_text
from unet.runs import Paths

ANY_SIZE = (32, 32)  # to see whether a file can become a row, before its size is known


def write_noise(folder, ids, test_ids, form):
    """Write the arrays of the noise job of the pictures X_ID.png and Y_ID.png in their folder: the
    first of the ids is for training, as are those beyond the validation images.
    """
    validation = range(2, NUM_VALIDATION + 2)
    splits = ["validation" if number in validation else "train" for number in ids]
    frames = []
    for id, split in [*zip(ids, splits), *((id, "test") for id in test_ids)]:
        image, mask = (ImageFile(str(folder / f"{letter}_{id}.png"), "", "") for letter in "XY")
        name = id if split == "test" else f"X_{id}"
        frames.append(Frame(name, image, PictureMask((mask,)), split, subject=name))
    frames.sort(key=lambda frame: frame.split == "validation")  # the training images come first
    write_arrays(folder, frames, form)
    drawn_now = {file.path for frame in frames for file in (frame.image, frame.mask)}
    for path in folder.glob("[XY]_*.png"):  # of an earlier drawing that had more
        if str(path) not in drawn_now:
            path.unlink()


def prepare_frames(name, frames, form, skip_bad=False):
    """Write the arrays of some frames to output/NAME/; a form without an image size has that of
    the first image. skip_bad: leave out what cannot be read. Returns lines for a reader. Raises
    InputError, OSError.
    """
    paths, notes = Paths(name), []
    with lock(paths.arrays_lock):
        form = replace(form, reading=find_kind(frames, form.reading, form.classes, skip_bad))
        images = [frame.image for frame in frames]
        check_levels(images, form.reading, skip_bad)
        if form.keep_size:
            whole = (f for f in frames if not (skip_bad and why_bad(f, of_any_size(form))))
            size = read_size(next(whole, frames[0]).image)
            form = replace(form, image_size=size)
        try:
            notes += write_good(paths.arrays, frames, form, skip_bad)
        except NeedsLevels:
            reading, note = find_levels(images, form.reading, skip_bad)
            notes.append(note)
            notes += write_good(paths.arrays, frames, replace(form, reading=reading), skip_bad)
        finally:
            with contextlib.suppress(OSError):  # where it holds nothing, it came of this try
                paths.arrays.rmdir()
    return notes


def write_good(folder, frames, form, skip_bad):
    """write_arrays of all frames, or with skip_bad of those that can be read, in the form that is
    chosen for them where it is open.
    """
    reasons, bad = (), []
    if skip_bad:
        frames, bad = leave_out_bad(frames, form if any(form.image_size) else of_any_size(form))
    if form.is_open:
        form, reasons = close_form(frames, form)
    unreadable = split_test(bad, lambda frame: frame.split)[1]
    return write_arrays(folder, frames, form, unreadable, reasons)


def close_form(frames, form):
    """An open Form with what own.choose_form chooses for the frames, and its reasons."""
    measured = measure_files(frames, of_any_size(form))
    choice = choose_form(measured, can_tile=all(frame.split != "test" for frame in frames))
    form, reasons = replace(form, is_open=False), []
    if not form.channels:  # else the options say how many
        form = replace(form, channels=choice.channels)
        reasons.append(choice.reasons["channels"])
    if not any(form.image_size):
        reading = replace(form.reading, zoom=choice.zoom)
        chosen = dict(image_size=choice.image_size, is_tiled=choice.is_tiled, reading=reading)
        form = replace(form, **chosen)
        reasons.append(choice.reasons["size"])
    return form, reasons


def of_any_size(form):
    """A Form that takes files of any size, to see what they hold."""
    return replace(form, image_size=ANY_SIZE, channels=form.channels or 3, keep_size=False)


def choose_classes(options):
    """The SegmentClass of each class that --classes and --colors of data.Options speak of, () for
    foreground and background, the Reading that they and the names of classes come to, and lines on
    it. Raises InputError.
    """
    count, colors = options.classes, options.colors
    reading = Reading(
        options.mask_threshold,
        invert=options.invert,
        ignore=parse_ignore(options.ignore),
        has_background=not options.no_background,
        black_level=options.black_level,
        white_level=options.white_level,
    )
    if not colors:
        return number_classes(count) if count else (), reading, []
    lines = read_classes(colors)
    if count not in (None, len(lines)):
        raise InputError(
            f"{colors}: {len(lines)} classes, --classes says {count}; one line for each"
        )
    classes, numbers = sort_classes(lines, colors)
    void = [label for label, number in zip(lines, numbers) if number == IGNORED]
    named = ", ".join(label.name for label in void)
    refuse(
        (
            void and reading.ignore,
            f"{colors}: {named} is ignored by its name; leave out --ignore, or rename it",
        ),
        (len(void) > 1 and not count, f"{colors}: {named} are ignored; keep one such colour"),
    )
    notes = [f"{named}: these pixels are ignored in training and scores"] if void else []
    if count and numbers != tuple(range(count)):
        reading = replace(reading, numbers=numbers)
    if void:
        reading = replace(reading, ignore=(NO_VALUE,) if count else void[0].color)
    return classes, reading, notes


def settle_reading(found, reading):
    """The Reading with what a Found says of its masks, whose labels may be void; adds to its notes
    which class is the background where no name says so. Raises InputError for one that
    --no-background denies.
    """
    is_named = found.classes and meaning_of(found.classes[0].name) == 0
    if not reading.has_background and is_named:
        raise InputError(
            f"--no-background: class 0 is called {found.classes[0].name}; leave it out, or rename "
            "the class"
        )
    if found.classes and reading.has_background and not is_named:
        found.notes.append(
            f"{found.classes[0].name} is taken for the background, which means and objects leave "
            "out; --no-background counts it as the other classes"
        )
    ignore = reading.ignore or ((NO_VALUE,) if found.has_void else ())
    return replace(reading, submission=found.submission, ignore=ignore)


def leave_out_bad(frames, form):
    """The frames that can become rows, and those that cannot; prints why. Raises InputError where
    none can for training, or none of the test images.
    """
    reasons = map_in_threads(why_bad, ((frame, form) for frame in frames))
    reasons = list(quiet(with_progress(reasons, len(frames), "checked")))
    for reason in filter(None, reasons):
        print(f"left out: {reason}")
    good = [frame for frame, reason in zip(frames, reasons) if not reason]
    bad = [frame for frame, reason in zip(frames, reasons) if reason]
    if bad:
        print(f"{len(bad)} of {len(frames)} images left out")
    if num_test := sum(frame.split == "test" for frame in bad):
        print(f"{num_test} of them test images, of which submission.py writes empty masks")
    for split, name in (("train", "training"), ("test", "test")):
        num_all, num_good = (sum(f.split == split for f in of) for of in (frames, good))
        if not num_good and (num_all or split == "train"):
            raise InputError(f"no {name} image is left; see above why")
    return good, bad


@dataclass(frozen=True, slots=True)
class Task:
    """One file that becomes a row of an array or, cut into tiles, several."""

    array: str
    row: int
    frame: Frame

    @property
    def files(self):
        """The ImageFiles to be read: of a mask its parts."""
        return self.frame.mask.parts if self.array == MASKS else (self.frame.image,)


def write_arrays(folder, frames, form, unreadable=(), reasons=()):
    """Write imgs_train.npy, imgs_mask_train.npy, imgs_test.npy (uint8, (N, H, W, C)),
    imgs_id_test.npy and files.csv, the list of the files they came from, to a folder, of more than
    two classes classes.csv, and unreadable.csv of test images that are: all of them, or after an
    error those of before. reasons: lines on why the form is as it is, for the report. Returns
    lines for a reader. Raises InputError, OSError.
    """
    train, test = split_test(frames, lambda frame: frame.split)
    if form.is_tiled and test:
        raise InputError(
            f"{test[0].image.path}: a test image does not go with --tile-size; leave such images "
            "out here, and predict them with test.py --images"
        )
    places = find_places(train, form)
    first = np.cumsum([0, *map(len, places)]).tolist()
    tasks = [Task(TEST_IMAGES, row, frame) for row, frame in enumerate(test)]
    tasks += [Task(IMAGES, row, frame) for frame, row in zip(train, first)]
    # Without a mask the array's zeros stay.
    tasks += [Task(MASKS, row, frame) for frame, row in zip(train, first) if frame.mask]
    shapes = {
        IMAGES: (first[-1], *form.image_size, form.channels),
        MASKS: (first[-1], *form.image_size, 1),
        TEST_IMAGES: (len(test), *form.image_size, form.channels),
    }
    texts = {READING: reading_text(form.reading)}
    if form.classes:
        texts[CLASSES] = classes_text(form.classes, form.is_colored)
    if unreadable:
        rows = [(frame.id, frame.image.path) for frame in unreadable]
        texts[UNREADABLE] = csv_text(("id", "image"), rows)
    names, gone = [FILES, REPORT, TEST_IDS, *shapes, *texts], {FILES, CLASSES, UNREADABLE}
    with contextlib.ExitStack() as stack:  # what is entered first is put in place last: files.csv
        new = {name: stack.enter_context(replace_file(folder / name)) for name in names}
        write = {name: create_array(new[name], shapes[name], np.uint8) for name in shapes}
        sizes, turned = fill_arrays(write, tasks, form)
        ids = [frame.id for frame in test]
        are_numbers = all(id.isdecimal() and str(int(id)) == id and len(id) < 10 for id in ids)
        np.save(new[TEST_IDS], np.array(ids, np.int32 if are_numbers else str))
        listed = [
            file_row(frame, sizes, form, place)
            for frame, of_frame in zip([*train, *test], [*places, *([None] for _ in test)])
            for place in of_frame
        ]
        listed = write_report(new, listed, form.classes, form.reading, reasons)
        for name, text in {**texts, FILES: csv_text(FILES_HEADER, listed)}.items():
            new[name].write_text(text, encoding="utf-8")
        for name in gone - set(texts):  # until all are in place there is no files.csv
            (folder / name).unlink(missing_ok=True)
    of_files = {frame.id for frame in train if frame.mask and frame.mask.parts}
    return [describe_sizes(sizes, form, first[-1]), *describe_turned(turned, of_files)]


def describe_sizes(sizes, form, num_rows):
    """A line on the sizes of the images in their files and what became of them."""
    known = sorted(set(sizes.values()), key=math.prod)
    text = " to ".join(f"{height}x{width}" for height, width in known[:: max(1, len(known) - 1)])
    height, width = form.image_size
    if form.is_tiled:
        shrunk = f" shrunk to {form.reading.zoom:.0%} and" if form.reading.zoom < 1 else ""
        return f"images of {text}{shrunk} cut into {num_rows} tiles of {height}x{width}"
    if known == [form.image_size]:
        return f"images of {text}, as they are"
    shapes = {round(math.log2(h / w), 1) for h, w in [*known, form.image_size]}
    squeezed = ", which changes their shape" if len(shapes) > 1 else ""
    return f"images of {text} resized to {height}x{width}{squeezed}"


def describe_turned(turned, ids):
    """Lines on the images or masks of some ids of which EXIF turned only one."""
    kinds = (IMAGES, MASKS, "images", "masks"), (MASKS, IMAGES, "masks", "images")
    counts = [len((turned[first] - turned[second]) & ids) for first, second, *_ in kinds]
    return [
        f"{count} {one} are turned as their EXIF says, their {other} have none: see whether they "
        "fit in the picture"
        for count, (*_, one, other) in zip(counts, kinds)
        if count
    ]


def find_places(frames, form):
    """Row and column where each frame's tiles begin; [None] where there are none."""
    if not form.is_tiled:
        return [[None] for _ in frames]

    def places(frame):
        size = zoomed(read_size(frame.image), form.reading.zoom)
        return tile_places(size, form.image_size)

    found = map_in_threads(places, ((frame,) for frame in frames))
    return list(quiet(with_progress(found, len(frames), "sizes")))


def file_row(frame, sizes, form, place):
    """A line of files.csv, in the order of FILES_HEADER, of a frame, or of its tile at a place
    that is not None; sizes: of fill_arrays.
    """
    id, size = frame.id, sizes[frame.split == "test", frame.id]
    if place:
        id, size = f"{id}_{place[0]}_{place[1]}", form.image_size
    mask = frame.mask.path if frame.mask else ""
    return (frame.split, id, frame.subject, frame.image.path, mask, *size)


def fill_arrays(write, tasks, form):
    """Put each file in its rows with write[array](row, pixels); returns the images' sizes, (H, W),
    by (whether it is a test image, id), and the ids of what EXIF turned by array.
    """
    sizes, mask_sizes, turned = {}, {}, {array: set() for array in write}
    decoded = decode_tasks(tasks, form)
    for task, size, rows, is_turned in quiet(with_progress(decoded, len(tasks), "files")):
        if is_turned:
            turned[task.array].add(task.frame.id)
        key = task.array == TEST_IMAGES, task.frame.id
        (mask_sizes if task.array == MASKS else sizes)[key] = size
        if key in sizes and key in mask_sizes:
            check_sizes(task.frame, sizes[key], mask_sizes[key])
        for row, pixels in enumerate(rows, task.row):
            write[task.array](row, pixels)
    return sizes, turned


def decode_tasks(tasks, form):
    """Yield (task, size of its file, its rows (N, H, W, C), True where EXIF turned it). Bytes are
    read one after the other in the order in which they lie in a zip, and decoded by several
    threads.
    """

    def decode_task(task, data):
        is_turned = any(exif_orientation(encoded) > 1 for encoded in data)
        return (task, *decode(task.frame, task.array == MASKS, form, data), is_turned)

    def read():
        last, encoded = None, b""
        for task in sorted(tasks, key=lambda task: [file.place for file in task.files]):
            data = []
            for file in task.files:
                if file.path != last or file.page is None:  # pages of a file share its bytes
                    last, encoded = file.path, file.read()
                data.append(encoded)
            yield task, data

    return map_in_threads(decode_task, read())
