"""A part is as loud as an answer hangs on it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ft_lightning.tasks.speaking import loud


def test_a_word_is_as_loud_as_the_answer_hangs_on_it() -> None:
    table = pd.DataFrame({"path": list("0123"), "predicted": "a", "p(a)": [0.9, 0.3, 0.75, 0.95]})
    table["p(b)"] = 1 - table["p(a)"]
    assert loud(table).tolist() == pytest.approx([1, 0.25, 0])
    assert loud(table.assign(**{"p(a)": 0.9, "p(b)": 0.1})).tolist() == [0, 0, 0], "nothing changes it"
    assert loud(table.head(1)).tolist() == []


def test_of_a_number_counts_how_far_it_moves() -> None:
    table = pd.DataFrame({"path": list("0123"), "predicted": [4.0, 1.0, 5.5, 4.1], "low": 0.0, "high": 9.0})
    assert loud(table).tolist() == pytest.approx([1, 0.5, 0])
    assert loud(table.rename(columns={"predicted": "predicted(x)"})).tolist() == pytest.approx([1, 0.5, 0])


@pytest.mark.parametrize("table", [{"predicted": ["a", "b"]}, {"other": [1, 2]}])
def test_other_answers_mark_nothing(table: dict[str, Any]) -> None:
    assert loud(pd.DataFrame({"path": ["0", "1"], **table})).tolist() == [0]


def test_weights_are_of_the_shares_they_say() -> None:
    changes = np.array([0.5, 0.11, 0.09, 0.0])
    table = pd.DataFrame({"p(a)": [0.9, *(0.9 - changes)], "p(b)": [0.1, *(0.1 + changes)]})
    assert loud(table).tolist() == pytest.approx([1.0, 0.22, 0.0, 0.0])
