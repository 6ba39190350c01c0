"""A U-Net drawn as the papers draw it, read from the built Keras model alone."""

import math

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


def draw_network(model):
    """A matplotlib Figure of a built U-Net: a bar a feature map, its channels above, its height
    and width below, an arrow an operation; what is not in the network is not in the legend.

    Raises ValueError for a layer that no U-Net of model.build_unet has.
    """
    bars = read_bars(model)
    texts = size_texts(bars)
    figure = Figure(dpi=72)  # so that a pixel of a screen is a point
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    places = place(bars, texts)
    legend = {}
    for before, bar in zip([None, *bars], bars):
        if before:
            draw_step(axes, before, bar, places, texts, legend)
        if bar.skip:
            draw_skip(axes, bar, places, legend)
        draw_bar(axes, bar, places[bar], texts.get(bar), legend)
    for bar, layer in ((bars[0], model.layers[0]), (bars[-1], bars[-1].layers[-1])):
        x, y, height = places[bar]
        write(axes, x, y + height / 2 + 18, layer.name, TEXT, weight="bold")

    x, y, height = places[bars[0]]
    count = sum(isinstance(layer, CONVOLUTIONS) for layer in leaf_layers(model))
    facts = f"{model.count_params():,} parameters, {count} convolutions"
    top = y + height / 2 + 90
    write(axes, 12, top - 27, model.name, 18, ha="left", weight="bold")
    write(axes, 12, top - 45, facts, TEXT, ha="left")
    right, bottom = draw_legend(axes, legend, places, texts)
    axes.set(xlim=(0, right), ylim=(bottom, top))
    figure.set_size_inches(right / 72, (top - bottom) / 72)
    return figure


def size_texts(bars):
    """{bar: its size}, in full where a row begins and at the output, short where it changes within
    a row, as the paper has it; none where it is that of the bar before.
    """
    texts = {}
    for before, bar in zip([None, *bars], bars):
        if before is None or bar is bars[-1] or before.level != bar.level:
            texts[bar] = by(bar.size)
        elif before.size != bar.size:
            height, width = bar.size
            texts[bar] = f"{height}²" if height == width else by(bar.size)
    if bars[0].size == (None, None):
        texts = {bar: text for bar, text in texts.items() if bar in (bars[0], bars[-1])}
    return texts


def place(bars, texts):
    """{bar: (x, y, height)}, x, y the middle; of a concatenation that of the part that came up."""
    pitch = min(max((WIDTH - 2 * MARGIN) / bars[-1].column, 38), 48)
    for before, bar in zip(bars, bars[1:]):
        if before.level == bar.level and before in texts and bar in texts:
            pitch = max(pitch, LETTER / 2 * len(texts[before] + texts[bar]) + 6)
    margin = max(MARGIN, LETTER / 2 * len(texts[bars[0]]) + 4)
    heights = {}
    for bar in bars:
        whole, part = bars[0].size[0], bar.size[0]
        share = part / whole if whole else 2.0**-bar.level
        heights[bar] = TALLEST * math.sqrt(share)
    rows, y = [], 0
    for level in range(max(bar.level for bar in bars) + 1):
        tallest = max(heights[bar] for bar in bars if bar.level == level)
        rows.append(y - tallest / 2)
        y -= tallest + ROW_GAP
    return {bar: (margin + pitch * bar.column, rows[bar.level], heights[bar]) for bar in bars}


def width_of(channels):
    return 5 + math.log2(channels)


def edges(bar, x):
    """x where the bar begins and ends, then where each of its strips ends."""
    channels = bar.up[-1].output.shape[3] if bar.up else bar.channels
    start = x - width_of(channels) / 2
    end = x + width_of(channels) / 2
    return [start, *(end + STRIP * n for n in range(len(bar.strips) + 1))]


def span(bar, x):
    """x where everything of the bar begins and ends."""
    start, *_, end = edges(bar, x)
    if not bar.up:
        return start, end
    copied = width_of(bar.channels - bar.up[-1].output.shape[3])
    came_up_first = bar.layers[0].input[0] is bar.up[-1].output
    return (start, end + copied) if came_up_first else (start - copied, end)


def draw_bar(axes, bar, where, size, legend):
    """A feature map with its numbers, and a strip for each normalization and dropout after it."""
    x, y, height = where
    start, *ends = edges(bar, x)
    left, right = span(bar, x)
    if bar.up:
        box(axes, left, right, y, height, COPY)
    box(axes, start, ends[0], y, height, MAP)
    write(axes, (left + right) / 2, y + height / 2 + 4, str(bar.channels), NUMBER)
    if size:
        write(axes, (left + right) / 2, y - height / 2 - 4, size, SIZE, va="top")
    for layer, strip_start, strip_end in zip(bar.strips, ends, ends[1:]):
        is_dropout = isinstance(layer, layers.Dropout)
        color = DROPPED if is_dropout else NORMALIZED
        box(axes, strip_start, strip_end, y, height, color)
        text = "dropout, with its rate" if is_dropout else "batch normalization"
        legend.setdefault(text, ("strip", color))
        if is_dropout:
            style = dict(ha="left", va="top", color=color)
            write(axes, strip_end + 2, y + height / 2, f"{layer.rate:g}", 9, **style)


def draw_step(axes, before, bar, places, texts, legend):
    """The arrow of the operation that leads from one bar to the next."""
    (x0, y0, height0), (x, y, height) = places[before], places[bar]
    text = operation_text(bar.up or bar.layers)
    if before.level == bar.level:
        kinds = [name for name, (kind, _) in legend.items() if kind == "right"]
        color = ARROWS[(kinds.index(text) if text in kinds else len(kinds)) % len(ARROWS)]
        legend.setdefault(text, ("right", color))
        return arrow(axes, (span(before, x0)[1] + 1, y0), (span(bar, x)[0] - 1, y), color)
    if before.level < bar.level:
        legend.setdefault(text, ("down", DOWN))
        below = 17 if before in texts else 3
        return arrow(axes, (x, y0 - height0 / 2 - below), (x, y + height / 2 + 19), DOWN)
    legend.setdefault(text, ("up", UP))
    end = (x, y - height / 2 - (17 if bar in texts else 3))
    if x0 == x:
        return arrow(axes, (x, y0 + height0 / 2 + 19), end, UP)
    return arrow(axes, (span(before, x0)[1] + 1, y0), end, UP, bent=True)


def draw_skip(axes, bar, places, legend):
    """The arrow of the skip into a concatenation, from a dot on what it leaves: map or strip."""
    source = bar.skip.bar
    x, y, height = places[source]
    start, end = edges(source, x)[bar.skip.strips : bar.skip.strips + 2]
    left, _ = span(bar, places[bar][0])
    middle = (start + end) / 2
    name = f"skip{source.level}"
    arrow(axes, (middle, y), (left - 1, y), GREY, width=2.5, gid=name, zorder=3)
    axes.add_patch(Circle((middle, y), 2.5, facecolor=INK, edgecolor="none", zorder=4))
    legend.setdefault("skip, from the dot to the white part", ("skip", GREY))
    if bar.skip.crop:
        text = f"crop {bar.skip.crop}"
        style = dict(va="top", color="#57606a")
        write(axes, (span(source, x)[1] + left) / 2, y - 5, text, SIZE, **style)
        legend.setdefault("crop: pixels cut off at each side", ("", GREY))


def draw_legend(axes, legend, places, texts):
    """List the operations under the right arm; returns the drawing's right end and bottom."""
    notes = ["above a map its channels,", "below it height×width in pixels"]
    squares = [text for text in texts.values() if "²" in text]
    notes += [f"{text}: {text[:-1]}×{text[:-1]}" for text in squares[:1]]
    width = 40 + 0.56 * TEXT * max(len(text) for text in [*legend, *notes])
    columns = [x for x, _, _ in places.values()]
    right = max(min(columns) + max(columns), width + 12)
    left = right - width
    above = [bar for bar, (x, _, _) in places.items() if span(bar, x)[1] > left - 15]
    y = min(places[bar][1] - places[bar][2] / 2 for bar in above) - 40
    for text, (kind, color) in legend.items():
        if kind == "strip":
            box(axes, left + 10, left + 14, y, 15, color)
        elif kind:
            points = {
                "down": ((left + 12, y + 8), (left + 12, y - 8)),
                "up": ((left + 12, y - 8), (left + 12, y + 8)),
            }.get(kind, ((left, y), (left + 24, y)))
            arrow(axes, *points, color, width=2.5 if kind == "skip" else 1.5)
        if kind == "skip":
            axes.add_patch(Circle((left, y), 2.5, facecolor=INK, edgecolor="none", zorder=4))
        write(axes, left + 34, y, text, TEXT, ha="left", va="center")
        y -= 20
    for text in notes:
        write(axes, left + 34, y, text, SIZE, ha="left", va="center", color="#57606a")
        y -= 15
    lowest = min(y - height / 2 for _, y, height in places.values()) - 30
    return right, min(y, lowest)


def write(axes, x, y, text, size, ha="center", va="bottom", color=INK, **style):
    axes.text(x, y, text, fontsize=size, ha=ha, va=va, color=color, zorder=5, **style)


def box(axes, left, right, y, height, color):
    style = dict(facecolor=color, edgecolor=INK, linewidth=0.7, zorder=2)
    axes.add_patch(Rectangle((left, y - height / 2), right - left, height, **style))


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
