"""Image files and CSV files in: folders and zips listed, images and masks decoded; progress and
threads for many of them.
"""

import collections
import csv
import lzma
import os
import re
import sys
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from disk import replace_file, size_text
from jobs import LARGEST_IMAGE, InputError

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".gif")

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # OpenCV's own complaints; ours name the file

LARGEST_FILE = 2**30  # bytes of an image file
MOST_ZIPS = 3  # inside each other
csv.field_size_limit(2**27)  # run-length codes of large masks are long

# What zipfile and its decompressors raise for a damaged or encrypted archive.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
              NotImplementedError)  # fmt: skip


def natural_key(text):
    """Sort key that takes digits as numbers: 2 before 10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image in a folder or a zip. `path` is how messages name it."""

    path: str
    folder: str  # name of the folder that holds it; a zip counts as a folder of its name
    stem: str
    place: tuple = ()  # (archive, offset): zips inside zips are fast only when read in this order
    archive: zipfile.ZipFile | None = None
    member: str = ""
    page: int = 0  # of a multi-page tif

    def read(self):
        """The file's bytes; raises InputError, OSError."""
        if self.archive is None:
            size = os.path.getsize(self.path)
            if not os.path.isfile(self.path):  # a pipe would keep us waiting
                raise InputError(f"{self.path}: not a file")
        else:
            size = self.archive.getinfo(self.member).file_size  # zipfile reads no more than that
        if size > LARGEST_FILE:
            raise InputError(
                f"{self.path}: has {size_text(size)}, an image may have {size_text(LARGEST_FILE)}"
            )
        if self.archive is None:
            return Path(self.path).read_bytes()
        try:
            return self.archive.read(self.member)
        except ZIP_ERRORS as error:
            raise InputError(f"{self.path}: cannot be read from its zip ({error})") from error


def list_images(root, recursive=True):
    """Every image file in a folder or a .zip (and in zips inside), sorted by path in numeric
    order.

    A zip is read where it lies, never unpacked. Hidden files and those without an image's ending
    are passed over. Raises InputError where there is no such folder, or no image in it.
    """
    root = str(root)
    if os.path.isdir(root):
        found = list(_list_folder(root, recursive))
    elif not os.path.exists(root):
        raise InputError(f"{root}: no such folder or zip file")
    elif root.lower().endswith(".zip"):
        found = list(_list_zip(partial(open, root, "rb"), root, ()))
    else:
        raise InputError(f"{root}: is a file; expected a folder or a .zip")
    if not found:
        raise InputError(f"{root}: no images in it; allowed: {' '.join(IMAGE_SUFFIXES)}")
    for file in found:
        if not file.path.isascii() and file.path.encode(errors="replace").decode() != file.path:
            raise InputError(f"{file.path!r}: its name is not UTF-8; rename it")
    return sorted(found, key=lambda file: natural_key(file.path))


def _list_folder(root, recursive):
    def refuse(error):
        raise error

    for parent, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in names:
            path = os.path.join(parent, name)
            stem, suffix = os.path.splitext(name)
            if name.startswith("."):
                continue
            if suffix.lower() in IMAGE_SUFFIXES:
                yield ImageFile(path, os.path.basename(os.path.abspath(parent)), stem)
            elif (
                suffix.lower() == ".zip" and recursive and stem not in folders
            ):  # else it is unpacked already
                yield from _list_zip(partial(open, path, "rb"), path, ())


def _list_zip(open_file, path, place):
    if len(place) > MOST_ZIPS:
        raise InputError(f"{path}: more than {MOST_ZIPS} zips inside each other; unpack them")
    try:
        archive = zipfile.ZipFile(open_file())
    except ZIP_ERRORS as error:
        raise InputError(f"{path}: not a zip file, or cut short ({error})") from error
    for info in archive.infolist():
        inside = PurePosixPath(info.filename)
        if info.is_dir() or any(part.startswith((".", "__MACOSX")) for part in inside.parts):
            continue
        inner_place = (*place, info.header_offset)
        inner_path = f"{path}/{inside}"
        if inside.suffix.lower() in IMAGE_SUFFIXES:
            folder = inside.parent.name or Path(path).stem
            yield ImageFile(
                inner_path, folder, inside.stem, (path, *inner_place), archive, info.filename
            )
        elif inside.suffix.lower() == ".zip":
            yield from _list_zip(partial(archive.open, info), inner_path, inner_place)


def list_pages(file):
    """One ImageFile for each page of a tif; raises InputError for one that is cut short."""
    count = count_tif_pages(file.read())
    if not count:
        raise InputError(f"{file.path}: not a tif, or cut short")
    return [replace(file, page=page, stem=str(page)) for page in range(count)]


def count_tif_pages(data):
    """Number of directories in the bytes of a tif (6.0 or BigTIFF); 0 where they are damaged."""
    order = {b"II": "little", b"MM": "big"}.get(data[:2])
    if order is None:
        return 0

    def number(at, size):
        return int.from_bytes(data[at : at + size], order) if at + size <= len(data) else None

    is_big = number(2, 2) == 43
    width, entry, count_width = (8, 20, 8) if is_big else (4, 12, 2)
    offset, seen = number(width, width), set()
    while offset:
        entries = number(offset, count_width)
        if not entries or offset in seen:
            return 0
        seen.add(offset)
        offset = number(offset + count_width + entry * entries, width)
    return 0 if offset is None else len(seen)


def decode_image(data, path, channels, page=0, white_level=65535):
    """Pixels of an encoded image: uint8 (H, W, channels) in 0..255, RGB or grey, alpha dropped.

    16-bit values are scaled so that `white_level` becomes 255. Raises InputError.
    """
    pixels = decode_pixels(data, path, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH, page)
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / white_level)
    is_grey = pixels.ndim == 2
    if channels == 1:
        return (pixels if is_grey else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))[..., None]
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if is_grey else cv2.COLOR_BGR2RGB)


def decode_mask(data, path, page=0, threshold=None):
    """An encoded mask as uint8 (H, W, 1) of 0 and 255; what is transparent counts as 0.

    Without a threshold the file may hold 0 and the largest value of its type only; with one, in
    the file's own units, what is above it becomes 255. Raises InputError.
    """
    pixels = decode_pixels(data, path, cv2.IMREAD_UNCHANGED, page)
    if pixels.ndim == 3:
        if pixels.shape[2] == 4:
            pixels = pixels[..., :3] * (pixels[..., 3:] > 0)
        if threshold is None and (pixels != pixels[..., :1]).any():
            raise InputError(
                f"{path}: mask has colours, expected grey 0 and 255; "
                "pass --threshold 0 to take every colour but black as foreground"
            )
        pixels = pixels.max(axis=2)
    full = np.iinfo(pixels.dtype).max
    if threshold is not None and threshold >= full:
        raise InputError(f"{path}: no value above --threshold {threshold}; pass 0 to {full - 1}")
    if threshold is None:
        if cv2.inRange(pixels, 1, full - 1).any():
            largest = pixels.max()
            raise InputError(
                f"{path}: mask has values {pixels.min()}..{largest}, expected 0 and {full}; "
                f"pass --threshold {largest // 2} to binarise it"
            )
        threshold = 0
    return cv2.inRange(pixels, threshold + 1, full)[..., None]


def decode_pixels(data, path, flags, page=0):
    """What OpenCV makes of an encoded image, uint8 or uint16, (H, W) or BGR (H, W, 3) or (H, W,
    4). Raises InputError.
    """
    pixels, reason = None, "not an image, or cut short"
    if data and (not data.startswith(b"\x89PNG") or is_whole_png(data)):
        buffer = np.frombuffer(data, np.uint8)
        try:  # OpenCV raises for some damaged files; for others None comes back
            if page:
                pages = cv2.imdecodemulti(buffer, flags, range=(page, page + 1))[1]
                pixels = pages[0] if pages else None
            else:
                pixels = cv2.imdecode(buffer, flags)
        except cv2.error as error:
            if "CV_IO_MAX_IMAGE" in str(error):
                reason = f"says that it has more than {LARGEST_IMAGE:,} pixels; cut it into tiles"
    if pixels is None:
        raise InputError(f"{path}: {reason} ({len(data)} bytes)")
    if pixels.dtype not in (np.uint8, np.uint16) or (
        pixels.ndim == 3 and pixels.shape[2] not in (3, 4)
    ):
        raise InputError(
            f"{path}: {pixels.dtype} pixels of shape {pixels.shape}; "
            "allowed: 8 or 16 bit, grey or RGB"
        )
    return pixels


def png_palette(data):
    """RGB colours of a PNG's palette, uint8 (N, 3), None where it has none (ISO 15948, 11.2)."""
    if not data.startswith(b"\x89PNG") or data[25:26] != b"\x03":  # the colour type
        return None
    at = data.find(b"PLTE")  # before any pixel
    size = int.from_bytes(data[at - 4 : at], "big")
    return np.frombuffer(data[at + 4 : at + 4 + size], np.uint8).reshape(-1, 3)


def is_whole_png(data):
    """Whether the chunks of a PNG's bytes are all there and have their CRC-32 (ISO 15948, 5.3).
    libpng would print a line of its own where they do not.
    """
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(memoryview(data)[at + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False


def resize(pixels, image_size):
    """Pixels (H, W, C) at another (H, W): area averaging to shrink, linear to enlarge."""
    height, width = pixels.shape[:2]
    if (height, width) == tuple(image_size):
        return pixels
    shrinks = image_size[0] < height or image_size[1] < width
    resized = cv2.resize(
        pixels, image_size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return resized.reshape(*image_size, -1)


def read_csv(path, columns):
    """Rows of a CSV file as dicts; raises InputError where the file or one of `columns` is
    missing.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such CSV file")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows, names = list(reader), reader.fieldnames or ["none"]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    if missing := [name for name in columns if name not in names]:
        raise InputError(
            f"{path}: has columns {', '.join(names)}; expected {', '.join(columns)}, so it lacks "
            f"{', '.join(missing)}"
        )
    for number, row in enumerate(rows, 2):
        if any(row[name] is None for name in columns):
            raise InputError(f"{path}: line {number} is cut short; expected {', '.join(columns)}")
    return rows


def read_numbers(path, columns, names, whole=()):
    """Rows of a CSV file, dicts of text, [] where there is none yet; raises InputError where one
    of `columns` is missing, or a number in those of `names`, a whole one in those of `whole`.
    """
    rows = read_csv(path, columns) if os.path.exists(path) else []
    for number, row in enumerate(rows, 2):
        for name in names:
            try:
                int(row[name]) if name in whole else float(row[name])
            except ValueError as error:
                expected = "a whole number" if name in whole else "a number"
                raise InputError(
                    f"{path}: line {number}: {name} is {row[name]!r}, expected {expected}; "
                    "delete the line, or the file"
                ) from error
    return rows


def write_image(path, pixels):
    """Pixels (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4), uint8, as the picture that the
    path's ending names.
    """
    path = Path(path)
    if pixels.shape[2:] == (3,):
        pixels = pixels[..., ::-1]
    elif pixels.shape[2:] == (4,):
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA)
    encoded = cv2.imencode(path.suffix, pixels)[1]
    with replace_file(path, encoded.nbytes) as temporary:
        temporary.write_bytes(encoded)


def quiet(items):
    """Yield the items, without the lines that OpenCV's libraries print as they decode them."""
    sys.stderr.flush()
    python, number = sys.stderr, os.dup(2)
    with open(os.devnull, "w") as nowhere, open(number, "w", buffering=1) as stderr:
        os.dup2(nowhere.fileno(), 2)
        if python is sys.__stderr__:
            sys.stderr = stderr
        try:
            yield from items
        finally:
            sys.stderr = python
            os.dup2(number, 2)


def map_in_threads(function, items):
    """Yield function(*item) of each item, in their order, from as many threads as there are
    processors; a few items at a time are in memory.
    """
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        pending = collections.deque()
        for item in items:
            pending.append(pool.submit(function, *item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        for future in pending:
            yield future.result()


def with_progress(items, total, label):
    """The items, with a progress bar on the error stream where that is a terminal."""
    start = shown = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if sys.stderr.isatty() and (now - shown > 0.1 or count == total):
            shown, seconds = now, (now - start) / count
            progress_bar(label, count, total, seconds, 1 / max(seconds, 1e-9))


def progress_bar(label, count, total, seconds, rate, text=""):
    """Show on the error stream how many of a total are done, in so many seconds each, and images
    per second.
    """
    bar, left = ("=" * (30 * count // total)).ljust(30, "."), seconds * (total - count)
    print(
        f"\r{label} {count}/{total} [{bar}] {rate:.3g} images/s, {left:.0f}s left {text} ",
        end="\n" if count == total else "",
        file=sys.stderr,
        flush=True,
    )
