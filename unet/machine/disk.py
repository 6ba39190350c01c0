"""Files and folders that take their place whole, room on the disk, locks between processes, and
tables.
"""

import contextlib
import csv
import errno
import io
import itertools
import os
import shutil
import time
from pathlib import Path

import numpy as np

from unet.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

csv.field_size_limit(2**27)  # run-length codes of large masks are long


@contextlib.contextmanager
def replace_file(path, need=0):
    """A temporary path whose file, whole and synced, takes the place of `path` when the block ends
    well.

    Until then, and after an error, what stood at `path` stays. need: bytes that will be written.
    Raises InputError where the disk has less room, OSError naming `path`.
    """
    path = Path(path)
    name = path.name if len(path.name.encode()) < 240 else path.name[-60:]  # names end at 255
    temporary = path.with_name(".partial." + name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_room(path, need)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(temporary):
            reason = os.strerror(error.errno) if error.errno else str(error)
            if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) and need:
                reason += f" (it needs {size_text(need)})"
            error = OSError(error.errno, f"{reason}; what stood there is untouched", str(path))
        raise error
    finally:
        with contextlib.suppress(OSError):  # not in place of the error that is on its way
            temporary.unlink(missing_ok=True)


def check_room(path, need):
    """Raise InputError where the disk of `path` has less than `need` bytes of room."""
    path = Path(path)
    free = shutil.disk_usage(path.parent).free
    if need > free:
        path = path.with_name(path.name.removeprefix(".partial."))
        raise InputError(
            f"{path}: needs {size_text(need)}, the disk has {size_text(free)} free; make room"
        )


def size_text(size):
    """Bytes for a reader."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def sync_folder(folder):
    """Have a folder's list of names on the disk; Windows does that itself."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def lock(path, wait=False):
    """An open file that keeps other processes away from what `path` stands for until it is closed,
    or its process ends. Raises InputError with the number of the process that has it; with `wait`
    says so, and waits.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+")  # noqa: SIM115 (as long as the lock)
    try:
        if not _try_lock(file):
            file.seek(0)
            busy = f"{path}: process {file.read(20).strip() or '?'} is at work there"
            if not wait:
                raise InputError(f"{busy}; wait for it, or stop it")
            print(f"{busy}; waiting for it", flush=True)
            while not _try_lock(file):
                time.sleep(0.5)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _try_lock(file):
    """True where the lock of an open file is now this process's; the system takes it back when
    the process ends, however that is.
    """
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(2**30)  # a byte behind what others read of it
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    return True


def write_text(path, text):
    """Write a file of text, whole."""
    content = text.encode()
    with replace_file(path, len(content)) as temporary:
        temporary.write_bytes(content)


def csv_text(header, rows):
    """The text of a CSV file."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([header, *rows])
    return lines.getvalue()


def create_array(path, shape, dtype):
    """Make a .npy file of zeros, (N, ...), whose room on the disk is taken at once; returns
    write(row, values), which puts one row into it.

    Raises InputError or OSError where the disk is too full.
    """
    check_room(path, int(np.prod(shape)) * np.dtype(dtype).itemsize + 128)
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with open(path, "rb+") as file:
                os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    offset, row_shape, dtype = array.offset, array.shape[1:], array.dtype
    row_size = int(np.prod(row_shape)) * dtype.itemsize

    def write(row, values):  # not through a map, whose pages would count as this process's memory
        values = np.ascontiguousarray(np.broadcast_to(values, row_shape), dtype)
        with open(path, "rb+") as file:
            file.seek(offset + row * row_size)
            file.write(values)

    return write


def read_csv(path, columns=(), by_hand=False, keep_case=False):
    """Rows of a CSV file as dicts, cells that a row lacks None, cells beyond the header under the
    key None; raises InputError where the file or one of `columns` is missing.

    by_hand: made by a person or another program, so that ; or a tab may stand for the comma,
    blanks around cells and capitals in the names of columns mean nothing (keep_case: they stay),
    and lines may be blank.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such CSV file")
    data, separator = Path(path).read_bytes(), ","
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = io.StringIO(data.decode(encoding), newline="")
        if by_hand:
            separator = max(",;\t", key=text.readline().count)
            text.seek(0)
        reader = csv.reader(text, strict=True, delimiter=separator, skipinitialspace=by_hand)
        lines = [line for line in reader if line]
    except (csv.Error, UnicodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    if by_hand:
        lines = [[cell.strip() for cell in line] for line in lines]
        lines = [line for line in lines if any(line)]
    names, *lines = lines or [["none"]]
    names = [name.lower() for name in names] if by_hand and not keep_case else names
    if missing := [name for name in columns if name not in names]:
        raise InputError(
            f"{path}: has columns {', '.join(names)}; expected {', '.join(columns)}, so it lacks "
            f"{', '.join(missing)}"
        )
    rows = [dict(itertools.zip_longest(names, line)) for line in lines]
    for number, row in enumerate(rows, 2):
        if any(row[name] is None for name in columns):
            raise InputError(f"{path}: line {number} is cut short; expected {', '.join(columns)}")
    return rows


@contextlib.contextmanager
def replace_folder(path):
    """A temporary path whose folder takes the place of `path` when the block ends well."""
    temporary, old = (path.with_name(f".{part}.{path.name}") for part in ("partial", "old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    _put_back(old, path)  # where an export was killed between the two
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        _put_back(old, path)
        shutil.rmtree(temporary, ignore_errors=True)


def _put_back(old, path):
    """Give a folder its place again where nothing has taken that; else remove it."""
    if old.exists() and not path.exists():
        os.replace(old, path)
    shutil.rmtree(old, ignore_errors=True)
