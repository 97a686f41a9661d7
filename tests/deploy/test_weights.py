"""Weights of a model directory in several files: whole, or refused by name."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from chat import language_model, write_language_model
from ft_lightning.deploy import model_dir, weights
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.instruct import Instruct


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(weights, "LARGEST", 30_000)
    model = language_model(write_language_model(tmp_path / "base"), "full")
    model_dir.save(tmp_path / "model", model, {"name": "none"}, Instruct(1, 1), {"val": {}, "test": {}})
    return tmp_path / "model"


def test_weights_in_parts_load_as_they_were_and_tied_ones_stay_tied(folder: Path, tmp_path: Path) -> None:
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 2
    assert not (folder / "model.safetensors").exists()
    assert sum("embed_tokens" in name or "lm_head" in name for part in parts for name in load_file(part)) == 1
    network: Any = model_dir.load(folder).classifier.backbone.network  # type: ignore[union-attr]
    assert network.lm_head.weight is network.model.embed_tokens.weight
    base: Any = language_model(tmp_path / "base", "full").backbone.network
    own = base.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


def card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "model.json").read_text())


def index_outside(folder: Path) -> None:
    said = card(folder)
    first = next(iter(said["shards"]))
    said["shards"] = {f"../{first}": said["shards"].pop(first), **said["shards"]}
    (folder / "model.json").write_text(json.dumps(said))


def index_of_others(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["another"] = "model-00001-of-00002.safetensors"
    path.write_text(json.dumps(index))
    said = card(folder) | {"sha256": sha256(path.read_bytes()).hexdigest()}
    (folder / "model.json").write_text(json.dumps(said))


def first(folder: Path) -> Path:
    return min(folder.glob("model-*.safetensors"))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a part is missing": (lambda f: first(f).unlink(), r"model-00001-of-\d+\.safetensors is damaged: sha256 missing"),
    "a part is cut": (
        lambda f: first(f).write_bytes(first(f).read_bytes()[:-1]),
        r"model-00001-of-\d+\.safetensors is",
    ),
    "the index is missing": (lambda f: (f / "model.safetensors.index.json").unlink(), "holds no model"),
    "the index is changed": (lambda f: (f / "model.safetensors.index.json").write_text("{}"), "index.json is damaged"),
    "the index names others": (index_of_others, r"its weights are not those of model\.safetensors\.index\.json"),
    "a part is outside": (index_outside, r"model\.json names a file outside its folder: \.\./model-00001"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_parts_that_are_not_those_of_the_card_are_refused(what: str, folder: Path) -> None:
    damage, message = DAMAGE[what]
    damage(folder)
    with pytest.raises(UserError, match=message):
        model_dir.load(folder)
