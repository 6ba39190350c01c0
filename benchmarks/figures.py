"""The table of every figure that README, docs and benchmarks print: benchmarks/figures.csv.

python -m benchmarks.figures    # what noise.csv and cadastre.csv have come to, into that table

A figure is changed here, with the command that gives it, and then on the pages: tests/test_figures
tells where a page prints another one.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet.errors import one_line_errors
from unet.machine.disk import csv_text, read_csv, write_text
from unet.options import option, parse_options

FOLDER = Path(__file__).parent
COLUMNS = ("job", "recipe", "measure", "value", "spread", "seeds")
COLUMNS += ("command", "commit", "machine", "precision")
DERIVED = "one image, ", "one grey value, "  # measures that begin so are of the studies' runs
STUDIES = "python -m benchmarks.noise", "python -m benchmarks.cadastre"


@dataclass(frozen=True)
class Options:
    folder: str = option(str(FOLDER), "of figures.csv, noise.csv and cadastre.csv")


def read_figures(folder=FOLDER):
    """The rows of figures.csv, dicts of text."""
    return read_csv(Path(folder, "figures.csv"), COLUMNS)


def figure(rows, job, recipe, measure):
    """The one row of a job, a recipe and a measure."""
    found = [r for r in rows if (r["job"], r["recipe"], r["measure"]) == (job, recipe, measure)]
    assert len(found) == 1, f"{len(found)} rows of {job}, {recipe}, {measure} in figures.csv"
    return found[0]


def shows(row, number):
    """Whether a number as a page prints it, "0.986", is a row's value or in its spread, rounded to
    as many digits.
    """
    digits = len(number.partition(".")[2])
    known = re.findall(r"-?\d+(?:\.\d+)?", f"{row['value']} {row['spread']}")
    return any(f"{float(value):.{digits}f}" == number for value in known)


def of_noise(rows):
    """Figures of the runs in noise.csv: of each setting, kind of shape, precision and number of
    steps the mean over runs and its range, at each step that was looked at.
    """
    keys = ("setting", "shape", "fill", "placement", "precision", "steps")
    for key, step, some in groups(rows, keys):
        setting, *kind, precision, steps = key
        part = f"one image, {', '.join(kind)}, {precision}, {step} of {steps} steps"
        for column, name in (
            ("mean", "Dice of new images"),
            ("worst", "worst image"),
            ("near", "Dice of the nearer half"),
            ("far", "Dice of the farther half"),
            ("train", "Dice of the training image"),
            ("seconds", "seconds"),
        ):
            values = [float(row[column]) for row in some]
            middle = {"worst": np.min, "seconds": np.median}.get(column, np.mean)(values)
            commits = sorted({row["commit"] for row in some})
            yield {
                "job": "noise",
                "recipe": setting,
                "measure": f"{part}: {name}",
                "value": f"{middle:.6f}",
                "spread": f"{min(values):.4f} to {max(values):.4f}",
                "seeds": f"{len(some)} pairs",
                "command": f"{STUDIES[0]} --precision {precision}",
                "commit": " ".join(commits),
                "machine": some[0]["machine"],
                "precision": precision,
            }


def of_whole_runs(rows, setting):
    """Figures of the document's recipe, or of it from today's first weights: the ten runs of all
    its steps, and how far image and weights move a score.
    """
    from benchmarks.noise import FEW, FEWEST_STEPS, KINDS, SHORT_STEPS, TODAY, decomposed

    kind = dict(zip(("shape", "fill", "placement"), KINDS[0]), setting=setting)
    rows = [row for row in rows if kind.items() <= row.items()]
    whole = [row for row in rows if row["steps"] == "2000"]
    ends, exact, found = {}, {}, {}
    for row in whole:
        pair = row["image"], row["weights"]
        if row["precision"] == "float32":
            exact[*pair, row["step"]] = float(row["mean"])
        if setting == TODAY or row["precision"] == "mixed_bfloat16":
            ends.setdefault(int(row["step"]), []).append(row)
    for step, some in ends.items():
        for column in ("mean", "near", "far", "train"):
            found[f"{step} steps: {column}"] = [float(row[column]) for row in some]
    last = ends[2000]
    found["2000 steps: worst"] = [float(row["worst"]) for row in last]
    means = [float(row["mean"]) for row in last]
    for column in ("radius", "border"):
        values = [float(row[column]) for row in last]
        found[f"correlation of Dice and {column}"] = [np.corrcoef(values, means)[0, 1]]
    half = [row for row in rows if row["precision"] == "mixed_bfloat16"]
    short = [row for row in half if row["steps"] == str(SHORT_STEPS)]
    compared = last if setting != TODAY else [r for r in short if r["step"] == str(SHORT_STEPS)]
    found["bfloat16 against float32: difference"] = [
        abs(float(row["mean"]) - exact[key])
        for row in compared
        if (key := (row["image"], row["weights"], row["step"])) in exact
    ]
    if short:
        few = [row for row in short if (int(row["image"]), int(row["weights"])) in FEW]
        few = [row for row in few if row["step"] == str(FEWEST_STEPS)]
        for column in ("mean", "worst", "near", "far", "train"):
            found[f"as it is, {FEWEST_STEPS} steps: {column}"] = [float(r[column]) for r in few]
        scores, between, within = decomposed(compared)
        found[f"author's image, {SHORT_STEPS} steps: mean"] = sorted(scores[0])
        found[f"{SHORT_STEPS} steps: spread between images"] = [between]
        found[f"{SHORT_STEPS} steps: spread between weights"] = [within]
    for name, values in found.items():
        yield {
            "job": "noise",
            "recipe": setting,
            "measure": f"one image, whole runs, {name}",
            "value": f"{np.mean(values):.6f}",
            "spread": "; ".join(f"{value:.4f}" for value in values) if len(values) > 1 else "",
            "seeds": f"{len(values)} pairs",
            "command": f"{STUDIES[0]} --precision {last[-1]['precision']}",
            "commit": " ".join(sorted({row["commit"] for row in last})),
            "machine": last[0]["machine"],
            "precision": " ".join(sorted({row["precision"] for row in last})),
        }


def of_cadastre(rows):
    """Figures of the runs in cadastre.csv: of each setting what its runs had come to."""
    from benchmarks.cadastre import CONSTANT, DOCUMENT

    for key, steps, some in groups(rows, (*DOCUMENT, "precision", "steps")):
        if steps != int(key[-1]):
            continue
        setting = [
            f"{name} {value}"
            for (name, default), value in zip(DOCUMENT.items(), key)
            if value != str(default)
        ]
        constant = sum(float(row["spread"]) < CONSTANT for row in some)
        names = ("loss", "spread", "dice", "dead")
        found = {name: np.mean([float(row[name]) for row in some]) for name in names}
        for name, value in {**found, "constant": constant}.items():
            values = [float(row[name]) for row in some] if name in found else []
            yield {
                "job": "cadastre",
                "recipe": ", ".join(setting) or "document",
                "measure": f"one grey value, {key[-2]}, {steps} steps: {name}",
                "value": f"{value:.6f}" if name in found else str(value),
                "spread": f"{min(values):.4f} to {max(values):.4f}" if values else "",
                "seeds": str(len(some)),
                "command": f"{STUDIES[1]} --precision {key[-2]}",
                "commit": " ".join(sorted({row["commit"] for row in some})),
                "machine": some[0]["machine"],
                "precision": key[-2],
            }


def groups(rows, names):
    """Yield (values of `names`, step, rows) of rows that share them, in the file's order."""
    found = {}
    for row in rows:
        found.setdefault((tuple(row[name] for name in names), int(row["step"])), []).append(row)
    for (key, step), some in found.items():
        yield key, step, some


def main(options):
    folder = Path(options.folder)
    kept = [row for row in read_figures(folder) if not row["measure"].startswith(DERIVED)]
    runs = read_csv(folder / "noise.csv")
    derived = [*of_noise(runs)]
    for setting in ("document", "document, start 1.0"):
        derived += of_whole_runs(runs, setting)
    derived += of_cadastre(read_csv(folder / "cadastre.csv"))
    rows = [[row[name] for name in COLUMNS] for row in (*kept, *derived)]
    write_text(folder / "figures.csv", csv_text(COLUMNS, rows))
    print(f"{folder / 'figures.csv'}: {len(rows)} figures, {len(derived)} of them of the studies")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.figures", __doc__))
