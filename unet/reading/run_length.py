"""Run-length code of masks, as competitions want it and hand it out."""

import re

from unet.errors import InputError
from unet.lazy import lazy

cv2 = lazy("cv2")  # submission.py imports this file on top
np = lazy("numpy")


def run_length_enc(mask, columns_first=True, min_pixels=10):
    """Run-length code of a mask: "start length start length ...", "" for one of fewer foreground
    pixels than min_pixels; the defaults are the nerve document's.

    mask: (H, W), foreground where it is not 0. Pixels are numbered from 1, down the columns first
    (nerve) or along the rows first (car).
    """
    pixels = np.ascontiguousarray(mask, bool)
    if np.count_nonzero(pixels) < min_pixels:
        return ""
    if columns_first:  # OpenCV transposes five times as fast as NumPy
        pixels = cv2.transpose(pixels.view(np.uint8)).view(bool)
    pixels = pixels.ravel()
    edges = np.flatnonzero(np.diff(pixels, prepend=False, append=False)) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges.tolist()))


def run_length_dec(code, height, width, columns_first=True):
    """The mask, bool (H, W), of a run-length code; raises InputError for runs that overlap, are
    out of order or leave the image.
    """
    count = height * width
    try:
        if not re.fullmatch("[0-9 ]*", code):  # Python takes 1_0 and other alphabets for numbers
            raise ValueError("not pairs of numbers")
        runs = np.array(code.split(), dtype=np.int64).reshape(-1, 2)
        starts, ends = runs[:, 0], runs.sum(axis=1)
        outside = (runs < 1).any() or (runs > count).any() or (ends > count + 1).any()
        if outside or (starts[1:] < ends[:-1]).any():
            raise ValueError("runs overlap, are out of order, or outside")
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"run-length code {code[:40]!r}: {error}; expected pairs of numbers, start and "
            f"length, in an image of {height}x{width}"
        ) from error
    steps = np.zeros(count + 1, np.int8)
    steps[starts - 1] += 1
    steps[ends - 1] -= 1
    pixels = np.cumsum(steps[:-1], dtype=np.int8) > 0
    return pixels.reshape((height, width), order="F" if columns_first else "C")
