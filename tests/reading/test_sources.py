"""Advice on subjects, which has to work for the names that it is given for."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import save

import data
from unet.data.arrays import load_arrays


def prepare(names, capsys, **options):
    for number, name in enumerate(names):
        image = np.full((32, 32), 60 + number, np.uint8)
        image[8:20, 8:20] = 200
        save(Path(f"images/{name}.png"), image)
        save(Path(f"masks/{name}.png"), np.where(image > 150, np.uint8(255), np.uint8(0)))
    data.prepare(data.Options(job="own", images="images", masks="masks", **options))
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([f"case{n // 4}_slice{n % 4}" for n in range(12)], 3),
        ([f"patient {'abc'[n // 3]}-{n % 3:03}" for n in range(9)], 3),
        ([f"photo_{n}_{y}_{x}" for n in "ab" for y in (0, 64) for x in (0, 64)], 2),
        ([f"{n // 5}_{n % 5}" for n in range(15)], 3),
    ],
)
def test_the_hint_at_subjects_makes_the_groups_that_it_names(names, count, place, capsys):
    hint = re.search(r"the (\d+) groups such as .* --subject '(.*)'", prepare(names, capsys))
    assert int(hint[1]) == count
    told = prepare(names, capsys, subject=hint[2])
    assert f"{len(names)} images show {count} subjects" in told
    assert len({row["subject"] for row in load_arrays("own").files}) == count


@pytest.mark.parametrize(
    "names",
    [
        [f"0002cc9{n}{end}" for n in (3, 5) for end in "bdef"],  # no number has a meaning
        [f"city_{y}_{x}" for y in (0, 512, 1024) for x in (0, 512, 1024)],  # tiles of one photo
        [f"image_{n}" for n in range(8)],
        ["ant", "bee", "cat", "dog"],
    ],
)
def test_names_without_groups_get_no_hint(names, place, capsys):
    assert "--subject" not in prepare(names, capsys)
