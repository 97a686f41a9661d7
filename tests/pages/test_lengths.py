"""The section on lengths says how much of the texts is read, from the record alone."""

import re
from typing import Any

import pytest

from ft_lightning.pages.lengths import sections_on_lengths
from ft_lightning.readers.lengths import counted, length_of, lengths, tokens
from ft_lightning.readers.sample import Inspection, Sample

TOKENS = {
    **{"texts": 1234, "median": 21, "longest": 9876, "counts": [1200, 34], "edges": [3.0, 100.0, 9876.0]},
    **{"max_length": 256, "truncate": "head", "cut": 0.125, "unknown": 0.0312},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {},
            ["12.5% of the texts are longer than the 256 tokens", "the beginning is read.", "3.12%", "9,876", "1,234"],
        ),
        ({"truncate": "head_tail"}, ["of these the beginning and the end are read."]),
        ({"truncate": "windows"}, ["of these all of it is read."]),
        ({"cut": 0.0, "longest": 200}, ["0.0% of the texts are longer than the 256 tokens that are read at a time."]),
    ],
)
def test_the_share_that_is_cut_is_said(change: dict[str, Any], said: list[str]) -> None:
    (section,) = sections_on_lengths({"tokens": TOKENS | change, "characters": {"texts": 1}})
    shown = " ".join([section.text, *section.facts.values()])
    for words in said:
        assert words in shown
    assert len(section.figures) == 1


@pytest.mark.parametrize("record", [{}, {"tokens": None}, {"tokens": {"texts": 0}}, {"characters": {"texts": 0}}])
def test_without_texts_there_is_no_section(record: dict[str, Any]) -> None:
    assert sections_on_lengths(record) == []


@pytest.mark.parametrize("values", [[1], [5, 5, 5], [1, 2, 3], [0, 10], list(range(1, 400)), [3, 100_000]])
def test_every_text_is_in_one_range(values: list[int]) -> None:
    found = lengths(values)
    assert sum(found["counts"]) == len(values) == found["texts"]
    assert len(found["edges"]) == len(found["counts"]) + 1
    assert found["longest"] == max(values)
    (section,) = sections_on_lengths({"characters": found})
    assert not re.search(r"token", section.text)


def test_long_sets_are_counted_in_part_by_digest_and_short_ones_whole() -> None:
    samples = [
        Sample(str(i), str(i), "a", f"{i * 7919 % 1000:04d}", content="x" * 5000, kind="text") for i in range(500)
    ]
    some = list(counted(samples))
    assert len(some) == 201
    assert some == list(counted(samples[::-1])), "whatever their order"
    assert len(list(counted(samples[:150]))) == 150
    assert length_of(("ab", "c")) == 3


def test_unknown_and_cut_are_shares_of_what_can_be_read() -> None:
    looks = {"a": (10, 5), "bb": (30, 0), "": (0, 0)}

    def inspect(sample: Sample) -> Inspection:
        return Inspection(*looks[sample.content], "text", "" if sample.content else "it is empty", True)

    found = tokens([Sample.of_text(content, content) for content in looks], inspect, 16, "head")
    assert (found["cut"], found["unknown"], found["texts"]) == (0.5, 0.125, 2)
