"""How a training's samples were laid out: which columns another table is read by, and pairs beside single texts."""

from typing import Any

import pytest

from ft_lightning.data.layout import Layout
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError

SINGLE, PAIR = Sample.of_text("t.csv#2", "one"), Sample.of_text("t.csv#3", ("one", "other"))
BROKEN = Sample("t.csv#4", "t.csv#4", "", "", problem="empty", kind="text")  # of a pair, whose texts are not known


def test_a_layout_knows_how_many_texts_a_sample_has() -> None:
    assert Layout.of([BROKEN, PAIR], text=["a", "b"], label=None).to_dict() == {
        "keys": {"text": ["a", "b"]},
        "texts": 2,
    }
    assert Layout.of([SINGLE, SINGLE], text=None).texts == 1
    assert Sample.unlabelled("own", ["one", "other"], "text").texts == 2, "of a source of one's own"
    assert Layout.of([Sample.unlabelled("/a.txt", kind="text")]).texts == 1, "a file is one text"
    assert Layout.of([Sample.unlabelled("/a.png")]).texts == Layout.of([]).texts == 0
    assert Layout.from_dict(Layout.of([PAIR], text=["a", "b"]).to_dict()) == Layout({"text": ["a", "b"]}, 2)
    assert Layout.from_dict({}) == Layout()
    with pytest.raises(UserError, match=r"t\.csv#2 is a single text and t\.csv#3 a pair"):
        Layout.of([SINGLE, PAIR])


@pytest.mark.parametrize(
    ("keys", "there", "kind", "expected"),
    [
        ({"text": "review", "label": "stars"}, ["review", "stars"], "text", {"text": "review", "label": "stars"}),
        ({"text": "review", "label": "stars"}, ["text", "stars"], "text", {"label": "stars"}),
        ({"text": "review", "label": "stars"}, ["body", "label"], "text", {"text": "review"}),  # the error names review
        ({"text": ["a", "b"]}, ["a", "text"], "text", {}),
        ({"label": ["red", "green"]}, ["path", "red", "green"], "image", {"label": ["red", "green"]}),
        ({"label": "words"}, ["path", "class"], "image", {"label": "words"}),
        ({"text": "q", "label": "a"}, ["prompt", "completion"], "conversation", {}),
        ({"text": "q", "label": "a"}, ["q"], "conversation", {"text": "q"}),
        ({"label_sep": "|"}, [], "image", {"label_sep": "|"}),
    ],
)
def test_a_table_is_read_by_the_columns_of_the_training_where_it_has_them(
    keys: dict[str, Any], there: list[str], kind: str, expected: dict[str, Any]
) -> None:
    assert Layout(keys).within(there, kind) == expected


def test_pairs_and_single_texts_are_told_apart() -> None:
    pairs, singles = Layout({"text": ["a", "b"]}, 2), Layout({"text": "review"}, 1)
    for layout, own in ((pairs, PAIR), (singles, SINGLE), (Layout(), PAIR), (Layout(), SINGLE)):
        layout.refuse_others([own, BROKEN], "column")
    with pytest.raises(UserError, match=r"pairs of texts \(data\.text=\[a,b\]\); 1 of 2 .*column=\[a,b\]"):
        pairs.refuse_others([SINGLE, PAIR], "column")
    with pytest.raises(UserError, match=r"single texts \(data\.text=review\); 1 of 1 .*pairs .*data\.text=review"):
        singles.refuse_others([PAIR], "data.text")
    with pytest.raises(UserError, match=r"trained on pairs of texts; .*column=\[one,other\]"):
        Layout({}, 2).refuse_others([SINGLE], "column")
