"""The scripts' command line: a frozen dataclass is the only home of a script's defaults.

Nothing heavy is imported here: `--help` answers without waiting for Keras.
"""

import argparse
import dataclasses
import importlib.util
import math
import numbers
import os
import re
import types
import typing
from pathlib import Path

from unet.errors import InputError, check_name, check_range, refuse
from unet.jobs import JOBS
from unet.jobs.settings import MOST_CLASSES

# Options of data.py for every job, and for noise; all others are for files.
OF_ALL = ("job", "name", "raw", "image_size", "channels")
OF_NOISE = ("num_images", "shape", "fill", "placement", "seed")
EXPORTS = {  # format by ending
    ".onnx": "onnx",
    ".tflite": "litert",
    "": "tf_saved_model",
    ".savedmodel": "tf_saved_model",
}


@dataclasses.dataclass(frozen=True)
class Checked:
    """Base of a script's options: raises InputError for values that the command line refuses."""

    def __post_init__(self):
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            if value == field.default:
                continue
            if not is_of(hints[field.name], value) or (choices and value not in choices):
                kind = getattr(hints[field.name], "__name__", hints[field.name])
                expected = f"one of {', '.join(map(str, choices))}" if choices else kind
                raise InputError(f"{flag(field.name)} {value!r}: expected {expected}")
            checked(field, list(value) if isinstance(value, tuple) else value)


def is_of(kind, value):
    """True for a value of the type of an option."""
    kinds = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return any(is_of(k, value) for k in kinds)
    if typing.get_origin(kind) is tuple:
        is_right = isinstance(value, tuple | list)
        is_right = is_right and (kinds[-1] is ... or len(kinds) == len(value))
        return is_right and all(is_of(kinds[0], item) for item in value)
    numeric = {int: numbers.Integral, float: numbers.Real, str: str | os.PathLike}
    is_kind = isinstance(value, numeric.get(kind, kind))
    return is_kind and (kind is bool or not isinstance(value, bool))


def option(
    default,
    help,
    choices=None,
    least=None,
    most=None,
    metavar=None,
    check=None,
    group=None,
    parse=None,
):
    """A field of a script's options: its default, its help text and the values it allows; check
    raises InputError for others. group: title in the help of it and of the options after it.
    parse: makes the value of one word, where its type would not.
    """
    metadata = dict(
        help=help,
        choices=choices,
        least=least,
        most=most,
        metavar=metavar,
        check=check,
        group=group,
        parse=parse,
    )
    return dataclasses.field(default=default, metadata=metadata)


def job_option():
    return option(
        "noise", "the document to reproduce, or own for your own images", choices=tuple(JOBS)
    )


def run_option():
    return option(
        "noise", "name of the run: the job, or the name given with --name", check=check_name
    )


def threshold_option():
    return option(
        None,
        "probability above which a pixel is foreground, 0 to 1 (default: chosen by train.py)",
        least=0,
        most=1,
        metavar="P",
    )


def run_length_option(what="the run-length code of a CSV file of masks"):
    return option(
        None,
        f"how {what} numbers pixels (default: found from the codes of the training masks)",
        choices=("rows", "columns"),
    )


def name_option(help):
    return option(None, help, metavar="NAME", check=check_name, group="run")


def set_option(what, example):
    return option(
        (),
        f"change {what}, listed in unet/jobs/settings.py, for example {example}",
        metavar="FIELD=VALUE",
    )


def devices_option():
    return option(
        "1",
        "number of devices on this machine that share each batch, or all",
        metavar="N|all",
        group="devices",
    )


def hosts_option():
    return option(
        None,
        "addresses of all machines that work together, this one included; the first one "
        "coordinates them (JAX only)",
        metavar="HOST:PORT,...",
    )


def process_option():
    return option(0, "position of this machine in --hosts, counted from 0", least=0)


def comma_numbers(text):
    """(0.1, 1.0, 5.0) of "0.1,1,5", to parse an option."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected numbers with commas between them, such as 0.1,1,5"
        ) from error


def flag(name):
    """How the command line writes an option."""
    return name if name in ("job", "run") else "--" + name.replace("_", "-")


class OneLineParser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, without the usage."""

    def error(self, message):
        if message.startswith("argument job: invalid"):
            message += "; a run of another name: JOB --name NAME"
        if re.search(r"unrecognized arguments:.*--name\b", message):
            message += "; here a run's name stands alone"
        raise InputError(f"{message}; see {self.prog} --help")


def make_parser(options_class, prog, documentation):
    """The command line of a script, from the dataclass that is the only home of its defaults.

    A field `job` or `run` becomes the positional argument, a bool `--x/--no-x`, a tuple takes as
    many values as it has types. documentation: its docstring, what it does and after an empty line
    an example.
    """
    description, _, example = documentation.strip().partition("\n\n")
    parser = OneLineParser(
        prog=f"python {prog}",
        description=" ".join(description.split()),
        epilog=f"example: {example.splitlines()[0]}" if example else None,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    group = parser
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        if field.metadata["group"]:
            group = parser.add_argument_group(field.metadata["group"])
        arguments = parser_arguments(field, hints[field.name])
        if field.name in ("job", "run"):  # None where it is left out
            arguments["help"] += f" (default: {field.default})"
            parser.add_argument(field.name, nargs="?", **{**arguments, "default": None})
        else:
            group.add_argument(flag(field.name), **arguments)
    return parser


def parser_arguments(field, kind):
    """What argparse's add_argument takes for an option of some type."""
    arguments = dict(help=field.metadata["help"], default=field.default)
    if field.metadata["metavar"]:
        arguments["metavar"] = field.metadata["metavar"]
    if isinstance(kind, types.UnionType):  # "int | None": None is the default, not a value
        kind = next(k for k in typing.get_args(kind) if k is not types.NoneType)
    if field.default is None:
        arguments["default"] = argparse.SUPPRESS
    if kind is bool:
        arguments["action"] = argparse.BooleanOptionalAction
    elif field.metadata["parse"]:
        arguments["type"] = field.metadata["parse"]
    elif typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        arguments.update(type=kinds[0], nargs=len(kinds))
        if kinds[-1] is ...:  # any number of values, and the option more than once
            arguments.update(nargs="+", action="extend", default=argparse.SUPPRESS)
    else:
        arguments.update(type=kind, choices=field.metadata["choices"])
    return arguments


def parse_options(options_class, prog, documentation, arguments=None):
    """Options from the command line (or `arguments`), ranges checked; raises InputError.

    prog: the script's name; documentation: its docstring, whose first line stands in the help.
    """
    return options_class(**parse_given(options_class, prog, documentation, arguments))


def parse_given(options_class, prog, documentation, arguments=None):
    """{name: value} of those options alone that the command line gives; as parse_options."""
    parser = make_parser(options_class, prog, documentation)
    unset = object()  # apart from every value that can be given, the default's too
    namespace = argparse.Namespace()
    for field in dataclasses.fields(options_class):
        if field.default not in (None, ()):  # argparse leaves those out
            setattr(namespace, field.name, unset)
    given = vars(parser.parse_args(arguments, namespace))
    given = {name: value for name, value in given.items() if value not in (unset, None)}
    for field in dataclasses.fields(options_class):
        if field.name in given:
            given[field.name] = checked(field, given[field.name])
    if not {"job", "run"} & set(given):
        tell_no_job(prog)
    return given


def tell_no_job(script):
    """Print a line where train.py or submission.py takes noise, for no job is named, and files or
    arrays of other jobs lie here.
    """
    arrays = [path.parent.name for path in Path("output").glob("*/files.csv")]
    others = sorted(set(arrays) - {"noise"})
    is_asked = script in ("train.py", "submission.py")
    if not is_asked or not (others or Path("raw").exists()):
        return
    what, name = "raw/ has files: python data.py JOB --raw raw, then", "JOB"
    if others:
        what, name = f"output/ has arrays of {', '.join(others)}:", others[0]
        if script == "train.py" and name not in JOBS:
            name = f"JOB --name {name}"
    print(f"no job named: this is noise; {what} python {script} {name}", flush=True)


def checked(field, value):
    """The value that is given for an option, a list as a tuple; raises InputError for one that is
    not allowed.
    """
    least, most, check = (field.metadata[key] for key in ("least", "most", "check"))
    if check:
        check(value)
    if least is not None:
        for number in value if isinstance(value, list) else [value]:
            check_range(flag(field.name), number, least, math.inf if most is None else most)
    return tuple(value) if isinstance(value, list) else value


def check_tensorboard(is_wanted):
    """Raise InputError where --tensorboard lacks a package."""
    packages = "tensorflow", "tensorboard"
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if is_wanted and missing:
        raise InputError(
            f"--tensorboard: the package {missing[0]} is missing; pip install {missing[0]}, or "
            "leave it out: vis/NAME/progress.png shows the curves, too"
        )


def check_export(options):
    """Raise InputError for files of other kinds that model.py is to write, and for options without
    an effect.
    """
    draw, path = options.draw, options.export
    is_for_export = options.image_size or not options.average or options.threshold is not None
    others = [word for word in options.set if not word.startswith("network.")]
    refuse(
        (
            draw is not None and Path(draw).suffix.lower() not in (".svg", ".png"),
            f"--draw {draw}: expected a file that ends in .svg or .png",
        ),
        (
            path is None and is_for_export,
            "--image-size, --threshold and --no-average are for --export FILE; pass that, too",
        ),
        (
            path is None and options.run not in JOBS,
            f"{options.run}: no job, expected one of {', '.join(JOBS)}",
        ),
        (
            path is not None and (options.set or draw is not None),
            "--set and --draw are for a job's network, --export is for a trained one; pass one",
        ),
        (bool(others), f"--set {' '.join(others)}: here expected network.FIELD=VALUE"),
        (
            path is not None and Path(path).suffix not in EXPORTS,
            f"--export {path}: expected the ending .onnx, .tflite (LiteRT), .savedmodel or none "
            "(a folder, SavedModel)",
        ),
    )


def parse_ignore(text):
    """The value of `--ignore 255`, (255,), or the colour of `--ignore 224,224,192`; raises
    InputError.
    """
    if text is None:
        return ()
    numbers = text.split(",")
    if len(numbers) not in (1, 3) or not all(n.isdecimal() and int(n) < 65536 for n in numbers):
        raise InputError(f"--ignore {text}: expected a mask's value, or a colour as R,G,B")
    return tuple(map(int, numbers))


def check_classes(count):
    """Raise InputError for two classes or fewer, which are no option, and for too many."""
    if count is not None and not 3 <= count <= MOST_CLASSES:
        raise InputError(
            f"--classes {count}: expected 3 to {MOST_CLASSES}; foreground and background need no "
            "option, --mask-threshold tells them apart where a mask is not 0 and one other value"
        )


def check_data(options):
    """Raise InputError for options of data.py that contradict each other."""
    is_noise, own = options.job == "noise", options.images or options.table
    for field in dataclasses.fields(options):
        is_idle = field.name not in OF_ALL and (field.name in OF_NOISE) != is_noise
        if is_idle and getattr(options, field.name) != field.default:
            own_text = "noise draws its own images and masks; name another job to read files"
            raise InputError(
                f"{flag(field.name)}: {own_text if is_noise else 'for the job noise only'}"
            )
    has_classes = options.classes or options.colors
    black, white, size = options.black_level, options.white_level, options.image_size or ()
    refuse(
        (
            own and options.raw != type(options).raw,
            "--raw and --images or --table are two ways to say the same; pass one",
        ),
        (
            options.missing_is_empty and not own,
            "--missing-is-empty goes with --images or --table; pass one of these",
        ),
        (
            options.colors and not options.classes and len(parse_ignore(options.ignore)) == 1,
            f"--ignore {options.ignore}: masks in --colors have no such value; name a colour, as "
            "R,G,B",
        ),
        (
            options.placement != "document" and options.shape == "rectangle",
            "--placement applies to circles only; a rectangle lies anywhere inside already",
        ),
        (
            options.no_background and not has_classes,
            "--no-background goes with --classes or --colors; pass one of these",
        ),
        (
            has_classes and options.mask_threshold is not None,
            "--mask-threshold is for two classes; leave it out, or --classes and --colors",
        ),
        (
            has_classes and options.invert,
            "--invert is for two classes; leave it out, or --classes and --colors",
        ),
        (
            white is not None and white <= black,
            f"--white-level {white or 0:g}: expected more than --black-level {black:g}",
        ),
        (
            options.tile_size and options.image_size,
            "--tile-size cuts images, --image-size resizes them; pass one",
        ),
        (
            0 in size and any(size),
            f"--image-size {' '.join(map(str, size))}: expected two lengths, or 0 0",
        ),
    )
