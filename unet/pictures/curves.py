"""Pictures of a training: its curves, what it predicts now, what it predicted epoch by epoch."""

import cv2
import numpy as np

from unet.pictures.panels import as_rgb, panel
from unet.reading.pixels import resize

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


def draw_curves(history):
    """The curves of a training, loss and scores of each epoch, training and validation, one beside
    the other: RGB uint8, 400 pixels high.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: it delays the first step
    from matplotlib.figure import Figure

    others = "epoch", "seconds"
    names = [n for n in history[0] if n not in others and not n.startswith("val_")]
    epochs = [row["epoch"] for row in history]
    figure = Figure((5 * len(names), 4), dpi=100, layout="constrained")
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
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def draw_progress(history, samples, predictions):
    """The curves so far, and under them each sample's image, truth and present prediction, on
    white: RGB uint8.
    """
    captions = "image", "truth", f"prediction after epoch {history[-1]['epoch']}"
    parts = [draw_curves(history)]
    for caption, pictures in zip(captions, (samples.images, samples.truths, predictions)):
        panels = [panel(as_rgb(pixels), caption, *PANEL) for pixels in pictures]
        parts.append(np.concatenate(panels, axis=1))
    width = max(part.shape[1] for part in parts)
    white = dict(constant_values=255)
    return np.concatenate(
        [np.pad(p, [(0, 0), (0, width - p.shape[1]), (0, 0)], **white) for p in parts]
    )


def draw_filmstrip(frames, samples):
    """A row for each sample: image, its prediction after some of the epochs, truth; RGB uint8.

    frames: {epoch: path of its frame}; those that are damaged are left out.
    """
    count = len(samples.images)
    shape = shrink(np.concatenate(list(samples.truths)), count).shape
    size = shape[0] // count, shape[1]
    pictures = {epoch: cv2.imread(str(path)) for epoch, path in frames.items()}
    whole = [(e, p[..., ::-1]) for e, p in pictures.items() if p is not None and p.shape == shape]
    places = np.linspace(0, len(whole) - 1, min(MOST_FRAMES, len(whole))).astype(int)
    frames = [whole[place] for place in places]
    shown = [(f"epoch {epoch}", np.split(frame, count)) for epoch, frame in frames]
    columns = [("image", samples.images), *shown, ("truth", samples.truths)]
    strips = [
        np.concatenate([panel(resize(as_rgb(p), size), name, *SMALL_PANEL) for p in pixels])
        for name, pixels in columns
    ]
    return np.concatenate(strips, axis=1)
