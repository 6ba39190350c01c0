"""The devices and hosts that a batch is split among."""

import contextlib
import hashlib
from dataclasses import dataclass

import keras
import numpy as np

from unet.errors import InputError, refuse
from unet.machine.hosts import JOIN_TIMEOUT, meet
from unet.machine.precision import device_name

DEAD_TIMEOUT = 20  # seconds after which a host that says nothing counts as dead


@dataclass(frozen=True)
class Devices:
    """Devices that each batch is split among, in equal parts; names as the backend has them."""

    names: tuple[str, ...] = ("0",)  # of all hosts, in the order of their processes
    num_processes: int = 1
    process_id: int = 0

    def __len__(self):
        return len(self.names)

    @property
    def pads_batches(self):
        """True where a batch that does not divide is padded: JAX takes no other."""
        return len(self) > 1 and keras.backend.backend() == "jax"

    @property
    def alone(self):
        """The devices of this process, for work that the others take no part in."""
        count = len(self) // self.num_processes
        return Devices(self.names[self.process_id * count : (self.process_id + 1) * count])

    def describe(self):
        """Their name and number, for a reader."""
        if len(self) == 1:
            return device_name()
        where = f" of {self.num_processes} hosts" if self.num_processes > 1 else ""
        return f"{len(self)} devices{where}"

    def scope(self):
        """Context in which a model is built, compiled and used to run on all of the devices."""
        if len(self) == 1:
            return contextlib.nullcontext()
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.distribute.MirroredStrategy(self.names).scope()
        devices = list(self.names)
        return keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope()

    def gather(self, array):
        """The arrays of all processes, of one shape, one after the other; each gets the whole."""
        if self.num_processes == 1:
            return array
        from jax.experimental.multihost_utils import process_allgather

        return np.concatenate(process_allgather(array))

    def check_same(self, parts):
        """Raise InputError naming those of parts, {name: value}, in which the processes differ."""
        digests = [hashlib.sha256(repr(value).encode()).digest()[:8] for value in parts.values()]
        every = self.gather(np.array([[list(digest) for digest in digests]], np.uint8))
        differ = [name for n, name in enumerate(parts) if (every[:, n] != every[:1, n]).any()]
        if differ:
            raise InputError(
                f"process {self.process_id}: the hosts differ in {', '.join(differ)}; start each "
                "with the same options and the same files"
            )

    def leave(self):
        """Wait for the other hosts to come here too, and part from them."""
        if self.num_processes > 1:
            import jax

            jax.distributed.shutdown()


ONE_DEVICE = Devices()


def find_devices(count, hosts, process_id):
    """The Devices of --devices, "all" or how many of this machine's, and of --hosts, which the
    process joins here. Raises InputError for more than there are, for a backend that cannot.
    """
    backend, addresses = keras.backend.backend(), hosts.split(",") if hosts else []
    refuse(
        (
            addresses and backend != "jax",
            f"--hosts needs the JAX backend, this is {backend}; set KERAS_BACKEND=jax",
        ),
        (
            count != "1" and backend == "torch",
            f"--devices {count}: Keras on PyTorch uses one; set KERAS_BACKEND=tensorflow or jax",
        ),
    )
    if addresses:
        _join_hosts(addresses, process_id)
    elif count == "1":
        return Devices()
    names = _device_names(backend)
    here, numbers = names[process_id], [str(len(devices)) for devices in names]
    num_devices = None if count == "all" else int(count)
    refuse(
        (
            len(set(numbers)) > 1,
            f"--hosts {hosts}: they have {', '.join(numbers)} devices, JAX wants as many on each; "
            "hide some, with CUDA_VISIBLE_DEVICES",
        ),
        (
            num_devices and num_devices > len(here),
            f"--devices {count}: {backend} has {len(here)} here ({', '.join(here)}); pass all",
        ),
    )
    chosen = tuple(name for devices in names for name in devices[:num_devices])
    return Devices(chosen, len(names), process_id)


def _device_names(backend):
    """Names of the devices of each process: its graphics cards, or where it has none its
    processors.
    """
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [[device.name.removeprefix("/device:") for device in found]]
    import jax

    names = [[] for _ in range(jax.process_count())]
    for device in jax.devices():
        names[device.process_index].append(f"{device.platform}:{device.id}")
    return names


def _join_hosts(addresses, process_id):
    meet(addresses, process_id)
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_recoverability", True)  # a dead host is an error, not an abort
    jax.distributed.initialize(
        addresses[0],
        len(addresses),
        process_id,
        initialization_timeout=JOIN_TIMEOUT,
        heartbeat_timeout_seconds=DEAD_TIMEOUT,
    )


@contextlib.contextmanager
def one_process():
    """Context in which one of several processes may create variables, as saving weights does;
    elsewhere JAX waits for the others to create them, too.
    """
    distributed = keras.backend.backend() == "jax" and keras.distribution.distribution()
    if distributed:
        keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        if distributed:
            keras.distribution.set_distribution(distributed)


def sum_over_devices(x):
    """The sum of a tensor's values on all devices that a batch is split among, on each of them.

    JAX's tensors are of the whole batch already. TensorFlow's are of one device's part; the
    gradients of all devices add up to that of the whole, since losses.shared divides each
    device's loss by the number of devices (Keras itself, where it is a loss of single pixels).
    """
    if num_replicas() == 1:
        return x
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce("SUM", x)


def num_devices():
    """Number of devices that the scope which this is called in splits a batch among."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    return distribution.num_model_replicas if distribution else 1


def num_replicas():
    """Number of parts of a batch, each with tensors of its own, computed at the same time."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync
