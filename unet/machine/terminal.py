"""Many files or images at once: threads, a progress bar, and libraries that say nothing."""

import collections
import contextlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from unet.streams import divert


@contextlib.contextmanager
def silence():
    """Context in which libraries print nothing to the error stream; Python itself does."""
    with open(os.devnull, "w") as nowhere, divert(nowhere):
        yield


def quiet(items):
    """Yield the items, without the lines that OpenCV's libraries print as they decode them."""
    with silence():
        yield from items


def map_in_threads(function, items):
    """Yield function(*item) of each item, in their order, from as many threads as there are
    processors; a few items at a time are in memory.
    """
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        pending = collections.deque()
        for item in items:
            pending.append(pool.submit(function, *item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        for future in pending:
            yield future.result()


def with_progress(items, total, label):
    """The items, with a progress bar on the error stream where that is a terminal."""
    start = shown = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if sys.stderr.isatty() and (now - shown > 0.1 or count == total):
            shown, seconds = now, (now - start) / count
            progress_bar(label, count, total, seconds, 1 / max(seconds, 1e-9))


def progress_bar(label, count, total, seconds, rate, text=""):
    """Show on the error stream how many of a total are done, in so many seconds each, and images
    per second.
    """
    bar, left = ("=" * (30 * count // total)).ljust(30, "."), seconds * (total - count)
    print(
        f"\r{label} {count}/{total} [{bar}] {rate:.3g} images/s, {left:.0f}s left {text} ",
        end="\n" if count == total else "",
        file=sys.stderr,
        flush=True,
    )
