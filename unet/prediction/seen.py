"""Which images a run was trained on, by their pixels."""

import hashlib

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
        self.is_resized, self.zoom = run.record.is_resized, run.reading.zoom
        self.rows = {}  # lists of row numbers by hash of lines_of
        self.digests = {}  # of rows that were read whole
        self.sizes = set()  # of files that were trained on
        if not self.arrays:
            return
        held_out = [set(network.record.validation) for network in run.networks]
        for row, file in enumerate(self.arrays.files):
            if all(file["id"] in ids for ids in held_out):
                continue
            self.sizes.add((file["height"], file["width"]))
            self.rows.setdefault(hash(read_lines(self.arrays.images, row)), []).append(row)

    def has(self, image):
        """Whether an image, uint8 (H, W, C), was trained on, or a tile of it that is not of one
        value all over: an empty border is that of many.
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
        rows = self.rows.get(hash(lines_of(pixels)), ())
        return any(self.digest(row) == digest_of(pixels) for row in rows)

    def digest(self, row):
        """digest_of a row of the arrays, which is read once."""
        if row not in self.digests:
            self.digests[row] = digest_of(self.arrays.images[row])
        return self.digests[row]


def own_arrays(run):
    """The Arrays that a run was trained on; None where they are not there any more."""
    record = run.record
    try:
        arrays = load_arrays(record.arrays, record.job)
        is_same = record.pixels in (None, arrays.pixels_digest)
    except (InputError, OSError):  # what is scored now needs no arrays
        return None
    is_same = is_same and arrays.images.shape[3] == record.network.channels
    return arrays if is_same and arrays.images.map is None else None


def line_numbers(height):
    return [height // 4, height // 2, 3 * height // 4]


def lines_of(pixels):
    """Three lines of an image, uint8 (H, W, C), as bytes."""
    return pixels[line_numbers(len(pixels))].tobytes()


def read_lines(images, row):
    """lines_of a row of Rows, of whose file no more is read."""
    height, width, channels = images.shape[1:]
    lines = b""
    with images.lock:
        for number in line_numbers(height):
            images.file.seek(images.offset + (row * height + number) * width * channels)
            lines += images.file.read(width * channels)
    return lines


def digest_of(pixels):
    return hashlib.blake2b(pixels.tobytes()).digest()
