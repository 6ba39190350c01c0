"""What a job is made of: its network, augmentation, recipe and submission, and the meaning of the
values in its files.
"""

import math
import types
import typing
from dataclasses import dataclass, replace

from unet.errors import InputError, check_range, refuse

NOT_SET = ("image_size", "channels", "head_name", "metrics", "augmentation")  # by --set
IGNORED = 255  # in place of a class number: a pixel that does not count
NO_VALUE = -1  # of a mask's pixel in a file
MOST_CLASSES = IGNORED  # that uint8 masks tell apart, numbers 0 to 254
THRESHOLD = 0.5  # a probability above it is foreground
# What turns and flips leave a job's images as likely as they were: the eight quarter turns, with
# and without a flip left to right, of a square, or some of them. (quarter turns, flip)
SYMMETRIES = {
    "none": ((0, False),),
    "mirror": ((0, False), (0, True)),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "turns": tuple((turns, flip) for flip in (False, True) for turns in range(4)),
}


@dataclass(frozen=True)
class UNetConfig:
    """Configuration of a U-Net. Tuples are ordered from full resolution down."""

    image_size: tuple[int | None, int | None]  # (H, W) in pixels; None: any that fits
    channels: int
    filters: tuple[int, ...]  # encoder levels; beside another network's encoder the decoder's
    bottleneck: int  # filters below the last pooling; 0: its output goes up as it is
    decoder_filters: tuple[int, ...] = ()  # (): the encoder's
    top_convolutions: int = 2  # 3x3 convolutions in the decoder's full-resolution level
    classes: int = 1  # output channels; 1: sigmoid, more: softmax
    padding: str = "same"  # "valid": the output is smaller than the input
    upsample: str = "nearest"  # key of layers.UPSAMPLE
    skip_first: bool = True  # concatenated as [skip, upsampled]; False: [upsampled, skip]
    initializer: str = "glorot_uniform"  # Keras's name, or one of layers.initializer
    separate_relu: bool = False  # ReLU as a layer of its own
    batch_normalization: bool = False  # after each 3x3 convolution's ReLU
    momentum: float = 0.99  # of the normalization's moving averages
    dropout: tuple[float, ...] = ()  # rate after each encoder level, bottleneck last; (): none
    head_filters: int = 0  # 3x3 ReLU convolution before the last; 0: none
    head_dropout: float = 0.0
    head_kernel: int = 1
    head_name: str = "logits"  # of the last convolution
    encoder: str = ""  # key of encoders.ENCODERS, which takes raw images; "": levels of its own

    def __post_init__(self):
        levels, filters = len(self.filters), self.filters + self.decoder_filters
        counts = f"filters {self.filters}, decoder_filters {self.decoder_filters}"
        refuse(
            (
                not levels or min(filters) < 1,
                f"{counts}: expected one number above 0 for each level",
            ),
            (
                self.padding not in ("same", "valid"),
                f"padding {self.padding!r}: expected same or valid",
            ),
        )
        for name, least, most in (
            ("bottleneck", 0, math.inf),
            ("head_filters", 0, math.inf),
            ("classes", 1, math.inf),
            ("top_convolutions", 1, 2),
            ("head_kernel", 1, math.inf),
            ("momentum", 0, 0.999),
            ("head_dropout", 0, 0.999),
        ):
            check_range(f"network.{name}", getattr(self, name), least, most)
        for rate in self.dropout:
            check_range("network.dropout", rate, 0, 0.999)
        if self.encoder:
            self._check_beside_encoder()
        for name, needed in (("decoder_filters", levels), ("dropout", levels + 1)):
            given = len(getattr(self, name))
            if given not in (0, needed):
                raise InputError(
                    f"network.{name} has {given} entries, {levels} levels need {needed}; pass "
                    f"--set network.{name}= for none of its own, or as many as that"
                )

    def _check_beside_encoder(self):
        """Raise InputError for fields of an encoder that another network replaces."""
        rates = [0] * len(self.filters) + list(self.dropout[-1:])
        fields = {"padding": "same"} if self.padding != "same" else {}
        if any(self.dropout[:-1]):
            fields["dropout"] = ",".join(map(str, rates))
        if self.decoder_filters:
            fields["decoder_filters"] = ""
            fields["filters"] = ",".join(map(str, self.decoder_filters))
        if fields:
            words = " ".join(f"network.{name}={text}" for name, text in fields.items())
            raise InputError(
                f"network.encoder {self.encoder}: replaces the whole encoder; pass --set {words}, "
                "too"
            )

    @property
    def num_maps(self):
        """How many maps of probability a prediction has: of the foreground or, of more than two
        classes, of each.
        """
        return self.classes if self.classes > 2 else 1

    @property
    def divisor(self):
        """How many input pixels one pixel of the deepest level stands for."""
        return 2 ** len(self.filters)

    @property
    def least_bytes(self):
        """A lower bound of the bytes of the weights, float32, without a network being built: those
        of its widest 3x3 convolution, or fewer.
        """
        top, *decoder = self.decoder_filters or self.filters
        # The second convolution of a level has as many inputs as outputs; the top may have one.
        if self.top_convolutions == 2:
            decoder.append(top)
        widest = max(*self.filters, self.bottleneck, *decoder)
        return 4 * 9 * max(widest**2, top)

    def output_length(self, length):
        """Output height (or width) for one of the input, in pixels; None where it does not fit."""
        lost = 4 if self.padding == "valid" else 0
        for _ in self.filters:
            length -= lost
            if length < 2 or length % 2:
                return None
            length //= 2
        if self.bottleneck:
            length -= lost
        head = lost // 2 if self.head_filters else 0
        for level in reversed(range(len(self.filters))):
            count = self.top_convolutions if level == 0 else 2
            length = 2 * length - count * lost // 2
            if length < 1:
                return None
        return length - head if length > head else None

    @property
    def border(self):
        """Pixels of context that an unpadded network loses on each side; 0 of a padded one."""
        smallest = self.fit_length(1)
        return (smallest - self.output_length(smallest)) // 2

    def fit_length(self, length):
        """Smallest input height (or width) of at least `length` pixels that fits."""
        return next(
            n for n in range(max(length, 1), length + 64 * self.divisor) if self.output_length(n)
        )

    def check_size(self, height, width):
        """Raise ValueError for an input size (pixels; None: any) that the poolings cannot halve,
        naming the nearest that fit.
        """
        for name, length in (("height", height), ("width", width)):
            if length is None or self.output_length(length):
                continue
            smaller = next((n for n in range(length, 0, -1) if self.output_length(n)), None)
            nearest = " and ".join(str(n) for n in (smaller, self.fit_length(length)) if n)
            rule = f"a multiple of {self.divisor}"
            if self.padding == "valid":
                rule = f"{self.fit_length(1)} plus {rule}"
            raise InputError(
                f"image {name} {length} does not fit this network: it must be {rule}; "
                f"nearest: {nearest}"
            )


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training window, of image and mask as one; 0: none of that kind."""

    symmetry: str = "none"  # key of SYMMETRIES: "none", "mirror", "flips", "turns"
    shift: float = 0.0  # beyond the image, as a share of its height and width
    wrap: bool = False  # what leaves on one side comes in on the other; False: mirrored
    rotation: float = 0.0  # degrees at the most, either way
    scale: float = 0.0  # 0.25: by a factor between 1 / 1.25 and 1.25
    elastic: float = 0.0  # pixels, standard deviation of the 3x3 displacements
    contrast: float = 0.0  # standard deviation of the factor
    brightness: float = 0.0  # and of what is added, 1: the whole range
    gamma: float = 0.0  # standard deviation of the power's logarithm
    color: float = 0.0  # of each channel's own gain (its logarithm) and offset (1: image's std)

    def __post_init__(self):
        for name, value in vars(self).items():
            if name not in ("symmetry", "wrap"):
                most = 1 if name == "shift" else 1000
                check_range(f"augmentation.{name}", value, 0, most)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Rates per step; None: one pass over the training images."""

    optimizer: str  # Keras's name
    learning_rate: float
    loss: str  # key of losses.LOSSES
    batch_size: int
    epochs: int
    momentum: float = 0.0  # of SGD
    patience: int | None = None  # epochs without a lower loss after which training ends
    steps_per_epoch: int | None = None
    validation_steps: int | None = None  # at most; None: every validation image once
    repeats: int = 1  # how often each training image comes in one epoch
    metrics: tuple[str, ...] = ("dice_per_image",)  # names in losses, or Keras's
    validation_split: float = 0.2  # share of the training images
    # (x - mean) / std, both of "training": the training images; "set": each split; "image": each
    # image; "none": x / 255; "raw": x, which an encoder standardizes itself
    standardize: str = "training"
    # weights: "best" by the validation's loss, else the training's; "last": of the end
    keep: str = "best"
    window: tuple[int, int] | None = None  # (H, W) of what a step sees; None: the whole image
    augmentation: Augmentation = Augmentation()
    cosine: bool = False  # the rate rises for a tenth of the steps, then falls along a cosine to 0
    decide: bool = False  # choose threshold and smallest area on held-out images; False: 0.5, 0
    # of each class's pixels in the cross-entropy, the background's first; None or (): all alike
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self):
        for name, least, most in (
            ("batch_size", 1, math.inf),
            ("epochs", 1, math.inf),
            ("repeats", 1, math.inf),
            ("patience", 1, math.inf),
            ("steps_per_epoch", 1, math.inf),
            ("validation_steps", 1, math.inf),
            ("learning_rate", 1e-12, 1e6),
            ("momentum", 0, 0.9999),
            ("validation_split", 0, 0.9),
        ):
            check_range(f"recipe.{name}", getattr(self, name), least, most)
        for length in self.window or ():
            check_range("recipe.window", length, 1)
        check_class_weights(self.class_weights)

    @property
    def is_weighted(self):
        """Whether the loss takes border weights, pixel by pixel."""
        return self.loss == "weighted_cross_entropy"


def check_class_weights(weights):
    """Raise InputError for what cannot weigh classes; None passes, and ()."""
    if weights and not (all(0 <= weight < math.inf for weight in weights) and any(weights)):
        text = ",".join(f"{weight:g}" for weight in weights)
        raise InputError(
            f"--class-weights {text}: expected finite numbers of at least 0, not all of them 0"
        )


@dataclass(frozen=True)
class Submission:
    """How a competition has its masks in run-length code, in the table that it hands out and in
    the one that it wants.
    """

    columns: tuple[str, ...] = ("img", "rle_mask")
    columns_first: bool = False  # pixels numbered down the columns; False: along the rows
    min_pixels: int = 0  # a smaller mask counts as empty
    extension: bool = True  # image names with their .jpg
    labels: str = ""  # classes in a "column" of their own, or after the "name" as x.jpg_class
    empty: str | None = ""  # what stands for an empty mask; None: it has no line
    per_object: bool = False  # a line for each object

    @property
    def order(self):
        """The value of --run-length."""
        return "columns" if self.columns_first else "rows"


@dataclass(frozen=True)
class Reading:
    """Meaning of a file's values.

    mask_threshold: mask values above it are foreground; None: a mask holds 0 and `foreground`,
    which is None for the largest value of its type. in_alpha: masks are in the files' alpha.
    invert: foreground and background are swapped. ignore: the mask value, (V,), or the colour,
    (R, G, B), of pixels that do not count, NO_VALUE where labels say that; () where all do.
    numbers: the class number of each value of a mask, IGNORED where it does not count; () where
    values are class numbers. has_background: False where class 0 counts in means and objects as
    the others do. black_level, white_level: the values of images of more than 8 bit that become 0
    and 255; white_level None: not known. zoom: factor, 0 to 1, by which the arrays, and new images
    before prediction, are shrunk. submission: the form of the table of run-length code that had
    the masks, in which submission.py writes them; None: that of the job.
    """

    mask_threshold: float | None = None
    foreground: float | None = None
    in_alpha: bool = False
    invert: bool = False
    ignore: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    has_background: bool = True
    black_level: float = 0.0
    white_level: float | None = None
    zoom: float = 1.0
    submission: Submission | None = None

    def __post_init__(self):
        if not 0 < self.zoom <= 1:
            raise InputError(f"zoom {self.zoom}: expected above 0, at most 1")


PLAIN = Reading()


@dataclass(frozen=True)
class Job:
    """One document. `raw` tells data.py what to expect, for its error messages."""

    network: UNetConfig
    recipe: Recipe
    # Of the arrays, (H, W), as data.py makes them for a document's recipe, and as a modern one was
    # measured with; None: as the files are.
    image_size: tuple[int, int] | None
    raw: str = "--images DIR --masks DIR"
    submission: Submission = Submission()

    def with_classes(self, count, loss):
        """This job for masks of more than two classes, with a loss for these and the most probable
        class in place of a threshold.
        """
        metrics = *(m for m in self.recipe.metrics if m == "accuracy"), "class_dice_per_image"
        recipe = replace(self.recipe, loss=loss, metrics=metrics, decide=False)
        return replace(self, network=replace(self.network, classes=count), recipe=recipe)

    def change(self, assignments):
        """This job with some fields changed, "network.filters=16,32", "recipe.cosine=true"; raises
        InputError for a field that there is not and for a value that it cannot have.
        """
        parts = {
            "network": self.network,
            "recipe": self.recipe,
            "augmentation": self.recipe.augmentation,
        }
        values = {part: {} for part in parts}
        for assignment in assignments:
            path, _, text = assignment.partition("=")
            part, _, name = path.partition(".")
            names = [n for n in vars(parts.get(part, self)) if n not in NOT_SET]
            if part not in parts or name not in names:
                allowed = "as unet/jobs/settings.py names it"
                if part in parts:
                    allowed = f"one of {', '.join(names)}"
                raise InputError(
                    f"--set {assignment}: expected network.FIELD=VALUE, recipe.FIELD=VALUE or "
                    f"augmentation.FIELD=VALUE, FIELD {allowed}"
                )
            kind = typing.get_type_hints(type(parts[part]))[name]
            try:
                values[part][name] = _parse_value(kind, text)
            except (ValueError, KeyError) as error:
                kind = kind.__name__ if isinstance(kind, type) else kind
                raise InputError(f"--set {assignment}: expected a value of type {kind}") from error
        if values["network"].get("encoder"):  # noise's right side has filters of its own
            values["network"] = {"decoder_filters": (), **values["network"]}
        network, recipe, augmentation = (replace(parts[p], **values[p]) for p in parts)
        if values["augmentation"]:
            recipe = replace(recipe, augmentation=augmentation)
        if network.encoder:
            recipe = replace(recipe, **{"standardize": "raw", **values["recipe"]})
        return replace(self, network=network, recipe=recipe)


def _parse_value(kind, text):
    """The value of a field of some type, as the command line writes it."""
    if isinstance(kind, types.UnionType):
        kinds = [k for k in typing.get_args(kind) if k is not types.NoneType]
        return None if text == "none" else _parse_value(kinds[0], text)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        values = tuple(_parse_value(item, word) for word in text.split(",") if word)
        if typing.get_args(kind)[-1] is not ... and len(values) != len(typing.get_args(kind)):
            raise ValueError
        return values
    if kind is bool:
        return {"true": True, "false": False}[text]
    return kind(text)


# What the modern recipes share.
NORMALIZED = dict(batch_normalization=True, momentum=0.9, initializer="he_normal")
NARROW = dict(filters=(16, 32, 64, 128), bottleneck=256, **NORMALIZED)
SHORT = Recipe(
    "adam",
    learning_rate=2e-3,
    loss="bce_dice",
    batch_size=4,
    epochs=6,
    steps_per_epoch=100,
    cosine=True,
    decide=True,
)
