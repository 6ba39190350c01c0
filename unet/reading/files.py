"""Image files in folders and zips, listed and read."""

import collections
import glob
import io
import lzma
import os
import re
import struct
import unicodedata
import warnings
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, PngImagePlugin

from unet.errors import InputError, refuse
from unet.jobs.settings import MOST_CLASSES
from unet.machine.disk import size_text
from unet.reading import tif

# What OpenCV, Pillow and NumPy read here; the content decides, not the ending.
IMAGE_SUFFIXES = (
    ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp",
    ".jp2", ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".npy",
)  # fmt: skip
PAGED = (".tif", ".tiff", ".gif", ".webp", ".npy")  # may hold several images
# Kinds that are not read, and how they become such that are.
HEIC = "HEIC; convert it with heif-convert x.heic x.jpg"
DICOM = "DICOM; convert it with np.save('x.npy', pydicom.dcmread('x.dcm').pixel_array)"
CELLPOSE = (
    "Cellpose's; convert it with np.save('x.npy', np.load('x_seg.npy', allow_pickle=True).item()"
    "['masks'])"
)
CONVERT = {
    suffix: text
    for suffixes, text in (
        (".heic .heif", HEIC),
        (".dcm .dicom .ima", DICOM),
        (
            ".nii .nii.gz",
            "NIfTI; convert it with np.save('x.npy', nibabel.load('x.nii').get_fdata().T)",
        ),
        (
            ".mha .mhd .nrrd",
            "of ITK; convert it with np.save('x.npy', SimpleITK.GetArrayFromImage("
            "SimpleITK.ReadImage('x.mha')))",
        ),
        (
            ".mp4 .avi .mov .mkv .webm",
            "a film; cut it into images with ffmpeg -i x.mp4 x_%05d.png",
        ),
        (".psd .xcf .kra .svg", "a drawing program's own format; export it as png"),
        (
            ".czi .lif .nd2 .oib .oif .vsi .svs .ndpi",
            "a microscope's or scanner's own format; save it as tif, with Fiji for example",
        ),
        (".cr2 .cr3 .nef .arw .dng", "a camera's raw format; save it as tif or jpg"),
        (
            ".h5 .hdf5",
            "HDF5; convert it with np.save('x.npy', h5py.File('x.h5')['exported_data'][()])",
        ),
        (".mat", "MATLAB's; convert it with np.save('x.npy', scipy.io.loadmat('x.mat')['name'])"),
        (".npz", "several arrays; convert one with np.save('x.npy', np.load('x.npz')['name'])"),
        (".xml", "annotations in XML, of CVAT for example; export COCO, or masks as png"),
        (".geojson", "GeoJSON, of QuPath for example; export label images as png or tif"),
        (".roi", "ImageJ's regions; save masks as tif: Edit, Selection, Create Mask"),
    )
    for suffix in suffixes.split()
}
JUNK = ("thumbs.db", "desktop.ini")  # what systems leave in folders
PngImagePlugin.MAX_TEXT_CHUNK = 2**26  # bytes of a text or colour profile in a png
warnings.filterwarnings("ignore", module=r"PIL\.")  # our own messages name the file
LARGEST_FILE = 2**30  # bytes of an image file
MOST_ZIPS = 3  # inside each other
# What zipfile and its decompressors raise for a damaged or encrypted archive.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
              NotImplementedError)  # fmt: skip

# What Pillow raises for a damaged file.
IMAGE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, OverflowError,
                struct.error, zlib.error, Image.DecompressionBombError)  # fmt: skip
NPY = b"\x93NUMPY"


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
    name: str  # path below what was listed, without ending, in Unicode's composed form
    place: tuple = ()  # (archive, offset): zips inside zips are fast only when read in this order
    archive: zipfile.ZipFile | None = None
    member: str = ""
    page: int | None = None  # of a file of several images; None: it has to have one

    @property
    def stem(self):
        return self.name.rpartition("/")[2]

    def read(self):
        """The file's bytes; raises InputError, OSError."""
        if self.archive is None:
            size, is_file = os.path.getsize(self.path), os.path.isfile(self.path)
        else:  # zipfile reads no more than that
            size, is_file = self.archive.getinfo(self.member).file_size, True
        refuse(
            (not is_file, f"{self.path}: not a file"),  # a pipe would keep us waiting
            (
                size > LARGEST_FILE,
                f"{self.path}: has {size_text(size)}, an image may have {size_text(LARGEST_FILE)}",
            ),
        )
        if self.archive is None:
            return Path(self.path).read_bytes()
        try:
            return self.archive.read(self.member)
        except ZIP_ERRORS as error:
            raise InputError(f"{self.path}: cannot be read from its zip ({error})") from error


def list_images(root, zips=True):
    """Every image file in a folder, a .zip (and in zips inside) or a pattern such as
    'photos/*_img.png', sorted by path in numeric order. Raises InputError where there is none.
    """
    return list_files(root, zips)[0]


def list_files(root, zips=True, others=()):
    """The images as list_images has them, and the files of no image's ending, ImageFiles too.

    A zip is read where it lies, never unpacked; zips: those inside a folder, too. Hidden files are
    passed over. others: endings of such files that are wanted where there is no image. Raises
    InputError where there is neither.
    """
    root = str(root)
    if os.path.isdir(root):
        found = list(_list_folder(root, zips))
    elif glob.has_magic(root) and not os.path.exists(root):
        found = list(_list_pattern(root))
    elif os.path.isfile(root) and ending(root) in IMAGE_SUFFIXES:
        found = [make_file(root, "", os.path.basename(root))]
    elif os.path.isfile(root) and ending(root) == ".zip":
        found = list(_list_zip(partial(open, root, "rb"), root, ()))
    else:
        is_there = os.path.exists(root)
        fault = "no such file or folder"
        if is_there:
            kinds = "a folder, an image or a .zip; masks may be a COCO .json or a .csv, too"
            fault = CONVERT.get(ending(root), f"not read; expected {kinds}")
        raise InputError(f"{root}: {fault}")
    found.sort(key=lambda file: natural_key(file.path))
    images = [file for file in found if ending(file.path) in IMAGE_SUFFIXES]
    passed = [file for file in found if ending(file.path) not in IMAGE_SUFFIXES]
    has = f", but {describe_passed(passed)}" if passed and not images else ""
    strange = [f.path for f in found if f.path.encode(errors="replace").decode() != f.path]
    refuse(
        (strange, f"{''.join(strange[:1])!r}: its name is not UTF-8; rename it"),
        (
            not images and not any(ending(file.path) in others for file in passed),
            f"{root}: no images in it{has}; allowed: {' '.join((*IMAGE_SUFFIXES, *others))}",
        ),
    )
    return images, passed


def ending(path):
    """The ending of a file's name, in lower case; of x.nii.gz both."""
    name = os.path.basename(path).lower()
    return ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]


def describe_passed(files):
    """The number of files of each ending, and how those that hold images can be converted, in
    words; "" of none.
    """
    counts = collections.Counter(ending(file.path) or is_dicom(file) for file in files)
    common = counts.most_common(5)
    texts = [
        f"{count} {suffix or 'without an ending'}"
        + (f" ({CONVERT[suffix]})" if suffix in CONVERT else "")
        for suffix, count in common
    ]
    rest = len(files) - sum(count for _, count in common)
    return ", ".join([*texts, *([f"{rest} others"] if rest else [])])


def is_dicom(file):
    """The ending that a file without one should have: ".dcm" of DICOM, else ""."""
    try:
        with open(file.path, "rb") as opened:
            return ".dcm" if opened.read(132).endswith(b"DICM") else ""
    except OSError:  # in a zip
        return ""


def make_file(path, folder, name, **inside):
    """An ImageFile; its name without the ending of an image, whatever the Unicode form."""
    return ImageFile(
        path, folder, unicodedata.normalize("NFC", os.path.splitext(name)[0]), **inside
    )


def _list_folder(root, zips):
    def refuse(error):
        raise error

    seen = set()  # links may lead in circles
    for parent, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        if os.path.realpath(parent) in seen:
            folders[:] = []
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        below = Path(parent).relative_to(root)
        for name in names:
            path = os.path.join(parent, name)
            if name.startswith(".") or name.lower() in JUNK:
                continue
            stem, suffix = os.path.splitext(name)
            if suffix.lower() != ".zip" or not zips:
                folder = os.path.basename(os.path.abspath(parent))
                yield make_file(path, folder, (below / name).as_posix())
            elif stem not in folders:  # else it is unpacked already
                yield from _list_zip(partial(open, path, "rb"), path, ())


def _list_pattern(pattern):
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    if fixed != Path(pattern).parent and Path(pattern).parent.is_dir():  # brackets in its name
        fixed = Path(pattern).parent
        pattern = os.path.join(glob.escape(str(fixed)), os.path.basename(pattern))
    for path in map(Path, glob.glob(pattern, recursive=True)):
        if path.is_file():
            yield make_file(str(path), path.parent.name, path.relative_to(fixed).as_posix())


def _list_zip(open_file, path, place, below=""):
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
        if ".." in inside.parts or inside.is_absolute():
            raise InputError(f"{path}: {info.filename}: leads out of the zip; unpack it yourself")
        inner_place = (*place, info.header_offset)
        inner_path = f"{path}/{inside}"
        if inside.suffix.lower() == ".zip":
            inner = f"{below}{inside.with_suffix('')}/"
            yield from _list_zip(partial(archive.open, info), inner_path, inner_place, inner)
        elif inside.name.lower() not in JUNK:
            yield make_file(
                inner_path,
                inside.parent.name or Path(path).stem,
                f"{below}{inside}",
                place=(path, *inner_place),
                archive=archive,
                member=info.filename,
            )


def is_one_hot(pixels):
    """True for pixels (H, W, C) of which each has one channel above 0, always of the same value: a
    mask of classes, no colours. It may be of one class alone.
    """
    if pixels.ndim != 3 or not 2 <= pixels.shape[2] < MOST_CLASSES or not pixels.size:
        return False
    value, is_used = pixels[0, 0].max(), pixels != 0
    if value <= 0 or not (is_used[0].sum(axis=1) == 1).all():  # as of most images
        return False
    return bool((is_used.sum(axis=2) == 1).all() and (pixels[is_used] == value).all())


def list_pages(file):
    """One ImageFile for each image in a file: itself where there is one; of several pages each
    with its number behind the name. Raises InputError for a damaged one.
    """
    if ending(file.path) not in PAGED:
        return [file]
    try:
        with io.BytesIO(file.read()) if file.archive else open(file.path, "rb") as opened:
            pages = find_pages(opened)
    except IMAGE_ERRORS as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise InputError(
            f"{file.path}: {npy_fault(file.path, 'not an image, or cut short')}"
        ) from error
    if len(pages) == 1:  # 0, or another behind a smaller copy
        return [replace(file, page=pages[0] or None)]
    return [
        replace(file, page=page, name=f"{file.name}/{number}") for number, page in enumerate(pages)
    ]


def find_pages(file):
    """Numbers of the images in an open file, smaller copies of others left out; raises
    IMAGE_ERRORS.
    """
    head = file.read(8)
    file.seek(0)
    if head.startswith(NPY):
        return list(range(len(npy_images(file))))
    if head.startswith(tif.TIFF):
        return tif.find_pages(tif.tiff_pages(file))
    with Image.open(file) as image:
        return list(range(getattr(image, "n_frames", 1)))


def npy_fault(path, fault):
    """What a .npy file is that cannot be read, by its name, else the fault."""
    return CELLPOSE if path.endswith("_seg.npy") else fault


def npy_images(file):
    """The images (N, H, W) or (N, H, W, C) in an open .npy file: of an array (H, W) or (H, W, C)
    one, C being 1, 3 or 4, or any number where the first is_one_hot. Raises ValueError for another
    shape.
    """
    path = getattr(file, "name", None)
    array = np.load(path, mmap_mode="r") if path else np.load(file)  # neither reads pickles
    has_channels = array.ndim > 2 and (
        array.shape[-1] in (1, 3, 4) or is_one_hot(array[0] if array.ndim == 4 else array)
    )
    if not array.size or not 0 <= array.ndim - has_channels - 2 <= 1:
        raise ValueError(f"an array {array.shape}; expected (H, W), (H, W, C) or (N, H, W)")
    return array if array.ndim - has_channels == 3 else array[None]
