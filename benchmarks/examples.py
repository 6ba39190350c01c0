"""A picture and a result of each job, from images that this project draws, docs/JOB.png, and one
of all of them, docs/overview.jpg.

python -m benchmarks.examples nerve

Draws the images (scenes.py), runs data.py and train.py --recipe modern on them, and of the
held-out images that have a foreground shows the best, the middle and the worst. Not of noise,
which draws its own: docs/noise.png is what python train.py and python test.py make.
"""

import contextlib
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

import data
import train
from benchmarks import scenes
from benchmarks.measure import head
from train import load_run
from unet.data.augment import crop_middle
from unet.errors import InputError, one_line_errors
from unet.jobs import RECIPES
from unet.machine.disk import replace_file
from unet.options import option, parse_options
from unet.pictures.panels import as_rgb, draw, draw_outlines
from unet.prediction.scoring import PreparedImages, score
from unet.reading.pixels import write_image

FOLDER = Path(__file__).resolve().parent

DRAWN = tuple(name for name in RECIPES["document"] if name != "noise")


@dataclass(frozen=True)
class Options:
    job: str = option("all", "which job", choices=("all", *DRAWN))
    seed: int = option(1, "of the images and of the training", least=0, most=2**32 - 1)
    work: str | None = option(
        None,
        "new folder to work in, whose raw/, output/, weights/ and vis/ stay (default: one that is "
        "removed at the end)",
        metavar="DIR",
    )
    output: str = option(
        str(FOLDER.parent / "docs"), "folder for the pictures, JOB.png (tiny: JOB.tiny.png)"
    )
    tiny: bool = option(False, "a few small images and steps, to see that this script works")


WIDEST = 1064  # pixels of a picture: four panels of 256 with their frames
MOST_BYTES = 290_000  # of a picture's file
LEVELS = 4  # of each network
TILE = 256  # pixels of an image in the picture of all jobs
MARK = (255, 190, 0)  # RGB of what is predicted there


@dataclass(frozen=True)
class Example:
    """How many images of a job are drawn, at which size they are trained on, and for how long."""

    groups: int  # patients, cars; tiles, slices
    views: int  # images of each
    image_size: tuple[int, int] | None
    first_filters: int  # doubled at each level
    epochs: int
    steps: int  # of an epoch
    changes: tuple[str, ...] = ()


EXAMPLES = {  # a row a job
    "nerve": Example(60, 6, (96, 128), 8, 12, 40, ("recipe.batch_size=8",)),
    "car": Example(24, 6, (160, 256), 8, 6, 50),
    "cadastre": Example(120, 1, (256, 256), 8, 8, 50, ("recipe.window=128,128",)),
    "membrane": Example(40, 1, None, 8, 6, 50, ("recipe.window=128,128",)),
}
COLUMNS = ("job", "steps", "seconds", "of the processor", "mean Dice", "worst Dice")
COLUMNS += ("held-out images",)
TINY = dict(groups=4, views=2, first_filters=2, epochs=1, steps=2)


def write_nerve(folder, example, seed):
    """Kaggle's tree: train/S_N.tif with its mask, frames of a patient being much alike. A 9 before
    each number keeps them apart from the competition's own, of which some are one patient.
    """
    names = "train/9{}_{}.tif", "train/9{}_{}_mask.tif"
    return write_views(folder, example, seed, scenes.draw_nerve, names)


def write_car(folder, example, seed):
    """Kaggle's tree, its masks as PNG: OpenCV's GIF has more grey values than two."""
    names = "train/car{:03}_{:02}.jpg", "train_masks/car{:03}_{:02}_mask.png"
    return write_views(folder, example, seed, scenes.draw_car, names)


def write_views(folder, example, seed, draw_view, names):
    """Image and mask of each view of each group, under names with the numbers of both."""
    for group in range(1, example.groups + 1):
        for view in range(1, example.views + 1):
            for name, pixels in zip(names, draw_view(seed, group, view)):
                write_image(folder / name.format(group, view), pixels)
    return dict(raw=str(folder))


def write_cadastre(folder, example, seed):
    """A folder of tiles and one of masks."""
    for number in range(1, example.groups + 1):
        image, mask = scenes.draw_cadastre(seed, number)
        write_image(folder / f"images/{number}.png", image)
        write_image(folder / f"masks/{number}.png", mask)
    return dict(images=str(folder / "images"), masks=str(folder / "masks"))


def write_membrane(folder, example, seed):
    """The challenge's two stacks; neighbouring slices have nothing in common here."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [scenes.draw_membrane(seed, number) for number in range(1, example.groups + 1)]
    for name, pages in zip(("train-volume", "train-labels"), zip(*pairs)):
        if not cv2.imwritemulti(str(folder / f"{name}.tif"), pages):
            raise OSError(f"{folder / name}.tif: cannot be written")
    return dict(raw=str(folder))


WRITERS = {
    "nerve": write_nerve,
    "car": write_car,
    "cadastre": write_cadastre,
    "membrane": write_membrane,
}


def changes_of(job, example):
    """What --set is given, for a network as narrow as the example says."""
    filters = [example.first_filters * 2**level for level in range(LEVELS)]
    texts = f"filters={','.join(map(str, filters))}", f"bottleneck={2 * filters[-1]}"
    texts += ("decoder_filters=",)
    return (*(f"network.{text}" for text in texts), *example.changes)


def train_example(job, example, seed):
    """Draw, prepare and train in the working directory; returns the run's Results with their Dice
    [(dice, Result)], and the seconds of the training, by the clock and of the processor. Raises
    InputError where the job has files there.
    """
    for path in (Path("raw", job), Path("output", job)):
        if path.exists():
            raise InputError(f"{path.resolve()}: is there already; pass another --work")
    given = WRITERS[job](Path("raw", job), example, seed)
    data.prepare(data.Options(job=job, seed=seed, image_size=example.image_size, **given))
    clocks = time.perf_counter, time.process_time
    start = [clock() for clock in clocks]
    train.train_predict(
        train.Options(
            job=job,
            recipe="modern",
            precision="float32",
            seed=seed,
            epochs=example.epochs,
            steps_per_epoch=example.steps,
            set=changes_of(job, example),
        )
    )
    seconds = [clock() - before for clock, before in zip(clocks, start)]
    return [(score(result)[0][0], result) for result in PreparedImages(load_run(job))], seconds


def choose(scored):
    """The best, the middle and the worst of [(dice, Result)] whose truth has a foreground; of all
    where none has.
    """
    shown = [pair for pair in scored if pair[1].truth.any()] or scored
    order = sorted(shown, key=lambda pair: -pair[0])
    return [order[0], order[len(order) // 2], order[-1]]


def draw_rows(chosen):
    """RGB picture: a row of image, truth, prediction and error for each (dice, Result)."""
    rows = [draw(one, f"{one.id}  Dice {dice:.3f}") for dice, one in chosen]
    picture = np.concatenate(rows)
    height, width = picture.shape[:2]
    if width > WIDEST:
        size = WIDEST, round(height * WIDEST / width)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return picture


def draw_overview(of_jobs):
    """RGB picture: of each job the middle image, and under it the same with what was predicted on
    it. of_jobs: [(dice, Result)] of each.
    """
    columns = []
    for scored in of_jobs:
        result = choose(scored)[1][1]
        image = as_rgb(result.image)
        shown = image.copy()
        inside = result.prediction > 0
        shown[inside] = image[inside] * 0.55 + np.array(MARK) * 0.45
        outlined = draw_outlines(shown, result.prediction, ())
        columns.append(np.concatenate([square(image), square(outlined)]))
    return np.concatenate(columns, axis=1)


def square(pixels):
    """The middle of RGB pixels as a square of TILE pixels in a white frame."""
    side = min(pixels.shape[:2])
    middle = crop_middle(pixels, (side, side))
    small = cv2.resize(middle, (TILE, TILE), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(small, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def write_small(path, picture):
    """Write an RGB picture as PNG of at most MOST_BYTES, in no fewer colours than that takes, for
    PNG packs no noise; black and white stay. Raises ValueError where nothing helps.
    """
    for step in (1, 2, 4, 8, 16, 32, 64):
        rounded = np.round(picture[..., ::-1] // step * (255 / (256 // step - 1)))
        setting = [cv2.IMWRITE_PNG_COMPRESSION, 9]
        encoded = cv2.imencode(".png", rounded.astype(np.uint8), setting)[1]
        if encoded.nbytes <= MOST_BYTES:
            break
    else:
        raise ValueError(f"{path}: more than {MOST_BYTES} bytes however it is rounded")
    with replace_file(path, encoded.nbytes) as temporary:
        temporary.write_bytes(encoded)


def row(job, example, scored, seconds):
    """A line of a Markdown table."""
    dice = [value for value, _ in scored]
    cells = [job, example.epochs * example.steps, *(f"{value:.0f}" for value in seconds)]
    cells += [f"{np.mean(dice):.3f}", f"{min(dice):.3f}", len(dice)]
    return f"| {' | '.join(map(str, cells))} |"


def main(options):
    names = EXAMPLES if options.job == "all" else (options.job,)
    output, rows, of_jobs = Path(options.output).resolve(), [], []
    kind = ".tiny.png" if options.tiny else ".png"
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(options.work or temporary)
        work.mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(work):
            for job in names:
                example = replace(EXAMPLES[job], **TINY) if options.tiny else EXAMPLES[job]
                scored, seconds = train_example(job, example, options.seed)
                write_small(output / f"{job}{kind}", draw_rows(choose(scored)))
                of_jobs.append(scored)
                rows.append(row(job, example, scored, seconds))
    if options.job == "all":
        write_image(output / f"overview{kind}".replace(".png", ".jpg"), draw_overview(of_jobs))
    print(head(*COLUMNS))
    print("\n".join(rows))


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.examples", __doc__))
