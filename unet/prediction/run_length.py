"""Run-length code of masks, as competitions want it, and their score."""

import re

from unet.errors import InputError
from unet.lazy import lazy

cv2 = lazy("cv2")
np = lazy("numpy")
disk = lazy("unet.machine.disk")


class TruthError(InputError):
    """Of a file of true masks."""


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
    """The mask, bool (H, W), of a run-length code; raises ValueError for runs that overlap, are
    out of order or leave the image.
    """
    try:
        if not re.fullmatch("[0-9 ]*", code):  # Python takes 1_0 and other alphabets for numbers
            raise ValueError
        runs = np.array(code.split(), dtype=np.int64).reshape(-1, 2)
    except (ValueError, OverflowError) as error:
        raise InputError(f"run-length code {code[:40]!r}: expected pairs of numbers") from error
    (starts, lengths), count = runs.T, height * width
    ends = starts + lengths
    outside = (runs < 1).any() or (runs > count).any() or (ends > count + 1).any()
    if outside or (starts[1:] < ends[:-1]).any():
        raise InputError(
            f"run-length code {code[:40]!r}: runs overlap, are out of order, or leave an image "
            f"of {height}x{width}"
        )
    steps = np.zeros(height * width + 1, np.int8)
    steps[starts - 1] += 1
    steps[ends - 1] -= 1
    pixels = np.cumsum(steps[:-1], dtype=np.int8) > 0
    return pixels.reshape((height, width), order="F" if columns_first else "C")


def read_truth(path, rules):
    """Run-length codes by image name, from a CSV in the submission's columns; with a column
    subject, as Kaggle's own for nerve, the name is subject_img. Raises InputError.
    """
    name, code = rules.columns
    truth = {}
    for number, row in enumerate(disk.read_csv(path, rules.columns), 2):
        key = f"{row['subject']}_{row[name]}" if "subject" in row else row[name]
        if key in truth:
            raise InputError(f"{path}: line {number}: a second line for image {key}; keep one")
        truth[key] = row[code]
    return truth


def image_dice(name, code, size, truth, columns_first):
    """Dice of a line's mask with the true one, empty against empty 1, in [0, 1]: the competition's
    score is the mean over the images.

    size: (H, W); truth: run-length codes by image name. Raises InputError for an image that it
    lacks.
    """
    if name not in truth:
        raise TruthError(f"no line for image {name}; every image of the submission needs one")
    try:
        a, b = (run_length_dec(c, *size, columns_first) for c in (code, truth[name]))
    except InputError as error:
        raise TruthError(f"image {name}: {error}") from error
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0
