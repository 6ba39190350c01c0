"""Inputs that nobody thought of, for the readers of files from elsewhere: coverage-guided, by
atheris (libFuzzer). An input that is answered with anything but a result or an InputError ends it.

python tests/fuzz.py --target rle --minutes 10
"""

import contextlib
import csv
import gc
import io
import json
import os
import resource
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from unet.errors import one_line_errors
from unet.options import option, parse_options

TARGETS = ("rle", "csv", "record", "stack")
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(
    2**20
)  # many small images instead of few large ones


@dataclass(frozen=True)
class Options:
    target: str = option(
        "rle",
        "run-length codes, CSV files (tables and true masks), weights/JOB.json, or stacks of "
        "tif and gif pictures",
        choices=TARGETS,
    )
    minutes: float = option(10.0, "how long", least=0.01)


if __name__ == "__main__":
    with one_line_errors():
        OPTIONS = parse_options(Options, "tests/fuzz.py", __doc__)

import atheris

with atheris.instrument_imports(
    include=["unet.data", "unet.reading", "unet.runs", "unet.prediction"]
):
    from unet import runs
    from unet.reading import codes, files, masks, pixels, run_length, tables
    from unet.jobs.settings import PLAIN, Reading
    from unet.machine import disk
    from unet.prediction.submit import read_truth

import numpy as np
from PIL import Image

from unet.errors import InputError
from unet.jobs import JOBS
from unet.jobs.settings import Submission


def rle(content):
    """A code that is taken is that of its mask, and its mask that of its code."""
    data = atheris.FuzzedDataProvider(content)
    height, width, columns_first = (
        *(data.ConsumeIntInRange(1, 40) for _ in "HW"),
        data.ConsumeBool(),
    )
    code = data.ConsumeUnicode(200)
    mask = np.frombuffer(content.ljust(height * width, b"\0"), np.uint8)[: height * width] > 127
    mask = mask.reshape(height, width)
    again = run_length.run_length_enc(mask, columns_first, 0)
    assert (run_length.run_length_dec(again, height, width, columns_first) == mask).all()
    with contextlib.suppress(InputError):
        mask = run_length.run_length_dec(code, height, width, columns_first)
        assert mask.shape == (height, width)
        again = run_length.run_length_enc(mask, columns_first, 0)
        assert (run_length.run_length_dec(again, height, width, columns_first) == mask).all()
        assert mask.sum() == sum(map(int, code.split()[1::2]))


def csv_files(content):
    """What is taken has the columns, and names no file outside its folder."""
    Path("data/table.csv").write_bytes(content)
    with contextlib.suppress(InputError):
        for row in disk.read_csv("data/table.csv", ("image", "mask")):
            assert isinstance(row["image"], str) and isinstance(row["mask"], str)
    with contextlib.suppress(InputError):
        for frame in tables.row_frames(
            tables.read_table("data/table.csv"), "train", "data/table.csv"
        ):
            assert Path(os.path.abspath(frame.image.path)).is_relative_to(Path("data").absolute())
    for rules in (Submission(), JOBS["nerve"].submission):
        with contextlib.suppress(InputError):
            for cells in read_truth("data/table.csv", rules):
                assert all(isinstance(cell, str) for cell in cells)
    with contextlib.suppress(InputError):
        assert all(isinstance(name, str) for name in codes.read_codes("data/table.csv")[0])


def record(content):
    """What is taken has a network that can be described, and a decision that can be made."""
    data = atheris.FuzzedDataProvider(content)
    if data.ConsumeBool():  # a good one with some of its fields replaced, else any text
        changed = json.loads(RECORD)
        for _ in range(data.ConsumeIntInRange(1, 3)):
            part = changed
            while isinstance(part, dict) and part:
                key = data.PickValueInList(list(part))
                if not isinstance(part[key], dict) or data.ConsumeBool():
                    with contextlib.suppress(ValueError, RecursionError):
                        part[key] = json.loads(data.ConsumeUnicodeNoSurrogates(20))
                    break
                part = part[key]
        content = json.dumps(changed).encode()
    Path("weights/nerve.json").write_bytes(content)
    with contextlib.suppress(InputError):
        found = runs.read_record("nerve")
        found.decision.mask(np.zeros((4, 4, 1), np.float32))
        if found.folds:
            assert all("/" not in name for name in found.network_names)
        else:
            found.network_of_any_size()


def stack(content):
    """Pages are counted alike, and decoded to pixels of the promised kind."""
    Path("data/stack.tif").write_bytes(content)
    count, full = 0, Reading(white_level=65535)
    with contextlib.suppress(InputError):
        count = len(files.list_pages(files.ImageFile("data/stack.tif", "", "")))
    for page in range(min(count, 3) or 1):
        with contextlib.suppress(InputError):
            image = pixels.decode_image(content, "x", 1 + 2 * (page % 2), page, full)
            assert image.dtype == np.uint8 and image.ndim == 3
        with contextlib.suppress(InputError):
            mask = masks.decode_mask(content, "x", page, PLAIN if page else Reading(127))
            assert set(np.unique(mask)) <= {0, 1}
    gc.collect()  # Pillow's moving pictures keep themselves alive in circles


RECORD = json.dumps(
    {
        "format": runs.FORMAT,
        "name": "nerve",
        "job": "nerve",
        "network": asdict(JOBS["nerve"].network),
        "mean": 90.0,
        "std": 50.0,
        "array_size": [64, 80],
        "is_resized": True,
        "validation": ["1_1"],
        "decision": asdict(runs.Decision()),
        "recipe": asdict(JOBS["nerve"].recipe),
        "command": "python train.py nerve",
    }
)


def seeds(target):
    """Good inputs to begin with, bytes."""
    if target == "rle":
        yield from (b"\x08\x08\x011 5 9 2", b"\x08\x08\0", bytes(range(128, 255)))
    elif target == "csv":
        rows = {"image": "1.png", "mask": "1.png"}, {"img": "1.jpg", "rle_mask": "1 5"}
        for row in (
            *rows,
            {"img": "1", "pixels": "1 5"},
            {"subject": "1", "img": "2", "pixels": ""},
        ):
            text = io.StringIO()
            csv.writer(text).writerows([row.keys(), row.values()])
            yield text.getvalue().encode()
            yield b"\xef\xbb\xbf" + text.getvalue().encode()
    elif target == "record":
        folds = {"folds": [{"name": "nerve.fold1"}]}
        yield from (RECORD.encode(), json.dumps({**json.loads(RECORD), **folds}).encode())
    else:
        pictures = [Image.fromarray(np.full((9, 7), value, np.uint8)) for value in (0, 255, 9)]
        for kind, given in (("tiff", {}), ("tiff", {"compression": "tiff_lzw"}), ("gif", {})):
            file = io.BytesIO()
            pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], **given)
            yield file.getvalue()


def main(options):
    os.chdir(tempfile.mkdtemp())
    for folder in ("data", "weights", "seeds", "found"):
        Path(folder).mkdir()
    Path("data/1.png").write_bytes(b"")
    for number, seed in enumerate(seeds(options.target)):
        Path("seeds", str(number)).write_bytes(seed)
    target = dict(zip(TARGETS, (rle, csv_files, record, stack)))[options.target]
    flags = [f"-max_total_time={max(1, round(options.minutes * 60))}", "-print_final_stats=1"]
    begun = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    )  # Linux: of what forked, too
    flags += ["-max_len=20000", "-timeout=5", f"-rss_limit_mb={begun + 2000}", "-verbosity=0"]
    atheris.Setup(["fuzz", *flags, "found", "seeds"], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(OPTIONS)
