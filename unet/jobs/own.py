"""Images of your own: a network and a training for any folder, by rules over all that is in it.

data.py measures the files, and choose_form says what becomes of them; train.py counts the arrays,
and choose_job says how to train. Both give their reasons, which are printed. What they come to:
benchmarks/RESULTS.md, Any folder.
"""

import math
from dataclasses import dataclass, replace
from statistics import median

from unet.jobs.settings import NARROW, SHORT, Augmentation, Job, UNetConfig

# Lengths in pixels, areas in square pixels.
# An image of at most WHOLE_AREA is seen whole, and a larger one shrunk to that, as long as what is
# to be found stays LEAST_WIDTH wide.
WHOLE_AREA, LEAST_WIDTH = 256 * 256, 20
# Else windows of that side are cut out of it; where things are wider than MOST_WIDTH it is shrunk
# first, so that a window shows their surroundings, but not by less than to NEARLY its size.
WINDOW, MOST_WIDTH, NEARLY = 256, 32, 0.8
# Images that are longer than LARGEST_ROW then, and those of several sizes, become tiles.
LARGEST_ROW, TILE = 1024, 512
GRID = 32  # lengths that every network here fits
FILTERS = (16, 32, 64, 128, 256)  # a level each
WHOLE_LEVELS, WINDOW_LEVELS = 5, 4  # the deepest level of five sees across a whole image
LEAST_SIDE = 4  # of the deepest level, in its own pixels
MOST_FILTERS = 256
STEPS, MOST_STEPS = 1000, 4000
PASSES = 10  # over all windows that the images hold; STEPS are more of few images
BATCH, MOST_BATCH = 4, 16  # of windows of WINDOW; of smaller ones as many as have their pixels
EPOCHS = 10
ALONE_SHIFT = 0.5  # of one image alone, as a share of its size

JOB = Job(  # before anything is known
    UNetConfig((WINDOW, WINDOW), 3, **NARROW),
    replace(
        SHORT,
        epochs=EPOCHS,
        steps_per_epoch=STEPS // EPOCHS,
        augmentation=Augmentation(
            "mirror", shift=0.05, rotation=15, scale=0.2, contrast=0.2, brightness=0.1, color=0.2
        ),
    ),
    image_size=None,
)


@dataclass(frozen=True)
class Measured:
    """What the files hold. sizes: (H, W) of each image; width: of what the masks show, in pixels,
    None where they show nothing; num_colored: images whose channels differ.
    """

    sizes: tuple
    width: float | None
    num_colored: int


@dataclass(frozen=True)
class FormChoice:
    """What becomes of files: rows of image_size (H, W) with so many channels, each a whole image
    or, is_tiled, a part of it, shrunk by `zoom` first where that is not 1; reasons: a line on
    channels and one on size.
    """

    channels: int
    image_size: tuple[int, int]
    is_tiled: bool
    zoom: float
    reasons: dict


def choose_form(measured, can_tile=True):
    """The FormChoice for Measured files; can_tile: none of them is a test image, which has to stay
    whole.
    """
    count, width = len(measured.sizes), measured.width or MOST_WIDTH
    channels = 3 if measured.num_colored else 1
    colored = f"{measured.num_colored} of {count} images have colours"
    reasons = {
        "channels": f"channels: {channels}, for {colored if channels == 3 else 'all are grey'}"
    }
    size = tuple(int(median(lengths)) for lengths in zip(*measured.sizes))
    area, are_same = math.prod(size), len(set(measured.sizes)) == 1
    found = f"what the masks show is {width:.0f} pixels wide, discs by their radius"
    if not measured.width:
        found = "the masks show no outline"
    shrunk = min(1, math.sqrt(WHOLE_AREA / area))
    if are_same and shrunk == 1:
        reasons["size"] = f"size: whole images as they are, {area:,} pixels being at most 256x256"
        return FormChoice(channels, size, False, 1.0, reasons)
    if width * shrunk >= LEAST_WIDTH or not (are_same or can_tile):
        whole = tuple(max(GRID, GRID * round(length * shrunk / GRID)) for length in size)
        why = f"{found}, and {width * shrunk:.0f} of that are left" if measured.width else found
        if width * shrunk < LEAST_WIDTH:
            why = "test images of several sizes have to stay whole"
        reasons["size"] = f"size: whole images, resized to {whole[0]}x{whole[1]}: {why}"
        return FormChoice(channels, whole, False, 1.0, reasons)
    zoom = MOST_WIDTH / width if MOST_WIDTH / width < NEARLY else 1.0
    size = zoomed(size, zoom)
    is_tiled = can_tile and not (are_same and max(size) <= LARGEST_ROW)
    if is_tiled:
        side = min(TILE, median(min(zoomed(size, zoom)) for size in measured.sizes))
        size = (max(GRID, int(side) // GRID * GRID),) * 2
    what = f"tiles of {size[0]}x{size[1]}" if is_tiled else "whole images to cut windows from"
    at = "at their own size" if zoom == 1 else f"shrunk to {zoom:.0%}"
    reasons["size"] = f"size: {what}, {at}: {found}"
    return FormChoice(channels, size, is_tiled, zoom, reasons)


def zoomed(size, zoom):
    """A size (H, W) after it was shrunk, in whole pixels."""
    return tuple(max(1, round(length * zoom)) for length in size)


def choose_job(size, channels, num_rows, is_upright=True):
    """The Job for arrays of so many rows of a size (H, W) to train on, and why: a dict of a line
    for each of network, steps, augmentation.

    is_upright: orientation matters, so that training rotates images only slightly.
    """
    window = choose_window(size)
    num_windows = num_rows * max(1, math.prod(size) / math.prod(window))
    batch_size = BATCH * WINDOW**2 / math.prod(window)
    batch_size = 2 ** int(math.log2(min(MOST_BATCH, max(BATCH, batch_size))))
    steps = min(MOST_STEPS, max(STEPS, math.ceil(PASSES * num_windows / batch_size)))
    symmetry = "mirror" if is_upright else "turns"
    augmentation = replace(JOB.recipe.augmentation, symmetry=symmetry)
    if num_rows == 1:  # nothing else says where things may lie
        augmentation = replace(augmentation, shift=ALONE_SHIFT)
    if channels == 1:
        augmentation = replace(augmentation, color=0.0)
    recipe = replace(
        JOB.recipe,
        batch_size=batch_size,
        steps_per_epoch=math.ceil(steps / EPOCHS),
        window=None if window == size else window,
        augmentation=augmentation,
    )
    sees_whole = all(w >= n for w, n in zip(window, size))
    job = replace(JOB, network=choose_network(window, sees_whole, channels), recipe=recipe)
    filters = job.network.filters
    what = "the whole image" if sees_whole else "a window"
    reasons = {
        "network": f"network: {len(filters)} levels of {filters[0]} to {filters[-1]} filters, "
        f"which see {what} of {window[0]}x{window[1]}",
        "steps": f"steps: {EPOCHS * recipe.steps_per_epoch:,} of {batch_size}, at least {STEPS:,} "
        f"or {PASSES} times the {num_windows:.0f} windows that the images hold",
        "augmentation": "augmentation: mirrored, a little shifted, turned and scaled, with other "
        "contrast and colours; where nothing has an up and a down pass --no-upright",
    }
    if not is_upright:
        reasons["augmentation"] = (
            "augmentation: every way up, mirrored, a little shifted, turned and scaled, with "
            "other contrast and colours"
        )
    return job, reasons


def choose_network(window, sees_whole, channels):
    """The UNetConfig that sees windows (H, W), which are whole images or parts of such."""
    levels = WHOLE_LEVELS if sees_whole else WINDOW_LEVELS
    while levels > 1 and min(window) < LEAST_SIDE * 2**levels:
        levels -= 1
    filters = FILTERS[:levels]
    bottleneck = min(MOST_FILTERS, 2 * filters[-1])
    sizes = dict(image_size=window, channels=channels)
    return replace(JOB.network, **sizes, filters=filters, bottleneck=bottleneck)


def choose_window(size):
    """(H, W) of what a step sees of rows of a size: all of it, or WINDOW."""
    fitting = tuple(GRID * math.ceil(length / GRID) for length in size)
    if math.prod(size) <= 1.15 * WHOLE_AREA:  # resized to the grid they are a little larger
        return fitting
    return tuple(min(WINDOW, length) for length in fitting)
