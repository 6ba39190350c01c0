"""What test.py draws of an image, its truth and its prediction."""

import math

import cv2
import numpy as np

from unet.jobs.settings import IGNORED
from unet.reading.classes import SegmentClass, colors_of
from unet.reading.pixels import resize

TWO_TONES = SegmentClass("background", (0, 0, 0)), SegmentClass("foreground", (255, 255, 255))
MIN_PANEL, MAX_PANEL = 256, 768  # pixels of a panel's longer side
FALSE = (230, 60, 20)  # RGB of the pixels predicted wrongly
MISSED = (20, 110, 250)  # and of those not predicted
NOT_COUNTED = (128, 128, 128)  # and of those that do not count
CAPTION = 22  # pixels above the panels


def error_kinds(truth, prediction):
    """What each pixel of a prediction is: 0 background rightly, 1 another class rightly, 2 a wrong
    class, 3 background where there is a class, 4 one that does not count; uint8 (H, W), as the
    class numbers given.
    """
    kinds = np.where(prediction > 0, np.uint8(2), np.uint8(3))
    kinds[truth == prediction] = 1
    kinds[(truth == 0) & (prediction == 0)] = 0
    kinds[truth == IGNORED] = 4
    return kinds


def draw(result, caption, classes=()):
    """RGB picture uint8: image, truth, prediction and error side by side; without a truth the
    image, the prediction and its outline on the image. The prediction is its probability, or of
    more than two classes their colours.
    """
    image = as_rgb(result.image)
    if classes:
        prediction = colors_of(classes)[result.prediction]
    else:
        prediction = as_rgb(np.round(result.probability * 255).astype(np.uint8))
    panels = {caption: image}
    if result.truth is None:
        outline = draw_outlines(image.copy(), result.prediction, classes)
        panels |= {"prediction": prediction, "outline": outline}
    else:
        panels |= {
            "truth": draw_truth(result.truth, classes),
            "prediction": prediction,
            "error: red false, blue missed": draw_error(image, result),
        }
    return join(panels)


def draw_pair(first, second, names, dice, classes=()):
    """RGB picture uint8: image, truth and the errors of two runs' Results side by side."""
    image = as_rgb(first.image)
    panels = {first.id: image, "truth": draw_truth(first.truth, classes)}
    for result, name, value in zip((first, second), names, dice):
        panels[f"{name}  Dice {value:.3f}"] = draw_error(image, result)
    return join(panels)


def draw_truth(truth, classes):
    """Class numbers (H, W) as RGB: in the classes' colours, or the foreground white."""
    return with_not_counted(colors_of(classes or TWO_TONES))[truth]


def with_not_counted(colors):
    """RGB uint8 (K, 3) of the classes with that of IGNORED, which comes after the numbers of all
    that there may be: (256, 3).
    """
    table = np.full((IGNORED + 1, 3), NOT_COUNTED, np.uint8)
    table[: len(colors)] = colors
    return table


def draw_error(image, result):
    """The RGB image, dark, with what a Result has right white, false red and missed blue, and grey
    what does not count.
    """
    kinds = error_kinds(result.truth, result.prediction)
    error = image // 2
    for kind, color in enumerate(((255, 255, 255), FALSE, MISSED, NOT_COUNTED), 1):
        error[kinds == kind] = color
    return error


def draw_outlines(image, numbers, classes):
    """The RGB image with the outlines of class numbers (H, W) on it, in the classes' colours or in
    that of what is FALSE.
    """
    thickness = max(1, max(numbers.shape) // 300)
    for number in range(1, max(len(classes), 2)):
        mask = (numbers == number).astype(np.uint8)
        outlines = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
        color = classes[number].color if classes else FALSE
        cv2.drawContours(image, outlines, -1, color, thickness=thickness)
    return image


def show(mask, classes):
    """RGB uint8 (H, W, 3) of a mask of grey values 0..255 or of class numbers, (H, W, 1)."""
    return draw_truth(mask[..., 0], classes) if classes else as_rgb(mask)


def join(panels):
    """Panels {caption: RGB pixels} side by side."""
    return np.concatenate([panel(pixels, text) for text, pixels in panels.items()], axis=1)


def as_rgb(pixels):
    """A copy of grey or RGB pixels as RGB, (H, W, 3)."""
    return np.repeat(pixels, 3 // pixels.shape[2], axis=2)


def panel(pixels, caption, least=MIN_PANEL, most=MAX_PANEL):
    """RGB pixels at a size that the eye can judge, on white under a caption; least, most: of their
    longer side.
    """
    longer = max(pixels.shape[:2])
    if longer < least:
        factor = math.ceil(least / longer)
        pixels = np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)
    elif longer > most:
        size = tuple(max(1, round(length * most / longer)) for length in pixels.shape[:2])
        pixels = resize(pixels, size)
    white, font = (255, 255, 255), (cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    framed = cv2.copyMakeBorder(pixels, CAPTION, 4, 4, 4, cv2.BORDER_CONSTANT, value=white)
    cv2.putText(framed, caption, (4, CAPTION - 6), *font)
    return framed


def draw_channels(result):
    """The noise document's picture, RGB: probability in red, truth in blue, black else; what
    agrees is magenta.
    """
    red, blue = np.round(255 * result.probability[..., 0]), 255 * result.truth
    return np.stack([red, np.zeros_like(red), blue], axis=-1).astype(np.uint8)
