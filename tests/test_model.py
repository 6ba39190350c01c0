"""The five networks, against the documents' figures and pictures."""

import keras
import numpy as np
import pytest
from conftest import ROOT
from keras import layers

from model import NETWORKS, build_unet, get_model, get_unet
from unet.jobs import MODERN
from unet.layers import BatchNormalization

PARAMETERS = {  # the documents' totals
    "noise": 13_360_593,
    "membrane": 31_030_658,
    "nerve": 7_846_081,
    "car": 3_707_873,
    "cadastre": 1_947_277,
}
SMALL = dict(filters=(4, 6), bottleneck=8, decoder_filters=(), dropout=())


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def source(tensor):
    """The layer that made a tensor."""
    return tensor._keras_history.operation


def convolutions(model):
    return layers_of(model, (layers.Conv2D, layers.Conv2DTranspose))


@pytest.mark.parametrize("job", PARAMETERS)
@pytest.mark.parametrize("image_size", ["document", "any"])
def test_the_parameter_count_is_the_documents(job, image_size):
    changes = {} if image_size == "document" else {"image_size": (None, None)}
    assert get_unet(job, **changes).count_params() == PARAMETERS[job]


def test_the_comments_beside_the_networks_state_their_counts():
    source_text = "".join(path.read_text() for path in (ROOT / "unet/jobs").glob("*.py"))
    for count in PARAMETERS.values():
        assert f"{count:,} parameters" in source_text


def test_variants_have_the_counts_published_elsewhere():
    transposed = get_unet("nerve", upsample="transposed")  # the 2017 form of the nerve tutorial
    assert transposed.count_params() == 7_759_521
    reference = get_unet(
        "cadastre", channels=1, filters=(64, 128, 256, 512), bottleneck=1024,
        batch_normalization=False, head_dropout=0,
    )  # fmt: skip
    assert reference.count_params() == 31_031_685


def test_cadastre_has_its_parameters_layer_by_layer():
    expected = [
        448, 64, 2320, 64, 4640, 128, 9248, 128, 18496, 256, 36928, 256, 73856, 512, 147584, 512,
        295168, 1024, 590080, 1024, 131200, 295040, 512, 147584, 512, 32832, 73792, 256, 36928,
        256, 8224, 18464, 128, 9248, 128, 2064, 4624, 64, 2320, 64, 290, 8, 3,
    ]  # fmt: skip
    model = get_unet("cadastre")
    assert [layer.count_params() for layer in model.layers if layer.weights] == expected
    assert sum(np.prod(weight.shape) for weight in model.non_trainable_weights) == 2948


@pytest.mark.parametrize(
    ("job", "output"),
    [
        ("noise", (160, 160, 1)),
        ("membrane", (388, 388, 2)),
        ("nerve", (64, 80, 1)),
        ("car", (256, 256, 1)),
        ("cadastre", (256, 256, 1)),
    ],
)
def test_the_output_has_the_documents_shape(job, output):
    assert get_unet(job).output_shape == (None, *output)


@pytest.mark.parametrize("job", NETWORKS)
def test_concatenation_has_the_documents_order(job):
    upsampled_first = job in ("noise", "nerve")
    for layer in layers_of(get_unet(job), layers.Concatenate):
        came_up = [
            isinstance(source(tensor), (layers.UpSampling2D, layers.Conv2DTranspose))
            or (job == "cadastre" and source(tensor).kernel_size == (2, 2))
            for tensor in layer.input
            if not isinstance(source(tensor), layers.Dropout)
        ]
        if len(came_up) == 1:  # the other one is a dropout, so a skip
            came_up.insert(0, False)
        assert came_up == [upsampled_first, not upsampled_first]


def test_cadastre_skips_leave_before_normalization_but_after_dropout():
    deepest_first = layers_of(get_unet("cadastre"), layers.Concatenate)
    skips = [source(layer.input[0]) for layer in deepest_first]
    assert [type(skip) for skip in skips] == [layers.Dropout] + 3 * [layers.Conv2D]
    assert [skip.filters for skip in skips[1:]] == [64, 32, 16]
    for skip in skips[
        1:
    ]:  # the second convolution of its level: its input comes from normalization
        assert isinstance(source(skip.input), layers.BatchNormalization)
        assert skip.activation is keras.activations.relu


def test_cadastre_normalizes_with_averages_that_settle_in_short_runs():
    normalizations = layers_of(get_unet("cadastre"), layers.BatchNormalization)
    assert len(normalizations) == 19
    assert {layer.momentum for layer in normalizations} == {0.99}


def test_cadastre_upsamples_by_a_2x2_convolution_without_normalization():
    model = get_unet("cadastre")
    up = [layer for layer in convolutions(model) if layer.kernel_size == (2, 2)]
    assert [layer.filters for layer in up] == [128, 64, 32, 16]
    for layer in up:
        assert isinstance(source(layer.input), layers.UpSampling2D)
        assert source(layer.input).interpolation == "nearest"
        assert layer.activation is keras.activations.relu


def test_cadastre_ends_in_a_two_filter_head_and_mlp_layer():
    model = get_unet("cadastre")
    mlp = model.get_layer("MLP_layer")
    dropout = source(mlp.input)
    normalization = source(dropout.input)
    head = source(normalization.input)
    assert (mlp.filters, mlp.kernel_size) == (1, (1, 1))
    assert (dropout.rate, type(normalization)) == (0.2, BatchNormalization)
    assert (head.filters, head.kernel_size, head.activation.__name__) == (2, (3, 3), "relu")


def test_the_paper_has_23_convolutions_without_padding():
    model = get_unet("membrane")
    assert len(convolutions(model)) == 23
    assert {layer.padding for layer in convolutions(model)[:-1]} == {"valid"}
    assert [layer.cropping[0] for layer in layers_of(model, layers.Cropping2D)] == [
        (4, 4), (16, 16), (40, 40), (88, 88)
    ]  # fmt: skip


@pytest.mark.parametrize("job", ["noise", "nerve", "car", "cadastre"])
def test_the_other_networks_pad(job):
    assert {layer.padding for layer in convolutions(get_unet(job))} == {"same"}


@pytest.mark.parametrize(
    ("job", "places"),
    [
        ("noise", []),
        ("nerve", []),
        ("car", []),
        ("membrane", [(0.5, 512), (0.5, 1024)]),
        ("cadastre", [(0.2, 128), (0.5, 256), (0.2, 2)]),
    ],
)
def test_dropout_stands_where_the_document_has_it(job, places):
    dropouts = layers_of(get_unet(job), layers.Dropout)
    assert [(layer.rate, layer.input.shape[-1]) for layer in dropouts] == places


def test_the_car_network_goes_up_from_its_fourth_pool():
    model = get_unet("car")
    up = layers_of(model, layers.UpSampling2D)
    assert isinstance(source(up[0].input), layers.MaxPooling2D)
    assert {layer.interpolation for layer in up} == {"bilinear"}
    last = convolutions(model)[-2:]
    assert [(layer.filters, layer.kernel_size) for layer in last] == [(32, (3, 3)), (1, (3, 3))]


def test_the_car_network_has_relu_in_layers_of_their_own():
    model = get_unet("car")
    assert {layer.activation.__name__ for layer in convolutions(model)} == {"linear"}
    assert len(layers_of(model, layers.ReLU)) == len(convolutions(model)) - 1


@pytest.mark.parametrize(
    ("job", "initializer"),
    [("noise", "VarianceScaling"), ("nerve", "GlorotUniform"), ("car", "GlorotUniform"),
     ("cadastre", "GlorotUniform"), ("membrane", "VarianceScaling")],
)  # fmt: skip
def test_kernels_start_from_the_documents_distribution(job, initializer):
    model = get_unet(job)
    names = {type(layer.kernel_initializer).__name__ for layer in convolutions(model)}
    assert names == {initializer}


def test_noises_weights_have_the_deviation_of_keras_2_0_4():
    """A normal distribution of sqrt(2 / fan_in), cut at two deviations and not widened again."""
    for layer in convolutions(get_unet("noise")):
        kernel = np.asarray(layer.kernel)
        expected = np.sqrt(2 / np.prod(kernel.shape[:3]))
        assert np.abs(kernel).max() <= 2 * expected
        if kernel.size > 10_000:
            assert kernel.std() == pytest.approx(0.8796 * expected, rel=0.02)


def test_the_papers_weights_are_normal_with_standard_deviation_sqrt_2_over_n():
    for layer in convolutions(get_unet("membrane")):
        kernel = np.asarray(layer.kernel)
        if isinstance(layer, layers.Conv2DTranspose):
            incoming = kernel.shape[3]  # stride 2: one of its 2x2 weights reaches a pixel
        else:
            incoming = np.prod(kernel.shape[:3])
        expected = np.sqrt(2 / incoming)
        if kernel.size > 10_000:
            assert kernel.std() == pytest.approx(expected, rel=0.03)
            assert np.abs(kernel).max() > 2.5 * expected  # not truncated at two deviations


def test_a_size_that_cannot_be_halved_five_times_is_refused():
    with pytest.raises(ValueError, match="multiple of 32; nearest: 96 and 128"):
        get_unet("noise", image_size=(100, 96))


def test_the_papers_network_names_the_sizes_around_one_that_does_not_fit():
    with pytest.raises(ValueError, match="width 512 .* 188 plus a multiple of 16; .* 508 and 524"):
        get_unet("membrane", image_size=(572, 512))
    assert get_unet("membrane", image_size=(188, 524)).output_shape == (None, 4, 340, 2)


def test_a_network_for_any_size_names_the_sizes_around_one_that_does_not_fit():
    model = get_unet("nerve", image_size=(None, None), **SMALL)
    assert model.predict(np.zeros((1, 20, 28, 1)), verbose=0).shape == (1, 20, 28, 1)
    with pytest.raises(ValueError, match="height 30 .* nearest: 28 and 32"):
        model.predict(np.zeros((1, 30, 28, 1)), verbose=0)
    with pytest.raises(ValueError, match="width 30 .* nearest: 28 and 32"):
        model(np.zeros((1, 20, 30, 1)))


def paper_output(length):
    """Output length of the network in the picture; None where a pooling meets an odd one."""
    for _ in range(4):  # down: two convolutions, then halved
        length -= 4
        if length < 2 or length % 2:
            return None
        length //= 2
    length -= 4
    for _ in range(4):
        length = 2 * length - 4
        if length < 1:
            return None
    return length


def test_the_size_arithmetic_is_the_papers():
    assert paper_output(572) == 388
    for length in range(1, 700):
        assert NETWORKS["membrane"].output_length(length) == paper_output(length)


def test_the_size_arithmetic_knows_a_head_without_padding():
    model = get_unet("cadastre", padding="valid", image_size=(204, 220), upsample="transposed")
    expected = [NETWORKS["membrane"].output_length(length) - 2 for length in (204, 220)]
    assert list(model.output_shape[1:3]) == expected
    config = model.config
    assert [config.output_length(length) for length in (204, 220)] == expected


def test_an_unknown_upsampling_is_refused_by_name():
    with pytest.raises(ValueError, match="upsample 'cubic': expected one of nearest"):
        get_unet("nerve", upsample="cubic")


def test_an_unknown_job_is_refused_by_name():
    with pytest.raises(ValueError, match="'nerv': expected one of noise, membrane, nerve"):
        get_unet("nerv")


def test_lists_that_do_not_fit_the_levels_are_refused():
    with pytest.raises(ValueError, match="dropout has 2 entries, 4 levels need 5"):
        get_unet("nerve", dropout=(0.1, 0.2))
    with pytest.raises(ValueError, match="decoder_filters has 5 entries, 2 levels need 2"):
        get_unet("noise", filters=(4, 8))


@pytest.mark.parametrize("job", NETWORKS)
def test_the_last_layer_stays_float32_in_half_precision(job):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = get_unet(job)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    assert model.get_layer(NETWORKS[job].head_name).compute_dtype == "float32"
    assert convolutions(model)[0].compute_dtype == "bfloat16"


def test_two_classes_add_up_to_one():
    model = get_unet("membrane", image_size=(188, 188), filters=(2, 2, 2, 2), bottleneck=2)
    output = model.predict(np.random.default_rng(0).normal(size=(1, 188, 188, 1)), verbose=0)
    np.testing.assert_allclose(output.sum(axis=-1), 1, rtol=1e-5)


class TestGetModel:
    def test_it_loads_weights_from_a_dir_and_a_file(self, place):
        trained = get_model(input_size=(32, 48, 3))
        trained.save_weights("unet.weights.h5")
        for name in ("unet.weights.h5", f"{place}:unet.weights.h5"):
            loaded = get_model(name)
            for old, new in zip(trained.weights, loaded.weights):
                np.testing.assert_array_equal(old, new)

    def test_it_loads_the_hdf5_of_older_keras(self, place):
        trained = get_model(input_size=(32, 48, 3))
        trained.save("weight.hdf5")  # the legacy format, as the document's file has it
        loaded = get_model(f"{place}:weight.hdf5")
        for old, new in zip(trained.weights, loaded.weights):
            np.testing.assert_array_equal(old, new)

    def test_a_missing_file_is_named(self, place):
        with pytest.raises(ValueError, match=r"nowhere/weight.hdf5: no such HDF5 file of weights"):
            get_model("nowhere:weight.hdf5")

    def test_weights_of_another_network_are_refused(self, place):
        get_unet("nerve", **SMALL).save_weights("nerve.weights.h5")
        with pytest.raises(ValueError, match=r"nerve.weights.h5: not weights of this network"):
            get_model("nerve.weights.h5")

    def test_it_is_compiled_as_the_document_has_it(self):
        model = get_model(input_size=(32, None, 1))
        assert model.input_shape == (None, 32, None, 1)
        assert isinstance(model.optimizer, keras.optimizers.Adam)
        assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)
        scores = model.evaluate(
            np.ones((2, 32, 64, 1)), np.ones((2, 32, 64, 1)), verbose=0, return_dict=True
        )
        assert set(scores) == {"loss", "accuracy", "iou_loss"}

    def test_a_size_without_channels_is_refused(self):
        for size in ((256, 256), 256, None, "big"):
            with pytest.raises(ValueError, match="input_size .*: expected height, width and"):
                get_model(input_size=size)
        for size in ((64, 64, None), (64, 64, 0), (64.0, 64, 3), (-1, 64, 3), ("64", 64, 3)):
            with pytest.raises(ValueError, match="expected a whole number of at least 1"):
                get_model(input_size=size)


def test_a_saved_model_comes_back_whole(place):
    model = get_unet("car", image_size=(16, 16), filters=(4, 6), decoder_filters=())
    model.save("car.keras")
    images = np.random.default_rng(0).random((2, 16, 16, 3))
    np.testing.assert_allclose(
        keras.saving.load_model("car.keras").predict(images, verbose=0),
        model.predict(images, verbose=0),
        rtol=1e-6,
    )


def count_by_hand(config):
    """Parameters of a network whose upsampling has none, from its levels' filters."""

    def convolution_3x3(incoming, filters):
        return (9 * incoming + 1) * filters + 4 * filters * config.batch_normalization

    total, x = 0, config.channels
    for filters in config.filters:
        total += convolution_3x3(x, filters) + convolution_3x3(filters, filters)
        x = filters
    if config.bottleneck:
        total += convolution_3x3(x, config.bottleneck)
        total += convolution_3x3(config.bottleneck, config.bottleneck)
        x = config.bottleneck
    levels = list(zip(config.filters, config.decoder_filters or config.filters))
    for level, (skip, filters) in reversed(list(enumerate(levels))):
        total += convolution_3x3(x + skip, filters)
        if level or config.top_convolutions == 2:
            total += convolution_3x3(filters, filters)
        x = filters
    return total + (config.head_kernel**2 * x + 1) * config.classes


MODERN_PARAMETERS = {
    "noise": 836_865,
    "membrane": 1_968_225,
    "nerve": 7_857_857,
    "car": 4_920_497,
    "cadastre": 1_968_513,
    "own": 1_968_513,
}


@pytest.mark.parametrize("job", MODERN)
def test_the_modern_networks_have_as_many_parameters_as_counted_by_hand(job):
    config = MODERN[job].network
    assert build_unet(config).count_params() == count_by_hand(config) == MODERN_PARAMETERS[job]
    assert count_by_hand(NETWORKS["nerve"]) == PARAMETERS["nerve"]


def test_batch_normalization_trains_as_keras_does():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (4, 6, 5, 7)).astype(np.float32)
    results = []
    for kind in (layers.BatchNormalization, BatchNormalization):
        layer = kind(momentum=0.9)
        model = keras.Sequential([keras.Input(x.shape[1:]), layer, layers.Flatten()])
        layer.gamma.assign(np.linspace(0.5, 2, 7))
        model.compile(keras.optimizers.SGD(1.0), "mse")
        outputs = np.asarray(layer(x, training=True))
        model.train_on_batch(x, np.sin(np.arange(4 * 210)).reshape(4, 210).astype(np.float32))
        results.append([outputs, *map(np.asarray, layer.weights), np.asarray(layer(x))])
    *same, variances, last = zip(*results)
    for keras_own, ours in same[:4]:  # outputs, gamma and beta after a step, moving mean
        np.testing.assert_allclose(ours, keras_own, atol=2e-5)
    # The fused operation's moving variance is the unbiased one, by 120 / 119.
    np.testing.assert_allclose(*variances, rtol=1e-2)
    np.testing.assert_allclose(*last, atol=2e-2)
