"""The scripts' command line: a frozen dataclass is the only home of a script's defaults.

Nothing heavy is imported here: `--help` answers without waiting for Keras.
"""

import argparse
import dataclasses
import importlib.util
import math
import re
import types
import typing
from pathlib import Path

from unet.errors import InputError, check_name, check_range
from unet.jobs import JOBS

EXPORTS = {  # format by ending
    ".onnx": "onnx",
    ".tflite": "litert",
    "": "tf_saved_model",
    ".savedmodel": "tf_saved_model",
}


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
    return option("noise", "which document, or own: images of your own", choices=tuple(JOBS))


def run_option():
    return option("noise", "which run: a job, or what --name called it", check=check_name)


def threshold_option():
    return option(
        None,
        "a probability above it is foreground, 0 to 1 (default: what train.py chose)",
        least=0,
        most=1,
        metavar="P",
    )


def name_option(help):
    return option(None, help, metavar="NAME", check=check_name, group="the run")


def set_option(what, example):
    return option(
        (),
        f"{what}, as unet/jobs/settings.py lists them, such as {example}",
        metavar="FIELD=VALUE",
    )


def devices_option():
    return option(
        "1",
        "devices of this machine that share each batch, or all",
        metavar="N|all",
        group="where it runs",
    )


def hosts_option():
    return option(
        None,
        "one address for each machine that takes part, this one too; the first is where all of "
        "them meet; JAX only",
        metavar="HOST:PORT,...",
    )


def process_option():
    return option(0, "which of --hosts this machine is, from 0 on", least=0)


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
        if field.name in ("job", "run"):
            parser.add_argument(field.name, nargs="?", **arguments)
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
    given = {name: value for name, value in given.items() if value is not unset}
    for field in dataclasses.fields(options_class):
        if field.name in given:
            given[field.name] = checked(field, given[field.name])
    return given


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
    if options.draw is not None and Path(options.draw).suffix.lower() not in (".svg", ".png"):
        raise InputError(f"--draw {options.draw}: expected a file that ends in .svg or .png")
    path = options.export
    if path is None and (options.image_size or not options.average):
        raise InputError("--image-size and --no-average are of --export FILE; pass that, too")
    if path is None and options.threshold is not None:
        raise InputError("--threshold is of --export FILE; pass that, too")
    if path is None and options.run not in JOBS:
        raise InputError(f"{options.run}: no job, expected one of {', '.join(JOBS)}")
    if path is not None and options.set:
        raise InputError("--set is of a job's network, --export of a trained one; leave it out")
    for assignment in options.set:
        if not assignment.startswith("network."):
            raise InputError(f"--set {assignment}: here expected network.FIELD=VALUE")
    if path is not None and options.draw is not None:
        raise InputError("--draw is of a job's network, --export of a trained one; pass one")
    if path is not None and Path(path).suffix not in EXPORTS:
        raise InputError(
            f"--export {path}: expected the ending .onnx, .tflite (LiteRT), .savedmodel or none "
            "(a folder, SavedModel)"
        )
