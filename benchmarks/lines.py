"""Drawn photos of thin lines with their masks, for folders.py: cracks in the ground, vessels of an
eye.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.shapes import (
    blend,
    cloud,
    curve,
    ellipse,
    expose,
    fill,
    oval,
    soft,
    spot,
    steep,
    stroke,
)

EMPTY = (2, 9)  # the photos of cracks that have none


@dataclass(frozen=True)
class Line:
    """A line whose width and darkness change along it."""

    points: np.ndarray  # (N, 2), (x, y) in pixels
    widths: np.ndarray  # (N,), pixels
    darkness: np.ndarray  # (N,), 0 to 1


def draw_lines(size, lines, share=1.0):
    """How much of each pixel the lines cover, each of a share of its width, and how dark they are
    there, thick ones over thin ones: float32 (H, W), both in 0..1.
    """
    cover, dark = np.zeros((2, 2 * size[0], 2 * size[1]), np.uint8)  # twice as fine
    for line in sorted(lines, key=lambda line: line.widths.max()):
        points = np.round(2 * line.points).astype(int).tolist()
        widths = np.maximum(np.round(2 * share * line.widths), 1).astype(int).tolist()
        for start, end, width, value in zip(points, points[1:], widths, 255 * line.darkness):
            cv2.line(cover, start, end, 255, width)
            cv2.line(dark, start, end, value, width)
    small = (cv2.resize(p, size[::-1], interpolation=cv2.INTER_AREA) for p in (cover, dark))
    return [np.float32(plane) / 255 for plane in small]


def along(rng, count, low, high, grain=12):
    """Numbers that change slowly from low to high and back, float (count,)."""
    waves = cloud(rng, (count, 1), (grain, 1))[:, 0]
    return low + (high - low) / (1 + np.exp(-2 * waves))


def draw_cracks(seed, number, size=(1200, 1600)):
    """A photo of concrete or asphalt: image (H, W, 3), mask (H, W) of its cracks, none in some.
    Joints, twigs, scratches, pores, stains and shadows are no cracks.
    """
    rng = np.random.default_rng((seed, number))
    lines, mask = [], np.zeros(size, bool)
    share = 0 if number in EMPTY else rng.uniform(0.011, 0.021)
    while mask.mean() < share:
        lines += random_crack(rng, size)
        cover, dark = draw_lines(size, lines)
        mask = cover >= 0.5
    image = draw_ground(rng, size)
    draw_litter(image, rng, size)
    if lines:
        crumbled = soft(mask, 4) * (cloud(rng, size, 18) > 0.6)
        image *= 1 + 0.25 * crumbled[..., None]
        deep = soft(dark, 0.8) * (0.85 + 0.15 * cloud(rng, size, 5)).clip(0, 1)
        image = blend(image, deep, 0.28 * image.mean(axis=(0, 1)))
    image *= shade(rng, size)[..., None]
    return expose(rng, image, rng.uniform(1.3, 1.8), 1.5, rng.uniform(65, 90)), np.uint8(
        255
    ) * mask


def random_crack(rng, size):
    """Lines of a crack that crosses a photo, or ends in it, and of its branches."""
    turn = rng.random() < 0.5
    across, length = size if turn else size[::-1]
    start = np.array([rng.uniform(0.1, 0.9) * across, -10.0])
    end = np.array([rng.uniform(0.1, 0.9) * across, length * rng.choice([0.6, 0.8, 1.02])])
    if turn:
        start, end = start[::-1], end[::-1]
    trunk = jagged(rng, start, end, rng.uniform(5, 9))
    lines = [trunk]
    for _ in range(rng.integers(2, 6)):
        parent = lines[rng.integers(len(lines))]
        at = rng.integers(10, len(parent.points) - 30)
        way = parent.points[at + 20] - parent.points[at]
        angle = np.arctan2(way[1], way[0]) + rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
        reach = rng.uniform(120, 480) * np.array([np.cos(angle), np.sin(angle)])
        width = parent.widths[at] * rng.uniform(0.5, 0.85)
        lines.append(jagged(rng, parent.points[at], parent.points[at] + reach, width))
    return lines


def jagged(rng, start, end, width):
    """A Line from start to end that breaks like stone, thinner to its end."""
    points = np.array([start, end])
    for _ in range(7):
        ways = np.diff(points, axis=0)
        aside = rng.normal(0, 0.11, (len(ways), 1)) * ways[:, ::-1] * (1, -1)
        middles = points[:-1] + ways / 2 + aside
        points = np.insert(points, np.arange(1, len(points)), middles, axis=0)
    count = len(points)
    widths = width * along(rng, count, 0.6, 1.25, 6) * np.linspace(1.1, 0.6, count)
    darkness = along(rng, count, 0.3, 1.0, 16) * np.linspace(1, 0.8, count)
    return Line(points, np.clip(widths, 3, 9), darkness)


def draw_ground(rng, size):
    """Light from bare concrete, or from asphalt with its stones, float32 (H, W, 3)."""
    is_asphalt = rng.random() < 0.4
    tone = 1 + sum(
        share * cloud(rng, size, grain) for share, grain in ((0.07, 260), (0.05, 60), (0.04, 14))
    )
    if is_asphalt:
        stones = cloud(rng, size, 8)
        tone += 0.22 * np.tanh(2 * stones - 1.2) * (0.7 + 0.3 * cloud(rng, size, 20))
        colour = rng.uniform(95, 140) + rng.normal(0, 3, 3)
    else:
        tone += 0.04 * cloud(rng, size, 5)
        colour = rng.uniform(140, 195) + np.array([5, 0, -8]) * rng.uniform(0, 2)
    image = np.float32(colour * tone[..., None])
    for _ in range(rng.integers(60, 260)):  # pores and pebbles
        place, radius = rng.uniform(0, 1, 2) * size[::-1], rng.gamma(2, 1.6) + 1.5
        radii = radius * rng.uniform(0.6, 1.2, 2)
        value = colour * rng.choice([0.35, 0.5, 0.7, 1.25])
        fill(image, ellipse(place + 0.5 * radius, radii), 0.5 * colour)
        fill(image, ellipse(place, radii), value)
    return image


LITTER = (  # how many at most, how long, bent and wide, in pixels, and shades of the ground
    (13, 230, 14, (1, 4), ((0.45,), (0.6,), (1.3,))),  # scratches and lines of a pencil
    (6, 110, 30, (3, 8), ((0.5, 0.4, 0.27), (0.85, 0.7, 0.45))),  # twigs and blades of grass
)


def draw_litter(image, rng, size):
    """Joints, scratches, twigs and stains on a ground, in place."""
    colour = image.mean(axis=(0, 1))
    for _ in range(rng.integers(0, 3)):  # joints
        x = rng.uniform(0.1, 0.9) * size[1] + rng.normal(0, 30, 2)
        ends = np.array([(x[0], -5), (x[1], size[0] + 5)])
        if rng.random() < 0.5:
            ends = ends[:, ::-1] * (size[1] / size[0], size[0] / size[1])
        width = int(rng.integers(5, 17))
        stroke(image, ends + 2, width + 4, 1.12 * colour)
        stroke(image, ends, width, rng.uniform(0.25, 0.5) * colour)
    for most, reach, bend, widths, shades in LITTER:
        for _ in range(rng.integers(1, most + 1)):
            start = rng.uniform(-0.1, 1.1, 2) * size[::-1]
            way = rng.normal(0, reach, 2)
            line = curve(start, start + way / 2 + rng.normal(0, bend, 2), start + way)
            width = int(rng.integers(*widths))
            if width > 3:
                stroke(image, line + width, width, 0.5 * colour)  # its shadow
            stroke(image, line, width, shades[rng.integers(len(shades))] * colour)
    for _ in range(rng.integers(2, 6)):  # stains of oil, water and rust
        away = spot(rng, size, 25, 190) + 0.2 * cloud(rng, size, 50) + 0.08 * cloud(rng, size, 12)
        tint = np.array([1, 0.97, 0.92]) * rng.uniform(0.35, 0.8)
        image[:] = blend(image, rng.uniform(0.5, 1) * steep(away, 0.08), image * tint)


def shade(rng, size):
    """How much light falls on a ground, (H, W): from a side, in shadows of a wall and of wires."""
    height, width = size
    y, x = np.indices(size, np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * (x / width - 0.5) + np.sin(angle) * (y / height - 0.5)
    light = (
        1 + rng.uniform(0.2, 0.7) * slope - 0.2 * oval(size, (height / 2, width / 2), size) ** 2
    )
    shadow = np.zeros(size, np.float32)
    if rng.random() < 0.5:
        middle = rng.uniform(0.25, 0.75, 2) * size[::-1]
        turned = rng.uniform(0, 2 * np.pi) + np.array([0, np.pi / 2, np.pi])
        far = middle + 2500 * np.stack([np.cos(turned), np.sin(turned)], 1)
        fill(shadow, [middle, *far], 1)
    for _ in range(rng.integers(0, 3)):
        ends = rng.uniform(0, 1, (2, 2)) * size[::-1]
        reach = (ends[1] - ends[0]) * 3
        line = curve(ends[0] - reach, ends.mean(axis=0) + rng.normal(0, 60, 2), ends[1] + reach)
        stroke(shadow, line, int(rng.integers(5, 20)), 1)
    return light * (1 - rng.uniform(0.35, 0.6) * soft(shadow, rng.uniform(2, 5)))


def draw_vessels(seed, number, size=(584, 565)):
    """The back of an eye within a round field on black: image (H, W, 3), mask (H, W) of vessels.
    Bleedings, deposits, the bright disc and the vessels of a deeper layer are none.
    """
    rng = np.random.default_rng((seed, number))
    centre, radius = np.array(size) / 2 + rng.normal(0, 4, 2), rng.uniform(262, 274)
    side = rng.choice([-1, 1])
    disc = centre + radius * np.array([rng.uniform(-0.1, 0.1), side * rng.uniform(0.45, 0.62)])
    lines = []
    for up in (-1, 1):
        for _ in range(2):  # an artery and a vein
            for way, width, bend in ((-side, 7.5, 0.006), (side, 4.5, 0.0)):
                angle = np.arctan2(up, way * rng.uniform(0.3, 1.0))
                turn = up * way * -bend * rng.uniform(0.6, 1.3)
                start = disc[::-1] + rng.normal(0, 4, 2)
                grow(lines, rng, start, angle, width * rng.uniform(0.75, 1.15), turn)
    field = oval(size, centre, (radius, radius))
    cover, dark = draw_lines(size, lines)
    mask = (cover >= 0.5) & (field < 0.985)
    reflex = draw_lines(size, [line for line in lines if line.widths.max() > 4], 0.3)[0]
    image = draw_fundus(rng, size, disc, centre - radius * np.array([0, side * 0.1]))
    blood = np.array([0.62, 0.5, 0.55]) * rng.uniform(0.85, 1.1)
    image = blend(image, soft(dark, 0.8), image * blood)
    image = blend(image, rng.uniform(0.1, 0.35) * soft(reflex, 0.8), image * 1.5)
    draw_findings(image, rng, size, centre, radius)
    light = 1.1 - 0.45 * field**2 + 0.15 * cloud(rng, size, 200)
    light -= 0.3 * np.exp(-(((field - 1) / 0.07) ** 2))
    image *= (light * steep(field, 0.004))[..., None]
    return expose(rng, image, rng.uniform(0.8, 1.2), 1.5, rng.uniform(70, 90)), np.uint8(
        255
    ) * mask


def grow(lines, rng, place, angle, width, turn):
    """Append to lines a vessel from a place (x, y) on, and its branches, until they are thin."""
    points, widths, swing = [place], [width], 0.0
    while width > 1 and len(points) < 150:
        swing = 0.8 * swing + rng.normal(0, 0.035)
        angle += turn * 4 / 3 + swing
        place = place + 4 * np.array([np.cos(angle), np.sin(angle)])
        width *= 0.992
        points.append(place)
        widths.append(width)
        if rng.random() < 0.045 and width > 1.3 and len(points) > 6:
            aside = rng.choice([-1, 1])
            child = width * rng.uniform(0.45, 0.8)
            grow(lines, rng, place, angle + aside * rng.uniform(0.4, 1.1), child, -aside * 0.004)
            width *= 0.95
            angle -= aside * 0.12
    widths = np.clip(widths, 1, 9)
    darkness = np.clip(0.35 + widths / 8, 0, 1) * along(rng, len(points), 0.6, 1.05)
    lines.append(Line(np.array(points), widths, darkness.clip(0, 1)))


def draw_fundus(rng, size, disc, macula):
    """An eye's background with the bright disc, places (y, x), float32 (H, W, 3)."""
    orange = np.array([206, 104, 52]) * rng.uniform(0.8, 1.08) + rng.normal(0, 8, 3)
    tone = (
        1 + 0.05 * cloud(rng, size, 60) + 0.04 * cloud(rng, size, 14) + 0.03 * cloud(rng, size, 4)
    )
    image = np.float32(orange * tone[..., None])
    deep = np.abs(cloud(rng, size, 34)) < 0.16  # bands of the layer below
    image = blend(image, rng.uniform(0.1, 0.5) * soft(deep, 2.5), image * (0.85, 0.72, 0.75))
    image = blend(image, 0.5 * np.exp(-(oval(size, macula, (48, 48)) ** 2)), image * 0.5)
    away = oval(size, disc, rng.uniform(34, 42) * np.array([1.08, 1])) + 0.04 * cloud(
        rng, size, 20
    )
    image = blend(image, 0.8 * steep(away, 0.1), (250, 206, 126))
    return blend(image, 0.7 * steep(away * rng.uniform(1.8, 2.6), 0.2), (255, 238, 190))


def draw_findings(image, rng, size, centre, radius):
    """Bleedings, dark and as red as the vessels, and yellow deposits, in place."""
    for _ in range(rng.integers(4, 22)):
        place = centre + rng.uniform(-0.75, 0.75, 2) * radius
        radii = (rng.gamma(2, 2) + 2) * rng.uniform(0.5, 1.3, 2)
        away = oval(size, place, radii, rng.uniform(0, 180)) + 0.25 * cloud(rng, size, 6)
        image[:] = blend(
            image, rng.uniform(0.5, 0.95) * steep(away, 0.15), image * (0.6, 0.42, 0.5)
        )
    spot = centre + rng.uniform(-0.5, 0.5, 2) * radius
    for _ in range(rng.integers(0, 25)):
        away = oval(size, spot + rng.normal(0, 35, 2), rng.uniform(1.5, 5, 2))
        image[:] = blend(image, 0.8 * steep(away, 0.2), (240, 200, 110))
