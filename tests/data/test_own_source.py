"""What fails in a source of the user's own is told with its place."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ft_lightning.data.kinds import IMAGES, TEXTS
from ft_lightning.data.labels import Labels
from ft_lightning.data.scan import Entry, Listing, scan
from ft_lightning.data.sources import find_images
from ft_lightning.system.errors import UserError


def of_a_database(root: str | None, csv: str | None, on_problem: Any, database: str) -> Listing:
    with closing(sqlite3.connect(database)) as opened:
        return Listing(opened.execute("select path from images").fetchall(), Path())


def of_a_dict(root: str | None, csv: str | None, on_problem: Any, **more: str) -> Listing:
    return {}["label"]  # type: ignore[return-value]


def of_two(root: str | None, csv: str | None) -> Listing:
    return Listing([], Path())


@pytest.mark.parametrize("kind", [IMAGES, TEXTS])
@pytest.mark.parametrize(
    ("find", "said"),
    [
        (partial(of_a_database, database=":memory:"), r"of_a_database fails: OperationalError: no such table: images"),
        (of_a_dict, r"of_a_dict fails: KeyError: 'label' \(test_own_source\.py, line \d+\)\.$"),
        (
            of_two,
            r"of_two fails: TypeError: of_two\(\) .* but 3 were given. It is called with root, csv",
        ),
    ],
)
def test_the_message_has_its_name_the_error_and_the_line(kind: Any, find: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"^data\.find={said}"):
        scan(kind.source(find, {}), None, None, Labels(), kind=kind.name)


def test_a_bug_of_ours_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ft_lightning.data.sources.list_folder", lambda *_: {}["label"])
    with pytest.raises(KeyError):
        scan(IMAGES.source(partial(find_images), {}), "/somewhere", None, Labels())


def test_what_it_refuses_itself_and_its_parameters_are_kept() -> None:
    def columns(root: str | None, csv: str | None, on_problem: Any, label: str) -> Listing:
        raise UserError(f"my own words on {label}")

    with pytest.raises(UserError, match=r"^my own words on age"):
        scan(IMAGES.source(columns, {}), None, None, Labels(columns="age"))

    def of_any(root: str | None, csv: str | None, on_problem: Any, **named: str) -> Listing:
        return Listing([Entry("a", named["label"])], Path("/x"))

    assert [each.label for each in scan(of_any, None, None, Labels(columns="age"))] == ["age"]
    with pytest.raises(UserError, match=r"data\.find=dict fails: TypeError"):
        scan(IMAGES.source(partial(dict), {}), None, None, Labels(columns="age"))
    with pytest.raises(UserError, match=r"data\.label=age: data\.find=of_two has no parameter label"):
        scan(IMAGES.source(of_two, {}), None, None, Labels(columns="age"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("label", "text"), [(3, "'3'"), (None, "''"), (True, "'True'")])
def test_a_label_that_is_no_text_is_told_with_one_that_is(label: Any, text: str) -> None:
    with pytest.raises(UserError, match=rf"data\.find=<lambda>: a has the label {label}; .* such as {text}, or"):
        scan(lambda *_: Listing([Entry("a", label)], Path("/x")), None, None, Labels())
