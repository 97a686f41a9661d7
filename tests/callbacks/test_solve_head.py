"""The head is solved in each epoch, and is the main process's everywhere."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ft_lightning.callbacks.solve_head import SolveHead
from ft_lightning.optim import HeadSolver

FEATURES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.2], [0.1, 1.0]])
BATCH = {"features": FEATURES, "target": torch.tensor([0, 1, 0, 1])}


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_take_the_head_of_the_first(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[tuple[int, ...], int]] = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda value, src: sent.append((tuple(value.shape), src)))
    head = nn.Linear(2, 2)
    module: Any = SimpleNamespace(classifier=SimpleNamespace(head=head), loss=nn.CrossEntropyLoss())
    solver = HeadSolver([{"params": list(head.parameters())}], None, [1.0, 1e-3])
    norms = []
    for epoch in (0, 1):
        trainer: Any = SimpleNamespace(optimizers=[solver], current_epoch=epoch, world_size=processes)
        SolveHead().on_train_batch_start(trainer, module, BATCH, 0)
        norms.append(head.weight.norm().item())
    assert 0 < 3 * norms[0] < norms[1], "a weaker strength in the second epoch"
    assert torch.equal(head(FEATURES).argmax(1), BATCH["target"])
    assert sent == ([] if processes == 1 else [((2, 2), 0), ((2,), 0)] * 2)


@pytest.mark.parametrize(
    ("stage", "stored", "whole"), [("fit", True, True), ("fit", False, False), ("test", True, False)]
)
def test_all_stored_features_of_train_are_one_batch(stage: str, stored: bool, whole: bool) -> None:
    served: list[tuple[str, Tensor, bool]] = []
    data = SimpleNamespace(
        served=lambda split: FEATURES if stored else None,
        serve=lambda split, rows, whole: served.append((split, rows, whole)),
    )
    trainer: Any = SimpleNamespace(datamodule=data)
    module: Any = None
    SolveHead().setup(trainer, module, stage)
    assert served == ([("train", FEATURES, True)] if whole else [])
