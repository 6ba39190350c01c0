"""Cars against their background, Carvana.

Command: python train.py car. Document's recipe: 15 minutes an epoch on two cores, Dice 0.917 after
one. Modern recipe: 1 minute on a graphics card, Dice 0.986. benchmarks/RESULTS.md has the runs.

Not stated in the document: Adam's rate, so Keras's default, and the filters of the levels between
those that it prints, which double.
"""

from dataclasses import replace

from unet.jobs.settings import NARROW, SHORT, Augmentation, Job, Recipe, UNetConfig

DOCUMENT = Job(  # 3,707,873 parameters
    UNetConfig(
        (256, 256),
        3,
        (32, 64, 128, 256),
        bottleneck=0,
        top_convolutions=1,
        upsample="bilinear",
        separate_relu=True,
        head_kernel=3,
    ),
    Recipe(
        "adam",
        learning_rate=1e-3,
        loss="binary_cross_entropy",
        batch_size=16,
        epochs=100,
        steps_per_epoch=100,
        validation_steps=50,
        metrics=("accuracy", "dice_per_image"),
        standardize="none",
    ),
    image_size=(256, 256),
    raw="--raw DIR|ZIP with train/ID_VV.jpg, train_masks/ID_VV_mask.gif and test/ID_VV.jpg",
)
MODERN = replace(  # 4,920,497 parameters
    DOCUMENT,
    network=replace(DOCUMENT.network, **{**NARROW, "filters": (16, 32, 64, 128, 256)}),
    image_size=(320, 480),
    recipe=replace(
        SHORT,
        epochs=15,
        augmentation=Augmentation(
            "mirror", shift=0.05, rotation=5.0, scale=0.1, contrast=0.1, brightness=0.05
        ),
    ),
)
