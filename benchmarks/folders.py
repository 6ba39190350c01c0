"""Four folders of images and masks as people bring them, drawn: no job has such ones.

python -m benchmarks.folders --output DIR

Writes DIR/NAME/images and masks, and new_images and new_masks that no training has seen:
  cracks   few large photos of concrete and asphalt; some masks are empty
  cells    many small images of three microscopes, grey or RGB, a size each
  classes  leaves (1) and what has befallen them (2); masks of the values 0, 1 and 2
  vessels  round images of the back of an eye; masks as gif
What looks like the foreground without being it is drawn on purpose, as in scenes.py.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.shapes import as_uint8, blend, cloud, curve, ellipse, fill, oval, stroke
from unet.errors import InputError, one_line_errors
from unet.options import option, parse_options


@dataclass(frozen=True)
class Options:
    output: str = option(
        "raw/folders", "folder for the four, which has none of them", metavar="DIR"
    )
    seed: int = option(1, "of the images", least=0, most=2**32 - 1)
    tiny: bool = option(False, "three images of each and a new one, to see that this script works")


EMPTY = (2, 9)  # the photos of cracks that have none
SETTINGS = {  # of which the one that makes the smallest file is taken
    ".jpg": [[cv2.IMWRITE_JPEG_QUALITY, 90]],
    ".png": [  # for masks, and for images with noise
        [
            cv2.IMWRITE_PNG_COMPRESSION,
            9,
            cv2.IMWRITE_PNG_STRATEGY,
            cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
        ],
        [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
        + [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH],
    ],
}


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


def draw_cells(seed, number):
    """An image of a microscope, which of three the number says, and its mask (H, W)."""
    draw = KINDS[number % len(KINDS)]
    return draw(np.random.default_rng((seed, number)))


def place_cells(rng, size, least=5, most=60):
    """Cells that may touch: [(how far away each pixel is, 1 on the edge (H, W), mean radius)]."""
    middle, count = rng.uniform(6.5, 14), int(np.exp(rng.uniform(np.log(least), np.log(most + 1))))
    discs, cells = [], []
    for _ in range(40 * count):
        radius = np.clip(middle * rng.uniform(0.75, 1.35), 6.5, 18)
        place = rng.uniform(0.03, 0.97, 2) * size
        if discs and rng.random() < 0.4:  # beside another
            near, other = discs[rng.integers(len(discs))]
            angle = rng.uniform(0, 2 * np.pi)
            place = near + (radius + other) * np.array([np.sin(angle), np.cos(angle)])
        is_within = (place > 4).all() and (place < np.array(size) - 4).all()
        if is_within and all(np.hypot(*(place - p)) > 0.9 * (radius + r) for p, r in discs):
            discs.append((place, radius))
        if len(discs) == count:
            break
    for place, radius in discs:
        shape = radius * np.array([rng.uniform(0.75, 1), 1.08])
        away = oval(size, place, shape, rng.uniform(0, 180))
        cells.append((away + 0.07 * cloud(rng, size, max(4, int(radius))), radius))
    return cells


def draw_glowing(rng, size=(256, 256)):
    """Fluorescence, grey: nuclei of any brightness in the haze of those out of focus."""
    light, mask = np.zeros(size, np.float32), np.zeros(size, bool)
    dimmest = rng.uniform(0.12, 0.3)
    for away, _ in place_cells(rng, size):
        bright = np.exp(rng.uniform(np.log(dimmest), 0))
        texture = 1 + 0.18 * cloud(rng, size, 5) - 0.25 * np.minimum(away, 1) ** 2
        light = np.maximum(light, bright * texture * steep(away, 0.07))
        mask |= away < 1
    haze = rng.uniform(0.4, 0.9) * soft(light, 18) + np.maximum(
        0.1 + 0.04 * cloud(rng, size, 70), 0
    )
    for _ in range(rng.integers(1, 6)):  # nuclei of another layer, which are not asked for
        haze += rng.uniform(0.1, 0.35) * np.exp(-(spot(rng, size, 14, 34) ** 2))
    for _ in range(rng.integers(0, 12)):  # dust
        light += rng.uniform(0.3, 0.9) * steep(spot(rng, size, 1, 2.6), 0.3)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.8, 1.9)) + haze
    y, x = rng.uniform(0.3, 0.7, 2) * size
    light = light * (1.1 - 0.4 * oval(size, (y, x), size) ** 2)
    light *= rng.uniform(120, 240) / np.quantile(light, 0.995)
    noise = rng.uniform(0.12, 0.3) * np.sqrt(np.maximum(light, 0)) * rng.normal(size=size)
    return rounded_uint8(light + noise, 4), np.uint8(255) * mask


def draw_phase(rng, size=(260, 347)):
    """Phase contrast, grey: cells hardly darker than the ground, in bright halos."""
    y, x = np.indices(size, np.float32) / size[0] - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(105, 145) + rng.uniform(10, 45) * (np.cos(angle) * x + np.sin(angle) * y)
    light += 5 * cloud(rng, size, 60) + 4 * cloud(rng, size, 14) + 3 * cloud(rng, size, 4)
    mask = np.zeros(size, bool)
    for away, radius in place_cells(rng, size):
        depth, halo = rng.uniform(3, 38), rng.uniform(20, 75)
        grains = rng.uniform(9, 22) * cloud(rng, size, 3) + 7 * cloud(rng, size, 6)
        light += steep(away, 0.06) * (grains - depth)
        side = 0.7 + 0.3 * np.clip(cloud(rng, size, int(2 * radius)), -1, 1)
        light += halo * side * np.exp(-((((away - 1.1) * radius) / 1.9) ** 2)) * (away > 1)
        mask |= away < 1
    for _ in range(rng.integers(3, 14)):  # dead cells and dust: bright within, dark around
        away = spot(rng, size, 2, 5)
        light += 80 * steep(away, 0.2) - 45 * np.exp(-(((away - 1.3) / 0.3) ** 2))
    for _ in range(rng.integers(0, 4)):  # fibres
        ends = rng.uniform(0, 1, (3, 2)) * size[::-1]
        stroke(light, curve(*ends), int(rng.integers(1, 4)), rng.choice([70, 85, 185]))
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.8, 1.4)) + rng.normal(0, 2, size)
    return rounded_uint8(light, 5), np.uint8(255) * mask


def draw_stained(rng, size=(360, 360)):
    """Stained tissue, RGB: purple nuclei on pink fibres with gaps, among red blood cells."""
    pink = np.array([226, 168, 198]) + rng.normal(0, 9, 3)
    purple = np.array([112, 74, 146]) + rng.normal(0, 10, 3)
    angle, bend = rng.uniform(0, np.pi), 14 * cloud(rng, size, 90)
    y, x = np.indices(size, np.float32)
    fibres = np.sin((np.cos(angle) * x + np.sin(angle) * y + bend) / rng.uniform(2, 4))
    dye = 0.16 * cloud(rng, size, 50) + 0.1 * cloud(rng, size, 9)
    dye += 0.16 * fibres * (cloud(rng, size, 30) > 0)
    image = blend(np.full((*size, 3), pink, np.float32), dye, purple)
    gaps = soft(cloud(rng, size, 45) > rng.uniform(0.7, 1.6), 1.5)
    image = blend(image, gaps, (238, 232, 240))
    for _ in range(rng.integers(3, 25)):  # red blood cells
        red = (192, 84, 112) + 8 * rng.normal(size=3)
        image = blend(image, 0.8 * steep(spot(rng, size, 6, 9), 0.12), red)
    for _ in range(rng.integers(3, 10)):  # nuclei of another layer, which are not asked for
        faint = rng.uniform(0.3, 0.6) * np.exp(-(spot(rng, size, 9, 30) ** 3))
        image = blend(image, faint, purple)
    mask = np.zeros(size, bool)
    for away, _ in place_cells(rng, size, 12):
        share = rng.uniform(0.4, 0.95) * (0.85 + 0.18 * cloud(rng, size, 4))
        share += 0.2 * np.exp(-(((away - 0.92) / 0.12) ** 2))  # the envelope
        image = blend(image, share.clip(0, 1) * steep(away, 0.06), purple)
        mask |= away < 1
    image *= (1 + 0.06 * cloud(rng, size, 200))[..., None]
    photo = expose(rng, image, rng.uniform(1, 1.7), 1, rng.uniform(65, 90))
    return rounded_uint8(photo, 6), np.uint8(255) * mask


KINDS = (draw_glowing, draw_glowing, draw_phase, draw_stained)  # by the rest of a number
KINDS += (draw_glowing, draw_phase, draw_glowing, draw_phase, draw_glowing)


def draw_classes(seed, number, size=(320, 480)):
    """A photo of leaves before others out of focus: image (H, W, 3), mask (H, W): 1 leaf, 2 its
    lesions.
    """
    rng = np.random.default_rng((seed, number))
    green = np.array([84, 122, 52]) + rng.normal(0, 12, 3)
    image, mask = draw_garden(rng, size, green), np.zeros(size, np.uint8)
    for _ in range(rng.integers(1, 4)):
        place = rng.uniform((0.3, 0.25), (0.7, 0.75)) * size
        leaf, image = draw_leaf(image, rng, place, green * rng.uniform(0.85, 1.2))
        mask[leaf] = 1
    share = rng.uniform(0.007, 0.035)
    rows, columns = np.nonzero(cv2.erode(mask, np.ones((9, 9))))
    while (mask == 2).mean() < share:
        at = rng.integers(len(rows))
        image = draw_lesion(image, rng, (rows[at], columns[at]), mask)
    for _ in range(rng.integers(2, 12)):  # drops of water and spots of light
        at = rng.integers(len(rows))
        radius = rng.uniform(1.5, 5)
        away = oval(size, (rows[at], columns[at]), (radius, radius))
        image = blend(image, 0.5 * steep(away, 0.15), image * 1.35 + 25)
    light = 1 + 0.16 * cloud(rng, size, 130)
    shadow = soft(cloud(rng, size, 70) > rng.uniform(0.5, 1.5), rng.uniform(2, 5))
    image *= (light * (1 - rng.uniform(0.25, 0.55) * shadow))[..., None]
    return expose(rng, image, rng.uniform(0.8, 1.2), 2, rng.uniform(65, 90)), mask


def leaf_shape(rng, length):
    """Distances from a leaf's edge as a function: points (x, y) of its outline, from the stem on,
    and of its midrib, both around 0.
    """
    t, bend = np.linspace(0, 1, 60), rng.uniform(-0.2, 0.2)
    wide = rng.uniform(0.2, 0.36) * np.sin(np.pi * t ** rng.uniform(0.7, 1)) ** 0.8
    wide *= 1 + rng.uniform(0, 0.06) * np.sin(t * rng.uniform(60, 110))
    rib = np.stack([t - 0.5, bend * np.sin(np.pi * t)], 1)
    outline = np.concatenate([rib + wide[:, None] * (0, 1), (rib - wide[:, None] * (0, 1))[::-1]])
    angle = rng.uniform(0, 2 * np.pi)
    turn = length * np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    return outline @ turn, rib @ turn


def draw_leaf(image, rng, place, green):
    """Where a leaf is, bool (H, W), and the image with it, its veins and its shadow."""
    size = image.shape[:2]
    outline, rib = leaf_shape(rng, rng.uniform(170, 330))
    outline, rib = outline + place[::-1], rib + place[::-1]
    inside, shadow = np.zeros((2, *size), np.float32)
    fill(inside, outline, 1)
    fill(shadow, outline + rng.uniform(4, 12, 2), 1)
    image = blend(image, 0.55 * soft(shadow, 5), (22, 26, 16))
    yellow = np.clip(0.15 + 0.3 * cloud(rng, size, 60), 0, 0.7)
    leaf = blend(np.full((*size, 3), green, np.float32), yellow, (176, 168, 70))
    leaf *= (1 + 0.07 * cloud(rng, size, 24) + 0.05 * cloud(rng, size, 5))[..., None]
    veins = np.zeros(size, np.float32)
    stroke(veins, rib, 3, 1)
    for at in range(4, 56, int(rng.integers(4, 8))):  # side veins, towards the tip
        for edge in (outline[min(at + 9, 59)], outline[::-1][min(at + 9, 59)]):
            stroke(veins, curve(rib[at], (rib[min(at + 3, 59)] + edge) / 2, edge), 1, 0.7)
    leaf = blend(leaf, 0.5 * soft(veins, 0.8), leaf * 1.2 + 28)
    return inside > 0.5, blend(image, inside, leaf)


def draw_garden(rng, size, green):
    """Soil, straw and leaves out of focus, float32 (H, W, 3)."""
    earth = np.array([104, 84, 62]) * rng.uniform(0.6, 1.3)
    tone = 1 + 0.2 * cloud(rng, size, 40) + 0.15 * cloud(rng, size, 9)
    image = np.float32(earth * tone[..., None])
    for _ in range(rng.integers(5, 30)):
        outline, rib = leaf_shape(rng, rng.uniform(60, 260))
        by, tint = rng.uniform(0, 1, 2) * size[::-1], rng.random()
        colour = green * rng.uniform(0.45, 1.15)
        if tint < 0.3:  # a dead one
            colour = np.array([134, 96, 52]) * rng.uniform(0.6, 1.3)
        fill(image, outline + by, colour)
        stroke(image, rib + by, 2, 1.2 * colour)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(3, 7))


def draw_lesion(image, rng, place, mask):
    """The image with a brown spot in a yellow ring around a place (y, x) of a leaf; its pixels of
    the mask become 2.
    """
    size, radius = mask.shape, rng.gamma(4, 1.7) + 2
    away = oval(size, place, radius * rng.uniform(0.65, 1.1, 2), rng.uniform(0, 180))
    away += 0.14 * cloud(rng, size, max(3, int(radius)))
    leaf = soft(mask > 0, 0.7)
    brown = np.array([112, 76, 42]) * rng.uniform(0.6, 1.45)
    ring = 0.6 * np.exp(-(((away - 1.15) / 0.3) ** 2)) * rng.uniform(0.1, 1)
    image = blend(image, ring * leaf, (196, 178, 80))
    image = blend(image, rng.uniform(0.55, 0.95) * steep(away, 0.08) * leaf, brown)
    pale = rng.uniform(0, 0.6) * steep(away * 2, 0.2) * leaf
    mask[(away < 1) & (mask > 0)] = 2
    return blend(image, pale, (186, 170, 140))


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


@dataclass(frozen=True)
class Folder:
    """How the images of a folder are drawn, how many of them, and what kind of file they are."""

    draw: object  # (seed, number) -> image, mask
    count: int
    new: int  # and so many that are for the test
    image: str  # ending
    mask: str = ".png"


FOLDERS = {
    "cracks": Folder(draw_cracks, 12, 4, ".jpg"),
    "cells": Folder(draw_cells, 150, 30, ".png"),
    "classes": Folder(draw_classes, 60, 20, ".jpg"),
    "vessels": Folder(draw_vessels, 20, 10, ".jpg", ".gif"),
}


def save(path, pixels):
    """Write pixels, grey or RGB, as small as the kind of file allows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":  # OpenCV's has more values than two
        Image.fromarray(pixels).save(path)
        return
    pixels = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    files = [cv2.imencode(path.suffix, pixels, setting)[1] for setting in SETTINGS[path.suffix]]
    path.write_bytes(min(files, key=len))


def main(options):
    root = Path(options.output)
    for name in FOLDERS:
        if (root / name).exists():
            raise InputError(f"{root / name}: is there already; pass another --output")
    for name, folder in FOLDERS.items():
        count, new = (3, 1) if options.tiny else (folder.count, folder.new)
        for number in range(1, count + new + 1):
            image, mask = folder.draw(options.seed, number)
            kind = "new_" if number > count else ""
            save(root / name / f"{kind}images" / f"{number:03}{folder.image}", image)
            save(root / name / f"{kind}masks" / f"{number:03}{folder.mask}", mask)
        print(f"{root / name}: {count} images and {new} new ones")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "-m benchmarks.folders", __doc__))
