"""Encode a run's predicted test masks as Kaggle wants them: output/NAME/submission.csv.

python submission.py nerve
"""

from dataclasses import dataclass, field

from hosts import check_devices, stop_with_hosts, watch_process
from jobs import JOBS, InputError
from options import (
    devices_option,
    hosts_option,
    one_line_errors,
    option,
    parse_options,
    process_option,
    run_option,
    stop_in_one_line,
)


@dataclass(frozen=True)
class Options:
    run: str = run_option()
    truth: str | None = option(
        None, "CSV file of true masks in the submission's format, to print the competition's score"
    )
    devices: str = devices_option()
    hosts: str | None = hosts_option()
    process_id: int = process_option()


if __name__ == "__main__":
    stop_in_one_line()
    with one_line_errors():  # before OpenCV, which delays --help
        OPTIONS = parse_options(Options, "submission.py", __doc__)
        check_devices(OPTIONS)
        watch_process(OPTIONS)

import contextlib
import csv
import re
import zlib
from pathlib import Path

import cv2
import numpy as np

from arrays import TEST_IMAGES, Rows, load_arrays
from disk import lock, replace_file
from files import map_in_threads, read_csv, resize, with_progress
from runs import Decision, read_record


def run_length_enc(mask, columns_first=True):
    """Run-length code of a mask: "start length start length ...", "" for an empty one.

    mask: (H, W), foreground where it is not 0. Pixels are numbered from 1, down the columns first
    (nerve) or along the rows first (car).
    """
    pixels = np.ascontiguousarray(mask, bool)
    if columns_first:  # OpenCV transposes five times as fast as NumPy
        pixels = cv2.transpose(pixels.view(np.uint8)).view(bool)
    pixels = pixels.ravel()
    edges = np.flatnonzero(np.diff(pixels, prepend=False, append=False)) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges.tolist()))


def run_length_dec(code, height, width, columns_first=True):
    """The mask, bool (H, W), of a run-length code; raises ValueError for runs that overlap, are
    out of order or leave the image.
    """
    try:
        if not re.fullmatch("[0-9 ]*", code):  # Python takes 1_0 and other alphabets for numbers
            raise ValueError
        runs = np.array(code.split(), dtype=np.int64).reshape(-1, 2)
    except (ValueError, OverflowError) as error:
        raise InputError(f"run-length code {code[:40]!r}: expected pairs of numbers") from error
    (starts, lengths), count = runs.T, height * width
    ends = starts + lengths
    outside = (runs < 1).any() or (runs > count).any() or (ends > count + 1).any()
    if outside or (starts[1:] < ends[:-1]).any():
        raise InputError(
            f"run-length code {code[:40]!r}: runs overlap, are out of order, or leave an image "
            f"of {height}x{width}"
        )
    steps = np.zeros(height * width + 1, np.int8)
    steps[starts - 1] += 1
    steps[ends - 1] -= 1
    pixels = np.cumsum(steps[:-1], dtype=np.int8) > 0
    return pixels.reshape((height, width), order="F" if columns_first else "C")


def probabilities_to_submit(name, arrays, record, options):
    """Rows of files.csv, their probabilities, float32 (N, H, W, 1), and the run's Decision: of the
    test images, as imgs_mask_test.npy has them unless it is older than weights or images; without
    test images of the held-out ones. None in a process that predicted for another.
    """
    path = Path("output", name, "imgs_mask_test.npy")
    again = f"delete it and run python submission.py {name}"
    networks = [fold["name"] for fold in record.get("folds", [{"name": name}])]
    sources = [Path("weights", f"{network}.weights.h5") for network in networks]
    sources += [Path("weights", f"{name}.json"), Path("output", record["arrays"], TEST_IMAGES)]
    # With --hosts all of them predict or none: no look at files that one may have and another not
    if len(arrays.test_files) and not options.hosts and is_newer(path, sources):
        probabilities = Rows(path, again)
        shape = (*arrays.test_images.shape[:3], 1)
        if (probabilities.dtype, probabilities.shape) == (np.float32, shape):
            return arrays.test_files, probabilities, Decision(**record["decision"])
    import devices  # only now: Keras takes seconds to load
    import predict

    if len(arrays.test_files):
        with stop_with_hosts(options):
            shared = devices.find_devices(options.devices, options.hosts, options.process_id)
            with shared.alone.scope():
                run = predict.load_run(name)
                if options.hosts:
                    shared.check_same(what_hosts_share(run, arrays))
                predict.predict_test(run, arrays, path, shared)
            shared.leave()
        if shared.process_id:
            return None
        return arrays.test_files, Rows(path, again), run.decision
    if options.hosts:
        raise InputError(
            f"output/{record['arrays']}: has no test images, which hosts could share; start it "
            "without --hosts"
        )
    run = predict.load_run(name)
    rows = [row for rows in predict.validation_rows(run, arrays) for row in rows]
    print(f"no test images (data.py --test-images DIR): taking {len(rows)} validation images")
    probabilities = (probability for _, probability in predict.predict_held_out(run, arrays))
    return [arrays.files[row] for row in rows], probabilities, run.decision


def what_hosts_share(run, arrays):
    """{name: value} of what has to be the same on all hosts: test images and networks."""
    networks = run.networks
    weights = b"".join(w.tobytes() for network in networks for w in network.model.get_weights())
    return {
        f"output/{run.record['arrays']}": (arrays.test_files, arrays.test_images.checksum()),
        f"weights/{run.name}": ([network.record for network in networks], zlib.crc32(weights)),
    }


def is_newer(path, sources):
    """Whether a file is there and was written after all of its sources."""
    files = (path, *sources)
    return all(file.exists() for file in files) and all(
        file.stat().st_mtime_ns <= path.stat().st_mtime_ns for file in sources
    )


@dataclass
class Written:
    """What submission wrote: lines, those with a mask, and where there is a truth the Dice of each
    line and that of an empty one.
    """

    num_lines: int = 0
    num_masks: int = 0
    scores: list = field(default_factory=list)
    floors: list = field(default_factory=list)


def submission(name, options=Options(), truth=None):
    """Write output/NAME/submission.csv, a line at a time; returns a Written, None in a process
    that predicted for another.

    Masks are enlarged to the size of their files before they are encoded. truth: run-length codes
    by image name. Raises InputError.
    """
    record = read_record(name)  # before any folder is made
    if record["classes"]:
        raise InputError(
            f"weights/{name}.json: a run of {len(record['classes'])} classes; run-length code is "
            f"of one; use the masks of python test.py {name} --images DIR"
        )
    arrays = load_arrays(record["arrays"], record["job"])
    first = options.process_id == 0
    with lock(Path("output", f".{name}.lock")) if first else contextlib.nullcontext():
        found = probabilities_to_submit(name, arrays, record, options)
        return encode_masks(name, record["job"], *found, truth) if found else None


def encode_masks(name, job, files, probabilities, decision, truth):
    """What submission does with the probabilities of some rows of files.csv."""
    rules, written, problem = JOBS[job].submission, Written(), None

    def encode(file, probability):
        image = file["id"] + Path(file["image"]).suffix if rules.extension else file["id"]
        size = file["height"], file["width"]
        mask = decision.mask(resize(probability, size), rules.min_pixels)
        return image, run_length_enc(mask, rules.columns_first), size

    lines = with_progress(map_in_threads(encode, zip(files, probabilities)), len(files), "masks")
    path = Path("output", name, "submission.csv")
    with replace_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rules.columns)
        for image, code, size in lines:
            writer.writerow((image, code))
            written.num_lines += 1
            written.num_masks += code != ""
            if truth is None or problem:
                continue
            try:
                for scores, some in ((written.scores, code), (written.floors, "")):
                    scores.append(image_dice(image, some, size, truth, rules.columns_first))
            except InputError as error:
                problem = error  # told when the file is there: a bad truth costs no masks
    if problem:
        raise problem
    return written


def read_truth(path, rules):
    """Run-length codes by image name, from a CSV in the submission's columns; with a column
    subject, as Kaggle's own for nerve, the name is subject_img. Raises InputError.
    """
    name, code = rules.columns
    truth = {}
    for number, row in enumerate(read_csv(path, rules.columns), 2):
        key = f"{row['subject']}_{row[name]}" if "subject" in row else row[name]
        if key in truth:
            raise InputError(f"{path}: line {number}: a second line for image {key}; keep one")
        truth[key] = row[code]
    return truth


class TruthError(InputError):
    """Of a file of true masks."""


def image_dice(name, code, size, truth, columns_first):
    """Dice of a line's mask with the true one, empty against empty 1, in [0, 1]: the competition's
    score is the mean over the images.

    size: (H, W); truth: run-length codes by image name. Raises InputError for an image that it
    lacks.
    """
    if name not in truth:
        raise TruthError(f"no line for image {name}; every image of the submission needs one")
    try:
        a, b = (run_length_dec(c, *size, columns_first) for c in (code, truth[name]))
    except InputError as error:
        raise TruthError(f"image {name}: {error}") from error
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0


def main(options):
    path = Path("output", options.run, "submission.csv")
    rules = JOBS[read_record(options.run)["job"]].submission
    truth = read_truth(options.truth, rules) if options.truth else None
    try:
        written = submission(options.run, options, truth)
    except TruthError as error:
        raise InputError(f"{options.truth}: {error}") from error
    if not written:
        print(f"process {options.process_id} is done; process 0 writes {path}")
        return
    print(f"{path}: {written.num_lines} rows, {written.num_masks} with a mask")
    if truth is not None:
        score, floor = np.mean(written.scores), np.mean(written.floors)
        print(f"score {score:.5f}; an all-empty file scores {floor:.5f}")
        if len(truth) > written.num_lines:
            print(f"over {written.num_lines} of the truth's {len(truth)} images")


if __name__ == "__main__":
    with one_line_errors():
        main(OPTIONS)
