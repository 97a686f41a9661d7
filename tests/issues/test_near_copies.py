"""Texts that are nearly the same are found by their pieces, as by comparing all with all."""

import random

import pytest

from ft_lightning.issues.near_copies import ALIKE, likeness, near_copies, traces_of


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("What is the capital of France, and why?", "what is the  capital of France, and WHY?", True),
        ("How do I list all files of a folder, hidden too?", "How do I list all files of a folder, hidden?", True),
        ("法国的首都是哪里？请用一句话回答我。", "法国的首都是哪里？请用一句话回答我吧。", True),
        ("What is the capital of France?", "What is the capital of Spain?", False),
        ("a", "b", False),
        ("Write 3 March 2021 as ISO 8601", "Write 4 June 2019 as ISO 8601", False),
    ],
)  # fmt: skip
def test_a_few_other_letters_make_no_other_question(one: str, other: str, alike: bool) -> None:
    assert (likeness(traces_of(one).pieces, traces_of(other).pieces) >= ALIKE) == alike
    assert bool(near_copies({0: traces_of(one)}, {1: traces_of(other)})) == alike


def test_what_is_found_is_nearly_all_that_comparing_all_finds() -> None:
    chance = random.Random(0)
    words = [f"word{number}" for number in range(40)]
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 12))) for _ in range(150)]
    texts += [f"{text} more" if number % 2 else text.replace("1", "2", 1) for number, text in enumerate(texts)]
    traces = {number: traces_of(text) for number, text in enumerate(texts)}
    known, asked = ({at: traces[at] for at in traces if (at < 150) == early} for early in (True, False))
    found = {asked_: alike for _, asked_, alike in near_copies(known, asked)}
    best = {at: max(likeness(traces[at].pieces, each.pieces) for each in known.values()) for at in asked}
    expected = {at: alike for at, alike in best.items() if alike >= ALIKE}
    assert found.items() <= expected.items()
    assert len(found) > 0.98 * len(expected) > 50
