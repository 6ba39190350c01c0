"""A U-Net drawn as the papers draw it, read from the built Keras model alone."""

import math
from dataclasses import dataclass

import matplotlib
from keras import layers
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

from unet.machine.disk import replace_file
from unet.matching import leaf_layers
from unet.pictures.bars import by, operation_text, read_bars

# Lengths are points; a drawing is about 900 wide, so that on a page of as many pixels one is one.
WIDTH = 900
TALLEST, ROW_GAP = 130, 60  # a bar of the input's height; between two levels
NUMBER, SIZE, TEXT = 12, 11, 12  # font sizes
LETTER = 7.2  # width of a letter of SIZE at the most
CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D)
STRIP = 4  # width of what stands for a normalization or a dropout
MARGIN = 30

INK, GREY = "#24292f", "#8c959f"
MAP, COPY = "#9ec5e8", "#ffffff"  # bars; what a skip brought
ARROWS = ("#1f5f9e", "#bf3989", "#0b7285", "#24292f")  # kinds of convolution
DOWN, UP, NORMALIZED, DROPPED = "#b3261e", "#2da44e", "#e6a23c", "#8250df"


@dataclass(frozen=True)
class Place:
    """Where a bar lies, in points; x, y: the middle, of a concatenation that of what came up."""

    x: float
    y: float
    height: float
    bottom: float
    top: float
    edges: list  # x where the map begins and ends, then where each of its strips ends
    left: float  # where everything of the bar begins and ends
    right: float
    size: str  # what is written below, "" for nothing


def draw_network(model):
    """A matplotlib Figure of a built U-Net: a bar a feature map, its channels above, its height
    and width below, an arrow an operation; what is not in the network is not in the legend.

    Raises ValueError for a layer that no U-Net of model.build_unet has.
    """
    bars = read_bars(model)
    places, legend = place(bars), {}
    figure = Figure(dpi=72)  # so that a pixel of a screen is a point
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for before, bar in zip([None, *bars], bars):
        if before:
            draw_step(axes, before, bar, places, legend)
        if bar.skip:
            draw_skip(axes, bar, places, legend)
        draw_bar(axes, bar, places[bar], legend)
    for bar, layer in ((bars[0], model.layers[0]), (bars[-1], bars[-1].layers[-1])):
        write(axes, places[bar].x, places[bar].top + 18, layer.name, TEXT, weight="bold")

    count = sum(isinstance(layer, CONVOLUTIONS) for layer in leaf_layers(model))
    facts = f"{model.count_params():,} parameters, {count} convolutions"
    top = places[bars[0]].top + 90
    write(axes, 12, top - 27, model.name, 18, ha="left", weight="bold")
    write(axes, 12, top - 45, facts, TEXT, ha="left")
    right, bottom = draw_legend(axes, legend, list(places.values()))
    axes.set(xlim=(0, right), ylim=(bottom, top))
    figure.set_size_inches(right / 72, (top - bottom) / 72)
    return figure


def size_texts(bars):
    """{bar: its size}, in full where a row begins and at the output, short where it changes within
    a row, as the paper has it; none where it is that of the bar before.
    """
    if bars[0].size == (None, None):
        return {bar: by(bar.size) for bar in (bars[0], bars[-1])}
    texts = {}
    for before, bar in zip([None, *bars], bars):
        if before is None or bar is bars[-1] or before.level != bar.level:
            texts[bar] = by(bar.size)
        elif before.size != bar.size:
            is_square = bar.size[0] == bar.size[1]
            texts[bar] = f"{bar.size[0]}²" if is_square else by(bar.size)
    return texts


def place(bars):
    """{bar: Place}"""
    texts, first = size_texts(bars), bars[0]
    pitch = min(max((WIDTH - 2 * MARGIN) / bars[-1].column, 38), 48)
    for before, bar in zip(bars, bars[1:]):
        if before.level == bar.level and before in texts and bar in texts:
            pitch = max(pitch, LETTER / 2 * len(texts[before] + texts[bar]) + 6)
    margin = max(MARGIN, LETTER / 2 * len(texts[first]) + 4)
    tall = {}
    for bar in bars:
        share = bar.size[0] / first.size[0] if first.size[0] else 2.0**-bar.level
        tall[bar] = TALLEST * math.sqrt(share)
    rows, y = [], 0
    for level in range(max(bar.level for bar in bars) + 1):
        tallest = max(tall[bar] for bar in bars if bar.level == level)
        rows.append(y - tallest / 2)
        y -= tallest + ROW_GAP
    places = {}
    for bar in bars:
        x, y, half = margin + pitch * bar.column, rows[bar.level], tall[bar] / 2
        came_up = bar.up[-1].output if bar.up else bar.layers[0].output
        width = 5 + math.log2(came_up.shape[3])
        ends = [x + width / 2 + STRIP * number for number in range(len(bar.strips) + 1)]
        left, right = x - width / 2, ends[-1]
        edges = [left, *ends]
        if bar.up:
            copied = 5 + math.log2(bar.channels - came_up.shape[3])
            is_first = bar.layers[0].input[0] is came_up
            left, right = (left, right + copied) if is_first else (left - copied, right)
        size = texts.get(bar, "")
        places[bar] = Place(x, y, tall[bar], y - half, y + half, edges, left, right, size)
    return places


def draw_bar(axes, bar, place, legend):
    """A feature map with its numbers, and a strip for each normalization and dropout after it."""
    start, *ends = place.edges
    if bar.up:
        box(axes, place.left, place.right, place.y, place.height, COPY)
    box(axes, start, ends[0], place.y, place.height, MAP)
    middle = (place.left + place.right) / 2
    write(axes, middle, place.top + 4, str(bar.channels), NUMBER)
    if place.size:
        write(axes, middle, place.bottom - 4, place.size, SIZE, va="top")
    for layer, left, right in zip(bar.strips, ends, ends[1:]):
        text, color = "batch normalization", NORMALIZED
        if isinstance(layer, layers.Dropout):
            text, color = "dropout, with its rate", DROPPED
            style = dict(ha="left", va="top", color=color)
            write(axes, right + 2, place.top, f"{layer.rate:g}", 9, **style)
        box(axes, left, right, place.y, place.height, color)
        legend.setdefault(text, ("strip", color))


def draw_step(axes, before, bar, places, legend):
    """The arrow of the operation that leads from one bar to the next."""
    start, end = places[before], places[bar]
    text = operation_text(bar.up or bar.layers)
    if before.level == bar.level:
        number = sum(kind == "right" for kind, _ in legend.values())
        color = legend.setdefault(text, ("right", ARROWS[number % len(ARROWS)]))[1]
        arrow(axes, (start.right + 1, start.y), (end.left - 1, end.y), color)
    elif before.level < bar.level:
        legend.setdefault(text, ("down", DOWN))
        begin = (end.x, start.bottom - (17 if start.size else 3))
        arrow(axes, begin, (end.x, end.top + 19), DOWN)
    else:
        legend.setdefault(text, ("up", UP))
        is_below = start.x == end.x
        begin = (end.x, start.top + 19) if is_below else (start.right + 1, start.y)
        tip = (end.x, end.bottom - (17 if end.size else 3))
        arrow(axes, begin, tip, UP, bent=not is_below)


def draw_skip(axes, bar, places, legend):
    """The arrow of the skip into a concatenation, from a dot on what it leaves: map or strip."""
    source, left = places[bar.skip.bar], places[bar].left
    middle = sum(source.edges[bar.skip.strips : bar.skip.strips + 2]) / 2
    name = f"skip{bar.skip.bar.level}"
    end = (left - 1, source.y)
    arrow(axes, (middle, source.y), end, GREY, width=2.5, gid=name, zorder=3)
    dot(axes, middle, source.y)
    legend.setdefault("skip, from the dot to the white part", ("skip", GREY))
    if bar.skip.crop:
        text, style = f"crop {bar.skip.crop}", dict(va="top", color="#57606a")
        write(axes, (source.right + left) / 2, source.y - 5, text, SIZE, **style)
        legend.setdefault("crop: pixels cut off at each side", ("", GREY))


def draw_legend(axes, legend, places):
    """List the operations under the right arm; returns the drawing's right end and bottom."""
    notes = ["above a map its channels,", "below it height×width in pixels"]
    squares = [place.size for place in places if "²" in place.size]
    notes += [f"{text}: {text[:-1]}×{text[:-1]}" for text in squares[:1]]
    width = 40 + 0.56 * TEXT * max(len(text) for text in [*legend, *notes])
    columns = [place.x for place in places]
    right = max(min(columns) + max(columns), width + 12)
    left = right - width
    y = min(place.bottom for place in places if place.right > left - 15) - 40
    for text, (kind, color) in legend.items():
        if kind == "strip":
            box(axes, left + 10, left + 14, y, 15, color)
        elif kind:
            shape = {"down": ((12, 8), (12, -8)), "up": ((12, -8), (12, 8))}
            ends = [(left + dx, y + dy) for dx, dy in shape.get(kind, ((0, 0), (24, 0)))]
            arrow(axes, *ends, color, width=2.5 if kind == "skip" else 1.5)
        if kind == "skip":
            dot(axes, left, y)
        write(axes, left + 34, y, text, TEXT, ha="left", va="center")
        y -= 20
    for text in notes:
        write(axes, left + 34, y, text, SIZE, ha="left", va="center", color="#57606a")
        y -= 15
    return right, min(y, min(place.bottom for place in places) - 30)


def write(axes, x, y, text, size, ha="center", va="bottom", color=INK, **style):
    axes.text(x, y, text, fontsize=size, ha=ha, va=va, color=color, zorder=5, **style)


def box(axes, left, right, y, height, color):
    style = dict(facecolor=color, edgecolor=INK, linewidth=0.7, zorder=2)
    axes.add_patch(Rectangle((left, y - height / 2), right - left, height, **style))


def dot(axes, x, y):
    axes.add_patch(Circle((x, y), 2.5, facecolor=INK, edgecolor="none", zorder=4))


def arrow(axes, start, end, color, width=1.5, bent=False, **style):
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>,head_length=5,head_width=3",
            connectionstyle="angle,angleA=0,angleB=90" if bent else "arc3",
            mutation_scale=1,
            shrinkA=0,
            shrinkB=0,
            color=color,
            linewidth=width,
            joinstyle="miter",
            **style,
        )
    )


def write_drawing(model, path):
    """Draw a built U-Net into a file, SVG or PNG by its ending. The same matplotlib makes the same
    SVG again.
    """
    is_svg = str(path).lower().endswith(".svg")
    with matplotlib.rc_context(), replace_file(path) as temporary:
        matplotlib.rcdefaults()  # no settings of the user's
        matplotlib.rcParams.update(
            {"svg.fonttype": "none", "svg.hashsalt": "unet"}
        )  # text is text
        draw_network(model).savefig(
            temporary,
            format="svg" if is_svg else "png",
            dpi=144,
            metadata={"Date": None, "Creator": None} if is_svg else None,
        )
