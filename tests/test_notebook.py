"""The notebook for Kaggle and Colab: its cells run as they stand, without Jupyter."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from conftest import ROOT, slow

NOTEBOOK = ROOT / "docs/unet.ipynb"
SMALL = "--set network.filters=4,4 network.decoder_filters=4,4"


def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def execute(cells, **settings):
    """Run cells as Jupyter does, `!` lines in a shell, with other values of the first one's names;
    returns all names and the commands.
    """
    names, commands = {}, []

    def system(command):
        commands.append(command := command.format(**names))
        if command.startswith("pip uninstall"):  # not from the environment of the tests
            return
        environment = {
            **os.environ,
            "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
            "PIP_NO_INDEX": "1",  # what is installed has to do
            "PIP_DRY_RUN": "1",
        }
        done = subprocess.run(
            command, shell=True, env=environment, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, command + done.stdout[-2000:] + done.stderr[-4000:]

    names["system"] = system
    for cell in cells:
        for name, value in settings.items():
            cell = re.sub(f"^{name} = .*$", f"{name} = {value!r}", cell, flags=re.M)
        exec(re.sub(r"^( *)!(.*)$", lambda m: f"{m[1]}system({m[2]!r})", cell, flags=re.M), names)
    return names, commands


def copy_project(folder):
    (folder / "docs").mkdir(parents=True)
    shutil.copytree(ROOT / "unet", folder / "unet")
    for path in (*ROOT.glob("*.py"), *ROOT.glob("requirements*.txt")):
        shutil.copy(path, folder)


def test_the_notebook_is_one_of_ten_cells_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert sorted(notebook) == ["cells", "metadata", "nbformat", "nbformat_minor"]
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len(notebook["cells"]) == 10
    assert len({cell["id"] for cell in notebook["cells"]}) == 10
    for cell in notebook["cells"]:
        assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", cell["id"])
        assert all(isinstance(line, str) for line in cell["source"])
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        if cell["cell_type"] == "markdown":
            assert sorted(cell) == ["cell_type", "id", "metadata", "source"]
        else:
            assert cell["cell_type"] == "code"
            assert cell["outputs"] == [] and cell["execution_count"] is None


@slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="once is enough")
def test_its_cells_run_the_four_commands_and_show_pictures(place, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    copy_project(place)
    monkeypatch.chdir(place / "docs")
    names, commands = execute(code_cells(), QUICK=True, TRAINING=SMALL)
    scripts = [command.split()[1] for command in commands if command.startswith("python ")]
    assert scripts == ["data.py", "train.py", "test.py", "submission.py"]
    assert len(names["plt"].get_fignums()) == 5  # progress, filmstrip and three images
    names["plt"].close("all")
    assert Path.cwd() == place
    assert len((place / "output/noise/submission.csv").read_text().splitlines()) == 101


def test_alone_it_takes_the_project_from_where_it_is_told(tmp_path, monkeypatch):
    settings = code_cells()[0]
    for name in ("alone", "elsewhere", "cloned"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "alone")
    with pytest.raises(FileNotFoundError, match="set REPOSITORY to the project's address"):
        execute([settings])
    copy_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "elsewhere")
    execute([settings], REPOSITORY=str(tmp_path / "project"))
    assert Path.cwd() == tmp_path / "elsewhere/unet"
    assert Path("train.py").exists()
    execute([settings], REPOSITORY=str(tmp_path / "project"))  # again: it is there already
    assert Path.cwd() == tmp_path / "elsewhere/unet"

    git = ["git", "-C", str(tmp_path / "project"), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *arguments], check=True)
    monkeypatch.chdir(tmp_path / "cloned")
    _, commands = execute([settings], REPOSITORY=(tmp_path / "project").as_uri())
    assert commands == [f"git clone --depth 1 {(tmp_path / 'project').as_uri()} unet"]
    assert Path.cwd() == tmp_path / "cloned/unet"
    assert Path("train.py").exists()
