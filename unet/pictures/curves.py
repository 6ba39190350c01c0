"""Pictures of a training: its curves, what it predicts now, what it predicted epoch by epoch."""

import cv2
import numpy as np

from unet.lazy import lazy
from unet.pictures.panels import as_rgb, panel
from unet.reading.pixels import resize

figures = lazy("matplotlib.figure")  # only when curves are drawn: it delays the first step
canvases = lazy("matplotlib.backends.backend_agg")

LARGEST_SAMPLE = 256  # pixels of a sample's longer side in the pictures
MOST_FRAMES = 10  # epochs in a filmstrip
PANEL, SMALL_PANEL = (200, 320), (100, 160)  # least and most pixels of a picture's longer side


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
    figure = figures.Figure(layout="constrained", dpi=100)
    figure.set_size_inches(5 * plot_curves(figure, history), 4)
    canvas = canvases.FigureCanvasAgg(figure)
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
            [
                panel(resize(as_rgb(pixels), (height, width)), name, *SMALL_PANEL)
                for pixels in pictures
            ]
        )
        for name, pictures in columns
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
