"""The U-Net paper on cell membranes, arXiv 1505.04597.

Command: python train.py membrane. Document's recipe: 20 steps take 2 minutes on one core, Dice
0.633. Modern recipe: 17 minutes, Dice 0.950. benchmarks/RESULTS.md has the runs.

Not stated there: the rate, the number of epochs, the dropout rate (0.5 is that of the network that
the authors published).
"""

from dataclasses import replace

from unet.jobs.settings import NARROW, SHORT, Augmentation, Job, Recipe, UNetConfig

DOCUMENT = Job(  # 31,030,658 parameters
    UNetConfig(
        (572, 572),
        1,
        (64, 128, 256, 512),
        bottleneck=1024,
        classes=2,
        padding="valid",
        upsample="transposed",
        initializer="he_untruncated",
        dropout=(0, 0, 0, 0.5, 0.5),
    ),
    Recipe(
        "sgd",
        learning_rate=1e-3,
        loss="weighted_cross_entropy",
        batch_size=1,
        epochs=20,
        momentum=0.99,
        metrics=("accuracy", "dice_per_image"),
        window=(572, 572),
        augmentation=Augmentation(
            shift=0.5, rotation=180, elastic=10, contrast=0.1, brightness=0.1
        ),
    ),
    image_size=None,
    raw="--raw DIR with train-volume.tif and train-labels.tif, or --images DIR --masks DIR",
)
MODERN = replace(  # 1,968,225 parameters
    DOCUMENT,
    network=UNetConfig((256, 256), 1, **NARROW),
    recipe=replace(
        SHORT,
        epochs=20,
        window=(256, 256),
        augmentation=Augmentation("turns", contrast=0.1, brightness=0.05),
    ),
)
