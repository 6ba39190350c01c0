"""Satellite cadastre, "why does mine not converge?".

Command: python train.py cadastre. Document's recipe: 9 minutes on one core, Dice 0.612 on held-out
tiles. Modern recipe: 1 minute on a graphics card, Dice 0.837. benchmarks/RESULTS.md has the runs.

Not stated in the document: the number of epochs, the share held out. It keeps no weights on the
way, so those of the end are what it has.
"""

from dataclasses import replace

from unet.jobs.settings import NARROW, SHORT, Augmentation, Job, Recipe, UNetConfig

DOCUMENT = Job(  # 1,947,277 parameters
    UNetConfig(
        (256, 256),
        3,
        (16, 32, 64, 128),
        bottleneck=256,
        upsample="nearest_convolution",
        batch_normalization=True,
        dropout=(0, 0, 0, 0.2, 0.5),
        head_filters=2,
        head_dropout=0.2,
        head_name="MLP_layer",
    ),
    Recipe(
        "adam",
        learning_rate=1e-3,
        loss="binary_cross_entropy",
        batch_size=8,
        epochs=80,
        metrics=("accuracy", "iou_loss", "dice_per_image"),
        standardize="none",
        keep="last",
    ),
    image_size=(256, 256),
)
MODERN = replace(  # 1,968,513 parameters
    DOCUMENT,
    network=UNetConfig((256, 256), 3, **NARROW),
    recipe=replace(
        SHORT, epochs=28, window=(256, 256), augmentation=Augmentation("turns", color=0.3)
    ),
    image_size=None,
)
