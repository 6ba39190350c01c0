"""Files of weights: which are read, what is taken of them, who may not read them, and runs whose
files have another name.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from conftest import ROOT, make_record, refusal, slow

import train
from model import build_unet, get_model, get_unet
from train import load_run
from unet.errors import InputError
from unet.jobs import RECIPES
from unet.runs import Paths, read_record
from unet.training.checkpoint import Progress, read_progress, write_checkpoint
from unet.training.plan import choose
from unet.weights import load_weights, start_from

NETWORKS = [(recipe, job) for recipe in ("document", "modern") for job in RECIPES["document"]]


def build(job="cadastre", recipe="modern", **changes):
    """A job's network with few filters and, as after a training, numbers of its own in all of its
    weights, other ones each time.
    """
    network = RECIPES[recipe][job].network
    filters = tuple(range(3, 3 + len(network.filters)))
    few = dict(filters=filters, bottleneck=network.bottleneck and 9, image_size=(None, None))
    if network.decoder_filters:
        few["decoder_filters"] = filters
    model = build_unet(replace(network, **{**few, **changes}), name=job)
    for weight in model.weights:
        weight.assign(np.random.default_rng().random(weight.shape))
    return model


def values(model):
    return [np.asarray(weight) for weight in model.weights]


def kernels(model):
    return [w for w in values(model) if w.ndim == 4]


def assert_same(model, other):
    for one, two in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.fixture
def rgb(place):
    """A network of RGB images, and its weights in rgb.weights.h5."""
    model = build()
    model.save_weights("rgb.weights.h5")
    return model


@pytest.mark.parametrize(
    ("recipe", "job"),
    [
        n if n[0] == "document" else pytest.param(*n, marks=slow)
        for n in NETWORKS
        if n[0] == "document" or n[1] in ("noise", "membrane")
    ],
)
def test_each_networks_files_are_read_as_keras_reads_them(recipe, job, place):
    model = build(job, recipe)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)  # its state goes into the files, too
    model.save_weights("a.weights.h5")
    for file in ("b.h5", "c.hdf5", "d.keras"):
        model.save(file)
    ours, keras_own = build(job, recipe), build(job, recipe)
    for file in ("a.weights.h5", "b.h5", "c.hdf5", "d.keras"):
        for weight in (*ours.weights, *keras_own.weights):
            weight.assign(np.zeros(weight.shape))
        load_weights(ours, file)
        keras_own.load_weights(file)
        assert_same(ours, keras_own)
        assert_same(ours, model)


def test_a_file_is_known_by_its_content(rgb):
    rgb.save("old.h5")
    rgb.save("new.keras")
    for source, name in (
        ("rgb.weights.h5", "best.h5"),
        ("rgb.weights.h5", "weights"),
        ("rgb.weights.h5", "odd.keras"),
        ("old.h5", "old.weights.h5"),
        ("old.h5", "old"),
        ("new.keras", "zip"),
        ("new.keras", "zip.weights.h5"),
    ):
        shutil.copy(source, name)
        for read in (load_weights, start_from):
            model = build()
            read(model, name)
            assert_same(model, rgb)
    trained = get_model(input_size=(32, 48, 3))
    trained.save("weights.keras")
    Path("weights.keras").rename("unet")
    assert_same(get_model("unet"), trained)


def test_layers_are_read_in_the_order_of_their_numbers(place):
    many = dict(filters=(2,) * 6, bottleneck=2, batch_normalization=False)  # conv2d_10 and on
    model = build(**many)
    model.save_weights("a.weights.h5")
    other = build(**many)
    load_weights(other, "a.weights.h5")
    assert_same(model, other)


def test_reading_draws_no_random_number(rgb):
    drawn = []
    for read in (load_weights, start_from, lambda model, path: None):
        model = build(channels=3, dropout=(0, 0, 0, 0.2, 0.5))
        keras.utils.set_random_seed(1)
        read(model, "rgb.weights.h5")
        drawn.append(np.asarray(keras.random.uniform((3,))))
        seeds = [v for v in model.variables if "seed" in v.path]
        assert len(seeds) == 2
    np.testing.assert_array_equal(drawn, [drawn[0]] * 3)


# ---- what a training takes of other networks


@pytest.mark.parametrize(("there", "here"), [(3, 1), (1, 3), (3, 4)])
def test_the_first_kernel_is_the_sum_over_its_channels_divided_equally(there, here, place, capsys):
    old, new = build(channels=there), build(channels=here)
    old.save_weights("old.weights.h5")
    start_from(new, "old.weights.h5")
    for channel in range(here):
        expected = sum(kernels(old)[0][:, :, c] for c in range(there)) / here
        np.testing.assert_allclose(kernels(new)[0][:, :, channel], expected, rtol=1e-6)
    for one, two in zip(values(new)[1:], values(old)[1:], strict=True):
        np.testing.assert_array_equal(one, two)
    count = len([layer for layer in new.layers if layer.weights])
    said = f"{new.layers[1].name}: channels adapted, {there} there, {here} here"
    assert capsys.readouterr().out == (
        f"old.weights.h5: {count - 1} of {count} layers taken; {said}\n"
    )


@pytest.mark.parametrize(("there", "here"), [(2, 3), (3, 2), (1, 3)])
def test_a_head_of_other_classes_starts_anew(there, here, place, capsys):
    old, new = build(classes=there), build(classes=here)
    old.save_weights("old.weights.h5")
    *_, kernel, bias = values(new)
    start_from(new, "old.weights.h5")
    for one, two in zip(values(new)[:-2], values(old)[:-2], strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(values(new)[-2], kernel)
    np.testing.assert_array_equal(values(new)[-1], bias)
    told = f"; anew: logits, (1, 1, 3, {there}) there, (1, 1, 3, {here}) here\n"
    assert capsys.readouterr().out.endswith(told)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_networks_of_other_depth_share_what_they_share(suffix, place, capsys):
    deep = build(filters=(3, 4, 5, 6), bottleneck=7)
    flat = build(filters=(3, 4), bottleneck=5)
    for old, new in ((deep, flat), (flat, deep)):
        (old.save_weights if suffix == ".weights.h5" else old.save)(f"old{suffix}")
        fresh = kernels(new)
        start_from(new, f"old{suffix}")
        # Of the way down the first five, of that up all but the first of the level of 4 filters.
        for n in (*range(5), *range(-6, 0)):
            np.testing.assert_array_equal(kernels(new)[n], kernels(old)[n])
        taken = sum(not np.array_equal(a, b) for a, b in zip(kernels(new), fresh))
        assert taken == min(len(kernels(deep)), len(kernels(flat)))
        for weight in new.weights:
            weight.assign(np.random.default_rng().random(weight.shape))
    assert capsys.readouterr().out.count(" layers taken") == 2


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_networks_with_and_without_normalization_share_their_convolutions(suffix, place, capsys):
    normalized, plain = build(), build(batch_normalization=False)
    for old, new in ((normalized, plain), (plain, normalized)):
        (old.save_weights if suffix == ".weights.h5" else old.save)(f"old{suffix}")
        start_from(new, f"old{suffix}")
        for one, two in zip(kernels(new), kernels(old), strict=True):
            np.testing.assert_array_equal(one, two)
        for weight in new.weights:
            weight.assign(np.random.default_rng().random(weight.shape))
    first, second = capsys.readouterr().out.splitlines()
    assert ": 19 of 19 layers taken; not used: batch_normalization" in first
    assert ": 19 of 37 layers taken; anew: batch_normalization" in second
    assert second.endswith("(4,) here and 15 more")


def test_where_no_layer_fits_the_first_is_named(rgb):
    with pytest.raises(InputError) as caught:
        start_from(build(filters=(8, 12, 20, 28), bottleneck=40), "rgb.weights.h5")
    assert str(caught.value).startswith("rgb.weights.h5: no layer of it fits this network: conv2d")
    assert "(3, 3, 3, 3) there, (3, 3, 3, 8) here; pass --set" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 1}, r"\(3, 3, 3, 3\) there, \(3, 3, 1, 3\) here; it is for images of 3 ch"),
        ({"classes": 3}, r"logits, \(1, 1, 3, 1\) there, \(1, 1, 3, 3\) here; it is for other cl"),
        ({"bottleneck": 8}, r"\(3, 3, 6, 9\) there, \(3, 3, 6, 8\) here; it is of another job"),
        ({"batch_normalization": False}, r"batch_normalization, .* there, none here; it is of an"),
        ({"head_filters": 5}, r"\(1, 1, 3, 1\) there, \(3, 3, 3, 5\) here; it is of another"),
    ],
    ids=str,
)
def test_what_does_not_pair_wholly_is_refused_with_both_shapes(changes, message, rgb):
    with pytest.raises(
        InputError, match=rf"rgb.weights.h5: not weights of this network: .*{message}"
    ):
        load_weights(build(**changes), "rgb.weights.h5")


# ---- damage


def write_zip(path, name, content, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr(name, content)


def test_damaged_files_are_refused_and_named(rgb):
    whole = Path("rgb.weights.h5").read_bytes()
    Path("text.keras").write_bytes(b"PK no zip")
    Path("zip.keras").write_bytes(b"PK\x03\x04" + bytes(99))
    write_zip("lacks.keras", "config.json", b"{}")
    write_zip("cut.keras", "model.weights.h5", whole[: len(whole) // 2])
    write_checkpoint(Path("a.checkpoint.h5"), Progress(make_record(name="noise", job="noise")))
    for file in ("text.keras", "zip.keras", "cut.keras", "a.checkpoint.h5"):
        for read in (load_weights, start_from):
            with pytest.raises(InputError, match=f"^{file}: damaged, or not Keras's weights"):
                read(rgb, file)
    with pytest.raises(InputError, match=r"lacks.keras: .*a zip without model.weights.h5"):
        start_from(rgb, "lacks.keras")
    for name, content in {
        "link.h5": h5py.ExternalLink("rgb.weights.h5", "/layers"),
        "soft.h5": h5py.SoftLink("/elsewhere"),
    }.items():
        with h5py.File(name, "w") as file:
            file["layers"] = content
        with pytest.raises(InputError, match=f"{name}: .*layers is a link to somewhere else"):
            start_from(rgb, name)
    for missing, what in (("none.h5", "no such"), (".", "is a folder, expected")):
        with pytest.raises(InputError, match=f"^{missing}: {what} HDF5 file of weights"):
            start_from(rgb, missing)


def test_an_entry_of_too_many_bytes_is_not_unpacked(rgb, monkeypatch):
    monkeypatch.setattr("unet.weights.LARGEST_ENTRY", 10**6)
    write_zip("bomb.keras", "model.weights.h5", bytes(10**6 + 1), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="model.weights.h5 of 1,000,001 bytes"):
        load_weights(rgb, "bomb.keras")


def test_terabytes_that_do_not_fit_are_never_read(rgb, capsys):
    with h5py.File("rgb.weights.h5", "r+") as file:
        del file["layers/conv2d_3/vars/0"]
        file.create_dataset("layers/conv2d_3/vars/0", (3, 3, 10**6, 10**6), "f4", chunks=True)
    with pytest.raises(InputError, match=r"\(3, 3, 1000000, 1000000\) there, \(3, 3, 4, 4\) here"):
        load_weights(build(), "rgb.weights.h5")
    start_from(build(), "rgb.weights.h5")
    assert "; anew: conv2d" in capsys.readouterr().out


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(value, rgb):
    with h5py.File("rgb.weights.h5", "r+") as file:
        shape = file["layers/conv2d/vars/0"].shape
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = np.full(shape, value)
    for read in (load_weights, start_from):
        with pytest.raises(InputError, match="conv2d has numbers that are not finite"):
            read(build(), "rgb.weights.h5")


def test_a_run_in_place_of_its_file_is_named(place):
    shutil.copytree(ROOT / "tests/files/weights", "weights")
    hint = "weights/nerve.weights.h5 is that of the run nerve"
    with pytest.raises(InputError, match=f"--weights nerve: no such HDF5 file of weights; {hint}"):
        choose(train.Options(job="noise", weights="nerve"), None)
    with pytest.raises(InputError, match=f"--weights nerve: no such file; {hint}"):
        load_run("nerve", "nerve")
    with pytest.raises(InputError, match="--weights roads: no such HDF5 file of weights$"):
        choose(train.Options(job="noise", weights="roads"), None)


def test_other_weights_of_a_run_are_refused_without_advice_to_train_again(place):
    shutil.copytree(ROOT / "tests/files/weights", "weights")
    get_unet("nerve", filters=(2, 4), bottleneck=4).save_weights("other.weights.h5")
    with pytest.raises(InputError, match=r"other.weights.h5: not weights of .*pass a file of the"):
        load_run("nerve", "other.weights.h5")


# ---- who may read them

READERS = """
import sys
from pathlib import Path
from unet.data.arrays import Rows
from unet.errors import InputError, error_text
from unet.runs import read_record
from unet.training.checkpoint import has_steps, read_progress, read_variables
from unet.weights import open_layers
def layers(path):
    with open_layers(path):
        pass
checkpoint = Path("weights/nerve.checkpoint.h5")
for read in (
    lambda: layers("weights/nerve.weights.h5"),
    lambda: read_progress(checkpoint),
    lambda: read_variables(checkpoint, []),
    lambda: has_steps(checkpoint),
    lambda: read_record("nerve"),
    lambda: Rows("weights/a.npy", "run data.py again"),
):
    try:
        read()
    except (InputError, OSError) as error:
        print(error_text(error))
"""


@pytest.fixture
def barred(place):
    """A run's files, of which none may be read, and what comes before a command that is to obey
    that, which root else need not.
    """
    shutil.copytree(ROOT / "tests/files/weights", "weights")
    np.save("weights/a.npy", np.zeros(3))
    for path in Path("weights").iterdir():
        path.chmod(0)
    if os.name != "posix":
        pytest.skip("others have no such permissions")
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may read all")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def test_a_file_that_may_not_be_read_is_named_as_that(barred):
    command = [*barred, sys.executable, "-c", READERS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    checkpoint = "weights/nerve.checkpoint.h5: Permission denied"
    assert done.stdout.splitlines() == [
        "weights/nerve.weights.h5: Permission denied",
        *[checkpoint] * 3,
        "weights/nerve.json: Permission denied",
        "weights/a.npy: Permission denied",
    ], done.stderr[-3000:]


def test_a_script_names_weights_that_may_not_be_read(barred):
    Path("weights/nerve.json").chmod(0o600)
    command = [*barred, sys.executable, ROOT / "test.py", "nerve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: weights/nerve.weights.h5: Permission denied"]


def test_a_folder_that_may_not_be_written_is_named_before_an_export(place, monkeypatch):
    export = pytest.importorskip("unet.prediction.export")
    Path("closed").mkdir()
    monkeypatch.setattr(export.os, "access", lambda folder, mode: Path(folder).name != "closed")
    message = r"--export closed/new/a.tflite: .*closed cannot be written to"
    with pytest.raises(InputError, match=message):
        export.check_target("closed/new/a.tflite", "litert")


# ---- a run's files under another name


def copy_run(old, new):
    """Copy the files of a run under another name."""
    for path in Path("weights").glob(f"{old}.*"):
        shutil.copy(path, path.with_name(path.name.replace(old, new, 1)))


def test_a_copied_run_has_the_name_of_its_files(place):
    shutil.copytree(ROOT / "tests/files/weights", "weights")
    copy_run("nerve", "roads")
    record = read_record("roads")
    assert (record.name, record.job, record.arrays) == ("roads", "nerve", "nerve")
    assert record.train_command == "python train.py nerve --name roads --arrays nerve"
    assert_same(load_run("roads").networks[0].model, load_run("nerve").networks[0].model)
    copy_run("nerve", "car")
    with pytest.raises(InputError, match=r"car.json: .*job is damaged"):
        read_record("car")


def test_a_copied_cross_validation_is_of_its_own_folds(place):
    with zipfile.ZipFile(ROOT / "tests/files/runs.zip") as archive:
        archive.extractall()
    copy_run("folded", "copy")
    for path in Path("weights").glob("folded*"):
        path.unlink()
    assert read_record("copy").network_names == ["copy.fold1", "copy.fold2"]
    assert [n.record.name for n in load_run("copy").networks] == ["copy.fold1", "copy.fold2"]
    Path("weights/copy.fold2.json").unlink()
    with pytest.raises(InputError, match=r"weights/copy.fold2.json: missing"):
        load_run("copy")


def test_a_checkpoint_under_another_name_says_whose_it_is(place):
    shutil.copytree(ROOT / "tests/files/weights", "weights")
    Path("weights/nerve.checkpoint.h5").rename("weights/roads.checkpoint.h5")
    line = (
        "weights/roads.checkpoint.h5: of the run nerve; rename it back to "
        "weights/nerve.checkpoint.h5 or, if it is a copy, delete it"
    )
    assert line in refusal("train.py", "nerve", "--name", "roads", "--resume")
    Path("weights/roads.checkpoint.h5").rename("weights/roads.finished.h5")
    assert read_progress(Paths("roads").finished_checkpoint) is None


def test_a_copied_record_names_no_file_outside(place):
    shutil.copytree(ROOT / "tests/files/weights", "weights")
    fields = json.loads(Path("weights/nerve.json").read_text())
    for name, fold in (("x", "x.fold1/../../y"), ("../x", "../x.fold1"), ("x", "y.fold1")):
        text = json.dumps({**fields, "name": name, "folds": [{"name": fold}]})
        Path("weights/roads.json").write_text(text)
        with pytest.raises(InputError, match=r"weights/roads.json: not a run of this version"):
            read_record("roads")
