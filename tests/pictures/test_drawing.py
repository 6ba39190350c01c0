"""The drawings of the networks, against the documents' figures written out by hand."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import keras
import pytest
from conftest import ROOT, refusal, run_well
from keras import layers
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, Rectangle

from model import get_unet
from unet.jobs import DOCUMENT
from unet.pictures.drawing import COPY, DROPPED, MAP, NORMALIZED, draw_network, write_drawing

# Channels along the path; where the two arms join, what came up and the skip together.
CHANNELS = {
    "noise": "1 32 32 | 32 64 64 | 64 128 128 | 128 256 256 | 256 512 512 | 512 512 512 | "
    "1024 256 256 | 512 128 128 | 256 64 64 | 128 32 32 | 64 16 16 1",
    "membrane": "1 64 64 | 64 128 128 | 128 256 256 | 256 512 512 | 512 1024 1024 | "
    "1024 512 512 | 512 256 256 | 256 128 128 | 128 64 64 2",
    "nerve": "1 32 32 | 32 64 64 | 64 128 128 | 128 256 256 | 256 512 512 | "
    "768 256 256 | 384 128 128 | 192 64 64 | 96 32 32 1",
    "car": "3 32 32 | 32 64 64 | 64 128 128 | 128 256 256 | 256 | "
    "512 256 256 | 384 128 128 | 192 64 64 | 96 32 1",
    "cadastre": "3 16 16 | 16 32 32 | 32 64 64 | 64 128 128 | 128 256 256 | "
    "256 128 128 | 128 64 64 | 64 32 32 | 32 16 16 2 1",
}
SIZES = {
    "noise": "160×160 80×80 40×40 20×20 10×10 5×5 10×10 20×20 40×40 80×80 160×160 160×160",
    "membrane": "572×572 570² 568² 284×284 282² 280² 140×140 138² 136² 68×68 66² 64² "
    "32×32 30² 28² 56×56 54² 52² 104×104 102² 100² 200×200 198² 196² 392×392 390² 388² 388×388",
    "nerve": "64×80 32×40 16×20 8×10 4×5 8×10 16×20 32×40 64×80 64×80",
    "car": "256×256 128×128 64×64 32×32 16×16 32×32 64×64 128×128 256×256 256×256",
    "cadastre": "256×256 128×128 64×64 32×32 16×16 32×32 64×64 128×128 256×256 256×256",
}
FACTS = {  # two convolutions a level and arm, those at the bottom, on the way up, in the head
    "noise": "13,360,593 parameters, 23 convolutions",  # 10 + 2 + 10 + 1
    "membrane": "31,030,658 parameters, 23 convolutions",  # 8 + 2 + 4 + 8 + 1
    "nerve": "7,846,081 parameters, 19 convolutions",  # 8 + 2 + 8 + 1
    "car": "3,707,873 parameters, 16 convolutions",  # 8 + 7 + 1
    "cadastre": "1,947,277 parameters, 24 convolutions",  # 8 + 2 + 4 + 8 + 2
}
LEVELS = {"noise": 5, "membrane": 4, "nerve": 4, "car": 4, "cadastre": 4}
OPERATIONS = {
    "noise": {"3×3 convolution + ReLU", "nearest upsampling 2×2", "1×1 convolution + sigmoid"},
    "membrane": {
        "3×3 unpadded convolution + ReLU",
        "2×2 transposed convolution",
        "1×1 convolution + softmax",
        "dropout, with its rate",
        "crop: pixels cut off at each side",
    },
    "nerve": {"3×3 convolution + ReLU", "nearest upsampling 2×2", "1×1 convolution + sigmoid"},
    "car": {"3×3 convolution + ReLU", "bilinear upsampling 2×2", "3×3 convolution + sigmoid"},
    "cadastre": {
        "3×3 convolution + ReLU",
        "nearest upsampling 2×2 + 2×2 convolution + ReLU",
        "1×1 convolution + sigmoid",
        "batch normalization",
        "dropout, with its rate",
    },
}
SMALL = dict(filters=(4, 6), bottleneck=8, decoder_filters=(), dropout=())
ENCODER = dict(filters=(4, 5, 6, 7), bottleneck=8, encoder="EfficientNetV2B0")
ODD = {  # networks that no document has
    "one level": ("nerve", SMALL | dict(filters=(4,), image_size=(96, 98))),
    "two levels": ("nerve", SMALL),
    "six levels": ("nerve", SMALL | dict(filters=(4,) * 6, image_size=(128, 192))),
    "wide": ("nerve", SMALL | dict(filters=(300, 1000), bottleneck=1024, image_size=(32, 32))),
    "everything": (
        "noise",
        dict(
            filters=(4, 6, 8, 10, 12),
            bottleneck=1000,
            decoder_filters=(),
            upsample="transposed",
            batch_normalization=True,
            dropout=(0.1, 0.15, 0.2, 0.25, 0.3, 0.5),
            head_filters=8,
            head_dropout=0.35,
            image_size=(1024, 1536),
        ),
    ),
    "no bottom": ("cadastre", dict(bottleneck=0, separate_relu=True, classes=3)),
    "unpadded without bottom": (
        "membrane",
        SMALL | dict(filters=(4, 6, 8), bottleneck=0, image_size=(124, 1020), skip_first=False),
    ),
    "unpadded with a head": (
        "membrane",
        SMALL | dict(image_size=(1004, 1004), head_filters=3, top_convolutions=1),
    ),
    "any size": ("membrane", SMALL | dict(image_size=(None, None))),
    "any width": ("car", dict(image_size=(32, None))),
    "encoder": ("car", ENCODER),
}


@pytest.fixture(scope="module")
def figures():
    return {job: draw_network(get_unet(job)) for job in DOCUMENT}


def texts_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def patches_of(figure, kind):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, kind)]


def skips_of(figure):
    return [patch for patch in figure.axes[0].patches if patch.get_gid()]


@pytest.mark.parametrize("job", DOCUMENT)
def test_the_drawing_has_the_documents_channels_along_the_path(job, figures):
    drawn = [text for text in texts_of(figures[job]) if text.isdecimal()]
    assert drawn == CHANNELS[job].replace("|", "").split()


@pytest.mark.parametrize("job", DOCUMENT)
def test_the_drawing_has_the_documents_sizes_along_the_path(job, figures):
    drawn = [text for text in texts_of(figures[job]) if re.fullmatch("[0-9]+(²|×[0-9]+)", text)]
    assert drawn == SIZES[job].split()


@pytest.mark.parametrize("job", DOCUMENT)
def test_the_drawing_names_network_input_and_output(job, figures):
    assert {job, FACTS[job], "image", "mask"} <= set(texts_of(figures[job]))


@pytest.mark.parametrize("job", DOCUMENT)
def test_the_legend_lists_the_operations_of_the_network_alone(job, figures):
    words = "convolution|upsampling|pooling|dropout|normalization|skip|crop:"
    listed = [n for n in texts_of(figures[job]) if re.search(words, n) and n != FACTS[job]]
    always = {"max pooling 2×2", "skip, from the dot to the white part"}
    assert sorted(listed) == sorted(OPERATIONS[job] | always)


@pytest.mark.parametrize("job", DOCUMENT)
def test_every_level_has_a_skip_and_only_the_unpadded_network_crops(job, figures):
    names = [patch.get_gid() for patch in skips_of(figures[job])]
    assert names == [f"skip{level}" for level in reversed(range(LEVELS[job]))]
    crops = [text for text in texts_of(figures[job]) if re.fullmatch("crop [0-9]+", text)]
    # (64 - 56) / 2, (136 - 104) / 2, (280 - 200) / 2, (568 - 392) / 2
    assert crops == (["crop 4", "crop 16", "crop 40", "crop 88"] if job == "membrane" else [])


def parts_under(figure, point):
    boxes = patches_of(figure, Rectangle)
    inside = [b for b in boxes if 0 < point[0] - b.get_x() < b.get_width()]
    inside = [b for b in inside if 0 < point[1] - b.get_y() < b.get_height()]
    return [to_hex(box.get_facecolor()) for box in inside]


@pytest.mark.parametrize(
    ("job", "expected"),  # deepest first
    [
        ("cadastre", [DROPPED, MAP, MAP, MAP]),
        ("membrane", [DROPPED, MAP, MAP, MAP]),
        ("noise", 5 * [MAP]),
    ],
)
def test_a_skip_leaves_before_normalization_but_after_dropout(job, expected, figures):
    *dots, _ = patches_of(figures[job], Circle)  # the last one is the legend's
    assert [parts_under(figures[job], dot.center) for dot in dots] == [[n] for n in expected]


def test_normalizations_and_dropouts_are_drawn_each_once(figures):
    colors = [to_hex(box.get_facecolor()) for box in patches_of(figures["cadastre"], Rectangle)]
    assert colors.count(NORMALIZED) == 19 + 1  # of the legend
    assert colors.count(DROPPED) == 3 + 1
    rates = [text for text in texts_of(figures["cadastre"]) if re.fullmatch(r"0\.\d+", text)]
    assert rates == ["0.2", "0.5", "0.2"]


@pytest.mark.parametrize("job", DOCUMENT)
def test_the_part_that_a_skip_brought_stands_where_it_is_concatenated(job, figures):
    boxes = patches_of(figures[job], Rectangle)
    colors = [to_hex(box.get_facecolor()) for box in boxes]
    pairs = [(box, boxes[n + 1]) for n, box in enumerate(boxes) if colors[n] == COPY]
    assert len(pairs) == LEVELS[job]
    for both, came_up in pairs:
        came_up_first = both.get_x() == came_up.get_x()
        assert came_up_first == (job in ("noise", "nerve"))


def test_an_encoder_is_drawn_as_its_maps():
    figure = draw_network(get_unet("car", **ENCODER))
    drawn = [int(text) for text in texts_of(figure) if text.isdecimal()]
    assert drawn[:6] == [3, 3, 16, 32, 192, 672]  # image, standardized, the last of each stride
    assert drawn[6:] == [8, 8, 200, 7, 7, 39, 6, 6, 22, 5, 5, 8, 4, 1]
    assert [patch.get_gid() for patch in skips_of(figure)] == ["skip3", "skip2", "skip1", "skip0"]
    listed = [text for text in texts_of(figure) if "EfficientNetV2B0" in text]
    assert listed == ["EfficientNetV2B0: standardized", "EfficientNetV2B0: its layers"]


def test_maps_of_any_size_are_drawn_without_sizes():
    figure = draw_network(get_unet("cadastre", image_size=(None, None)))
    assert texts_of(figure).count("any") == 2  # input, output
    assert not [text for text in texts_of(figure) if re.search("[0-9](²|×[0-9]{2})", text)]
    assert "32×any" in texts_of(draw_network(get_unet("car", image_size=(32, None))))


@pytest.mark.parametrize("name", [*DOCUMENT, *ODD])
def test_no_text_lies_on_another_or_on_a_bar_or_leaves_the_drawing(name, figures):
    figure = figures.get(name)
    if name in ODD:
        job, changes = ODD[name]
        figure = draw_network(get_unet(job, **changes))
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [(n.get_text(), n.get_window_extent(renderer)) for n in figure.axes[0].texts]
    boxes = [("a bar", n.get_window_extent(renderer)) for n in patches_of(figure, Rectangle)]
    width, height = figure.canvas.get_width_height()
    for number, (text, area) in enumerate(texts):
        assert area.x0 >= 0 and area.y0 >= 0 and area.x1 <= width and area.y1 <= height, text
        over = [other for other, there in texts[:number] + boxes if area.overlaps(there)]
        assert not over, text


def test_a_layer_that_no_unet_has_is_named():
    inputs = keras.Input((8, 8, 1))
    outputs = layers.AveragePooling2D(2, name="mean")(inputs)
    with pytest.raises(ValueError, match="layer 'mean': a AveragePooling2D cannot be drawn"):
        draw_network(keras.Model(inputs, outputs))


def contents(path):
    """Of an SVG file the texts, the paths' styles, and the numbers where both stand."""
    elements = list(ElementTree.parse(path).iter())
    texts = [n for n in elements if n.tag.endswith("}text")]
    paths = [n for n in elements if n.tag.endswith("}path")]
    corners = [re.findall(r"[\d.]+", n.get("d")) for n in paths]
    places = [[n.get("x"), n.get("y")] for n in texts] + corners
    numbers = [float(number) for place in places for number in place]
    return [n.text for n in texts], [n.get("style") for n in paths], numbers


@pytest.mark.parametrize("job", DOCUMENT)
def test_the_drawings_in_docs_are_those_of_the_networks(job, place):
    committed = ROOT / f"docs/networks/{job}.svg"
    assert committed.stat().st_size < 100_000
    write_drawing(get_unet(job), "again.svg")
    *drawn, there = contents(committed)
    *drawn_again, here = contents("again.svg")
    assert drawn == drawn_again
    assert there == pytest.approx(here, abs=1)  # matplotlib's versions differ by parts of a point


def test_the_same_network_makes_the_same_file(place):
    for name in "ab":
        write_drawing(get_unet("car"), f"{name}.svg")
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()


def test_the_script_draws_a_network(place):
    assert run_well("model.py", "nerve", "--draw", "drawn/nerve.svg").strip() == "drawn/nerve.svg"
    assert contents("drawn/nerve.svg")[0] == contents(ROOT / "docs/networks/nerve.svg")[0]
    assert [path.name for path in Path("drawn").iterdir()] == ["nerve.svg"]


def test_a_png_is_twice_as_wide_as_a_page(place):
    write_drawing(get_unet("car"), "car.PNG")
    assert 1700 < cv2.imread("car.PNG").shape[1] < 2000


@pytest.mark.parametrize("file", ["car.pdf", "car", "", ".svg"])
def test_a_drawing_that_is_neither_svg_nor_png_is_refused_without_keras(file, place, monkeypatch):
    (place / "keras.py").write_text("raise AssertionError('Keras is imported')")
    monkeypatch.setenv("PYTHONPATH", str(place))
    line = f"error: --draw {file}: expected a file that ends in .svg or .png"
    assert refusal("model.py", "car", "--draw", file) == line
