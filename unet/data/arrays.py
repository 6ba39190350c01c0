"""The .npy arrays of a job, read row by row, so that they may be larger than memory."""

import functools
import hashlib
import os
import threading
import tokenize
import zlib
from dataclasses import dataclass

import numpy as np

from unet import LARGEST_IMAGE
from unet.errors import InputError
from unet.jobs import JOBS
from unet.jobs.settings import IGNORED, PLAIN, Reading
from unet.machine.disk import read_csv
from unet.reading.classes import find_classes
from unet.reading.values import are_numbers, read_reading
from unet.runs import Paths, command

IMAGES, MASKS, TEST_IMAGES = "imgs_train.npy", "imgs_mask_train.npy", "imgs_test.npy"
TEST_IDS, FILES = "imgs_id_test.npy", "files.csv"
UNREADABLE = "unreadable.csv"  # test images that --skip-bad left out; only where there are any
FILES_HEADER = ("split", "id", "subject", "image", "mask", "height", "width")


def split_test(items, split_of):
    """Two lists: the items for training or validation, and those of the split "test"."""
    others = [item for item in items if split_of(item) != "test"]
    return others, [item for item in items if split_of(item) == "test"]


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


def read_unreadable(name):
    """Rows of unreadable.csv in output/NAME, dicts of id and image; [] where there is none."""
    path = Paths(name).arrays / UNREADABLE
    return read_csv(path, ("id", "image")) if path.exists() else []


@dataclass(frozen=True)
class Arrays:
    """Arrays that data.py wrote for a job; images and masks are Rows, uint8 (N, H, W, C).

    files, test_files: a dict for each row, with split, id, subject, image, mask, height, width.
    classes: SegmentClass, more than two, or (); is_colored: the files' masks were in their
    colours; name: of the folder in output/; reading: how the files were read.
    """

    images: Rows
    masks: Rows
    test_images: Rows
    files: list
    test_files: list
    classes: tuple = ()
    is_colored: bool = False
    name: str = ""
    reading: Reading = PLAIN

    @functools.cached_property
    def pixels_digest(self):
        """A digest of about 64 images and masks, wherever and by what names their files lie."""
        facts = self.images.shape, self.images.checksum(), self.masks.checksum()
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    @property
    def has_numbers(self):
        """True where masks hold class numbers, and IGNORED where a pixel does not count; else they
        hold 0 and 255, and all pixels count.
        """
        return are_numbers(self.classes, self.reading)

    def as_numbers(self, masks):
        """Masks as these arrays have them, uint8, as class numbers, 0 the background, IGNORED
        where a pixel does not count.
        """
        return masks if self.has_numbers else masks & 1

    def numbers(self, row):
        """The true class number of each pixel of a row, uint8 (H, W)."""
        return self.as_numbers(self.masks[row][..., 0])

    def shown(self, row):
        """The classes that a row's mask shows, but the background: bool (K,), (1,) where there is
        foreground alone.
        """
        counts = np.bincount(self.numbers(row).ravel(), minlength=IGNORED)
        return counts[1 : max(2, len(self.classes))] > 0

    @property
    def is_resized(self):
        """Whether a training image had another size before it became a row here, and not the same
        zoom as all.
        """
        size = self.images.shape[1:3]
        return self.reading.zoom == 1 and any(
            (row["height"], row["width"]) != size for row in self.files
        )


def has_foreground(numbers):
    """True for class numbers of which one is counted and not the background."""
    return bool(((numbers > 0) & (numbers != IGNORED)).any())


def find_arrays(name, job):
    """Name of the arrays that a run of a job trains on: its own where data.py wrote any, else the
    job's.
    """
    return name if has_arrays(name) else job


def has_arrays(name):
    """Whether data.py wrote arrays of a name, or was interrupted in it."""
    return any((Paths(name).arrays / file).exists() for file in (FILES, IMAGES))


def load_arrays(name, job=None):
    """The Arrays in output/NAME, a job's or those of a name of one's own; raises InputError naming
    the command that writes them.
    """
    job = name if name in JOBS else job  # a run of another job may train on them, too
    folder, writing = Paths(name).arrays, command("data.py", name, job or name)
    remedy = f"run {writing} again"
    if not (folder / FILES).exists():
        first = f"{writing} {JOBS[job or name].raw}".rstrip()
        problem = f"no arrays there yet; first run: {first}"
        if (folder / IMAGES).exists():
            problem = f"data.py was interrupted there; run {first} again, with the same options"
        raise InputError(f"{folder}: {problem}")
    rows = read_csv(folder / FILES, FILES_HEADER)
    for row in rows:
        lengths = row["height"], row["width"]
        is_number = all(text.isdecimal() and len(text) < 10 for text in lengths)
        row["height"], row["width"] = map(int, lengths if is_number else (0, 0))
        if not 0 < row["height"] * row["width"] <= LARGEST_IMAGE:
            raise InputError(f"{folder / FILES}: a size of {'x'.join(lengths)}; {remedy}")
    files, test_files = split_test(rows, lambda row: row["split"])
    arrays = [Rows(folder / file, remedy) for file in (IMAGES, MASKS, TEST_IMAGES)]
    size, channels = arrays[0].shape[1:3], arrays[0].shape[3:]
    expected = [
        (len(files), *size, *channels),
        (len(files), *size, 1),
        (len(test_files), *size, *channels),
    ]
    for file, array, shape in zip((IMAGES, MASKS, TEST_IMAGES), arrays, expected):
        if (array.dtype, array.shape, len(shape)) != (np.uint8, shape, 4):
            raise InputError(
                f"{folder / file}: is {array.dtype} {array.shape}, expected uint8 {shape} by "
                f"{FILES} and {IMAGES}; {remedy}"
            )
    return Arrays(*arrays, files, test_files, *find_classes(name), name, read_reading(name))
