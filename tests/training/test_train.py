"""What a training does: the recipe, its files, folds, averages, warnings."""

import json
import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import draw_pair, make_folders, make_nerve, make_record, run_well, save, slow

import data
import train
from model import build_unet
from train import Options, get_unet, load_run
from unet.data.arrays import load_arrays
from unet.errors import InputError
from unet.jobs import JOBS, RECIPES, choose_recipe
from unet.jobs.settings import IGNORED, Augmentation, Reading
from unet.losses import LOSSES, Loss
from unet.options import parse_options
from unet.prediction.predict import predict_arrays
from unet.prediction.run import validation_rows
from unet.prediction.scoring import PreparedImages, measure_held_out, score
from unet.reading.classes import classes_text, number_classes
from unet.reading.values import reading_text
from unet.runs import Decision, Paths, read_record
from unet.training.callbacks import RunFiles
from unet.training.checkpoint import Progress, write_checkpoint
from unet.training.fit import build_variables, make_optimizer
from unet.training.monitor import Monitor, Samples
from unet.training.plan import change_job, check_masks, describe_size, split

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def arrays(place):
    make_nerve(place / "raw")
    data.prepare(data.Options(job="nerve"))
    return load_arrays("nerve")


@pytest.mark.parametrize(
    ("job", "expected"),
    [  # optimizer, rate, momentum, loss, batch, epochs, steps, validation steps, repeats, keep
        ("noise", ("sgd", 1e-3, 0.0, "dice", 1, 20, None, None, 100, "last")),
        ("membrane", ("sgd", 1e-3, 0.99, "weighted_cross_entropy", 1, 20, None, None, 1, "best")),
        ("nerve", ("adam", 1e-5, 0.0, "negative_dice", 32, 20, None, None, 1, "best")),
        ("car", ("adam", 1e-3, 0.0, "binary_cross_entropy", 16, 100, 100, 50, 1, "best")),
        ("cadastre", ("adam", 1e-3, 0.0, "binary_cross_entropy", 8, 80, None, None, 1, "last")),
    ],
)
def test_the_recipe_is_the_documents(job, expected):
    recipe = chosen_job(Options(job=job)).recipe
    assert recipe == JOBS[job].recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum, recipe.loss,
            recipe.batch_size, recipe.epochs, recipe.steps_per_epoch, recipe.validation_steps,
            recipe.repeats, recipe.keep) == expected  # fmt: skip
    assert recipe.validation_split == (0 if job == "nerve" else 0.2)


@pytest.mark.parametrize(
    ("job", "file_size", "options", "told"),
    [
        ("nerve", (84, 116), {}, ("96x128", "96 128")),
        ("nerve", (84, 116), {"resume": True}, None),
        ("nerve", (84, 116), {"recipe": "document"}, None),
        ("noise", (84, 116), {}, ("160x160", "160 160")),
        ("cadastre", (84, 116), {}, ("the files' own size", "0 0")),
        ("membrane", (64, 80), {}, None),
        ("own", (84, 116), {}, None),
    ],
)
def test_arrays_of_another_size_than_the_modern_recipe_was_measured_with(
    arrays, monkeypatch, job, file_size, options, told
):
    files = [{**row, "height": file_size[0], "width": file_size[1]} for row in arrays.files]
    arrays, options = replace(arrays, files=files), Options(job, **{"recipe": "modern", **options})
    line = "arrays of 64x80: the modern recipe was measured with {}, as data.py makes them with "
    line += "--image-size {}"
    assert describe_size(options, arrays) == (line.format(*told) if told else "")
    assert describe_size(options, replace(arrays, files=files + files[:1])) == ""  # a tile more
    if told and job != "cadastre":
        measured = replace(RECIPES["modern"][job], image_size=(64, 80))
        monkeypatch.setitem(RECIPES["modern"], job, measured)
        assert describe_size(options, arrays) == ""


def test_options_change_the_recipe():
    recipe = chosen_job(Options(job="car", epochs=3, loss="dice", validation_split=0.0)).recipe
    expected = replace(JOBS["car"].recipe, epochs=3, loss="dice", validation_split=0.0)
    assert recipe == expected


@pytest.mark.parametrize(
    ("job", "loss"), [("membrane", "dice"), ("nerve", "weighted_cross_entropy")]
)
def test_a_loss_for_another_number_of_classes_is_refused(job, loss):
    with pytest.raises(ValueError, match=f"--loss {loss} does not fit"):
        chosen_job(Options(job=job, loss=loss))


def test_class_weights_are_one_word():
    words = ["own", "--class-weights", "0.1,1,5"]
    options = parse_options(Options, "train.py", train.__doc__, words)
    assert options.class_weights == (0.1, 1.0, 5.0)


def test_the_command_line_knows_every_loss():
    for loss in LOSSES:
        assert parse_options(Options, "train.py", train.__doc__, ["--loss", loss]).loss == loss
    with pytest.raises(ValueError, match="invalid choice: 'hinge'"):
        parse_options(Options, "train.py", train.__doc__, ["--loss", "hinge"])


@pytest.mark.parametrize("job", RECIPES["document"])
def test_the_compiled_model_has_the_recipes_optimizer_and_rate(job):
    recipe, small = (
        JOBS[job].recipe,
        dict(filters=(4,), bottleneck=4, decoder_filters=(), dropout=()),
    )
    network = replace(JOBS[job].network, image_size=(None, None), **small)
    optimizer = get_unet(job, network, num_steps=10).optimizer
    assert type(optimizer).__name__.lower() == recipe.optimizer
    assert float(optimizer.learning_rate) == pytest.approx(recipe.learning_rate)
    if recipe.optimizer == "sgd":
        assert optimizer.momentum == recipe.momentum


def chosen_job(options, classes=()):
    """The job that a training with some options has."""
    job = RECIPES[choose_recipe(options.job, options.recipe)][options.job]
    return change_job(options.job, job, options.set, vars(options), classes)


SMALL = ("network.filters=4,6", "network.bottleneck=8")


def small_run(set=(), **options):
    """Train a small nerve network on the arrays here."""
    defaults = dict(job="nerve", epochs=2, batch_size=4, learning_rate=1e-3)
    if not options.get("folds"):  # nerve's document holds nothing out
        defaults["validation_split"] = 0.2
    train.train_predict(Options(**{**defaults, **options}, set=(*SMALL, *set)))


def read_weights(path):
    from unet.weights import load_weights

    model = build_unet(replace(JOBS["nerve"].network, filters=(4, 6), bottleneck=8))
    load_weights(model, path)
    return [np.asarray(weight) for weight in model.weights]


def test_a_run_can_start_from_the_weights_of_another(arrays, place):
    small_run()
    first = read_weights("weights/nerve.last.weights.h5")
    (place / "weights/nerve.last.weights.h5").rename("start.weights.h5")
    small_run(weights="start.weights.h5", learning_rate=1e-12, epochs=1)
    for old, new in zip(first, read_weights("weights/nerve.last.weights.h5")):
        np.testing.assert_allclose(new, old, atol=1e-6)


def test_the_best_weights_are_those_of_the_lowest_validation_loss(arrays):
    small_run(epochs=6, learning_rate=0.3)  # so high that the loss goes up and down
    record = json.loads(Path("weights/nerve.json").read_text())
    with open("weights/nerve.csv") as file:
        rows = [line.split(",") for line in file.read().splitlines()]
    column = rows[0].index("val_loss")
    losses = [float(row[column]) for row in rows[1:]]
    assert len(losses) == 6
    assert record["best"]["epoch"] == 1 + int(np.argmin(losses))
    assert record["best"]["val_loss"] == pytest.approx(min(losses))


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_weights(arrays, place, monkeypatch):
    small_run()
    before = (place / "weights/nerve.weights.h5").read_bytes()
    nan = Loss(lambda y_true, y_pred: keras.ops.log(-y_pred - 1), 1)
    monkeypatch.setitem(LOSSES, "dice", nan)
    message = "the loss is nan in epoch 1, step 1, at a rate of 0.001; nothing was written; pass"
    with pytest.raises(FloatingPointError, match=message):
        small_run(loss="dice")
    assert (place / "weights/nerve.weights.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("filters=4", "expected network.FIELD=VALUE, recipe.FIELD=VALUE or augmentation.FIELD"),
        ("network.filter=4", "FIELD one of filters, bottleneck, decoder_filters, top_conv"),
        ("network.channels=1", "FIELD one of filters, bottleneck"),
        ("recipe.window=32", "expected a value of type tuple.int, int"),
        ("recipe.window=32,30", "recipe.window 32,30: image width 30 does not fit"),
        ("recipe.steps_per_epoch=0", "recipe.steps_per_epoch 0: expected at least 1"),
        ("recipe.validation_split=nan", "recipe.validation_split nan: expected 0 to 0.9"),
        ("network.initializer=foo", "initializer 'foo': not one of Keras's"),
        ("network.padding=foo", "padding 'foo': expected same or valid"),
        ("network.dropout=2,2,2", "network.dropout 2.0: expected 0 to 0.999"),
        ("network.bottleneck=-5", "network.bottleneck -5: expected at least 0"),
        ("augmentation.shift=2", "augmentation.shift 2.0: expected 0 to 1"),
        ("network.filters=4,x", "expected a value of type tuple.int"),
        ("recipe.cosine=yes", "expected a value of type bool"),
        ("recipe.batch_size", "expected a value of type int"),
        ("network.upsample=cubic", "upsample 'cubic': expected one of nearest"),
        ("network.filters=", "filters .*: expected one number above 0 for each level"),
        ("recipe.batch_size=0", "recipe.batch_size 0: expected at least 1"),
        ("augmentation.gamma=-1", "augmentation.gamma -1.0: expected 0 to 1000"),
        ("recipe.loss=hinge", "loss 'hinge': expected one of dice, "),
        ("augmentation.symmetry=all", "symmetry 'all': expected one of none, mirror, flips"),
    ],
)
def test_a_field_or_value_that_there_is_not_is_refused(arrays, assignment, message):
    with pytest.raises(ValueError, match=message):
        small_run([assignment])


def test_every_field_can_be_set():
    job = chosen_job(
        Options(
            job="car",
            set=(
                "network.filters=8,16",
                "network.batch_normalization=true",
                "network.momentum=0.8",
                "recipe.window=64,96",
                "recipe.steps_per_epoch=none",
                "recipe.optimizer=sgd",
                "augmentation.rotation=7.5",
                "augmentation.wrap=true",
            ),
        )
    )
    expected = replace(
        JOBS["car"],
        network=replace(
            JOBS["car"].network, filters=(8, 16), batch_normalization=True, momentum=0.8
        ),
        recipe=replace(
            JOBS["car"].recipe,
            window=(64, 96),
            steps_per_epoch=None,
            optimizer="sgd",
            augmentation=Augmentation(rotation=7.5, wrap=True),
        ),
    )
    assert job == expected


def test_the_rate_rises_for_a_tenth_of_the_steps_and_falls_to_nothing():
    recipe = replace(JOBS["nerve"].recipe, cosine=True, learning_rate=0.1)
    rate = make_optimizer(recipe, 100)._learning_rate
    assert [float(rate(step)) for step in (0, 5, 10, 55, 100)] == pytest.approx(
        [0, 0.05, 0.1, 0.05, 0], abs=1e-6
    )


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="traces nothing")
@pytest.mark.parametrize("job", ["nerve", "membrane", "cadastre"])
def test_the_first_step_makes_no_variables(job, monkeypatch):
    """With new variables TensorFlow traces it twice."""
    network = replace(JOBS[job].network, filters=(4,), bottleneck=4, dropout=())
    model = get_unet(job, replace(network, image_size=(20, 20)), num_steps=10)
    build_variables(model)
    calls, train_step = [], type(model).train_step
    monkeypatch.setattr(
        type(model), "train_step", lambda *a: calls.append(0) or train_step(*a), raising=True
    )
    side = network.output_length(20) if network.padding == "valid" else 20
    batch = np.zeros((2, 20, 20, network.channels)), np.zeros((2, side, side, 1))
    model.fit(*batch, batch_size=1, verbose=0)
    assert len(calls) == 1


def test_class_weights_are_in_losses_record_and_plan_and_a_resume_has_them(arrays, capsys):
    options = dict(epochs=3, loss="binary_cross_entropy", class_weights=(0.2, 3.0), batch_size=8)
    small_run(validation_split=0.4, split_by_subject=False, **options)
    line = ", binary_cross_entropy (weights: background 0.2, foreground 3), adam at 0.001, "
    assert line in capsys.readouterr().out
    record, run = read_record("nerve"), load_run("nerve")
    assert record.recipe.class_weights == (0.2, 3.0)
    rows = np.arange(12)[-len(record.validation) :]
    p = np.stack(list(predict_arrays(run, arrays.images, rows))).astype(np.float64)
    truth = arrays.masks[rows] > 0
    weights = np.where(truth, 3, 0.2)
    expected = -(weights * np.log(np.where(truth, p, 1 - p))).sum() / weights.sum()
    assert record.best["val_loss"] == pytest.approx(expected, rel=1e-4)

    write_checkpoint(Paths("nerve").checkpoint, Progress(record))
    given = {"job": "nerve", "resume": True}
    for more in ({}, {"class_weights": (0.2, 3.0)}):
        assert train.read_options({**given, **more}).class_weights == (0.2, 3.0)
    with pytest.raises(InputError, match="a training with other options: --class-weights"):
        train.read_options({**given, "class_weights": (0.2, 4.0)})


class TestIgnored:
    """Arrays with pixels that do not count: losses and scores are those of the others."""

    @pytest.fixture(params=[2, 4])
    def ignoring(self, request, arrays):
        """The arrays, of two classes or of four, with a part of each mask that does not count, and
        a last mask of which nothing does.
        """
        folder, masks = Path("output/nerve"), arrays.masks[:] // 255
        if request.param > 2:
            masks = np.arange(80, dtype=np.uint8)[:, None] // 20 + 0 * masks
            (folder / "classes.csv").write_text(classes_text(number_classes(4), False))
        masks[:, 15:40, 20:60] = masks[-1:] = IGNORED
        np.save(folder / "imgs_mask_train.npy", masks)
        (folder / "reading.json").write_text(reading_text(Reading(ignore=(200,))))
        return load_arrays("nerve")

    def test_losses_and_scores_are_of_the_pixels_that_count(self, ignoring):
        loss = "cross_entropy" if ignoring.classes else "binary_cross_entropy"
        held_out = dict(validation_split=0.4, split_by_subject=False, batch_size=8)
        small_run(["recipe.decide=true"], loss=loss, epochs=3, **held_out)
        record, run = read_record("nerve"), load_run("nerve")
        rows = np.arange(12)[-len(record.validation) :]
        p = np.stack(list(predict_arrays(run, ignoring.images, rows))).astype(np.float64)
        if not ignoring.classes:
            p = np.concatenate([1 - p, p], axis=-1)
        truth = np.stack([ignoring.numbers(row) for row in rows])
        counted = truth != IGNORED
        assert 0.1 < counted.mean() < 0.8
        of_truth = np.take_along_axis(p[counted], truth[counted][:, None].astype(int), axis=-1)
        assert record.best["val_loss"] == pytest.approx(-np.log(of_truth).mean(), rel=1e-4)

        results = list(PreparedImages(run))
        for result, numbers in zip(results, truth):
            np.testing.assert_array_equal(result.truth, numbers)
            wrong = (result.prediction != numbers)[numbers != IGNORED]
            assert score(result, 4)[0][2] == pytest.approx(wrong.mean() if len(wrong) else 0)
        assert score(results[-1], 4)[0] == (1, 1, 0, 1, 1)
        printed = run_well("test.py", "nerve")  # pictures and page, too
        means = json.loads(Path("vis/nerve/scores.json").read_text())
        assert f"Dice {means['dice']:.3f}" in printed
        dice = [score(result, run.num_maps if ignoring.classes else 2)[0][0] for result in results]
        assert means["dice"] == pytest.approx(np.mean(dice))


class TestFolds:
    def test_each_fold_leaves_its_files_and_the_run_their_mean(self, arrays, capsys):
        small_run(folds=3, epochs=1)
        record = read_record("nerve")
        assert [fold["name"] for fold in record.folds] == [f"nerve.fold{n}" for n in (1, 2, 3)]
        assert record.decision == Decision(threshold=0.5, min_area=0.0)
        means = [fold["dice"] for fold in record.folds]
        assert record.dice == pytest.approx(np.mean(means))
        assert record.spread == pytest.approx(np.std(means) * np.sqrt(3 / 2))
        assert f"{record.dice:.4f} ± {record.spread:.4f}" in capsys.readouterr().out
        assert keras.config.dtype_policy().name == "float32"
        held_out = [read_record(f"nerve.fold{n}").validation for n in (1, 2, 3)]
        assert sorted(sum(held_out, [])) == sorted(file["id"] for file in arrays.files)
        weights = [Path(f"weights/nerve.fold{n}.weights.h5").read_bytes() for n in (1, 2, 3)]
        assert len(set(weights)) == 3
        assert Path("vis/nerve/curves.fold2.png").exists()
        assert np.load("output/nerve/imgs_mask_test.npy").shape == (3, 64, 80, 1)

    def test_test_images_get_the_mean_of_the_folds(self, arrays):
        small_run(folds=2, epochs=1)
        run = load_run("nerve")
        each = [
            np.stack(list(predict_arrays(replace(run, networks=(n,)), arrays.test_images)))
            for n in run.networks
        ]
        predicted = np.load("output/nerve/imgs_mask_test.npy")
        np.testing.assert_allclose(predicted, np.mean(each, axis=0), atol=1e-6)

    @slow
    def test_folds_that_are_replaced_one_by_one_are_not_named_any_more(self, arrays, monkeypatch):
        small_run(folds=3, epochs=1)
        calls = []

        def stop(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return train_network(*arguments)

        train_network = train.train_network
        monkeypatch.setattr(train, "train_network", stop)
        with pytest.raises(KeyboardInterrupt):
            small_run(folds=2, epochs=1)
        with pytest.raises(
            ValueError, match="nerve.json: missing, its training was interrupted; run"
        ):
            load_run("nerve")

    @slow
    def test_folds_stay_when_the_next_training_ends_in_its_first_epoch(self, arrays, monkeypatch):
        small_run(folds=2, epochs=1)
        before = read_record("nerve")
        nan = Loss(lambda y_true, y_pred: keras.ops.log(-y_pred - 1), 1)
        monkeypatch.setitem(LOSSES, "dice", nan)
        with pytest.raises(FloatingPointError, match="loss is nan in epoch 1"):
            small_run(folds=3, loss="dice")
        assert read_record("nerve") == before
        assert len(load_run("nerve").networks) == 2

    @pytest.mark.parametrize("option", [{"weights": "a.h5"}, {"validation_split": 0.5}])
    def test_options_that_do_not_go_with_folds_are_refused(self, arrays, option):
        with pytest.raises(ValueError, match="does not go with --folds"):
            small_run(folds=2, **option)

    @slow
    def test_a_run_without_folds_takes_their_place(self, arrays):
        small_run(folds=2, epochs=1)
        small_run(epochs=1)
        assert read_record("nerve").folds is None


def test_the_decision_is_chosen_on_the_held_out_images_where_the_recipe_says_so(arrays):
    small_run(["recipe.decide=true"], epochs=1)
    decision = read_record("nerve").decision
    measured = measure_held_out(load_run("nerve"), arrays)
    assert decision == measured.choose()
    assert measured.dice(decision).mean() >= measured.dice(Decision()).mean()


@slow
def test_photos_cut_into_tiles_are_decided_on_and_scored_whole(place, capsys):
    for number, size in enumerate([(64, 160), (100, 80), (64, 80), (128, 160)]):
        image, mask = draw_pair(number, size, filled=number < 3)
        save(place / f"images/{number}.png", image)
        save(place / f"masks/{number}.png", mask)
    data.prepare(data.Options(job="nerve", images="images", masks="masks", tile_size=(64, 80)))
    capsys.readouterr()
    small_run(["recipe.decide=true"], epochs=1, validation_split=0.5, split_by_subject=False)
    held_out = read_record("nerve").validation
    assert held_out == ["2_0_0", "3_0_0", "3_0_80", "3_64_0", "3_64_80"]
    assert "mean of 2 images" in capsys.readouterr().out
    small_run(folds=2, epochs=1)
    assert "mean of 4 images" in capsys.readouterr().out
    assert [fold["num_images"] for fold in read_record("nerve").folds] == [2, 2]


def scored_run(monkeypatch, probability, capsys, **options):
    """What a run prints whose network gives every pixel of a held-out image a probability, or its
    true mask for None.
    """

    def predict(run, arrays):
        for rows in validation_rows(run, arrays):
            for row in rows:
                truth = (arrays.numbers(row) == 1)[..., None] * 1.0
                yield row, truth if probability is None else np.full_like(truth, probability)

    monkeypatch.setattr("unet.prediction.scoring.predict_held_out", predict)
    capsys.readouterr()
    small_run(epochs=1, **options)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("most", "kept"), [pytest.param(1.0, "mixed_bfloat16", marks=slow), (0.0, "float32")]
)
def test_half_precision_predicts_where_the_held_out_dice_stays_and_the_hardware_has_it(
    arrays, capsys, monkeypatch, most, kept
):
    monkeypatch.setattr("unet.training.decide.MOST_CHANGE", most)
    has_bfloat16 = "mixed_bfloat16", "told so"
    monkeypatch.setattr("unet.machine.precision.find_precision", lambda: has_bfloat16)
    small_run(["recipe.decide=true"], epochs=1, precision="mixed_bfloat16")
    found = re.search(
        r"predictions in (\w+)(?:, for the two differ)?: at 0.5 the held-out images have a Dice "
        r"of ([\d.]+) in mixed_bfloat16, ([\d.]+) in float32, and ([\d.]+)% of the pixels differ",
        capsys.readouterr().out,
    )
    assert found[1] == kept == read_record("nerve").precision
    masks = []
    for precision, dice in (("mixed_bfloat16", found[2]), ("float32", found[3])):
        run = load_run("nerve", precision=precision)
        assert run.networks[0].model.layers[1].compute_dtype == precision.removeprefix("mixed_")
        run = replace(run, decision=Decision())
        results = list(PreparedImages(run))
        assert np.mean([score(r)[0][0] for r in results]) == pytest.approx(float(dice), abs=6e-5)
        masks.append(np.stack([result.prediction for result in results]))
    changed = 100 * np.mean(masks[0] != masks[1])
    assert changed == pytest.approx(float(found[4]), abs=6e-4)
    for has in ("mixed_bfloat16", "float32"):
        monkeypatch.setattr("unet.machine.precision.find_precision", lambda has=has: (has, ""))
        expected = "bfloat16" if has == kept == "mixed_bfloat16" else "float32"
        assert load_run("nerve").networks[0].model.layers[1].compute_dtype == expected
    assert keras.config.dtype_policy().name == "float32"


def test_a_network_that_is_no_better_than_a_constant_mask_has_not_learnt(
    arrays, monkeypatch, capsys
):
    """Half of all masks are empty, the others differ: nothing is the best mask for all of them."""
    decides = dict(set=["recipe.decide=true"])
    printed = scored_run(monkeypatch, 0.1, capsys, **decides)
    assert re.search(r"^held out: Dice 0\.5000 .*\na constant mask gets 0\.5000$", printed, re.M)
    line = next(line for line in printed.splitlines() if line.startswith("warning: the network"))
    assert "the network has not learnt" in line
    assert "(--epochs, it had 1), a lower --learning-rate (it was 0.001)" in line
    assert "vis/nerve/data.png whether the masks fit" in line
    assert read_record("nerve").constant_dice == 0.5
    printed = scored_run(monkeypatch, None, capsys, **decides)
    assert "held out: Dice 1.0000" in printed
    assert "a constant mask gets 0.5000\n" in printed
    assert "the network has not learnt" not in printed


def test_a_constant_mask_is_of_the_training_masks(place, monkeypatch, capsys):
    """Boxes of 30 pixels in the training, and of 20 of these in the one that is held out."""
    for number, width in enumerate((30, 30, 30, 30, 20)):
        mask = np.zeros((64, 80), np.uint8)
        mask[10, :width] = 255
        image = np.random.default_rng(number).integers(0, 256, (64, 80), dtype=np.uint8)
        save(place / f"images/{number}.png", image)
        save(place / f"masks/{number}.png", mask)
    data.prepare(data.Options(job="nerve", images="images", masks="masks"))
    options = dict(set=["recipe.decide=true"], split_by_subject=False)
    printed = scored_run(monkeypatch, 0.1, capsys, **options)
    assert read_record("nerve").constant_dice == pytest.approx(2 * 20 / (30 + 20))
    assert "held out: Dice 0.0000" in printed
    assert "a constant mask gets 0.8000\nwarning: " in printed


def test_a_network_of_classes_is_compared_with_one_class_everywhere(place, capsys):
    prepare_masks([1, 2, 1, 1], classes=3)
    capsys.readouterr()
    small = dict(set=("network.filters=4,4", "network.bottleneck=4", "network.dropout="))
    options = dict(recipe="modern", epochs=1, steps_per_epoch=1, split_by_subject=False, **small)
    train.train_predict(Options(job="cadastre", validation_split=0.5, **options))
    # class 1 in each of 64 x 96 pixels, of which a box of 20 x 30 in both images is
    expected = 2 * 600 / (600 + 64 * 96)
    assert read_record("cadastre").constant_dice == pytest.approx(expected)
    assert f"a constant mask gets {expected:.4f}\n" in capsys.readouterr().out


def test_a_documents_training_is_not_scored_unless_it_has_folds(arrays, capsys):
    small_run(epochs=1)
    assert "held out" not in capsys.readouterr().out
    assert read_record("nerve").constant_dice is None


def test_a_constant_network_is_told_when_it_becomes_so_with_what_to_change(capsys):
    model = build_unet(replace(JOBS["nerve"].network, filters=(4, 6), bottleneck=8))
    learned = model.get_weights()
    images = np.random.default_rng(0).normal(0, 1, (2, 64, 80, 1)).astype(np.float32)
    recipe = replace(JOBS["nerve"].recipe, learning_rate=0.5)
    monitor = make_monitor(images, recipe, "nerve")
    for epoch, factor in enumerate((1, 0, 0, 1, 0)):
        model.set_weights([10 * factor * weight for weight in learned])
        monitor.warn(epoch, model.predict_on_batch(images))
    lines = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if line]
    assert [line.partition(" every pixel")[0] for line in lines] == [
        "warning: after epoch 2",
        "warning: after epoch 5",
    ]
    advice = "lower --learning-rate (it is 0.5), or --set network.batch_normalization=true"
    assert f"the same probability, 0.500: {advice}" in lines[0]
    monitor = make_monitor(images, recipe, "cadastre")
    monitor.warn(0, np.zeros_like(images))
    assert capsys.readouterr().out.endswith("lower --learning-rate (it is 0.5)\n")


def make_monitor(images, recipe, name):
    record = make_record(name=name, job=name, recipe=recipe, network=JOBS[name].network)
    files = RunFiles(Progress(record))
    truths = np.zeros((*images.shape[:3], 3), np.uint8)
    samples = Samples(images, images.astype(np.uint8), truths)
    return Monitor(files, samples)


def test_a_network_that_learns_is_not_called_constant(arrays, capsys):
    small_run(epochs=1)
    assert "same probability" not in capsys.readouterr().out


def test_the_same_seed_gives_the_same_weights(arrays):
    runs = []
    for seed in (3, 3, 4):
        small_run(seed=seed, validation_split=0.0)
        runs.append(read_weights("weights/nerve.last.weights.h5"))
    for first, again in zip(*runs[:2]):
        np.testing.assert_array_equal(first, again)
    assert not np.allclose(runs[0][0], runs[2][0])


def test_a_network_takes_the_channels_of_its_arrays(place):
    make_folders(place, size=(64, 96))
    data.prepare(data.Options(job="nerve", images="images", masks="masks", channels=3))
    small_run(epochs=1)
    assert json.loads(Path("weights/nerve.json").read_text())["network"]["channels"] == 3


def test_arrays_of_a_size_that_does_not_fit_are_refused_with_the_sizes_that_do(place):
    make_nerve(place / "raw")
    data.prepare(data.Options(job="nerve", image_size=(60, 80)))
    line = "height 60 .* multiple of {}; nearest: {} and 64; .* another --image-size{}$"
    with pytest.raises(ValueError, match=line.format(16, 48, ", such as 64 80")):
        train.train_predict(Options(job="nerve"))
    deeper = Options(job="nerve", set=("network.filters=8,8,8,8,8",))  # 80 does not fit, either
    with pytest.raises(ValueError, match=line.format(32, 32, "")):
        train.train_predict(deeper)


def test_other_images_under_the_same_names_are_not_scored_as_those_held_out(place):
    make_folders(place, size=(64, 80), channels=1)
    own = data.Options(job="nerve", images="images", masks="masks")
    data.prepare(own)
    small_run(epochs=1)
    data.prepare(own)  # again the same
    assert len(PreparedImages(load_run("nerve"))) == 1
    make_folders(place, count=6, size=(64, 80), channels=1)
    for folder in (place / "images", place / "masks"):
        for number in range(1, 6):  # each name gets the picture of the next one
            (folder / f"{number + 1}.png").replace(folder / f"{number}.png")
    data.prepare(own)
    with pytest.raises(ValueError, match="output/nerve: holds other images than those of the tra"):
        PreparedImages(load_run("nerve"))


def test_a_wide_top_that_has_one_convolution_is_loaded_again(arrays):
    small_run(["network.top_convolutions=1", "network.decoder_filters=256,4"], epochs=1)
    assert load_run("nerve").record.network.decoder_filters == (256, 4)


def prepare_masks(values, **options):
    """Arrays of the cadastre job with noise images and, one after the other, masks of one value
    in a box.
    """
    rng = np.random.default_rng(0)
    for number, value in enumerate(values):
        mask = np.zeros((64, 96), np.uint8)
        mask[10:30, 10:40] = value
        save(Path(f"images/{number}.png"), rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
        save(Path(f"masks/{number}.png"), mask)
    sources = dict(images="images", masks="masks", image_size=(0, 0))
    data.prepare(data.Options(job="cadastre", **sources, **options))


@pytest.mark.parametrize(
    ("classes", "remedy"),
    [(None, "another --mask-threshold"), (3, "values or colours are those of the classes")],
)
def test_masks_without_any_foreground_are_refused(place, classes, remedy, capsys):
    prepare_masks([0, 0, 0], classes=classes)
    text = f"output/cadastre: no foreground in any mask of the 2 images to train on.*{remedy}"
    with pytest.raises(InputError, match=text):
        train.train_predict(Options(job="cadastre", epochs=1, validation_split=0.3))
    assert not list(Path("weights").glob("*"))
    assert "warning: all masks are empty" in capsys.readouterr().out


def test_foreground_in_the_held_out_masks_alone_is_no_use(place):
    prepare_masks([0, 0, 255])
    options = Options(job="cadastre", epochs=1, validation_split=0.3, split_by_subject=False)
    with pytest.raises(InputError, match="no foreground in any mask of the 2 images to train on"):
        train.train_predict(options)


def test_training_says_again_what_data_warned_of(place, capsys):
    prepare_masks([255, 255, 255])
    arrays, splits = load_arrays("cadastre"), {"cadastre": ([0, 1], [2])}
    path = Path("output/cadastre/report.json")
    report = json.loads(path.read_text())
    capsys.readouterr()
    for warnings, said in (([], ""), (["warning: look out"], "warning: look out\n")):
        path.write_text(json.dumps({**report, "warnings": warnings}))
        check_masks(arrays, splits)
        assert capsys.readouterr().out == said


@slow
@pytest.mark.parametrize("floatx", ["float16", "float64"])
def test_keras_settings_of_another_project_change_nothing(place, monkeypatch, floatx):
    """As older versions of Keras left them in the home folder."""
    data.prepare(data.Options(image_size=(64, 64), num_images=2))
    settings = {"floatx": floatx, "epsilon": 0.1, "image_data_format": "channels_first"}
    small = "--set", "network.filters=4,8", "network.bottleneck=8", "network.decoder_filters="
    left = []
    for name in ("new", "old"):
        monkeypatch.setenv("KERAS_HOME", str(place / name))
        arguments = "--epochs", 1, "--steps-per-epoch", 3, "--loss", "binary_cross_entropy"
        run_well("train.py", "noise", *arguments, *small)
        printed = run_well("test.py", "noise", "--num-images", 0)
        epoch, seconds, *losses = Path("weights/noise.csv").read_text().split("\n")[1].split(",")
        left.append((losses, printed))
        (place / "old").mkdir(exist_ok=True)
        (place / "old/keras.json").write_text(json.dumps(settings))
    assert left[0] == left[1]


def own_arrays(shows, subjects=None):
    """Arrays of own: images of which some show a square, in folders that are subjects."""
    for number, is_shown in enumerate(shows):
        image, mask = draw_pair(number, (64, 80), filled=is_shown)
        folder = f"{subjects[number]}/" if subjects else ""
        save(Path(f"images/{folder}{number:02}.png"), image)
        save(Path(f"masks/{folder}{number:02}.png"), mask)
    data.prepare(data.Options(job="own", images="images", masks="masks"))
    return load_arrays("own")


@pytest.mark.parametrize("folds", [None, 5])
def test_own_holds_out_images_with_and_without_foreground_or_warns(folds, place, capsys):
    arrays = own_arrays([n in (1, 2, 8, 14) for n in range(20)])
    job = replace(JOBS["own"], recipe=replace(JOBS["own"].recipe, validation_split=0.2))
    for seed in range(4):
        capsys.readouterr()
        splits = split("own", Options(job="own", folds=folds, seed=seed), job, arrays)
        shown = [sum(arrays.masks[row].any() for row in rows) for _, rows in splits.values()]
        assert sorted(shown) == ([0, 1, 1, 1, 1] if folds else [1])
        told = capsys.readouterr().out
        if folds:
            empty = list(splits)[shown.index(0)]
            assert f"warning: {empty}: none of the 4 held-out images shows any" in told
        else:
            assert "warning" not in told


def test_a_folder_that_is_held_out_whole_is_named(place, capsys):
    arrays = own_arrays([True] * 8, "aaaabbbb")
    job = replace(JOBS["own"], recipe=replace(JOBS["own"].recipe, validation_split=0.5))
    split("own", Options(job="own"), job, arrays)
    told = capsys.readouterr().out
    assert re.search("own: all images of 1 subjects are held out, such as [ab]\n", told)
