"""The images that a run was trained on, known again by their pixels."""

import numpy as np

from unet.data.arrays import load_arrays
from unet.data.form import cut_tiles
from unet.errors import InputError
from unet.jobs.own import zoomed
from unet.reading.pixels import resize


class SeenImages:
    """The images that a Run was trained on; none where its arrays are gone, or hold others now.

    Of the arrays three lines of pixels an image are read, and an image whole only where these are
    the same.
    """

    def __init__(self, run):
        self.arrays = own_arrays(run)
        self.is_resized, self.zoom = run.record.is_resized, run.record.reading.zoom
        self.unread = {}  # row numbers by hash of lines_of
        self.pixels = set()  # hashes of the rows that were read whole
        self.sizes = set()  # of files that were trained on
        if not self.arrays:
            return
        held_out = [set(network.record.validation) for network in run.networks]
        rows = np.load(self.arrays.images.file.name, mmap_mode="r")
        for row, file in enumerate(self.arrays.files):
            if not all(file["id"] in ids for ids in held_out):
                self.sizes.add((file["height"], file["width"]))
                self.unread.setdefault(hash(lines_of(rows[row])), []).append(row)

    def has(self, image):
        """True for an image, uint8 (H, W, C), that was trained on, or of which a tile was that is
        not of one value all over: an empty border is that of many.
        """
        rows = self.as_rows(image) if self.arrays else []
        return any(row.min() < row.max() and self.has_row(row) for row in rows)

    def as_rows(self, image):
        """Rows (H, W, C) as data.py would have made them of an image; none where no training image
        had its size, for resizing a photo takes longer than all the rest.
        """
        size = self.arrays.images.shape[1:3]
        if not self.is_resized:
            return cut_tiles(resize(image, zoomed(image.shape[:2], self.zoom)), size)
        return [resize(image, size)] if image.shape[:2] in self.sizes else []

    def has_row(self, pixels):
        rows = self.unread.pop(hash(lines_of(pixels)), ())
        self.pixels.update(hash(self.arrays.images[row].tobytes()) for row in rows)
        return hash(pixels.tobytes()) in self.pixels


def own_arrays(run):
    """The Arrays that a run was trained on; None where they are not there any more."""
    try:
        arrays = load_arrays(run.record.arrays, run.record.job)
    except (InputError, OSError):  # what is scored now needs no arrays
        return None
    is_same = run.record.pixels == arrays.pixels_digest
    return arrays if is_same and arrays.images.shape[3] == run.record.network.channels else None


def lines_of(pixels):
    """Three lines of an image, uint8 (H, W, C), as bytes."""
    height = len(pixels)
    return pixels[[height // 4, height // 2, 3 * height // 4]].tobytes()
