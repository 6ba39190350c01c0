"""The speed benchmark's parts, at sizes that show no more than that they work."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import ROOT, run_well, slow

from benchmarks import plain
from model import build_unet
from submission import run_length_enc
from unet.jobs import JOBS
from unet.reading.pixels import resize

needed = all(find_spec(name) for name in ("torch", "skimage"))


@pytest.mark.skipif(not needed, reason="requirements-bench.txt is not installed")
@pytest.mark.parametrize(
    ("part", "num_rows"),
    [("step", 1), ("feed", 2), ("predict", 1), ("data", 2), ("tiles", 2), ("start", 2)]
    + [pytest.param(*part, marks=slow) for part in (("memory", 2), ("submission", 1))],
)
def test_a_part_prints_its_rows(part, num_rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = run_well("-m benchmarks.speed", "--tiny", "--repeats", 1, "--part", part)
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + num_rows
    assert len({line.count("|") for line in rows}) == 1


@pytest.mark.skipif(not needed, reason="requirements-bench.txt is not installed")
@pytest.mark.parametrize(
    ("case", "backend"), [("nerve-32", "jax"), pytest.param("document", "torch", marks=slow)]
)
def test_the_graphics_card_script_prints_its_rows(case, backend, tmp_path, monkeypatch):
    pytest.importorskip(backend)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 40; echo 60\nexec sleep 600\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = "--tiny", "--repeats", 1, "--case", case, "--precision", "mixed_bfloat16"
    printed = run_well("-m benchmarks.gpu", *options)
    rows = [line.split("|") for line in printed.splitlines() if line.startswith("|")]
    if case == "document":
        assert rows[-1][4].strip() == "50%"
    assert {len(row) for row in rows} == {11 if case == "nerve-32" else 7}


@pytest.mark.parametrize(("job", "size", "classes"), [("membrane", 188, 2), ("cadastre", 32, 1)])
def test_the_networks_in_pytorch_have_the_parameters_and_outputs_of_ours(job, size, classes):
    torch = pytest.importorskip("torch")
    network = replace(JOBS[job].network, image_size=(size, size))
    ours, other = build_unet(network), plain.torch_unet(job).eval()
    trained = sum(int(np.prod(weight.shape)) for weight in ours.trainable_weights)
    assert sum(p.numel() for p in other.parameters()) == trained
    with torch.inference_mode():
        output = other(torch.zeros(1, network.channels, size, size))
    side = network.output_length(size)
    assert tuple(output.shape) == (1, classes, side, side)


def test_plain_and_ours_encode_about_the_same_area(tmp_path):
    """What is compared does the same work."""
    pytest.importorskip("skimage")
    probabilities = np.zeros((2, 64, 80, 1), np.float32)
    probabilities[0, 10:30, 20:50] = 1
    np.save(tmp_path / "p.npy", probabilities)
    plain = [sys.executable, ROOT / "benchmarks/plain.py", "submission"]
    subprocess.run([*plain, tmp_path / "p.npy", tmp_path / "p.csv"], check=True)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "img,pixels" and lines[2] == "2,"
    lengths = lines[1].split(",")[1].split()[1::2]
    ours = run_length_enc(resize(probabilities[0], (420, 580))[..., 0] > 0.5).split()[1::2]
    assert sum(map(int, lengths)) == pytest.approx(sum(map(int, ours)), rel=0.02)
    assert sum(map(int, lengths)) == pytest.approx(20 * 30 * (420 / 64) * (580 / 80), rel=0.05)
