"""What data.py says of the arrays that it wrote, and train.py again: output/NAME/report.json."""

import dataclasses
import itertools
import json
import math
from dataclasses import dataclass

import cv2
import numpy as np

from unet.data.alignment import Alignment, find_alignment
from unet.data.arrays import FILES_HEADER, IMAGES, MASKS, Arrays, Rows
from unet.data.copies import MOST_ROWS, find_copies, join_subjects, thumbnail
from unet.errors import InputError
from unet.machine.terminal import map_in_threads, with_progress
from unet.runs import Paths

REPORT = "report.json"  # in output/NAME
LEAST_SUBJECTS = 5  # fewer are too few to hold some of them out, and for folds
WARNING = "warning: "
# Masks that are MOSTLY foreground, along their border too, look inverted where they are at most
# FEW of a set and all others have a share at least GAP below theirs; tiles of roads or fields have
# every share.
MOSTLY, FEW, GAP = 0.5, 0.2, 0.2
# Bytes of the images that a thread looks at; memory for 2**21 is mapped anew each time, which
# takes as long as the looking.
BLOCK = 2**19
MOST_MARKED = 4  # rows that the picture shows for what is wrong with them
MOST_NAMED = 3  # in a line


@dataclass(frozen=True)
class Look:
    """What one row looks like. counts: pixels of each class, background and foreground where there
    are no others, whose share along the mask's border is `border` then.
    """

    thumbnail: np.ndarray | None  # of the first MOST_ROWS rows
    counts: np.ndarray
    border: float
    is_flat: bool

    @property
    def share(self):
        """Of what is no background in all pixels that count."""
        return float(1 - self.counts[0] / max(self.counts.sum(), 1)) if self.counts.any() else 0.0


@dataclass(frozen=True)
class Facts:
    """What is noticed in arrays. Ids are those of files.csv; shares are 0 to 1."""

    num_images: int
    num_subjects: int  # after those that share copies are joined
    is_split: bool  # the files say what validation is
    num_empty: int
    num_full: int
    shares: tuple[float, ...]  # least, mean and most of the masks that are not empty
    class_shares: dict  # {name: share of all pixels}, where there are more than two classes
    inverted: tuple[str, ...]  # ids
    is_mostly_foreground: bool  # nearly all masks look inverted, so that it may be right
    flat: tuple[str, ...]  # ids of images of one value
    num_copied: int  # images that have a copy
    num_compared: int  # images that were compared
    copies: tuple  # pairs of ids
    copies_dice: float | None  # mean of their masks
    joined: tuple  # pairs of ids that joined two subjects
    not_joined: tuple  # pairs of ids in two subjects, or in training and validation
    alignment: Alignment | None
    marked: tuple  # (row, what is wrong with it) to be shown
    ignored: float | None  # share of the pixels that do not count; None where all do


def write_report(new, listed, classes, reading, reasons=()):
    """Write report.json of arrays that are about to take their place; returns the lines of
    files.csv with the subjects of copies as one.

    new: {name of a file: where it lies now}; listed: lines of files.csv, in FILES_HEADER's order;
    reasons: lines on why the arrays are as they are, which come first.
    """
    rows = [dict(zip(FILES_HEADER, row)) for row in listed]
    files = [row for row in rows if row["split"] != "test"]
    images, masks = (Rows(new[name], "run data.py again") for name in (IMAGES, MASKS))
    facts, subjects = survey(Arrays(images, masks, (), files, [], classes, reading=reading))
    for row, subject in zip(files, subjects):
        row["subject"] = subject
    said = [*reasons, *lines(facts)]
    warnings = [line for line in said if line.startswith(WARNING)]
    content = {"warnings": warnings, "lines": said, "facts": dataclasses.asdict(facts)}
    new[REPORT].write_text(json.dumps(content, indent=1), encoding="utf-8")
    return [tuple(row.values()) for row in rows]


def read_report(name):
    """The content of report.json in output/NAME: a dict of warnings and lines (lists of texts) and
    facts. Raises InputError.
    """
    path = Paths(name).arrays / REPORT
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        marks = [text for _, text in report["facts"]["marked"]]
        "".join([*report["warnings"], *report["lines"], *marks])  # a TypeError for what is no text
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; run data.py again") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: damaged ({error}); run data.py again") from error
    return report


def survey(arrays):
    """The Facts of Arrays, and the rows' subjects after those that share copies are joined."""
    num_rows, step = len(arrays.files), max(1, BLOCK // math.prod(arrays.images.shape[1:]))
    starts = range(0, num_rows, step)
    blocks = map_in_threads(look, ((arrays, start, start + step) for start in starts))
    looks = list(itertools.chain(*with_progress(blocks, len(starts), "looked at")))
    ids = [row["id"] for row in arrays.files]
    shares = np.array([look.share for look in looks])
    seen = shares[shares > 0]
    inverted, is_mostly_foreground = find_inverted(looks) if not arrays.classes else ([], False)
    flat = [row for row, look in enumerate(looks) if look.is_flat]
    pairs = find_copies(arrays, np.stack([look.thumbnail for look in looks[:MOST_ROWS]]))
    subjects, *separated = separate(arrays.files, pairs)
    copies, joined, not_joined = (
        tuple((ids[pair.first], ids[pair.second]) for pair in part) for part in (pairs, *separated)
    )
    dice = [pair.dice for pair in pairs if pair.dice is not None]
    counts = sum(look.counts for look in looks)
    num_counted, num_pixels = int(counts.sum()), num_rows * math.prod(arrays.masks.shape[1:3])
    has_outline = [row for row, look in enumerate(looks) if np.count_nonzero(look.counts) > 1]
    marked = [(row, "inverted?") for row in inverted] + [(row, "one value") for row in flat]
    facts = Facts(
        num_images=num_rows,
        num_subjects=len(set(subjects)),
        is_split=len({row["split"] for row in arrays.files}) > 1,
        num_empty=num_rows - len(seen),
        num_full=0 if arrays.classes else int((shares == 1).sum()),
        shares=(float(seen.min()), float(seen.mean()), float(seen.max())) if len(seen) else (),
        class_shares={
            label.name: float(count / max(num_counted, 1))
            for label, count in zip(arrays.classes, counts)
        },
        inverted=tuple(ids[row] for row in inverted),
        is_mostly_foreground=is_mostly_foreground,
        flat=tuple(ids[row] for row in flat),
        num_copied=len({row for pair in pairs for row in (pair.first, pair.second)}),
        num_compared=min(num_rows, MOST_ROWS),
        copies=copies,
        copies_dice=float(np.mean(dice)) if dice else None,
        joined=joined,
        not_joined=not_joined,
        alignment=find_alignment(arrays, has_outline),
        marked=tuple(marked[:MOST_MARKED]),
        ignored=1 - num_counted / num_pixels if arrays.reading.ignore else None,
    )
    return facts, subjects


def look(arrays, start, stop):
    """The Looks of some rows, a list."""
    images, masks = arrays.images[start:stop], arrays.masks[start:stop]
    found = []
    for row, (image, mask) in enumerate(zip(images, masks), start):
        if arrays.has_numbers:
            counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
            counts = counts[: len(arrays.classes) or 2]
        else:  # in a tenth of the time
            foreground = cv2.countNonZero(mask)
            counts = np.array([mask.size - foreground, foreground])
        numbers = arrays.as_numbers(mask)
        border = np.concatenate([numbers[[0, -1]].ravel(), numbers[:, [0, -1]].ravel()])
        border = np.count_nonzero(border == 1) / len(border)
        small = thumbnail(image) if row < MOST_ROWS else None
        found.append(Look(small, counts, border, bool(image.min() == image.max())))
    return found


def find_inverted(looks):
    """Rows whose masks look inverted among the others, and whether nearly all do, so that it may
    be right.
    """
    rows = [row for row, look in enumerate(looks) if 0 < look.share < 1]
    suspects = [row for row in rows if min(looks[row].share, looks[row].border) > MOSTLY]
    others = [looks[row].share for row in rows if row not in set(suspects)]
    if suspects and len(suspects) >= (1 - FEW) * len(rows):
        return [], True
    are_few = 0 < len(suspects) <= FEW * len(rows)
    if are_few and min(looks[row].share for row in suspects) > max(others) + GAP:
        return suspects, False
    return [], False


def separate(files, pairs):
    """The rows' subjects, after those that share copies are joined, the pairs that joined some,
    and those that stay in two, because too few subjects would be left, or because the files say
    which of them is validation.
    """
    subjects, splits = ([row[name] for row in files] for name in ("subject", "split"))
    if len(set(splits)) > 1:
        return subjects, [], [pair for pair in pairs if splits[pair.first] != splits[pair.second]]
    across = [pair for pair in pairs if subjects[pair.first] != subjects[pair.second]]
    joined = join_subjects(subjects, across)
    if across and len(set(joined)) < LEAST_SUBJECTS:
        return subjects, [], across
    return joined, across, []


def lines(facts):
    """The report, a list of lines, one fact each, none of what is as usual; those that training
    says again begin with WARNING.
    """
    masks_look = "mask looks" if len(facts.inverted) == 1 else "masks look"
    images_are = "image is" if len(facts.flat) == 1 else "images are"
    subjects = "1 subject" if facts.num_subjects == 1 else f"{facts.num_subjects} subjects"
    found, misplaced = facts.alignment, ""
    if found and found.is_wrong:
        misplaced = (
            f"{WARNING}masks fit better {found.placement}: outlines on edges "
            f"{found.best_fit:.2f} instead of {found.fit:.2f}, by {found.errors:.0f} standard "
            f"errors over {found.num_rows} masks"
        )
    rules = [
        *_foreground(facts),
        (facts.ignored, f"{percent(facts.ignored or 0)} of the pixels do not count"),
        (
            facts.ignored == 0,
            f"{WARNING}no pixel has the value that --ignore names, so that all count",
        ),
        (
            facts.inverted,
            f"{WARNING}{len(facts.inverted)} {masks_look} inverted, mostly foreground up to the "
            f"border and the others not: {listing(facts.inverted)}",
        ),
        (
            facts.is_mostly_foreground,
            "the masks are mostly foreground, also along the border: right for cells with dark "
            "membranes; where objects lie on a background, pass --invert",
        ),
        (
            facts.flat,
            f"{len(facts.flat)} {images_are} of one value all over: {listing(facts.flat)}",
        ),
        *_copies(facts),
        (
            facts.num_subjects < min(LEAST_SUBJECTS, facts.num_images) and not facts.is_split,
            f"{WARNING}the {facts.num_images} images are of {subjects}: too few to hold some out "
            "and trust the scores; data.py's --subject tells them apart by name",
        ),
        (misplaced, misplaced),
    ]
    return [text for is_so, text in rules if is_so]


def _foreground(facts):
    """Rules, (whether it is so, line), on the shares of the foreground or of the classes."""
    number = facts.num_images
    if facts.num_empty == number:
        return [(True, f"{WARNING}all masks are empty: no foreground in any of the {number}")]
    if facts.num_full == number:
        return [(True, f"{WARNING}all masks are full: no background in any of the {number}")]
    if facts.class_shares:
        shares = sorted(facts.class_shares.items(), key=lambda item: -item[1])
        found = listing([f"{percent(share)} {name}" for name, share in shares if share], 8)
        missing = listing([name for name, share in shares if not share], 8)
        return [(True, f"classes: {found}"), (missing, f"classes in no mask: {missing}")]
    least, mean, most = facts.shares
    parts = [
        (True, f"foreground: {percent(mean)} of a mask"),
        (least < most, f" on average, {percent(least)} to {percent(most)}"),
        (facts.num_empty, f"; {facts.num_empty} of {number} masks are empty"),
        (facts.num_full, f"; {facts.num_full} all foreground"),
    ]
    return [(True, "".join(text for is_so, text in parts if is_so))]


def _copies(facts):
    """Rules, (whether it is so, line), on the copies among the images."""
    copies, joined, apart = (
        listing([f"{first} = {second}" for first, second in pairs])
        for pairs in (facts.copies, facts.joined, facts.not_joined)
    )
    dice = facts.copies_dice
    agreement = "" if dice is None else f"; their masks agree to Dice {dice:.2f}"
    if dice is not None and round(dice, 2) < 0.95:
        agreement += ": as near as masks of one image come to each other here"
    return [
        (
            facts.num_compared < facts.num_images,
            f"copies were looked for among the first {facts.num_compared:,} images",
        ),
        (copies, f"{facts.num_copied} images are copies, or nearly: {copies}{agreement}"),
        (
            joined,
            f"subjects that share copies became one, {facts.num_subjects} are left, so that no "
            f"image is trained on and validated on: {joined}",
        ),
        (
            apart and facts.is_split,
            f"{WARNING}copies lie in training and validation, which then scores what was trained "
            f"on: {apart}",
        ),
        (
            apart and not facts.is_split,
            f"{WARNING}copies have different subjects, so that validation may score what was "
            f"trained on; as one, fewer than {LEAST_SUBJECTS} subjects would be left: {apart}",
        ),
    ]


def listing(items, most=MOST_NAMED):
    """The first ones of some texts, and how many there are more."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def percent(share):
    """A share in per cent, with the digits that tell it from none and from all."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.3g} %"
