"""The C library's heap."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
KEPT = 2**26  # bytes beyond what is needed that are asked for at a time
LARGEST = 2**30  # a block of more bytes still goes back at once


def keep_freed_memory():
    """Have the C library keep the memory of freed arrays for the next ones.

    glibc gives large blocks back to the system, and every page of a block that comes anew is a
    page fault: more than half of the time that it took to make a batch (SPEED.md, Feeding). Other
    C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        if not mallopt(M_MMAP_THRESHOLD, LARGEST):  # older versions take no more than this
            mallopt(M_MMAP_THRESHOLD, 2**25)
        mallopt(M_TRIM_THRESHOLD, LARGEST)
        mallopt(M_TOP_PAD, KEPT)
