"""Raw files, or shapes drawn on noise, become the arrays in output/NAME/.

python data.py nerve --raw raw
"""

import os
import sys
from dataclasses import dataclass, fields

from unet.data.shapes import FILLS, PLACEMENTS, SHAPES, create_data
from unet.errors import InputError, check_image_size, check_whole, one_line_errors
from unet.jobs import JOBS
from unet.jobs.settings import MOST_CLASSES
from unet.lazy import lazy
from unet.options import flag, job_option, name_option, option, parse_given

np = lazy("numpy")
runs = lazy("unet.runs")
frames = lazy("unet.reading.frames")
sources = lazy("unet.reading.sources")
tables = lazy("unet.reading.tables")
raw_files = lazy("unet.reading.raw")
forms = lazy("unet.data.form")
readings = lazy("unet.reading.values")
preparation = lazy("unet.data.prepare")
arrays = lazy("unet.data.arrays")
split = lazy("unet.data.split")
survey = lazy("unet.data.survey")
sheet = lazy("unet.pictures.sheet")

__all__ = ["create_data", "keras_generator", "prepare"]


def parse_ignore(text):
    """The value of `--ignore 255`, (255,), or the colour of `--ignore 224,224,192`; raises
    InputError.
    """
    if text is None:
        return ()
    numbers = text.split(",")
    if len(numbers) not in (1, 3) or not all(n.isdecimal() and int(n) < 65536 for n in numbers):
        raise InputError(f"--ignore {text}: expected a mask's value, or a colour as R,G,B")
    return tuple(map(int, numbers))


def check_classes(count):
    """Raise InputError for two classes or fewer, which are no option, and for too many."""
    if count is not None and not 3 <= count <= MOST_CLASSES:
        raise InputError(
            f"--classes {count}: expected 3 to {MOST_CLASSES}; foreground and background need no "
            "option, --mask-threshold tells them apart where a mask is not 0 and one other value"
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
    images: str | None = option(
        None,
        "your own data: images, a folder, a zip, a file of several pages, or a pattern in quotes "
        "such as 'photos/*_img.png'",
    )
    masks: str | None = option(
        None,
        "your own data: their masks, paired by what their names have in common: a folder, which "
        "may be the same; a COCO file; a CSV file of run-length code",
    )
    validation_images: str | None = option(None, "folder of images for validation")
    validation_masks: str | None = option(None, "their masks")
    test_images: str | None = option(None, "folder of images without masks, for submission.py")
    table: str | None = option(
        None,
        "your own data: CSV file of images and masks, paths seen from its folder, in columns "
        "image and mask, or else the first and the second; columns subject and split are minded",
    )
    validation_table: str | None = option(None, "a second such table, for validation")
    subject: str | None = option(
        None,
        "which part of an image's name says whom it shows, a regular expression such as "
        "'case_(\\d+)'; whole subjects are held out (default: its folder)",
        metavar="PATTERN",
    )
    missing_is_empty: bool = option(
        False, "images without a mask show nothing of what is looked for"
    )
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
    mask_threshold: float | None = option(
        None,
        "mask values above it are foreground; without it a mask holds 0 and one other value, the "
        "same in all",
        least=0,
        most=2**32,
    )
    invert: bool = option(False, "what the masks have as foreground is background")
    ignore: str | None = option(
        None,
        "mask value of pixels that do not count, 255 for example, or their colour as R,G,B",
        metavar="VALUE",
        check=parse_ignore,
    )
    black_level: float = option(
        0.0, "value of an image of more than 8 bit that becomes black", least=-(2**32), most=2**32
    )
    white_level: float | None = option(
        None,
        "value of an image of more than 8 bit that becomes white, 4095 of a 12-bit camera "
        "(default: found in all of them)",
        least=-(2**32),
        most=2**32,
    )
    classes: int | None = option(
        None,
        "more than foreground and background: masks hold class numbers 0, 1, ..., 0 the "
        "background, as grey values or in a palette",
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
    shape: str = option("circle", "what is drawn", choices=SHAPES)
    fill: str = option("noise", "what it is filled with", choices=FILLS)
    placement: str = option(
        "document",
        "where circles lie: two radii away from every side, or anywhere inside",
        choices=PLACEMENTS,
    )
    seed: int = option(
        1,
        "of training and validation images; the test images have the next one",
        least=0,
        most=2**32 - 2,
    )


OF_ALL = ("job", "name", "raw", "image_size", "channels")
OF_NOISE = ("num_images", "shape", "fill", "placement", "seed")  # all others are of files


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
    if isinstance(table, (str, os.PathLike)):
        rows, path = tables.read_table(table), table
    else:
        rows, path = tables.table_rows(table), "table"
    pairs = tables.row_frames(rows, "train", path)
    return forms.endless_batches(pairs, batch_size, image_size, np.random.default_rng(seed))


def check_options(options):
    """Raise InputError for options that contradict each other."""
    is_noise, own = options.job == "noise", options.images or options.table
    for field in fields(Options):
        is_idle = field.name not in OF_ALL and (field.name in OF_NOISE) != is_noise
        if is_idle and getattr(options, field.name) != field.default:
            own_text = "noise draws its own images and masks; name another job to read files"
            raise InputError(f"{flag(field.name)}: {own_text if is_noise else 'is of noise'}")
    if own and options.raw != Options.raw:
        raise InputError("--raw and --images or --table are two ways to say the same; pass one")
    if options.missing_is_empty and not own:
        raise InputError("--missing-is-empty is of --images or --table; pass one of these")
    if options.colors and not options.classes and len(parse_ignore(options.ignore)) == 1:
        raise InputError(f"--ignore {options.ignore}: of masks in --colors name one, as R,G,B")
    if options.placement != "document" and options.shape == "rectangle":
        raise InputError("--placement is of circles; a rectangle lies anywhere inside already")
    if options.classes or options.colors:
        for name in ("mask_threshold", "invert"):
            if getattr(options, name) not in (None, False):
                raise InputError(
                    f"{flag(name)} is of two classes; leave it out, or --classes and --colors"
                )
    if options.white_level is not None and options.white_level <= options.black_level:
        raise InputError(
            f"--white-level {options.white_level:g}: expected more than --black-level "
            f"{options.black_level:g}"
        )
    if options.tile_size and options.image_size:
        raise InputError("--tile-size cuts images, --image-size resizes them; pass one")
    size = options.image_size
    if size and 0 in size and any(size):
        raise InputError(f"--image-size {size[0]} {size[1]}: expected two lengths, or 0 0")


def prepare(options):
    """What `python data.py` does; returns the folder that it wrote to."""
    check_options(options)
    name = runs.run_name(options.job, options.name)
    if options.job == "noise":
        keys = "image_size", "channels", "num_images", "shape", "fill", "placement", "seed"
        preparation.prepare_noise(name, **{key: getattr(options, key) for key in keys})
        return runs.Paths(name).arrays
    names = [field.name for field in fields(frames.Source)]
    source = frames.Source(**{name: getattr(options, name) for name in names})
    classes = preparation.choose_classes(options.classes, options.colors)
    found = sources.read_frames(options.job, source, classes)
    job, is_own = JOBS[options.job], options.job == "own"
    size = options.tile_size or options.image_size or job.image_size or (0, 0)
    form = forms.Form(
        size,
        options.channels or (0 if is_own else job.network.channels),
        readings.Reading(
            options.mask_threshold,
            invert=options.invert,
            ignore=parse_ignore(options.ignore),
            black_level=options.black_level,
            white_level=options.white_level,
        ),
        keep_size=not any(size) and (bool(options.image_size) or not is_own),
        classes=found.classes,
        is_colored=bool(options.colors and not options.classes),
        is_tiled=bool(options.tile_size),
        is_open=is_own,
    )
    notes = preparation.prepare_frames(name, found.frames, form, options.skip_bad)
    for note in (*found.notes, *notes):
        print(note)
    return runs.Paths(name).arrays


def main(options, is_raw_given=False):
    if options.job == "noise" and is_raw_given:
        raise InputError(
            f"--raw {options.raw}: of which job? {raw_files.describe_raw(options.raw)}"
        )
    if options.job == "noise" and "noise" not in sys.argv and os.path.exists(options.raw):
        print(f"no job named: noise draws its own images; {raw_files.describe_raw(options.raw)}")
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
        main(Options(**given), is_raw_given="raw" in given)
