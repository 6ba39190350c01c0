"""A few seconds of tests/fuzz.py for each reader."""

import shutil

import pytest
from conftest import ROOT, refusal, run

pytest.importorskip("atheris")


@pytest.mark.parametrize("target", ["rle", "csv", "record", "stack"])
def test_a_reader_is_fuzzed(place, target):
    done = run("tests/fuzz.py", "--target", target, "--minutes", 0.05)
    assert done.returncode == 0, done.stderr[-3000:]
    count = int(done.stderr.partition("number_of_executed_units:")[2].split()[0])
    assert count > 50  # Pillow takes its time for stacks


def test_an_input_that_is_not_answered_ends_it(place):
    part = "unet/reading/run_length.py"
    source = (ROOT / part).read_text()
    broken = source.replace("edges[1::2] -= edges[::2]", "pass")
    assert broken != source
    shutil.copytree(ROOT / "unet", place / "unet")
    (place / part).write_text(broken)
    (place / "tests").mkdir()
    (place / "tests/fuzz.py").write_text((ROOT / "tests/fuzz.py").read_text())
    done = run(str(place / "tests/fuzz.py"), "--target", "rle", "--minutes", 2)
    assert done.returncode != 0
    assert "Uncaught Python exception" in done.stdout + done.stderr


def test_a_target_that_there_is_not_is_refused(place):
    assert "invalid choice: 'zip'" in refusal("tests/fuzz.py", "--target", "zip")
