"""The probabilities that submission.py encodes: of a run's test images, or of those that it held
out.
"""

import zlib

import numpy as np

from unet.data.arrays import TEST_IMAGES, Rows
from unet.errors import InputError
from unet.lazy import lazy
from unet.machine.cards import tell_unseen_card
from unet.machine.devices import find_devices
from unet.machine.hosts import stop_with_hosts
from unet.runs import Paths

trained = lazy("unet.prediction.run")  # Keras, which what is saved already does not need
predict = lazy("unet.prediction.predict")


def saved_probabilities(record, arrays):
    """The probabilities of the test images that training or an earlier submission wrote, Rows;
    None where they are missing, older than weights or images, or of another size.
    """
    paths = Paths(record.name)
    sources = [Paths(network).weights for network in record.network_names]
    sources += [paths.record, Paths(record.arrays).arrays / TEST_IMAGES]
    if not is_newer(paths.probabilities, sources):
        return None
    probabilities = open_probabilities(record.name)
    shape = (*arrays.test_images.shape[:3], 1)
    is_right = (probabilities.dtype, probabilities.shape) == (np.float32, shape)
    return probabilities if is_right else None


def open_probabilities(name):
    path = Paths(name).probabilities
    return Rows(path, f"delete it and run python submission.py {name}")


def is_newer(path, sources):
    """Whether a file is there and was written after all of its sources."""
    if not all(file.exists() for file in (path, *sources)):
        return False
    return all(file.stat().st_mtime_ns <= path.stat().st_mtime_ns for file in sources)


def predict_with_hosts(name, load_run, arrays, devices, hosts, process_id):
    """Predict the test images, together with other hosts where there are any, and write them to
    imgs_mask_test.npy; returns whether this process is the first, which wrote.
    """
    with stop_with_hosts(hosts, process_id):
        shared = find_devices(devices, hosts, process_id)
        tell_unseen_card()
        with shared.alone.scope():
            # Hosts may differ in their instructions, but not in their pixels.
            run = load_run(name, precision="float32" if hosts else None)
            if hosts:
                shared.check_same(what_hosts_share(run, arrays))
            predict.predict_test(run, arrays, Paths(name).probabilities, shared)
        shared.leave()
    return shared.process_id == 0


def what_hosts_share(run, arrays):
    """{name: value} of what has to be the same on all hosts: test images and networks."""
    networks = run.networks
    weights = b"".join(w.tobytes() for network in networks for w in network.model.get_weights())
    records = [network.record for network in networks]
    images = arrays.test_files, arrays.test_images.checksum()
    return {
        f"{Paths(run.record.arrays).arrays}": images,
        f"weights/{run.name}": (records, zlib.crc32(weights)),
    }


def held_out_probabilities(name, load_run, arrays, hosts):
    """Rows of files.csv that the run held out, and their probabilities, one after the other."""
    if hosts:
        raise InputError(
            f"{Paths(arrays.name).arrays}: has no test images, which hosts could share; start it "
            "without --hosts"
        )
    run = load_run(name)
    tell_unseen_card()
    rows = [row for rows in trained.validation_rows(run, arrays) for row in rows]
    print(f"no test images (data.py --test-images DIR): taking {len(rows)} validation images")
    probabilities = (probability for _, probability in predict.predict_held_out(run, arrays))
    return [arrays.files[row] for row in rows], probabilities
