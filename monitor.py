"""What a training shows of itself: lines and a bar in the terminal, pictures in vis/NAME/, a
warning where it predicts one grey value everywhere.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np

from augment import sample_window
from classes import colors_of
from files import progress_bar, resize, write_image
from pictures import as_rgb, panel
from predict import standardize

CONSTANT = 0.01  # probabilities of an image that differ by less are one grey value
NUM_SAMPLES = 4  # images whose prediction is shown after each epoch
NEARBY = 8  # rows that are looked at for each, at the most
LARGEST_SAMPLE = 256  # pixels of their longer side in the pictures
DRAWING_SHARE = 0.05  # of the time of a training, at the most, goes to its pictures
MOST_FRAMES = 10  # epochs in a filmstrip
PANEL, SMALL_PANEL = (200, 320), (100, 160)  # least and most pixels of a picture's longer side


# ---- in the terminal


class ProgressLines(keras.callbacks.Callback):
    """A bar with images per second and time left on a terminal's error stream, a line after each
    epoch, and once how long the whole will take.

    training: its Batches. After the first step of a run the clock starts: that one compiles.
    """

    def __init__(self, training):
        super().__init__()
        self.training, self.is_told = training, False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.first_step = epoch, self.training.first_step
        self.began = self.start = self.shown = time.monotonic()
        self.timed = 0  # steps since the start

    def on_train_batch_end(self, batch, logs=None):
        now, step = time.monotonic(), self.first_step + batch + 1
        total, epochs = self.training.num_steps, self.params["epochs"]
        if batch == 0 and not self.is_told:
            self.start = now
            return
        self.timed += 1
        seconds = (now - self.start) / self.timed
        if not self.is_told and now - self.start > 3:
            self.is_told = True
            epoch, left = seconds * total, seconds * (total * (epochs - self.epoch) - step)
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            print(
                f"{clear}an epoch of {total} steps takes about {duration(epoch)} without its "
                f"validation, the {epochs - self.epoch} to come {duration(left)}",
                flush=True,
            )
        if sys.stderr.isatty() and (now - self.shown > 0.1 or step == total):
            self.shown = now
            rate = self.training.batch_size / max(seconds, 1e-9)
            text = f"loss {float(logs['loss']):.4f}"
            progress_bar(f"epoch {self.epoch + 1}/{epochs}", step, total, seconds, rate, text)

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self.began
        values = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        print(f"epoch {epoch + 1}/{self.params['epochs']}  {seconds:.1f}s  {values}", flush=True)


def duration(seconds):
    """Seconds for a reader: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# ---- pictures


@dataclass(frozen=True)
class Samples:
    """Images that a training is watched on: inputs float32 (B, H, W, C) as the network takes them;
    images uint8 (B, H', W', C) and truths uint8 (B, H', W', 3) as they are shown.
    """

    inputs: np.ndarray
    images: np.ndarray
    truths: np.ndarray


def choose_samples(arrays, rows, sizes, scale):
    """The Samples of some rows, evenly spread, but where there is one nearby that shows a
    foreground; sizes: of what the network takes and gives.
    """
    top, left = ((a - b) // 2 for a, b in zip(*sizes))

    def pair(row):
        return sample_window(
            arrays.images[row], arrays.masks[row], sizes[0], has_classes=bool(arrays.classes)
        )

    def first_shown(part):
        found = (one for one in map(pair, part[:NEARBY]) if one[1].any())
        return next(found, None) or pair(part[0])

    parts = np.array_split(np.asarray(rows), min(NUM_SAMPLES, len(rows)))
    pairs = [first_shown(part) for part in parts]
    images, masks = (np.stack(part) for part in zip(*pairs))
    middle = np.s_[:, top : top + sizes[1][0], left : left + sizes[1][1]]
    truths = [show(mask, arrays.classes) for mask in masks[middle]]
    shown = np.round(images[middle]).astype(np.uint8)
    return Samples(standardize(images, *scale), shown, np.stack(truths))


def show(mask, classes):
    """RGB uint8 (H, W, 3) of a mask of grey values 0..255 or of class numbers, (H, W, 1)."""
    return colors_of(classes)[mask[..., 0]] if classes else as_rgb(mask)


class Monitor(keras.callbacks.Callback):
    """After each epoch vis/NAME/progress.png, curves and Samples with their predictions, but no
    more often than DRAWING_SHARE of the time allows; a warning when all predictions have become
    one grey value: when the probabilities of each image are within CONSTANT.

    files: the run's RunFiles, which come before this one in the list of callbacks.
    """

    def __init__(self, files, samples, recipe, network, classes=()):
        super().__init__()
        self.files, self.samples, self.classes = files, samples, classes
        self.recipe, self.num_maps = recipe, network.num_maps
        self.is_constant, self.drawn, self.cost = False, time.monotonic(), 0.0
        self.advice = ""
        if not network.batch_normalization:
            self.advice = ", or --set network.batch_normalization=true"

    def frames(self):
        """Pictures of the samples' predictions after some epochs, {epoch: path}."""
        some = picture_path(self.files.name, "epochs/*")
        numbers = {path: path.name.partition(".")[0] for path in some.parent.glob(some.name)}
        found = {
            int(number): path
            for path, number in numbers.items()
            if number.isdecimal() and path.name.count(".") == some.name.count(".")
        }
        return dict(sorted(found.items()))

    def on_epoch_end(self, epoch, logs=None):
        probabilities = np.asarray(self.model.predict_on_batch(self.samples.inputs))
        probabilities = probabilities[..., -self.num_maps :]
        self.warn(epoch, probabilities)
        start = time.monotonic()
        is_last = epoch + 1 == self.params["epochs"]
        if not is_last and self.cost > DRAWING_SHARE * (start - self.drawn):
            return
        if self.num_maps > 1:
            masks = probabilities.argmax(axis=-1)[..., None]
        else:
            masks = np.round(255 * probabilities).astype(np.uint8)
        predictions = [show(mask, self.classes) for mask in masks]
        for number, path in self.frames().items():
            if number > epoch:  # of an earlier training
                path.unlink()
        frame = shrink(np.concatenate(predictions), len(predictions))
        name = self.files.name
        write_image(picture_path(name, f"epochs/{epoch + 1:04}"), frame)
        picture = draw_progress(self.files.history, self.samples, predictions)
        write_image(picture_path(name, "progress"), picture)
        self.drawn = time.monotonic()
        self.cost = self.drawn - start

    def warn(self, epoch, probabilities):
        was_constant = self.is_constant
        self.is_constant = bool(np.ptp(probabilities, axis=(0, 1, 2)).max() < CONSTANT)
        if self.is_constant and not was_constant:
            means = ", ".join(f"{mean:.3f}" for mean in probabilities.mean(axis=(0, 1, 2)))
            print(
                f"warning: after epoch {epoch + 1} every pixel has the same probability, "
                f"{means}: lower --learning-rate (it is {self.recipe.learning_rate:g})"
                f"{self.advice}"
            )

    def finish(self):
        """Draw the filmstrip; none where an interrupted training had no epoch left."""
        if frames := self.frames():
            picture = draw_filmstrip(frames, self.samples)
            write_image(picture_path(self.files.name, "filmstrip"), picture)


def picture_path(name, what):
    """Where a picture of a network lies, "nerve.fold1": vis/nerve/WHAT.fold1.png."""
    run, _, fold = name.partition(".")
    return Path("vis", run, f"{what}.{fold}.png" if fold else f"{what}.png")


def shrink(pixels, count):
    """RGB pixels of `count` pictures, one above the other, so that the longer side of each is at
    most LARGEST_SAMPLE.
    """
    height, width = pixels.shape[0] // count, pixels.shape[1]
    factor = max(1, max(height, width) / LARGEST_SAMPLE)
    size = max(1, round(width / factor)), count * max(1, round(height / factor))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if factor > 1 else pixels


def plot_curves(figure, history):
    """Loss and scores of each epoch, training and validation, one beside the other; returns how
    many.
    """
    names = [
        name
        for name in history[0]
        if name not in ("epoch", "seconds") and not name.startswith("val_")
    ]
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        for key, label in ((name, "training"), ("val_" + name, "validation")):
            if key in history[0]:
                marker = "." if len(epochs) < 30 else ""
                axes.plot(epochs, [row[key] for row in history], marker=marker, label=label)
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.grid(alpha=0.3)
        axes.legend()
    return len(names)


def draw_curves(history):
    """The curves of a training, RGB uint8, 400 pixels high."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # only now: they delay the
    from matplotlib.figure import Figure  # first step

    figure = Figure(layout="constrained", dpi=100)
    figure.set_size_inches(5 * plot_curves(figure, history), 4)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def draw_progress(history, samples, predictions):
    """The curves so far, and under them each sample's image, truth and present prediction: RGB
    uint8.
    """
    captions = "image", "truth", f"prediction after epoch {history[-1]['epoch']}"
    rows = zip(captions, (samples.images, samples.truths, predictions))
    grid = [
        np.concatenate([panel(as_rgb(pixels), caption, *PANEL) for pixels in pictures], axis=1)
        for caption, pictures in rows
    ]
    return below(draw_curves(history), *grid)


def draw_filmstrip(frames, samples):
    """A row for each sample: image, its prediction after some of the epochs, truth; RGB uint8.

    frames: {epoch: path of its frame}; those that are damaged are left out.
    """
    count = len(samples.images)
    shape = shrink(np.concatenate(list(samples.truths)), count).shape
    pictures = {epoch: cv2.imread(str(path)) for epoch, path in frames.items()}
    whole = {e: p[..., ::-1] for e, p in pictures.items() if p is not None and p.shape == shape}
    epochs = list(whole)
    places = np.linspace(0, len(epochs) - 1, min(MOST_FRAMES, len(epochs))).astype(int)
    columns = [("image", samples.images)]
    columns += [(f"epoch {epochs[n]}", np.split(whole[epochs[n]], count)) for n in places]
    columns.append(("truth", samples.truths))
    height, width = shape[0] // count, shape[1]
    strips = [
        np.concatenate(
            [panel(resize(as_rgb(pixels), (height, width)), name, *SMALL_PANEL) for pixels in some]
        )
        for name, some in columns
    ]
    return np.concatenate(strips, axis=1)


def below(*pictures):
    """RGB pictures one below the other, on white."""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate(
        [
            np.pad(p, [(0, 0), (0, width - p.shape[1]), (0, 0)], constant_values=255)
            for p in pictures
        ]
    )
