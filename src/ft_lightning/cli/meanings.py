"""What conf/ says of the keys of a command, for `--help` and for messages."""

import functools
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from ft_lightning.cli.compose import CONF

# The keys that people use most; conf/ has a line on each.
_USED = {
    "train": "data.root model finetune augment optimizer optimizer.lr trainer.max_epochs data.batch_size seed resume",
    "tune": "data.root tune tune.trials tune.sampler tune.prune_after tune.storage model finetune monitor seed",
    "evaluate": "model_dir data.root data.csv data.split batch_size num_workers device precision cache.enabled "
    "data.max_pixels",
    "predict": "model_dir input output threshold abstain_below batch_size num_workers device precision max_pixels",
    "check": "data.root data.csv features model data.group_by data.limit data.exclude device precision cache.dir",
    "report": "run runs",
    "export": "model_dir output format dtype",
}
_WIDTH = 90  # of what is said of a key


class Entry(NamedTuple):
    """A key in a file of conf/."""

    value: str
    comment: str


def most_used(verb: str) -> str:
    """Return a line for each of the keys of a command that people use most, from the comments of conf/."""
    names = _USED[verb].split()
    lines = []
    for name in names:
        entry = _choices(verb, name) if (CONF / name).is_dir() else _entry(verb, name)
        if not entry:
            continue
        given = f"{name}={'...' if entry.value in ('???', 'null') else entry.value}"
        lines.append(f"  {given:26} {textwrap.shorten(entry.comment, _WIDTH, placeholder=' ...')}".rstrip())
    return "\n".join([f"The keys of {verb} that are used most, with their defaults:", *lines])


def comment_on(key: str, target: str) -> str:
    """Return what conf/ says of a key, of files with this `_target_` first; empty if nothing."""
    having = [file for file in files() if key in file and file[key].comment]
    beside = f"{key.rpartition('.')[0]}._target_"
    having.sort(key=lambda file: beside not in file or file[beside].value != target)
    return having[0][key].comment if having else ""


def _choices(verb: str, group: str) -> Entry:
    """Return a group's default choice, and a line on it and the others."""
    chosen = _defaults(verb).get(group, "null")
    lines = _text(CONF / group / f"{chosen}.yaml").splitlines()
    title = next((line.strip("# ") for line in lines if line.startswith("# ") and "@package" not in line), "")
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return Entry(chosen, f"{' | '.join(names)}" + (f"; {chosen}: {title}" if title else ""))


def _defaults(verb: str) -> dict[str, str]:
    """Return the choice of each group that a command, or else train, makes."""
    files = [yaml.safe_load(_text(CONF / f"{name}.yaml")) or {} for name in ("train", verb)]
    made = [each for file in files for each in file.get("defaults") or [] if isinstance(each, dict)]
    return {group.split()[-1]: name for each in made for group, name in each.items() if isinstance(name, str)}


def _entry(verb: str, key: str) -> Entry | None:
    """Return a key's value and comment, from the command's own file where it is there; None where no file has it."""
    found = [entry for file in (read(CONF / f"{verb}.yaml"), *files()) if (entry := file.get(key))]
    return next((entry for entry in found if entry.comment), found[0] if found else None)


@functools.cache
def files() -> list[dict[str, Entry]]:
    """Return the entries of each file of conf/: those of the command first, then the default choices of train."""
    usual = [path for group, name in _defaults("tune").items() if (path := CONF / group / f"{name}.yaml").is_file()]
    rest = [CONF / "train.yaml", *sorted(CONF.glob("*/*.yaml")), *sorted(CONF.glob("*.yaml"))]
    return [read(path) for path in dict.fromkeys([*usual, *rest])]


@functools.cache
def read(path: Path) -> dict[str, Entry]:
    text = _text(path)
    node, lines = yaml.compose(text, yaml.SafeLoader), text.splitlines()
    in_group = path.parent != CONF and "@package _global_" not in text
    return dict(_walk(node, lines, f"{path.parent.name}." if in_group else ""))


def _walk(node: yaml.Node | None, lines: list[str], prefix: str) -> Iterator[tuple[str, Entry]]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name, end = f"{prefix}{key.value}", value.end_mark
        comment = lines[end.line][end.column :].partition("# ")[2] if end.line == key.start_mark.line else ""
        if isinstance(value, yaml.ScalarNode):
            yield name, Entry(value.value, comment)
        else:
            yield name, Entry("...", comment)
            yield from _walk(value, lines, f"{name}.")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
