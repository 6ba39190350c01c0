"""What test.py draws of an image, its truth and its prediction."""

import cv2
import numpy as np

from files import resize

MIN_PANEL, MAX_PANEL = 256, 768  # pixels of a panel's longer side
FALSE = (230, 60, 20)  # RGB of the pixels predicted wrongly
MISSED = (20, 110, 250)  # and of those not predicted
CAPTION = 22  # pixels above the panels


def draw(result, caption):
    """RGB picture uint8: image, truth, probability and error side by side; without a truth the
    image, the probability and its outline on the image.
    """
    image = as_rgb(result.image)
    probability = as_rgb(np.round(result.probability * 255).astype(np.uint8))
    prediction = result.prediction
    if result.truth is None:
        marked = image.copy()
        outlines = cv2.findContours(
            prediction.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )[0]
        cv2.drawContours(
            marked, outlines, -1, FALSE, thickness=max(1, max(prediction.shape) // 300)
        )
        panels = {caption: image, "prediction": probability, "outline": marked}
    else:
        truth = result.truth[..., 0] > 0
        error = np.where(truth[..., None] & prediction[..., None], np.uint8(255), image // 2)
        error[prediction & ~truth], error[truth & ~prediction] = FALSE, MISSED
        panels = {
            caption: image,
            "truth": as_rgb(result.truth),
            "prediction": probability,
            "error: red false, blue missed": error,
        }
    return np.concatenate([_panel(pixels, text) for text, pixels in panels.items()], axis=1)


def as_rgb(pixels):
    """A copy of grey or RGB pixels as RGB, (H, W, 3)."""
    return np.repeat(pixels, 3 // pixels.shape[2], axis=2)


def _panel(pixels, caption):
    """Pixels at a size that the eye can judge, on white under a caption."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer < MIN_PANEL:
        factor = -(-MIN_PANEL // longer)
        pixels = np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)
    elif longer > MAX_PANEL:
        pixels = resize(
            pixels, tuple(max(1, round(length * MAX_PANEL / longer)) for length in (height, width))
        )
    framed = cv2.copyMakeBorder(
        pixels, CAPTION, 4, 4, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    cv2.putText(
        framed,
        caption,
        (4, CAPTION - 6),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.45,
        (0, 0, 0),
        1,
        cv2.LINE_AA,
    )
    return framed


def draw_channels(result):
    """The noise document's picture, RGB: the image, with the truth in blue and the prediction in
    red.
    """
    picture = as_rgb(result.image)
    picture[..., 2] = np.maximum(picture[..., 2], result.truth[..., 0])
    picture[..., 0] = np.maximum(
        picture[..., 0], np.round(result.probability[..., 0] * 255).astype(np.uint8)
    )
    return picture
