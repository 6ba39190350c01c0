"""What the labels themselves allow, of the training images in output/NAME/.

python -m benchmarks.labels nerve

How far the masks of images that are nearly the same agree with one another, and what one pixel of
the border is: no score can say more about a network.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from unet.data.arrays import load_arrays
from unet.errors import one_line_errors
from unet.options import job_option, name_option, option, parse_options
from unet.runs import run_name

ALIKE = 0.98  # correlation of two images of a subject from which on they count as the same


@dataclass(frozen=True)
class Options:
    job: str = job_option()
    name: str | None = name_option("of the arrays' folder in output/ (default: the job)")
    alike: float = option(ALIKE, "correlation from which on two images count as the same", least=0)


def agreement(arrays, alike):
    """Dice of the masks of each pair of images of one subject that correlate more, where one of
    them has a foreground: a list.
    """
    rows_of, dice = {}, []
    for row, file in enumerate(arrays.files):
        rows_of.setdefault(file["subject"], []).append(row)
    for rows in rows_of.values():
        if len(rows) < 2:
            continue
        correlation = np.corrcoef(arrays.images[rows].reshape(len(rows), -1).astype(np.float32))
        masks = arrays.masks[rows] > 0
        for a, b in zip(*np.nonzero(np.tril(correlation > alike, -1))):
            if total := np.count_nonzero(masks[a]) + np.count_nonzero(masks[b]):
                dice.append(2 * np.count_nonzero(masks[a] & masks[b]) / total)
    return dice


def one_pixel(masks):
    """The mean share of the pixels of masks (N, H, W, 1) that change where the foreground loses
    one pixel all around.
    """
    window = np.ones((3, 3), np.uint8)
    changed = []
    for row in range(len(masks)):
        mask = (masks[row][..., 0] > 0).astype(np.uint8)
        changed.append(np.mean(cv2.erode(mask, window) != mask))
    return float(np.mean(changed))


def main(options):
    arrays = load_arrays(run_name(options.job, options.name), options.job)
    dice = agreement(arrays, options.alike)
    if dice:
        print(f"Dice of {len(dice)} pairs of nearly the same images: {np.mean(dice):.4f}")
    else:
        print(f"no two images of a subject correlate above {options.alike:g}")
    print(f"pixel error of one pixel of border: {one_pixel(arrays.masks):.4f}")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.labels", __doc__))
