"""One grey value everywhere: which cadastre recipes come to predict a constant, how soon, and why.

python -m benchmarks.cadastre

Trains on random windows of the tiles in output/cadastre/, which keep their own size (data.py
cadastre --image-size 0 0 ...). Runs that benchmarks/cadastre.csv has already are not run again.
"""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from benchmarks.measure import processor, read_numbers
from train import get_unet
from unet.data.arrays import load_arrays
from unet.data.batches import make_batches
from unet.data.split import split_rows
from unet.errors import one_line_errors
from unet.jobs import RECIPES
from unet.jobs.settings import THRESHOLD
from unet.machine.disk import csv_text, write_text
from unet.options import option, parse_options
from unet.training.monitor import CONSTANT
from unet.training.plan import find_commit

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Options:
    part: str = option(
        "all",
        "document: its rates, with and without decay; filters, batches, levels, head: what the "
        "question lists; reference: the recipe that it began with; longer: five times the steps; "
        "each with normalization of momentum 0.99, of 0.9 and without",
        choices=("all", "document", "filters", "batches", "levels", "head", "reference", "longer"),
    )
    seeds: int = option(2, "runs of each setting, seeds 1, 2, ...", least=1)
    steps: int = option(100, "training steps of a run", least=1)
    precision: str = option(
        "mixed_bfloat16", "of the layers", choices=("float32", "mixed_bfloat16")
    )
    output: str = option(str(FOLDER), "folder for cadastre.csv")
    tiny: bool = option(False, "two short runs, to see that this script works")


SIZE = 64  # height and width of the random windows, pixels
STEPS_PER_EPOCH = 10  # so that every batch is full, of 64 windows, too
DOCUMENT = {
    "recipe": "document",
    "rate": 1e-3,
    "decay": False,  # along a cosine to 0, after a tenth of the steps in which the rate rises
    "filters": 16,  # of the first level
    "levels": 4,
    "batch": 8,
    "normalization": "0.99",  # its momentum
    "head": True,  # the 3x3 convolution to 2 filters before the last
    "initializer": "glorot_uniform",
}
REFERENCE = {**DOCUMENT, "recipe": "reference", "rate": 1e-4, "filters": 64, "batch": 2}
REFERENCE |= {"normalization": "none", "initializer": "he_normal"}
NORMALIZATIONS = "0.99", "0.9", "none"
PARTS = {  # what is varied, beside the normalization
    "document": {"rate": (1e-2, 1e-3, 1e-4), "decay": (False, True)},
    "filters": {"filters": (32, 64)},
    "batches": {"batch": (16, 32, 64)},
    "levels": {"levels": (2, 3)},
    "head": {
        "rate": (1e-2, 1e-3),
        "head": (False,),
        "initializer": ("glorot_uniform", "he_normal"),
    },
}
MEASURES = (  # of the held-out windows, as the network predicts them
    "spread",  # highest minus lowest probability
    "mean",  # probability
    "logit_std",  # standard deviation of the logits, over pixels
    "dead",  # share of the head's units that are 0 in every pixel
    "saturated",  # share of pixels with a probability within 1e-3 of 0 or 1
    "dice",  # of all pixels together
)
COLUMNS = (*DOCUMENT, "precision", "seed", "steps", "step", "loss", *MEASURES)
COLUMNS += ("commit", "machine")


def settings(options):
    """(setting, steps) of the runs that the options name; a setting has DOCUMENT's keys."""
    for part, varied in PARTS.items():
        if options.part in ("all", part):
            for values in itertools.product(*varied.values(), NORMALIZATIONS):
                changes = dict(zip((*varied, "normalization"), values))
                if not changes.get("decay") or changes["rate"] == 1e-2:
                    yield {**DOCUMENT, **changes}, options.steps
    for normalization in NORMALIZATIONS:
        if options.part in ("all", "reference"):
            yield {**REFERENCE, "normalization": normalization}, options.steps
        if options.part in ("all", "longer"):
            yield {**DOCUMENT, "normalization": normalization}, 5 * options.steps


def choose(setting):
    """The document's job with a setting, on random windows."""
    first, levels = setting["filters"], setting["levels"]
    filters = [first * 2**level for level in range(levels)]
    dropout = [0.0] * (levels + 1)
    dropout[-2:] = (0.5, 0.5) if setting["recipe"] == "reference" else (0.2, 0.5)
    changes = [
        f"recipe.learning_rate={setting['rate']}",
        f"recipe.cosine={str(setting['decay']).lower()}",
        f"recipe.batch_size={setting['batch']}",
        f"recipe.steps_per_epoch={STEPS_PER_EPOCH}",
        f"recipe.window={SIZE},{SIZE}",
        f"network.filters={','.join(map(str, filters))}",
        f"network.bottleneck={first * 2**levels}",
        f"network.dropout={','.join(map(str, dropout))}",
        f"network.initializer={setting['initializer']}",
    ]
    if setting["normalization"] == "none":
        changes.append("network.batch_normalization=false")
    else:
        changes.append(f"network.momentum={setting['normalization']}")
    if not setting["head"]:
        changes.append("network.head_filters=0")
    if setting["recipe"] == "reference":
        changes.append("network.head_dropout=0")
    return RECIPES["document"]["cadastre"].change(changes)


def run(setting, seed, steps, arrays, options):
    """Train and yield a dict of COLUMNS at each tenth of the steps and at the last. Tiles are held
    out by the same split for all seeds.
    """
    job = choose(setting)
    recipe, size = job.recipe, job.recipe.window
    split = split_rows(arrays.files, recipe.validation_split, True, seed=1)
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(options.precision)
    channels = arrays.images.shape[3]
    network = replace(job.network, channels=channels, image_size=size)
    model = get_unet("cadastre", network, recipe, steps)
    training, held_out = make_batches(arrays, split, recipe, (0.0, 255.0), seed, (size, size))
    images, masks = map(np.concatenate, zip(*map(held_out.__getitem__, range(len(held_out)))))
    last_relu = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][-2]
    logits = model.get_layer(job.network.head_name)
    look = keras.Model(model.inputs, [last_relu.output, logits.output, model.output])
    for step in range(1, steps + 1):
        loss = model.train_on_batch(*training[(step - 1) % len(training)])[0]
        if step % len(training) == 0:
            training.on_epoch_end()
        if step % max(1, steps // 10) == 0 or step == steps:
            measured = measure(*look.predict_on_batch(images), masks)
            where = {"precision": options.precision, "seed": seed, "steps": steps, "step": step}
            done_by = {"commit": find_commit(), "machine": processor()}
            yield {**setting, **where, "loss": float(loss), **measured, **done_by}


def measure(units, logits, probabilities, masks):
    """MEASURES of a batch: outputs of the last ReLU layer (B, H, W, C), logits and probabilities
    (B, H, W, 1), true masks of 0 and 1.
    """
    units, p = np.asarray(units, np.float32), np.asarray(probabilities)
    foreground = p > THRESHOLD
    return {
        "spread": float(np.ptp(p)),
        "mean": float(p.mean()),
        "logit_std": float(np.std(logits)),
        "dead": float((units.max(axis=(0, 1, 2)) <= 0).mean()),
        "saturated": float(((p < 1e-3) | (p > 1 - 1e-3)).mean()),
        "dice": float(2 * (foreground * masks).sum() / max(foreground.sum() + masks.sum(), 1)),
    }


def table(rows):
    """Lines of a Markdown table, one a setting: what its runs had come to at their end."""
    groups = {}
    for row in rows:
        key = tuple(row[name] for name in (*DOCUMENT, "precision", "steps"))
        groups.setdefault(key, []).append(row)
    names = (*DOCUMENT, "precision", "steps", "constant at the end", "first step", "loss")
    names += MEASURES
    yield from (f"| {' | '.join(names)} |", "|---" * len(names) + "|")
    for key, some in groups.items():
        runs = {seed: [r for r in some if r["seed"] == seed] for seed in {r["seed"] for r in some}}
        ends = [run[-1] for run in runs.values()]
        constant = [run for run in runs.values() if float(run[-1]["spread"]) < CONSTANT]
        first = [since_constant(run) for run in constant]
        means = [np.mean([float(end[name]) for end in ends]) for name in ("loss", *MEASURES)]
        cells = [*key, f"{len(constant)} of {len(runs)}", min(first, default="")]
        numbers = [
            f"{mean:.3f}" if mean >= 0.0005 or not mean else f"{mean:.0e}" for mean in means
        ]
        yield f"| {' | '.join(map(str, [*cells, *numbers]))} |"


def since_constant(run):
    """The step from which on all rows of a run are constant."""
    step = run[-1]["step"]
    for row in reversed(run):
        if float(row["spread"]) >= CONSTANT:
            break
        step = row["step"]
    return int(step)


def main(options):
    path = Path(options.output, "cadastre.tiny.csv" if options.tiny else "cadastre.csv")
    if options.tiny:
        options = replace(options, seeds=1, steps=2)
    arrays = load_arrays("cadastre")
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = COLUMNS[COLUMNS.index("seed") : COLUMNS.index("commit")]
    rows = read_numbers(path, COLUMNS, numbers, whole=("seed", "steps", "step"))
    key_names = (*DOCUMENT, "precision", "seed", "steps")
    done = {tuple(row[name] for name in key_names) for row in rows}
    wanted = list(settings(options))[: 2 if options.tiny else None]
    for seed, (setting, steps) in itertools.product(range(1, options.seeds + 1), wanted):
        key = (*map(str, setting.values()), options.precision, str(seed), str(steps))
        if key in done:
            continue
        new = list(run(setting, seed, steps, arrays, options))
        rows += [{name: str(row[name]) for name in COLUMNS} for row in new]
        write_text(path, csv_text(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))
        end = new[-1]
        done.add(key)
        print(*key, *(f"{name} {end[name]:.3g}" for name in MEASURES), flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.cadastre", __doc__))
