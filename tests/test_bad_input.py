"""Bad pictures and bad folders, by the commands themselves: exit code 2, everything told at once, nothing touched."""

import json
import logging
import os
import signal
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cli.test_processes import torchrun_tasks
from conftest import Commands, files_below, write_pictures
from ft_lightning import evaluate, train
from ft_lightning.backbones.backbone import ImageBackbone
from ft_lightning.backbones.load import load_backbone
from ft_lightning.cli import command
from ft_lightning.readers import images
from ft_lightning.system.tables import read_table

Here = Callable[..., tuple[int, str]]
VERBS = {"train": train.VERB, "evaluate": evaluate.VERB}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Runs a command in this process, which saves its imports: (exit code, what it said), its files in tmp_path/run."""
    weights = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(load_backbone("timm", "test_resnet", None, {}).network.state_dict(), weights)
    monkeypatch.chdir(tmp_path)
    handler, level = signal.getsignal(signal.SIGTERM), logging.getLogger().level
    usual = {
        "train": [
            "model=timm", "model.name=test_resnet", f"model.weights={weights}", "trainer.max_epochs=1",
            "trainer.enable_progress_bar=false", "precision=32-true", f"data.root={tmp_path / 'pictures'}",
        ],
        "evaluate": [f"data.root={tmp_path / 'pictures'}", "precision=32-true"],
    }  # fmt: skip

    def run(verb: str, *overrides: str) -> tuple[int, str]:
        options = [*usual[verb], f"cache.dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}"]
        named = {override.partition("=")[0] for override in overrides}
        options = [option for option in options if option.partition("=")[0] not in named]
        monkeypatch.setattr(sys, "argv", [verb, *options, *overrides])
        with pytest.raises(SystemExit) as stopped:
            command.run(VERBS[verb])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return stopped.value.code, said.err

    yield run
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger().setLevel(level)


def spoil(root: Path) -> dict[str, str]:
    """The five of promise 11: file -> a word of what is wrong with it. All are from an hour ago."""
    truncated, flipped = root / "ant/truncated.jpg", root / "bee/flipped.jpg"
    for path, seed in ((truncated, 1), (flipped, 2)):
        noise = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, quality=95)
    truncated.write_bytes(truncated.read_bytes()[:-700])
    content = bytearray(flipped.read_bytes())
    content[content.index(b"\xff\xdb")] ^= 0x01  # the first marker of a table; most other bits do not show
    flipped.write_bytes(content)
    (root / "cat/empty.png").touch()
    (root / "cat/text.jpg").write_text("not a picture")
    (root / "ant/gone.png").symlink_to("nowhere.png")
    age(root)
    return {
        "ant/truncated.jpg": "truncated",
        "bee/flipped.jpg": "cannot be read as an image",
        "cat/empty.png": "an empty file",
        "cat/text.jpg": "not a PNG, JPEG",
        "ant/gone.png": "leads to nothing",
    }


def age(root: Path) -> None:
    before = time.time_ns() - 3600 * 10**9
    for path in root.rglob("*"):
        os.utime(path, ns=(before, before), follow_symlinks=False)


def tree(root: Path) -> dict[str, Any]:
    """Everything that is to be left as it is."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted([root, *root.rglob("*")])
    }


def listed(run: Path) -> list[dict[str, str]]:
    return json.loads((run / "problems.json").read_text())


LIVE = {
    "stored": [],
    "finetune=full": ["finetune=full"],
    "augment=light": ["augment=light"],
    "no cache": ["cache.enabled=false"],
}


@pytest.mark.promise(11)
@pytest.mark.parametrize("how", LIVE)
def test_one_run_lists_all_five_and_exits_2(how: str, pictures: Path, here: Here, tmp_path: Path) -> None:
    expected = spoil(pictures)
    before = tree(pictures)
    code, said = here("train", *LIVE[how])
    assert code == 2
    assert "5 of 41 images cannot be used" in said
    assert "data.on_bad_image=skip" in said
    rows = {Path(row["path"]).relative_to(pictures).as_posix(): row for row in listed(tmp_path / "run")}
    assert rows.keys() == expected.keys()
    for name, word in expected.items():
        (line,) = [line for line in said.splitlines() if str(pictures / name) in line]
        assert word in line
        assert word in rows[name]["problem"]
        assert rows[name]["class"] == name.partition("/")[0]
        assert rows[name]["split"] in ("train", "val", "test")
    assert tree(pictures) == before


@pytest.mark.promise(11)
@pytest.mark.parametrize("how", LIVE)
def test_those_that_only_decoding_shows_are_listed_all_at_once_too(
    how: str, pictures: Path, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(pictures)
    for name in ("cat/empty.png", "ant/gone.png"):
        (pictures / name).unlink()
    code, said = here("train", *LIVE[how])
    assert code == 2
    assert "3 of 39 images cannot be used" in said
    assert len(listed(tmp_path / "run")) == 3
    if how != "no cache":  # the second time it is known before anything is read
        monkeypatch.setattr(Path, "read_bytes", _refuse_pictures)
        assert here("train", *LIVE[how], f"hydra.run.dir={tmp_path / 'again'}")[0] == 2
        assert listed(tmp_path / "again") == listed(tmp_path / "run")


def _refuse_pictures(path: Path) -> bytes:
    assert path.suffix not in images.opening.SUFFIXES, f"{path} is read again"
    with path.open("rb") as file:
        return file.read()


@pytest.mark.promise(12)
@pytest.mark.parametrize("how", LIVE)
def test_skip_trains_without_them_and_says_so(
    how: str, pictures: Path, here: Here, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = spoil(pictures)
    before = tree(pictures)
    results = []
    for number in range(2):
        caplog.clear()
        run = tmp_path / f"run{number}"
        options = ["data.on_bad_image=skip", "data.max_bad_fraction=0.2", f"hydra.run.dir={run}"]
        assert here("train", *LIVE[how], *options)[0] == 0
        assert "5 of 41 images cannot be used and are left out" in caplog.text
        table = read_table(run / "split.csv").set_index("path")
        assert len(table) == 41
        left_out = table[table["excluded"] != ""]
        assert set(left_out.index) == set(expected)
        assert all(expected[name] in left_out.loc[name, "excluded"] for name in expected)
        assert {row["path"] for row in listed(run)} == {str(pictures / name) for name in expected}
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["data"]["left_out"] == len(expected)
        used = table[table["excluded"] == ""]
        assert metrics["data"]["samples"] == used["split"].value_counts().to_dict()
        assert metrics["test"]["n"] == (used["split"] == "test").sum()
        card = json.loads((run / "model/model.json").read_text())
        assert card["class_counts"] == used[used["split"] == "train"]["class"].value_counts().sort_index().tolist()
        results.append((table.to_csv(), (run / "model/model.safetensors").read_bytes()))
    assert results[0] == results[1]
    assert tree(pictures) == before


@pytest.mark.promise(12)
@pytest.mark.parametrize(
    ("overrides", "damaged", "said"),
    [
        ([], ["ant/00.png", "ant/01.png"], "2 of 36 images cannot be used, more than data.max_bad_fraction=0.05"),
        (
            ["data.max_bad_fraction=1"],
            [f"bee/{i:02d}.png" for i in range(12)],
            "nothing is left of the class bee in train",
        ),
        (["data.max_bad_fraction=1"], ["all"], "nothing is left of the train split, the val split, the test split"),
    ],
)
def test_skip_refuses_what_is_too_much(
    overrides: list[str], damaged: list[str], said: str, pictures: Path, here: Here, tmp_path: Path
) -> None:
    names = (
        [path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png")] if damaged == ["all"] else damaged
    )
    for name in names:
        (pictures / name).write_text(name)
    code, err = here("train", "data.on_bad_image=skip", *overrides)
    assert code == 2
    assert said in err
    assert len(listed(tmp_path / "run")) == len(names)


@pytest.mark.promise(12)
def test_leaving_some_out_moves_no_other_picture(pictures: Path, here: Here, tmp_path: Path) -> None:
    assert here("train", f"hydra.run.dir={tmp_path / 'whole'}")[0] == 0
    whole = read_table(tmp_path / "whole/split.csv").set_index("path")["split"]
    digest = images.hashlib.sha256((pictures / "ant/03.png").read_bytes()).hexdigest()
    refused = images.inspect_image

    def one_is_bad(path: str, max_pixels: int, expected: str | None = None) -> Any:
        found = refused(path, max_pixels, expected)
        return (None, found[1]._replace(error="no good")) if expected == digest else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ft_lightning.data.kinds.inspect_image", one_is_bad)
        options = ["data.on_bad_image=skip", f"cache.dir={tmp_path / 'other'}"]
        assert here("train", *options)[0] == 0
    table = read_table(tmp_path / "run/split.csv").set_index("path")
    assert table.loc["ant/03.png", "excluded"] == "no good"
    others = table.index != "ant/03.png"
    assert (table["split"] == whole)[others].all()


@pytest.mark.promise(12)
def test_two_processes_leave_out_the_same(pictures: Path, commands: Commands, tmp_path: Path) -> None:
    expected = spoil(pictures)
    options = ["data.on_bad_image=skip", "data.max_bad_fraction=0.2", f"data.root={pictures}", "trainer=ddp_cpu"]
    tiny = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1"]
    for how in (["augment=light"], []):
        run = tmp_path / f"run{len(how)}"
        words = [*options, *tiny, *how, f"hydra.run.dir={run}", f"cache.dir={tmp_path / 'cache'}"]
        tasks = [commands.start("ft_lightning.train", *words, cwd=tmp_path, env=task) for task in torchrun_tasks()]
        for task in tasks:
            assert task.wait() == 0, task.stderr
        table = read_table(run / "split.csv").set_index("path")
        assert set(table.index[table["excluded"] != ""]) == set(expected)
        metrics = json.loads((run / "metrics.json").read_text())
        assert sum(metrics["data"]["samples"].values()) == 36


def test_evaluate_lists_them_all(pictures: Path, here: Here, tmp_path: Path) -> None:
    assert here("train", f"hydra.run.dir={tmp_path / 'model'}")[0] == 0
    expected = spoil(pictures)
    for number, cache in enumerate(("true", "false")):
        run = tmp_path / f"evaluate{number}"
        model = [f"model_dir={tmp_path / 'model'}", f"cache.enabled={cache}", f"hydra.run.dir={run}"]
        code, said = here("evaluate", *model)
        assert code == 2
        assert all(str(pictures / name) in said for name in expected)
        assert len(listed(run)) == 5
    for name in ("cat/empty.png", "ant/gone.png"):
        (pictures / name).unlink()
    for number, cache in enumerate(("true", "false")):
        run = tmp_path / f"again{number}"
        model = [f"model_dir={tmp_path / 'model'}", f"cache.enabled={cache}", f"hydra.run.dir={run}"]
        assert here("evaluate", *model, f"cache.dir={tmp_path / 'fresh'}")[0] == 2
        assert len(listed(run)) == 3


@pytest.mark.promise(13)
def test_a_bomb_ends_a_run_and_a_limit_holds_for_pictures_that_are_stored(
    pictures: Path, here: Here, tmp_path: Path
) -> None:
    assert here("train", f"hydra.run.dir={tmp_path / 'first'}")[0] == 0
    again = (f"hydra.run.dir={tmp_path / str(number)}" for number in range(9))
    code, said = here("train", "data.max_pixels=1000")
    assert code == 2
    assert "pixels are more than max_pixels=1000" in said
    assert len(listed(tmp_path / "run")) == 36, "all of them have at least 32 x 32"
    (tmp_path / "cache/memo.sqlite").unlink()
    assert here("train", "data.max_pixels=1000", next(again))[0] == 2, "nor does losing the memo let them in"
    bomb(pictures / "ant/bomb.png")
    code, said = here("train", next(again))
    assert code == 2
    assert "14000 x 14000 pixels are more than max_pixels=100000000" in said
    assert len(listed(tmp_path / "1")) == 1
    code, said = here("train", "data.max_pixels=200000000", next(again))
    assert code == 2
    assert "cannot be read as an image" in said, "let in, it turns out to be cut off"


def bomb(path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 14_000, 14_000, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def missing_root(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def empty_class(root: Path) -> None:
    (root / "empty").mkdir()


def single_class(root: Path) -> None:
    for name in ("bee", "cat"):
        (root / name).rename(root.parent / name)


def empty_split(root: Path) -> None:
    for path in root.rglob("*.png"):
        if path.name > "01.png":
            path.unlink()


def two_spellings(root: Path) -> None:
    (root / "ant").rename(root / "caf\u00e9")
    (root / "bee").rename(root / "cafe\u0301")


def two_cases(root: Path) -> None:
    (root / "bee").rename(root / "Ant")


def with_space(root: Path) -> None:
    (root / "bee").rename(root / "ant ")


def leak(root: Path) -> None:
    for path in sorted(root.iterdir()):
        for split, names in (("train", "00.png 01.png 02.png 03.png"), ("val", "04.png 05.png"), ("test", "06.png")):
            (root / split / path.name).mkdir(parents=True)
            for name in names.split():
                (path / name).rename(root / split / path.name / name)
        for rest in path.iterdir():
            rest.unlink()
        path.rmdir()
    (root / "val/ant/copy.png").write_bytes((root / "train/ant/00.png").read_bytes())


REFUSED = [
    pytest.param(missing_root, "", ["no such folder"], marks=pytest.mark.promise(18)),
    pytest.param(empty_class, "", ["empty: a class folder without images"], marks=pytest.mark.promise(18)),
    pytest.param(single_class, "", ["one class only (ant)"], marks=pytest.mark.promise(18)),
    pytest.param(empty_split, "", ["split is empty"], marks=pytest.mark.promise(18)),
    pytest.param(
        two_spellings, "data.case_sensitive=true", ["'caf\\xe9' read the same"], marks=pytest.mark.promise(15)
    ),
    pytest.param(two_cases, "", ["'Ant' and 'ant'", "data.case_sensitive=true"], marks=pytest.mark.promise(15)),
    pytest.param(with_space, "data.case_sensitive=true", ["'ant' and 'ant '"], marks=pytest.mark.promise(15)),
    pytest.param(leak, "", ["train/ant/00.png and val/ant/copy.png", "allow_leak"], marks=pytest.mark.promise(17)),
]


@pytest.mark.parametrize(("change", "override", "words"), REFUSED)
def test_a_folder_that_cannot_be_used_exits_2_in_clear_words(
    change: Callable[[Path], None], override: str, words: list[str], pictures: Path, here: Here
) -> None:
    change(pictures)
    code, said = here("train", *filter(None, [override]))
    assert code == 2
    assert all(word in said for word in words), said


@pytest.mark.promise(17)
def test_a_leak_can_be_meant(pictures: Path, here: Here) -> None:
    leak(pictures)
    assert here("train", "data.allow_leak=true")[0] == 0


@pytest.mark.promise(14)
@pytest.mark.promise(15)
@pytest.mark.promise(16)
def test_odd_names_system_files_and_cycles_train_on_exactly_the_pictures(
    tmp_path: Path, here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_pictures(tmp_path / "pictures", {"with space": 6, "größe 猫": 6, "x" * 200: 6, "Ant": 6, "ant": 6})
    for name in (".ipynb_checkpoints/x.png", "ant/._00.png", "ant/Thumbs.db", "ant/desktop.ini"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "ant/photo.heic").write_bytes(b"x")
    for target in ("ant/up", "ant/again"):
        (root / target).symlink_to(root if target == "ant/up" else root / "ant", target_is_directory=True)
    assert here("train", "data.case_sensitive=true")[0] == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["data"]["classes"] == 5
    assert sum(metrics["data"]["samples"].values()) == 30
    assert "1 .heic" in caplog.text
    assert len(files_below(root)) == 35


@pytest.mark.promise(29)
def test_a_replaced_image_of_the_same_size_and_time_is_computed_again(
    pictures: Path, here: Here, tmp_path: Path
) -> None:
    age(pictures)
    assert here("train", f"hydra.run.dir={tmp_path / 'first'}")[0] == 0
    path, other = pictures / "ant/00.png", pictures.parent / "other.png"
    before = path.stat()
    image = Image.open(path).convert("RGB")
    image.putpixel((5, 5), (0, 0, 0))
    image.save(other)
    content = other.read_bytes()
    padding = before.st_size - len(content)
    image = image.crop((0, 0, 20, 20)) if padding < 0 else image
    image.save(other)
    content = other.read_bytes()
    path.write_bytes(content + bytes(before.st_size - len(content)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    for number, (verify, computed) in enumerate((("stat", 0), ("content", 1), ("stat", 0))):
        run = tmp_path / f"run{number}"
        assert here("train", f"cache.verify={verify}", f"hydra.run.dir={run}")[0] == 0
        assert json.loads((run / "metrics.json").read_text())["timing"]["cache"]["computed"] == computed
        digest = read_table(run / "split.csv").set_index("path").loc["ant/00.png", "digest"]
        assert (digest == images.hashlib.sha256(path.read_bytes()).hexdigest()) == (number > 0)


@pytest.mark.promise(29)
def test_a_flipped_byte_in_a_shard_and_another_preprocess_are_computed_again(
    pictures: Path, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(name: str, *overrides: str) -> int:
        run = tmp_path / name
        assert here("train", f"hydra.run.dir={run}", *overrides)[0] == 0
        return json.loads((run / "metrics.json").read_text())["timing"]["cache"]["computed"]

    assert computed("first") == 36
    (shard,) = (tmp_path / "cache").rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1
    shard.write_bytes(content)
    assert computed("flipped") == 1
    model = (tmp_path / "first/model/model.safetensors").read_bytes()
    assert (tmp_path / "flipped/model/model.safetensors").read_bytes() == model
    whole = ImageBackbone.__init__

    def larger(self: ImageBackbone, *args: Any, **options: Any) -> None:
        whole(self, *args, **options)
        self.reader = replace(self.reader, preprocess=replace(self.preprocess, resize=(200,)))

    monkeypatch.setattr(ImageBackbone, "__init__", larger)
    assert computed("preprocess") == 36


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cache.verify=always", "cache.verify=always is unknown: use one of stat, content"),
        ("cache.enabled=off", "cache.enabled=off: use true or false"),
        ("data.on_bad_image=ignore", "data.on_bad_image=ignore: use one of error, skip"),
        ("data.max_bad_fraction=false", "data.max_bad_fraction=false: use a number"),
        ("data.max_bad_fraction=5", "data.max_bad_fraction=5: use a share from 0 to 1"),
        ("data.max_bad_fraction=few", "data.max_bad_fraction=few: use a number"),
    ],
)
def test_a_value_that_does_not_fit_exits_2(override: str, said: str, pictures: Path, here: Here) -> None:
    code, err = here("train", override)
    assert code == 2
    assert said in err
