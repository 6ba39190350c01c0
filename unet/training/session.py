"""A training under way: its networks, what it goes on from, who takes part."""

import contextlib
import dataclasses
import hashlib
import json
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
from unet.training.ends import describe_more, ends_of
from unet.training.lines import ProgressLines
from unet.training.monitor import Monitor, choose_samples


@dataclass(frozen=True)
class Session:
    """A training under way."""

    begun: float  # when, of time.monotonic()
    options: object  # train.Options
    job: Job  # as the options change it
    arrays: Arrays
    splits: dict  # {name of a network: its training and its validation rows}
    devices: Devices
    progress: Progress  # where it goes on from

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
            progress = self.progress
            if name != progress.name:
                progress = Progress(
                    progress.options, progress.data, name, progress.backend, progress.arrays
                )
            yield progress
            keras.backend.clear_session()

    def make_batches(self, record):
        """Batches for training and for validation of a network with a Record."""
        window, recipe = record.network.image_size, self.job.recipe
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
        """What happens between a network's steps and epochs: only the first process writes."""
        callbacks = []
        if self.is_first:
            callbacks += [files, ProgressLines(training)]
        if self.devices.num_processes == 1:  # one alone cannot predict with what all of them hold
            shown = validation or training
            sizes = training.window, training.mask_size
            samples = choose_samples(self.arrays, shown.rows, sizes, shown.scale)
            recipe, classes = self.job.recipe, self.arrays.classes
            callbacks.append(Monitor(files, samples, recipe, files.record.network, classes))
        if self.options.tensorboard and self.is_first:
            logs = Paths(self.name).tensorboard / time.strftime("%Y%m%d-%H%M%S")
            callbacks.append(keras.callbacks.TensorBoard(logs / files.name, write_graph=False))
        return callbacks

    def finish(self):
        """Keep the checkpoint of a training that can go on, and say so; remove that of another."""
        paths, recipe = Paths(self.name), self.job.recipe
        progress = read_progress(paths.checkpoint)
        if self.options.folds or not progress:
            paths.checkpoint.unlink(missing_ok=True)
            return
        if recipe.cosine and progress.epoch == recipe.epochs:
            paths.checkpoint.unlink()
            return
        os.replace(paths.checkpoint, paths.finished_checkpoint)
        size = size_text(paths.finished_checkpoint.stat().st_size)
        more = describe_more(self.name, self.options.job, progress)
        print(f"{paths.finished_checkpoint} ({size}) stays until the next training: {more}")


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
            is_first = devices.process_id == 0
            if is_first:
                held.enter_context(lock(paths.weights_lock))
            progress = begin(options, arrays, list(splits), is_first)
        try:
            yield Session(begun, options, job, arrays, splits, devices, progress)
        except InputError:
            if is_first and not has_steps(paths.checkpoint):  # nothing to go on from
                paths.checkpoint.unlink(missing_ok=True)
            raise


def begin(options, arrays, names, is_first):
    """The Progress that a training of networks with these names goes on from; the first process
    notes it. Raises InputError for a folder that cannot be written, and where the images are not
    those that the interrupted training had.
    """
    paths = Paths(run_name(options.job, options.name))
    for folder in (paths.checkpoint.parent, paths.vis, paths.arrays):
        folder.mkdir(parents=True, exist_ok=True)
        if is_first and not os.access(folder, os.W_OK):  # a failure shows now, not after an epoch
            raise InputError(f"{folder}: cannot be written to")
    data = hashlib.sha256(repr(what_is_trained_on(arrays)).encode()).hexdigest()
    if options.resume:
        return interrupted_progress(options, arrays, names, data)
    # Lists in place of tuples, as a checkpoint gives them back, for the two are compared.
    given = json.loads(json.dumps(dataclasses.asdict(replace(options, resume=False))))
    progress = Progress(given, data, names[0], keras.backend.backend(), arrays.name)
    if is_first:
        note(progress)
    return progress


def note(progress):
    """Write the checkpoint of a training that has no steps yet, but not over that of one that has:
    RunFiles puts it aside once there are steps.
    """
    path = Paths(progress.name).checkpoint
    if not has_steps(path):
        write_checkpoint(path, progress)


def interrupted_progress(options, arrays, names, data):
    """The Progress of the interrupted training, of these networks, images and backend; raises
    InputError where it is of others.
    """
    path = find_checkpoint(run_name(options.job, options.name))
    progress, backend = read_progress(path), keras.backend.backend()
    if progress is None:
        raise InputError(f"{path}: gone since this training was told to go on with it")
    if progress.backend != backend:
        raise InputError(
            f"{path}: a training on {progress.backend}, this is {backend}; set KERAS_BACKEND="
            f"{progress.backend}"
        )
    if progress.data != data or progress.name not in names:
        raise InputError(
            f"{Paths(arrays.name).arrays}: other images than the training in {path} had; run "
            f"{command('data.py', arrays.name, options.job)} as before, or start anew without "
            "--resume"
        )
    return replace(progress, options={**progress.options, **ends_of(vars(options))})


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
    return {**share, f"{Paths(arrays.name).arrays}": what_is_trained_on(arrays)}


def what_is_trained_on(arrays):
    """The images' shape and names, and checksums of images and masks."""
    return arrays.images.shape, arrays.files, arrays.images.checksum(), arrays.masks.checksum()


def predict_test_images(run, arrays):
    """Write the probabilities of the test images, imgs_mask_test.npy, unless data.py has replaced
    the images meanwhile.
    """
    paths = Paths(run.name)
    with lock(paths.arrays_lock, wait=True):
        if arrays.test_images.is_replaced():
            folder = Paths(arrays.name).arrays
            print(f"{folder}: other test images than at the start; not predicted")
        else:
            predict_test(run, arrays, paths.probabilities)
