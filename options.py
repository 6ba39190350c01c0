"""The scripts' command line: a frozen dataclass is the only home of a script's defaults.

Nothing heavy is imported here: `--help` answers, and `data.py` starts, without waiting for Keras.
"""

import argparse
import contextlib
import dataclasses
import logging
import math
import os
import re
import signal
import sys
import types
import typing

from jobs import JOBS, InputError, check_name, check_range


def option(
    default, help, choices=None, least=None, most=None, metavar=None, check=None, group=None
):
    """A field of a script's options: its default, its help text and the values it allows; check
    raises InputError for others. group: title in the help of it and of the options after it.
    """
    metadata = dict(locals())
    del metadata["default"]
    return dataclasses.field(default=default, metadata=metadata)


def job_option():
    return option("noise", "which document", choices=tuple(JOBS))


def run_option():
    return option("noise", "which run: a job, or what --name called it", check=check_name)


def name_option(help):
    return option(None, help, metavar="NAME", check=check_name, group="the run")


def run_name(options):
    """The name of the run that the options of data.py or train.py speak of; raises InputError."""
    # Some file systems do not tell Nerve from nerve.
    if (options.name or "").lower() in JOBS and options.name != options.job:
        raise InputError(f"--name {options.name}: is a job of its own; take another name")
    return options.name or options.job


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
        kind = hints[field.name]
        if isinstance(kind, types.UnionType):  # "int | None": None is the default, not a value
            kind = next(k for k in typing.get_args(kind) if k is not types.NoneType)
        arguments = dict(help=field.metadata["help"], default=field.default)
        if field.default is None:
            arguments["default"] = argparse.SUPPRESS
        if kind is bool:
            arguments["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is tuple:
            kinds = typing.get_args(kind)
            arguments.update(type=kinds[0], nargs=len(kinds))
            if kinds[-1] is ...:  # any number of values, and the option more than once
                arguments.update(nargs="+", action="extend", default=argparse.SUPPRESS)
        else:
            arguments.update(type=kind, choices=field.metadata["choices"])
        if field.metadata["metavar"]:
            arguments["metavar"] = field.metadata["metavar"]
        if field.metadata["group"]:
            group = parser.add_argument_group(field.metadata["group"])
        if field.name in ("job", "run"):
            parser.add_argument(field.name, nargs="?", **arguments)
        else:
            group.add_argument("--" + field.name.replace("_", "-"), **arguments)
    return parser


def parse_options(options_class, prog, documentation, arguments=None):
    """Options from the command line (or `arguments`), ranges checked; raises InputError.

    prog: the script's name; documentation: its docstring, whose first line stands in the help.
    """
    return options_class(**parse_given(options_class, prog, documentation, arguments))


def parse_given(options_class, prog, documentation, arguments=None):
    """{name: value} of those options alone that the command line gives; as parse_options."""
    fields = dataclasses.fields(options_class)
    missing = argparse.Namespace(**{f.name: f for f in fields if f.default not in (None, ())})
    given = vars(make_parser(options_class, prog, documentation).parse_args(arguments, missing))
    given = {name: v for name, v in given.items() if not isinstance(v, dataclasses.Field)}
    for field in fields:
        least, most = field.metadata["least"], field.metadata["most"]
        value = given.get(field.name)
        if field.metadata["check"]:
            field.metadata["check"](value)
        for number in value if isinstance(value, list) else (value,):
            if least is not None:
                flag = f"--{field.name.replace('_', '-')}"
                check_range(flag, number, least, math.inf if most is None else most)
        if isinstance(value, list):
            given[field.name] = tuple(value)
    return given


_depth = 0  # of one_line_errors blocks that are running


def error_text(error):
    """An error in one line; an OSError with its file's name."""
    if isinstance(error, OSError) and error.filename:
        error = f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


class Stopped(KeyboardInterrupt):
    """SIGINT (Ctrl-C) or SIGTERM asked a script to end; the text says what is kept."""

    def __init__(self, number=signal.SIGINT, message="stopped"):
        super().__init__(message)
        self.status = 128 + number  # as shells have it


def stop_in_one_line():
    """Have SIGINT and SIGTERM end a script in one line from here on: inside one_line_errors as it
    does, outside, while modules are imported, at once.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number, frame):
    if _depth:
        raise Stopped(number)
    os.write(2, b"\nstopped\n")
    os._exit(128 + number)


@contextlib.contextmanager
def one_line_errors():
    """Turn a user's mistake inside the block into one line and exit status 2, a training that
    computed no number into status 1, SIGINT and SIGTERM into 130 and 143.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # and its hints about retracing
    global _depth
    status, _depth = 2, _depth + 1
    try:
        yield
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = error_text(error)
    except FloatingPointError as error:
        message, status = str(error), 1
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'stopped'}", file=sys.stderr)
        sys.exit(getattr(stop, "status", 130))
    else:
        return
    finally:
        _depth -= 1
    line = " ".join(message.split())
    print("error: " + "".join(c if c.isprintable() else "?" for c in line), file=sys.stderr)
    sys.exit(status)
