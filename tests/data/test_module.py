"""The datamodule: indices by name, order and augmentation as functions of seed, epoch and sample."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import LightningModule, Trainer
from PIL import Image
from torch.utils.data import BatchSampler
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

import ft_lightning.data
from conftest import files_below, write_pictures
from ft_lightning.augment import augmentation
from ft_lightning.data.datasets import InspectedDataset, check_loader
from ft_lightning.data.memo import Memo
from ft_lightning.data.module import ImageFolderDataModule
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.data.samplers import BatchPositions, EpochSampler, balanced
from ft_lightning.data.sources import find_images
from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.readers.sample import Sample, SampleError
from ft_lightning.system.distributed import Processes
from ft_lightning.system.errors import UserError

PREPROCESS = Preprocess((16,), (16, 16), "bilinear", (0.5,) * 3, (0.5,) * 3)


def datamodule(root: Path | None, **changes: Any) -> ImageFolderDataModule:
    options: dict[str, Any] = {
        "root": str(root) if root else None,
        "csv": None,
        "table": None,
        "create": None,
        "find": find_images,
        "val_fraction": 0.25,
        "test_fraction": 0.25,
        "split_seed": 0,
        "group_by": None,
        "label": None,
        "label_sep": ";",
        "empty_label": None,
        "weight": None,
        "case_sensitive": False,
        "allow_leak": False,
        "max_pixels": 10**6,
        "decode": "exact",
        "on_bad_image": "error",
        "max_bad_fraction": 0.5,
        "limit": None,
        "exclude": None,
        "batch_size": 4,
        "sampler": "shuffle",
        "num_workers": 0,
    }
    seed = changes.pop("seed", 0)
    data = ImageFolderDataModule(**options | changes)
    augment = augmentation(PREPROCESS, (0.3, 1.0), 0.5, trivial=True, erase=0.5)
    data.connect(ImageReader(PREPROCESS), augment, seed)
    return data


def epoch_of(data: ImageFolderDataModule, epoch: int) -> dict[str, torch.Tensor]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    batches = list(loader)
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def test_batches_are_bytes_with_target_and_position(pictures: Path) -> None:
    data = datamodule(pictures)
    batch = next(iter(data.val_dataloader()))
    assert batch["inputs"].dtype == torch.uint8
    assert batch["inputs"].shape == (4, 3, 16, 16)
    for target, index in zip(batch["target"], batch["index"], strict=True):
        assert data.task.class_names[target] == data.splits["val"][index].label


@pytest.mark.promise(9)
def test_a_val_split_that_lacks_a_class_keeps_every_index(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", {"ant": 4, "bee": 4, "cat": 4})
    write_pictures(tmp_path / "val", {"cat": 3}, seed=1)
    data = datamodule(tmp_path)
    assert data.task.class_names == ["ant", "bee", "cat"]
    assert {int(target) for batch in data.val_dataloader() for target in batch["target"]} == {2}


def test_augmentation_is_a_function_of_seed_epoch_and_sample(pictures: Path) -> None:
    first, again = epoch_of(datamodule(pictures), 3), epoch_of(datamodule(pictures), 3)
    assert all(torch.equal(first[key], again[key]) for key in first)
    other_epoch, other_seed = epoch_of(datamodule(pictures), 4), epoch_of(datamodule(pictures, seed=1), 3)
    for other in (other_epoch, other_seed):
        assert not torch.equal(first["index"], other["index"]), "another order"
        assert not torch.equal(first["inputs"][first["index"].argsort()], other["inputs"][other["index"].argsort()])


def test_an_augmentation_touches_no_generator_but_its_own_process_s(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reseeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)  # what torch.manual_seed would call
    epoch_of(datamodule(pictures), 0)
    assert not reseeded


def test_workers_change_nothing_and_the_global_generator_is_left_alone(pictures: Path) -> None:
    state = torch.get_rng_state()
    alone = epoch_of(datamodule(pictures), 1)
    assert torch.equal(torch.get_rng_state(), state)
    helped = epoch_of(datamodule(pictures, num_workers=2), 1)
    assert all(torch.equal(alone[key], helped[key]) for key in alone)


def test_the_last_call_of_serve_counts(pictures: Path) -> None:
    data = datamodule(pictures)
    rows = torch.zeros(len(data.splits["train"]), 3)
    data.serve("train", rows, whole=True)
    (batch,) = data.train_dataloader()
    assert torch.equal(batch["index"], torch.arange(len(rows)))
    data.serve("train", rows)
    assert len(next(iter(data.train_dataloader()))["index"]) == 4


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("seed", [None, 0])
def test_processes_share_a_split_evenly_and_miss_nothing(world_size: int, seed: int | None) -> None:
    shares = [list(EpochSampler(7, seed, rank, world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert {position for share in shares for _, position in share} == set(range(7))
    assert sum(map(len, shares)) < 7 + world_size


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_process_walks_its_own_share_of_one_order(world_size: int) -> None:
    shares = [list(EpochSampler(8, 0, rank, world_size)) for rank in range(world_size)]
    merged = [key for turn in zip(*shares, strict=True) for key in turn]
    assert merged == list(EpochSampler(8, 0, 0, 1))
    later = EpochSampler(8, 0, 0, 1)
    later.set_epoch(1)
    assert {epoch for epoch, _ in later} == {1}
    assert [position for _, position in later] != [position for _, position in merged]


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_balanced_epoch_has_equally_many_of_each_group(world_size: int) -> None:
    groups = torch.tensor([0] * 20 + [1] * 3 + [2] * 7)
    for epoch in range(3):
        drawn: list[int] = []
        for rank in range(world_size):
            sampler = EpochSampler(30, 0, rank, world_size, balanced, groups)
            sampler.set_epoch(epoch)
            drawn += [position for _, position in sampler]
        assert torch.bincount(groups[drawn]).tolist() == [10, 10, 10]
    assert len(set(drawn)) > 10, "not one sample again and again"


def test_train_is_drawn_by_its_sampler_and_nothing_else_is(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "pictures", {"ant": 30, "bee": 5})
    data = datamodule(root, sampler="balanced")
    for served in (False, True):
        if served:
            data.serve("train", torch.zeros(len(data.splits["train"]), 3))
        drawn = torch.cat([batch["target"] for batch in data.train_dataloader()])
        half = len(data.splits["train"]) // 2
        assert sorted(torch.bincount(drawn).tolist()) == sorted([half, len(drawn) - half])
    assert len(torch.cat([batch["index"] for batch in data.val_dataloader()]).unique()) == len(data.splits["val"])
    with pytest.raises(UserError, match=r"data\.sampler=even is unknown: use one of shuffle, balanced.* or add yours"):
        datamodule(root, sampler="even")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "a NoneType"), ([0, 1, 2, 3], "a list"), (np.arange(4), "a ndarray"), (torch.arange(3), r"shape \(3,\)"),
        (torch.arange(12), r"shape \(12,\), int64 from 0 to 11"), (torch.rand(4), "float32"),
        (torch.arange(4) - 1, "from -1 to 2"), (torch.arange(4) + 1, "from 1 to 4"),
    ],
)  # fmt: skip
def test_a_sampler_that_returns_no_order_is_told(returned: Any, said: str) -> None:
    def mine(groups: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return returned

    with pytest.raises(UserError, match=rf"data\.sampler: mine returned .*{said}.*: make it a tensor of 4 positions"):
        EpochSampler(4, 0, 0, 1, mine).positions()


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(
    ("length", "batch_size", "world_size"), [(7, 3, 1), (8, 4, 2), (9, 4, 1), (1, 4, 1), (5, 8, 2)]
)
def test_stored_batches_are_those_of_a_loader(length: int, batch_size: int, world_size: int, drop_last: bool) -> None:
    for rank in range(world_size):
        sampler = EpochSampler(length, 0, rank, world_size)
        batches = BatchPositions(EpochSampler(length, 0, rank, world_size), batch_size, drop_last)
        for epoch in (0, 3):
            sampler.set_epoch(epoch)
            batches.set_epoch(epoch)
            reference = [[position for _, position in keys] for keys in BatchSampler(sampler, batch_size, drop_last)]
            assert [batch.tolist() for batch in batches] == reference
            assert len(batches) == len(reference)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")  # what it says depends on the machine
@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_tells_the_sampler_the_epoch(pictures: Path, workers: int) -> None:
    seen: list[tuple[int, ...]] = []

    class Look(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
            seen.append((self.current_epoch, *batch["index"].tolist()))
            return self.weight.sum()

        def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None: ...

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters())

    data = datamodule(pictures, num_workers=workers, batch_size=18)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    Trainer(max_epochs=3, accelerator="cpu", use_distributed_sampler=False, **quiet).fit(Look(), data)
    expected = []
    for epoch in range(3):
        sampler = EpochSampler(18, 0, 0, 1)
        sampler.set_epoch(epoch)
        expected.append((epoch, *(position for _, position in sampler)))
    assert seen == expected


@pytest.mark.parametrize(("batch_size", "sizes"), [(17, [17]), (16, [16, 2]), (1, [1] * 18), (32, [18])])
def test_a_last_batch_of_one_is_left_out_of_training_and_of_nothing_else(
    pictures: Path, batch_size: int, sizes: list[int]
) -> None:
    data = datamodule(pictures, batch_size=batch_size)
    assert len(data.splits["train"]) == 18
    assert [len(batch["index"]) for batch in data.train_dataloader()] == sizes
    assert sum(len(batch["index"]) for batch in datamodule(pictures, batch_size=8).val_dataloader()) == 9


def test_limit_keeps_some_of_each_class_and_says_what_it_left_out(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = datamodule(pictures, limit=4)
    assert "data.limit=4: 12 of 36 samples are used" in caplog.text
    assert sum(len(samples) for samples in data.splits.values()) == 12
    table = data.split_table()
    assert list(table.columns) == ["path", "class", "split", "digest", "excluded"]
    assert len(table) == 36
    assert (table["excluded"] == "data.limit").sum() == 24
    assert set(table.loc[table["excluded"] == "", "split"]) == {"train", "val", "test"}


@pytest.mark.parametrize("limit", [0, 2])
def test_a_limit_that_cannot_fill_three_splits_is_refused(pictures: Path, limit: int) -> None:
    with pytest.raises(UserError, match=f"data.limit={limit}: use 3 or more"):
        datamodule(pictures, limit=limit)


def test_group_by_takes_groups_from_the_path(pictures: Path) -> None:
    data = datamodule(pictures, group_by=r"/(\d+)\.png")
    groups = [{sample.group for sample in samples} for samples in data.splits.values()]
    assert set.union(*groups) == {f"{i:02d}" for i in range(12)}
    assert sum(map(len, groups)) == 12, "no group is in two splits"
    with pytest.raises(UserError, match="does not match 36 paths"):
        datamodule(pictures, group_by="patient")
    with pytest.raises(UserError, match="not a regular expression"):
        datamodule(pictures, group_by="(")


def test_a_class_that_groups_keep_out_of_train_is_refused(pictures: Path) -> None:
    for i in range(12):  # four bees, all of them in a group that is mostly ants
        bee, ant = pictures / f"bee/{i:02d}.png", pictures / f"ant/{i:02d}.png"
        bee.rename(bee.with_name(f"one_{i}.png")) if i < 4 else bee.unlink()
        ant.rename(ant.with_name(f"one_{i}.png")) if i < 6 else None

    def cut_until_refused() -> None:
        for seed in range(50):  # that group falls into val or test sooner or later
            datamodule(pictures, group_by=r"(one|\d+)", split_seed=seed)

    with pytest.raises(UserError, match="train has no sample of the class bee"):
        cut_until_refused()


def test_an_unset_root_says_what_to_set() -> None:
    with pytest.raises(UserError, match=r"data\.root is not set"):
        datamodule(None)


def test_create_makes_the_folder_only_when_nothing_else_is_named(tmp_path: Path, pictures: Path) -> None:
    made = []

    def create() -> Path:
        made.append(True)
        return write_pictures(tmp_path / "made", {"x": 5, "y": 5})

    assert datamodule(pictures, create=create).task.class_names == ["ant", "bee", "cat"]
    assert not made
    assert datamodule(None, create=create).task.class_names == ["x", "y"]


def test_a_damaged_file_is_named_when_training_and_kept_as_a_row_when_predicting(pictures: Path) -> None:
    bad = pictures / "ant" / "00.png"
    bad.write_bytes(bad.read_bytes()[:100])

    def read_all(workers: int) -> None:
        data = datamodule(pictures, num_workers=workers)
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            list(loader)

    for workers in (0, 1):
        with pytest.raises(SampleError) as caught:
            read_all(workers)
        assert str(caught.value).startswith(str(bad)), "the traceback of a worker is not part of the message"
        assert "\n" not in str(caught.value)
    samples = [Sample.unlabelled(str(path)) for path in (bad, pictures / "ant/01.png")]
    rows = InspectedDataset(samples, ImageReader(PREPROCESS))
    assert "00.png" in rows[0]["error"]
    assert rows[0]["inputs"].shape == rows[1]["inputs"].shape
    assert not rows[0]["inputs"].any()
    assert rows[1]["error"] == ""


@pytest.mark.promise(12)
def test_the_dataset_is_left_byte_for_byte(pictures: Path) -> None:
    before = {name: (pictures / name).read_bytes() for name in files_below(pictures)}
    data = datamodule(pictures)
    data.split_table()
    epoch_of(data, 0)
    assert {name: (pictures / name).read_bytes() for name in files_below(pictures)} == before


def test_no_augmentation_is_the_preprocess_itself() -> None:
    assert augmentation(PREPROCESS, None, 0.0, trivial=False, erase=0.0) is PREPROCESS


def test_augmented_pictures_have_the_size_the_weights_expect() -> None:
    image = v2.functional.to_pil_image(
        torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 50, 40), dtype=np.uint8))
    )
    torch.manual_seed(0)  # one of the random operations is to do nothing
    for options in ({"crop_scale": [0.1, 0.5]}, {"trivial": True}, {"erase": 1.0}, {"flip": 1.0}):
        transform = augmentation(
            PREPROCESS, **{"crop_scale": None, "flip": 0.0, "trivial": False, "erase": 0.0} | options
        )
        pixels = transform(image)
        assert (pixels.shape, pixels.dtype) == ((3, 16, 16), torch.uint8)
        assert not torch.equal(pixels, PREPROCESS(image)), options


def table_of(names: list[str], path: Path, column: str = "path") -> Path:
    pd.DataFrame({column: names}).to_csv(path, index=False)
    return path


def test_what_a_table_excludes_moves_no_other_sample(pictures: Path, tmp_path: Path) -> None:
    (pictures / "bee/04.png").write_bytes(b"damaged")
    whole = datamodule(pictures, on_bad_image="skip")
    names = ["ant/03.png", "bee/04.png", "cat/11.png"]
    data = datamodule(pictures, exclude=str(table_of([*names, "elsewhere.png"], tmp_path / "x.csv")))
    for split in whole.splits:
        assert [s.name for s in data.splits[split]] == [s.name for s in whole.splits[split] if s.name not in names]
    table = data.split_table().set_index("path")
    assert table.loc[names, "excluded"].tolist() == ["data.exclude"] * 3
    assert sum(data.task.class_counts) == len(data.splits["train"])


def test_a_conflict_that_is_excluded_is_none(pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "ant/00.png", pictures / "bee/wrong.png")
    with pytest.raises(UserError, match="two labels"):
        datamodule(pictures)
    datamodule(pictures, exclude=str(table_of(["bee/wrong.png"], tmp_path / "x.csv")))


@pytest.mark.parametrize(
    ("names", "column", "message"),
    [
        (["a.png"], "file", r"x\.csv: no column 'path'; it has file\. Save it with the header"),
        (["none.png"], "path", r"x\.csv: none of its 1 path is one of this dataset: none\.png"),
        ([f"ant/{number:02d}.png" for number in range(12)], "path", "leaves nothing of the class ant in train"),
        (None, "path", r"x\.csv: no such file"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(
    names: list[str] | None, column: str, message: str, pictures: Path, tmp_path: Path
) -> None:
    if names is not None:
        table_of(names, tmp_path / "x.csv", column)
    with pytest.raises(UserError, match=message):
        datamodule(pictures, exclude=str(tmp_path / "x.csv"))


THIN = {"ant/thin.png": (9_000, 1), "bee/high.png": (1, 70_000), "cat/long.png": (2_000, 20)}  # the last is fine


def with_thin(root: Path) -> Path:
    for name, size in THIN.items():
        Image.new("RGB", size, (len(name), 9, 9)).save(root / name)
    return root


def settled(root: Path, memo: Memo | None) -> None:
    """Refuses at once what a memo knows the size of, or else when all are decoded."""
    data = datamodule(root, memo=memo)
    assert not memo
    data.inspector.settle(set(), show_progress=False, processes=Processes())


@pytest.mark.promise(34)
@pytest.mark.parametrize("memo", [False, True])
def test_an_image_that_a_resize_makes_huge_is_a_problem_of_that_file(
    pictures: Path, tmp_path: Path, memo: bool
) -> None:
    known = Memo(tmp_path / "memo.sqlite", True) if memo else None
    if known:  # which has seen that they can be decoded
        datamodule(pictures, memo=known).inspector.decode_unknown(show_progress=False)
    root = with_thin(pictures)
    left = datamodule(root, memo=known, on_bad_image="skip")
    assert [Path(problem.path).name for problem in left.left_out] == ["thin.png", "high.png"]
    assert "9000 x 1 pixels, resized to 144000 x 16, are more than max_pixels=1000000" in left.left_out[0].problem
    names = {sample.name for samples in left.splits.values() for sample in samples}
    assert names & THIN.keys() == {"cat/long.png"}
    assert sum(left.task.class_counts) == len(left.splits["train"])
    table = left.split_table().set_index("path")
    assert table.loc["bee/high.png", "excluded"].startswith("1 x 70000 pixels, resized to")
    with pytest.raises(
        DataProblemsError, match=r"2 of 39 images cannot be used, more than data\.max_bad_fraction=0\.05"
    ):
        datamodule(root, memo=known, on_bad_image="skip", max_bad_fraction=0.05)
    with pytest.raises(DataProblemsError, match="2 of 39 images cannot be used") as told:
        settled(root, known)
    assert "ant/thin.png" in str(told.value)
    reader = left.reader
    for name in ("ant/thin.png", "bee/high.png"):
        with pytest.raises(SampleError, match=f"{name}: .*resized to"):
            reader(Sample.unlabelled(str(root / name)))


@pytest.mark.promise(34)
def test_the_size_of_a_resize_is_that_of_the_preprocess() -> None:
    rng = np.random.default_rng(0)
    for edges in ((16,), (31,), (20, 33)):
        preprocess = Preprocess(edges, (16, 16), "bilinear", (0.5,) * 3, (0.5,) * 3)
        for width, height in rng.integers(1, 300, (30, 2)).tolist():
            made = F.resize(Image.new("L", (width, height)), list(edges))
            assert preprocess.resized(width, height) == made.size


@pytest.mark.promise(40)
@pytest.mark.parametrize("table", [False, True])
def test_what_is_no_file_is_passed_over_and_counted(
    pictures: Path, table: bool, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(pictures / "ant/pipe.png")
    (pictures / "bee/link.jpg").symlink_to("../ant/pipe.png")
    rows = [f"{path.relative_to(pictures)},{path.parent.name}" for path in sorted(pictures.rglob("*.[pj][np]g"))]
    if table:
        (pictures / "cat/folder.png").mkdir()
        rows.append("cat/folder.png,cat")
    (pictures / "t.csv").write_text("\n".join(["path,label", *rows]))
    data = datamodule(None, csv=str(pictures / "t.csv")) if table else datamodule(pictures)
    assert sum(map(len, data.splits.values())) == 36
    assert f"{3 if table else 2} are no files and passed over: ant/pipe.png, bee/link.jpg" in caplog.text
    data.inspector.decode_unknown(show_progress=False)
    assert not data.inspector.problems()


@pytest.mark.promise(40)
def test_a_pipe_in_the_place_of_a_table_is_refused(pictures: Path) -> None:
    os.mkfifo(pictures / "t.csv")
    for wrong in ("t.csv", "ant"):
        with pytest.raises(UserError, match=f"{wrong} is no table: it is"):
            datamodule(None, csv=str(pictures / wrong))


def test_an_unknown_way_of_decoding_is_refused(pictures: Path) -> None:
    with pytest.raises(UserError, match=r"data\.decode=quick is unknown: use one of exact, fast"):
        datamodule(pictures, decode="quick")


def test_a_look_through_a_dataset_that_is_decoded_fast_finds_the_same(pictures: Path) -> None:
    for path in sorted(pictures.rglob("*0.png")):
        Image.open(path).resize((700, 700)).save(path.with_suffix(".jpg"))
    (pictures / "ant/00.jpg").write_bytes((pictures / "ant/10.jpg").read_bytes()[:-400])
    (pictures / "ant/01.png").write_bytes(b"")
    said = [
        [
            (problem.path, problem.problem)
            for problem in datamodule(pictures, decode=decode, on_bad_image="skip").left_out
        ]
        for decode in ("exact", "fast")
    ]
    assert said[0] == said[1]
    assert len(said[0]) == 2


def test_a_file_without_bytes_has_no_digest_in_the_table(pictures: Path) -> None:
    entries = [f"{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(pictures.rglob("*.png"))]
    table = pictures / "table.csv"
    table.write_text("\n".join(["path,label", "ant/none.png,ant", *entries]))
    rows = datamodule(None, csv=str(table), on_bad_image="skip").split_table().set_index("path")
    assert rows.loc["ant/none.png", "digest"] == ""
    assert rows.loc["ant/none.png", "excluded"]
    assert rows.drop("ant/none.png")["digest"].str.fullmatch("[0-9a-f]{64}").all()


@pytest.mark.parametrize(
    ("batch_size", "num_workers", "said"),
    [
        (1, None, ""),
        (2, 0, ""),
        (64, 3, ""),
        (0, 0, "batch_size=0"),
        (-1, 0, "batch_size=-1"),
        (2.5, 0, "batch_size=2.5"),
        (8, -1, "num_workers=-1"),
        (8, 1.5, "num_workers=1.5"),
        (8, "all", "num_workers=all"),
    ],
)
def test_what_a_loader_cannot_work_with_is_refused(batch_size: Any, num_workers: Any, said: str) -> None:
    if not said:
        check_loader(batch_size, num_workers)
        return
    with pytest.raises(UserError, match=f"^{re.escape(said)}: use a number from"):
        check_loader(batch_size, num_workers)


def test_the_package_has_what_configs_name_and_nothing_else() -> None:
    assert ft_lightning.data.ImageFolderDataModule is ImageFolderDataModule
    with pytest.raises(AttributeError, match=r"'ft_lightning.data' has no attribute 'Folder'"):
        ft_lightning.data.__getattr__("Folder")


def test_the_same_content_in_two_splits_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    for number, split in enumerate(("train", "val", "test")):
        write_pictures(root / split, {"ant": 4, "bee": 4}, seed=number)
    datamodule(root)
    shutil.copy(root / "train/ant/00.png", root / "test/ant/copy.png")
    with pytest.raises(UserError, match=r"data\.allow_leak=true"):
        datamodule(root)
    assert len(datamodule(root, allow_leak=True).splits["test"]) == 9
