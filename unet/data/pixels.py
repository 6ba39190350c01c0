"""Encoded images and masks to pixels, and back."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from unet import LARGEST_IMAGE
from unet.data.files import IMAGE_ERRORS
from unet.errors import InputError
from unet.machine.disk import replace_file

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own messages name the file
Image.MAX_IMAGE_PIXELS = LARGEST_IMAGE  # the same limit as OpenCV's
PNG = b"\x89PNG"


def decode_image(data, path, channels, page=0, white_level=None):
    """Pixels of an encoded image: uint8 (H, W, channels) in 0..255, RGB or grey, alpha dropped.

    16-bit values are scaled so that `white_level` becomes 255. Raises InputError.
    """
    pixels = decode_pixels(data, path, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH, page)
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / (white_level or 65535))
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
    if data and (not data.startswith(PNG) or is_whole_png(data)):
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
    """RGB colours of a PNG's palette, uint8 (N, 3), None where it has none."""
    if not data.startswith(PNG):
        return None
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.mode != "P":
            return None
        return np.frombuffer(image.palette.palette, np.uint8).reshape(-1, 3)


def is_whole_png(data):
    """Whether the chunks of a PNG's bytes are all there and as their checksums say. libpng would
    print a line of its own where they are not, and OpenCV take what came before.
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
