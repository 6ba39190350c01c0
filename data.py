"""Raw files, or shapes drawn on noise, become the arrays in output/JOB/.

python data.py nerve --raw raw
"""

import collections
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from files import (
    ImageFile,
    create_array,
    csv_text,
    decode_image,
    decode_mask,
    read_csv,
    replace_file,
    resize,
    with_progress,
    write_image,
)
from frames import Frame, check_sizes, read_frames, read_table, table_frames
from jobs import JOBS, InputError, job_option, one_line_errors, option, parse_options

IMAGES, MASKS, TEST_IMAGES = "imgs_train.npy", "imgs_mask_train.npy", "imgs_test.npy"
TEST_IDS, FILES = "imgs_id_test.npy", "files.csv"
FILES_HEADER = ("split", "id", "subject", "image", "mask", "height", "width")
NOISE_VALIDATION, NOISE_TEST = 20, 100  # images that `noise` is validated and tested on


@dataclass(frozen=True)
class Options:
    job: str = job_option()
    raw: str = option(
        "raw", "folder or .zip with the files as Kaggle (or the membrane challenge) hands them out"
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
    num_images: int = option(1, "noise: training images", least=1)
    shape: str = option("circle", "noise: what is drawn", choices=("circle", "rectangle"))
    fill: str = option("noise", "noise: what it is filled with", choices=("noise", "constant"))
    seed: int = option(1, "noise: another seed, other images", least=0, most=2**32 - 1)


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
    folder, size = Path("output/noise"), options.image_size or JOBS["noise"].image_size
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
    if min(height, width) < 32 or height * width > 2**30:
        raise InputError(
            f"image size {height}x{width}: shapes of radius 15 need 32x32 or more, and OpenCV "
            "reads 2^30 pixels at the most; pass another --image-size"
        )


# ---- frames to arrays and back


@dataclass(frozen=True)
class Form:
    """What the arrays are to look like, and how files are read into them."""

    image_size: tuple[int, int]  # (H, W) in pixels
    keep_size: bool  # every file has to have that size already
    channels: int
    threshold: int | None
    white_level: int


@dataclass(frozen=True)
class Task:
    """One file that becomes one row of an array."""

    array: str
    row: int
    file: ImageFile


def write_arrays(folder, frames, form):
    """Write imgs_train.npy, imgs_mask_train.npy, imgs_test.npy (uint8, (N, H, W, C)),
    imgs_id_test.npy and files.csv, the list of the files they came from, to a folder: all of them,
    or after an error none. Raises InputError, OSError.
    """
    train, test = split_test(frames, lambda frame: frame.split)
    files = {
        IMAGES: [frame.image for frame in train],
        MASKS: [frame.mask for frame in train],
        TEST_IMAGES: [frame.image for frame in test],
    }
    tasks = [
        Task(array, row, part[row])
        for row in range(len(frames))
        for array, part in files.items()
        if row < len(part)
    ]
    with contextlib.ExitStack() as stack:  # what is entered first is put in place last: files.csv
        new = {
            name: stack.enter_context(replace_file(Path(folder) / name))
            for name in (FILES, TEST_IDS, *files)
        }
        for name, part in files.items():
            channels = 1 if name == MASKS else form.channels
            create_array(new[name], (len(part), *form.image_size, channels), np.uint8)
        sizes = _fill_arrays(new, tasks, train, form)
        ids = [frame.id for frame in test]
        is_number = all(id.isdecimal() and str(int(id)) == id and len(id) < 10 for id in ids)
        np.save(new[TEST_IDS], np.array(ids, np.int32 if is_number else str))
        listed = [
            (frame.split, frame.id, frame.subject, frame.image.path)
            + (frame.mask.path if frame.mask else "", *sizes[array, row])
            for array, part in ((IMAGES, train), (TEST_IMAGES, test))
            for row, frame in enumerate(part)
        ]
        new[FILES].write_text(csv_text(FILES_HEADER, listed), encoding="utf-8")
        (Path(folder) / FILES).unlink(missing_ok=True)  # until all are in place there are none


def split_test(items, split_of):
    """Two lists: the items for training or validation, and those of the split "test"."""
    return [
        [item for item in items if (split_of(item) == "test") == is_test]
        for is_test in (False, True)
    ]


def _fill_arrays(paths, tasks, train, form):
    """Put each file in its row; returns the files' sizes, (H, W), by (array, row)."""
    sizes = {}
    decoded = _decode_all(tasks, form)
    for task, size, pixels in with_progress(decoded, len(tasks), "files"):
        sizes[task.array, task.row] = size
        pair = [sizes.get((array, task.row)) for array in (IMAGES, MASKS)]
        if task.array != TEST_IMAGES and None not in pair:
            check_sizes(train[task.row], *pair)
        # A map of its own for each row: the pages of one that stays open would count as memory.
        np.load(paths[task.array], mmap_mode="r+")[task.row] = pixels
    return sizes


def _decode_all(tasks, form):
    """Yield (task, size of its file, pixels). Bytes are read one after the other in the order in
    which they lie in a zip, and decoded by several threads; a few at a time are in memory.
    """
    tasks = sorted(tasks, key=lambda task: task.file.place)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pending, last, data = collections.deque(), None, b""
        for task in tasks:
            if (task.file.path, task.file.member) != last:  # pages of one tif share its bytes
                last, data = (task.file.path, task.file.member), task.file.read()
            pending.append((task, pool.submit(_decode, task, data, form)))
            if len(pending) > 2 * os.cpu_count():
                task, result = pending.popleft()
                yield task, *result.result()
        for task, result in pending:
            yield task, *result.result()


def _decode(task, data, form):
    """The size (H, W) of a file and its pixels as they go into the array."""
    file, is_mask = task.file, task.array == MASKS
    if is_mask:
        pixels = decode_mask(data, file.path, file.page, form.threshold)
    else:
        pixels = decode_image(data, file.path, form.channels, file.page, form.white_level)
    size = pixels.shape[:2]
    if form.keep_size and size != form.image_size:
        raise InputError(
            f"{file.path}: is {size[0]}x{size[1]}, the first image {form.image_size[0]}x"
            f"{form.image_size[1]}; pass --image-size H W to make them one size"
        )
    pixels = resize(pixels, form.image_size)
    return size, np.where(pixels > 127, np.uint8(255), np.uint8(0)) if is_mask else pixels


@dataclass(frozen=True)
class Arrays:
    """What data.py wrote for a job; images and masks are memory maps, uint8 (N, H, W, C), masks 0
    and 255.

    files, test_files: a dict for each row, with split, id, subject, image, mask, height, width.
    """

    images: np.ndarray
    masks: np.ndarray
    test_images: np.ndarray
    files: list
    test_files: list

    @property
    def is_resized(self):
        """Whether a training image had another size before it became a row here."""
        size = self.images.shape[1:3]
        return any((row["height"], row["width"]) != size for row in self.files)


def load_arrays(job):
    """The Arrays of a job; raises InputError naming the command that writes them."""
    folder = Path("output", job)
    if not (folder / FILES).exists():
        command = f"python data.py {job} {JOBS[job].raw}"
        raise InputError(f"{folder}: no arrays there yet; first run: {command}")
    rows = read_csv(folder / FILES, FILES_HEADER)
    if not all(row["height"].isdecimal() and row["width"].isdecimal() for row in rows):
        raise InputError(f"{folder / FILES}: sizes that are no numbers; run data.py {job} again")
    for row in rows:
        row.update(height=int(row["height"]), width=int(row["width"]))
    files, test_files = split_test(rows, lambda row: row["split"])
    arrays = [open_array(folder / name) for name in (IMAGES, MASKS, TEST_IMAGES)]
    images, masks, test_images = arrays
    expected = [
        (len(files), *images.shape[1:]),
        (len(files), *images.shape[1:3], 1),
        (len(test_files), *images.shape[1:]),
    ]
    is_whole = [array.shape for array in arrays] == expected and images.ndim == 4
    if not is_whole or any(array.dtype != np.uint8 for array in arrays):
        raise InputError(f"{folder}: files of two runs; run python data.py {job} again")
    return Arrays(images, masks, test_images, files, test_files)


def open_array(path, remedy="run data.py again"):
    """A .npy file through a read-only memory map; raises InputError where it is missing or
    damaged, with what to do then.
    """
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; {remedy}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: not a whole .npy file ({error}); {remedy}") from error


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
            size, image = _decode(Task(IMAGES, 0, frame.image), frame.image.read(), form)
            mask_size, mask = _decode(Task(MASKS, 0, frame.mask), frame.mask.read(), form)
            check_sizes(frame, size, mask_size)
            images.append(image)
            masks.append(mask)
        yield np.stack(images).astype(np.float32) / 255, np.stack(masks).astype(np.float32) / 255


def prepare(options):
    """What `python data.py` does; returns the folder it wrote to."""
    job, folder = JOBS[options.job], Path("output", options.job)
    size = options.image_size
    if options.job == "noise" and (options.images or options.masks or options.table):
        raise InputError(
            "noise draws its own images; name another job to read --images or --table"
        )
    if size and 0 in size and any(size):
        raise InputError(f"--image-size {size[0]} {size[1]}: expected two lengths, or 0 0")
    frames = read_noise(options) if options.job == "noise" else read_frames(options)
    size = size or job.image_size
    channels = options.channels or job.network.channels
    keep_size = not (size and any(size))
    if keep_size:
        first = frames[0].image
        size = decode_image(first.read(), first.path, channels, first.page).shape[:2]
    form = Form(size, keep_size, channels, options.threshold, options.white_level)
    write_arrays(folder, frames, form)
    return folder


def main(options):
    folder = prepare(options)
    arrays = load_arrays(options.job)
    shape, num_test = arrays.images.shape, len(arrays.test_images)
    print(f"{folder}/: {shape[0]} images with masks and {num_test} test images, {shape[1:]}")
    print(f"next: python train.py {options.job}")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "data.py", __doc__))
