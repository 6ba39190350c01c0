"""Frames to the .npy arrays of a job, and back: row by row, so that they may be larger than
memory.
"""

import contextlib
import itertools
import os
import threading
import tokenize
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from classes import CLASSES, classes_text, decode_classes, find_classes, resize_classes
from disk import create_array, csv_text, replace_file
from files import (
    ImageFile,
    decode_image,
    decode_mask,
    map_in_threads,
    quiet,
    read_csv,
    resize,
    with_progress,
)
from frames import Frame, check_sizes
from jobs import JOBS, LARGEST_IMAGE, InputError, command
from options import error_text

IMAGES, MASKS, TEST_IMAGES = "imgs_train.npy", "imgs_mask_train.npy", "imgs_test.npy"
TEST_IDS, FILES = "imgs_id_test.npy", "files.csv"
FILES_HEADER = ("split", "id", "subject", "image", "mask", "height", "width")


@dataclass(frozen=True)
class Form:
    """What the arrays are to look like, and how files are read into them."""

    image_size: tuple[int, int]  # (H, W) in pixels
    keep_size: bool  # every file has to have that size already
    channels: int
    threshold: int | None
    white_level: int
    classes: tuple = ()  # SegmentClass, more than two; (): a mask is foreground or not
    is_colored: bool = False  # masks are in the classes' colours
    is_tiled: bool = False  # files of any size are cut into rows of image_size


@dataclass(frozen=True, slots=True)
class Task:
    """One file that becomes a row of an array or, cut into tiles, several."""

    array: str
    row: int
    file: ImageFile
    frame: Frame


def write_arrays(folder, frames, form):
    """Write imgs_train.npy, imgs_mask_train.npy, imgs_test.npy (uint8, (N, H, W, C)),
    imgs_id_test.npy and files.csv, the list of the files they came from, to a folder, and of more
    than two classes classes.csv: all of them, or after an error those of before. Raises
    InputError, OSError.
    """
    train, test = split_test(frames, lambda frame: frame.split)
    if form.is_tiled and test:
        raise InputError(
            f"{test[0].image.path}: a test image does not go with --tile-size; take such images "
            "away here, and predict them with test.py --images"
        )
    places = places_of_all(train, form)
    first = np.cumsum([0, *map(len, places)])
    tasks = []
    for row in range(len(frames)):
        if row < len(train):
            files = (IMAGES, train[row].image), (MASKS, train[row].mask)
            tasks += [Task(array, int(first[row]), file, train[row]) for array, file in files]
        if row < len(test):
            tasks.append(Task(TEST_IMAGES, row, test[row].image, test[row]))
    lengths = {IMAGES: int(first[-1]), MASKS: int(first[-1]), TEST_IMAGES: len(test)}
    with contextlib.ExitStack() as stack:  # what is entered first is put in place last: files.csv
        new = {
            name: stack.enter_context(replace_file(Path(folder) / name))
            for name in (FILES, TEST_IDS, *lengths, *([CLASSES] if form.classes else []))
        }
        write = {}
        for name, length in lengths.items():
            shape = length, *form.image_size, 1 if name == MASKS else form.channels
            write[name] = create_array(new[name], shape, np.uint8)
        sizes = _fill_arrays(write, tasks, form)
        ids = [frame.id for frame in test]
        is_number = all(id.isdecimal() and str(int(id)) == id and len(id) < 10 for id in ids)
        np.save(new[TEST_IDS], np.array(ids, np.int32 if is_number else str))
        listed = [
            (frame.split, frame.id + tile_suffix(place), frame.subject, frame.image.path)
            + (frame.mask.path if frame.mask else "",)
            + (form.image_size if place else sizes[frame.split == "test", frame.id])
            for frame, some in zip([*train, *test], [*places, *[[None]] * len(test)])
            for place in some
        ]
        new[FILES].write_text(csv_text(FILES_HEADER, listed), encoding="utf-8")
        if form.classes:
            new[CLASSES].write_text(classes_text(form.classes, form.is_colored), encoding="utf-8")
        (Path(folder) / FILES).unlink(missing_ok=True)  # until all are in place there are none
        if not form.classes:
            (Path(folder) / CLASSES).unlink(missing_ok=True)


def split_test(items, split_of):
    """Two lists: the items for training or validation, and those of the split "test"."""
    return [
        [item for item in items if (split_of(item) == "test") == is_test]
        for is_test in (False, True)
    ]


def tile_places(size, tile_size):
    """Row and column where the tiles of an image of a size (H, W) begin: they cover it side by
    side, the last ones aligned with its end.
    """
    starts = (
        [*range(0, length - tile, tile), max(length - tile, 0)]
        for length, tile in zip(size, tile_size)
    )
    return list(itertools.product(*starts))


def tile_suffix(place):
    """What follows the id of a tile's image."""
    return "" if place is None else f"_{place[0]}_{place[1]}"


def places_of_all(frames, form):
    """The tile_places of each frame's image; without tiles [None] each."""
    if not form.is_tiled:
        return [[None]] * len(frames)

    def places(frame):
        image = frame.image
        pixels = decode_image(image.read(), image.path, form.channels, image.page)
        return tile_places(pixels.shape[:2], form.image_size)

    found = map_in_threads(places, ((frame,) for frame in frames))
    return list(quiet(with_progress(found, len(frames), "sizes")))


def cut_tiles(pixels, tile_size):
    """The tiles (N, H, W, C) of pixels, in the order of tile_places; an image that is smaller is
    mirrored out.
    """
    places = tile_places(pixels.shape[:2], tile_size)
    missing = [max(tile - length, 0) for tile, length in zip(tile_size, pixels.shape)]
    pixels = np.pad(pixels, [*((0, n) for n in missing), (0, 0)], mode="symmetric")
    return np.stack([pixels[y : y + tile_size[0], x : x + tile_size[1]] for y, x in places])


def _fill_arrays(write, tasks, form):
    """Put each file in its rows with write[array](row, pixels); returns the images' sizes, (H, W),
    by (whether it is a test image, id).
    """
    sizes, mask_sizes = {}, {}
    decoded = _decode_all(tasks, form)
    for task, size, rows in quiet(with_progress(decoded, len(tasks), "files")):
        key = task.array == TEST_IMAGES, task.frame.id
        (mask_sizes if task.array == MASKS else sizes)[key] = size
        if key in sizes and key in mask_sizes:
            check_sizes(task.frame, sizes[key], mask_sizes[key])
        for row, pixels in enumerate(rows, task.row):
            write[task.array](row, pixels)
    return sizes


def _decode_all(tasks, form):
    """Yield (task, size of its file, its rows (N, H, W, C)). Bytes are read one after the other in
    the order in which they lie in a zip, and decoded by several threads.
    """

    def read():
        last, data = None, b""
        for task in sorted(tasks, key=lambda task: task.file.place):
            if (task.file.path, task.file.member) != last:  # pages of one tif share its bytes
                last, data = (task.file.path, task.file.member), task.file.read()
            yield task, data

    return map_in_threads(
        lambda task, data: (task, *decode(task.file, task.array == MASKS, data, form)), read()
    )


def decode(file, is_mask, data, form):
    """The size (H, W) of an image or a mask and its rows (N, H, W, C) of the array."""
    if is_mask and form.classes:
        pixels = decode_classes(data, file.path, form.classes, file.page, form.is_colored)
    elif is_mask:
        pixels = decode_mask(data, file.path, file.page, form.threshold)
    else:
        pixels = decode_image(data, file.path, form.channels, file.page, form.white_level)
    size = pixels.shape[:2]
    if form.is_tiled:
        return size, cut_tiles(pixels, form.image_size)
    if form.keep_size and size != form.image_size:
        raise InputError(
            f"{file.path}: is {size[0]}x{size[1]}, the first image {form.image_size[0]}x"
            f"{form.image_size[1]}; pass --image-size H W to make them one size"
        )
    if is_mask and form.classes:
        return size, resize_classes(pixels, form.image_size)[None]
    pixels = resize(pixels, form.image_size)
    if is_mask:
        pixels = cv2.compare(pixels, 127, cv2.CMP_GT).reshape(pixels.shape)
    return size, pixels[None]


def why_bad(frame, form):
    """What is wrong with the files of a frame, a text; None where they can become rows."""
    try:
        files = [(frame.image, False), *([(frame.mask, True)] if frame.mask else [])]
        sizes = [decode(file, is_mask, file.read(), form)[0] for file, is_mask in files]
        if frame.mask:
            check_sizes(frame, *sizes)
    except (InputError, OSError) as error:
        return error_text(error)
    return None


class Rows:
    """The rows of a .npy file, (N, ...), indexed as its array would be; what comes back is a copy.

    They are read from the file, not through a memory map: its pages would count as memory, and
    rows in random order that the system has not cached took 30 times as long. The file stays
    open, and so the same one if data.py replaces it meanwhile.
    path: of the file; remedy: what the InputError for a missing or damaged one says to do.
    """

    def __init__(self, path, remedy):
        try:
            self.file = open(path, "rb", buffering=0)  # noqa: SIM115 (as long as rows are read)
            array = np.lib.format.open_memmap(path, mode="r")  # checks header and length
        except FileNotFoundError as error:
            raise InputError(f"{path}: missing; {remedy}") from error
        except (ValueError, EOFError, OverflowError, TypeError, tokenize.TokenError) as error:
            raise InputError(f"{path}: not a whole .npy file ({error}); {remedy}") from error
        self.map = None if array.flags.c_contiguous else array  # Fortran order scatters a row
        self.shape, self.dtype, self.offset = array.shape, array.dtype, array.offset
        self.remedy, self.lock = remedy, threading.Lock()

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        if self.map is not None:
            return np.array(self.map[index])
        rows, *rest = index if isinstance(index, tuple) else (index,)
        if rows is ...:
            rows, rest = slice(None), [..., *rest]
        numbers = np.arange(len(self))[rows]
        result = np.empty((*numbers.shape, *self.shape[1:]), self.dtype)
        for number, row in zip(numbers.ravel(), result.reshape(-1, *self.shape[1:])):
            with self.lock:
                self.file.seek(self.offset + int(number) * row.nbytes)
                if self.file.readinto(row) != row.nbytes:
                    name = self.file.name
                    raise InputError(f"{name}: was cut short while it was read; {self.remedy}")
        return result[(*[slice(None)] * numbers.ndim, *rest)]

    def is_replaced(self):
        """Whether another file has taken the place of this one since."""
        try:
            return not os.path.samestat(os.fstat(self.file.fileno()), os.stat(self.file.name))
        except FileNotFoundError:
            return True

    def checksum(self):
        """CRC-32 of about 64 rows, evenly spread, for there may be many."""
        value = 0
        for row in range(0, len(self), max(1, len(self) // 64)):
            value = zlib.crc32(self[row], value)
        return value


@dataclass(frozen=True)
class Arrays:
    """What data.py wrote for a job; images and masks are Rows, uint8 (N, H, W, C), masks 0 and
    255, or class numbers where there are classes.

    files, test_files: a dict for each row, with split, id, subject, image, mask, height, width.
    classes: SegmentClass, more than two, or (); is_colored: whether the files' masks were in their
    colours; name: of the folder in output/.
    """

    images: Rows
    masks: Rows
    test_images: Rows
    files: list
    test_files: list
    classes: tuple = ()
    is_colored: bool = False
    name: str = ""

    @property
    def is_resized(self):
        """Whether a training image had another size before it became a row here."""
        size = self.images.shape[1:3]
        return any((row["height"], row["width"]) != size for row in self.files)


def find_arrays(name, job):
    """Which arrays a run of a job trains on: those of its own name where data.py wrote any, else
    the job's.
    """
    folder = Path("output", name)
    return name if any((folder / file).exists() for file in (FILES, IMAGES)) else job


def load_arrays(name, job=None):
    """The Arrays in output/NAME, a job's or those of a name of one's own; raises InputError naming
    the command that writes them.
    """
    folder, again = Path("output", name), f"run {command('data.py', name, job or name)} again"
    if not (folder / FILES).exists():
        first = f"{command('data.py', name, job or name)} {JOBS[job or name].raw}".rstrip()
        if (folder / IMAGES).exists():
            raise InputError(
                f"{folder}: data.py was interrupted there; run {first} again, with the options "
                "of before"
            )
        raise InputError(f"{folder}: no arrays there yet; first run: {first}")
    rows = read_csv(folder / FILES, FILES_HEADER)
    sizes = [row[name] for row in rows for name in ("height", "width")]
    if not all(size.isdecimal() and len(size) < 10 for size in sizes):
        raise InputError(f"{folder / FILES}: sizes that are no numbers; {again}")
    for row in rows:
        row.update(height=int(row["height"]), width=int(row["width"]))
        if not 0 < row["height"] * row["width"] <= LARGEST_IMAGE:
            size = f"{row['height']}x{row['width']}"
            raise InputError(f"{folder / FILES}: a size of {size}; {again}")
    files, test_files = split_test(rows, lambda row: row["split"])
    arrays = [Rows(folder / file, again) for file in (IMAGES, MASKS, TEST_IMAGES)]
    images, masks, test_images = arrays
    expected = [
        (len(files), *images.shape[1:]),
        (len(files), *images.shape[1:3], 1),
        (len(test_files), *images.shape[1:]),
    ]
    for file, array, shape in zip((IMAGES, MASKS, TEST_IMAGES), arrays, expected):
        if (array.dtype, array.shape, len(shape)) != (np.uint8, shape, 4):
            raise InputError(
                f"{folder / file}: is {array.dtype} {array.shape}, expected uint8 {shape} by "
                f"{FILES} and {IMAGES}; {again}"
            )
    classes, is_colored = find_classes(name)
    return Arrays(images, masks, test_images, files, test_files, classes, is_colored, name)
