"""Drawn images and masks in the manner of four jobs' data, for examples.py; RGB and grey uint8.

Whatever looks like the foreground without being it (vessels, shadows, roofs, organelles), and what
hides it (trees, faint membranes), is drawn on purpose.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.shapes import (
    as_uint8,
    bent,
    blend,
    cloud,
    curve,
    ellipse,
    fill,
    nearest_two,
    oval,
    rounded,
    stroke,
)


def draw_nerve(seed, subject, frame, size=(192, 256)):
    """A frame of a subject's sweep: layers of tissue in speckle, in some frames a dark oval nerve
    with a bright rim; image and mask (H, W). Frames of a subject are nearly alike.
    """
    rng, own = (np.random.default_rng((seed, *n)) for n in ((subject,), (subject, frame)))
    height = size[0]
    depth = np.indices(size, np.float32)[0] / height + 0.05 * cloud(rng, size, (height, 70))
    echo = draw_tissue(rng, own, depth)
    middle = rng.uniform((0.4, 0.3), (0.65, 0.7)) * size
    radii, degrees = rng.uniform((17, 28), (25, 46)), rng.uniform(-25, 25)
    drift, first = rng.normal(0, 1.5, 2), rng.integers(0, 6)
    place = middle + frame * drift + own.normal(0, 1.5, 2)
    away = oval(size, place, radii, degrees) + 0.07 * cloud(rng, size, 25)
    fibres = 0.3 + 0.12 * np.abs(cloud(rng, size, 7))
    rim = rng.uniform(0.15, 0.4) * np.exp(-(((away - 1.08) / 0.09) ** 2))
    mask = (away < 1) & (first <= frame < first + 4)
    if mask.any():
        echo = np.where(mask, 0.3 * echo + 0.3 * fibres, echo) + rim
    waves = (cv2.GaussianBlur(own.normal(size=size), (0, 0), 1.7, sigmaY=0.9) for _ in "xy")
    speckle = np.hypot(*waves)
    speckle /= speckle.mean()
    gain = 1.3 - 0.6 * depth + 0.12 * cloud(rng, size, (height, 30))
    light = 230 * np.maximum(echo * gain, 0.02) ** 0.9 * (0.35 + 0.65 * speckle)
    return as_uint8(light + own.normal(0, 4, size)), np.uint8(255) * mask


def draw_tissue(rng, own, depth):
    """How much each pixel echoes, float (H, W): layers that follow the depth, muscles, vessels."""
    size = depth.shape
    echo = 0.34 + 0.1 * cloud(rng, size, (5, 50))
    for middle in rng.uniform(0.05, 1, 5):
        bright, half = rng.uniform(0.2, 0.7), rng.uniform(0.01, 0.03)
        echo += bright * np.exp(-(((depth - middle) / half) ** 2))
    for _ in range(3):  # muscles and vessels, which are no nerve
        place = rng.uniform((0.3, 0.1), (0.9, 0.9)) * size + own.normal(0, 2, 2)
        radii = rng.uniform((9, 14), (20, 40))
        inside = oval(size, place, radii, rng.uniform(-30, 30)) < 1
        echo *= 1 - rng.uniform(0.35, 0.9) * cv2.GaussianBlur(np.float32(inside), (0, 0), 2.5)
    return echo


@dataclass(frozen=True)
class Pose:
    """Where a car stands in an image; all (x, y) in pixels."""

    start: np.ndarray  # the ground under its rear end
    scale: np.ndarray  # how long a car length is
    sweep: np.ndarray  # the way from its near side to its far one

    def place(self, points):
        """Pixels of points in car lengths, x from the rear, y upwards."""
        return self.start + np.asarray(points) * self.scale * (1, -1)

    def wheels(self):
        """Points of the two tyres of the near side."""
        return [ellipse(self.place((x, 0.075)), 0.08 * self.scale) for x in (0.2, 0.8)]


def draw_car(seed, car, view, size=(320, 512)):
    """A view of a car before a wall: image (H, W, 3) and mask (H, W)."""
    rng, own = np.random.default_rng((seed, car)), np.random.default_rng((seed, car, view))
    height = size[0]
    paint = np.full(3, rng.uniform(30, 225)) + rng.normal(0, 4, 3)
    if rng.random() < 0.5:
        paint = rng.uniform(20, 210, 3)
    wall = rng.uniform(140, 215) + rng.normal(0, 6, 3)
    image, floor = studio(own, size, wall), int(height * own.uniform(0.8, 0.86))
    outline, panes = car_shape(rng)
    pose = choose_pose(own, size[1], floor)
    wide = (pose.scale + pose.sweep)[0]
    away = oval(size, (floor - 4, pose.start[0] + wide / 2), (18, 0.7 * wide))
    image = blend(image, 0.75 * np.exp(-(away**2) * 1.4), wall * 0.15)  # its shadow
    mask = draw_far_side(image, pose, outline, panes, paint)
    shine = np.linspace(1.18, 0.72, height)[:, None, None] + own.normal(0, 0.05)
    side = np.zeros(size, np.uint8)
    fill(side, rounded(pose.place(outline)), 255)
    image = blend(image, side / np.float32(255), paint * shine + 12)
    draw_near_side(image, own, pose, panes, paint)
    for tyre in pose.wheels():
        middle = tyre.mean(axis=0)
        for share, grey in ((1, 22), (0.62, rng.uniform(110, 190)), (0.2, 60)):
            fill(image, middle + share * (tyre - middle), grey)
        fill(mask, tyre, 255)
    if own.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    image = cv2.GaussianBlur(image, (0, 0), 1.1) + own.normal(0, 7, image.shape)
    return as_uint8(image), np.uint8(255) * (mask > 127)


def choose_pose(rng, width, floor):
    """A random Pose of a car on the floor of an image of some width."""
    length, turn = width * rng.uniform(0.56, 0.72), rng.uniform(0.1, 0.7)  # 0: from the side
    scale, sweep = length * np.array([[1 - 0.4 * turn, 1], [0.3 * turn, -0.08 * turn]])
    rear = (width - scale[0] - sweep[0]) / 2 + rng.normal(0, 12)
    return Pose(np.array([rear, floor]), scale, sweep)


def draw_far_side(image, pose, outline, panes, paint):
    """What is to be seen of a car behind its near side: wheels, roof, windscreen and front.
    Returns its silhouette, uint8 (H, W).
    """
    mask, body = np.zeros(image.shape[:2], np.uint8), rounded(pose.place(outline))
    for tyre in pose.wheels():
        fill(image, tyre + pose.sweep, 25)
        fill(mask, tyre + pose.sweep, 255)
    for share in np.linspace(1, 0, 40):
        fill(image, body + share * pose.sweep, paint * (0.62 + 0.2 * share))
        fill(mask, body + share * pose.sweep, 255)
    top, (x, y) = panes[1][2:]
    windscreen = pose.place([top, (x + 0.03, y)]) + (4, 0)
    fill(image, [*windscreen, *(windscreen + pose.sweep)[::-1]], (60, 68, 76))
    plate = pose.place([(0.985, 0.085), (0.985, 0.11)])
    fill(image, [*(plate + 0.35 * pose.sweep), *(plate + 0.65 * pose.sweep)[::-1]], 224)
    light = pose.place((0.975, 0.165)) + 0.9 * pose.sweep
    fill(image, ellipse(light, 0.016 * pose.scale), (245, 240, 215))
    return mask


def draw_near_side(image, rng, pose, panes, paint):
    """Windows, doors and lights of a car's near side."""
    for pane in panes:
        fill(image, pose.place(pane), np.array([52, 60, 68]) + rng.uniform(-15, 30))
        fill(image, pose.place(pane[:3]), np.array([66, 76, 86]) + rng.uniform(-10, 40))
    for x in (0.35, 0.6):
        stroke(image, pose.place([(x, 0.09), (x, 0.2)]), 1, 0.55 * paint)
    for x, colour in ((0.02, (170, 25, 25)), (0.98, (245, 240, 215))):
        fill(image, ellipse(pose.place((x, 0.155)), 0.016 * pose.scale), colour)


def studio(rng, size, wall):
    """A wall with a soft gradient, a floor and what leans there, float (H, W, 3)."""
    height, width = size
    light = 1.15 - 0.35 * oval(size, (0.3 * height, rng.uniform(0.3, 0.7) * width), size[::-1])
    image = wall * (light + 0.015 * cloud(rng, size, 60))[..., None]
    for _ in range(rng.integers(0, 4)):
        x, half, top = rng.uniform(0, width), rng.uniform(8, 45), rng.uniform(0.1, 0.5) * height
        corners = [(x - half, top), (x + half, top), (x + half, height), (x - half, height)]
        fill(image, corners, wall * (rng.uniform(0.5, 1.1) + rng.normal(0, 0.05, 3)))
    horizon = height * rng.uniform(0.6, 0.72)
    below = np.clip((np.indices(size)[0] - horizon) / 8, 0, 1)
    return blend(image, below, image.mean() * rng.uniform(0.55, 1.05, 1) * light[..., None])


def car_shape(rng):
    """Outline (N, 2) of a car's body and the polygons of its windows, in car lengths."""
    roof, waist = rng.uniform(0.27, 0.35), rng.uniform(0.185, 0.21)
    hood, front = rng.uniform(0.7, 0.77), rng.uniform(0.56, 0.6)
    back = rng.uniform(0.14, 0.34)
    trunk = max(0.02, back - rng.uniform(0.1, 0.2))
    outline = [(0, 0.06), (0, 0.17), (0.015, waist), (trunk, waist + 0.01), (back, roof)]
    outline += [(front, roof), (hood, waist + 0.005), (0.96, waist - 0.03), (1, 0.14), (1, 0.06)]
    top, low, post = roof - 0.022, waist + 0.012, rng.uniform(0.4, 0.46)
    panes = [[(trunk + 0.06, low), (back + 0.02, top), (post - 0.01, top), (post - 0.01, low)]]
    panes += [[(post + 0.01, low), (post + 0.01, top), (front - 0.01, top), (hood - 0.04, low)]]
    return np.array(outline), panes


FIELDS = [(92, 120, 62), (120, 138, 74), (150, 146, 88), (168, 150, 108), (74, 104, 58)]
FIELDS += [(138, 116, 84), (182, 172, 124), (106, 132, 88)]
ROOFS = [(168, 84, 62), (142, 72, 58), (120, 112, 108), (176, 168, 160), (98, 82, 72)]


def draw_cadastre(seed, number, size=(512, 512)):
    """Fields crossed by roads, with houses beside them and trees over them: image (H, W, 3) and
    mask (H, W) of the roads, those under trees too.
    """
    rng = np.random.default_rng((seed, number))
    image, mask = draw_fields(rng, size), np.zeros(size, np.uint8)
    roads = [random_road(rng, size) for _ in range(rng.integers(1, 4))]
    for points, thickness in roads:
        stroke(mask, points, thickness, 255)
    verge = cv2.GaussianBlur(np.float32(cv2.dilate(mask, np.ones((13, 13))) > 0), (0, 0), 3)
    image = blend(image, 0.6 * verge, (112, 116, 76))
    tar = rng.uniform(105, 160) + np.array([4, 0, -4])
    earth = np.array([178, 158, 124]) + rng.normal(0, 8, 3)
    for points, thickness in roads:
        stroke(image, points, thickness, tar if thickness > 15 else earth)
    for points, thickness in roads:
        if thickness > 15:
            for start in range(0, len(points) - 1, 2):
                stroke(image, points[start : start + 2], 1, tar + 55)
        for _ in range(rng.integers(2, 9)):
            draw_house(image, rng, points, thickness, mask)
    for _ in range(rng.integers(15, 60)):
        draw_tree(image, rng, rng.uniform(0, 1, 2) * size[::-1])
    for points, thickness in roads:
        for x, y in points[rng.random(len(points)) < 0.25]:
            draw_tree(image, rng, (x, y) + rng.choice([-1, 1], 2) * thickness * 0.75)
    image *= 1 + 0.05 * cloud(rng, size, 100)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), 1.0) + rng.normal(0, 7, (*size, 1))
    return as_uint8(image), mask


def draw_fields(rng, size):
    """Fields in colours of their own, some with furrows, tracks and hedges between some."""
    seeds = rng.uniform(0, 1, (rng.integers(5, 14), 2)) * size
    bend = [12 * cloud(rng, size, 90) for _ in "xy"]
    parts = nearest_two(size, seeds, rng.uniform(0.6, 1.6, 2))
    label, gap = (bent(part, bend) for part in parts)
    y, x = np.indices(size, np.float32)
    image = np.zeros((*size, 3), np.float32)
    for number in range(len(seeds)):
        inside, angle = label == number, rng.uniform(0, np.pi)
        furrows = np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / rng.uniform(7, 16))
        tone = 1 + rng.uniform(0, 0.11) * furrows + rng.uniform(0.02, 0.07) * cloud(rng, size, 9)
        colour = np.array(FIELDS[rng.integers(len(FIELDS))]) + rng.normal(0, 7, 3)
        image[inside] = (colour * tone[..., None])[inside]
    border = np.exp(-((gap / 5) ** 2)) * (cloud(rng, size, 45) > 0.2)
    return blend(image, 0.8 * border, (54, 76, 42) if rng.random() < 0.6 else (176, 160, 126))


def random_road(rng, size):
    """Points (x, y) of a bent road from one side of the image to the other, and its width."""
    ends = np.array([(-20, rng.uniform(0, size[0])), (size[1] + 20, rng.uniform(0, size[0]))])
    middle = ends.mean(axis=0) + rng.normal(0, 0.2, 2) * size[::-1]
    points = curve(ends[0], middle, ends[1])
    if rng.random() < 0.5:
        points = points[:, ::-1]
    return points, int(rng.integers(9, 26))


def draw_house(image, rng, points, thickness, mask):
    """A roof of two sides beside a road, with its shadow; none on a road."""
    at = rng.integers(5, len(points) - 5)
    along = points[at + 1] - points[at]
    along /= np.hypot(*along)
    across = np.array([-along[1], along[0]]) * rng.choice([-1, 1])
    half = rng.uniform((9, 7), (24, 14))
    middle = points[at] + across * (thickness / 2 + half[1] + rng.uniform(6, 40))
    corners = [
        middle + along * half[0] * a + across * half[1] * b
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    covered = np.zeros_like(mask)
    fill(covered, corners, 255)
    if (mask & covered).any():
        return
    colour = np.array(ROOFS[rng.integers(len(ROOFS))]) * rng.uniform(0.85, 1.15)
    fill(image, np.array(corners) + 7, (44, 48, 38))
    fill(image, corners, colour)
    ridge = [middle - along * half[0], middle + along * half[0]]
    fill(image, [*corners[:2], ridge[1], ridge[0]], colour * 0.8)


def draw_tree(image, rng, place):
    """A crown of a few clumps, with its shadow."""
    radius = rng.uniform(5, 14)
    green = np.array([66, 92, 46]) * rng.uniform(0.65, 1.15)
    fill(image, ellipse(place + 0.6 * radius, radius), (40, 46, 32))
    for share in (1, 0.8, 0.6, 0.4):
        clump = place + rng.normal(0, 0.25, 2) * radius
        fill(image, ellipse(clump, radius * share), green * (1.35 - 0.35 * share))


def draw_membrane(seed, number, size=(256, 256)):
    """Cells within dark membranes, with organelles: image (H, W) and mask, cells white."""
    rng = np.random.default_rng((seed, number))
    wide = [n + 80 for n in size]
    spacing = rng.uniform(28, 44)
    seeds = np.indices([round(n / spacing) for n in wide]).reshape(2, -1).T + 0.5
    seeds = (seeds + rng.uniform(-0.42, 0.42, seeds.shape)) * spacing
    seeds = seeds[rng.random(len(seeds)) < 0.85]
    label, gap = nearest_two(wide, seeds, rng.uniform(0.75, 1.35, 2))
    bend = [4.5 * cloud(rng, size, 24) + cloud(rng, size, 9) for _ in "xy"]
    gap = bent(gap, bend, 40, cv2.INTER_LINEAR)
    label = bent(label, bend, 40).astype(int)
    width = 4.4 + 1.3 * cloud(rng, size, 20)  # of a membrane, in pixels, on both sides together
    mask = gap > np.maximum(width, 2.5)
    light = rng.uniform(160, 212, len(seeds))[label] + 9 * cloud(rng, size, 12)
    for _ in range(rng.integers(14, 26)):
        draw_organelle(light, rng, label, mask)
    strength = np.clip(0.75 + 0.35 * cloud(rng, size, 30), 0.12, 1)  # faint where cut aslant
    edge = 1 / (1 + np.exp(np.clip((gap - width) * 1.3, -30, 30)))
    light += strength * edge * (50 - light)
    light = (
        cv2.GaussianBlur(light, (0, 0), 0.9) + 8 * cloud(rng, size, 3) + rng.normal(0, 11, size)
    )
    return as_uint8(light), np.uint8(255) * mask


def draw_organelle(light, rng, label, mask):
    """A mitochondrion with its folds, or a vesicle, inside one cell."""
    size = light.shape
    place = rng.uniform(0.03, 0.97, 2) * size
    row, column = place.astype(int)
    radii, degrees = rng.uniform((4, 6), (8, 14)), rng.uniform(0, 180)
    if rng.random() < 0.5:
        radii = np.full(2, rng.uniform(2, 4.5))
    away = oval(size, place, radii, degrees) + 0.06 * cloud(rng, size, 8)
    inside = (away < 1.3) & (label == label[row, column]) & mask
    folds = 14 * np.sin(oval(size, place, (1, 1)) * 1.6)
    dark = np.where(away < 0.8, 118 + folds * (radii[1] > 5), 78)
    share = inside / (1 + np.exp(np.clip((away - 1.1) * 14, -30, 30)))
    light += 0.9 * share * (dark - light)
