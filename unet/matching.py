"""The layers of two networks that stand for each other, by their shapes, and how they differ; no
Keras.
"""

import operator
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

import numpy as np

MOST_NAMED = 3  # layers, in what is said of a file
OF_ANOTHER = "it is of another job, recipe or --set network..."


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with weights, of a network or in a file.

    kind: Keras's name of its class, "conv2d"; "" in a file of older Keras, which has the network's
    order. weights: variables, or data sets, of which nothing but the shape has been read.
    """

    name: str
    kind: str
    weights: list

    @property
    def shapes(self):
        return tuple(tuple(weight.shape) for weight in self.weights)

    @property
    def ranks(self):
        return tuple(map(len, self.shapes))

    def fits(self, other):
        return other is not None and self.shapes == other.shapes

    def fits_but(self, axis, other):
        """True where its kernel and that of another layer differ in one axis at most."""
        if other is None or self.ranks != other.ranks or self.ranks[0] != 4:
            return False
        axes = [n for n in range(4) if n != axis]
        return all(self.shapes[0][n] == other.shapes[0][n] for n in axes)

    def is_adapted(self, other):
        """True where another layer, first of its network, does for images of other channels."""
        return self.fits_but(2, other) and self.shapes[1:] == other.shapes[1:]


def leaf_layers(model):
    """The layers of a Keras network, in its order, those of a network inside it in its place."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from leaf_layers(layer)
        else:
            yield layer


def natural(name):
    """Sort key that puts conv2d_10 after conv2d_2."""
    return [int(p) if n % 2 else p for n, p in enumerate(re.split("([0-9]+)", name))]


def place_layers(layers, stored):
    """[(Layer of a network, that of a file in its place, or None)]: in order within each kind, the
    longest runs of the same shapes first; the first of both stand for each other, whatever the
    channels of their images.
    """
    kind_of = operator.attrgetter("kind" if all(s.kind for s in stored) else "ranks")
    places = {}
    for kind in dict.fromkeys(map(kind_of, layers)):
        own = [layer for layer in layers if kind_of(layer) == kind]
        other = [layer for layer in stored if kind_of(layer) == kind]
        if other and own[0] is layers[0] and own[0].is_adapted(other[0]):
            places[own.pop(0).name] = other.pop(0)
        shapes = [[layer.shapes for layer in part] for part in (own, other)]
        matcher = SequenceMatcher(None, *shapes, autojunk=False)
        for _, first, last, start, end in matcher.get_opcodes():
            # Between those of the same shape the others lie as they come.
            pairs = zip_longest(own[first:last], other[start:end])
            places.update((layer.name, there) for layer, there in pairs if layer)
    return [(layer, places[layer.name]) for layer in layers]


def adapt(kernel, channels):
    """A kernel (h, w, C, filters) for images of other channels: the sum over its own, divided
    equally.
    """
    total = kernel.sum(axis=2, keepdims=True, dtype=np.float64)
    return np.repeat(total / channels, channels, axis=2)


def find_mismatch(pairs, stored):
    """First difference between a file's network and the one that its layers are placed in, and its
    likely reason; None where they are the same.
    """
    for own, other in pairs:
        if own.fits(other):
            continue
        reason = OF_ANOTHER
        if own is pairs[0][0] and own.fits_but(2, other):
            there, here = other.shapes[0][2], own.shapes[0][2]
            reason = f"it is for images of {there} channels, not {here}"
        elif own is pairs[-1][0] and own.fits_but(3, other):
            reason = "it is for other classes"
        return f"{difference(own, other)}; {reason}"
    unused = left_over(pairs, stored)
    return f"{unused} there, none here; {OF_ANOTHER}" if unused else None


def describe_taken(pairs, stored):
    """Summary of what is taken of a file whose layers are placed in a network, and of what starts
    from random weights.
    """
    first, first_there = pairs[0]
    used = [(own, other) for own, other in pairs if own.fits(other)]
    said = [f"{len(used)} of {len(pairs)} layers taken"]
    if first.is_adapted(first_there) and not first.fits(first_there):
        there, here = first_there.shapes[0][2], first.shapes[0][2]
        said.append(f"{first.name}: channels adapted, {there} there, {here} here")
        used.append(pairs[0])
    if anew := [difference(*pair) for pair in pairs if pair not in used]:
        said.append(f"anew: {shortened(anew)}")
    if unused := left_over(pairs, stored):
        said.append(f"not used: {unused}")
    return "; ".join(said)


def difference(own, other):
    """The first shape in which a layer of the network differs from that of a file, None where
    that has no such, for a reader.
    """
    shapes = zip_longest(other.shapes if other else (), own.shapes)
    there, here = next(pair for pair in shapes if pair[0] != pair[1])
    return f"{own.name}, {there or 'none'} there, {here or 'none'} here"


def left_over(pairs, stored):
    """The Layers of a file that are in no pair, for a reader; "" where all are."""
    used = {other for _, other in pairs}
    left = [layer for layer in stored if layer not in used]
    return shortened([f"{layer.name}, {layer.shapes[0]}" for layer in left])


def shortened(texts):
    more = len(texts) - MOST_NAMED
    return "; ".join(texts[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
