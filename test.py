"""Score what a run held out, or predict any folder of images: scores, and pictures in vis/NAME/.

python test.py nerve
"""

import contextlib
from dataclasses import dataclass

from model import load_run
from unet.errors import InputError, check_backend, check_name, one_line_errors
from unet.lazy import lazy
from unet.machine.cards import tell_unseen_card
from unet.options import option, parse_options, run_option, threshold_option

runs = lazy("unet.runs")
disk = lazy("unet.machine.disk")
terminal = lazy("unet.machine.terminal")
masks = lazy("unet.prediction.masks")
scoring = lazy("unet.prediction.scoring")
report = lazy("unet.prediction.report")
comparison = lazy("unet.prediction.compare")
decide = lazy("unet.training.decide")


@dataclass(frozen=True)
class Options:
    run: str = run_option()
    images: str | None = option(
        None,
        "folder of images, or one image, to predict instead; see --output",
        group="what is predicted",
    )
    masks: str | None = option(
        None, "their true masks, to score them: a folder or a file, as data.py takes them"
    )
    output: str | None = option(
        None,
        "folder for the masks of --images and objects.csv, the area and place of each object in "
        "them (default: output/NAME/masks)",
        metavar="DIR",
    )
    mask_threshold: float | None = option(
        None,
        "true-mask values above it are foreground (default: as data.py was told)",
        least=0,
        most=2**32,
    )
    white_level: float | None = option(
        None,
        "value of an image of more than 8 bit that becomes white (default: that of the training)",
        least=1e-12,
    )
    skip_bad: bool = option(
        False, "leave out those of --images that cannot be read, and list them"
    )
    num_images: int = option(
        100, "pictures drawn at the most; all images are scored", least=0, group="how"
    )
    weights: str | None = option(None, "HDF5 file (default: weights/NAME.weights.h5)")
    compare: str | None = option(
        None,
        "name of a second run: scores and pictures of both go to vis/NAME+NAME/",
        metavar="NAME",
        check=check_name,
    )
    threshold: float | None = threshold_option()
    average: bool = option(
        True, "average predictions over the turns and flips that the training had"
    )


def check_options(options):
    """Raise InputError for options that contradict each other."""
    if options.masks and not options.images:
        raise InputError("--masks goes with --images; pass both")
    if options.output is not None and not options.images:
        raise InputError("--output is of the masks of --images; pass both")
    if options.output is not None and options.compare:
        raise InputError("--output is of masks, which --compare does not write; leave it out")
    if options.compare and options.weights:
        raise InputError("--weights is of one run; leave it out, or --compare")
    if options.compare and options.images and not options.masks:
        raise InputError("--compare scores; pass --masks with --images")


def find_results(run, options, other=None):
    """What a run makes of the images that the options name, Results with a length; other: a second
    run, which may have seen them.
    """
    if not options.images:
        return scoring.PreparedImages(run)
    reading = {"mask_threshold": options.mask_threshold, "white_level": options.white_level}
    return scoring.FolderImages(
        run, options.images, options.masks, reading, options.skip_bad, other
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
    about = report.describe(run.name, run.record, len(run.networks), run.decision)
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
    return masks.new_masks(folder, run.classes)


def show(result, dice, page, run):
    """Add a Result to the page."""
    page.add(
        result, [result.prediction], dice, lambda path: report.draw_result(result, dice, path, run)
    )


def compare(run, other, options):
    """Write and print what a second run gains on images that none of the two has seen."""
    comparison.check_comparable(run, other, bool(options.images))
    results, unseen = find_results(run, options, other), None
    if not (options.images or results.are_tested):
        unseen = scoring.unseen_by(other, results.arrays.files)
    comparison.check_unseen(run, results.are_seen)
    comparison.check_unseen(other, unseen == {})
    comparison.compare(run, results.adapt(other), results, unseen, options.num_images)


def main(options):
    check_options(options)
    check_backend()
    for name in filter(None, (options.run, options.compare)):
        if options.threshold is None and runs.read_record(name).is_undecided:
            decide.decide_now(name, load_run)
    # Before any folder is made
    how = {"average": options.average, "threshold": options.threshold}
    run = load_run(options.run, options.weights, **how)
    other = load_run(options.compare, **how) if options.compare else None
    tell_unseen_card()
    with disk.lock(runs.Paths(options.run).vis_lock):
        if other:
            compare(run, other, options)
        else:
            predict_and_draw(run, options)


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "test.py", __doc__))
