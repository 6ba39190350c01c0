"""What a training of each job and recipe is: the fields of its recipe, its weights of seed 1, and
the loss of their first step on images that are always the same. Printed figures rest on these.

python tests/pins.py    # writes tests/files/pins.json; first measure again what test_figures names
"""

import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
PINS = ROOT / "tests/files/pins.json"


def pin(job, recipe_name):
    """{"recipe": its fields, "weights": {variable: mean, standard deviation and first value},
    "loss": of step 1}.
    """
    import keras
    import numpy as np

    from train import get_unet
    from unet.data.arrays import Arrays
    from unet.data.batches import make_batches
    from unet.data.scale import find_scale
    from unet.jobs import RECIPES
    from unet.training.fit import build_variables

    network, recipe = RECIPES[recipe_name][job].network, RECIPES[recipe_name][job].recipe
    stated = json.loads(json.dumps(asdict(recipe)))
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    model = get_unet(job, replace(network, image_size=(None, None)), recipe, 100)
    found = {}
    for variable in model.trainable_variables:
        values = np.asarray(variable, np.float64)
        numbers = values.mean(), values.std(), values.flat[0]
        found[variable.path] = [round(float(number), 8) for number in numbers]

    length = network.fit_length(96)
    size, rng = (length, length), np.random.default_rng(1)
    y, x = np.mgrid[:length, :length]
    inside = np.stack([(y - 40) ** 2 + (x - at) ** 2 < 400 for at in (36, 60)])[..., None]
    images = rng.integers(0, 128, (2, *size, network.channels)) + 100 * inside
    images, masks = images.astype(np.uint8), np.where(inside, np.uint8(255), np.uint8(0))
    arrays = Arrays(images, masks, images[:0], [], [])
    recipe = replace(recipe, batch_size=2, steps_per_epoch=1, window=size)
    scale = find_scale(images, np.arange(2), recipe.standardize)
    mask_size = tuple(map(network.output_length, size))
    batches, _ = make_batches(arrays, (np.arange(2), []), recipe, scale, 1, (size, mask_size))
    build_variables(model)
    loss = float(model.train_on_batch(*batches[0])[0])
    return {"recipe": stated, "weights": found, "loss": loss}


def main():
    from unet.jobs import RECIPES

    pins = {f"{job} {name}": pin(job, name) for name in RECIPES for job in RECIPES[name]}
    text = json.dumps(pins, indent=1)
    text = re.sub(r"\[\s+(\S+)\s+(\S+)\s+(\S+)\s+\]", r"[\1 \2 \3]", text)  # a line a variable
    PINS.write_text(text + "\n")


if __name__ == "__main__":
    main()
