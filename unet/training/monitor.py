"""Views of a training: pictures in vis/NAME/, and a warning where it predicts one grey
value everywhere.
"""

import time
from dataclasses import dataclass

import keras
import numpy as np

from unet.data.arrays import has_foreground
from unet.data.augment import crop_middle, cut_windows, draw_middle
from unet.data.scale import standardize
from unet.pictures.curves import draw_filmstrip, draw_progress, shrink
from unet.pictures.panels import draw_truth, show
from unet.reading.pixels import write_image

CONSTANT = 0.01  # probabilities of an image that differ by less are one grey value
NUM_SAMPLES = 4  # images whose prediction is shown after each epoch
NEARBY = 8  # rows that are looked at for each, at the most
DRAWING_SHARE = 0.05  # of the time of a training, at the most, goes to its pictures


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
    draws = draw_middle(arrays.images.shape[1:], sizes[0], 1)

    def pair(row):
        parts = arrays.images[row], arrays.masks[row]
        return [part[0] for part in cut_windows([parts], draws, sizes[0])]

    pairs = []
    for part in np.array_split(np.asarray(rows), min(NUM_SAMPLES, len(rows))):
        found = map(pair, part[:NEARBY])
        found = (sample for sample in found if has_foreground(arrays.as_numbers(sample[1])))
        pairs.append(next(found, None) or pair(part[0]))
    images, masks = (np.stack(part) for part in zip(*pairs))
    numbers = arrays.as_numbers(crop_middle(masks, sizes[1]))[..., 0]
    truths = [draw_truth(truth, arrays.classes) for truth in numbers]
    shown = np.round(crop_middle(images, sizes[1])).astype(np.uint8)
    return Samples(standardize(images, *scale), shown, np.stack(truths))


class Monitor(keras.callbacks.Callback):
    """After each epoch vis/NAME/progress.png, curves and Samples with their predictions, but no
    more often than DRAWING_SHARE of the time allows; a warning when all predictions have become
    one grey value: when the probabilities of each image are within CONSTANT.

    files: the run's RunFiles, which come before this one in the list of callbacks.
    """

    def __init__(self, files, samples, classes=()):
        super().__init__()
        self.files, self.samples, self.classes = files, samples, classes
        self.record, self.paths = files.progress.record, files.paths
        self.is_constant, self.drawn, self.cost = False, time.monotonic(), 0.0

    def frames(self):
        """Pictures of the samples' predictions after some epochs, {epoch: path}."""
        ending = f".{self.paths.fold}.png" if self.paths.fold else ".png"
        found = {}
        for path in self.paths.picture("epochs/0").parent.glob(f"*{ending}"):
            number = path.name.removesuffix(ending)
            if number.isdecimal():
                found[int(number)] = path
        return dict(sorted(found.items()))

    def on_epoch_end(self, epoch, logs=None):
        probabilities = np.asarray(self.model.predict_on_batch(self.samples.inputs))
        probabilities = probabilities[..., -self.record.network.num_maps :]
        self.warn(epoch, probabilities)
        start = time.monotonic()
        is_last = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if not is_last and self.cost > DRAWING_SHARE * (start - self.drawn):
            return
        if self.record.network.num_maps > 1:
            masks = probabilities.argmax(axis=-1)[..., None]
        else:
            masks = np.round(255 * probabilities).astype(np.uint8)
        predictions = [show(mask, self.classes) for mask in masks]
        for number, path in self.frames().items():
            if number > epoch:  # of an earlier training
                path.unlink()
        frame = shrink(np.concatenate(predictions), len(predictions))
        write_image(self.paths.picture(f"epochs/{epoch + 1:04}"), frame)
        picture = draw_progress(self.files.progress.history, self.samples, predictions)
        write_image(self.paths.picture("progress"), picture)
        self.drawn = time.monotonic()
        self.cost = self.drawn - start

    def warn(self, epoch, probabilities):
        was_constant = self.is_constant
        self.is_constant = bool(np.ptp(probabilities, axis=(0, 1, 2)).max() < CONSTANT)
        if not self.is_constant or was_constant:
            return
        means = ", ".join(f"{mean:.3f}" for mean in probabilities.mean(axis=(0, 1, 2)))
        more = ""
        if not self.record.network.batch_normalization:
            more = ", or --set network.batch_normalization=true"
        print(
            f"warning: after epoch {epoch + 1} every pixel has the same probability, {means}: "
            f"lower --learning-rate (it is {self.record.recipe.learning_rate:g}){more}"
        )

    def on_train_end(self, logs=None):
        """Draw the filmstrip; none where an interrupted training had no epoch left."""
        if frames := self.frames():
            picture = draw_filmstrip(frames, self.samples)
            write_image(self.paths.picture("filmstrip"), picture)
