"""After a training: the decision on the images that it held out, and its score."""

import numpy as np

from unet.data.arrays import load_arrays
from unet.errors import InputError, error_text
from unet.machine.disk import lock
from unet.machine.precision import usable_precision
from unet.prediction.predict import predict_held_out
from unet.prediction.scores import class_counts, count_confusion, mean_dices
from unet.prediction.scoring import count_images, mean_masks, measure_classes, measure_held_out
from unet.runs import Decision, Paths, command, read_record

MOST_CHANGE = 0.0005  # of the held-out Dice, for predictions in half precision


def half_precision(record):
    """The half precision that a Record's training had where this hardware has it, else float32."""
    return usable_precision(record.options["precision"])


def take_half_precision(record, run, half, arrays):
    """The Run that predicts, which a Record notes: the one in the half precision that it was
    trained in where the held-out Dice at 0.5 changes by less than MOST_CHANGE, else the one in
    float32. Prints what it comes to.

    run, half: the same Run in float32 and in half precision.
    """
    num_classes, plain = max(2, run.num_maps), Decision()

    def count(truth, probabilities):
        masks = [plain.mask(probability).astype(np.uint8) for probability in probabilities]
        confusions = [count_confusion(truth, mask, num_classes) for mask in masks]
        return *confusions, np.count_nonzero(masks[0] != masks[1]), truth.size

    pairs = zip(*(predict_held_out(each, arrays) for each in (run, half)))
    both = ((row, (first, second)) for (row, first), (_, second) in pairs)
    _, *confusions, changed, total = count_images(run, arrays, count, both)
    dice = [
        mean_dices(*zip(*map(class_counts, of_run)), run.first_class).mean()
        for of_run in confusions
    ]
    is_half, precision = abs(dice[0] - dice[1]) < MOST_CHANGE, record.options["precision"]
    print(
        f"predictions in {precision if is_half else 'float32, for the two differ'}: at 0.5 the "
        f"held-out images have a Dice of {dice[1]:.4f} in {precision}, {dice[0]:.4f} in float32, "
        f"and {changed.sum() / total.sum():.3%} of the pixels differ"
    )
    record.precision = precision if is_half else "float32"
    return half if is_half else run


def score_held_out(record, run, arrays):
    """Choose threshold and smallest area where the recipe says so, score the held-out images with
    them, print that and the score of a constant mask, and note both in weights/NAME.json.

    record: of the Run, of all its folds where it has some.
    """
    if arrays.classes:
        measured, decision = measure_classes(run, arrays), Decision()
        dice, constant = measured.dice(), measured.constant_dice()
        rule = "of the classes in each"
    else:
        measured = measure_held_out(run, arrays)
        decision = measured.choose() if record.recipe.decide else Decision()
        dice = measured.dice(decision)
        constant = measure_held_out(run, arrays, mean_masks(run, arrays)).constant_dice()
        rule = decision.describe()
    print(
        f"held out: Dice {dice.mean():.4f} (worst {dice.min():.4f}), mean of {len(dice)} images, "
        f"{rule}\na constant mask gets {constant:.4f}"
    )
    if dice.mean() <= constant and dice.mean() < 1:
        print(
            "warning: the network has not learnt more than one mask for all images: try more "
            f"steps (--epochs, it had {record.recipe.epochs}), a lower --learning-rate (it was "
            f"{record.recipe.learning_rate:g}), and look at "
            f"{Paths(arrays.name).picture('data')} whether the masks fit"
        )
    record.decision, record.constant_dice = decision, constant
    if record.folds:
        score_folds(record, measured.fold, dice)
    record.write()


def check_alone(name, hosts):
    """Raise InputError for a run without a threshold and hosts, of which none may compute yet."""
    if hosts:
        raise InputError(
            f"{Paths(name).record}: no threshold was chosen yet, as at the end of its training; "
            f"run {command('test.py', name)} first, or pass --threshold"
        )


def choose_threshold_now(run):
    """Choose the threshold and the smallest area of a Run whose training was stopped before it
    chose them, and note them in weights/NAME.json; says so, or why they cannot be chosen.
    """
    path = Paths(run.name).record
    about = f"{path}: no threshold was chosen yet, as at the end of its training"
    try:
        with lock(Paths(run.name).weights_lock):
            record = read_record(run.name)  # as it is now
            arrays = load_arrays(record.arrays, record.job)
            print(f"{about}; this is done now", flush=True)
            score_held_out(record, run, arrays)
    except (InputError, OSError) as error:
        reason = error_text(error)
        print(f"{about}, and none can be now ({reason}): 0.5 counts; --threshold P has another")


def score_folds(record, folds, dice):
    """Note the Dice of each fold, their mean and its spread, from the Dice of each image and the
    number of its fold, both (N,).
    """
    for number, fold in enumerate(record.folds):
        of_fold = dice[folds == number]
        fold.update(dice=float(of_fold.mean()), num_images=len(of_fold))
    means = [fold["dice"] for fold in record.folds]
    record.dice, record.spread = float(np.mean(means)), float(np.std(means, ddof=1))
    each = ", ".join(f"{mean:.4f}" for mean in means)
    print(f"folds {each}: mean of the folds {record.dice:.4f} ± {record.spread:.4f}")
