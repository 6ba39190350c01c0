"""Pairs of images and masks, by their names."""

import collections
import math
import os
import re
from dataclasses import dataclass

from unet.errors import InputError

IMAGE_WORD = r"images?|imgs?|photos?|jpegimages|inputs?|originals?|raw"
MASK_WORD = (
    r"masks?|labels?|labelled|gts?|groundtruths?|seg|segmentations?|segmentationclass|annotations?"
    r"|annots?|manual\d*|truths?|targets?"
)
SAMPLES = 5  # names of a side that rules are looked for with
IN_FOLDERS = "a mask of the same name in each folder"
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Rule:
    """Change of an image's name to its mask's: at its start, at its end or once inside `old`
    becomes `new`; each a pair (old, new).
    """

    start: tuple[str, str] = ("", "")
    end: tuple[str, str] = ("", "")
    inside: tuple[str, str] | None = None

    def apply(self, name):
        """The mask's name, None for an image's that does not fit."""
        if self.inside:
            return name.replace(*self.inside) if name.count(self.inside[0]) == 1 else None
        (start, new_start), (end, new_end) = self.start, self.end
        is_fit = name.startswith(start) and name.endswith(end)
        if not is_fit or len(name) < len(start) + len(end):
            return None
        return f"{new_start}{name[len(start) : len(name) - len(end)]}{new_end}"

    @property
    def is_numbering(self):
        """True where only digits differ: 1 and 11 are two images, not an image and its mask."""
        changes = []
        for old, new in filter(None, (self.start, self.end, self.inside)):
            start = len(os.path.commonprefix([old, new]))
            end = len(os.path.commonprefix([old[start:][::-1], new[start:][::-1]]))
            changes += [old[start : len(old) - end], new[start : len(new) - end]]
        return any(changes) and not re.search(r"\D", "".join(changes))

    @property
    def text(self):
        """The rule for a reader: "* / *_mask"."""
        if self == SAME:
            return "the same names"
        if self.inside:
            return f"*{self.inside[0]}* / *{self.inside[1]}*"
        return " / ".join(f"{self.start[n]}*{self.end[n]}" for n in (0, 1))


SAME = Rule()


@dataclass(frozen=True)
class Pairs:
    """The masks of each image that has any, names in tuples, and the rule in words."""

    masks: dict
    rule: str


def pair_names(images, masks, missing=False, unused=False):
    """The Pairs of images' and masks' names, by the one rule that fits all of them. Both are dicts
    of names and paths.

    missing: images may be without a mask; unused: masks without an image. A rule that leads from
    each image to one mask comes first, then masks whose names begin with the image's or that lie
    in its folder, several an image. Raises InputError where no rule or more than one fits.
    """
    for may in dict.fromkeys([(False, False), (missing, unused)]):
        found = []
        for form in FORMS:
            pairs = pair_in_form(form, images, masks, *may)
            if pairs and len(pairs.masks) == len(images):
                return pairs
            found += [pairs] if pairs else []
        if found:
            return max(found, key=lambda pairs: len(pairs.masks))
    raise InputError(why_unpaired(images, masks))


def pair_in_form(form, images, masks, missing, unused):
    """The Pairs of names in one of FORMS; None where no rule fits."""
    image_of, mask_of = ({form(name): name for name in names} for names in (images, masks))
    if len(image_of) < len(images) or len(mask_of) < len(masks):
        return None  # names that only capitals or zeros tell apart
    found = fitting_rules(image_of, mask_of, missing, unused)
    if len(found) > 1 and SAME not in found:
        (first, pairs), (second, others) = list(found.items())[:2]
        name = next(name for name in image_of if pairs.get(name) != others.get(name))
        two = " or ".join(masks[mask_of[p[name]]] for p in (pairs, others) if name in p)
        raise InputError(
            f"two rules of names fit: {first.text}, and {second.text}; {images[image_of[name]]} "
            f"would have {two}; {HOW}{describe_channels(images, [image_of[a] for a in pairs])}"
        )
    if found:
        rule = SAME if SAME in found else next(iter(found))
        pairs = {image_of[a]: (mask_of[b],) for a, b in found[rule].items()}
        return Pairs(pairs, rule.text + FORMS[form])
    return pair_several(image_of, mask_of, missing)


HOW = (
    "say which belong together with --table FILE, a CSV of columns image and mask, or with "
    "patterns such as --masks 'masks/*_one.png'"
)


def why_unpaired(images, masks):
    """The fault of names that do not pair, and what to do."""
    most = Pairs({}, "")
    for form in FORMS:
        names = {form(name): name for name in images}, {form(name): name for name in masks}
        for rule, pairs in rules(*names).items():
            if len(pairs) > len(most.masks):
                of_names = {names[0][a]: (names[1][b],) for a, b in pairs.items()}
                most = Pairs(of_names, rule.text)
    if len(most.masks) < max(2, min(len(images), len(masks)) // 2):
        return (
            f"no one rule leads from the images' names to the masks', such as "
            f"{next(iter(images.values()))} and {next(iter(masks.values()))}; {HOW}"
        )
    used = {mask for of_image in most.masks.values() for mask in of_image}
    alone = [path for name, path in images.items() if name not in most.masks]
    over = [path for name, path in masks.items() if name not in used]
    rule, count = f"{len(most.masks)} pair as {most.rule}", len(alone or over)
    more = f" (and {count - 1} more)" if count > 1 else ""
    if not alone:
        return f"{over[0]}: mask without an image{more}; {rule}. Pass --skip-bad to leave it out"
    spare = f", mask {over[0]} without an image" if over else ""
    return (
        f"{alone[0]}: image without a mask{more}{spare}; {rule}. Pass --missing-is-empty if "
        "it shows nothing of what is looked for, --skip-bad to leave it out"
        f"{describe_channels(images, most.masks)}"
    )


def describe_channels(images, paired):
    """What to do where images, {name: path}, that are not among the names of those `paired` with a
    mask look like their other channels, as 7_green beside 7_red, whose mask is 7; "" else.
    """
    stem_of = {name: re.sub(r"[_\W][^_\W]*$", "", name) for name in images}
    stems = {stem_of[name]: images[name] for name in paired}
    if not len(paired) == len(stems) == len(set(stem_of.values())):
        return ""
    stem, path = next(iter(stems.items()))
    folder, _, rest = path.rpartition(stem)
    return (
        "; where each file is one channel of an image, save its files as one, RGB, or take one "
        f"channel with --images '{folder}{re.sub('[^/]+', '*', stem)}{rest}'"
    )


def unpadded(name):
    """A name without regard to capitals and zeros before numbers."""
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), name.casefold())


# In which names are compared, and how the rule then says so.
FORMS = {str: "", str.casefold: ", capitals apart", unpadded: ", zeros before numbers apart"}


def fitting_rules(images, masks, missing, unused):
    """{Rule: {image: mask}} of those that fit all names, each with other pairs; with missing or
    unused of those with the most pairs.
    """
    found = {}
    for rule, pairs in rules(images, masks).items():
        is_full = len(pairs) == len(images) or missing or unused
        if is_full and (len(pairs) == len(masks) or unused) and pairs not in found.values():
            found[rule] = pairs
    most = max(map(len, found.values()), default=0)
    if unused and most < max(1, min(len(images), len(masks)) // 2):
        return {}
    return {rule: pairs for rule, pairs in found.items() if len(pairs) == most}


def rules(images, masks):
    """{Rule: {image: mask}} of every rule that leads from some images to masks: names as they are,
    what all images have at their ends for what all masks have there, and what tells one image from
    one mask, the same for two of them at least.
    """
    names, others = list(images), list(masks)
    starts = [os.path.commonprefix(side) for side in (names, others)]
    ends = [
        os.path.commonprefix([name[len(start) :][::-1] for name in side])[::-1]
        for side, start in zip((names, others), starts)
    ]
    same_start = len(os.path.commonprefix([start[::-1] for start in starts]))
    same_end = len(os.path.commonprefix(ends))
    affixes = Rule(
        tuple(start[: len(start) - same_start] for start in starts),
        tuple(end[same_end:] for end in ends),
    )
    candidates = dict.fromkeys([SAME, affixes])
    if len(pair_up(SAME, names, masks)) < max(len(names), len(others)):
        for few, all_others in ((names, masks), (others, images)):
            samples = few[:: math.ceil(len(few) / SAMPLES)]
            counts = collections.Counter()
            for name in samples:
                pairs = [(name, other) if few is names else (other, name) for other in all_others]
                counts.update(
                    dict.fromkeys((rule for pair in pairs for rule in substitutions(*pair)), 1)
                )
            least = min(2, len(samples))
            candidates |= {rule: None for rule, count in counts.items() if count >= least}
    found = {rule: pair_up(rule, names, masks) for rule in candidates if not rule.is_numbering}
    return {rule: pairs for rule, pairs in found.items() if pairs}


def pair_up(rule, images, masks):
    """{image: mask} by a rule; {} where it leads from two images to one mask."""
    pairs = {name: rule.apply(name) for name in images}
    pairs = {name: mask for name, mask in pairs.items() if mask in masks}
    return pairs if len(set(pairs.values())) == len(pairs) else {}


def substitutions(image, mask):
    """Rules that make of one image's name one mask's, what they share being as long as can be."""
    for is_start_first in (True, False):
        first, second = (image, mask) if is_start_first else (image[::-1], mask[::-1])
        start = len(os.path.commonprefix([first, second]))
        end = len(os.path.commonprefix([first[start:][::-1], second[start:][::-1]]))
        if not start + end:
            return
        old, new = (name[start : len(name) - end] for name in (first, second))
        if not is_start_first:
            start, end, old, new = end, start, old[::-1], new[::-1]
        if not start:
            yield Rule(start=(old, new))
        elif not end:
            yield Rule(end=(old, new))
        elif old:
            yield Rule(inside=(old, new))


def pair_several(images, masks, missing):
    """The Pairs of images with several masks: in the image's folder, or with names that begin with
    the image's, or of its name in a folder each. None where that does not hold of all.
    """
    in_folder = {folder_of(name): name for name in images}
    if "" in in_folder or len(in_folder) < len(images):
        in_folder = {}
    bare = {bare_name(name): name for name in images}
    last = {name.rpartition("/")[2]: name for name in images}
    if len(last) < len(images):
        last = {}
    for owner_of, text in (
        (lambda mask: in_folder.get(folder_of(mask)), "the masks in an image's folder"),
        (lambda mask: bare.get(beginning_of(mask, bare)), "masks that begin with an image's name"),
        (lambda mask: last.get(mask.rpartition("/")[2]) if "/" in mask else None, IN_FOLDERS),
    ):
        owners = {mask: owner_of(mask) for mask in masks}
        found = collections.defaultdict(list)
        for mask, owner in owners.items():
            found[owner].append(masks[mask])
        if None not in found and (len(found) == len(images) or missing):
            return Pairs(
                {images[name]: tuple(found[name]) for name in images if name in found}, text
            )
    return None


def folder_of(name):
    """The folder of an image or mask, without the parts that only say which of both it is."""
    words = f"{IMAGE_WORD}|{MASK_WORD}"
    return "/".join(f for f in name.split("/")[:-1] if not re.fullmatch(words, f.casefold()))


def bare_name(name):
    """A name in the folder that folder_of says."""
    return f"{folder_of(name)}/{name.rpartition('/')[2]}"


def beginning_of(mask, bare):
    """The longest of bare names that a mask's begins with, not cut within a word or number; None
    of none.
    """
    name = bare_name(mask)
    for end in range(len(name), 0, -1):
        is_cut = end < len(name) and name[end].isalnum() and name[end - 1].isalnum()
        if not is_cut and name[:end] in bare:
            return name[:end]
    return None


def is_mask_name(name):
    """True for a name, below a folder of images and masks, that says that it is a mask's."""
    for part in reversed(name.casefold().split("/")):  # the nearest folder decides
        for word, is_mask in ((MASK_WORD, True), (IMAGE_WORD, False)):
            if re.search(rf"(?<![^\W\d_])(?:{word})(?![^\W\d_])", part):
                return is_mask
    return False


def split_of(names):
    """{name: "train", "validation" or "test"} by the folders of these names; {} where none says
    so of several.
    """
    for depth in range(3):
        parts = {name: name.casefold().split("/") for name in names}
        found = {name: SPLITS.get(p[depth]) for name, p in parts.items() if len(p) > depth + 1}
        if (
            len(found) == len(names)
            and None not in found.values()
            and len(set(found.values())) > 1
        ):
            return found
    return {}
