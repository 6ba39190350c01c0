"""Image files in folders and zips, listed and read."""

import io
import lzma
import os
import re
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

from unet.errors import InputError
from unet.machine.disk import size_text

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".gif")
warnings.filterwarnings("ignore", module=r"PIL\.")  # our own messages name the file
LARGEST_FILE = 2**30  # bytes of an image file
MOST_ZIPS = 3  # inside each other
# What zipfile and its decompressors raise for a damaged or encrypted archive.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
              NotImplementedError)  # fmt: skip

# What Pillow raises for a damaged file.
IMAGE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, OverflowError,
                struct.error, zlib.error, Image.DecompressionBombError)  # fmt: skip


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
    try:
        with Image.open(io.BytesIO(file.read()), formats=["TIFF"]) as image:
            count = image.n_frames
    except IMAGE_ERRORS as error:
        raise InputError(f"{file.path}: not a tif, or cut short") from error
    return [replace(file, page=page, stem=str(page)) for page in range(count)]
