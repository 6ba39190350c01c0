"""Drawn images of round things with their masks, for folders.py: cells under three microscopes,
leaves and what has befallen them.
"""

import cv2
import numpy as np

from benchmarks.shapes import (
    blend,
    cloud,
    curve,
    expose,
    fill,
    oval,
    rounded_uint8,
    soft,
    spot,
    steep,
    stroke,
)


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
