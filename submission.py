"""Encode a run's predicted test masks as Kaggle wants them: output/NAME/submission.csv.

python submission.py nerve
"""

import contextlib
import csv
import functools
import itertools
from dataclasses import dataclass

from train import load_run
from unet.errors import check_backend, one_line_errors
from unet.lazy import lazy
from unet.machine.hosts import check_devices, watch_process
from unet.options import (
    Checked,
    devices_option,
    hosts_option,
    option,
    parse_options,
    process_option,
    run_length_option,
    run_option,
    threshold_option,
)
from unet.reading.run_length import run_length_dec, run_length_enc

np = lazy("numpy")
runs = lazy("unet.runs")
disk = lazy("unet.machine.disk")
terminal = lazy("unet.machine.terminal")
arrays = lazy("unet.data.arrays")
pixels = lazy("unet.reading.pixels")
submit = lazy("unet.prediction.submit")
predict = lazy("unet.prediction.predict")
decide = lazy("unet.training.decide")

__all__ = ["run_length_dec", "run_length_enc", "submission"]


@dataclass(frozen=True)
class Options(Checked):
    run: str = run_option()
    truth: str | None = option(
        None,
        "CSV file of true masks in the format of the submission; prints the competition's score",
    )
    header: str | None = option(
        None,
        "names of the columns, such as id,rle_mask (default: those of the masks' table, or of the "
        "job's competition)",
        metavar="NAMES",
    )
    run_length: str | None = run_length_option("the run-length code")
    threshold: float | None = threshold_option()
    devices: str = devices_option()
    hosts: str | None = hosts_option()
    process_id: int = process_option()


@dataclass(frozen=True)
class Written:
    """What submission wrote: the rule that makes masks, how many lines it has and how many with a
    mask, and sizes, (H, W), None of an image that could not be read, by the cells before the code.
    """

    rule: str
    num_lines: int
    num_masks: int
    sizes: dict


def submission(name="nerve", options=Options()):
    """Write output/NAME/submission.csv, a line at a time; returns a Written, None in a process
    that predicted for another.

    Masks are enlarged to the size of their files before they are encoded. Raises InputError.
    """
    check_backend()
    record, paths = runs.read_record(name), runs.Paths(name)  # before any folder is made
    if options.threshold is None and record.lacks_threshold:
        decide.check_alone(name, options.hosts)
        decide.choose_threshold_now(load_run(name))
        record = runs.read_record(name)
    record.decision = record.decision_at(options.threshold)
    rules = submit.rules_of(record, options.header, options.run_length)
    prepared = arrays.load_arrays(record.arrays, record.job)
    is_first = options.process_id == 0
    with disk.lock(paths.arrays_lock) if is_first else contextlib.nullcontext():
        found = find_probabilities(record, prepared, options)
        if not found:
            return None
        return write_masks(record, rules, *found, arrays.read_unreadable(record.arrays))


def find_probabilities(record, prepared, options):
    """Rows of files.csv and their probabilities, float32 (N, H, W, 1): of the test images, and
    where there are none of the held-out ones. None in a process that predicted for another.
    """
    name, hosts = record.name, options.hosts
    load = functools.partial(load_run, name, precision="float32" if hosts else None)
    if not len(prepared.test_files):
        return predict.held_out_probabilities(load, prepared, hosts)
    # With hosts all of them predict or none: no look at files that one may have and another not.
    probabilities = None if hosts else submit.saved_probabilities(record, prepared)
    if probabilities is None:
        probabilities = predict.predict_with_hosts(
            load, prepared, name, options.devices, hosts, options.process_id
        )
    return None if probabilities is None else (prepared.test_files, probabilities)


def write_masks(record, rules, files, probabilities, unreadable):
    """Write the run-length code of each image's mask, and an empty one of each that is unreadable,
    as a Submission has them; returns a Written.
    """
    names, sizes, num_lines, num_masks = [c["name"] for c in record.classes], {}, 0, 0

    def encode(file, probability):
        size = file["height"], file["width"]
        mask = record.decision.mask(pixels.resize(probability, size))
        return size, [*submit.encode_image(file, mask, rules, names)]

    empty = (
        (None, [*submit.encode_image(file, np.zeros((1, 1)), rules, names)]) for file in unreadable
    )
    images = itertools.chain(terminal.map_in_threads(encode, zip(files, probabilities)), empty)
    path = runs.Paths(record.name).submission
    with disk.replace_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rules.columns)
        num_images = len(files) + len(unreadable)
        for size, lines in terminal.with_progress(images, num_images, "masks"):
            for key, codes in lines:
                sizes[key] = size
                num_masks += len(codes)
                if not codes and rules.empty is not None:
                    codes = [rules.empty]
                num_lines += len(codes)
                writer.writerows((*key, code) for code in codes)
    return Written(record.decision.describe(), num_lines, num_masks, sizes)


def main(options):
    check_devices(options.devices, options.hosts, options.process_id)
    watch_process(options.hosts, options.process_id)
    path = runs.Paths(options.run).submission
    record = runs.read_record(options.run)
    rules = submit.rules_of(record, options.header, options.run_length)
    truth = submit.read_truth(options.truth, rules) if options.truth else None
    written = submission(options.run, options)
    if not written:
        print(f"process {options.process_id} is done; process 0 writes {path}")
        return
    count = f"{written.num_lines} rows, {written.num_masks} with a mask"
    order = "down the columns" if rules.columns_first else "along the rows"
    lines = [f"{path}: {count}, {written.rule}"]
    if unread := list(written.sizes.values()).count(None):
        lines.append(f"{unread} of them empty, of test images that data.py could not read")
    if truth is not None:  # a bad one costs no masks
        score, floor = submit.score_file(path, options.truth, truth, written.sizes, rules)
        lines.append(f"score {score:.5f}; an all-empty file scores {floor:.5f}")
        if len(truth) > len(written.sizes):
            lines.append(f"over {len(written.sizes)} of the truth's {len(truth)} images")
    lines.append(f"pixels are numbered {order}")
    print(*lines, sep="\n")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "submission.py", __doc__))
