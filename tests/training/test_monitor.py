"""What a training shows of itself: lines, bar, pictures."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import draw_pair, make_nerve, make_record, slow

import data
import train
from unet.data.arrays import Arrays, load_arrays
from unet.errors import InputError
from unet.jobs.settings import IGNORED, Reading
from unet.options import check_tensorboard
from unet.pictures.curves import draw_filmstrip
from unet.reading.classes import number_classes
from unet.reading.pixels import write_image
from unet.runs import Paths
from unet.training.callbacks import RunFiles
from unet.training.checkpoint import Progress
from unet.training.lines import ProgressLines, duration
from unet.training.monitor import Monitor, choose_samples

SMALL = ("network.filters=4,6,8,8", "network.bottleneck=8")


@pytest.fixture
def arrays(place):
    make_nerve(place / "raw")
    data.prepare(data.Options(job="nerve"))
    return load_arrays("nerve")


def small_run(epochs=3, **options):
    if not options.get("folds"):  # nerve's document holds nothing out
        options = {"validation_split": 0.2, **options}
    options = {"batch_size": 4, "set": SMALL, **options}
    train.train_predict(train.Options(job="nerve", epochs=epochs, **options))


def test_a_training_says_what_it_does_and_a_line_an_epoch(arrays, capsys):
    small_run()
    done = capsys.readouterr()
    warning, *lines = done.out.splitlines()
    assert warning.startswith("warning: the 12 images are of 3 subjects: too few")
    assert lines[0] == ("nerve: 8 training and 4 validation images of 64x80, 9,197 parameters")
    assert lines[1].startswith("3 epochs of 2 steps of 4 images, negative_dice, adam at 1e-05, ")
    assert "float32 on the processor, tensorflow" in lines[1]
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == ["1/3", "2/3", "3/3"]
    assert all(re.search(r"  val_dice_per_image \d\.\d{4}", line) for line in epochs)
    assert lines[-1] == "weights/nerve.json, vis/nerve/; next: python test.py nerve"
    assert "\r" not in done.out + done.err  # not a terminal: no bar


class Clock:
    """Seconds that pass by hand."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


def test_the_bar_counts_images_and_the_time_to_come_without_the_first_step(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr("unet.training.lines.time", clock)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    class Training:
        first_step, num_steps, batch_size = 0, 20, 8

    lines = ProgressLines(Training())
    lines.set_params({"epochs": 3, "steps": 20})
    lines.on_epoch_begin(0)
    clock.now += 30  # the first step compiles
    lines.on_train_batch_end(0, {"loss": 0.5})
    for step in range(1, 20):
        clock.now += 2
        lines.on_train_batch_end(step, {"loss": 0.25})
    done = capsys.readouterr()
    # told after two steps of 2 s: 20 steps an epoch, 3 * 20 - 3 to come
    expected = "an epoch of 20 steps takes about 40 s without its validation, the 3 to come 2 min"
    assert done.out.replace("\r\x1b[K", "").splitlines() == [expected]
    bars = done.err.split("\r")[1:]
    assert bars[0].startswith(
        "epoch 1/3 2/20 [===...........................] 4 images/s, 36s left"
    )
    assert "loss 0.2500" in bars[0]
    assert bars[-1].startswith(f"epoch 1/3 20/20 [{30 * '='}] 4 images/s, 0s left")
    assert bars[-1].endswith("\n")


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        ((30, 1, 1, 80), (2, 2, 2, 2), "4 steps takes about 8 s without its validation, the 2"),
        ((30, 80), (9, 9), "2 steps takes about 18 s without its validation, the 2"),
    ],
)
def test_no_time_is_told_by_a_smaller_last_step_that_compiles(
    monkeypatch, capsys, first, later, expected
):
    clock = Clock()
    monkeypatch.setattr("unet.training.lines.time", clock)

    class Training:
        first_step, num_steps, batch_size = 0, len(first), 8

    lines = ProgressLines(Training())
    lines.set_params({"epochs": 3, "steps": len(first)})
    for epoch, steps in enumerate((first, later)):
        lines.on_epoch_begin(epoch)
        for step, seconds in enumerate(steps):
            clock.now += seconds
            lines.on_train_batch_end(step, {"loss": 0.5})
        lines.on_epoch_end(epoch, {})
    told = [line for line in capsys.readouterr().out.splitlines() if "takes" in line]
    assert len(told) == 1
    assert told[0].startswith(f"an epoch of {expected} to come ")


def test_durations_are_told_in_the_unit_of_their_size():
    assert [duration(s) for s in (4.4, 89, 90, 5399, 5400, 36000)] == [
        "4 s",
        "89 s",
        "2 min",
        "90 min",
        "1.5 h",
        "10.0 h",
    ]


def test_progress_and_filmstrip_show_the_same_four_images(arrays):
    small_run(epochs=3, validation_split=0.5)
    assert [p.name for p in sorted(Path("vis/nerve/epochs").iterdir())][0] == "0001.png"
    frame = cv2.imread("vis/nerve/epochs/0001.png")
    assert frame.shape == (4 * 64, 80, 3)
    for name in ("progress", "filmstrip", "curves"):
        assert min(cv2.imread(f"vis/nerve/{name}.png").shape[:2]) >= 400


def test_a_damaged_frame_does_not_end_a_training(arrays):
    small_run(epochs=1)
    Path("vis/nerve/epochs/0001.png").write_bytes(b"")
    write_image(Path("vis/nerve/epochs/0002.png"), np.zeros((3, 5, 3), np.uint8))
    samples = choose_samples(arrays, range(4), ((64, 80), (64, 80)), (10.0, 2.0))
    frames = {n: Path(f"vis/nerve/epochs/000{n}.png") for n in (1, 2)}
    strip = draw_filmstrip(frames, samples)
    frames[3] = Path("vis/nerve/epochs/0003.png")
    write_image(frames[3], np.zeros((4 * 64, 80, 3), np.uint8))
    assert draw_filmstrip(frames, samples).shape[1] == 3 * strip.shape[1] // 2


def test_a_folds_pictures_are_named_after_it():
    assert Paths("nerve").picture("curves") == Path("vis/nerve/curves.png")
    assert Paths("nerve.fold2").picture("epochs/0001") == Path("vis/nerve/epochs/0001.fold2.png")


def test_tensorboard_gets_the_curves_where_it_is_wanted(arrays):
    small_run(epochs=1, tensorboard=True)
    logs = list(Path("vis/nerve/tensorboard").glob("*/nerve/*/events.*"))
    assert {log.parent.name for log in logs} == {"train", "validation"}
    assert all(b"epoch_dice_per_image" in log.read_bytes() for log in logs)


def test_tensorboard_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "tensorboard")
    with pytest.raises(InputError, match="--tensorboard: the package tensorboard is missing; pip"):
        check_tensorboard(True)
    check_tensorboard(False)


def test_a_new_training_forgets_the_frames_of_the_one_before(arrays):
    Path("vis/nerve/epochs").mkdir(parents=True)
    for name in ("0002.png", "0007.png", "0007.fold1.png"):
        Path("vis/nerve/epochs", name).write_bytes(b"")
    small_run(epochs=1)
    names = sorted(path.name for path in Path("vis/nerve/epochs").iterdir())
    assert names == ["0001.png", "0007.fold1.png"]  # a fold's are its own


def test_samples_are_spread_over_the_rows_and_cropped_to_what_the_network_gives():
    pairs = [draw_pair(number, (64, 80), filled=number != 4) for number in range(9)]
    images, masks = (np.stack(part)[..., None] for part in zip(*pairs))
    arrays = Arrays(images, masks, images[:0], [{}] * 9, [])
    rows = [0, 2, 3, 4, 5, 6, 8]
    samples = choose_samples(arrays, rows, ((64, 80), (60, 72)), (10.0, 2.0))
    assert samples.inputs.shape == (4, 64, 80, 1)
    shown = [0, 3, 5, 8]  # of [0, 2], [3, 4], [5, 6] and [8]
    np.testing.assert_array_equal(samples.images, images[shown, 2:62, 4:76])
    np.testing.assert_array_equal(samples.truths[..., :1], masks[shown, 2:62, 4:76])
    np.testing.assert_allclose(samples.inputs, (images[shown] - 10.0) / 2.0)
    samples = choose_samples(arrays, [4, 6], ((64, 80), (64, 80)), (10.0, 2.0))
    np.testing.assert_array_equal(samples.images, images[[4, 6]])
    samples = choose_samples(arrays, [4, 6, 1, 2, 3], ((64, 80), (64, 80)), (10.0, 2.0))
    np.testing.assert_array_equal(samples.images, images[[6, 1, 2, 3]])  # 4 is empty


def test_classes_are_shown_in_their_colours():
    numbers = np.random.default_rng(0).integers(0, 4, (2, 32, 32, 1), np.uint8)
    classes = number_classes(4)
    arrays = Arrays(numbers, numbers, numbers[:0], [{}] * 2, [], classes)
    samples = choose_samples(arrays, [0, 1], ((32, 32), (32, 32)), (0.0, 1.0))
    for number, one in enumerate(classes):
        assert (samples.truths[numbers[..., 0] == number] == one.color).all()


def test_samples_show_grey_what_does_not_count_and_look_for_a_foreground_that_does():
    images = np.zeros((3, 32, 32, 1), np.uint8)
    kept = Reading(ignore=(9,))
    masks = np.full_like(images, IGNORED)  # of which no pixel counts, but in the last row
    masks[2, :8], masks[2, 8:16] = 0, 1
    shown = np.full_like(images, 128)
    shown[2, :8], shown[2, 8:16] = 0, 255
    arrays = Arrays(images, masks, images[:0], [{}] * 3, [], reading=kept)
    truths = choose_samples(arrays, [0, 2], ((32, 32), (32, 32)), (0.0, 1.0)).truths
    np.testing.assert_array_equal(truths[..., :1], shown[[0, 2]])
    five = replace(arrays, images=images[[0] * 5], masks=masks[[0, 2, 0, 0, 0]])
    truths = choose_samples(five, range(5), ((32, 32), (32, 32)), (0.0, 1.0)).truths
    np.testing.assert_array_equal(truths[0, ..., :1], shown[2])
    classes = number_classes(4)
    numbers = replace(arrays, masks=np.full_like(images, 255), classes=classes)
    truths = choose_samples(numbers, [0, 1], ((32, 32), (32, 32)), (0.0, 1.0)).truths
    assert (truths == 128).all()


@slow
def test_pictures_take_a_small_share_of_a_training(arrays, monkeypatch):
    clock, drawn = Clock(), []
    monkeypatch.setattr("unet.training.monitor.time", clock)

    def draw(history, *rest):
        drawn.append(history[-1]["epoch"])
        clock.now += 1.0  # a picture costs a second, an epoch four
        return np.zeros((8, 8, 3), np.uint8)

    write_files = RunFiles.write_files

    def write(*arguments):
        clock.now += 4.0
        write_files(*arguments)

    monkeypatch.setattr("unet.training.monitor.draw_progress", draw)
    monkeypatch.setattr(RunFiles, "write_files", write)
    small_run(epochs=13)
    assert drawn == [1, 6, 11, 13]  # 20 seconds apart, and the last


def test_a_network_on_several_maps_is_constant_when_all_of_them_are(place, capsys):
    probabilities = np.full((2, 8, 8, 4), 0.25, np.float32)
    record = make_record(network=train.JOBS["cadastre"].network)
    monitor = Monitor(RunFiles(Progress(record)), None)
    probabilities[0, 0, 0, 1] = 0.5
    monitor.warn(0, probabilities)
    assert capsys.readouterr().out == ""
    probabilities[0, 0, 0, 1] = 0.25
    monitor.warn(1, probabilities)
    assert "the same probability, 0.250, 0.250, 0.250, 0.250" in capsys.readouterr().out
