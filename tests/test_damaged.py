"""Damaged and hostile files, hundreds of them: each is answered with one line and exit status 2,
at once, in little memory, and with what stood there before untouched.
"""

import contextlib
import functools
import io
import json
import os
import pickle
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from conftest import ROOT, draw_pair, fork, make_folders, make_record, slow
from PIL import Image

import data
import train
from train import load_run
from unet.data.arrays import load_arrays
from unet.errors import InputError
from unet.jobs import JOBS
from unet.jobs.settings import PLAIN
from unet.reading.values import reading_text
from unet.training.checkpoint import Progress, read_progress, write_checkpoint

pytestmark = slow
SECONDS, MEGABYTES = 2, 1000  # more than what a good input takes
IMAGE, MASK = draw_pair(1, (80, 100), 3)
rng = np.random.default_rng(1)


def encoded(pixels, kind, **options):
    """The bytes of an image file, by Pillow; pixels RGB or grey."""
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, {".jpg": "jpeg", ".tif": "tiff"}.get(kind, kind[1:]), **options)
    return file.getvalue()


def chunk(name, content):
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def png_header(width, height, content=b"", color=2, depth=8):
    """A PNG that says it is so large."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(content))
        + chunk(b"IEND", b"")
    )


def put(content, at, bytes_there):
    """Content with other bytes at a place."""
    return content[:at] + bytes_there + content[at + len(bytes_there) :]


def flipped(content, count=3):
    """Content with some bits turned over."""
    changed = bytearray(content)
    for at in rng.integers(8, len(changed), count):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


KINDS = (".png", ".jpg", ".bmp", ".tif", ".gif")
GOOD = {kind: encoded(MASK if kind == ".gif" else IMAGE, kind) for kind in KINDS}
GOOD_MASK = {kind: encoded(MASK, kind) for kind in KINDS if kind != ".jpg"}


def cut_short():
    """{name: (kind, bytes)}: 20 lengths of each kind of image, 8 of each kind of mask."""
    for kind, content in GOOD.items():
        for part in np.linspace(0, 0.97, 20):
            yield f"{kind} {part:.2f}", "images", kind, content[: int(len(content) * part)]
    for kind, content in GOOD_MASK.items():
        for part in np.linspace(0, 0.97, 8):
            yield f"mask {kind} {part:.2f}", "masks", kind, content[: int(len(content) * part)]


def bits_turned_over():
    """In the kinds that have checksums, or codes in which an error shows."""
    for number in range(40):
        yield f"png {number}", "images", ".png", flipped(GOOD[".png"])
        yield f"mask {number}", "masks", ".png", flipped(GOOD_MASK[".png"])
    for number in range(20):
        damaged = put(GOOD[".tif"], 0, rng.bytes(8))
        yield f"tif {number}", "images", ".tif", damaged
        yield f"bmp {number}", "images", ".bmp", put(GOOD[".bmp"], 10, rng.bytes(20))


def other_contents():
    float_tif, nan = IMAGE[..., 0].astype(np.float32), np.full((80, 100), np.nan, np.float32)
    jpg, gif, bmp, tif = (GOOD[kind] for kind in (".jpg", ".gif", ".bmp", ".tif"))
    frame = jpg.find(b"\xff\xc0") + 5
    large = struct.pack(">HH", 30000, 30000)
    palette = Image.fromarray(IMAGE).convert("P")
    grey = np.arange(8000, dtype=np.uint8).reshape(80, 100)
    yield from (
        ("zero bytes", "images", ".png", b""),
        ("zeros", "images", ".jpg", bytes(10_000)),
        ("text", "images", ".png", b"this is no image\n" * 100),
        ("text as tif", "images", ".tif", b"II*\0 this is no image" * 100),
        ("a page", "images", ".jpg", b"<html><body>404 not found</body></html>"),
        ("a zip", "images", ".png", b"PK\x03\x04" + bytes(100)),
        ("a link to a file", "images", ".png", b"version https://git-lfs.github.com/spec/v1\n"),
        ("png of 65,535", "images", ".png", png_header(65535, 65535, bytes(1000))),
        ("png of 30,000", "images", ".png", png_header(30000, 30000, bytes(1000))),
        ("png of 2^31", "images", ".png", png_header(2**31 - 1, 2**31 - 1)),
        ("png of 0", "images", ".png", png_header(0, 0)),
        ("png of 16 bit, cut short", "images", ".png", png_header(900, 900, bytes(9), depth=16)),
        ("mask of 65,535", "masks", ".png", png_header(65535, 65535, bytes(99), color=0)),
        ("gif of 65,535", "images", ".gif", put(gif, 6, b"\xff" * 4)),
        ("gif of 30,000", "images", ".gif", put(gif, 6, struct.pack("<HH", 30000, 30000))),
        ("jpg of 65,000", "images", ".jpg", put(jpg, frame, struct.pack(">HH", 65000, 65000))),
        ("jpg of 30,000", "images", ".jpg", put(jpg, frame, large)),
        ("bmp of 30,000", "images", ".bmp", put(bmp, 18, struct.pack("<ii", 30000, 30000))),
        ("bmp of -2^31", "images", ".bmp", put(bmp, 18, struct.pack("<ii", -(2**31), 5))),
        ("tif without an end", "images", ".tif", put(tif, 4, b"\x08\0\0\0" + b"\xff\xff")),
        ("tif of 65,535 tags", "images", ".tif", b"II*\0\x08\0\0\0\xff\xff" + rng.bytes(9000)),
        ("tif of itself", "images", ".tif", b"II*\0\x08\0\0\0\x01\0" + bytes(12) + b"\x08\0\0\0"),
        ("float tif", "images", ".tif", encoded(float_tif, ".tif")),
        ("tif of no number", "images", ".tif", encoded(nan, ".tif")),
        ("32-bit tif", "images", ".tif", encoded(grey.astype(np.int32), ".tif")),
        ("float mask", "masks", ".tif", encoded(float_tif, ".tif")),
        ("mask of no number", "masks", ".tif", encoded(nan, ".tif")),
        ("grey mask", "masks", ".png", encoded(grey, ".png")),
        ("16-bit mask", "masks", ".png", encoded(grey.astype(np.uint16) * 9, ".png")),
        ("colored mask", "masks", ".png", encoded(IMAGE, ".png")),
        ("mask with colors in a palette", "masks", ".png", encoded(palette, ".png")),
        ("jpg mask", "masks", ".jpg", encoded(MASK, ".jpg", quality=60)),
        ("cmyk mask", "masks", ".jpg", encoded(Image.fromarray(IMAGE).convert("CMYK"), ".jpg")),
        ("mask of two sizes", "masks", ".png", encoded(MASK[:70], ".png")),
        ("mask of one pixel", "masks", ".png", encoded(MASK[:1, :1], ".png")),
    )


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A folder with images, masks and the arrays of them."""
    root = tmp_path_factory.mktemp("good")
    make_folders(root, count=3, channels=3)
    with contextlib.chdir(root):
        data.prepare(FOLDERS)
    return root


FOLDERS = data.Options(job="cadastre", images="images", masks="masks", image_size=(64, 64))
COMMAND = "cadastre --images images --masks masks --image-size 64 64".split()  # noqa: SIM905


def everything(folder):
    """{path: bytes} of the files of a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Refusals:
    """Run a script on one damaged copy of a good folder after the other."""

    def __init__(self, script, good, place, *command):
        self.script = functools.partial(fork, script)
        self.good, self.place, self.command = good, place, command
        self.count = 0
        self.usual = self.run(lambda folder: None, *command)[0]
        assert self.usual["status"] == 0

    def run(self, damage, *command):
        folder = self.place / f"{self.count}"
        shutil.copytree(self.good, folder, symlinks=True)
        damage(folder)
        before = everything(folder / "output")
        answer = self.script(folder, *command)
        lines = (folder / "log").read_text(errors="replace").splitlines()
        after = everything(folder / "output")
        for files in (before, after):
            files.pop(str(folder / f"output/.{command[0]}.lock"), None)
        shutil.rmtree(folder)
        return answer, lines, before == after

    def __call__(self, name, damage, *command):
        """The line in which a damaged copy is refused."""
        self.count += 1
        answer, lines, is_untouched = self.run(damage, *(command or self.command))
        assert answer["status"] == 2, (name, answer, lines[-3:])
        assert len(lines) == 1, (name, lines)
        assert lines[0].startswith("error: "), (name, lines)
        assert is_untouched, name
        assert answer["seconds"] < self.usual["seconds"] + SECONDS, (name, answer)
        assert answer["megabytes"] < self.usual["megabytes"] + MEGABYTES, (name, answer)
        return lines[0]

    def report(self, what):
        """For a reader of pytest -rP."""
        print(f"{what}: {self.count} damaged inputs answered")


@pytest.mark.parametrize("cases", [other_contents, cut_short, bits_turned_over])
def test_images_and_masks(there, tmp_path, cases):
    refuse = Refusals("data.py", there, tmp_path, *COMMAND)
    for name, part, kind, content in cases():

        def damage(folder, part=part, kind=kind, content=content):
            (folder / part / "2.png").unlink()
            (folder / part / f"2{kind}").write_bytes(content)

        assert f"{part}/2{kind}" in refuse(name, damage), name
    refuse.report(cases.__name__)


def test_names_and_links(there, tmp_path):
    refuse = Refusals("data.py", there, tmp_path, *COMMAND)
    names = ("a b.png", "a\nb.png", "ü\u202eb\u0301.png", "\x1b[31m.png", "%s{0}.png", "'; rm.png")
    for name in (*names, "x" * 251 + ".png", "~.png", "-rf.png", "$HOME.png", "*.png"):
        line = refuse(name, lambda folder, name=name: (folder / "images" / name).write_bytes(b""))
        assert all(c.isprintable() for c in line)

        def damage(folder, name=name):
            for part in ("images", "masks"):
                (folder / part / name).write_bytes(b"no image")

        refuse(name, damage)

    def damage(folder):
        Path(os.fsdecode(os.fsencode(folder / "images/") + b"/\xff\xfe.png")).write_bytes(b"")

    assert "its name is not UTF-8" in refuse("not UTF-8", damage)
    for target in ("nowhere.png", "2.png", "/dev/null", "/proc/self/mem", "../images", "/"):

        def damage(folder, target=target):
            (folder / "images/2.png").unlink()
            (folder / "images/2.png").symlink_to(target)

        refuse(f"link to {target}", damage)

    def damage(folder):
        (folder / "images/2.png").unlink()
        (folder / "images/2.png").mkdir()

    assert "mask without an image" in refuse("a folder called 2.png", damage)
    refuse("no folder", lambda folder: None, *COMMAND[:2], "nowhere", *COMMAND[3:])

    def damage(folder):
        (folder / "notes.txt").write_text("no image")

    refuse("a file that is no image", damage, *COMMAND[:2], "notes.txt", *COMMAND[3:])
    refuse.report("names and links")


LINES = "image,mask\nimages/1.png,masks/1.png\nimages/2.png,masks/2.png\n"
TABLES = {
    "empty": "",
    "only a header": "image,mask\n",
    "no header": LINES.partition("\n")[2],
    "another column": LINES.replace("mask\n", "label\n"),
    "one column": "image\nimages/1.png\n",
    "an open quote": LINES.replace("images/2", '"images/2'),
    "a quote in the middle": LINES.replace("images/2.png,", '"images/2.png"x,'),
    "cut short": LINES[:-14],
    "a missing file": LINES.replace("2.png", "9.png"),
    "a line twice": LINES + "images/2.png,masks/2.png\n",
    "the same image by another way": LINES + "images/./2.png,masks/2.png\n",
    "absolute": LINES.replace("images/2.png", "/etc/passwd"),
    "above": LINES.replace("images/2.png", "../secret.png"),
    "above by a detour": LINES.replace("images/2.png", "images/../../secret.png"),
    "a folder": LINES.replace("images/2.png", "images"),
    "an empty cell": LINES + "images/3.png,\n",
    "zero bytes": LINES.replace("2", "\0"),
    "a name of 5,000 letters": LINES.replace("images/2", "i" * 5000),
    "UTF-16 without its mark": LINES.encode("utf-16-le"),
    "latin 1": LINES.replace("2", "é").encode("latin-1"),
    "binary": rng.bytes(5000),
    "an image": GOOD[".png"],
}


def test_tables(there, tmp_path):
    command = ["cadastre", "--table", "table.csv", "--image-size", 64, 64]
    (there / "table.csv").write_text(LINES)
    refuse = Refusals("data.py", there, tmp_path, *command)
    for name, text in TABLES.items():

        def damage(folder, text=text):
            content = text if isinstance(text, bytes) else text.encode()
            (folder / "table.csv").write_bytes(content)

        assert "table.csv" in refuse(name, damage), name
    refuse.report("tables")
    crlf = LINES.replace("\n", "\r\n")
    for text in ("\ufeff" + LINES, crlf, "\ufeff" + crlf):  # as Excel saves it

        def damage(folder, text=text):
            (folder / "table.csv").write_bytes(text.encode())

        assert refuse.run(damage, *command)[0]["status"] == 0


def zipped(files, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_zips(there, tmp_path):
    """And what lies in them, with names that lead out of them."""
    pair = {"train/1_1.tif": GOOD[".tif"], "train/1_1_mask.tif": GOOD_MASK[".tif"]}
    good = zipped(pair)
    (there / "raw.zip").write_bytes(good)
    command = ["nerve", "--raw", "raw.zip"]
    refuse = Refusals("data.py", there, tmp_path, *command)
    nested = good
    for _ in range(6):
        nested = zipped({"raw.zip": nested})
    cases = {
        "empty": b"",
        "text": b"text",
        "without images": zipped({"readme.txt": b""}),
        "six inside each other": nested,
        "a bomb": zipped({**pair, "train/1_2.tif": bytes(1_500_000_000)}),
        "a mask alone": zipped({"train/1_1_mask.tif": GOOD_MASK[".tif"]}),
        "a damaged inner zip": zipped({"inner.zip": b"PK\x03\x04damaged"}),
    }
    cases.update({f"cut at {n}": good[:n] for n in range(10, len(good), len(good) // 15)})
    for name, content in cases.items():
        line = refuse(name, lambda folder, c=content: (folder / "raw.zip").write_bytes(c))
        assert "raw.zip" in line, name
    refuse.report("zips")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a small network that was trained, and its predictions."""
    root = tmp_path_factory.mktemp("trained")
    make_folders(root, count=4, size=(64, 80), channels=1)
    with contextlib.chdir(root):
        given = dict(images="images", masks="masks", test_images="images")
        data.prepare(data.Options(job="nerve", **given))
        changes = ("network.filters=4,6", "network.bottleneck=8")
        options = train.Options(
            job="nerve", epochs=1, batch_size=2, validation_split=0.2, set=changes
        )
        train.train_predict(options)
        lines = "".join(f"{number},1 5\n" for number in range(1, 5))
        Path("truth.csv").write_text(f"img,pixels\n{lines}")
    return root


TRUTHS = {
    "odd": "1 5 9",
    "letters": "1 x",
    "negative": "-1 5",
    "a length below 0": "9 -5",
    "a length of 0": "9 0",
    "from 0 on": "0 5",
    "outside": "5120 2",
    "far outside": "99999999999999999999999 1",
    "overlap": "1 5 3 5",
    "out of order": "50 5 1 5",
    "fractions": "1.5 2",
    "underscores": "1_0 5",
    "digits of another alphabet": "\u0661 5",
    "infinite": "inf 1",
    "commas": '"1,5"',
}


def test_true_masks(trained, tmp_path):
    assert fork("submission.py", trained, "nerve")["status"] == 0
    (trained / "log").unlink()
    refuse = Refusals("submission.py", trained, tmp_path, "nerve", "--truth", "truth.csv")

    def write(text):
        return lambda folder: (folder / "truth.csv").write_bytes(
            text if isinstance(text, bytes) else text.encode()
        )

    good = (trained / "truth.csv").read_text()
    for name, code in TRUTHS.items():
        text = good.replace("2,1 5", f"2,{code}")
        line = refuse(name, write(text))
        assert "truth.csv: image 2: run-length code" in line, (name, line)
    for name, text in {
        "empty": "",
        "another column": good.replace("pixels", "rle_mask"),
        "an image twice": good + "2,1 5\n",
        "an image less": good[: good.rindex("4,")],
        "an open quote": good.replace("2,", '"2,'),
        "binary": rng.bytes(3000),
        "one column": "img\n1\n2\n",
    }.items():
        assert "truth.csv" in refuse(name, write(text)), name
    refuse("missing", lambda folder: (folder / "truth.csv").unlink())
    refuse("a folder", lambda folder: None, "nerve", "--truth", "images")
    refuse.report("true masks")


def npy(header, content=b""):
    """A .npy file with any text for its header."""
    header = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + content


class Pickled:
    """What runs a command where pickle reads it."""

    def __reduce__(self):
        return os.system, ("touch was-run",)


def test_arrays_and_records_that_are_read_back(trained, tmp_path):
    refuse = Refusals("submission.py", trained, tmp_path, "nerve")
    array = (trained / "output/nerve/imgs_train.npy").read_bytes()
    shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }"
    objects = io.BytesIO()
    np.save(objects, np.array([Pickled()], object))
    contents = {
        "empty": b"",
        "text": b"text" * 99,
        "a pickle": pickle.dumps(Pickled()),
        "objects": objects.getvalue(),
        "no header": array[:10],
        "a huge shape": npy(shape % "10**9"),
        "a shape larger than the file": npy(shape % "4, 99999, 99999, 1"),
        "a negative shape": npy(shape % "-4, 64, 80, 1", bytes(100)),
        "code for a header": npy("__import__('os').system('touch was-run')"),
        "a nested header": npy("(" * 100),
        "floats": npy(shape.replace("|u1", "<f4") % "4, 64, 80, 1", bytes(81920)),
        "another version": put(array, 6, b"\x09"),
        "a float shape": npy(shape % "4.0, 64, 80, 1", bytes(20480)),
    }
    contents.update({f"cut at {part}": array[: len(array) * part // 10] for part in range(10)})
    for name, content in contents.items():
        for file in ("imgs_train.npy", "imgs_test.npy"):

            def damage(folder, file=file, content=content):
                (folder / "output/nerve" / file).write_bytes(content)

            assert f"output/nerve/{file}" in refuse(name, damage), name
    assert not list(tmp_path.rglob("was-run"))

    files = (trained / "output/nerve/files.csv").read_text()
    for name, text in {
        "empty": "",
        "a row less": files[: files[:-1].rindex("\n") + 1],
        "no sizes": files.replace(",64,80", ",,"),
        "sizes of 0": files.replace(",64,80", ",0,80"),
        "huge sizes": files.replace(",64,80", ",99999999,99999999"),
        "another column": files.replace("subject", "patient"),
    }.items():

        def damage(folder, text=text):
            (folder / "output/nerve/files.csv").write_text(text)

        assert "output/nerve" in refuse(name, damage), name

    record = json.loads((trained / "weights/nerve.json").read_text())
    texts = {f"cut at {n}": json.dumps(record)[: 300 * n] for n in range(5)}
    texts["deep"] = "[" * 100_000
    texts["a list"] = "[]"
    texts["no number"] = json.dumps({**record, "decision": {"threshold": None}})
    texts["a path"] = json.dumps({**record, "folds": [{"name": "nerve.fold1/../../x"}]})
    texts["code"] = json.dumps({**record, "network": "__import__('os').system('true')"})
    texts["not a number"] = json.dumps({**record, "mean": float("nan")})
    texts["options"] = json.dumps({**record, "options": []})
    for key in ("format", "job", "network", "decision", "recipe", "mean", "array_size"):
        texts[f"no {key}"] = json.dumps({k: v for k, v in record.items() if k != key})
        texts[f"another {key}"] = json.dumps({**record, key: [[]]})
    for name, text in texts.items():

        def damage(folder, text=text):
            (folder / "weights/nerve.json").write_text(text)

        assert "weights/nerve.json" in refuse(name, damage), name
    refuse.report("arrays and records")


def error_of(function, *arguments):
    """The InputError that a call raises; None without one."""
    try:
        function(*arguments)
    except InputError as error:
        return error
    return None


def enlarge(file, shape, dtype="f4"):
    """Put a kernel of zeros, none of which takes room, in the place of the first one."""
    del file["layers/conv2d/vars/0"]
    file.create_dataset("layers/conv2d/vars/0", shape, dtype, chunks=True)


def test_weights(trained, tmp_path, monkeypatch):
    """In this process, for a network is built before its weights are read."""
    monkeypatch.chdir(trained)
    path = Path("weights/nerve.weights.h5")
    good = path.read_bytes()
    contents = {f"cut at {part}": good[: len(good) * part // 12] for part in range(12)}
    contents.update(text=b"text" * 99, pickle=pickle.dumps(Pickled()), zip=zipped({"a": b""}))
    for name, change in {
        "a kernel of text": lambda file: enlarge(file, (3, 3, 1, 4), "S100000"),
        "a link to another file": lambda file: file.__setitem__(
            "x", h5py.ExternalLink("/etc/hostname", "/")
        ),
        "data in another file": lambda file: file.create_dataset(
            "x", (5,), "u1", external=[("/etc/hostname", 0, 5)]
        ),
        "nothing": lambda file: file.clear(),
        "a layer less": lambda file: file["layers"].__delitem__("conv2d"),
    }.items():
        Path("changed.h5").write_bytes(good)
        with h5py.File("changed.h5", "r+") as file:
            change(file)
        contents[name] = Path("changed.h5").read_bytes()
    try:
        for name, content in contents.items():
            path.unlink()  # HDF5 may hold the last one open
            path.write_bytes(content)
            line = str(error_of(load_run, "nerve"))
            assert re.match(
                r"weights/nerve.weights.h5: (not weights of this network: |damaged, or not Kera)",
                line,
            ), name
    finally:
        path.unlink()
        path.write_bytes(good)
    load_run("nerve")
    print(f"weights: {len(contents)} damaged inputs answered")


def test_checkpoints(tmp_path):
    path = tmp_path / "nerve.checkpoint.h5"
    record = make_record(network=JOBS["nerve"].network, array_size=[64, 80])
    write_checkpoint(path, Progress(record), [np.zeros(50)])
    good = path.read_bytes()
    assert read_progress(path).name == "nerve"
    contents = [good[: len(good) * part // 10] for part in range(10)]
    for state in (b"", b"{", b"[]", b'{"format": 9}', b"[" * 10**5, b'{"format": 2, "epoch": -1}'):
        path.unlink(missing_ok=True)
        with h5py.File(path, "w") as file:
            file["state"] = np.frombuffer(state, np.uint8)
        contents.append(path.read_bytes())
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"checkpoint.h5: not a training to go on with"):
            read_progress(path)


def test_what_is_no_file_is_not_waited_for(there, tmp_path):
    folder = tmp_path / "pipe"
    shutil.copytree(there, folder)
    (folder / "images/2.png").unlink()
    os.mkfifo(folder / "images/2.png")
    assert fork("data.py", folder, *COMMAND)["status"] == 2
    assert "images/2.png: not a file" in (folder / "log").read_text()


def test_a_bad_first_image_does_not_set_the_size(there, tmp_path):
    folder = tmp_path / "first"
    shutil.copytree(there, folder)
    (folder / "images/1.png").write_bytes(encoded(IMAGE[:60], ".png"))  # its mask is of 80x100
    assert fork("data.py", folder, *COMMAND[:-2], 0, 0, "--skip-bad")["status"] == 0
    assert np.load(folder / "output/cadastre/imgs_train.npy").shape == (2, 80, 100, 3)


def test_a_bad_image_among_many_is_left_out_and_listed(there, tmp_path):
    def damage(folder):
        make_folders(folder, count=6, channels=3)
        (folder / "images/1.png").write_bytes(GOOD[".png"][:5000])
        (folder / "masks/4.png").write_bytes(encoded(MASK[:70], ".png"))

    refuse = Refusals("data.py", there, tmp_path, *COMMAND)
    assert "images/1.png: not an image" in refuse("without the option", damage)
    folder = tmp_path / "some"
    shutil.copytree(there, folder)
    damage(folder)
    for size in ((64, 64), (0, 0)):
        assert fork("data.py", folder, *COMMAND[:-2], *size, "--skip-bad")["status"] == 0
        lines = (folder / "log").read_text().splitlines()
        left_out = [line for line in lines if line.startswith("left out: ")]
        assert "images/1.png: not an image, or cut short" in left_out[0]
        reason = (
            "is 70x100, the first image 80x100" if size == (0, 0) else "mask is 70x100, its im"
        )
        assert f"masks/4.png: {reason}" in left_out[1]
        assert "2 of 6 images left out" in lines
        (folder / "log").unlink()
        images = np.load(folder / "output/cadastre/imgs_train.npy")
        assert len(images) == 4
        expected = cv2.imread(str(folder / "images/2.png"))[..., ::-1]
        if size == (0, 0):
            np.testing.assert_array_equal(images[0], expected)
    for number in range(1, 7):
        (folder / f"images/{number}.png").write_bytes(b"")
    assert fork("data.py", folder, *COMMAND, "--skip-bad")["status"] == 2
    assert "no training image is left" in (folder / "log").read_text()


def test_a_killed_data_script_leaves_the_old_arrays_or_none(there, tmp_path):
    """At twenty moments of its work; running it again finishes."""
    folder = tmp_path / "killed"
    make_folders(folder, count=150, channels=3)
    whole = fork("data.py", folder, *COMMAND)
    expected = everything(folder / "output")
    partial, statuses = 0, []
    for death in np.linspace(0.02, 1, 20) * whole["seconds"]:
        statuses.append(fork("data.py", folder, *COMMAND, after=float(death))["status"])
        partial += bool(list((folder / "output/cadastre").glob(".partial*")))
        if (folder / "output/cadastre/files.csv").exists():
            for name in ("imgs_train.npy", "imgs_mask_train.npy", "files.csv"):
                path = folder / "output/cadastre" / name
                assert path.read_bytes() == expected[str(path)]
        else:
            with contextlib.chdir(folder):
                message = str(error_of(load_arrays, "cadastre"))
                assert "no arrays there yet" in message or "data.py was interr" in message
    assert statuses.count(-9) >= 10 and partial >= 5, statuses
    assert fork("data.py", folder, *COMMAND)["status"] == 0
    again = everything(folder / "output")
    lock = str(folder / "output/.cadastre.lock")
    assert {**again, lock: b""} == {**expected, lock: b""}


def test_a_submission_of_10_000_masks_takes_little_more_memory_than_one_of_1_000(tmp_path):
    used = []
    for count in (1_000, 10_000):
        folder = tmp_path / str(count)
        write_predictions(folder, count)
        answer = fork("submission.py", folder, "nerve")
        assert answer["status"] == 0
        lines = (folder / "output/nerve/submission.csv").read_text().splitlines()
        assert len(lines) == count + 1
        assert lines[1].startswith("0,") and len(lines[1]) > 2000
        used.append(answer["megabytes"])
    assert used[1] - used[0] < 0.003 * 9000, used  # 3 kB of files.csv, not the code's 3 kB as well


def write_predictions(folder, count):
    """What data.py and train.py leave for so many test images, of one noisy prediction each."""
    (folder / "output/nerve").mkdir(parents=True)
    (folder / "weights").mkdir()
    record = json.loads((ROOT / "tests/files/weights/nerve.json").read_text())
    (folder / "weights/nerve.json").write_text(json.dumps(record))
    (folder / "weights/nerve.weights.h5").write_bytes(b"")  # older than the predictions
    rows = ["train,1,1,images/1.png,masks/1.png,64,80"]
    rows += [f"test,{number},{number},images/{number}.png,,64,80" for number in range(count)]
    header = "split,id,subject,image,mask,height,width"
    (folder / "output/nerve/files.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "output/nerve/reading.json").write_text(reading_text(PLAIN))
    noise = np.random.default_rng(0).random((64, 80, 1), np.float32)
    for name, shape, kind in (
        ("imgs_train", (1, 64, 80, 1), np.uint8),
        ("imgs_mask_train", (1, 64, 80, 1), np.uint8),
        ("imgs_test", (count, 64, 80, 1), np.uint8),
        ("imgs_mask_test", (count, 64, 80, 1), np.float32),
    ):
        path = folder / f"output/nerve/{name}.npy"
        array = np.lib.format.open_memmap(path, "w+", kind, shape)
        if kind == np.float32:
            array[:] = noise
        del array
