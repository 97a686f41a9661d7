"""The sections of a check's page, from the content of check.json."""

from typing import Any

import pytest

from ft_lightning.issues.by_task import label_issues
from ft_lightning.pages.check import _findings, _labels, _sizes


def content(*blocks: bool) -> dict[str, Any]:
    findings = [{"kind": str(i), "said": "s", "fix": "f", "blocks": each} for i, each in enumerate(blocks)]
    return {"samples": 1200, "classes": {"train": {"a": 3, "b": 2}, "val": {"a": 1}}, "findings": findings}


@pytest.mark.parametrize(
    ("blocks", "said", "order"),
    [
        ([], "Nothing was found.", None),
        ([False, False], "", ["0", "1"]),
        ([False, True, False, True], "2 of these have to be mended first.", ["1", "3", "0", "2"]),
    ],
)
def test_what_has_to_be_mended_comes_first(blocks: list[bool], said: str, order: list[str] | None) -> None:
    (section,) = _findings(content(*blocks), "classes")
    assert section.text == said
    assert section.facts == {"samples": "1,200", "classes": "2"}
    assert (None if section.table is None else section.table["kind"].tolist()) == order


def test_sizes_are_ordered_by_their_area() -> None:
    section = _sizes({"9 x 200": 2, "100 x 10": 5, "50 x 50": 1})
    assert section.facts == {
        "smallest": "100 x 10", "largest": "50 x 50", "different": "3", "most common": "100 x 10, 5 images",
    }  # fmt: skip
    assert len(section.figures) == 1
    alone = _sizes({"8 x 9": 1})
    assert alone.facts == {"smallest": "8 x 9", "largest": "8 x 9", "different": "1"}
    assert alone.figures == []
    assert "most common" not in _sizes({"8 x 9": 1, "9 x 9": 1}).facts


def test_a_class_that_a_split_lacks_has_none_there() -> None:
    (classes,) = _labels(content(), label_issues("multiclass"))
    assert classes.table is not None
    assert classes.table.to_dict("list") == {"class": ["a", "b"], "train": [3, 2], "val": [1, 0]}
    assert _labels({"classes": {}}, label_issues("multiclass")) == []
