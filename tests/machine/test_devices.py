"""What the machine computes with."""

import contextlib
import socket
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest

from unet.errors import InputError
from unet.machine import devices, hosts
from unet.machine import precision as precisions


@pytest.fixture
def processor(tmp_path, monkeypatch):
    def write(flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"model name\t: a bf16 amx_bf16\nflags\t\t: fpu {flags}\nbugs\t\t:\n")
        monkeypatch.setattr(precisions, "CPU_INFO", str(path))

    monkeypatch.setattr(precisions, "find_card", lambda: (None, None))
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
    assert precisions.find_precision() == (precision, reason)


def test_a_system_that_does_not_say_what_its_processor_has_gets_float32(processor, monkeypatch):
    monkeypatch.setattr(precisions, "CPU_INFO", "no/such/file")
    assert precisions.find_precision() == (
        "float32",
        "this system does not say what its processor has",
    )


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((9, 0), "mixed_bfloat16"), ((8, 0), "mixed_bfloat16"), ((7, 5), "mixed_float16")]
    + [((6, 1), "float32")],
)
def test_a_graphics_card_goes_before_the_processor(processor, monkeypatch, capability, precision):
    processor("amx_bf16")
    monkeypatch.setattr(precisions, "find_card", lambda: ("a card", capability))
    found, reason = precisions.find_precision()
    assert found == precision
    assert reason.endswith(f"compute capability is {capability[0]}.{capability[1]}")


def test_an_arm_processor_calls_them_features(processor, tmp_path):
    processor("")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert precisions.find_precision()[0] == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("platform", "said", "found"),
    [
        ("gpu", "8.6", ("NVIDIA L4", (8, 6))),
        ("gpu", "gfx90a", ("NVIDIA L4", None)),  # as AMD's say
        ("gpu", None, ("NVIDIA L4", None)),
        ("cpu", None, (None, None)),
    ],
)
def test_jax_is_asked_for_its_card(monkeypatch, platform, said, found):
    card = types.SimpleNamespace(platform=platform, device_kind="NVIDIA L4")
    if said:
        card.compute_capability = said
    jax = types.SimpleNamespace(local_devices=lambda: [card])
    monkeypatch.setitem(sys.modules, "jax", jax)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert precisions.find_card() == found


@pytest.mark.parametrize(("cards", "found"), [([], (None, None)), (["card"], ("L4", (7, 5)))])
def test_tensorflow_is_asked_for_its_card(monkeypatch, cards, found):
    details = {"device_name": "L4", "compute_capability": (7, 5)}
    config = types.SimpleNamespace(
        list_physical_devices=lambda kind: cards,
        experimental=types.SimpleNamespace(get_device_details=lambda card: details),
    )
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(config=config))
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    assert precisions.find_card() == found


@pytest.mark.parametrize("has_card", [True, False])
def test_pytorch_is_asked_for_its_card(monkeypatch, has_card):
    cuda = types.SimpleNamespace(
        is_available=lambda: has_card,
        get_device_name=lambda: "L4",
        get_device_capability=lambda: (9, 0),
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert precisions.find_card() == (("L4", (9, 0)) if has_card else (None, None))


def test_hosts_with_unequal_numbers_of_cards_are_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(devices, "_join_hosts", lambda addresses, process_id: None)
    monkeypatch.setattr(devices, "_device_names", lambda backend: [["gpu:0", "gpu:1"], ["gpu:2"]])
    with pytest.raises(InputError, match="they have 2, 1 devices, JAX wants as many on each"):
        devices.find_devices("all", "a:1,b:2", 0)


def test_hosts_meet_whoever_else_calls(monkeypatch):
    monkeypatch.setattr(hosts, "JOIN_TIMEOUT", 20)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    addresses = [f"127.0.0.1:{port}", "127.0.0.1:1"]
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(hosts.meet, addresses, 0)
        for _ in range(100):  # till the leader listens
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()  # a stranger
                break
            time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", port)) as other:
            other.sendall(b"\x07")  # no process of these hosts
            pool.submit(hosts.meet, addresses, 1).result()
        leader.result()
