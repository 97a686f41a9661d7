"""The words that a model's answer hangs on are those that are marked, and no others."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ft_lightning.deploy import speaking
from ft_lightning.deploy.speaking import write_words
from ft_lightning.features.extract import Computing
from ft_lightning.readers.sample import Sample
from ft_lightning.readers.words import parts_of
from ft_lightning.runs.previews import Mark, read_previews, write_previews
from ft_lightning.runs.run import Run
from ft_lightning.tasks.multiclass import MultiClass


def texts_of(parts: list[Any]) -> list[Any]:
    return [part.without.content for part in parts]


@pytest.mark.parametrize(
    ("content", "without"),
    [
        ("a good film", [" good film", "a  film", "a good "]),
        ("good.", []),
        ("good !?", [" !?", "good "]),
        ("好电影", ["电影", "好影", "好电"]),
        ("नमस्ते दुनिया", [" दुनिया", "नमस्ते "]),
        (("good film", "bad"), [(" film", "bad"), ("good ", "bad"), ("good film", "")]),
        ("", []),
    ],
)
def test_each_word_is_left_out_once(content: Any, without: list[Any]) -> None:
    sample = Sample.of_text("x", content)
    parts = parts_of(sample, 40)
    assert texts_of(parts) == without
    whole = content if isinstance(content, str) else "\n".join(content)
    for part in parts:
        joined = part.without.content if isinstance(content, str) else "\n".join(part.without.content)
        assert whole[: part.start] + whole[part.end :] == joined


def test_many_words_go_together_and_those_beyond_the_beginning_stay() -> None:
    sample = Sample.of_text("x", " ".join(f"w{number:03d}" for number in range(200)))
    parts = parts_of(sample, 40)
    assert len(parts) == 30, "300 characters hold 60 words"
    assert all(part.end <= 300 and part.without.content.endswith("w199") for part in parts)
    assert [parts[0].start, parts[0].end, parts[-1].end] == [0, 9, 299]
    assert parts_of(Sample.of_text("x", "x" * 10_000), 40) == []


class Planted:
    """A model that answers by one word; the others do next to nothing."""

    task = MultiClass(["no", "yes"], [])

    def __init__(self) -> None:
        self.asked = 0

    def rows(self, samples: list[Sample], *_: object) -> tuple[torch.Tensor, dict[int, str]]:
        self.asked += len(samples)
        yes = torch.tensor([4.0 if "zebra" in sample.content else -4 for sample in samples])
        return torch.stack([torch.zeros(len(samples)), yes], 1), {}


@pytest.mark.parametrize(
    "text", ["what a zebra of a film", "zebra", "zebra!", "a film", "שלום zebra مرحبا", "好zebra好"]
)
def test_a_planted_word_is_marked(text: str, tmp_path: Path) -> None:
    run, sample = Run(tmp_path), Sample.of_text("t.csv#2", text)
    write_previews([sample], run.previews, lambda one: one.content)
    model: Any = Planted()
    write_words(run, lambda: model, [sample], _how("text"))
    marks = read_previews(run.previews, run.table("words"))["t.csv#2"].marks  # type: ignore[union-attr]
    if (len(text.split()) > 1 and "zebra" in text) or "好" in text:
        assert marks == (Mark(text.index("zebra"), text.index("zebra") + 5, 1.0),)
    else:
        assert marks == ()


def test_images_and_samples_that_are_not_shown_cost_nothing(tmp_path: Path) -> None:
    run, sample, model = Run(tmp_path), Sample.of_text("a", "a zebra"), Planted()
    write_previews([], run.previews, lambda one: one.content)
    write_words(run, lambda: model, [sample], _how("text"))  # type: ignore[arg-type]
    assert run.table("words").empty
    write_words(Run(tmp_path / "other"), lambda: pytest.fail("it is not needed"), [sample], _how("image"))
    assert model.asked == 0
    assert not (tmp_path / "other").exists()


def test_the_cost_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [Sample.of_text(f"{number}", f"a {number} " * 60) for number in range(50)]
    run, model = Run(tmp_path), Planted()
    write_previews(samples, run.previews, lambda one: one.content[:300])
    write_words(run, lambda: model, samples, _how("text"))  # type: ignore[arg-type]
    assert 24 * 2 < model.asked <= 24 * 41
    monkeypatch.setattr(speaking, "_SECONDS", 0.0)
    before = model.asked
    write_words(run, lambda: model, samples, _how("text"))  # type: ignore[arg-type]
    assert 1 < model.asked - before <= 41, "one sample"


def _how(kind: str) -> Computing:
    reader: Any = type("Reader", (), {"kind": kind})()
    return Computing(reader, torch.device("cpu"), "32-true", num_workers=0)
