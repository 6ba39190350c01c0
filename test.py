"""Score what a run held out, or predict any folder of images: scores, and pictures in vis/NAME/.

python test.py nerve
"""

from dataclasses import dataclass

from model import load_run
from unet.errors import InputError, check_backend, check_name, one_line_errors
from unet.lazy import lazy
from unet.options import option, parse_options, run_option

np = lazy("numpy")
runs = lazy("unet.runs")
disk = lazy("unet.machine.disk")
terminal = lazy("unet.machine.terminal")
pixels = lazy("unet.reading.pixels")
scoring = lazy("unet.prediction.scoring")
report = lazy("unet.prediction.report")
comparison = lazy("unet.prediction.compare")


@dataclass(frozen=True)
class Options:
    run: str = run_option()
    images: str | None = option(
        None,
        "folder of images to predict instead; their masks go to output/NAME/masks/",
        group="what is predicted",
    )
    masks: str | None = option(
        None, "their true masks, to score them: a folder or a file, as data.py takes them"
    )
    threshold: float | None = option(
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
    average: bool = option(
        True, "average predictions over the turns and flips that the training had"
    )


def check_options(options):
    """Raise InputError for options that contradict each other."""
    if options.masks and not options.images:
        raise InputError("--masks goes with --images; pass both")
    if options.compare and options.weights:
        raise InputError("--weights is of one run; leave it out, or --compare")
    if options.compare and options.images and not options.masks:
        raise InputError("--compare scores; pass --masks with --images")


def find_results(run, options):
    """What a run makes of the images that the options name, Results with a length."""
    if not options.images:
        return scoring.PreparedImages(run)
    reading = {"threshold": options.threshold, "white_level": options.white_level}
    return scoring.FolderImages(run, options.images, options.masks, reading, options.skip_bad)


def predict_and_draw(run, options):
    """Write masks, pictures, scores and the page of what the options name, and print the means."""
    results, paths = find_results(run, options), runs.Paths(run.name)
    vis = paths.vis
    if options.images:
        vis = vis / "images"  # apart from the pictures and scores of the held-out images
    scores, num_masks = report.Scores(run, results.are_seen), 0
    with report.new_page(vis, options.num_images, report.classes_of(run)) as page:
        for result in terminal.with_progress(results, len(results), "images"):
            dice = scores.add(result)
            if options.images:
                write_mask(result, paths.masks, run)
                num_masks += 1
            if not page.is_full:
                show(result, dice, page, run)
    if options.images:
        print(f"{num_masks} masks in {paths.masks}/")
    print(f"{len(page.images)} pictures in {vis}/")
    if scores:
        scores.write(vis)
    about = report.describe(run.name, run.record, len(run.networks))
    if results.are_seen:
        about["summary"] = f"{report.SEEN.capitalize()}."
    page.write(about, scores.figures() if scores else None)
    print(f"all of them on one page: {vis}/index.html")
    if scores:
        print(scores.describe())


def write_mask(result, folder, run):
    """Write a predicted mask of 0 and 255, or of class numbers, at the image's own size."""
    white = np.uint8(1 if run.classes else 255)
    path = folder / f"{report.file_path(result.id)}.png"
    pixels.write_image(path, white * result.prediction)


def show(result, dice, page, run):
    """Add a Result to the page."""
    page.add(
        result, [result.prediction], dice, lambda path: report.draw_result(result, dice, path, run)
    )


def compare(run, other, options):
    """Write and print what a second run gains on images that none of the two has seen."""
    comparison.check_comparable(run, other, bool(options.images))
    results = find_results(run, options)
    unseen = None if options.images else scoring.unseen_by(other)
    comparison.check_unseen(run, results.are_seen)
    comparison.check_unseen(other, unseen == {})
    comparison.compare(run, results.adapt(other), results, unseen, options.num_images)


def main(options):
    check_options(options)
    check_backend()
    # Before any folder is made
    run = load_run(options.run, options.weights, options.average)
    other = load_run(options.compare, average=options.average) if options.compare else None
    with disk.lock(runs.Paths(options.run).vis_lock):
        if other:
            compare(run, other, options)
        else:
            predict_and_draw(run, options)


if __name__ == "__main__":
    with one_line_errors():
        main(parse_options(Options, "test.py", __doc__))
