"""Smooth noise, shapes and areas, of which scenes.py is made. Sizes are (H, W), images (H, W, C),
points of lines and polygons (x, y).
"""

import cv2
import numpy as np


def cloud(rng, size, grain):
    """Smooth noise, float32 (H, W), mean 0, spots of `grain` pixels, (y, x) or one number."""
    grain = np.broadcast_to(grain, 2)
    coarse = rng.normal(size=[n // g + 3 for n, g in zip(size, grain)]).astype(np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def oval(size, centre, radii, degrees=0.0):
    """Distance of each pixel from a centre (y, x) in units of an ellipse's radii: float32 (H, W),
    1 on its edge.
    """
    y, x = np.indices(size, np.float32) - np.reshape(centre, (2, 1, 1)).astype(np.float32)
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return np.hypot((cosine * y - sine * x) / radii[0], (sine * y + cosine * x) / radii[1])


def nearest_two(size, seeds, stretch=(1, 1)):
    """Number of the nearest of some seeds (N, 2), (y, x), and how much further away the second
    nearest is, float32, both (H, W); distances are multiplied by `stretch`, (y, x).
    """
    y, x = np.indices(size, np.float32)
    label, first, second = np.zeros(size, int), *np.full((2, *size), np.inf, np.float32)
    for number, seed in enumerate(np.float32(seeds)):
        distance = np.hypot(stretch[0] * (y - seed[0]), stretch[1] * (x - seed[1]))
        is_nearest = distance < first
        second = np.where(is_nearest, first, np.minimum(second, distance))
        first = np.minimum(first, distance)
        label[is_nearest] = number
    return label, second - first


def bent(pixels, bend, margin=0, way=cv2.INTER_NEAREST):
    """Pixels as a bent lens shows them, float32 (H, W): at (x, y) those of x + bend[0] + margin, y
    + bend[1] + margin.
    """
    places = np.indices(bend[0].shape, np.float32)[::-1]
    x, y = (place + by + margin for place, by in zip(places, bend))
    return cv2.remap(np.float32(pixels), x, y, way, borderMode=cv2.BORDER_REPLICATE)


def curve(start, middle, end, count=40):
    """Points (x, y) of a quadratic Bezier curve, float (count, 2)."""
    t = np.linspace(0, 1, count)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end


def rounded(points):
    """A polygon (N, 2) with its corners cut twice."""
    for _ in range(2):
        after = np.roll(points, -1, axis=0)
        points = np.stack([0.8 * points + 0.2 * after, 0.2 * points + 0.8 * after], 1)
        points = points.reshape(-1, 2)
    return points


def fill(image, points, colour):
    """Fill a polygon of points (x, y), with soft edges."""
    points = np.round(np.asarray(points) * 16).astype(np.int32)
    cv2.fillPoly(image, [points], scalar(image, colour), cv2.LINE_AA, shift=4)


def scalar(image, colour):
    """A colour, or a grey value, as OpenCV takes it."""
    return [float(c) for c in np.broadcast_to(colour, image.shape[2:] or 1)]


def ellipse(centre, radii):
    """Points (60, 2) of an upright ellipse, its centre and radii (x, y), or of a circle."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radii


def stroke(image, points, thickness, colour):
    """Draw a line of a width in pixels along points (x, y)."""
    points = np.round(points).astype(np.int32)
    cv2.polylines(image, [points], False, scalar(image, colour), thickness)


def blend(image, share, colour):
    """The image (H, W, C) with a share (H, W) of a colour (C,) or of another image."""
    return image + share[..., None] * (np.asarray(colour, np.float32) - image)


def as_uint8(image):
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def soft(inside, sigma):
    """Where something is, (H, W), with soft edges: float32 in 0..1."""
    return cv2.GaussianBlur(np.float32(inside), (0, 0), sigma)


def steep(away, width):
    """1 within a shape's edge, 0 beyond it, over a width, from distances as oval's."""
    return 1 / (1 + np.exp(np.clip((away - 1) / width, -30, 30)))


def spot(rng, size, least, most=None):
    """Distances as oval's from a random place, (H, W); the radii lie between least and most."""
    radii = rng.uniform(least, most or least, 2)
    return oval(size, rng.uniform(0, 1, 2) * size, radii, rng.uniform(0, 180))


def expose(rng, image, sigma, noise, quality):
    """A photo, uint8 RGB, of light (H, W, 3): the lens's blur, noise, a JPEG file's blocks."""
    image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image + rng.normal(0, noise, (*image.shape[:2], 1)) + rng.normal(0, noise / 3, 3)
    encoded = cv2.imencode(".jpg", as_uint8(image), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)


def rounded_uint8(light, step):
    """Light in steps of some grey levels, uint8, for PNG packs no noise."""
    return as_uint8(step * np.round(light / step))
