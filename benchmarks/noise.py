"""One image is enough? Train the noise network on one image, score 100 others as it learns.

python -m benchmarks.noise

Image and weights are seeded apart: a run is what data.py noise --seed IMAGE and then train.py
noise --seed WEIGHTS do, scored after its last step (the modern recipe's train.py keeps the epoch
that is best in validation) on the test images of that data.py, one prediction an image but for the
modern recipe, which averages over turns and flips. Runs that benchmarks/noise.csv has already are
not run again; the tables are printed and the plots drawn, benchmarks/noise.png and start.png, from
that file.
--output DIR starts a file of your own.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import data
from benchmarks.measure import processor, read_numbers, scale_record
from train import get_unet
from unet.data.arrays import Arrays
from unet.data.batches import make_batches
from unet.data.scale import find_scale
from unet.errors import one_line_errors
from unet.jobs import RECIPES
from unet.layers import TRUNCATED_DEVIATION
from unet.losses import dice_per_image
from unet.machine.disk import csv_text, replace_file, write_text
from unet.options import option, parse_options
from unet.prediction.predict import predict_arrays
from unet.prediction.run import Network, Run
from unet.runs import Decision
from unet.training.plan import find_commit

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Options:
    part: str = option(
        "all",
        "document: the document's recipe, whole, 10 images with weights of their own; target: the "
        "modern one likewise; scales: other deviations of the first weights, 3 images with "
        "weights of their own; pairs: 5 images with 3 weights each, from today's deviation; "
        "reasons: one change each more, 3 images with 2 weights; shapes: other kinds of shapes; "
        "modern: one part less each",
        choices=("all", "document", "target", "pairs", "reasons", "shapes", "modern", "scales"),
    )
    precision: str = option("float32", "of the layers", choices=("float32", "mixed_bfloat16"))
    num_images: int = option(100, "new images that each is scored on", least=1)
    output: str = option(str(FOLDER), "folder for noise.csv and noise.png")
    tiny: bool = option(False, "one small run of each setting, to see that this script works")


KEY = ("setting", "shape", "fill", "placement", "precision", "steps", "image", "weights")
COLUMNS = (*KEY, "step", "seconds", "radius", "border", "train", "mean", "worst", "near", "far")
COLUMNS += ("commit", "machine")
NARROW = "network.filters=4,8,8,8,8 network.bottleneck=8 network.decoder_filters=4,8,8,8,8"

# Setting: recipe, what is changed in it. Each reason changes one thing more in the document's
# recipe from today's start, each ablation takes one thing away from the modern recipe.
DOCUMENT = {"document": ("document", "")}
MODERN = {"modern": ("modern", "")}
# Deviations of the first weights, 1 that of today's he_normal, the document's being 0.88.
SCALES = {f"document, start {scale}": scale for scale in (0.8, 0.94, 1.0, 1.1)}
TODAY = "document, start 1.0"
MIRRORED = "start 1.0, mirrored border"  # the same; predicted with MARGIN around an image
MARGIN = 32  # pixels
START = "network.initializer=he_normal "
REASONS = {
    "start 1.0, Adam 1e-4": (
        "document",
        START + "recipe.optimizer=adam recipe.learning_rate=1e-4",
    ),
    "start 1.0, cross-entropy": ("document", START + "recipe.loss=binary_cross_entropy"),
    "start 1.0, not standardized": ("document", START + "recipe.standardize=none"),
    MIRRORED: ("document", START),
    "start 1.0, turns and flips": ("document", START + "augmentation.symmetry=turns"),
    "start 1.0, shifts": ("document", START + "augmentation.shift=0.5 augmentation.wrap=true"),
}
ABLATIONS = {
    "modern, document's start": ("modern", "network.initializer=he_truncated"),
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


KINDS = (  # shape, fill, placement
    ("circle", "noise", "document"),
    ("circle", "noise", "anywhere"),
    ("circle", "constant", "document"),
    ("rectangle", "noise", "document"),
    ("rectangle", "constant", "document"),
)
STEPS = 2000  # the document's own, and the modern recipe's
# Enough to see what a start comes to, what a run does, and what a change does.
START_STEPS, SHORT_STEPS, FEWEST_STEPS = 1000, 400, 200
LOOKS = (50, 100, 200, 400, 1000, 2000)  # steps after which a run is scored
FEW = [(image, weights) for image in range(1, 4) for weights in range(1, 3)]
THREE = [(seed, seed) for seed in range(1, 4)]
TEN = [(seed, seed) for seed in range(1, 11)]  # seeds of image and weights
PAIRS = [(image, weights) for image in range(1, 6) for weights in range(1, 4)]


def settings(options):
    """(name, kind, steps, seeds of image and weights) of the runs that the options name."""
    parts = {
        "document": [("document", KINDS[0], STEPS, TEN)],
        "target": [("modern", KINDS[0], STEPS, TEN)],
        "pairs": [(TODAY, KINDS[0], SHORT_STEPS, PAIRS)],
        "reasons": [(name, KINDS[0], FEWEST_STEPS, FEW) for name in (TODAY, *REASONS)],
        "shapes": [
            (name, kind, FEWEST_STEPS, FEW) for kind in KINDS[1:] for name in (TODAY, *MODERN)
        ],
        "modern": [(name, KINDS[0], SHORT_STEPS, TEN) for name in (*MODERN, *ABLATIONS)],
        "scales": [(name, KINDS[0], START_STEPS, THREE) for name in SCALES],
    }
    for part, some in parts.items():
        if options.part in ("all", part):
            yield from some


def run(name, kind, steps, image_seed, weights_seed, options):
    """Train on the image of a seed with the weights of another; yield a row of the table at each
    of LOOKS.
    """
    changed = {**DOCUMENT, **MODERN, **REASONS, **ABLATIONS, TODAY: ("document", START)}
    recipe_name, changes = changed.get(name, DOCUMENT["document"])
    changes = changes.split() + (NARROW.split() if options.tiny else [])
    job = RECIPES[recipe_name]["noise"].change(changes)
    recipe, network = job.recipe, job.network
    (shape, fill, placement), size = kind, network.image_size
    drawn = dict(shape=shape, fill=fill, placement=placement)
    image, mask = data.create_data(1, size, **drawn, seed=image_seed)
    others, truths = data.create_data(options.num_images, size, **drawn, seed=image_seed + 1)
    arrays = Arrays(image, mask, others, [{"split": "train"}], [])
    scale = find_scale(image, [0], recipe.standardize)

    keras.backend.clear_session()
    keras.utils.set_random_seed(weights_seed)
    keras.config.set_dtype_policy(options.precision)
    model = get_unet("noise", replace(network, image_size=(None, None)), recipe, steps)
    if name in SCALES and name != TODAY:
        for variable in model.trainable_variables:  # biases are 0
            variable.assign(variable * (SCALES[name] / TRUNCATED_DEVIATION))
    sizes = network.image_size, network.image_size
    batches, _ = make_batches(arrays, (np.arange(1), []), recipe, scale, weights_seed, sizes)
    record = replace(scale_record(network, *scale), recipe=recipe)
    trained = Run(
        (Network(model, record),),
        Decision(),
        recipe.augmentation.symmetry if recipe_name == "modern" else "none",
    )
    trained_on_others = trained.of_set(others)
    seconds, centre, radius = 0.0, *place(mask[0])
    for step in range(1, steps + 1):
        start = time.perf_counter()
        model.train_on_batch(*batches[(step - 1) % len(batches)])
        if step % len(batches) == 0:
            batches.on_epoch_end()
        seconds += time.perf_counter() - start
        if step in LOOKS or step == steps:
            margin = MARGIN if name == MIRRORED else 0
            train = score(trained, image, mask, margin)[0]
            dice = score(trained_on_others, others, truths, margin)
            # how far a shape's middle is from where the training's was, as the mean of two halves
            distance = [np.hypot(*(place(truth)[0] - centre)) for truth in truths]
            near = distance <= np.median(distance)
            row = (step, round(seconds, 1), round(radius, 1), round(border(mask[0]), 1))
            row += tuple(
                round(float(value), 4)
                for value in (train, dice.mean(), dice.min(), dice[near].mean())
            )
            far = dice[~near].mean() if (~near).any() else np.nan
            key = (name, *kind, options.precision, steps, image_seed, weights_seed)
            yield (*key, *row, round(float(far), 4), find_commit(), processor())


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
    """Lines of a Markdown table: what the runs of each setting had come to, mean and range over
    their pairs of image and weights.
    """
    names = "setting|shape, fill, place|precision|steps|pairs|training image|new images|range"
    names += "|worst image|s"
    yield from (f"| {' | '.join(names.split('|'))} |", "|---" * len(names.split("|")) + "|")
    for (name, *kind, precision, steps), some in grouped(rows).items():
        ends = [row for row in some if row["step"] == steps]
        yield line(f"{name} | {', '.join(kind)} | {precision} | {steps}", ends)


def line(label, ends):
    """A line of the table of the last rows of some runs."""
    train, mean, worst, seconds = (
        [float(row[key]) for row in ends] for key in ("train", "mean", "worst", "seconds")
    )
    return (
        f"| {label} | {len(ends)} | {np.mean(train):.3f} | {np.mean(mean):.3f} | "
        f"{min(mean):.3f} to {max(mean):.3f} | {min(worst):.3f} | {np.median(seconds):.0f} |"
    )


def decomposed(rows):
    """The scores of PAIRS, (images, weights), and how far they lie apart between images and, of
    one image, between weights: standard deviations of a random-effects model.
    """
    pairs = {(int(row["image"]), int(row["weights"])): float(row["mean"]) for row in rows}
    images, weights = (sorted(set(seeds)) for seeds in zip(*PAIRS))
    scores = np.array([[pairs[image, seed] for seed in weights] for image in images])
    within = scores.var(axis=1, ddof=1).mean()
    between = max(scores.mean(axis=1).var(ddof=1) - within / len(weights), 0)
    return scores, float(between**0.5), float(within**0.5)


def decompose(rows):
    """Lines: what decomposed says, where all of PAIRS were run."""
    seeds = {(int(row["image"]), int(row["weights"])) for row in rows}
    if not seeds.issuperset(PAIRS):
        return
    scores, between, within = decomposed(rows)
    yield f"{len(PAIRS)} pairs, {SHORT_STEPS} steps, mean of each image:"
    yield ", ".join(f"{mean:.3f}" for mean in scores.mean(axis=1))
    yield f"spread between images {between:.3f}, between weights {within:.3f}"


def grouped(rows):
    """Rows by setting, shape, fill, placement, precision and steps."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in KEY[:6]), []).append(row)
    return groups


def draw(rows, path):
    """Mean and range of the Dice of new images against steps, a panel for each kind of shape that
    a recipe was run on; nothing where none was.
    """
    kinds = [kind for kind in KINDS if any(longest(rows, name, kind) for name in RECIPES)]
    if not kinds:
        return
    figure = Figure(figsize=(2 + 4.2 * len(kinds), 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds):
        for colour, name in zip(("tab:blue", "tab:orange"), RECIPES):
            some = longest(rows, name, kind)
            steps = sorted({int(row["step"]) for row in some})
            means = [[float(r["mean"]) for r in some if int(r["step"]) == step] for step in steps]
            axes.plot(steps, [np.mean(m) for m in means], color=colour, marker=".", label=name)
            low, high = ([f(m) for m in means] for f in (min, max))
            axes.fill_between(steps, low, high, color=colour, alpha=0.15)
        axes.set(title=", ".join(kind), xlabel="training steps", ylim=(-0.02, 1.02), xscale="log")
        axes.set_xlim(0.9 * LOOKS[0], 1.1 * LOOKS[-1])
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("Dice of new images, mean and range")
    figure.axes[0].legend(loc="lower right")
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def draw_starts(rows, path):
    """Dice of the training image and of new ones after START_STEPS against the deviation of the
    first weights, a line a pair of image and weights; nothing where none was run.
    """
    scales = {**SCALES, "document": TRUNCATED_DEVIATION}
    some = [
        row
        for row in rows
        if row["setting"] in scales
        and (row["step"], row["precision"]) == (str(START_STEPS), "mixed_bfloat16")
        and (int(row["image"]), int(row["weights"])) in THREE
        and (row["shape"], row["fill"], row["placement"]) == KINDS[0]
    ]
    if not some:
        return
    some.sort(key=lambda row: scales[row["setting"]])
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for column, colour, label in (
        ("train", "tab:gray", "the training image"),
        ("mean", "tab:blue", "100 new images"),
    ):
        for number, pair in enumerate(THREE):
            of_pair = [row for row in some if (int(row["image"]), int(row["weights"])) == pair]
            x = [scales[row["setting"]] for row in of_pair]
            y = [float(row[column]) for row in of_pair]
            axes.plot(x, y, color=colour, marker=".", label=None if number else label)
    axes.axvline(TRUNCATED_DEVIATION, color="tab:green", linestyle=":", label="Keras 2.0.4")
    axes.axvline(1, color="tab:red", linestyle=":", label="Keras today")
    axes.set(xlabel="deviation of the first weights / sqrt(2 / fan_in)", ylabel="Dice")
    axes.set(ylim=(-0.02, 1.02), title=f"{START_STEPS} steps on one image, three pairs of seeds")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def longest(rows, name, kind):
    """The rows of a setting and kind of shape whose runs have the most steps."""
    some = [
        r for r in rows if (r["setting"], r["shape"], r["fill"], r["placement"]) == (name, *kind)
    ]
    most = max((int(row["steps"]) for row in some), default=0)
    return [row for row in some if int(row["steps"]) == most]


def main(options):
    path = Path(options.output, "noise.tiny.csv" if options.tiny else "noise.csv")
    if options.tiny:
        options = replace(options, num_images=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = COLUMNS[COLUMNS.index("steps") : COLUMNS.index("commit")]
    rows = read_numbers(path, COLUMNS, numbers, whole=("steps", "image", "weights", "step"))
    for name, kind, steps, pairs in settings(options):
        if options.tiny:
            steps, pairs = 2, pairs[:1]
        for pair in pairs:
            key = tuple(map(str, (name, *kind, options.precision, steps, *pair)))
            if any(tuple(row[k] for k in KEY) == key for row in rows):
                continue
            new = [dict(zip(COLUMNS, row)) for row in run(name, kind, steps, *pair, options)]
            rows += [{key: str(value) for key, value in row.items()} for row in new]
            write_text(path, csv_text(COLUMNS, [[row[c] for c in COLUMNS] for row in rows]))
            print(", ".join(f"{key} {value}" for key, value in new[-1].items()), flush=True)
    print("\n".join(table(rows)))
    for (name, *kind, _, steps), some in grouped(rows).items():
        if (name, *kind, steps) == (TODAY, *KINDS[0], str(SHORT_STEPS)):
            print("\n".join(decompose([row for row in some if row["step"] == steps])))
    draw(rows, path.with_suffix(".png"))
    draw_starts(rows, path.with_name("start.png"))


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.noise", __doc__))
