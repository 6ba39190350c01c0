"""Segment shapes on noise, after training on one image.

Command: python train.py noise. Document's recipe: 8 minutes on one core, Dice 0.969 on new images.
Modern recipe: 2 minutes, Dice 0.988. benchmarks/RESULTS.md has the runs behind these means.
"""

from dataclasses import replace

from unet.jobs.settings import SHORT, Augmentation, Job, Recipe, UNetConfig

SHAPES, FILLS = ("circle", "rectangle"), ("noise", "constant")
PLACEMENTS = ("document", "anywhere")  # of circles
NUM_VALIDATION, NUM_TEST = 100, 100  # images

DOCUMENT = Job(  # 13,360,593 parameters
    UNetConfig(
        (160, 160),
        1,
        (32, 64, 128, 256, 512),
        bottleneck=512,
        decoder_filters=(16, 32, 64, 128, 256),
        skip_first=False,
        initializer="he_truncated",  # he_normal as Keras 2.0.4 has it
    ),
    Recipe(
        "sgd",
        learning_rate=1e-3,
        loss="dice",
        batch_size=1,
        epochs=20,
        repeats=100,
        standardize="set",
        keep="last",
    ),
    image_size=(160, 160),
    raw="",
)
MODERN = replace(  # 836,865 parameters
    DOCUMENT,
    network=replace(
        DOCUMENT.network,
        filters=(8, 16, 32, 64, 128),
        bottleneck=128,
        decoder_filters=(8, 8, 16, 32, 64),
        initializer="he_normal",
    ),
    recipe=replace(
        SHORT,
        epochs=20,
        augmentation=Augmentation(symmetry="turns", shift=0.5, wrap=True),
        decide=False,  # its validation images are there to be looked at, not to be fitted
    ),
)
