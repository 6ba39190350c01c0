"""Whether masks lie where their images have edges, or would fit better turned, flipped or shifted,
or on the next image.

Each mask's outline is laid on the edges of its image. What counts is how much better it fits
them than the outlines of all masks fit the edges of all images, so that neither sharp images nor
objects that are always at one place say anything.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from unet.data.copies import shrink_factor, shrink_grey
from unet.jobs.settings import IGNORED
from unet.machine.terminal import map_in_threads

MOST_ROWS, LEAST_ROWS = 200, 12  # that are looked at; fewer say nothing
GROUP = 10  # of them are neighbours
LEAST_SIDE = 16  # pixels, of a shrunk image
FARTHEST = 0.1  # shift, as a share of the longer side
NEAR = 2  # pixels of a shrunk image: outlines drawn by hand are no better than that
# Another placement has to be better than the given one by so many standard errors, to have a fit
# of so much, and so many times the given one's. Measured: right masks of cells, nerves and cars
# 0.3, 0.3 and 0.8, turned ones below 0.03 (but cars in a mirror 0.27, -12 to 56 standard errors);
# roads, whose edges are not the image's, never more than 0.09, however they lie.
# A given fit of MOST_GIVEN is proof enough, whatever shadows beside the objects say: right masks
# of roofs had 1.4. So sharp drawings with a small shift pass: circles on noise have 1.9 to 2.4
# when shifted by 5 %, 0.9 by 8 %.
LEAST_ERRORS, LEAST_FIT, LEAST_RATIO, MOST_GIVEN = 5.0, 0.15, 1.4, 1.0

FLIPS = {
    "flipped left to right": lambda outline: outline[:, ::-1],
    "flipped upside down": lambda outline: outline[::-1],
    "turned by 180 degrees": lambda outline: outline[::-1, ::-1],
}
QUARTERS = {
    "turned by 90 degrees": lambda outline: np.rot90(outline),
    "turned by 270 degrees": lambda outline: np.rot90(outline, 3),
    "with rows and columns exchanged": lambda outline: outline.T,
}


@dataclass(frozen=True)
class Alignment:
    """How the masks of some rows fit as they are, and as they fit best; errors: by how many
    standard errors the latter is better.
    """

    placement: str
    fit: float
    best_fit: float
    errors: float
    num_rows: int

    @property
    def is_wrong(self):
        return (
            self.errors > LEAST_ERRORS
            and self.best_fit > LEAST_FIT
            and self.best_fit > LEAST_RATIO * self.fit
            and self.fit < MOST_GIVEN
        )


def find_alignment(arrays, rows):
    """The Alignment of the rows, whose masks are neither empty nor full; None for too few rows or
    too small images.
    """
    if len(rows) < LEAST_ROWS or min(shrink_grey(arrays.images[rows[0]]).shape) < LEAST_SIDE:
        return None
    places = range(len(rows))
    if len(rows) > MOST_ROWS:  # neighbours in groups, evenly spread
        starts = np.linspace(0, len(rows) - GROUP, MOST_ROWS // GROUP).round().astype(int)
        places = (starts[:, None] + np.arange(GROUP)).ravel().tolist()
    maps = map_in_threads(lambda place: edges_and_outline(arrays, rows[place]), zip(places))
    return compare_placements(list(maps), np.diff(places) == 1)


def edges_and_outline(arrays, row):
    """Two maps of a row, float32, of the shrunk image's size (H, W): how sharp its edges are, with
    mean 0 and standard deviation 1, and the outline of its mask, with sum 1.
    """
    image = cv2.GaussianBlur(shrink_grey(arrays.images[row]), (0, 0), 1)
    edges = np.hypot(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))
    edges = (edges - edges.mean()) / (edges.std() or 1)
    numbers = arrays.numbers(row)
    factor = shrink_factor(numbers.shape)
    numbers = numbers[factor // 2 :: factor, factor // 2 :: factor]
    numbers = np.ascontiguousarray(numbers[: image.shape[0], : image.shape[1]])
    changes = cv2.morphologyEx(numbers, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    near_ignored = cv2.dilate((numbers == IGNORED).astype(np.uint8), np.ones((3, 3), np.uint8))
    outline = ((changes > 0) & (near_ignored == 0)).astype(np.float32)
    return edges, outline / max(outline.sum(), 1)


def compare_placements(maps, has_next):
    """The Alignment of rows, of which each has its edges_and_outline in the list; has_next:
    whether each but the last is followed by its neighbour.
    """
    mean_edges, mean_outline = (sum(part) / len(maps) for part in zip(*maps))
    size = height, width = mean_edges.shape
    reach = max(NEAR + 1, round(FARTHEST * max(size)))
    steps = range(-reach, reach + 1)
    shifts = [(down, right) for down in steps for right in steps]
    is_near = np.abs(shifts).max(axis=1) <= NEAR
    flips = {**FLIPS, **(QUARTERS if height == width else {})}
    shifted, flipped = [], []
    for edges, outline in maps:
        edges, outline = edges - mean_edges, outline - mean_outline
        shifted.append(correlate(edges, outline, reach).ravel())
        flipped.append([(flip(outline) * edges).sum() for flip in flips.values()])
    shifted = np.stack(shifted)
    given = shifted[:, is_near]  # what the hand that drew them misses by is no shift
    given = given[:, given.mean(axis=0).argmax()]
    fits = np.concatenate([shifted[:, ~is_near], flipped], axis=1)
    names = [shift_text(*shifts[place], size) for place in np.flatnonzero(~is_near)] + list(flips)
    best = int(fits.mean(axis=0).argmax())
    found = [alignment(names[best], given, fits[:, best])]
    firsts = np.flatnonzero(has_next)
    for text, ours, others in (
        ("each on the image before", firsts, firsts + 1),
        ("each on the image after", firsts + 1, firsts),
    ):
        pairs = (
            (maps[a][0] - mean_edges, maps[b][1] - mean_outline) for a, b in zip(ours, others)
        )
        fit = np.array([(edges * outline).sum() for edges, outline in pairs])
        found.append(alignment(text, given[ours], fit))
    return max(found, key=lambda found: (found.is_wrong, found.best_fit))


def alignment(placement, given, fits):
    """The Alignment of a placement, by the given and its own fit of each row."""
    gain = fits - given
    error = max(gain.std(ddof=1) / len(gain) ** 0.5, 1e-9)
    numbers = given.mean(), fits.mean(), gain.mean() / error
    return Alignment(placement, *map(float, numbers), len(gain))


def correlate(edges, outline, reach):
    """How an outline fits edges, both (H, W), when it is shifted down and to the right by -reach
    to reach pixels: (2 * reach + 1, 2 * reach + 1).
    """
    size = [length + reach for length in edges.shape]  # what leaves on one side comes in nowhere
    product = np.fft.rfft2(edges, size) * np.fft.rfft2(outline, size).conj()
    shifts = np.arange(-reach, reach + 1)
    return np.fft.irfft2(product, size)[np.ix_(shifts, shifts)]


def shift_text(down, right, size):
    """A shift in words, in per cent of the size (H, W)."""
    parts = []
    for pixels, length, words in ((down, size[0], "down up"), (right, size[1], "right left")):
        share = round(100 * abs(pixels) / length)
        if share:
            parts.append(f"{share} % {words.split()[pixels < 0]}")
    return f"shifted {' and '.join(parts)}"
