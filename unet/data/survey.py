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
    arrays = Arrays(images, masks, (), files, [], classes, reading=reading)
    facts, subjects = survey(arrays)
    for row, subject in zip(files, subjects):
        row["subject"] = subject
    new[REPORT].write_text(report_text(facts, reasons), encoding="utf-8")
    return [tuple(row.values()) for row in rows]


def report_text(facts, reasons=()):
    """What read_report reads."""
    said = [*reasons, *lines(facts)]
    warnings = [line for line in said if line.startswith(WARNING)]
    content = {"warnings": warnings, "lines": said, "facts": dataclasses.asdict(facts)}
    return json.dumps(content, indent=1)


def read_report(name):
    """What report.json in output/NAME says, a dict of warnings and lines (lists of texts) and
    facts; empty where an earlier data.py wrote none. Raises InputError.
    """
    path = Paths(name).arrays / REPORT
    if not path.exists():
        return {}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        texts = [*report["warnings"], *report["lines"]]
        marked = report["facts"]["marked"]
        if not all(isinstance(text, str) for text in (*texts, *(text for _, text in marked))):
            raise ValueError("lines that are no texts")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: damaged ({error}); run data.py again") from error
    return report


def survey(arrays):
    """The Facts of Arrays, and the rows' subjects after those that share copies are joined."""
    num_rows, step = len(arrays.files), max(1, BLOCK // math.prod(arrays.images.shape[1:]))
    starts = range(0, num_rows, step)
    blocks = map_in_threads(look, ((arrays, start, start + step) for start in starts))
    blocks = with_progress(blocks, len(starts), "looked at")
    looks = list(itertools.chain.from_iterable(blocks))
    ids = [row["id"] for row in arrays.files]
    shares = np.array([look.share for look in looks])
    is_empty = shares == 0
    is_full = (shares == 1) & (not arrays.classes)
    inverted, is_mostly_foreground = find_inverted(looks) if not arrays.classes else ([], False)
    flat = [row for row, look in enumerate(looks) if look.is_flat]
    pairs = find_copies(arrays, np.stack([look.thumbnail for look in looks[:MOST_ROWS]]))
    subjects, joined, not_joined = separate(arrays.files, pairs)
    dice = [pair.dice for pair in pairs if pair.dice is not None]
    has_outline = [row for row, look in enumerate(looks) if np.count_nonzero(look.counts) > 1]
    marked = [(row, "inverted?") for row in inverted] + [(row, "one value") for row in flat]
    facts = Facts(
        num_images=num_rows,
        num_subjects=len(set(subjects)),
        is_split=len({row["split"] for row in arrays.files}) > 1,
        num_empty=int(is_empty.sum()),
        num_full=int(is_full.sum()),
        shares=summary(shares[~is_empty]),
        class_shares=class_shares(looks, arrays.classes),
        inverted=tuple(ids[row] for row in inverted),
        is_mostly_foreground=is_mostly_foreground,
        flat=tuple(ids[row] for row in flat),
        num_copied=len({row for pair in pairs for row in (pair.first, pair.second)}),
        num_compared=min(num_rows, MOST_ROWS),
        copies=named(pairs, ids),
        copies_dice=float(np.mean(dice)) if dice else None,
        joined=named(joined, ids),
        not_joined=named(not_joined, ids),
        alignment=find_alignment(arrays, has_outline),
        marked=tuple(marked[:MOST_MARKED]),
        ignored=ignored_share(arrays, looks),
    )
    return facts, subjects


def look(arrays, start, stop):
    """The Looks of some rows, a list."""
    images, masks = arrays.images[start:stop], arrays.masks[start:stop]
    found = []
    for row, (image, mask) in enumerate(zip(images, masks), start):
        counts, numbers = count_pixels(arrays, mask), arrays.as_numbers(mask)
        border = np.concatenate([numbers[[0, -1]].ravel(), numbers[:, [0, -1]].ravel()])
        border = np.count_nonzero(border == 1) / len(border)
        small = thumbnail(image) if row < MOST_ROWS else None
        found.append(Look(small, counts, border, bool(image.min() == image.max())))
    return found


def count_pixels(arrays, mask):
    """How many pixels of a mask are of each class, int64 (K,), without those that do not count."""
    if not arrays.has_numbers:  # in a tenth of the time
        foreground = cv2.countNonZero(mask)
        return np.array([mask.size - foreground, foreground])
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return counts[: len(arrays.classes) or 2]


def summary(shares):
    """Least, mean and most of shares, () of none."""
    if not len(shares):
        return ()
    return float(shares.min()), float(shares.mean()), float(shares.max())


def ignored_share(arrays, looks):
    """The share of pixels that do not count; None where nothing is ignored."""
    if not arrays.reading.ignore:
        return None
    counted = sum(int(look.counts.sum()) for look in looks)
    return 1 - counted / (len(looks) * math.prod(arrays.masks.shape[1:3]))


def class_shares(looks, classes):
    """{name: share of all pixels that count}; {} for foreground and background."""
    if not classes:
        return {}
    counts = sum(look.counts for look in looks)
    return {label.name: float(n / max(counts.sum(), 1)) for label, n in zip(classes, counts)}


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


def named(pairs, ids):
    return tuple((ids[pair.first], ids[pair.second]) for pair in pairs)


# ---- in words


def lines(facts):
    """The report, a list of lines, one fact each, none of what is as usual; those that training
    says again begin with WARNING.
    """
    parts = (
        _foreground,
        _ignored,
        _inversion,
        _flatness,
        _copied,
        _separation,
        _subjects_left,
        _misplacement,
    )
    return [line for part in parts for line in part(facts)]


def _foreground(facts):
    if facts.num_empty == facts.num_images:
        yield f"{WARNING}all masks are empty: no foreground in any of the {facts.num_images}"
        return
    if facts.class_shares:
        found = sorted(facts.class_shares.items(), key=lambda item: -item[1])
        yield "classes: " + listing([f"{percent(s)} {n}" for n, s in found if s], 8)
        if missing := [name for name, share in found if not share]:
            yield f"classes in no mask: {listing(missing, 8)}"
        return
    least, mean, most = facts.shares
    line = f"foreground: {percent(mean)} of a mask"
    if least < most:
        line += f" on average, {percent(least)} to {percent(most)}"
    if facts.num_empty:
        line += f"; {facts.num_empty} of {facts.num_images} masks are empty"
    if facts.num_full:
        line += f"; {facts.num_full} all foreground"
    if facts.num_full == facts.num_images:
        line = f"{WARNING}all masks are full: no background in any of the {facts.num_full}"
    yield line


def _ignored(facts):
    if facts.ignored:
        yield f"{percent(facts.ignored)} of the pixels do not count"
    elif facts.ignored == 0:
        yield f"{WARNING}no pixel has the value that --ignore names, so that all count"


def _inversion(facts):
    if facts.inverted:
        yield (
            f"{WARNING}{counted(facts.inverted, 'mask looks', 'masks look')} inverted, mostly "
            f"foreground up to the border and the others not: {listing(facts.inverted)}"
        )
    if facts.is_mostly_foreground:
        yield (
            "the masks are mostly foreground, also along the border: right for cells with dark "
            "membranes; where objects lie on a background, pass --invert"
        )


def _flatness(facts):
    if facts.flat:
        yield (
            f"{counted(facts.flat, 'image is', 'images are')} of one value all over: "
            f"{listing(facts.flat)}"
        )


def _copied(facts):
    if facts.num_compared < facts.num_images:
        yield f"copies were looked for among the first {facts.num_compared:,} images"
    if facts.copies:
        line = f"{facts.num_copied} images are copies, or nearly: {pairs_text(facts.copies)}"
        if facts.copies_dice is not None:
            line += f"; their masks agree to Dice {facts.copies_dice:.2f}"
            if round(facts.copies_dice, 2) < 0.95:
                line += ": as near as masks of one image come to each other here"
        yield line


def _separation(facts):
    if facts.joined:
        yield (
            f"subjects that share copies became one, {facts.num_subjects} are left, so that no "
            f"image is trained on and validated on: {pairs_text(facts.joined)}"
        )
    elif facts.not_joined and facts.is_split:
        yield (
            f"{WARNING}copies lie in training and validation, which then scores what was trained "
            f"on: {pairs_text(facts.not_joined)}"
        )
    elif facts.not_joined:
        yield (
            f"{WARNING}copies have different subjects, so that validation may score what was "
            f"trained on; as one, fewer than {LEAST_SUBJECTS} subjects would be left: "
            f"{pairs_text(facts.not_joined)}"
        )


def _subjects_left(facts):
    if facts.num_subjects < min(LEAST_SUBJECTS, facts.num_images) and not facts.is_split:
        what = "subject" if facts.num_subjects == 1 else "subjects"
        yield (
            f"{WARNING}the {facts.num_images} images are of {facts.num_subjects} {what}: too few "
            "to hold some out and trust the scores; data.py's --subject tells them apart by name"
        )


def _misplacement(facts):
    found = facts.alignment
    if found and found.is_wrong:
        yield (
            f"{WARNING}masks fit better {found.placement}: outlines on edges "
            f"{found.best_fit:.2f} instead of {found.fit:.2f}, by {found.errors:.0f} standard "
            f"errors over {found.num_rows} masks"
        )


def counted(items, one, several):
    return f"{len(items)} {one if len(items) == 1 else several}"


def listing(items, most=MOST_NAMED):
    """The first ones of some texts, and how many there are more."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def pairs_text(pairs):
    return listing([f"{first} = {second}" for first, second in pairs])


def percent(share):
    """A share in per cent, with the digits that tell it from none and from all."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.3g} %"
