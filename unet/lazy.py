"""Modules that are imported when they are first used, so that a script's imports stand on top of
it and --help still answers at once.
"""

import importlib
import types


class LazyModule(types.ModuleType):
    """Stands for a module until something of it is asked for; `import` elsewhere is not touched.

    importlib.util.LazyLoader would put a module that is not loaded yet into sys.modules, where
    two threads may load it at the same time, and would want to find it at once: a package that is
    not installed should be one line when it is needed, and no traceback before.
    """

    def __getattr__(self, name):
        return getattr(importlib.import_module(self.__name__), name)


def lazy(name):
    """The module of some name, "keras" or "unet.data.arrays", imported at its first use."""
    return LazyModule(name)
