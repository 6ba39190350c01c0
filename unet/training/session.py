"""A training under way: its networks, what it goes on from, who takes part."""

import contextlib
import os
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from unet.data.arrays import Arrays
from unet.data.batches import make_batches
from unet.data.on_device import choose_batches
from unet.errors import InputError
from unet.jobs.settings import Job
from unet.machine.cards import tell_unseen_card
from unet.machine.devices import Devices, find_devices
from unet.machine.disk import lock, size_text
from unet.machine.hosts import stop_with_hosts
from unet.options import flag
from unet.prediction.predict import predict_test
from unet.runs import Paths, command, run_name
from unet.training.checkpoint import (
    Progress,
    find_checkpoint,
    has_steps,
    read_progress,
    write_checkpoint,
)
from unet.training.ends import ENDS, describe_more
from unet.training.lines import ProgressLines
from unet.training.monitor import Monitor, choose_samples
from unet.training.plan import describe_run


@dataclass(frozen=True)
class Session:
    """A training under way."""

    begun: float  # when, of time.monotonic()
    options: object  # train.Options
    job: Job  # as the options change it
    arrays: Arrays
    splits: dict  # {name of a network: its training and its validation rows}
    devices: Devices
    progress: Progress | None = None  # where it goes on from

    @property
    def name(self):
        return run_name(self.options.job, self.options.name)

    @property
    def is_first(self):
        """Whether this process is the one that writes."""
        return self.devices.process_id == 0

    @contextlib.contextmanager
    def together(self):
        """Context in which hosts train: whatever ends one of them ends all."""
        with stop_with_hosts(self.options.hosts, self.options.process_id):
            yield
            self.devices.leave()

    def networks(self):
        """Yield the Progress of each network that is still to be trained, one after the other."""
        names = list(self.splits)
        for name in names[names.index(self.progress.name) :]:
            is_begun = name == self.progress.name
            yield self.progress if is_begun else Progress(self.describe(name))
            keras.backend.clear_session()
            keras.config.set_dtype_policy("float32")

    def describe(self, name):
        """The Record of a network that is about to be trained."""
        return describe_run(self.options, self.job, self.arrays, self.splits[name], name)

    def prepare(self, record):
        """Batches for training and for validation of a network with a Record, which is built next:
        its seed and its precision are set.
        """
        keras.utils.set_random_seed(self.options.seed)
        keras.config.set_dtype_policy(self.options.precision)
        window, recipe = record.network.image_size, record.recipe
        return make_batches(
            self.arrays,
            self.splits[record.name],
            recipe,
            (record.mean, record.std),
            self.options.seed,
            (window, tuple(map(record.network.output_length, window))),
            self.devices,
            choose_batches(self.arrays, recipe, self.devices),
        )

    def callbacks(self, files, training, validation):
        """The callbacks of a network's fit: only the first process writes."""
        callbacks = []
        if self.is_first:
            callbacks += [files, ProgressLines(training)]
        if self.devices.num_processes == 1:  # one alone cannot predict with what all of them hold
            shown = validation or training
            sizes = training.window, training.mask_size
            samples = choose_samples(self.arrays, shown.rows, sizes, shown.scale)
            callbacks.append(Monitor(files, samples, self.arrays.classes))
        if self.options.tensorboard and self.is_first:
            logs = Paths(self.name).tensorboard / time.strftime("%Y%m%d-%H%M%S")
            callbacks.append(
                keras.callbacks.TensorBoard(logs / files.paths.name, write_graph=False)
            )
        return callbacks

    def finish(self):
        """Keep the checkpoint of a training that can go on, remove that of another, and say what
        is there.
        """
        paths, recipe = Paths(self.name), self.job.recipe
        progress = read_progress(paths.checkpoint)
        is_at_its_end = progress and recipe.cosine and progress.epoch == recipe.epochs
        if self.options.folds or not progress or is_at_its_end:
            paths.checkpoint.unlink(missing_ok=True)
        else:
            finished = paths.finished_checkpoint
            os.replace(paths.checkpoint, finished)
            size, more = size_text(finished.stat().st_size), describe_more(progress)
            print(f"{finished} ({size}) stays until the next training: {more}")
        print(f"{paths.record}, {paths.vis}/; next: {command('test.py', self.name)}")


@contextlib.contextmanager
def start(options, job, arrays, splits, begun=None):
    """A Session, for the length of the block: joins the hosts, locks weights/ and notes the
    training there. begun: when, of time.monotonic() (default: now). Raises InputError where it
    cannot begin, or go on.
    """
    begun = begun or time.monotonic()
    hosts, process_id = options.hosts, options.process_id
    paths = Paths(run_name(options.job, options.name))
    with contextlib.ExitStack() as held:
        with stop_with_hosts(hosts, process_id):
            devices = find_devices(options.devices, hosts, process_id)
            tell_unseen_card()
            if hosts:
                devices.check_same(what_hosts_share(options, arrays))
            session = Session(begun, options, job, arrays, splits, devices)
            if session.is_first:
                held.enter_context(lock(paths.weights_lock))
                make_folders(paths)
            if options.resume:
                progress = interrupted_progress(session)
            else:
                progress = Progress(session.describe(next(iter(splits))))
            session = replace(session, progress=progress)
            if not options.minutes:  # which are planned first
                note(session)
        try:
            yield session
        except InputError:
            if session.is_first and not has_steps(paths.checkpoint):  # nothing to go on from
                paths.checkpoint.unlink(missing_ok=True)
            raise


def make_folders(paths):
    """Make a run's folders; raises InputError for one that cannot be written."""
    for folder in (paths.checkpoint.parent, paths.vis, paths.arrays):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):  # a failure shows now, not after an epoch
            raise InputError(f"{folder}: cannot be written to")


def note(session):
    """Write the checkpoint of a training that has no steps yet, but not over that of one that has:
    RunFiles puts it aside once there are steps.
    """
    path = Paths(session.name).checkpoint
    if session.is_first and not has_steps(path) and not session.progress.has_steps:
        write_checkpoint(path, session.progress)


def interrupted_progress(session):
    """The Progress of the interrupted training, with the ends that the options give it now; raises
    InputError where it is of other networks, images, backend or version.
    """
    path, backend = find_checkpoint(session.name), keras.backend.backend()
    progress = read_progress(path)
    if progress is None:
        raise InputError(f"{path}: gone since this training was told to go on with it")
    begun = progress.record
    if (other := begun.versions.get("backend")) != backend:
        raise InputError(
            f"{path}: a training on {other}, this is {backend}; set KERAS_BACKEND={other}"
        )
    now = session.describe(begun.name) if begun.name in session.splits else None
    if not now or (now.pixels, now.validation) != (begun.pixels, begun.validation):
        source = session.arrays.name
        raise InputError(
            f"{Paths(source).arrays}: other images than the training in {path} had; run "
            f"{command('data.py', source, begun.job)} as before, or start anew without --resume"
        )
    return replace(progress, record=with_ends(begun, now, path))


def with_ends(begun, now, path):
    """The Record of an interrupted training with the ends, and the command, that it has now.
    Raises InputError where recipe or network are not those that the same options give now: another
    version of the project began it.

    begun, now: Records, that of the checkpoint at `path` and the one of a training that begins.
    """
    differ = [
        name
        for old, new in ((begun.recipe, now.recipe), (begun.network, now.network))
        for name, value in vars(old).items()
        if name not in ENDS and value != getattr(new, name)
    ]
    if begun.commit != now.commit:
        print(f"{begun.name}: begun at commit {begun.commit}, goes on at {now.commit}")
    if differ:
        raise InputError(
            f"{path}: begun by a version (commit {begun.commit}) with another "
            f"{', '.join(differ)}; go on with that version, or start anew without --resume"
        )
    if begun.recipe == now.recipe:
        return begun
    command = f"{begun.command} && {now.command}"
    return replace(begun, recipe=now.recipe, options=now.options, command=command)


def what_hosts_share(options, arrays):
    """{name: value} of what has to be the same on all hosts: options, images, masks and the
    weights to start from.
    """
    share = {flag(key): value for key, value in vars(options).items() if key != "process_id"}
    for name in ("weights", "encoder_weights"):
        if (path := getattr(options, name)) and Path(path).is_file():
            share[flag(name)] = zlib.crc32(Path(path).read_bytes())
    if options.resume:
        path = find_checkpoint(run_name(options.job, options.name))
        share[str(path)] = zlib.crc32(path.read_bytes()) if path.exists() else None
    files = [(row["id"], row["subject"], row["split"]) for row in arrays.files]  # from anywhere
    return {**share, f"{Paths(arrays.name).arrays}": (files, arrays.pixels_digest)}


def predict_test_images(run, arrays):
    """Write the probabilities of the test images, where there are any, imgs_mask_test.npy, unless
    data.py has replaced the images meanwhile.
    """
    if not len(arrays.test_images):
        return
    paths = Paths(run.name)
    with lock(paths.arrays_lock, wait=True):
        if arrays.test_images.is_replaced():
            folder = Paths(arrays.name).arrays
            print(f"{folder}: other test images than at the start; not predicted")
        else:
            predict_test(run, arrays, paths.probabilities)
