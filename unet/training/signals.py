"""Ctrl-C and SIGTERM during a training."""

import contextlib
import signal

from unet.errors import Stopped


class StopSignals:
    """SIGINT and SIGTERM during a training: the first one lets its step end and its
    checkpoint be written, a second one ends it at once.

    describe: returns how to go on, for the line that the user sees.
    """

    def __init__(self, describe):
        self.describe, self.number = describe, None

    @contextlib.contextmanager
    def caught(self, is_alone=True):
        """Context in which the signals are noted instead of ending the script, and obeyed at its
        end; not is_alone: one of several hosts, which the signals end.
        """
        if not is_alone:
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self.note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.stop_if_asked()

    def note(self, number, frame):
        if self.number:
            raise Stopped(number, f"stopped at once; {self.describe()}")
        self.number = number
        print("\nstopping after this step; once more: at once", flush=True)

    def stop_if_asked(self):
        """Raise Stopped where a signal came."""
        if self.number:
            raise Stopped(self.number, f"stopped; {self.describe()}")
