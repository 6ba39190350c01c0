"""Encoded images and masks to pixels, and back."""

import contextlib
import io
import math
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, features

from unet.errors import InputError
from unet.jobs.settings import PLAIN
from unet.machine.disk import replace_file
from unet.reading import tif
from unet.reading.files import DICOM, HEIC, IMAGE_ERRORS, NPY, is_one_hot, npy_fault, npy_images
from unet.reading.tif import TIFF, first_of

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own messages name the file
MOST_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])  # OpenCV's limit, for Pillow, too
TOO_LARGE = f"says that it has more than {MOST_PIXELS:,} pixels; cut it into tiles"
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
PNG, GIF, JPEG = b"\x89PNG", b"GIF8", b"\xff\xd8\xff"
# As stored, alpha and depth and all, but turned as EXIF says, which IMREAD_UNCHANGED would not.
UNCHANGED = cv2.IMREAD_UNCHANGED & ~cv2.IMREAD_IGNORE_ORIENTATION & ~cv2.IMREAD_COLOR_RGB


class NeedsLevels(InputError):
    """An image of more than 8 bit, of which is not known what becomes black and white."""


def decode_image(data, path, channels, page=None, reading=PLAIN):
    """Pixels of an encoded image: uint8 (H, W, channels) in 0..255, RGB or grey, alpha dropped.

    Of more than 8 bit the reading's levels become 0 and 255. Raises InputError, NeedsLevels.
    """
    pixels = decode_pixels(data, path, page)
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[2] <= 2 else pixels[..., :3]
    if pixels.dtype != np.uint8:
        pixels = scale_levels(pixels, path, reading)
    pixels = np.ascontiguousarray(pixels)
    is_grey = pixels.ndim == 2
    if channels == 1:
        return (pixels if is_grey else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))[..., None]
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if is_grey else cv2.COLOR_BGR2RGB)


def read_size(file):
    """(H, W) of an ImageFile's pixels."""
    return decode_pixels(file.read(), file.path, file.page).shape[:2]


def scale_levels(pixels, path, reading):
    """Pixels of more than 8 bit as uint8: black_level becomes 0, white_level 255, what lies beyond
    them the same. Raises NeedsLevels, InputError.
    """
    black, white = reading.black_level, reading.white_level
    if white is None:
        raise NeedsLevels(
            f"{path}: {pixels.dtype} values; pass the one that becomes 255 as --white-level"
        )
    if pixels.dtype == np.uint16 and black == 0:
        return cv2.convertScaleAbs(pixels, alpha=255 / white)
    check_finite(pixels, path)
    scaled = (pixels.astype(np.float64) - black) * (255 / (white - black))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def check_finite(pixels, path):
    """Raise InputError for float pixels that are no numbers."""
    if pixels.dtype.kind == "f" and not np.isfinite([pixels.min(), pixels.max()]).all():
        raise InputError(f"{path}: has pixels that are no number (nan or inf); fill them")


def decode_pixels(data, path, page=None):
    """The pixels of an encoded image: (H, W), grey with alpha (H, W, 2), BGR (H, W, 3) or BGRA
    (H, W, 4), of its own type, turned as EXIF says. Raises InputError.
    """
    if page is None and is_animated(data):
        raise InputError(f"{path}: is a moving picture; expected one image")
    if data.startswith(NPY):
        pixels = decode_npy(data, path, page)
    elif data.startswith(TIFF):
        pixels = decode_tiff(data, path, page)
    elif data.startswith(GIF) or page or data[4:12] == b"ftypavif":
        pixels = decode_with_pillow(data, page or 0)  # of AVIF, OpenCV leaves EXIF aside
    elif data.startswith(PNG) and not is_whole_png(data):
        pixels = None
    else:
        pixels = decode_with_opencv(data, path)
    if pixels is None:
        raise InputError(f"{path}: {true_name(data)} ({len(data)} bytes)")
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (2, 3, 4))
    if not is_image or pixels.dtype.kind not in "uif" or not pixels.size:
        raise InputError(
            f"{path}: {pixels.dtype} pixels of shape {pixels.shape}; allowed: grey or RGB"
        )
    return pixels


def is_animated(data):
    """True for a gif, webp or png of several images."""
    if data.startswith(GIF):
        with contextlib.suppress(*IMAGE_ERRORS), Image.open(io.BytesIO(data)) as image:
            return image.n_frames > 1
    heads = (PNG, b"acTL", 256), (b"RIFF", b"ANIM", 64)
    return any(data.startswith(head) and mark in data[:size] for head, mark, size in heads)


def true_name(data):
    """The name of data that no decoder reads."""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return HEIC
    if data[128:132] == b"DICM":
        return DICOM
    with contextlib.suppress(*IMAGE_ERRORS), Image.open(io.BytesIO(data)) as image:
        if math.prod(image.size) > MOST_PIXELS:
            return TOO_LARGE
    if data[4:12] == b"ftypavif" and not features.check("avif"):
        return "AVIF, which this Pillow does not read; save it as png"
    return "not an image, or cut short"


def decode_with_opencv(data, path, page=0):
    """OpenCV's pixels of an encoded image, None where it makes none; raises InputError for one
    that is too large.
    """
    buffer = np.frombuffer(data, np.uint8)
    try:  # it raises for some damaged files; for others None comes back
        if page:
            pages = cv2.imdecodemulti(buffer, UNCHANGED, range=(page, page + 1))[1]
            return pages[0] if pages else None
        return cv2.imdecode(buffer, UNCHANGED) if data else None
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" not in str(error):
            return None
    raise InputError(f"{path}: {TOO_LARGE}")


def decode_with_pillow(data, page=0):
    """Pillow's pixels of an encoded image, in OpenCV's order; None where it makes none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.seek(page)
            if math.prod(image.size) > MOST_PIXELS:  # up to twice as many Pillow only warns
                return None
            if image.mode in ("P", "PA"):
                image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            image = ImageOps.exif_transpose(image)
            pixels = np.array(image)
    except IMAGE_ERRORS:
        return None
    return as_opencv(pixels)


def as_opencv(pixels):
    """Pixels of RGB order as OpenCV has them: BGR, one channel without its axis, bits as 255."""
    if pixels.dtype == bool:
        pixels = pixels.view(np.uint8) * np.uint8(255)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        return pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] > 2:
        return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return pixels


def decode_npy(data, path, page):
    """The pixels of a .npy file, of a page where it holds several images."""
    try:
        images = npy_images(io.BytesIO(data))
    except IMAGE_ERRORS as error:
        fault = npy_fault(path, f"not an array of images ({error})")
        raise InputError(f"{path}: {fault}") from error
    if page is None and len(images) > 1:
        raise InputError(f"{path}: holds {len(images)} images; expected one")
    pixels = images[page or 0]
    if pixels.shape[2:] not in ((), (1,), (3,), (4,)):
        if not is_one_hot(pixels):  # as the first image is
            raise InputError(f"{path}: its image {page or 0} has no class in each channel")
        return pixels.argmax(axis=2).astype(np.uint8)
    kind = pixels.dtype.newbyteorder("=")
    return as_opencv(pixels.astype(np.float32 if kind == np.float16 else kind, copy=False))


def decode_tiff(data, path, page):
    """The pixels of a tif's page, as its tags say; None where they cannot be decoded. Raises
    InputError for what OpenCV would guess at.
    """
    tags, page = tif.read_tags(data, path, page)
    tif.check_tags(tags, path)
    pixels, method = decode_with_opencv(data, path, page), first_of(tags, tif.COMPRESSION, 1)
    # OpenCV drops grey's alpha, multiplies colours of 8 bit with theirs, and mixes up tiles that
    # are to be turned.
    has_alpha = first_of(tags, tif.SAMPLES, 1) in (2, 4) and first_of(tags, tif.BITS, 1) == 8
    is_tiled, is_turned = tif.TILED in tags, first_of(tags, tif.ORIENTATION, 1) > 1
    is_mixed_up = pixels is not None and (has_alpha or (is_tiled and is_turned))
    if is_mixed_up or (pixels is None and is_tiled) or method not in tif.OF_OPENCV:
        pixels = decode_with_pillow(data, page)
    if pixels is None and method not in tif.OF_OPENCV:
        name = tif.COMPRESSIONS.get(method, f"number {method}")
        raise InputError(f"{path}: its compression, {name}, is not read; save it as LZW")
    is_inverted = first_of(tags, tif.PHOTOMETRIC, 1) == 0  # which OpenCV minds up to 8 bit
    if pixels is not None and is_inverted and pixels.dtype == np.uint16:
        pixels = ~pixels
    return pixels


def palette_numbers(data, page=0):
    """The numbers in the palette of an image's pixels, uint8 (H, W); None where it has none."""
    if data.startswith(PNG) and data[25:26] != b"\x03":
        return None
    if not data.startswith((PNG, GIF, b"BM", *TIFF)):
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.seek(page or 0)
            if image.mode != "P":
                return None
            return np.array(ImageOps.exif_transpose(image))
    except IMAGE_ERRORS:
        return None


def has_colored_palette(data):
    """True for an image whose palette has other colours than greys, in use or not."""
    with Image.open(io.BytesIO(data)) as image:
        colors = np.reshape(image.getpalette() or [0, 0, 0], (-1, 3))
    return bool((colors != colors[:, :1]).any())


def exif_orientation(data):
    """Orientation of an encoded image by its EXIF, 1 (as it is) to 8."""
    with contextlib.suppress(*IMAGE_ERRORS):
        if data.startswith(TIFF):
            return tif.orientation(data)
        has_exif = b"exif" in (data[:4096] + data[-4096:]).lower()
        if data.startswith((JPEG, PNG, b"RIFF")) and has_exif:
            with Image.open(io.BytesIO(data)) as image:
                return image.getexif().get(tif.ORIENTATION, 1)
    return 1


def is_whole_png(data):
    """True where the chunks of a PNG's bytes are all there and as their checksums say. libpng
    would print a line of its own where they are not, and OpenCV take what came before.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()
    except Image.DecompressionBombError:
        return True  # OpenCV's own limit speaks
    except IMAGE_ERRORS:
        return False
    return True


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


def write_numbers(path, numbers, colors):
    """Class numbers, uint8 (H, W), as a PNG whose palette has a colour for each, RGB uint8 (K, 3):
    viewers show the colours, and palette_numbers reads the numbers.
    """
    image, encoded = Image.fromarray(numbers), io.BytesIO()
    image.putpalette(colors.tobytes())
    image.save(encoded, "PNG")
    with replace_file(path, encoded.tell()) as temporary:
        temporary.write_bytes(encoded.getbuffer())
