"""Every figure that a page prints stands in benchmarks/figures.csv, and what the figures rest on,
initial weights and first losses, has not moved.
"""

import functools
import json
import re

import keras
import pytest
from conftest import ROOT, slow
from pins import PINS, pin

from benchmarks.figures import COLUMNS, figure, read_figures, shows
from unet.jobs import JOBS, RECIPES

ROWS = read_figures()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "benchmarks").glob("*.md"))
NUMBER = re.compile(
    r"(?<![\w.\-])\d+\.\d+(?![\w]|\.\d)"  # with a point
    r"|(?<![\w.\-,])\d[\d,]*(?= (?:s|MB|ms|minutes)\b)"  # or with a unit
)
# What is set, not measured: thresholds, momenta, scales, and versions.
SET = {"0.5", "0.9", "0.99", "0.2", "0.1", "0.05", "0.01", "0.001", "1.1", "1.15", "1.2"}
SET |= {
    "2.7",
    "3.5",
    "3.6",
    "3.11",
    "3.13",
    "3.2",
    "3.15",
    "2.0",
    "2.4",
    "2.11",
    "2.21",
    "1505.04597",
}


# Sections of the studies, by words in their heading, have the figures of those and of their job.
STUDIES = {
    "one image enough": ("noise", "one image, "),
    "runs of one image": ("noise", "one image, "),
    "one grey value": ("cadastre", "one grey value, "),
}


@functools.cache
def rows_of(heading):
    """The figures that a section may print."""
    for words, (job, study) in STUDIES.items():
        if words in heading.lower():
            of_job = [row for row in ROWS if row["job"] == job and ": " not in row["measure"]]
            return of_job + [row for row in ROWS if row["measure"].startswith(study)]
    return [row for row in ROWS if row["measure"].startswith(f"{heading}: ")] or ROWS


def sections(page):
    """Yield (heading, line) of a page's lines that are no code, what is in backticks left out."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heading = ""
    for line in re.sub(r"`[^`]*`", "", text).splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        else:
            yield heading, line


def test_the_table_is_whole():
    assert len(ROWS) > 500
    keys = [(row["job"], row["recipe"], row["measure"]) for row in ROWS]
    assert len(set(keys)) == len(keys)
    for row in ROWS:
        assert tuple(row) == COLUMNS
        assert row["job"] in (*JOBS, "all")
        float(row["value"])
        for name in ("measure", "recipe", "seeds", "command", "commit", "machine", "precision"):
            assert row[name], row


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_number_of_a_page_is_a_figure_of_the_table(page):
    """Of its section, where the table has figures of that."""
    unknown = []
    for heading, line in sections(page):
        some = rows_of(heading)
        for number in NUMBER.findall(line):
            plain = number.replace(",", "")
            if plain not in SET and not any(shows(row, plain) for row in some):
                unknown.append((number, line))
    assert unknown == []


def table(page, heading):
    """The rows of a page's first table under a heading, {job: cells}."""
    part = (ROOT / page).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()]
    rows = [row for row in rows if row and row[0] in RECIPES["document"]]
    return {row[0]: row[1:] for row in reversed(rows)}  # a job's first row


@pytest.mark.parametrize("recipe", ["document", "modern"])
def test_the_tables_of_the_results_page_are_the_tables_figures(recipe):
    heading = "By the document's recipe" if recipe == "document" else "By the modern recipe"
    rows = table("docs/results.md", heading)
    assert set(rows) == set(RECIPES["document"])
    for job, (mean, spread, worst, *_, minutes) in rows.items():
        row = figure(ROWS, job, recipe, "mean Dice")
        assert f"{float(row['value']):.3f}" == mean
        assert spread == row["spread"]
        if worst:
            value = figure(ROWS, job, recipe, "worst image")["value"]
            assert f"{float(value):.3f}" == worst
        value = figure(ROWS, job, recipe, "minutes")["value"]
        assert f"{float(value):.0f}" == minutes.split()[0]


def test_the_figures_of_the_first_page_are_those_of_the_table():
    first = table("README.md", "Results")
    assert set(first) == set(RECIPES["document"])
    for job, (by_document, by_modern, minutes) in first.items():
        for recipe, printed in (("document", by_document), ("modern", by_modern)):
            assert f"{float(figure(ROWS, job, recipe, 'mean Dice')['value']):.3f}" == printed
        assert f"{float(figure(ROWS, job, 'modern', 'minutes')['value']):.0f}" == minutes


class TestPins:
    """The document's and the modern recipe's training of seed 1 is stated, and begins, as when the
    figures were measured.
    """

    KEYS = [(job, recipe) for recipe in RECIPES for job in RECIPES[recipe]]

    @pytest.fixture(scope="class")
    def pins(self):
        if keras.backend.backend() != "tensorflow":
            pytest.skip("the figures were measured on TensorFlow")
        return json.loads(PINS.read_text())

    @slow
    @pytest.mark.parametrize(("job", "recipe"), KEYS)
    def test_recipe_weights_and_first_loss_are_those_of_the_figures(self, pins, job, recipe):
        found, pinned = pin(job, recipe), pins[f"{job} {recipe}"]
        measures = sorted(
            {row["measure"] for row in ROWS if (row["job"], row["recipe"]) == (job, recipe)}
        )
        told = (
            f"{job}, {recipe}: a training is another than when these rows of "
            f"benchmarks/figures.csv were measured; measure them again, then run python "
            f"tests/pins.py: {measures}"
        )
        assert found["recipe"] == pinned["recipe"], told
        assert list(found["weights"]) == list(pinned["weights"]), told
        for name, values in found["weights"].items():
            assert values == pytest.approx(pinned["weights"][name], abs=1e-6), told
        # The number of cores moves the loss by up to 1.1e-4.
        assert found["loss"] == pytest.approx(pinned["loss"], rel=2e-4), told
