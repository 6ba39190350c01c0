"""The competition's score of run-length codes, by a file of true masks."""

from unet.errors import InputError
from unet.lazy import lazy
from unet.reading.run_length import run_length_dec

np = lazy("numpy")
disk = lazy("unet.machine.disk")


class TruthError(InputError):
    """Of a file of true masks."""


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

    size: (H, W), None of an image that could not be read, whose code is empty; truth: run-length
    codes by image name. Raises InputError for an image that it lacks.
    """
    if name not in truth:
        raise TruthError(f"no line for image {name}; every image of the submission needs one")
    if size is None:
        return float(not truth[name].strip())
    try:
        a, b = (run_length_dec(c, *size, columns_first) for c in (code, truth[name]))
    except InputError as error:
        raise TruthError(f"image {name}: {error}") from error
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0
