"""What the tests share: small trees of images as the documents have them, and running a script."""

import csv
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from unet.data.augment import cut_windows, draw_middle, draw_windows
from unet.jobs import JOBS
from unet.runs import Record

ROOT = Path(__file__).parent.parent
# For the tests and what they start: compiling is most of what JAX does with small networks.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Two workers with two threads each wait for one another most of the time.
for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(threads, "1")
PYTHONPATH = os.environ.get("PYTHONPATH")
FORKS = []  # their processes
slow = pytest.mark.slow  # what takes long, and others have shown for the most part already


def pytest_collection_modifyitems(items):
    if not os.environ.get("SLOW"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes long; SLOW=1 runs it"))


def sample_window(
    image,
    mask,
    window,
    augmentation=None,
    rng=None,
    has_classes=False,
    weights=None,
    has_numbers=False,
):
    """One window out of an image and its mask: of a random generator's draws, or the middle."""
    if rng is None:
        draws = draw_middle(image.shape, window, 1)
    else:
        draws = draw_windows(image.shape, window, augmentation, [rng])
    wrap = augmentation is not None and augmentation.wrap
    parts = (image, mask) if weights is None else (image, mask, weights)
    return [
        part[0] for part in cut_windows([parts], draws, window, wrap, has_classes, has_numbers)
    ]


def draw_pair(number, size=(84, 116), channels=1, filled=True):
    """A noisy image with a brighter ellipse, and its mask; both uint8, (H, W) or (H, W, 3)."""
    rng = np.random.default_rng(number)
    mask = np.zeros(size, np.uint8)
    if filled:
        centre = (int(rng.integers(30, size[1] - 30)), int(rng.integers(30, size[0] - 30)))
        cv2.ellipse(mask, centre, (22, 16), float(rng.integers(0, 180)), 0, 360, 255, cv2.FILLED)
    image = rng.integers(0, 100, (*size, channels), dtype=np.uint8) + (mask[..., None] // 2)
    return (image[..., 0] if channels == 1 else image), mask


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":  # OpenCV's encoder dithers
        Image.fromarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels).save(path)
    else:
        assert cv2.imwrite(str(path), pixels)


def make_nerve(root, subjects=3, frames=4, num_test=3):
    """Kaggle's nerve tree: train/S_N.tif with its mask (each second one empty), test/N.tif."""
    for subject in range(1, subjects + 1):
        for frame in range(1, frames + 1):
            image, mask = draw_pair(100 * subject + frame, filled=frame % 2 == 1)
            save(root / f"train/{subject}_{frame}.tif", image)
            save(root / f"train/{subject}_{frame}_mask.tif", mask)
    for number in range(1, num_test + 1):
        save(root / f"test/{number}.tif", draw_pair(number)[0])


def make_car(root, cars=3, views=2, num_test=2):
    """Carvana's tree: train/ID_VV.jpg, train_masks/ID_VV_mask.gif, test/ID_VV.jpg."""
    for car in range(cars):
        for view in range(1, views + 1):
            image, mask = draw_pair(10 * car + view, (96, 144), 3)
            save(root / f"train/c{car}ffee_{view:02}.jpg", image)
            save(root / f"train_masks/c{car}ffee_{view:02}_mask.gif", mask)
    for view in range(1, num_test + 1):
        save(root / f"test/deadbeef_{view:02}.jpg", draw_pair(view, (96, 144), 3)[0])


def make_folders(root, count=5, size=(80, 100), channels=3, suffix="", kind=".png"):
    """images/N.png and masks/N.png, or with a suffix before the ending."""
    for number in range(1, count + 1):
        image, mask = draw_pair(number, size, channels)
        save(root / f"images/{number}{kind}", image)
        save(root / f"masks/{number}{suffix}.png", mask)


def make_record(**fields):
    """A Record of a nerve run with some fields."""
    recipe = JOBS["nerve"].recipe
    given = dict(name="nerve", job="nerve", arrays="nerve", recipe=recipe, options={}, command="")
    return Record(**{**given, **fields})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_anew(script, *arguments):
    """Start a script, or "-m benchmarks.NAME", as a user would; returns the finished process with
    its output as text.
    """
    environment = dict(os.environ)
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # JAX, imported by the tests, sets it
    command = [str(ROOT / script)]
    if script.startswith("-m "):  # from any folder, the project's being on the path
        environment["PYTHONPATH"] = str(ROOT)
        command = script.split()
    return subprocess.run(
        [sys.executable, *command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=environment,
    )


def run(script, *arguments):
    """As run_anew, in a fork of a process that has imported what the script will, where that makes
    no difference: with the backend and the packages of that process.
    """
    is_module, backend = script.startswith("-m "), os.environ.get("KERAS_BACKEND", "tensorflow")
    has_rooms = is_module or (ROOT / script).with_name("unet").is_dir()
    if not has_rooms or backend != "tensorflow" or os.environ.get("PYTHONPATH") != PYTHONPATH:
        return run_anew(script, *arguments)
    with tempfile.TemporaryDirectory() as logs:
        out, err = Path(logs, "out"), Path(logs, "err")
        answer = fork(script, ".", *arguments, out=str(out), err=str(err))
        text = [path.read_text() for path in (out, err)]
    return subprocess.CompletedProcess([script, *arguments], answer["status"], *text)


def run_well(script, *arguments):
    """The standard output of a script that has to end well."""
    done = run(script, *arguments)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    if not str(script).startswith("-m "):  # a script holds TensorFlow's first lines back
        assert "absl::" not in done.stderr
    return done.stdout


def refusal(script, *arguments):
    """The one line in which a script has to refuse its input, with exit status 2."""
    done = run(script, *arguments)
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-4000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    return lines[0]


def page_data(page):
    """What test.py's page holds."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


@functools.cache
def forks(root):
    """The process of tests/forks.py for the scripts of a folder."""
    command = [sys.executable, str(ROOT / "tests/forks.py"), str(root)]
    pipe = subprocess.PIPE
    FORKS.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
    return FORKS[-1]


def pytest_sessionfinish():
    for process in FORKS:
        process.communicate()  # ends it, and counts its time as this process's


def fork(script, folder, *arguments, out="log", err="log", attributes=(), **death):
    """Run a script in a folder, where its output goes to files, in a fork of tests/forks.py, which
    says how it may die and which attributes may be set; returns a dict of status, seconds and
    megabytes.
    """
    is_module = str(script).startswith("-m ")
    task = dict(
        script=script if is_module else str(ROOT / script),
        arguments=[str(argument) for argument in arguments],
        folder=str(Path(folder).resolve()),
        environment={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
        out=out,
        err=err,
        attributes=dict(attributes),
        limit=280,
        **death,
    )
    process = forks(ROOT if is_module else (ROOT / script).parent)
    process.stdin.write(json.dumps(task) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    assert answer, "tests/forks.py has ended; run it alone to see why"
    return json.loads(answer)


def what_a_run_left(folder, name):
    """Weights, last weights, history without seconds, and the best epoch."""
    left = []
    for kind in ("", ".last"):
        with h5py.File(folder / f"weights/{name}{kind}.weights.h5") as file:
            found = {}
            file.visititems(
                lambda path, item, found=found: (
                    found.update({path: item[()].tobytes()})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
            left.append(found)
    with open(folder / f"weights/{name}.csv") as file:
        left.append([{**row, "seconds": None} for row in csv.DictReader(file)])
    record = json.loads((folder / f"weights/{name}.json").read_text())
    left.append({**record["best"], "seconds": None})
    left.append(record["decision"])
    return left


@pytest.fixture
def undrawn(monkeypatch):
    """Trainings of this process draw no curves and no filmstrip, which takes as long again."""
    blank = np.zeros((1, 1, 3), np.uint8)
    for name in ("draw_progress", "draw_filmstrip"):
        monkeypatch.setattr(f"unet.training.monitor.{name}", lambda *arguments: blank)


@pytest.fixture
def small(place):
    """Train a small nerve network on four images, in this process."""
    import data
    import train

    make_folders(place, count=4, size=(64, 80), channels=1)
    data.prepare(data.Options(job="nerve", images="images", masks="masks"))

    def small(*changes, **options):
        changes += ("network.filters=4,6", "network.bottleneck=8", "network.dropout=0,0,0.2")
        defaults = dict(job="nerve", epochs=2, batch_size=2, learning_rate=1e-3)
        if not options.get("folds"):  # nerve's document holds nothing out
            defaults["validation_split"] = 0.2
        train.train_predict(train.Options(**{**defaults, **options}, set=changes))

    return small
