"""Kaggle's ultrasound nerve segmentation.

Command: python train.py nerve. Document's recipe: 9 minutes on one core, Dice 0.390 on held-out
images. Modern recipe: 15 minutes, Dice 0.724. benchmarks/RESULTS.md has the runs.
"""

from dataclasses import replace

from unet.jobs.settings import NORMALIZED, SHORT, Augmentation, Job, Recipe, Submission, UNetConfig

# Kaggle's subjects that are one patient: they share frames, 17_7 and 18_44 to the pixel.
SAME_PATIENT = {"18": "17", "22": "21"}
DOCUMENT = Job(  # 7,846,081 parameters
    UNetConfig((64, 80), 1, (32, 64, 128, 256), bottleneck=512, skip_first=False),
    Recipe(
        "adam",
        learning_rate=1e-5,
        loss="negative_dice",
        batch_size=32,
        epochs=20,
        metrics=("dice_coef", "dice_per_image"),
        validation_split=0,
    ),
    image_size=(64, 80),
    raw="--raw DIR|ZIP with train/S_N.tif, train/S_N_mask.tif and test/N.tif",
    submission=Submission(("img", "pixels"), columns_first=True, min_pixels=10, extension=False),
)
MODERN = replace(  # 7,857,857 parameters
    DOCUMENT,
    network=replace(DOCUMENT.network, **NORMALIZED),
    recipe=replace(
        SHORT,
        loss="bce_image_dice",
        batch_size=16,
        epochs=20,
        steps_per_epoch=None,
        standardize="image",
        augmentation=Augmentation(
            shift=0.1,
            rotation=15.0,
            scale=0.2,
            elastic=2.0,
            contrast=0.2,
            brightness=0.1,
            gamma=0.3,
        ),
    ),
    image_size=(96, 128),
)
