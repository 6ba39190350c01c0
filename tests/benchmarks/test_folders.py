"""Four folders as people bring them: files, masks, and that nothing simple solves them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import refusal, run_well
from PIL import Image

from benchmarks import folders, lines

SHAPES = {
    "cracks": {(1200, 1600, 3)},
    "cells": {(256, 256), (260, 347), (360, 360, 3)},
    "classes": {(320, 480, 3)},
    "vessels": {(584, 565, 3)},
}
SHARES = {  # least and most of the pixels of a value, where an image has it
    "cracks": {255: (0.01, 0.03)},
    "cells": {255: (0.005, 0.6)},
    "classes": {1: (0.03, 0.6), 2: (0.005, 0.05)},
    "vessels": {255: (0.05, 0.15)},
}


def read(path):
    """Pixels as stored; of a gif those that its table of colours says."""
    if path.suffix == ".gif":
        return np.array(Image.open(path).convert("L"))
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def best_threshold_dice(grey, mask):
    """Dice of the best of 32 thresholds, with what is above or below it as foreground."""
    scores = []
    for threshold in np.linspace(0, 255, 34)[1:-1]:
        for chosen in (grey >= threshold, grey < threshold):
            scores.append(2 * (chosen & mask).sum() / (chosen.sum() + mask.sum()))
    return max(scores)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    output = run_well("-m benchmarks.folders", "--output", root, "--tiny")
    assert [line.split(": ")[1] for line in output.splitlines()] == ["3 images and 1 new ones"] * 4
    return root


@pytest.mark.parametrize("name", folders.FOLDERS)
class TestDrawn:
    def pairs(self, root, name):
        """[(image, mask)] of a folder, those for the test last."""
        pairs = []
        for kind in ("", "new_"):
            images, masks = (
                sorted((root / name / f"{kind}{what}").iterdir()) for what in ("images", "masks")
            )
            assert [path.stem for path in images] == [path.stem for path in masks]
            pairs += [(read(image), read(mask)) for image, mask in zip(images, masks)]
        return pairs

    def test_every_image_has_a_mask_of_its_size(self, drawn, name):
        pairs = self.pairs(drawn, name)
        assert len(pairs) == 4
        assert {image.shape for image, _ in pairs} == SHAPES[name]
        for image, mask in pairs:
            assert image.dtype == mask.dtype == np.uint8
            assert mask.shape == image.shape[:2]

    def test_masks_have_the_stated_values_and_shares(self, drawn, name):
        for number, (_, mask) in enumerate(self.pairs(drawn, name), 1):
            if name == "cracks" and number in lines.EMPTY:
                assert not mask.any()
                continue
            assert set(np.unique(mask)) == {0, *SHARES[name]}
            for value, (least, most) in SHARES[name].items():
                assert least <= (mask == value).mean() <= most

    def test_no_threshold_finds_the_foreground(self, drawn, name):
        scores = []
        for image, mask in self.pairs(drawn, name):
            grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            if mask.any():
                scores.append(best_threshold_dice(grey, mask > 0))
        assert np.mean(scores) < (0.4 if name in ("cracks", "vessels") else 0.85)

    def test_a_number_and_a_seed_make_one_image(self, drawn, name):
        folder = folders.FOLDERS[name]
        image, mask = folder.draw(1, 1)
        np.testing.assert_array_equal(read(drawn / name / "masks" / f"001{folder.mask}"), mask)
        for pixels, same in zip((image, mask), folder.draw(1, 1)):
            np.testing.assert_array_equal(pixels, same)
        assert (folder.draw(2, 1)[1] != mask).any()


def test_a_folder_that_is_there_is_left_as_it_is(place):
    Path("out/cells").mkdir(parents=True)
    line = refusal("-m benchmarks.folders", "--output", "out", "--tiny")
    assert "out/cells: is there already; pass another --output" in line
    assert not Path("out/cracks").exists()
