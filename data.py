"""Raw files, or shapes drawn on noise, become the arrays in output/NAME/.

python data.py nerve --raw raw
"""

from dataclasses import dataclass

from jobs import JOBS, LARGEST_IMAGE, MOST_CLASSES, InputError, command
from options import (
    job_option,
    name_option,
    one_line_errors,
    option,
    parse_options,
    run_name,
    stop_in_one_line,
)


def check_classes(count):
    """Raise InputError for two classes or fewer, which are no option."""
    if count is not None and count < 3:
        raise InputError(
            f"--classes {count}: expected 3 or more; foreground and background need no option, "
            "--threshold tells them apart where a mask is not 0 and 255"
        )


@dataclass(frozen=True)
class Options:
    job: str = job_option()
    name: str | None = name_option("of the arrays' folder in output/ (default: the job)")
    raw: str = option(
        "raw",
        "folder or .zip with the files as Kaggle (or the membrane challenge) hands them out",
        group="where images and masks are",
    )
    images: str | None = option(None, "your own data: folder of images")
    masks: str | None = option(
        None,
        "your own data: folder of masks, paired with the images by name; "
        "_mask, _label or _gt may follow the name",
    )
    test_images: str | None = option(None, "folder of images without masks, for submission.py")
    table: str | None = option(
        None, "your own data: CSV file with columns image and mask, paths seen from its folder"
    )
    validation_table: str | None = option(None, "a second such table, for validation")
    image_size: tuple[int, int] | None = option(
        None,
        "height and width of the arrays in pixels, 0 0: as the files are "
        "(default: the document's)",
        least=0,
        metavar=("H", "W"),
        group="how they become arrays",
    )
    tile_size: tuple[int, int] | None = option(
        None,
        "height and width of tiles that images of any size are cut into, in place of shrinking "
        "them; a smaller one is mirrored out; every image is read twice",
        least=1,
        metavar=("H", "W"),
    )
    channels: int | None = option(
        None, "1: grey, 3: RGB (default: the document's)", choices=(1, 3)
    )
    threshold: int | None = option(
        None,
        "mask values above it are foreground; without it a mask holds "
        "0 and 255 only (16 bit: 65535)",
        least=0,
        most=65534,
    )
    white_level: int = option(
        65535,
        "value of a 16-bit image that becomes 255; 4095 for 12-bit cameras",
        least=1,
        most=65535,
    )
    classes: int | None = option(
        None,
        "more than foreground and background: masks hold class numbers 0, 1, ..., 0 the "
        "background, as grey values or in a PNG's palette",
        most=MOST_CLASSES,
        check=check_classes,
    )
    colors: str | None = option(
        None,
        "CSV file with columns name, r, g and b, one line a class, the background first: masks "
        "hold these colours (with --classes: numbers, and these are names and colours to show)",
    )
    skip_bad: bool = option(
        False, "leave out images that cannot be read, and list them; every file is read twice"
    )
    num_images: int = option(1, "training images", least=1, group="what noise draws")
    shape: str = option("circle", "what is drawn", choices=("circle", "rectangle"))
    fill: str = option("noise", "what it is filled with", choices=("noise", "constant"))
    seed: int = option(1, "another seed, other images", least=0, most=2**32 - 1)


if __name__ == "__main__":
    stop_in_one_line()
    with one_line_errors():  # before OpenCV, which delays --help
        OPTIONS = parse_options(Options, "data.py", __doc__)

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from arrays import FILES, Form, decode, load_arrays, why_bad, write_arrays
from classes import number_classes, read_classes
from disk import lock
from files import ImageFile, decode_image, map_in_threads, quiet, with_progress, write_image
from frames import Frame, check_sizes, read_frames, read_table, table_frames

ANY_SIZE = (32, 32)  # to see whether a file can become a row, before its size is known
NOISE_VALIDATION, NOISE_TEST = 20, 100  # images that `noise` is validated and tested on


# ---- shapes on noise


def create_data(
    num_images=1,
    image_size=(160, 160),
    shape="circle",
    fill="noise",
    num_shapes=1,
    seed=1,
    first=1,
    folder=None,
):
    """Filled shapes on noise, as the noise document draws them.

    Returns (images, masks), uint8 (N, H, W, 1): integer noise 0..79, in the shape a second noise
    0..79 on top (fill "noise") or the value 80 ("constant"); masks 0 and 255. A circle has a
    radius of 15..39 pixels, a rectangle half sides of 15..39, both wholly inside. Image i, counted
    from `first`, depends on `seed` and i alone. With a folder, saves X_i.png and Y_i.png there.
    Raises ValueError for an image side under 32 pixels.
    """
    check_shape_size(image_size)
    images, masks = (np.zeros((num_images, *image_size, 1), np.uint8) for _ in range(2))
    for row, number in enumerate(range(first, first + num_images)):
        rng = np.random.default_rng((seed, number))
        image, mask = images[row, ..., 0], masks[row, ..., 0]
        image[:] = rng.integers(0, 80, image_size)
        for _ in range(num_shapes):
            _draw_shape(mask, shape, rng)
        inside = mask > 0
        if fill == "noise":
            image[inside] += rng.integers(0, 80, inside.sum(), dtype=np.uint8)
        else:
            image[inside] = 80
        if folder:
            write_image(Path(folder) / f"X_{number}.png", images[row])
            write_image(Path(folder) / f"Y_{number}.png", masks[row])
    return images, masks


def _draw_shape(mask, shape, rng):
    height, width = mask.shape
    half_y, half_x = rng.integers(15, min(40, height // 2, width // 2), 2)
    if shape == "circle":
        half_x = half_y
    y, x = int(rng.integers(half_y, height - half_y)), int(rng.integers(half_x, width - half_x))
    if shape == "circle":
        cv2.circle(mask, (x, y), int(half_y), 255, thickness=cv2.FILLED)
    else:
        mask[y - half_y : y + half_y + 1, x - half_x : x + half_x + 1] = 255


def read_noise(options):
    """Frames of the noise job, which draws them first.

    Image 1 is for training, 2 to 21 for validation, 22 to 121 for the test, whatever
    --num-images is: more training images are numbered from 122.
    """
    folder, size = Path("output", run_name(options)), options.image_size
    size = size or JOBS["noise"].image_size
    check_shape_size(size)
    (folder / FILES).unlink(missing_ok=True)  # from here on the old arrays are of other pictures
    first_test, end = 2 + NOISE_VALIDATION, 2 + NOISE_VALIDATION + NOISE_TEST
    numbers = {
        "train": [1, *range(end, end + options.num_images - 1)],
        "validation": range(2, first_test),
        "test": range(first_test, end),
    }
    frames = []
    for split, number in ((split, n) for split, some in numbers.items() for n in some):
        create_data(
            1, size, options.shape, options.fill, seed=options.seed, first=number, folder=folder
        )
        x, y = (ImageFile(str(folder / f"{name}_{number}.png"), "", "") for name in "XY")
        frames.append(Frame(f"X_{number}", x, y, split, subject=f"X_{number}"))
    return frames


def check_shape_size(image_size):
    """Raise ValueError for an image in which no shape has room."""
    height, width = image_size
    if min(height, width) < 32 or height * width > LARGEST_IMAGE:
        raise InputError(
            f"image size {height}x{width}: shapes of radius 15 need 32x32 or more, and an "
            f"image has {LARGEST_IMAGE:,} pixels at the most; pass another --image-size"
        )


def keras_generator(table, batch_size, image_size=(256, 256), seed=None):
    """Endless batches of random lines of a table, read from their files, as the car document feeds
    its network.

    table: a CSV file or a mapping (a pandas DataFrame, too) with columns image and mask, paths.
    Yields images float32 (B, H, W, 3) in [0, 1], masks float32 (B, H, W, 1) of 0 and 1. Raises
    InputError, OSError.
    """
    if isinstance(table, (str, os.PathLike)):
        frames = read_table(table, "train")
    else:
        columns = zip(table["image"], table["mask"], strict=True)
        rows = [{"image": image, "mask": mask} for image, mask in columns]
        frames = table_frames(rows, "train", "table")
    form = Form(image_size, False, 3, None, 65535)
    rng = np.random.default_rng(seed)
    while True:
        images, masks = [], []
        for frame in (frames[row] for row in rng.integers(0, len(frames), batch_size)):
            size, image = decode(frame.image, False, frame.image.read(), form)
            mask_size, mask = decode(frame.mask, True, frame.mask.read(), form)
            check_sizes(frame, size, mask_size)
            images.append(image)
            masks.append(mask)
        yield tuple(np.concatenate(part).astype(np.float32) / 255 for part in (images, masks))


def prepare(options):
    """What `python data.py` does; returns the folder it wrote to."""
    name, size = run_name(options), options.image_size
    folder, path = Path("output", name), Path("output", f".{name}.lock")
    given = options.images or options.masks or options.table
    if options.job == "noise" and (given or options.classes or options.colors):
        raise InputError(
            "noise draws its own images and masks; name another job to read --images or --table"
        )
    if options.job == "noise" and options.tile_size:
        raise InputError("noise draws images of one size; pass --image-size in its place")
    if options.threshold is not None and (options.classes or options.colors):
        raise InputError("--threshold makes two classes; leave it out, or --classes and --colors")
    if options.tile_size and options.image_size:
        raise InputError("--tile-size cuts images, --image-size resizes them; pass one")
    if size and 0 in size and any(size):
        raise InputError(f"--image-size {size[0]} {size[1]}: expected two lengths, or 0 0")
    if options.job == "noise":
        with lock(path):
            write(read_noise(options), folder, options)
    else:
        frames = read_frames(options)
        with lock(path):
            write(frames, folder, options)
    return folder


def write(frames, folder, options):
    """Write the arrays of some frames to a folder, at the size that the options say."""
    job = JOBS[options.job]
    size = options.tile_size or options.image_size or job.image_size
    keep_size = not (size and any(size))
    form = Form(
        ANY_SIZE if keep_size else size,
        False,
        options.channels or job.network.channels,
        options.threshold,
        options.white_level,
        choose_classes(options),
        is_colored=bool(options.colors and not options.classes),
        is_tiled=bool(options.tile_size),
    )
    if keep_size:
        size = first_size(frames, form, options.skip_bad)
        form = replace(form, image_size=size, keep_size=True)
    if options.skip_bad:
        frames = leave_out_bad(frames, form)
    write_arrays(folder, frames, form)


def choose_classes(options):
    """The classes that the options speak of, () for foreground and background; raises
    InputError.
    """
    if not options.colors:
        return number_classes(options.classes) if options.classes else ()
    classes = read_classes(options.colors)
    if options.classes not in (None, len(classes)):
        raise InputError(
            f"{options.colors}: {len(classes)} classes, --classes says {options.classes}; one "
            "line for each"
        )
    return classes


def first_size(frames, form, skip_bad):
    """The size (H, W) of the first image; with skip_bad of the first frame that is not bad."""
    if skip_bad:
        frames = [next((frame for frame in frames if not why_bad(frame, form)), frames[0])]
    image = frames[0].image
    return decode_image(image.read(), image.path, form.channels, image.page).shape[:2]


def leave_out_bad(frames, form):
    """The frames that can become rows; prints why the others cannot. Raises InputError where none
    can for training.
    """
    reasons = map_in_threads(why_bad, ((frame, form) for frame in frames))
    reasons = list(quiet(with_progress(reasons, len(frames), "checked")))
    for reason in filter(None, reasons):
        print(f"left out: {reason}")
    good = [frame for frame, reason in zip(frames, reasons) if not reason]
    print(f"{len(frames) - len(good)} of {len(frames)} images left out")
    if all(frame.split != "train" for frame in good):
        raise InputError("no training image is left; see above why")
    return good


def main(options):
    folder = prepare(options)
    arrays = load_arrays(run_name(options), options.job)
    shape, num_test = arrays.images.shape, len(arrays.test_images)
    print(f"{folder}/: {shape[0]} images with masks and {num_test} test images, {shape[1:]}")
    print(f"next: {command('train.py', run_name(options), options.job)}")


if __name__ == "__main__":
    with one_line_errors():
        main(OPTIONS)
