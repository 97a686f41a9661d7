"""Findings on how a dataset is laid out: its folders, its groups, and files that are not used."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ft_lightning.data.collect import too_high
from ft_lightning.data.folders import IMAGE_FILES, TEXT_FILES, UNSUPPORTED, passed_over, unused
from ft_lightning.data.split import Splits
from ft_lightning.issues.by_task import label_issues
from ft_lightning.issues.findings import Finding, about_copies, listed, noun_of
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import name_few, number_of, with_article
from ft_lightning.tasks.task import Task

_ALONE = 0.9  # share of samples, alone in their groups, from which groups hold next to nothing together
_FEW_GROUPS = 10  # groups of a class: with fewer, its shares in val and test are rough
_LARGE = 0.5  # share of all samples in one group


def quick_findings(task: Task, splits: Splits, in_folders: bool) -> list[Finding]:
    """Return the findings that need no decoding; every run prints them at its start.

    Args:
        in_folders: whether folders are the classes.
    """
    samples = [sample for split in splits.values() for sample in split]
    nested = about_nesting(samples) if in_folders else []
    about_labels, _ = label_issues(task.name).about_labels(task, splits)
    return [*nested, *about_groups(samples, type(task)), *about_labels, *about_copies(samples)[0]]


def about_folder(folder: Path, samples: Iterable[Sample]) -> list[Finding]:
    """Report files in a dataset's folder that are not among its samples."""
    every = list(samples)
    kind = TEXT_FILES if noun_of(every) == TEXT_FILES.noun else IMAGE_FILES
    noun, a_noun, kinds = kind.noun, with_article(kind.noun), defaultdict[str, list[str]](list)
    for name in unused(folder, [sample.path for sample in every]):
        rare = kind is IMAGE_FILES and Path(name).suffix.lower() in UNSUPPORTED
        kinds["sample" if kind.has(Path(name)) else "unsupported" if rare else "other"].append(name)
    fix = "Move each into the folder of its class if it belongs to the dataset."
    found = listed(
        "unused",
        kinds["sample"],
        (f"{noun} is in no class folder and not used", f"{noun}s are in no class folder and not used"),
        fix,
    )
    fix = "Convert them to PNG or JPEG if they belong to the dataset; .heic is read after pip install pillow-heif."
    found += listed(
        "unsupported",
        kinds["unsupported"],
        ("file has a format that is not read", "files have formats that are not read"),
        fix,
    )
    fix = f"Nothing to do, unless some are: {', '.join(sorted(kind.suffixes))}."
    found += listed(
        f"no {noun}",
        kinds["other"],
        (f"file has no name of {a_noun} and is not used", f"files have no name of {a_noun} and are not used"),
        fix,
    )
    fix = f"Nothing to do, unless {noun}s are among them."
    what = "hidden or system file is skipped", "hidden or system files are skipped"
    return found + listed("hidden", passed_over(folder), what, fix)


def about_nesting(samples: Sequence[Sample]) -> list[Finding]:
    """Report class folders whose samples all lie in folders of their own, which may be the classes."""
    said = too_high(samples)
    return [Finding("nested", said, "Nothing to do if they belong to the class.")] if said else []


def about_groups(samples: Sequence[Sample], task: type[Task]) -> list[Finding]:
    """Report how many groups there are, and what is odd about that; nothing without groups."""
    grouped = [sample for sample in samples if sample.group is not None]
    if not grouped:
        return []
    sizes = Counter(sample.group for sample in grouped)
    noun = noun_of(grouped)
    # A group's samples of one class; with a label of several names they count for each.
    own = Counter((name, sample.group) for sample in grouped for name in task.names_in(sample.label) or [""])
    by_class = Counter(name for name, _ in own)
    counted = name_few([f"{name} {count:,}" for name, count in sorted(by_class.items()) if name])
    smallest, largest = min(sizes.values()), max(sizes.values())
    said = f"{number_of(len(grouped), f'{noun} is', f'{noun}s are')} in {number_of(len(sizes), 'group')}"
    said += f" of {smallest}" + (f" to {largest}" if largest > smallest else "") + (f" ({counted})" if counted else "")
    alone = sum(count == 1 for count in own.values())
    few = sorted(label for label, count in by_class.items() if count < _FEW_GROUPS)
    fix = ""
    if alone == len(own):
        said, fix = f"{said}: each {noun} is its own group in its class", "Is that what data.group_by should do?"
    elif alone > _ALONE * len(grouped):
        said, fix = (
            f"{said}: {number_of(alone, 'of them has', 'of them have')} one {noun} of a class",
            "Is that what data.group_by should do?",
        )
    elif largest > _LARGE * len(grouped):
        said, fix = f"{said}: one has more than half of them", "It stays whole: is that what data.group_by should do?"
    elif few:
        said = f"{said}: few" + (f" for {name_few(few)}" if any(few) else "")
        fix = "Groups stay whole, so val and test may be far from their fractions."
    return [Finding("groups", f"{said}.", fix)]
