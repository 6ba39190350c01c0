"""Raw files, or shapes drawn on noise, become the arrays in output/NAME/.

python data.py nerve --raw raw
"""

import itertools
import os
from dataclasses import dataclass, fields
from pathlib import Path

from unet.errors import InputError, check_image_size, check_whole, one_line_errors
from unet.jobs import JOBS
from unet.jobs.noise import FILLS, NUM_TEST, NUM_VALIDATION, PLACEMENTS, SHAPES
from unet.lazy import lazy
from unet.options import (
    Checked,
    check_classes,
    check_data,
    job_option,
    name_option,
    option,
    parse_given,
    parse_ignore,
    run_length_option,
)

np = lazy("numpy")
runs = lazy("unet.runs")
disk = lazy("unet.machine.disk")
frames = lazy("unet.reading.frames")
pixels = lazy("unet.reading.pixels")
raw = lazy("unet.reading.raw")
sources = lazy("unet.reading.sources")
tables = lazy("unet.reading.tables")
arrays = lazy("unet.data.arrays")
form = lazy("unet.data.form")
shapes = lazy("unet.data.shapes")
split = lazy("unet.data.split")
survey = lazy("unet.data.survey")
write = lazy("unet.data.write")
sheet = lazy("unet.pictures.sheet")


@dataclass(frozen=True)
class Options(Checked):
    job: str = job_option()
    name: str | None = name_option(
        "name of the folder for the arrays in output/ (default: the job)"
    )
    raw: str = option(
        "raw",
        "folder or .zip with the files as downloaded from Kaggle or the membrane challenge",
        group="images and masks",
    )
    images: str | None = option(
        None,
        "images: a folder, a zip, a file of several pages, or a quoted pattern such as "
        "'photos/*_img.png'",
    )
    masks: str | None = option(
        None,
        "masks of --images, paired by file name: a folder (it may be the same one), a COCO file, "
        "or a CSV file of run-length codes",
    )
    validation_images: str | None = option(None, "validation images, a folder")
    validation_masks: str | None = option(None, "masks of --validation-images")
    test_images: str | None = option(
        None, "test images without masks, a folder, for submission.py"
    )
    table: str | None = option(
        None,
        "CSV file that lists images and masks, with paths relative to its folder, in the columns "
        "image and mask (or the first two); the optional columns subject and split are used",
    )
    validation_table: str | None = option(None, "CSV file that lists validation images and masks")
    subject: str | None = option(
        None,
        "regular expression that extracts the subject ID from an image's name, such as "
        "'case_(\\d+)'; subjects are held out as a whole (default: the image's folder)",
        metavar="PATTERN",
    )
    run_length: str | None = run_length_option()
    missing_is_empty: bool = option(False, "treat images without a mask as all background")
    image_size: tuple[int, int] | None = option(
        None,
        "height and width of the arrays in pixels; 0 0 keeps the size of the files "
        "(default: the document's)",
        least=0,
        metavar=("H", "W"),
        group="conversion to arrays",
    )
    tile_size: tuple[int, int] | None = option(
        None,
        "cut images into tiles of this size instead of shrinking them; smaller images are padded "
        "by reflection; reads every image twice",
        least=1,
        metavar=("H", "W"),
    )
    channels: int | None = option(
        None, "1 for grey, 3 for RGB (default: the document's)", choices=(1, 3)
    )
    mask_threshold: float | None = option(
        None,
        "value above which a mask pixel is foreground (default: masks hold 0 and one other value, "
        "the same in all files)",
        least=0,
        most=2**32,
    )
    invert: bool = option(False, "swap foreground and background")
    ignore: str | None = option(
        None,
        "mask value of the pixels to ignore in training and scores, such as 255, or their colour "
        "as R,G,B",
        metavar="VALUE",
        check=parse_ignore,
    )
    black_level: float = option(
        0.0,
        "pixel value that maps to black, in images deeper than 8 bits",
        least=-(2**32),
        most=2**32,
    )
    white_level: float | None = option(
        None,
        "pixel value that maps to white, in images deeper than 8 bits, such as 4095 for a 12-bit "
        "camera (default: found in the images)",
        least=-(2**32),
        most=2**32,
    )
    classes: int | None = option(
        None,
        "number of classes, background included; masks hold class numbers 0, 1, ..., with 0 for "
        "background, as grey values or palette indices",
        check=check_classes,
    )
    colors: str | None = option(
        None,
        "CSV file with columns name, r, g and b, one line per class, for masks that hold these "
        "colours (with --classes: names and colours of the class numbers); a class called "
        "background is class 0",
    )
    no_background: bool = option(
        False,
        "count class 0 in mean scores and objects, for classes of which none is a background",
    )
    skip_bad: bool = option(
        False, "skip and list images that cannot be read; reads every file twice"
    )
    num_images: int = option(1, "number of training images", least=1, group="drawing (noise only)")
    shape: str = option("circle", "shape to draw", choices=SHAPES)
    fill: str = option("noise", "filling of the shape", choices=FILLS)
    placement: str = option(
        "document",
        "position of circles: at least two radii from every side, or anywhere inside the image",
        choices=PLACEMENTS,
    )
    seed: int = option(
        1,
        "seed of the training and validation images; test images use seed + 1",
        least=0,
        most=2**32 - 2,
    )


def create_data(
    num_images=1,
    image_size=(160, 160),
    *,
    shape="circle",
    fill="noise",
    placement="document",
    seed=1,
    folder=None,
    ids=None,
):
    """Images of shapes on noise and their masks, uint8 (N, H, W, 1) twice, as the noise document
    draws them: the first ones of the stream of a seed.

    With a folder, saves them there as X_ID.png and Y_ID.png; ids: one for each (default: 1, 2 and
    so on). Raises ValueError for a shape, fill or placement that there is not, and for an image in
    which the shape has no room.
    """
    shapes.check_shape(image_size, shape, fill, placement)
    images, masks = (np.zeros((num_images, *image_size, 1), np.uint8) for _ in range(2))
    drawn = shapes.draw_shapes(image_size, shape, fill, placement, seed)
    for row, (image, mask) in enumerate(itertools.islice(drawn, num_images)):
        images[row], masks[row] = image, mask
    if folder:
        for id, image, mask in zip(ids or itertools.count(1), images, masks):
            pixels.write_image(Path(folder) / f"X_{id}.png", image)
            pixels.write_image(Path(folder) / f"Y_{id}.png", mask)
    return images, masks


def keras_generator(table, batch_size, image_size=(256, 256), seed=None):
    """Endless batches of random lines of a table, read from their files, as the car document feeds
    its network.

    table: a CSV file or a mapping (a pandas DataFrame, too) of columns, which are paths: those
    called image and mask, else images in the first, masks in the second.
    Yields images float32 (B, H, W, 3) in [0, 1], masks float32 (B, H, W, 1) of 0 and 1. Raises
    InputError, OSError.
    """
    check_whole("batch_size", batch_size)
    check_image_size(image_size)
    pairs = tables.read_pairs(table)
    return form.endless_batches(pairs, batch_size, image_size, np.random.default_rng(seed))


def prepare(options):
    """Write the arrays that the options describe; returns their folder, output/NAME."""
    check_data(options)
    name = runs.run_name(options.job, options.name)
    write_arrays = draw_noise if options.job == "noise" else read_files
    write_arrays(name, options)
    return runs.Paths(name).arrays


def draw_noise(name, options):
    """Draw the images of the noise job with create_data and write their arrays to output/NAME/.

    From the stream of --seed come image 1 for training, 2 to 101 for validation and, from 102 on,
    the rest of --num-images; from that of the next seed the test images, test_0 to test_99.
    """
    job, paths = JOBS["noise"], runs.Paths(name)
    size, channels = options.image_size or job.image_size, options.channels
    drawn = {key: getattr(options, key) for key in ("shape", "fill", "placement")}
    shapes.check_shape(size, **drawn)
    ids = range(1, NUM_VALIDATION + options.num_images + 1)
    test_ids = [f"test_{number}" for number in range(NUM_TEST)]
    with disk.lock(paths.arrays_lock):
        (paths.arrays / arrays.FILES).unlink(missing_ok=True)  # of other images from here on
        create_data(len(ids), size, **drawn, seed=options.seed, folder=paths.arrays)
        drawn |= {"seed": options.seed + 1, "ids": test_ids}
        create_data(NUM_TEST, size, **drawn, folder=paths.arrays)
        new_form = form.Form(size, channels or job.network.channels)
        write.write_noise(paths.arrays, ids, test_ids, new_form)


def read_files(name, options):
    """Write the arrays of image and mask files to output/NAME/."""
    names = [field.name for field in fields(frames.Source)]
    source = frames.Source(**{name: getattr(options, name) for name in names})
    classes, reading, notes = write.choose_classes(options)
    found = sources.read_frames(options.job, source, classes)
    job, is_own = JOBS[options.job], options.job == "own"
    size = options.tile_size or options.image_size or job.image_size or (0, 0)
    new_form = form.Form(
        size,
        options.channels or (0 if is_own else job.network.channels),
        write.settle_reading(found, reading),
        keep_size=not any(size) and (bool(options.image_size) or not is_own),
        classes=found.classes,
        is_colored=bool(options.colors and not options.classes),
        is_tiled=bool(options.tile_size),
        is_open=is_own,
    )
    notes = notes + found.notes
    for note in notes + write.prepare_frames(name, found.frames, new_form, options.skip_bad):
        print(note)


def main(options, given=("job",)):
    """Prepare the arrays, say what is in them, and draw them. given: names of the options that the
    command line has.
    """
    if options.job == "noise" and "raw" in given:
        raise InputError(f"--raw {options.raw}: of which job? {raw.describe_raw(options.raw)}")
    if "job" not in given and os.path.exists(options.raw):
        print(f"no job named: noise draws its own images; {raw.describe_raw(options.raw)}")
    folder = prepare(options)
    written = arrays.load_arrays(folder.name, options.job)
    shape, num_test = written.images.shape, len(written.test_images)
    unit = "tiles" if split.are_tiled(written.files) else "images"
    print(f"{folder}/: {shape[0]} {unit} with masks and {num_test} test images, {shape[1:]}")
    report = survey.read_report(folder.name)
    print(*report["lines"], sheet.write_sheet(written, report), sep="\n")
    print(f"next: {runs.command('train.py', folder.name, options.job)}")


if __name__ == "__main__":
    with one_line_errors():
        given = parse_given(Options, "data.py", __doc__)
        main(Options(**given), given)
