"""The five jobs, a file a document: its network and its two recipes. Nothing heavy is imported.

JOBS are what the documents say; MODERN is the best that we know today on the same network family
and the same data: what each part brings, and what was tried and left out, stands in
benchmarks/RESULTS.md.
"""

from unet.jobs import cadastre, car, membrane, nerve, noise

JOBS = {
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
}
RECIPES = {"document": JOBS, "modern": MODERN}
