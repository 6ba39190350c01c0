"""One image is enough? Train the noise network on one image, score 100 others as it learns.

python -m benchmarks.noise

Runs that benchmarks/noise.csv has already are not run again; the table is printed and the plot
drawn, benchmarks/noise.png, from that file. --output DIR starts a file of your own.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import data
from benchmarks.measure import read_numbers, scale_record
from model import build_unet
from train import compile_unet
from unet.data.arrays import Arrays
from unet.data.batches import make_batches
from unet.data.scale import find_scale
from unet.errors import InputError, one_line_errors
from unet.jobs import RECIPES
from unet.losses import dice_per_image
from unet.machine.disk import csv_text, replace_file, write_text
from unet.machine.precision import find_precision
from unet.options import option, parse_options
from unet.prediction.predict import predict_arrays
from unet.prediction.run import Network, Run
from unet.runs import Decision

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Options:
    part: str = option(
        "all",
        "target: the modern recipe on circles filled with noise; shapes: both recipes on all four "
        "kinds; reasons: one change of the document's recipe each; modern: one part less each",
        choices=("all", "target", "shapes", "reasons", "modern"),
    )
    seeds: int = option(10, "runs of each setting, seeds 1, 2, ...", least=1)
    steps: int = option(400, "training steps of a run", least=1)
    num_images: int = option(100, "new images that each is scored on", least=1)
    output: str = option(str(FOLDER), "folder for noise.csv and noise.png")
    tiny: bool = option(False, "one small run of each setting, to see that this script works")


COLUMNS = ("setting", "shape", "fill", "precision", "seed", "step", "seconds", "radius", "border")
COLUMNS += ("train", "mean", "worst", "near", "far")
NARROW = "network.filters=4,8,8,8,8 network.bottleneck=8 network.decoder_filters=4,8,8,8,8"

# Setting: recipe, what is changed in it. Each reason changes one thing of the document's recipe,
# each ablation takes one thing away from the modern one.
DOCUMENT = {"document": ("document", "")}
MODERN = {"modern": ("modern", "")}
MIRRORED = "document, mirrored border"  # the same training; predicted with MARGIN around an image
MARGIN = 32  # pixels
REASONS = {
    "document, Adam 1e-4": ("document", "recipe.optimizer=adam recipe.learning_rate=1e-4"),
    "document, cross-entropy": ("document", "recipe.loss=binary_cross_entropy"),
    "document, not standardized": ("document", "recipe.standardize=none"),
    MIRRORED: ("document", ""),
    "document, turns and flips": ("document", "augmentation.symmetry=turns"),
    "document, shifts": ("document", "augmentation.shift=0.5 augmentation.wrap=true"),
}
ABLATIONS = {
    "modern, no turns or flips": ("modern", "augmentation.symmetry=none"),
    "modern, no shifts": ("modern", "augmentation.shift=0"),
    "modern, shifts that mirror": ("modern", "augmentation.wrap=false"),
    "modern, constant rate": ("modern", "recipe.cosine=false"),
    "modern, Dice alone": ("modern", "recipe.loss=dice"),
    "modern, batch 1": ("modern", "recipe.batch_size=1"),
    "modern, first filters 16": (
        "modern",
        "network.filters=16,32,64,128,256 network.bottleneck=256 "
        "network.decoder_filters=16,16,32,64,128",
    ),
    "modern, first filters 32": (
        "modern",
        "network.filters=32,64,128,256,512 network.bottleneck=512 "
        "network.decoder_filters=16,32,64,128,256",
    ),
}


def settings(options):
    """(name, shape, fill, seeds) of the runs that the options name."""
    seeds = range(1, options.seeds + 1)
    kinds = [(shape, fill) for shape in ("circle", "rectangle") for fill in ("noise", "constant")]
    if options.part in ("all", "target"):
        yield ("modern", *kinds[0], seeds)
    if options.part in ("all", "shapes"):
        for shape, fill in kinds:
            yield from ((name, shape, fill, seeds) for name in (*DOCUMENT, *MODERN))
    if options.part in ("all", "reasons"):
        yield from ((name, *kinds[0], seeds) for name in (*DOCUMENT, *REASONS))
    if options.part in ("all", "modern"):
        yield from ((name, *kinds[0], seeds) for name in (*MODERN, *ABLATIONS))


def run(name, shape, fill, seed, options):
    """Train on image 1 of a seed and yield a row of the table at each of the steps looked at."""
    recipe_name, changes = {**DOCUMENT, **MODERN, **REASONS, **ABLATIONS}[name]
    changes = changes.split() + (NARROW.split() if options.tiny else [])
    job = RECIPES[recipe_name]["noise"].change(changes)
    recipe, network = job.recipe, job.network
    image, mask = data.create_data(1, shape=shape, fill=fill, seed=seed)
    others, truths = data.create_data(
        options.num_images, shape=shape, fill=fill, seed=seed, first=22
    )
    arrays = Arrays(image, mask, others, [{"split": "train"}], [])
    scale = find_scale(image, [0], recipe.standardize)

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    precision, _ = find_precision()
    keras.config.set_dtype_policy(precision)
    model = build_unet(replace(network, image_size=(None, None)))
    sizes = network.image_size, network.image_size
    batches, _ = make_batches(arrays, (np.arange(1), []), recipe, scale, seed, sizes)
    compile_unet(model, recipe, options.steps)
    trained = Run(
        (Network(model, scale_record(*scale)),),
        Decision(),
        recipe.augmentation.symmetry if recipe_name == "modern" else "none",
    )
    looks = {max(1, options.steps * share // 8) for share in (1, 2, 4, 8)}
    seconds, centre, radius = 0.0, *place(mask[0])
    for step in range(1, options.steps + 1):
        start = time.perf_counter()
        model.train_on_batch(*batches[(step - 1) % len(batches)])
        if step % len(batches) == 0:
            batches.on_epoch_end()
        seconds += time.perf_counter() - start
        if step in looks:
            margin = MARGIN if name == MIRRORED else 0
            train = score(trained, image, mask, margin)[0]
            dice = score(trained, others, truths, margin)
            # how far a shape's middle is from where the training's was, as the mean of two halves
            distance = [np.hypot(*(place(truth)[0] - centre)) for truth in truths]
            near = distance <= np.median(distance)
            row = (step, round(seconds, 1), round(radius, 1), round(border(mask[0]), 1))
            row += tuple(
                round(float(value), 4)
                for value in (train, dice.mean(), dice.min(), dice[near].mean())
            )
            far = dice[~near].mean() if (~near).any() else np.nan
            yield (name, shape, fill, precision, seed, *row, round(float(far), 4))


def score(trained, images, masks, margin):
    """Dice of each image, (N,), predicted with a mirrored margin in pixels."""
    masks = masks.astype(np.float32) / 255
    pad = [(0, 0), (margin, margin), (margin, margin), (0, 0)]
    predicted = np.stack(list(predict_arrays(trained, np.pad(images, pad, mode="reflect"))))
    height, width = images.shape[1:3]
    predicted = predicted[:, margin : margin + height, margin : margin + width]
    return np.asarray(dice_per_image(masks, predicted))


def place(mask):
    """Middle (y, x) of the shape in a mask (H, W, 1), and the radius of a circle of its area."""
    inside = np.argwhere(mask[..., 0])
    return inside.mean(axis=0), float(np.sqrt(len(inside) / np.pi))


def border(mask):
    """Pixels between the shape in a mask (H, W, 1) and the image's nearest side."""
    inside = np.argwhere(mask[..., 0])
    return float(min(inside.min(), (np.array(mask.shape[:2]) - 1 - inside).min()))


def table(rows):
    """Lines of a Markdown table: for each setting the last step's scores over its seeds."""
    names = "setting|shape, fill|seeds|steps|training image|new images|worst seed|worst image|s"
    yield from (f"| {' | '.join(names.split('|'))} |", "|---" * len(names.split("|")) + "|")
    for (name, shape, fill), some in grouped(rows).items():
        last = max(int(row["step"]) for row in some)
        ends = [row for row in some if int(row["step"]) == last]
        train, mean, worst, seconds = (
            [float(row[key]) for row in ends] for key in ("train", "mean", "worst", "seconds")
        )
        yield (
            f"| {name} | {shape}, {fill} | {len(ends)} | {last} | {np.mean(train):.3f} | "
            f"{np.mean(mean):.3f} | {min(mean):.3f} | {min(worst):.3f} | "
            f"{np.median(seconds):.0f} |"
        )


def grouped(rows):
    """Rows by (setting, shape, fill)."""
    groups = {}
    for row in rows:
        groups.setdefault((row["setting"], row["shape"], row["fill"]), []).append(row)
    return groups


def draw(rows, path):
    """Mean and worst Dice on new images against steps, a panel for each shape and fill."""
    groups = grouped(rows)
    kinds = list(dict.fromkeys(key[1:] for key in groups))
    figure = Figure(figsize=(4.2 * len(kinds), 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds):
        for colour, name in zip(("tab:blue", "tab:orange"), ("document", "modern")):
            some = groups.get((name, *kind), [])
            steps = sorted({int(row["step"]) for row in some})
            for key, line in (("mean", "-"), ("worst", ":")):
                by_step = [
                    [float(row[key]) for row in some if int(row["step"]) == step] for step in steps
                ]
                values = [np.mean(v) if key == "mean" else np.min(v) for v in by_step]
                axes.plot(steps, values, line, color=colour, marker=".", label=f"{name}, {key}")
        axes.set(title=", ".join(kind), xlabel="training steps", ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("Dice of new images, all seeds")
    figure.axes[0].legend(loc=(0.4, 0.1))  # between the lines
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def main(options):
    path = Path(options.output, "noise.tiny.csv" if options.tiny else "noise.csv")
    if options.tiny:
        options = replace(options, seeds=1, steps=2, num_images=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = read_numbers(path, COLUMNS, COLUMNS[4:], whole=("seed", "step"))
    last = max((int(row["step"]) for row in rows), default=options.steps)
    if last != options.steps:  # a rate that falls to 0 is another after as many steps
        raise InputError(
            f"{path}: has runs of {last} steps; pass --steps {last}, or another --output for "
            f"those of {options.steps}"
        )
    done = {(r["setting"], r["shape"], r["fill"], r["seed"], r["step"]) for r in rows}
    for name, shape, fill, seeds in settings(options):
        for seed in seeds:
            key = (name, shape, fill, str(seed), str(options.steps))
            if key in done:
                continue
            done.add(key)
            new = [dict(zip(COLUMNS, row)) for row in run(name, shape, fill, seed, options)]
            rows += [{key: str(value) for key, value in row.items()} for row in new]
            write_text(path, csv_text(COLUMNS, [[row[c] for c in COLUMNS] for row in rows]))
            print(", ".join(f"{key} {value}" for key, value in new[-1].items()), flush=True)
    print("\n".join(table(rows)))
    draw(rows, path.with_suffix(".png"))


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.noise", __doc__))
