"""One picture of a job's arrays: some of the images with the outlines of their masks, and what
data.py noticed.
"""

import textwrap

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unet.data.survey import WARNING
from unet.jobs.settings import IGNORED
from unet.pictures.panels import as_rgb
from unet.reading.classes import TWO_CLASSES
from unet.reading.pixels import write_image
from unet.runs import Paths

COLUMNS, CELLS = 4, 12
CELL = 320  # pixels of an image's longer side
LEAST_SIDE = 24  # of its shorter side: a strip of one pixel is drawn thicker than it is
LEAST_WIDTH = 200  # of a cell, for its caption
GAP, MARGIN, CAPTION, LINE = 14, 20, 24, 19
NEARBY = 8  # rows that are looked at for each cell, at the most
TINT = 0.22  # of the mask's colour inside it
TEXT, FAINT, ALARM = (30, 30, 30), (120, 120, 120), (200, 30, 20)
FONT, TITLE_FONT, CAPTION_FONT = (ImageFont.load_default(size) for size in (14, 18, 13))


def write_sheet(arrays, report):
    """Write vis/NAME/data.png, of Arrays and what read_report says of them; returns its path."""
    path = Paths(arrays.name).picture("data")
    write_image(path, draw_sheet(arrays, report))
    return path


def draw_sheet(arrays, report):
    """The picture, RGB uint8: what is said of the arrays, warnings in red, above the images of
    choose_rows, the marked ones first.
    """
    marked = dict(report["facts"]["marked"])
    rows = [*marked, *choose_rows(arrays, CELLS - min(len(marked), CELLS), marked)]
    cells = [draw_cell(arrays, row, marked.get(row, "")) for row in rows]
    height, width = cells[0].shape[:2]
    num_columns = min(COLUMNS, len(cells))
    grid_width = num_columns * (width + GAP) - GAP
    sheet_width = max(grid_width, 2 * CELL) + 2 * MARGIN
    header = draw_header(arrays, report["lines"], sheet_width)
    num_rows = (len(cells) - 1) // num_columns + 1
    grid = np.full((num_rows * (height + GAP) - GAP + MARGIN, sheet_width, 3), 255, np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, num_columns)
        top, left = row * (height + GAP), MARGIN + column * (width + GAP)
        grid[top : top + height, left : left + width] = cell
    return np.concatenate([header, grid])


def choose_rows(arrays, count, others=()):
    """At most so many rows beside others, evenly spread, each one nearby whose mask is neither
    empty nor full; but one whose mask is empty where more than a quarter of those looked at are.
    """
    rows = [row for row in range(len(arrays.files)) if row not in others]
    if not count or not rows:
        return []
    chosen, empty, num_looked = [], [], 0
    rng = np.random.default_rng(0)  # the first tile of many images would always be a corner
    for part in np.array_split(rows, min(count, len(rows))):
        part = rng.permutation(part)[:NEARBY].tolist()
        best = part[0]
        for row in part:
            num_looked += 1
            numbers = arrays.numbers(row)
            is_foreground = numbers[numbers != IGNORED] > 0
            if is_foreground.any() and not is_foreground.all():
                best = row
                break
            if not is_foreground.any():
                empty.append(row)
        chosen.append(best)
    if empty and len(empty) > num_looked / 4 and not set(empty) & set(chosen):
        chosen[-1] = empty[-1]
    return sorted(chosen)


def draw_cell(arrays, row, mark=""):
    """An image with its mask's outline, its longer side CELL pixels, under its id and the share of
    foreground or, in red, what is wrong with it; RGB uint8.
    """
    image, numbers = as_rgb(arrays.images[row]), arrays.numbers(row)
    counted = numbers[numbers != IGNORED]
    share = np.count_nonzero(counted) / max(len(counted), 1)
    longer = max(numbers.shape)
    height, width = (max(LEAST_SIDE, round(n * CELL / longer)) for n in numbers.shape)
    way = cv2.INTER_AREA if max(height, width) < longer else cv2.INTER_NEAREST
    image = cv2.resize(image, (width, height), interpolation=way)
    numbers = cv2.resize(numbers, (width, height), interpolation=cv2.INTER_NEAREST)
    cell = np.full((CAPTION + height, max(width, LEAST_WIDTH), 3), 255, np.uint8)
    cell[CAPTION:, :width] = lay_mask(image, numbers, arrays.classes or TWO_CLASSES)
    value = {0: "empty", 1: "full"}.get(share, f"{100 * share:.1f} %")
    value = f"{mark} {value}".strip()
    picture = Image.fromarray(cell)
    pen = ImageDraw.Draw(picture)
    room = cell.shape[1] - CAPTION_FONT.getlength(value) - GAP
    pen.text((0, 3), shorten(arrays.files[row]["id"], room), TEXT, CAPTION_FONT)
    color = ALARM if mark else TEXT if share in (0, 1) else FAINT
    pen.text((cell.shape[1], 3), value, color, CAPTION_FONT, anchor="ra")
    return np.asarray(picture)


def lay_mask(image, numbers, classes):
    """The RGB image with class numbers (H, W) on it: a tint inside, and an outline of two tones
    that is seen on dark and on bright images; what is IGNORED is hatched.
    """
    colors = np.zeros((256, 3), np.float32)
    colors[: len(classes)] = [label.color for label in classes]
    is_class = (numbers > 0) & (numbers != IGNORED)
    pixels = image.astype(np.float32)
    pixels[is_class] += TINT * (colors[numbers[is_class]] - pixels[is_class])
    kernel = np.ones((3, 3), np.uint8)
    for number in range(1, len(classes)):
        mask = (numbers == number).astype(np.uint8)
        if not mask.any():
            continue
        inside = mask - cv2.erode(mask, kernel, iterations=2, borderValue=1)
        outside = cv2.dilate(mask, kernel) - mask
        pixels[outside > 0] = 0
        pixels[inside > 0] = colors[number]
    y, x = np.indices(numbers.shape)
    ignored = numbers == IGNORED
    pixels[ignored] = 128 + (pixels[ignored] - 128) / 3
    pixels[ignored & ((y + x) % 8 < 2)] = 210
    return np.round(pixels).astype(np.uint8)


def draw_header(arrays, lines, width):
    """What is said of the arrays, RGB uint8 of some width: a title, and a line or more for each
    fact; with classes their colours.
    """
    number, height, wide, channels = arrays.images.shape
    images = "1 image" if number == 1 else f"{number:,} images"
    title = f"{arrays.name}: {images}, {height} x {wide}, {'grey' if channels == 1 else 'RGB'}"
    characters = int((width - 2 * MARGIN) / FONT.getlength("abcdefghij 123456") * 17)
    wrapped = []
    for line in lines:
        color = ALARM if line.startswith(WARNING) else TEXT
        parts = textwrap.wrap(drawable(line.removeprefix(WARNING)), characters) or [""]
        wrapped += [(part, color) for part in parts]
    labels, left, row = [], MARGIN, len(wrapped)
    for label in arrays.classes[1:]:  # the background has no outline
        name = drawable(label.name)
        length = 18 + FONT.getlength(name) + 20
        if left + length > width - MARGIN and left > MARGIN:
            left, row = MARGIN, row + 1
        labels.append((left, MARGIN + 24 + LINE * row, name, label.color))
        left += length
    num_lines = row + 1 if labels else len(wrapped)
    size = width, MARGIN + 28 + LINE * num_lines + GAP
    picture = Image.new("RGB", size, (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    pen.text((MARGIN, MARGIN - 6), title, TEXT, TITLE_FONT)
    for row, (text, color) in enumerate(wrapped):
        pen.text((MARGIN, MARGIN + 24 + LINE * row), text, color, FONT)
    for left, top, name, color in labels:
        pen.rectangle((left, top + 3, left + 12, top + 14), color, (0, 0, 0))
        pen.text((left + 18, top), name, TEXT, FONT)
    return np.asarray(picture)


def shorten(text, room):
    """Text, shortened in the middle until it fits in so many pixels."""
    text = shown = drawable(text)
    kept = len(text)
    while CAPTION_FONT.getlength(shown) > room and kept > 2:
        kept -= 1
        shown = text[: (kept + 1) // 2] + "..." + text[len(text) - kept // 2 :]
    return shown


def drawable(text):
    """Text in the characters that the fonts have, ? for any other."""
    return "".join(c if c.isprintable() and ord(c) < 0x180 else "?" for c in text)
