"""Which samples an evaluation scores, and which of them the model has seen."""

import logging
from pathlib import Path

import pandas as pd
import pytest

from ft_lightning.cli.compose import compose
from ft_lightning.data.layout import Layout
from ft_lightning.evaluate import as_trained, nothing_left, split_by, trained_samples
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.run import Run
from ft_lightning.system.tables import write_table

ROWS = [
    ("a.png", "1", "train", ""),
    ("b.png", "2", "test", ""),
    ("c.png", "3", "", "damaged"),
    ("d.png", "4", "val", ""),
]


def test_the_table_of_a_source_of_one_s_own_is_read_by_that_alone(tmp_path: Path) -> None:
    table = tmp_path / "objects.json"
    table.write_text('{"images": [], "annotations": []}')
    layout = Layout({"label": "species", "label_sep": "|", "later": "species"})
    data = compose("evaluate", "data.find._target_=mine.find").data
    read = as_trained(data, layout, str(table), "image")
    assert read == {**data, "label_sep": "|"}
    table.write_text('[{"species": "dog"}]')
    read = as_trained(compose("evaluate").data, layout, str(table), "image")
    assert (read.label, read.label_sep) == ("species", "|")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_table(pd.DataFrame(ROWS, columns=["path", "digest", "split", "excluded"]), tmp_path / "split.csv")
    return Run(tmp_path)


def of(name: str, digest: str) -> Sample:
    return Sample(f"/d/{name}", name, "x", digest, None)


def test_samples_have_the_split_that_they_had_in_the_run(run: Run, tmp_path: Path) -> None:
    given = [of("a.png", "1"), of("renamed.png", "2"), of("c.png", "3"), of("d.png", "9"), of("new.png", "8")]
    assert [sample.split for sample in split_by(given, run)] == ["train", "test", None, None, None]
    assert split_by(given, Run(tmp_path / "nowhere")) is given


def test_samples_that_the_model_was_trained_on_are_counted_and_said(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert trained_samples([of("b.png", "2"), of("c.png", "3")], run) == 0
        assert trained_samples([of("a.png", "1")], Run(tmp_path / "nowhere")) is None
        assert caplog.text == ""
        assert trained_samples([of("x.png", "1"), of("b.png", "2"), of("y.png", "1")], run) == 2
    assert "2 of 3 samples were in this model's train split" in caplog.text


def test_data_without_a_sample_are_nothing() -> None:
    assert nothing_left({"train": [], "test": []}) == ["the data"]
    assert nothing_left({"train": [], "test": [of("a.png", "1")]}) == []
