"""Every hostile file meets the command that would read it: no payload runs, exit 2 or nothing lost, no traceback."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import hostile
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torchvision.models import SqueezeNet1_1_Weights

from conftest import write_pictures
from ft_lightning.backbones.load import load_backbone
from ft_lightning.cli.compose import compose
from ft_lightning.runs.checkpoint import SealedCheckpointIO, _seal
from ft_lightning.system.errors import UserError
from ft_lightning.train import train

Run = Callable[..., CompletedProcess[str]]
TINY = ["model=timm", "model.name=test_resnet", "trainer.max_epochs=1", "precision=32-true"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pictures/, weights.pth, a run/ trained with them, and the store/ it filled."""
    folder = tmp_path_factory.mktemp("world")
    write_pictures(folder / "pictures", {"ant": 12, "bee": 12, "cat": 12})
    torch.save(load_backbone("timm", "test_resnet", None, {}).network.state_dict(), folder / "weights.pth")
    (folder / "run").mkdir()
    cfg = compose("train", *usual(folder), f"model.weights={folder / 'weights.pth'}")
    (folder / "run/config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    train(cfg, folder / "run")
    return folder


def usual(world: Path) -> list[str]:
    return [*TINY, f"data.root={world / 'pictures'}", f"cache.dir={world / 'store'}"]


def assert_all_refused(done: CompletedProcess[str], sweep: Path, said: list[str], canary: Path) -> None:
    """Each job of a multirun ended with 2 and named its file, and none ran anything."""
    assert "Traceback" not in done.stderr, done.stderr
    table = pd.read_csv(sweep / "multirun.csv")
    assert table["exit_code"].tolist() == [2] * len(said), done.stderr
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for error, words in zip(errors, said, strict=True):
        assert words in error
    assert not canary.exists()


@pytest.mark.promise(19)
@pytest.mark.parametrize("kind", hostile.PICKLES)
def test_the_payloads_are_armed(kind: str, tmp_path: Path) -> None:
    hostile.show_that_it_is_armed(kind, tmp_path)


@pytest.mark.promise(19)
def test_a_weight_file_of_one_s_own_runs_nothing(world: Path, run_command: Run, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    files = [build(tmp_path / f"{i}.pth", canary) for i, build in enumerate(hostile.PICKLES.values())]
    files += [hostile.by_torch(tmp_path / "named.safetensors", canary)]
    for i, data in enumerate(hostile.BROKEN_SAFETENSORS.values()):
        files.append(tmp_path / f"broken{i}.safetensors")
        files[-1].write_bytes(data)
    weights = f"model.weights={','.join(map(str, files))}"
    done = run_command("train", "-m", *usual(world), weights, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert_all_refused(done, tmp_path / "sweep", [f"{file} cannot be used as" for file in files], canary)
    assert not (tmp_path.parent / "climbed-out.pth").exists()


@pytest.mark.promise(19)
def test_a_file_in_torch_s_cache_that_is_not_what_its_name_says_runs_nothing(
    world: Path, run_command: Run, tmp_path: Path
) -> None:
    """torch.hub itself would take it: it looks at hashes while it downloads, and only then."""
    canary, folder = tmp_path / "canary", tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    path = hostile.by_torch(folder / "resnet18-f37072fd.pth", canary)
    done = run_command(
        "train", "model=resnet18", f"data.root={world / 'pictures'}", env={"TORCH_HOME": str(tmp_path / "torch")}
    )
    assert done.returncode == 2, done.stderr
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"error: {path} is damaged: its sha256 is {found}, expected f37072fd" in done.stderr
    assert "Traceback" not in done.stderr
    assert not canary.exists()


@pytest.mark.promise(19)
@pytest.mark.parametrize("kind", hostile.PICKLES)
def test_a_file_in_torch_s_cache_under_its_right_hash_runs_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the attacker had the download host."""
    canary, folder = tmp_path / "canary", tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    path = hostile.PICKLES[kind](folder / "evil.pth", canary)
    path = path.rename(folder / f"evil-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(SqueezeNet1_1_Weights.DEFAULT.value, "url", f"https://example.invalid/{path.name}")
    with pytest.raises(UserError, match=f"{path} cannot be used as pretrained weights"):
        load_backbone("torchvision", "squeezenet1_1", "DEFAULT", {})
    assert not canary.exists()
    assert not (folder.parent / "climbed-out.pth").exists()


@pytest.mark.promise(19)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_file_in_the_hub_s_cache_runs_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "hf/hub/models--timm--test_resnet.r160_in1k"
    for part in ("blobs", "refs", "snapshots/abc"):
        (folder / part).mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    blob = hostile.by_torch(folder / "blobs" / ("0123456789" * 4), canary)  # named as a small file is, by no sha256
    (folder / "snapshots/abc" / name).symlink_to(f"../../blobs/{blob.name}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf/hub"))
    with pytest.raises(UserError, match=f"{name} cannot be used as pretrained weights"):
        load_backbone("timm", "test_resnet", "DEFAULT", {})
    assert not canary.exists()


@pytest.mark.promise(19)
def test_a_model_directory_runs_nothing(world: Path, run_command: Run, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    folders = [
        hostile.model(world / "run/model", tmp_path / f"model{i}", attack, canary)
        for i, attack in enumerate(hostile.MODELS)
    ]
    choice = f"model_dir={','.join(map(str, folders))}"
    for verb, data in (("predict", f"input={world / 'pictures'}"), ("evaluate", f"data.root={world / 'pictures'}")):
        done = run_command(verb, "-m", choice, data, f"hydra.sweep.dir={tmp_path / verb}")
        assert_all_refused(done, tmp_path / verb, ["" for _ in folders], canary)


@pytest.mark.promise(19)
def test_a_shard_of_the_feature_store_runs_nothing_and_is_computed_again(
    world: Path, run_command: Run, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    store = Path(shutil.copytree(world / "store", tmp_path / "store"))
    (shard,) = store.rglob("*.safetensors")
    hostile.by_pickle(shard, canary)
    hostile.by_torch(shard.with_name("0.safetensors"), canary)
    for i, data in enumerate(hostile.BROKEN_SAFETENSORS.values()):
        shard.with_name(f"9{i}.safetensors").write_bytes(data)
    options = [*usual(world), f"model.weights={world / 'weights.pth'}", f"cache.dir={store}"]
    done = run_command("train", *options, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is damaged") >= len(hostile.BROKEN_SAFETENSORS) + 2
    assert not canary.exists()
    before, after = (json.loads((run / "metrics.json").read_text()) for run in (world / "run", tmp_path / "run"))
    assert after["timing"]["cache"] == {"hits": 0, "computed": 36}
    assert after["test"] == before["test"]


@pytest.mark.promise(19)
@pytest.mark.parametrize("where", ["payload", "state_dict", "optimizer_states", "callbacks", "loops"])
def test_a_checkpoint_runs_nothing(where: str, world: Path, tmp_path: Path, run_command: Run) -> None:
    """Neither as it comes, nor with a seal, which anybody can put on."""
    canary = tmp_path / "canary"
    run = shutil.copytree(world / "run", tmp_path / "run")
    path = hostile.checkpoint(run / "checkpoints/last.ckpt", canary, where)
    armed = path.read_bytes()
    (run / "checkpoints/best.ckpt").unlink()
    if where == "payload":
        done = run_command("train", f"resume={run}", "trainer.max_epochs=2")
        assert "last.ckpt is damaged and not used" in done.stderr
        assert not canary.exists()
    path.write_bytes(_sealed(armed))
    with pytest.raises(UserError, match="holds more than tensors"):
        SealedCheckpointIO().load_checkpoint(path)
    if where in ("payload", "callbacks"):
        done = run_command("train", f"resume={run}", "trainer.max_epochs=3")
        assert done.returncode == 2, done.stderr
        assert "last.ckpt holds more than tensors and plain values" in done.stderr
        assert "Traceback" not in done.stderr
    assert not canary.exists()


def _sealed(content: bytes) -> bytes:
    return content[:-2] + _seal(hashlib.sha256(content).hexdigest())


@pytest.mark.promise(21)
@pytest.mark.parametrize("kind", hostile.YAMLS)
def test_a_yaml_file_calls_nothing(kind: str, run_command: Run, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = hostile.yaml(tmp_path / "cwd/conf/data/evil.yaml", kind, canary)
    done = run_command("train", "data=evil")
    assert done.returncode == 2, done.stderr
    assert path.name in done.stderr
    assert "Traceback" not in done.stderr
    assert not canary.exists()
