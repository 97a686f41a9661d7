"""The card of a model directory: who wrote it, and with which decoder."""

import json
import logging
from pathlib import Path
from typing import Any

import PIL
import pytest

from ft_lightning.deploy.model_dir import FORMAT, _numbers, _read_card, _warn_of_other_decoder, find
from ft_lightning.system.errors import UserError

NOW = int(PIL.__version__.split(".")[0])


@pytest.mark.parametrize(
    ("versions", "warns"),
    [
        ({"pillow": PIL.__version__}, False),
        ({"pillow": f"{NOW}.99.1"}, False),
        ({"pillow": f"{NOW - 1}.0.0"}, True),
        ({"pillow": f"{NOW + 1}.0.0"}, True),
        ({"pillow": None}, False),
        ({"pillow": "unknown"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_only_another_release_of_pillow_is_said(
    versions: dict[str, Any] | None, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _warn_of_other_decoder({"versions": versions})
    assert ("were read by Pillow" in caplog.text) == warns


@pytest.mark.parametrize(
    ("versions", "writer"), [({"ft_lightning": "9.9"}, "9.9"), ({}, "a newer one"), (3, "a newer one")]
)
def test_a_newer_format_says_who_wrote_it(versions: object, writer: str, tmp_path: Path) -> None:
    card = tmp_path / "model.json"
    card.write_text(json.dumps({"format": FORMAT + 1, "versions": versions}))
    with pytest.raises(
        UserError, match=f"has format {FORMAT + 1}, written by ft_lightning {writer}; .* up to {FORMAT}:"
    ):
        _read_card(card)
    card.write_text(json.dumps({"format": FORMAT, "versions": versions}))
    assert _read_card(card)["format"] == FORMAT


def test_metrics_of_a_card_are_numbers_without_those_of_each_class() -> None:
    assert _numbers({"accuracy": 0.5, "ci95": [0, 1], "per_class": {"a": {}}}) == {"accuracy": 0.5, "ci95": [0, 1]}


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    for job in ("0", "1"):
        (tmp_path / job / "model").mkdir(parents=True)
        (tmp_path / job / "model/model.json").write_text("{}")
    with pytest.raises(UserError) as refused:
        find(tmp_path, "init_from")
    assert str(refused.value) == (
        f"init_from={tmp_path} is a folder of 2 runs: name one of them, init_from={tmp_path}/0, init_from={tmp_path}/1."
    )
