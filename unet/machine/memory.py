"""How much memory is free, on the card or beside the processor, and what says that it was not
enough.
"""

from pathlib import Path

from unet.lazy import lazy
from unet.machine.precision import card_name

keras = lazy("keras")

MEMINFO = "/proc/meminfo"
CGROUP = "/proc/self/cgroup"
CGROUP_FOLDERS = ("/sys/fs/cgroup", "/sys/fs/cgroup/memory")  # of version 2, of version 1
# Files of a group of processes, for both: limit, usage, and in the last what of the usage is the
# files' cache, which gives way.
CGROUP_FILES = (
    ("memory.max", "memory.current", ("inactive_file", "active_file")),
    (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
)


def free_memory():
    """Bytes that a backend may still take where it computes; None where that cannot be asked, as
    of TensorFlow on a card.
    """
    if not card_name():
        return free_beside_processor()
    if keras.backend.backend() == "torch":
        import torch

        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return torch.cuda.mem_get_info()[0] + cached
    if keras.backend.backend() == "jax":
        import jax

        numbers = jax.local_devices()[0].memory_stats() or {}
        if {"bytes_limit", "bytes_in_use"} <= set(numbers):
            return numbers["bytes_limit"] - numbers["bytes_in_use"]
    return None


def free_beside_processor():
    """Bytes that Linux can give before it ends a process without a word: of memory and swap, and
    of what the process's group may have. None on other systems.
    """
    if not Path(MEMINFO).exists():
        return None
    kilobytes = dict(line.split()[:2] for line in Path(MEMINFO).read_text().splitlines())
    free = sum(1024 * int(kilobytes.get(name, 0)) for name in ("MemAvailable:", "SwapFree:"))
    return min([free, *_free_in_groups()])


def _free_in_groups():
    """Bytes left to each group of processes that this one is in and that has a limit."""
    groups = Path(CGROUP).read_text().splitlines() if Path(CGROUP).exists() else ()
    for line in groups:  # 0::/a/b of version 2, 4:memory:/a/b of version 1
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        version = int(controllers == "memory")
        folder = Path(CGROUP_FOLDERS[version])
        inner = folder / path.lstrip("/")  # in a container that path may be the host's
        for group in {folder, inner, *inner.parents}:
            if folder in (group, *group.parents):
                yield from _free_in(group, *CGROUP_FILES[version])


def _free_in(group, limit, usage, cache):
    if not all((group / name).is_file() for name in (limit, usage, "memory.stat")):
        return
    most = (group / limit).read_text().strip()
    if most != "max":
        lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / usage).read_text())
        yield int(most) - used + sum(int(value) for name, value in lines if name in cache)
