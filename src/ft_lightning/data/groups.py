"""Which samples belong together, by a pattern on their names."""

import json
import re
from dataclasses import replace

from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError, number_of


def grouped(samples: list[Sample], pattern: str) -> list[Sample]:
    """Set each sample's group to what `data.group_by`, a regular expression, matches in its name.

    That is all its parentheses together, or the whole match where it has none.
    """
    try:
        expression = re.compile(str(pattern))  # Hydra parses 2024 as a number
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"data.group_by={pattern} is not a regular expression: {error}.") from None
    matches = [expression.search(sample.name) for sample in samples]
    if unmatched := [sample.name for sample, match in zip(samples, matches, strict=True) if not match]:
        where = f"{number_of(len(unmatched), 'path')}, for example {unmatched[0]}"
        fix = "rows of a table have their groups in a column called group"
        raise UserError(f"data.group_by={pattern}, a regular expression on paths, does not match {where}; {fix}.")
    groups = [_group(match) for match in matches if match]
    return [replace(sample, group=group) for sample, group in zip(samples, groups, strict=True)]


def _group(match: re.Match[str]) -> str:
    first, *others = match.groups() or (match.group(),)
    # An optional part that does not take part is None: the samples without it are together, apart from empty ones.
    return json.dumps([first, *others]) if others or first is None else first
