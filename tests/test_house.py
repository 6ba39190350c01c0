"""The house: which room imports which, what --help loads, and the names that readers look for."""

import ast
import graphlib
import os
import subprocess
import sys

import pytest
from conftest import ROOT, refusal

SCRIPTS = ("data", "model", "train", "test", "submission")
FLOORS = (  # from the ground up; a room imports only from floors below its own, and itself
    {"", "streams"},
    {"errors", "lazy", "matching"},
    {"jobs", "machine"},
    {"runs", "options", "losses", "layers", "weights"},
    {"encoders", "reading"},
    {"data"},
    {"pictures"},
    {"prediction"},
    {"training"},
    {f"{name}.py" for name in SCRIPTS},
)
HEAVY = ("tensorflow", "keras", "jax", "torch", "matplotlib")


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = [*(ROOT / f"{name}.py" for name in SCRIPTS), *sorted((ROOT / "unet").rglob("*.py"))]
MODULES = {module_name(path): path for path in PATHS}


def imported(path):
    """The project's modules that a file imports, at any depth, or hands to a lazy importer."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            if called in ("lazy", "import_module", "__import__"):
                names |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    return {name for name in names if name in MODULES}


def room(module):
    """ "data" of "unet.data.arrays", "data.py" of the script."""
    parts = module.split(".")
    if parts[0] != "unet":
        return f"{parts[0]}.py"
    return parts[1] if len(parts) > 1 else ""


def floor(module):
    return next(n for n, rooms in enumerate(FLOORS) if room(module) in rooms)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_what_is_below_it(module):
    for other in imported(MODULES[module]):
        is_of_scripts = other in ("data", "model", "train") and module in SCRIPTS
        is_inside = room(other) == room(module) or is_of_scripts
        assert is_inside or floor(other) < floor(module), f"{module} imports {other}"


def test_no_module_imports_itself_by_way_of_others():
    # A room's own __init__ names its files; these name it by their own names.
    graph = {name: imported(path) - {"unet", name} for name, path in MODULES.items()}
    graph = {name: {m for m in of if not name.startswith(f"{m}.")} for name, of in graph.items()}
    graph["model"].remove("train")  # inside the function that exports a trained run
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_imports_are_found_at_any_depth(tmp_path):
    (tmp_path / "x.py").write_text(
        "def f():\n    from unet.data import arrays\n    return lazy('unet.runs'), arrays\n"
    )
    found = imported(tmp_path / "x.py")
    assert found == {"unet.data", "unet.data.arrays", "unet.runs"}


def test_five_scripts_and_one_package_lie_on_top():
    assert sorted(path.stem for path in ROOT.glob("*.py")) == sorted(SCRIPTS)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == {"unet", "benchmarks"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_a_page_with_its_imports_on_top(script):
    text = (ROOT / f"{script}.py").read_text()
    body = ast.parse(text).body
    options = next(n for n in body if getattr(n, "name", "") == "Options")
    first = options.decorator_list[0].lineno
    assert 60 <= len(text.splitlines()) - (options.end_lineno - first + 1) <= 170
    kinds = [isinstance(node, (ast.Import, ast.ImportFrom)) for node in body[1:]]
    assert kinds == sorted(kinds, reverse=True)
    assert text.count('if __name__ == "__main__":') == 1
    assert "global " not in text


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("arguments", [["--help"], ["--no-such-option"]])
def test_help_and_mistakes_load_nothing_heavy_and_take_no_time(script, arguments, place):
    resource = pytest.importorskip("resource")  # not on Windows
    command = [sys.executable, "-X", "importtime", ROOT / f"{script}.py", *arguments]
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        assert done.returncode == (0 if arguments == ["--help"] else 2), done.stderr[-2000:]
        lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
        loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
        assert "argparse" in loaded
        assert not loaded & set(HEAVY)
    assert min(seconds) <= 0.3


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("Jax", "KERAS_BACKEND=Jax: expected tensorflow, jax, torch"),
        ("numpy", "KERAS_BACKEND=numpy: expected tensorflow, jax, torch"),
        ("jax", "KERAS_BACKEND=jax: the package jax is not installed; pip install jax, or set"),
    ],
)
@pytest.mark.parametrize("script", ["train.py", "model.py"])
def test_a_backend_that_is_not_there_is_named(script, backend, message, place, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    if backend == "jax":  # hide it
        (place / "sitecustomize.py").write_text(
            "import importlib.util as u\nfind = u.find_spec\n"
            "u.find_spec = lambda name, *rest: None if name == 'jax' else find(name, *rest)\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(place))
    assert message in refusal(script)


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_the_packages_one_line_says_what_to_install(script, place):
    command = [sys.executable, "-S", ROOT / f"{script}.py"]  # no site-packages
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "is not installed; activate the virtual environment, or pip install -r" in lines[0]
    help = subprocess.run([*command, "--help"], capture_output=True, check=False, cwd=place)
    assert help.returncode == 0


def test_a_package_that_cannot_be_loaded_is_one_line(place, monkeypatch):
    (place / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object')")
    monkeypatch.setenv("PYTHONPATH", str(place))
    line = refusal("data.py")
    assert "a package cannot be loaded (libGL.so.1: cannot open shared object)" in line


NAMES = """
import sys
sys.path.insert(0, {root!r})
from data import create_data, keras_generator
from model import get_model, get_unet
from submission import run_length_enc, submission
from train import dice_coef, dice_coef_loss, get_unet as compiled, train_predict
print("keras" in sys.modules, "cv2" in sys.modules)
print(compiled().loss.__name__, type(compiled().optimizer).__name__, compiled().count_params())
print(get_unet("car").compiled, get_model().name, create_data(2)[0].shape)
print(float(dice_coef([[[[1.0]]]], [[[[1.0]]]])), run_length_enc([[1] * 10]))
"""


def test_the_documents_readers_find_their_names_in_the_scripts(place):
    command = [sys.executable, "-c", NAMES.format(root=str(ROOT))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "False False",
        "dice_coef_loss Adam 7846081",
        "False cadastre (2, 160, 160, 1)",
        "1.0 1 10",
    ]


PYTHON = """
import numpy as np
image = np.zeros((40, 60, 3), np.uint8)
"""


def test_the_readmes_python_works_from_any_folder_and_says_where_it_looked(place):
    """With the run of roads here, and without."""
    text = (ROOT / "README.md").read_text() + (ROOT / "docs/your-images.md").read_text()
    blocks = [part.partition("```")[0] for part in text.split("```python\n")[1:]]
    block = next(block for block in blocks if "load_run" in block)
    command = [sys.executable, "-c", PYTHON + block + "\nprint(probability.shape)"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    given = dict(capture_output=True, text=True, check=False, env=environment, cwd=place)
    done = subprocess.run(command, **given)
    assert f"{place}/weights/roads.json: no trained network there yet" in done.stderr
    subprocess.run([sys.executable, "-m", "zipfile", "-e", ROOT / "tests/files/runs.zip", "."])
    done = subprocess.run(command, **given)
    assert done.stdout.strip() == "(40, 60, 1)", done.stderr[-3000:]
