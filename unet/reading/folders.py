"""Folders of images with their masks: pictures, outlines or run-length code."""

import os
import re
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from unet.errors import InputError
from unet.jobs import JOBS
from unet.jobs.settings import IGNORED
from unet.reading.annotations import is_yolo, read_coco, read_labelme, read_yolo
from unet.reading.classes import SegmentClass, meaning_of, number_classes
from unet.reading.codes import draw_runs, find_order, read_codes
from unet.reading.files import IMAGE_SUFFIXES, describe_passed, ending, list_files, natural_key
from unet.reading.frames import Found, add_frames, by_name
from unet.reading.mask_sources import DrawnMask, PictureMask
from unet.reading.pairing import IN_FOLDERS, beginning_of, is_mask_name, pair_names, unpadded
from unet.reading.pixels import read_size

DRAWN = (".json", ".txt")  # files of outlines, one an image: labelme's, YOLO's
CVAT = "SegmentationClass"  # folder of masks in an export of CVAT, and in PASCAL VOC
OF_KAGGLE = ("nerve", "car")  # jobs whose run-length code is of their document's competition


def read_folders(source, job, classes=()):
    """The Found of a folder of images and one of masks (which may be the same), or a file that has
    the masks, and of those for validation.
    """
    found, validation = Found(classes=classes), source.validation_images
    split = "train" if validation else None
    pair_files(found, source.images, source.masks, source, job, split)
    if not validation:
        number_labels(found)
        return found
    training, found.frames = found.frames, []
    pair_files(found, validation, source.validation_masks, source, job, "validation")
    number_labels(found)
    ids = {frame.id for frame in training}
    paths = {os.path.abspath(frame.image.path) for frame in training}
    both = [f.image.path for f in found.frames if os.path.abspath(f.image.path) in paths]
    if both:
        raise InputError(f"{both[0]}: is among the training images, too; keep the two apart")
    found.frames = training + [
        replace(frame, id=f"validation/{frame.id}") if frame.id in ids else frame
        for frame in found.frames
    ]
    return found


def pair_files(found, images, masks, source, job, split=None):
    """Add to a Found the frames of a folder of images and its masks. split: of all of them; None:
    "train", or as folders of the names of splits say.
    """
    image_files, passed = list_files(images, zips=False)
    suffix = ending(masks) if os.path.isfile(masks) else ""
    if suffix in (".csv", ".json"):  # masks as pictures beside the images are not meant
        pictures = [file for file in image_files if is_mask_name(file.name)]
        if len(pictures) < len(image_files):
            image_files, passed = without(image_files, pictures), [*passed, *pictures]
    if suffix == ".csv":
        masks_of, rule = run_length_masks(masks, image_files, source, job, found)
    elif suffix == ".json":
        drawn = read_coco(masks, partial(add_labels, found), source.skip_bad)
        masks_of, rule = by_image(drawn, image_files, masks, found), f"outlines in {masks}"
    else:
        image_files, mask_files, passed = split_files(images, masks, image_files, passed)
        if os.path.isfile(images) and len(image_files) == 1:
            mask_files = masks_of_one(image_files[0], mask_files)
        drawn = [file for file in mask_files if ending(file.path) in DRAWN]
        if drawn and len(drawn) == len(mask_files):
            masks_of, rule = drawn_masks(image_files, drawn, found, source)
        else:
            masks_of, rule = picture_masks(image_files, mask_files, found, source)
    add_frames(found, image_files, masks_of, rule, source, split)
    if passed:
        found.notes.append(f"passed over: {describe_passed(passed)}")


def drawn_masks(image_files, mask_files, found, source):
    """{image name: DrawnMask} of files of outlines, one an image, and the rule of their names."""
    pairs, number = pair_by_name(image_files, mask_files, source), partial(add_labels, found)
    by_suffix = {suffix: [f for f in mask_files if ending(f.path) == suffix] for suffix in DRAWN}
    tool = "labelme" if by_suffix[".json"] else "YOLO"
    if tool == "labelme":
        drawn = read_labelme(by_suffix[".json"], number, found.notes, source.skip_bad)
    else:
        files = {file.name: file for file in image_files}
        sizes = {m[0]: partial(read_size, files[name]) for name, m in pairs.masks.items()}
        texts = [file for file in by_suffix[".txt"] if file.name in sizes]
        drawn = read_yolo(texts, sizes, number, source.skip_bad)
    masks_of = {name: drawn[m[0]] for name, m in pairs.masks.items()}
    return masks_of, f"outlines of {tool}, {pairs.rule}"


def split_files(images, masks, image_files, passed):
    """The image files, the mask files and those passed over of two folders, of which one may be in
    the other or both the same.
    """
    mask_files, others = list_files(masks, zips=False, others=DRAWN)
    of_classes = [file for file in mask_files if file.folder == CVAT]
    if of_classes:  # an export whole, with the objects' masks and the images beside
        mask_files, others = of_classes, [*others, *without(mask_files, of_classes)]
    jsons = [file for file in others if ending(file.path) == ".json"]
    jsons = jsons or [file for file in others if is_yolo(file)]
    if os.path.abspath(images) == os.path.abspath(masks):
        mask_files, others = [file for file in image_files if is_mask_name(file.name)], []
        if jsons and not mask_files:
            mask_files, passed = jsons, without(passed, jsons)
        if not mask_files:  # jpg is the ending of images where others have the same names
            photos = [f for f in image_files if ending(f.path) in (".jpg", ".jpeg")]
            others = without(image_files, photos)
            if sorted(f.name for f in photos) == sorted(f.name for f in others):
                mask_files, others = others, []
        if not mask_files or (len(mask_files) == len(image_files) and mask_files != jsons):
            raise InputError(
                f"{images}: no name in it tells masks from images, such as "
                f"{image_files[0].path}; pass two folders, or patterns such as --images "
                "'photos/*_img.png' --masks 'photos/*_mask.png'"
            )
    elif Path(os.path.abspath(masks)).is_relative_to(os.path.abspath(images)):
        passed = without(passed, others)
    elif without(image_files, mask_files):
        image_files = without(image_files, mask_files)
    else:  # all of them are below the masks' folder, too
        mask_files = without(mask_files, image_files)
    if jsons and not mask_files:
        mask_files, others = jsons, without(others, jsons)
    image_files = without(image_files, mask_files)
    if not image_files or not mask_files:
        raise InputError(
            f"{images} and {masks} are the same files; expected images and their masks"
        )
    if mask_files == jsons and len(jsons) == 1 < len(image_files):
        raise InputError(f"{jsons[0].path}: one file for all images; pass it itself as --masks")
    return image_files, mask_files, [*passed, *others]


def masks_of_one(image, mask_files):
    """The mask files, of a folder's, of one image: that of its name, else those whose names begin
    with it; where there is one mask, that. Raises InputError where none is.
    """
    stem = unpadded(image.stem)
    same = [file for file in mask_files if unpadded(file.stem) == stem]
    longer = [f for f in mask_files if beginning_of(unpadded(f.stem), {f"/{stem}"})]
    found = mask_files if len(mask_files) == 1 else same or longer
    if not found:
        raise InputError(
            f"{image.path}: none of {len(mask_files)} masks such as {mask_files[0].path} has its "
            "name; pass the mask's file itself as --masks"
        )
    return found


def without(files, others):
    """The files that are none of the others."""
    paths = {os.path.abspath(file.path) for file in others}
    return [file for file in files if os.path.abspath(file.path) not in paths]


def picture_masks(image_files, mask_files, found, source):
    """{image name: PictureMask} of mask files, and the rule of their names."""
    masks = by_name(mask_files)
    by_name(image_files)  # no twins among them
    pairs = pair_by_name(image_files, mask_files, source)
    label_of = labels_in_names(pairs.masks)
    if pairs.rule == IN_FOLDERS:
        label_of = {name: name.rpartition("/")[0] for name in masks}
        folders = sorted(set(label_of.values()), key=natural_key)
        if not found.classes:
            raise InputError(
                f"{mask_files[0].path}: masks lie in folders {', '.join(folders[:5])}, one of "
                f"each for an image; if a folder is a class, pass --classes {len(folders) + 1}"
            )
    numbers = add_labels(found, sorted(set(label_of.values()), key=natural_key))
    masks_of = {}
    for name, names in pairs.masks.items():
        labels = tuple(label_of[part] for part in names) if label_of else ()
        masks_of[name] = PictureMask(tuple(masks[part] for part in names), labels, numbers)
    return masks_of, pairs.rule


def labels_in_names(masks):
    """{mask name: label} where words after the image's name tell the masks of an image apart, and
    the same words those of others: chair of 7_chair, table of 7_table; else {}.

    masks: {image name: names of its masks}.
    """
    stems = {n: n.rpartition("/")[2] for pair in masks.items() for n in (pair[0], *pair[1])}
    ends = {n: stems[n].removeprefix(stems[i]) for i, names in masks.items() for n in names}
    counts = Counter(ends.values())
    is_several = len(ends) > len(masks) and all(stems[n] != end for n, end in ends.items())
    are_words = is_several and all(re.search(r"[^\W\d_]", end) for end in counts)
    if not are_words or (len(masks) > 1 and len(ends) < 2 * len(counts)):
        return {}
    common = re.match(r"(.*[-_ .])?", os.path.commonprefix(list(counts)))[0]
    return {name: end.removeprefix(common).strip("-_ .") for name, end in ends.items()}


def pair_by_name(image_files, mask_files, source):
    """The Pairs of the names of files, as far as a Source wants them whole."""
    images, masks = ({f.name: f.path for f in files} for files in (image_files, mask_files))
    may_miss = source.missing_is_empty or source.skip_bad
    pairs = pair_names(images, masks, may_miss, source.skip_bad)
    used = {name for names in pairs.masks.values() for name in names}
    for name, path in masks.items():
        if name not in used:
            print(f"left out: {path}: mask without an image")
    return pairs


def run_length_masks(path, image_files, source, job, found):
    """{image name: DrawnMask} of a table of run-length code, and how it is read, which a Found
    keeps, too.
    """
    codes, form, passed = read_codes(path)
    codes = by_image(codes, image_files, path, found)
    sizes = {file.name: partial(read_size, file) for file in image_files if file.name in codes}
    reason = "as --run-length says"
    if source.run_length:
        columns_first = source.run_length == "columns"
    elif found.submission:
        columns_first, reason = found.submission.columns_first, "as those of the training images"
    elif job in OF_KAGGLE:
        columns_first, reason = JOBS[job].submission.columns_first, f"as {job}'s competition does"
    else:
        columns_first, reason = find_order(path, [(codes[n], sizes[n]) for n in codes])
    if job not in OF_KAGGLE and not found.submission:
        found.submission = replace(form, columns_first=columns_first)
    labels = {code.label for of_image in codes.values() for code in of_image} - {""}
    numbers, masks = add_labels(found, sorted(labels, key=natural_key)), {}
    for name, size in sizes.items():
        draw = partial(draw_runs, codes[name], columns_first, size, numbers)
        masks[name] = DrawnMask(path, draw)
    if passed:
        found.notes.append(f"{path}: columns {', '.join(passed)} are ignored")
    order = "down the columns" if columns_first else "along the rows"
    return masks, f"run-length code in {path}, pixels numbered {order} ({reason})"


def by_image(named, image_files, path, found):
    """{image name: value} of what a file at `path` has for images by their name, with or without
    its folder and its ending; a Found says of how many there is no file.
    """
    whole, last = {}, {}  # by the whole path, by its last part
    for name, value in named.items():
        bare, suffix = os.path.splitext(name.replace("\\", "/"))
        name = (bare if suffix.lower() in IMAGE_SUFFIXES else bare + suffix).casefold()
        whole[name] = value
        base = name.rpartition("/")[2]
        last[base] = None if base in last else value  # None: of several
    result, bases = {}, Counter(file.stem.casefold() for file in image_files)
    for file in image_files:
        name, base = file.name.casefold(), file.stem.casefold()
        value = whole.get(name) or (last.get(base) if bases[base] == 1 else None)
        if value is not None:
            result[file.name] = value
    if not result:
        raise InputError(
            f"{path}: none of its images, such as {next(iter(named), '(it has none)')}, is among "
            f"those in the folder, such as {image_files[0].path}"
        )
    if len(result) < len(named):
        found.notes.append(
            f"{path}: {len(named) - len(result)} of its images are not in the folder"
        )
    return result


def add_labels(found, labels, used=None):
    """Note the labels of masks, those in use (default: all), in a Found; returns the class numbers
    by label, which number_labels fills.
    """
    for label in labels:
        is_used = used is None or label in used
        found.labels[label] = found.labels.get(label, False) or is_used
    return found.numbers


def number_labels(found):
    """Number the labels of all masks that a Found has, once all are known: by the names of its
    classes, else in their order, after which the classes are named. A background is 0, what is
    void IGNORED; of two classes all others are 1. Raises InputError.
    """
    listed = [label for label in found.labels if meaning_of(label) is None]
    used = [label for label in listed if found.labels[label]]
    numbers = {label: meaning_of(label) for label in found.labels if label not in listed}
    void = [
        label for label, number in numbers.items() if number == IGNORED and found.labels[label]
    ]
    if void:
        found.notes.append(f"{', '.join(void)}: these pixels are ignored in training and scores")
        found.has_void = True
    names = {label.name.casefold(): number for number, label in enumerate(found.classes)}
    is_named = found.classes != number_classes(len(found.classes))
    if not found.classes:
        if len(used) > 1:
            found.notes.append(
                f"{', '.join(used[:5])}: all are foreground; --classes {len(used) + 1} tells them "
                "apart"
            )
        numbers |= dict.fromkeys(listed, 1)
    elif not used or (is_named and all(label.casefold() in names for label in used)):
        numbers |= {label: names.get(label.casefold()) for label in listed}
    else:
        fitting = [labels for labels in (used, listed) if len(labels) + 1 == len(found.classes)]
        if not fitting:
            remedy = f"pass --classes {len(used) + 1}" if len(used) > 1 else "leave out --classes"
            raise InputError(
                f"classes {', '.join(used[:8])}: {len(used) + 1} with the background, not "
                f"{len(found.classes)}; {remedy}, or name them with --colors"
            )
        first, *others = found.classes
        first = replace(first, name="background")
        others = (SegmentClass(n, other.color) for n, other in zip(fitting[0], others))
        found.classes = (first, *others)
        numbers |= {label: number for number, label in enumerate(fitting[0], 1)}
    found.numbers.update(numbers)
