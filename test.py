"""Score what a run held out, or predict any folder of images: scores, and pictures in vis/NAME/.

python test.py nerve
"""

import contextlib
from dataclasses import dataclass

from train import load_run
from unet.errors import check_backend, check_name, one_line_errors, refuse
from unet.lazy import lazy
from unet.options import (
    Checked,
    option,
    parse_options,
    run_length_option,
    run_option,
    threshold_option,
)

runs = lazy("unet.runs")
disk = lazy("unet.machine.disk")
terminal = lazy("unet.machine.terminal")
cards = lazy("unet.machine.cards")
masks = lazy("unet.prediction.masks")
scoring = lazy("unet.prediction.scoring")
report = lazy("unet.prediction.report")
compare = lazy("unet.prediction.compare")
decide = lazy("unet.training.decide")


@dataclass(frozen=True)
class Options(Checked):
    run: str = run_option()
    images: str | None = option(
        None,
        "folder of images, or one image, to predict instead of the held-out images; see --output",
        group="images to predict",
    )
    masks: str | None = option(
        None,
        "true masks of --images, to score the predictions: a folder or a file, as for data.py",
    )
    output: str | None = option(
        None,
        "folder for the predicted masks of --images and for objects.csv, the area and position of "
        "each object (default: output/NAME/masks)",
        metavar="DIR",
    )
    mask_threshold: float | None = option(
        None,
        "value above which a true mask's pixel is foreground (default: as for data.py)",
        least=0,
        most=2**32,
    )
    run_length: str | None = run_length_option()
    white_level: float | None = option(
        None,
        "pixel value that maps to white, in images deeper than 8 bits (default: as in training)",
        least=1e-12,
    )
    skip_bad: bool = option(False, "skip and list images in --images that cannot be read")
    num_images: int = option(
        100,
        "maximum number of pictures to draw; all images are scored",
        least=0,
        group="prediction",
    )
    weights: str | None = option(
        None, "HDF5 file with the weights to use (default: weights/NAME.weights.h5)"
    )
    compare: str | None = option(
        None,
        "name of a second run to compare with; writes scores and pictures to vis/NAME+NAME/",
        metavar="NAME",
        check=check_name,
    )
    threshold: float | None = threshold_option()
    average: bool = option(
        True, "average predictions over the rotations and flips used in training"
    )


def check_options(options):
    """Raise InputError for options that contradict each other."""
    refuse(
        (options.masks and not options.images, "--masks goes with --images; pass both"),
        (
            options.output is not None and not options.images,
            "--output is for the masks of --images; pass both",
        ),
        (
            options.output is not None and options.compare,
            "--output is for masks, which --compare does not write; leave it out",
        ),
        (
            options.compare and options.weights,
            "--weights is for one run; leave it out, or --compare",
        ),
        (
            options.compare and options.images and not options.masks,
            "--compare scores; pass --masks with --images",
        ),
    )


def find_results(run, options, other=None):
    """What a run makes of the images that the options name, Results with a length; other: a second
    run, which may have seen them.
    """
    if not options.images:
        return scoring.PreparedImages(run)
    reading = {"mask_threshold": options.mask_threshold, "white_level": options.white_level}
    return scoring.FolderImages(
        run, options.images, options.masks, reading, options.skip_bad, other, options.run_length
    )


def predict_and_draw(run, options):
    """Write masks, pictures, scores and the page of what the options name, and print the means."""
    results, vis = find_results(run, options), runs.Paths(run.name).vis
    if options.images:
        vis = vis / "images"  # apart from the pictures and scores of the held-out images
    scores = report.Scores(run, results.unit)
    with (
        report.new_page(vis, options.num_images, report.classes_of(run)) as page,
        new_masks(run, results, options) as write_mask,
    ):
        for result in terminal.with_progress(results, len(results), "images"):
            dice = scores.add(result)
            write_mask(result)
            if not page.is_full:
                show(result, dice, page, run)
    print(f"{len(page.images)} pictures in {vis}/")
    if scores:
        scores.write(vis)
    about = report.describe_run(run.name, run.record, len(run.networks), run.decision)
    if seen := scores.describe_seen():
        about["summary"] = f"{seen[0].upper()}{seen[1:]}."
    page.write(about, scores.figures() if scores else None)
    print(f"all of them on one page: {vis}/index.html")
    if scores:
        print(scores.describe())


def new_masks(run, results, options):
    """What writes the masks of Results: nothing where they are not of --images."""
    if not options.images:
        return contextlib.nullcontext(lambda result: None)
    folder, sources = runs.Paths(run.name).masks, (options.images, options.masks)
    masks.check_apart(options.output or folder, sources)
    if options.output is not None:
        folder = options.output
        masks.check_output(folder, [frame.id for frame in results.frames])
    return masks.new_masks(folder, run.classes, run.first_class)


def show(result, dice, page, run):
    """Add a Result to the page."""
    page.add(result, [result.prediction], dice, report.draw_result(result, dice, run))


def compare_runs(run, other, options):
    """Write and print what a second run gains on images that none of the two has seen."""
    compare.check_comparable(run, other, bool(options.images))
    results, unseen = find_results(run, options, other), None
    if not (options.images or results.are_tested):
        unseen = scoring.unseen_by(other, results.arrays.files)
    compare.check_unseen(run, results.are_seen)
    compare.check_unseen(other, unseen == {})
    other = other if options.images else results.adapt(other)
    compare.compare(run, other, results, unseen, options.num_images)


def main(options):
    check_options(options)
    check_backend()
    for name in filter(None, (options.run, options.compare)):
        if options.threshold is None and runs.read_record(name).lacks_threshold:
            decide.choose_threshold_now(load_run(name))
    # Before any folder is made
    how = {"average": options.average, "threshold": options.threshold}
    run = load_run(options.run, options.weights, **how)
    other = load_run(options.compare, **how) if options.compare else None
    cards.tell_unseen_card()
    with disk.lock(runs.Paths(options.run).vis_lock):
        if other:
            compare_runs(run, other, options)
        else:
            predict_and_draw(run, options)


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "test.py", __doc__))
