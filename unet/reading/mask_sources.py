"""Masks as files have them: pictures, or outlines and run-length code that are drawn.

Both have a path, which is their name in messages, parts, which are the ImageFiles to be read,
pages(), one mask for each image in a file, and decode(), which returns class numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from unet.errors import InputError
from unet.jobs.settings import IGNORED, PLAIN
from unet.reading.classes import decode_classes
from unet.reading.files import list_pages
from unet.reading.masks import decode_mask, mask_kind
from unet.reading.pixels import decode_pixels

MOST_OVERLAP = 0.05  # of the smaller mask: objects touch, annotators agree


@dataclass(frozen=True, slots=True)
class PictureMask:
    """A mask in one image file, or in several: one an object, or one of each of some classes."""

    parts: tuple  # of ImageFile
    labels: tuple[str, ...] = ()  # the class of each part
    numbers: dict = field(default_factory=dict, compare=False)  # class numbers by label

    @property
    def path(self):
        return self.parts[0].path

    def pages(self):
        """One mask for each image in the file; raises InputError for a damaged one."""
        if len(self.parts) > 1:
            return [self]
        return [replace(self, parts=(page,)) for page in list_pages(self.parts[0])]

    def decode(self, reading=PLAIN, classes=(), is_colored=False, data=None):
        """Class numbers, uint8 (H, W), as decode_mask has them, with classes as decode_classes.

        data: the bytes of each part; None: they are read. Raises InputError, OSError.
        """

        def decode_part(part, encoded):
            if classes and not self.labels:
                return decode_classes(encoded, part.path, classes, part.page, is_colored, reading)
            return decode_mask(encoded, part.path, part.page, reading)

        masks = map(decode_part, self.parts, data or (part.read() for part in self.parts))
        return next(masks) if len(self.parts) == 1 and not self.labels else self._unite(masks)

    def _unite(self, masks):
        """The masks of the parts as one; raises InputError for parts that overlap: two opinions on
        one object, not two objects.
        """
        owners, areas, result = None, [0], None
        for number, (part, pixels) in enumerate(zip(self.parts, masks), 1):
            if result is None:
                result, owners = np.zeros_like(pixels), np.zeros(pixels.shape, np.int32)
            if pixels.shape != result.shape:
                sizes = "{}x{}, {}x{}".format(*pixels.shape, *result.shape)
                raise InputError(f"{part.path} and {self.path}: masks of one image, but {sizes}")
            is_part = (pixels > 0) & (pixels != IGNORED)
            areas.append(np.count_nonzero(is_part))
            common = np.bincount(owners[is_part], minlength=number)
            for other in range(1, number):
                if common[other] > MOST_OVERLAP * min(areas[other], areas[number]):
                    raise InputError(
                        f"{self.parts[other - 1].path} and {part.path}: masks of one image that "
                        "overlap, so they are no two objects; choose one for each image with a "
                        "pattern such as --masks 'masks/*_a.png', or with --table FILE"
                    )
            owners[is_part] = number
            label = self.labels[number - 1] if self.labels else None
            result[is_part] = self.numbers.get(label, pixels[is_part])
            result[pixels == IGNORED] = IGNORED
        return result


@dataclass(frozen=True, slots=True)
class DrawnMask:
    """A mask of outlines or run-length code, drawn when it is decoded."""

    path: str
    draw: Callable[[], np.ndarray]  # class numbers, uint8 (H, W), 0 where nothing lies
    parts: tuple = ()  # it is in no image file
    labels: tuple = ()

    def pages(self):
        return [self]

    def decode(self, reading=PLAIN, classes=(), is_colored=False, data=None):
        """Class numbers, uint8 (H, W), without classes 0 and 1; raises InputError."""
        numbers = self.draw()
        if classes:
            return numbers
        is_foreground = ((numbers > 0) != reading.invert).view(np.uint8)
        return np.where(numbers == IGNORED, numbers, is_foreground)


def find_kind(frames, reading, classes=(), skip_bad=False):
    """The reading with what the first mask of frames that is not empty says of all, where masks
    are foreground or not: whether alpha holds them, and which value is foreground.

    skip_bad: pass over what cannot be read.
    """
    masks = [f.mask for f in frames if f.mask and (f.mask.labels or not classes)]
    for part in (part for mask in masks for part in mask.parts):
        try:
            pixels = decode_pixels(part.read(), part.path, part.page)
        except (InputError, OSError):
            if not skip_bad:
                raise
            continue
        if found := mask_kind(pixels, reading):
            return found
    return reading
