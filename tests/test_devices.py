"""What the machine computes with."""

import re
from pathlib import Path

import keras
import pytest

import devices


@pytest.fixture
def processor(tmp_path, monkeypatch):
    def write(flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\n")
        monkeypatch.setattr(devices, "PROCESSOR", str(path))

    monkeypatch.setattr(devices, "graphics_capability", lambda: None)
    return write


@pytest.mark.parametrize(
    ("flags", "precision", "reason"),
    [
        ("sse2 avx512_bf16 amx_tile", "mixed_bfloat16", "the processor has avx512_bf16"),
        ("amx_bf16", "mixed_bfloat16", "the processor has amx_bf16"),
        ("asimd bf16 i8mm", "mixed_bfloat16", "the processor has bf16"),
        ("avx512f avx512_bf16x", "float32", "the processor has no bfloat16 instructions"),
        ("", "float32", "the processor has no bfloat16 instructions"),
    ],
)
def test_half_precision_is_for_processors_that_multiply_it(processor, flags, precision, reason):
    processor(flags)
    assert devices.find_precision() == (precision, reason)


def test_a_system_that_does_not_say_what_its_processor_has_gets_float32(processor, monkeypatch):
    monkeypatch.setattr(devices, "PROCESSOR", "no/such/file")
    assert devices.find_precision()[0] == "float32"


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((9, 0), "mixed_bfloat16"), ((8, 0), "mixed_bfloat16"), ((7, 5), "mixed_float16")]
    + [((6, 1), "float32")],
)
def test_a_graphics_card_goes_before_the_processor(processor, monkeypatch, capability, precision):
    processor("amx_bf16")
    monkeypatch.setattr(devices, "graphics_capability", lambda: capability)
    found, reason = devices.find_precision()
    assert found == precision
    assert reason.endswith(f"compute capability is {capability[0]}.{capability[1]}")


def test_this_machine_is_asked_what_it_has():
    path = Path(devices.PROCESSOR)
    has = path.exists() and re.search(r"\b(amx_bf16|avx512_bf16|bf16)\b", path.read_text())
    expected = "mixed_bfloat16" if has else "float32"
    if not devices.graphics_capability():
        assert devices.find_precision()[0] == expected
    assert keras.config.dtype_policy().name == "float32"  # asking sets nothing
