"""A graphics card that the backend does not see."""

import logging
import os
import re
import subprocess
import sys

import keras
import pytest
from conftest import ROOT, run, run_well, slow

from unet.errors import one_line_errors
from unet.machine import cards

LINE = "an NVIDIA card is in this machine, but tensorflow does not see it"


@pytest.fixture
def machine(place, monkeypatch):
    """One without a card, of which tests make another; nothing computes on a card in it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr(cards, "DRIVER_FILES", (f"{place}/gpus/*", f"{place}/nvidia0"))
    monkeypatch.setattr(cards, "WSL_FILES", (f"{place}/dxg", f"{place}/libcuda.so"))
    monkeypatch.setattr(cards, "card_name", lambda: None)
    monkeypatch.setattr(cards, "has_cuda", lambda backend: False)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    return place


def told(capsys):
    cards.tell_unseen_card()
    return capsys.readouterr().out


def fake_smi(folder, text="GPU 0: NVIDIA GeForce GTX 1060 6GB (UUID: GPU-1)", status=0):
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("files", [["gpus/0000:01:00.0"], ["nvidia0"], ["dxg", "libcuda.so"]])
def test_files_of_a_driver_are_a_card(machine, capsys, files):
    assert told(capsys) == ""
    for file in files:
        assert told(capsys) == ""
        (machine / file).parent.mkdir(exist_ok=True)
        (machine / file).touch()
    assert told(capsys).startswith(LINE)
    assert told(capsys).count("\n") == 1


def test_nvidia_smi_says_whether_there_is_a_card(machine, capsys):
    fake_smi(machine)
    assert told(capsys).startswith(LINE)
    fake_smi(machine, "NVIDIA-SMI has failed because it couldn't communicate with the driver", 9)
    assert told(capsys) == ""
    fake_smi(machine, "No devices were found")
    assert told(capsys) == ""
    (machine / "nvidia-smi").write_text("no program")
    assert told(capsys) == ""


def test_a_card_that_is_seen_or_hidden_needs_no_word(machine, capsys, monkeypatch):
    (machine / "nvidia0").touch()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert told(capsys) == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert told(capsys) != ""
    with monkeypatch.context() as on_jax:
        on_jax.setattr(keras.backend, "backend", lambda: "jax")
        assert told(capsys) == ""
    monkeypatch.setattr(cards, "card_name", lambda: "NVIDIA GeForce GTX 1060 6GB")
    assert told(capsys) == ""


@pytest.mark.parametrize("backend", cards.REMEDIES)
def test_the_line_says_what_the_backend_needs(machine, capsys, monkeypatch, backend):
    (machine / "nvidia0").touch()
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    assert f"{backend} does not see it" in told(capsys)
    assert cards.REMEDIES[backend] in told(capsys)
    monkeypatch.setattr(cards, "has_cuda", lambda backend: True)
    line = told(capsys)
    assert "look with nvidia-smi whether the driver" in line
    assert cards.REMEDIES[backend] not in line
    monkeypatch.setattr(cards.os, "name", "nt")
    assert ("set KERAS_BACKEND=torch" in told(capsys)) == (backend != "torch")


def test_what_the_line_says_is_there(machine):
    file = re.search(r"requirements\S+", cards.REMEDIES["tensorflow"])[0]
    needed = (ROOT / file).read_text()
    assert (
        re.search(r"^tensorflow(.*)$", (ROOT / "requirements.txt").read_text(), re.M)[1] in needed
    )
    pages = (ROOT / "docs/devices.md").read_text()
    assert all(line in pages for line in (cards.REMEDIES["tensorflow"], cards.REMEDIES["jax"]))


def test_a_packages_own_cuda_is_found(monkeypatch):
    monkeypatch.setattr(cards.importlib.util, "find_spec", lambda name: name == "nvidia" or None)
    assert cards.has_cuda("tensorflow")
    assert not cards.has_cuda("jax")


@slow
def test_training_testing_and_submitting_say_it(place, monkeypatch):
    run_well("data.py", "noise", "--image-size", 64, 64, "--num-images", 1)
    fake_smi(place)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    small = "--set", "network.filters=4,8", "network.bottleneck=8", "network.decoder_filters="
    outputs = [run("train.py", "noise", "--epochs", 1, "--steps-per-epoch", 1, *small)]
    outputs.append(run("test.py", "noise", "--num-images", 0))
    (place / "output/noise/imgs_mask_test.npy").unlink()
    outputs.append(run("submission.py", "noise"))
    for done in outputs:
        assert [LINE in line for line in done.stdout.splitlines()].count(True) == 1, done
        assert done.stderr == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert LINE not in run_well("test.py", "noise", "--num-images", 0)


def test_jax_does_not_say_it_too(caplog):
    with one_line_errors():
        log = logging.getLogger("jax._src.xla_bridge")
    log.warning("An NVIDIA GPU may be present on this machine, but a CUDA-enabled jaxlib is not")
    log.warning("CUDA backend failed to initialize")
    assert caplog.messages == ["CUDA backend failed to initialize"]


MEMORY = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


@pytest.mark.parametrize("own", [{}, dict.fromkeys(MEMORY, "mine")])
def test_a_cards_memory_is_taken_as_needed_unless_the_user_says_otherwise(own):
    given = {name: value for name, value in os.environ.items() if name not in MEMORY}
    code = f"import os, model; print(*[os.environ[name] for name in {list(MEMORY)}])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**given, **own},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == list((own or MEMORY).values()), done.stderr
