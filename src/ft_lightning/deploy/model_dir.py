"""The model directory: weights + model.json, self-contained, verified, and read without running code."""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ft_lightning.backbones.backbone import Backbone
from ft_lightning.backbones.load import build_backbone
from ft_lightning.data.layout import Layout
from ft_lightning.deploy import adapter
from ft_lightning.deploy.predictor import TrainedModel
from ft_lightning.deploy.weights import INDEX, WEIGHTS, fill, read_weights, verified, write_weights
from ft_lightning.finetune import freeze_plan
from ft_lightning.heads import build_head
from ft_lightning.model import Classifier
from ft_lightning.readers.sample import Reader
from ft_lightning.runs.run import CARD, Run
from ft_lightning.system.errors import UserError, name_few, number_of
from ft_lightning.system.files import replacing, write_json
from ft_lightning.system.versions import versions
from ft_lightning.tasks.registry import task_of
from ft_lightning.tasks.task import Task

log = logging.getLogger(__name__)

FORMAT = 1  # raised when an older reader would misread a newer file
ADAPTER = "adapter"  # the same adapters that are merged into the weights, for peft


def save(
    folder: Path,
    classifier: Classifier,
    head: dict[str, Any],
    task: Task,
    metrics: dict[str, Any],
    build_backbone: Callable[..., Backbone] = build_backbone,
    reader: Reader | None = None,
    layout: Layout | None = None,
) -> None:
    """Write a model directory, whole or not at all, and check that it loads as exactly the same classifier.

    Args:
        head: name and arguments for `heads.build_head`.
        task: calibrated.
        metrics: of val and test, as in metrics.json.
        build_backbone: as in `load`, for the check.
        reader: how samples were read; None: as the backbone's own reader does.
        layout: of the samples it was trained on; None: it is not kept.
    """
    backbone = classifier.backbone
    reader = reader or backbone.reader
    state = {name: value.detach().cpu() for name, value in classifier.merged_state().items()}
    plan, adapters = classifier.plan, classifier.adapters
    card = {
        "format": FORMAT,
        "backbone": asdict(backbone.identity),
        "preprocess": reader.to_dict(),
        "finetune": {"mode": plan.mode, "trained_blocks": list(plan.trained_blocks)}
        | (adapters.to_dict() if adapters else {}),
        "head": head,
        **({"data": layout.to_dict()} if layout else {}),
        **task.to_dict(),
        "metrics": {split: _numbers(metrics[split]) for split in ("val", "test")},
        "versions": versions(),
    }
    with replacing(folder) as temporary:
        temporary.mkdir()
        written = write_weights(temporary, state)
        if adapters:
            purpose = "CAUSAL_LM" if task.generates else None
            adapter.save(temporary / ADAPTER, adapters, backbone.identity.name, purpose)
        for name, content in reader.files().items():
            (temporary / name).write_bytes(content)
        write_json(temporary / CARD, card | written)
        reloaded = load(temporary, build_backbone).classifier.state_dict()
        assert reloaded.keys() == state.keys(), "the saved model has other tensors than the trained one"
        assert all(torch.equal(reloaded[name], state[name]) for name in state), "the saved model has other values"


def load(
    model_dir: str | os.PathLike[str],
    build_backbone: Callable[..., Backbone] = build_backbone,
    key: str = "model_dir",
) -> TrainedModel:
    """Read a model directory, or the run directory that holds one, without network, pickle or the original weights.

    Args:
        build_backbone: (identity, preprocess) of model.json, both dictionaries -> backbone; for a backbone of your own.
        key: where the user has named the directory, for messages.

    Raises:
        UserError: no model there, a newer format, or weights that do not match model.json.
    """
    # str: Hydra parses a folder name such as 2024 as a number
    folder = find(Path(model_dir if isinstance(model_dir, os.PathLike) else str(model_dir)).expanduser(), key)
    card = _read_card(folder / CARD)
    try:
        return _build(card, folder, read_weights(folder, card), build_backbone)
    except UserError:
        raise
    except Exception as error:  # of many types, for a file that somebody has changed
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{folder} holds no model that can be read ({type(error).__name__}: {reason}): copy it again."
        ) from error


def _build(
    card: dict[str, Any], folder: Path, state: dict[str, Tensor], build_backbone: Callable[..., Backbone]
) -> TrainedModel:
    backbone = build_backbone(card["backbone"], _with_files(card["preprocess"], folder))
    if "pillow" in backbone.reader.libraries:
        _warn_of_other_decoder(card)
    head = build_head(in_features=backbone.feature_dim, num_classes=task_of(card).width, **card["head"])
    classifier = Classifier(backbone, head, freeze_plan(backbone, head, mode="frozen", k=None, freeze_bn=True))
    fill(classifier, state)
    return TrainedModel(classifier.eval().requires_grad_(False), card)


def _with_files(preprocess: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the reader's values with the content of its files in place of their digests."""
    digests = preprocess.get("files", {})
    contents = {name: verified(folder, name, digests[name]).read_text(encoding="utf-8") for name in digests}
    return preprocess | ({"files": contents} if contents else {})


def _warn_of_other_decoder(card: dict[str, Any]) -> None:
    """Warn if another release of Pillow prepared this model's training images: it may resize a little differently."""
    if card.get("preprocess", {}).get("kind") == "text":
        return
    then, now = (str(one.get("pillow")).split(".")[0] for one in (card.get("versions") or {}, versions()))
    if then.isdecimal() and then != now:
        log.warning("This model's training images were read by Pillow %s, here is %s: pixels may differ.", then, now)


def _numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics without the entries per class."""
    return {name: value for name, value in metrics.items() if not isinstance(value, dict)}


def find(folder: Path, key: str) -> Path:
    """Return the model directory that a folder is or holds; raise UserError if there is none."""
    for candidate in (folder, Run(folder).model):
        if (candidate / CARD).is_file() and any((candidate / name).is_file() for name in (WEIGHTS, INDEX)):
            return candidate
    inside = sorted(path.parent.parent for path in folder.glob(f"*/{Run(folder).model.name}/{CARD}"))
    if inside:  # of a multirun or a search
        names = name_few([f"{key}={path}" for path in inside])
        raise UserError(f"{key}={folder} is a folder of {number_of(len(inside), 'run')}: name one of them, {names}.")
    raise UserError(
        f"{key}={folder} holds no model: expected {CARD} and {WEIGHTS} there or in its model/ folder, "
        "as a finished run leaves them (outputs/train/<run>/model)."
    )


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        written = int(card["format"])
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise UserError(
            f"{path} is not the description of a model ({error!r}): copy the model directory again."
        ) from None
    if written > FORMAT:
        said = card.get("versions")
        writer = said.get("ft_lightning", "a newer one") if isinstance(said, dict) else "a newer one"
        raise UserError(
            f"{path} has format {written}, written by ft_lightning {writer}; this one reads up to {FORMAT}: upgrade it."
        )
    return card
