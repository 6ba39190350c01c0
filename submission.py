"""Encode a run's predicted test masks as Kaggle wants them: output/NAME/submission.csv.

python submission.py nerve
"""

import contextlib
import csv
import itertools
from dataclasses import dataclass, field
from pathlib import Path

from model import build_unet, load_run
from unet.errors import InputError, check_backend, one_line_errors
from unet.jobs import JOBS
from unet.lazy import lazy
from unet.machine.hosts import check_devices, watch_process
from unet.options import (
    devices_option,
    hosts_option,
    option,
    parse_options,
    process_option,
    run_option,
    threshold_option,
)
from unet.prediction.run_length import TruthError, image_dice, read_truth
from unet.reading.run_length import run_length_dec, run_length_enc

np = lazy("numpy")
runs = lazy("unet.runs")
disk = lazy("unet.machine.disk")
terminal = lazy("unet.machine.terminal")
arrays = lazy("unet.data.arrays")
pixels = lazy("unet.reading.pixels")
submit = lazy("unet.prediction.submit")
decide = lazy("unet.training.decide")

__all__ = ["run_length_dec", "run_length_enc", "submission"]


@dataclass(frozen=True)
class Options:
    run: str = run_option()
    truth: str | None = option(
        None, "CSV file of true masks in the submission's format, to print the competition's score"
    )
    threshold: float | None = threshold_option()
    devices: str = devices_option()
    hosts: str | None = hosts_option()
    process_id: int = process_option()


@dataclass
class Written:
    """What submission wrote, by which rule: lines, those with a mask and those of unreadable
    images, and where there is a truth the Dice of each line and that of an empty one.
    """

    rule: str
    num_lines: int = 0
    num_masks: int = 0
    num_unreadable: int = 0
    scores: list = field(default_factory=list)
    floors: list = field(default_factory=list)


def submission(name="nerve", options=Options(), truth=None):
    """Write output/NAME/submission.csv, a line at a time; returns a Written, None in a process
    that predicted for another.

    Masks are enlarged to the size of their files before they are encoded. truth: run-length codes
    by image name. Raises InputError.
    """
    check_backend()
    record, paths = runs.read_record(name), runs.Paths(name)  # before any folder is made
    if options.threshold is None and record.is_undecided:
        record = decide.decide_now(name, load_run, options.hosts)
    if record.classes:
        raise InputError(
            f"{paths.record}: a run of {len(record.classes)} classes; run-length code is of one; "
            f"use the masks of python test.py {name} --images DIR"
        )
    record.decision = record.decide(options.threshold)
    prepared = arrays.load_arrays(record.arrays, record.job)
    is_first = options.process_id == 0
    with disk.lock(paths.arrays_lock) if is_first else contextlib.nullcontext():
        found = find_probabilities(record, prepared, options)
        if not found:
            return None
        return write_masks(record, *found, arrays.read_unreadable(record.arrays), truth)


def find_probabilities(record, prepared, options):
    """Rows of files.csv and their probabilities, float32 (N, H, W, 1): of the test images, and
    where there are none of the held-out ones. None in a process that predicted for another.
    """
    name, hosts = record.name, options.hosts
    if not len(prepared.test_files):
        return submit.held_out_probabilities(name, build_unet, prepared, hosts)
    # With hosts all of them predict or none: no look at files that one may have and another not.
    probabilities = None if hosts else submit.saved_probabilities(record, prepared)
    if probabilities is None:
        is_first = submit.predict_with_hosts(
            name, build_unet, prepared, options.devices, hosts, options.process_id
        )
        if not is_first:
            return None
        probabilities = submit.open_probabilities(name)
    return prepared.test_files, probabilities


def write_masks(record, files, probabilities, unreadable, truth):
    """Write the run-length code of each image's mask, and an empty one of each that is unreadable;
    returns a Written.
    """
    rules, problem = JOBS[record.job].submission, None
    written = Written(record.decision.describe(), num_unreadable=len(unreadable))

    def name_of(file):
        return file["id"] + Path(file["image"]).suffix if rules.extension else file["id"]

    def encode(file, probability):
        size = file["height"], file["width"]
        mask = record.decision.mask(pixels.resize(probability, size))
        return name_of(file), run_length_enc(mask, rules.columns_first, rules.min_pixels), size

    lines = terminal.map_in_threads(encode, zip(files, probabilities))
    lines = itertools.chain(lines, ((name_of(file), "", None) for file in unreadable))
    path = runs.Paths(record.name).submission
    with disk.replace_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rules.columns)
        count = len(files) + len(unreadable)
        for image, code, size in terminal.with_progress(lines, count, "masks"):
            writer.writerow((image, code))
            written.num_lines += 1
            if code:
                written.num_masks += 1
            if truth is None or problem:
                continue
            try:
                dice = [image_dice(image, c, size, truth, rules.columns_first) for c in (code, "")]
                written.scores.append(dice[0])
                written.floors.append(dice[1])
            except InputError as error:
                problem = error  # told when the file is there: a bad truth costs no masks
    if problem:
        raise problem
    return written


def main(options):
    check_devices(options.devices, options.hosts, options.process_id)
    watch_process(options.hosts, options.process_id)
    path = runs.Paths(options.run).submission
    rules = JOBS[runs.read_record(options.run).job].submission
    truth = read_truth(options.truth, rules) if options.truth else None
    try:
        written = submission(options.run, options, truth)
    except TruthError as error:
        raise InputError(f"{options.truth}: {error}") from error
    if not written:
        print(f"process {options.process_id} is done; process 0 writes {path}")
        return
    print(f"{path}: {written.num_lines} rows, {written.num_masks} with a mask, {written.rule}")
    if written.num_unreadable:
        print(
            f"{written.num_unreadable} of them empty, of test images that data.py could not read"
        )
    if truth is not None:
        score, floor = np.mean(written.scores), np.mean(written.floors)
        print(f"score {score:.5f}; an all-empty file scores {floor:.5f}")
        if len(truth) > written.num_lines:
            print(f"over {written.num_lines} of the truth's {len(truth)} images")


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "submission.py", __doc__))
