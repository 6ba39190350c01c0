"""The five documents, a file each with its network and its two recipes, and images of one's own.
Nothing heavy is imported.

DOCUMENT recipes are what the documents say; MODERN is the best that we know today on the same
network family and the same data: what each part brings, and what was tried and left out, stands in
benchmarks/RESULTS.md.
"""

from unet.errors import InputError
from unet.jobs import cadastre, car, membrane, nerve, noise, own

DOCUMENT = {
    "noise": noise.DOCUMENT,
    "membrane": membrane.DOCUMENT,
    "nerve": nerve.DOCUMENT,
    "car": car.DOCUMENT,
    "cadastre": cadastre.DOCUMENT,
}
MODERN = {
    "noise": noise.MODERN,
    "membrane": membrane.MODERN,
    "nerve": nerve.MODERN,
    "car": car.MODERN,
    "cadastre": cadastre.MODERN,
    "own": own.JOB,  # to which the data add what they need
}
RECIPES = {"document": DOCUMENT, "modern": MODERN}
JOBS = {**DOCUMENT, "own": own.JOB}


def choose_recipe(job, recipe=None):
    """The key of RECIPES for a job: the one that is asked for, else the document's where it has
    one. Raises InputError where it has none.
    """
    if recipe is None:
        return "document" if job in DOCUMENT else "modern"
    if job not in RECIPES[recipe]:
        raise InputError(f"--recipe {recipe}: {job} follows no document; leave it out")
    return recipe
