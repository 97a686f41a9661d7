"""Samples that count by weights: `data.weight`."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import ft_lightning
from conftest import write_pictures
from ft_lightning.data.labels import Labels
from ft_lightning.data.scan import Entry, Listing, scan
from ft_lightning.data.sources import find_images
from ft_lightning.data.table import list_table
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError

TINY = [
    *("data=image_folder", "model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true"),
    *("data.num_workers=0", "trainer.enable_progress_bar=false", "data.weight=weight"),
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ants that count and bees that do not."""
    root = write_pictures(tmp_path_factory.mktemp("weights") / "pictures", {"ant": 12, "bee": 12})
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = [(path, path[:3], 1.5 if path[:3] == "ant" else 0) for path in paths]
    pd.DataFrame(rows, columns=["path", "label", "weight"]).to_csv(root / "t.csv", index=False)
    return root / "t.csv"


def trained(folder: Path, table: Path, *overrides: str) -> Any:
    return ft_lightning.run("train", *TINY, f"data.csv={table}", *overrides, run_dir=folder)


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=lbfgs"],
        ["optimizer.lr=0.1", "trainer.max_epochs=4"],
        ["optimizer.lr=0.1", "trainer.max_epochs=4", "cache.enabled=false"],
        ["head.init=probe", "trainer.max_epochs=1"],
    ],
    ids=["solved", "stored", "live", "probe"],
)
def test_what_has_no_weight_is_not_learnt(overrides: list[str], table: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", table, *overrides)
    assert set(Run(run.path).table("predictions")["predicted"]) == {"ant"}
    assert run.metrics["test"]["accuracy"] == 0.5, "what is measured counts alike"


class Own(nn.Module):
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.square().mean()


@pytest.mark.parametrize("loss", [Own(), Own().forward])
def test_a_loss_without_weights_is_refused(
    loss: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ft_lightning.loss.cross_entropy", lambda label_smoothing, class_weights, class_counts: loss)
    with pytest.raises(UserError, match=r"data\.weight=weight: .*cross_entropy makes a loss that takes no weights"):
        trained(tmp_path / "run", table)


def test_they_are_read_from_the_named_column(table: Path) -> None:
    listing = list_table(table, None, None, "weight")
    assert [entry.weight for entry in listing.entries] == [1.5] * 12 + [0.0] * 12
    assert {entry.weight for entry in list_table(table, None).entries} == {1.0}
    samples = scan(find_images, None, str(table), Labels(weight="weight"))
    assert {(sample.label, sample.weight) for sample in samples} == {("ant", 1.5), ("bee", 0.0)}


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (["1", "-2"], "row 3 has the weight '-2'; use a number from 0"),
        (["", "1"], "row 2 has the weight ''"),
        (["nan", "1"], "row 2 has the weight 'nan'"),
        (["inf", "1"], "row 2 has the weight 'inf'"),
        (["many", "1"], "row 2 has the weight 'many'"),
        (["0", "0.0"], "all weights are 0"),
    ],
)
def test_what_is_no_weight_is_refused(weights: list[str], said: str, table: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"path": ["ant/00.png", "bee/00.png"], "label": ["a", "b"], "w": weights})
    rows.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=said):
        list_table(tmp_path / "t.csv", table.parent, None, "w")
    with pytest.raises(UserError, match="no column 'v'"):
        list_table(tmp_path / "t.csv", table.parent, None, "v")


def test_a_source_without_columns_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.weight=w: data.find=plain has no parameter weight"):
        scan(plain, None, "t.csv", Labels(weight="w"))
    with pytest.raises(UserError, match=r"data\.weight=w names columns of a table, but there is none"):
        scan(find_images, str(tmp_path), None, Labels(weight="w"))


def plain(root: str | None, csv: str | None, on_problem: object) -> Listing:
    """A source of somebody's own."""
    return Listing([Entry("a.png", "a")], Path())


def test_a_batch_of_train_holds_them(table: Path) -> None:
    from ft_lightning.data.datasets import StoredDataset

    stored = StoredDataset(torch.zeros(3, 2), torch.tensor([0, 1, 0]), torch.tensor([1.0, 2.0, 3.0]))
    assert stored[torch.tensor([2, 0])]["weight"].tolist() == [3.0, 1.0]
    assert "weight" not in StoredDataset(torch.zeros(3, 2), torch.tensor([0, 1, 0]))[torch.tensor([1])]


def test_weights_of_train_that_are_all_0_are_refused(table: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(table)
    rows["path"] = [str(table.parent / path) for path in rows["path"]]
    rows["split"] = ["train", "train", "val", "test"] * 6
    rows["weight"] = [0 if split == "train" else 1 for split in rows["split"]]
    rows.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"data\.weight: all samples of train have the weight 0"):
        trained(tmp_path / "run", tmp_path / "t.csv")
    rows["weight"] = [int(path.endswith("00.png")) for path in rows["path"]]  # one of the ants, one of the bees
    rows.to_csv(tmp_path / "t.csv", index=False)
    rows[rows["weight"] == 1].to_csv(tmp_path / "exclude.csv", index=False)
    with pytest.raises(UserError, match="leaves nothing of a weight above 0 in train"):
        trained(tmp_path / "other", tmp_path / "t.csv", f"data.exclude={tmp_path / 'exclude.csv'}")


@pytest.mark.parametrize("live", [[], ["cache.enabled=false"]], ids=["stored", "live"])
def test_batches_without_any_weight_teach_nothing_and_end_nothing(live: list[str], table: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", table, "data.batch_size=2", "trainer.max_epochs=3", "optimizer.lr=0.1", *live)
    assert set(run.table("predictions")["predicted"]) == {"ant"}, "only ants have weights"


def test_mixed_images_have_no_weight(table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mixup makes an image of two, whose weights differ \(data\.weight=weight\)"):
        trained(tmp_path / "run", table, "mix=mixup")


def test_a_resumed_run_notices_other_weights(table: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(table)
    rows["path"] = [str(table.parent / path) for path in rows["path"]]
    rows.to_csv(tmp_path / "t.csv", index=False)
    run = trained(tmp_path / "run", tmp_path / "t.csv", "trainer.max_epochs=1")
    assert run.table("split").set_index("class")["weight"].to_dict() == {"ant": "1.5", "bee": "0.0"}
    goes_on = f"resume={run.path}", "trainer.max_epochs=2"
    rows.loc[0, "weight"] = 2.5
    rows.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"1 file of the dataset is new, gone, changed, .* of another weight"):
        ft_lightning.run("train", *goes_on)
    rows.loc[0, "weight"] = 1.5
    rows.to_csv(tmp_path / "t.csv", index=False)
    ft_lightning.run("train", *goes_on)
    run.write("split", run.table("split").drop(columns="weight"))  # as that of an older run
    ft_lightning.run("train", f"resume={run.path}", "trainer.max_epochs=3")
