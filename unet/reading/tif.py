"""Tags of a tif's pages, and refusal of those that would be misread."""

import io
import itertools
import struct

from PIL import TiffImagePlugin

from unet.errors import refuse

TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"  # what such a file begins with
REDUCED, IS_MASK = 1, 4  # bits of a page's subfile type: a smaller copy, a transparency mask
WIDTH = 256
SUBFILE, BITS, COMPRESSION, PHOTOMETRIC = 254, 258, 259, 262
ORIENTATION, SAMPLES, PLANAR, TILED, EXTRA, FORMAT = 274, 277, 284, 322, 338, 339
TAGS = (SUBFILE, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANAR, TILED, EXTRA,
        FORMAT)  # fmt: skip
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}  # samples of each photometric interpretation that is read
NOT_READ = {5: "CMYK", 8: "CIE Lab", 9: "ICC Lab", 32803: "a camera's raw mosaic"}
FORMATS = {5: "complex", 6: "complex float"}  # of FORMAT: 1 unsigned, 2 signed, 3 float
COMPRESSIONS = TiffImagePlugin.COMPRESSION_INFO  # names by number
OF_OPENCV = (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946)  # those that it reads
TIFF_ERRORS = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, OverflowError,
               struct.error)  # fmt: skip


def tiff_pages(file):
    """Yield the tags of each page of an open tif, a mapping of numbers."""
    head = file.read(8)
    if head[2:3] == b"\x2b" or head[3:4] == b"\x2b":  # BigTIFF
        head += file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    seen = set()
    while tags.next and tags.next not in seen:
        seen.add(tags.next)
        file.seek(tags.next)
        tags.load(file)
        if WIDTH not in tags:
            raise SyntaxError("a page without a width")
        yield {number: tags[number] for number in TAGS if number in tags}


def find_pages(pages):
    """Numbers of the pages that are images, smaller copies of others left out, by their tags."""
    kinds = [first_of(tags, SUBFILE, 0) for tags in pages]
    return [page for page, kind in enumerate(kinds) if not kind & (REDUCED | IS_MASK)]


def orientation(data):
    """Orientation of a tif's first page, 1 (as it is) to 8; raises TIFF_ERRORS."""
    order = "little" if data.startswith(b"I") else "big"
    first = int.from_bytes(data[4:8], order)
    upright = [(n).to_bytes(size, order) for n, size in ((ORIENTATION, 2), (3, 2), (1, 4), (1, 2))]
    is_big = 43 in data[2:4]
    if not is_big and b"".join(upright) in data[first : first + 1000]:  # what nearly all have
        return 1
    return first_of(next(tiff_pages(io.BytesIO(data))), ORIENTATION, 1)


def read_tags(data, path, page):
    """The tags of a tif's page and its number; without a page those of its only image. Raises
    InputError for a damaged one, and for several.
    """
    try:
        count = None if page is None else page + 1
        pages = list(itertools.islice(tiff_pages(io.BytesIO(data)), count))
    except TIFF_ERRORS:
        pages = []
    images = (find_pages(pages) or [0]) if page is None else [page]
    refuse(
        (len(pages) <= images[0], f"{path}: not an image, or cut short ({len(data)} bytes)"),
        (len(images) > 1, f"{path}: has {len(images)} pages; expected one image"),
    )
    return pages[images[0]], images[0]


def first_of(tags, number, default):
    """The first value of a tag."""
    value = tags.get(number, default)
    return value[0] if isinstance(value, tuple) else value


def check_tags(tags, path):
    """Raise InputError for what a tif's tags say that OpenCV and Pillow would guess at."""
    bits, samples = first_of(tags, BITS, 1), first_of(tags, SAMPLES, 1)
    kind, photometric = first_of(tags, FORMAT, 1), first_of(tags, PHOTOMETRIC, 1)
    colours, extra = COLOURS.get(photometric, 1), tags.get(EXTRA, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    has_alpha = samples == colours + 1 and len(extra) == 1 and extra[0] in (1, 2)
    is_deep = bits > 8
    faults = (
        (photometric in NOT_READ, f"is {NOT_READ.get(photometric)}; save it as grey or RGB"),
        (kind in FORMATS, f"has {FORMATS.get(kind)} values; save their magnitude"),
        (kind == 3 and bits < 32, f"has float{bits} values; save them as float32"),
        (
            samples == 3 and colours == 1,
            "has 3 bands that its tags do not call RGB; say so, with gdal_translate -co "
            "PHOTOMETRIC=RGB for example",
        ),
        (
            samples != colours and not has_alpha,
            f"has {samples} bands, of which the last is no alpha; 1 or 3 are read: save red, "
            "green and blue, with gdal_translate -b 1 -b 2 -b 3 for example",
        ),
        (
            first_of(tags, PLANAR, 1) == 2 and samples > 1 and (is_deep or samples > 3),
            f"keeps its {bits}-bit colours one behind the other (planar); save them pixel by "
            "pixel, with gdal_translate -co INTERLEAVE=PIXEL for example",
        ),
        (
            has_alpha and colours == 1 and is_deep,
            f"is grey with alpha of {bits} bit; save it without alpha",
        ),
        (
            photometric == 0 and (bits > 16 or kind != 1),
            "has 0 for white; save it with 0 for black",
        ),
    )
    refuse(*((is_broken, f"{path}: {text}") for is_broken, text in faults))
