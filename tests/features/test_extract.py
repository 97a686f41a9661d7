"""What fills the feature store: every sample once, equal to the backbone's own features, under a telling key."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from conftest import write_pictures
from ft_lightning.backbones.backbone import Backbone
from ft_lightning.backbones.load import load_backbone
from ft_lightning.data.datasets import PathsDataset
from ft_lightning.features import extract
from ft_lightning.features.extract import Extractor, open_store
from ft_lightning.features.store import FeatureStore
from ft_lightning.finetune import freeze_plan
from ft_lightning.heads import build_head
from ft_lightning.model import Classifier
from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.system.files import sha256


def test_features_equal_the_backbone_s_own(pictures: Path, tmp_path: Path) -> None:
    extractor, backbone, paths = extractor_of(tmp_path, pictures)
    complete(extractor, paths)
    rows = extractor.store.locate([sha256(path) for path in paths]).settled()[torch.arange(len(paths))]
    with torch.no_grad():
        alone = [backbone.eval()(backbone.prepare(pixels(backbone, path)[None])) for path in paths]
    assert torch.allclose(rows, torch.cat(alone), atol=1e-4)


def extractor_of(tmp_path: Path, root: Path, precision: str = "32-true") -> tuple[Extractor, Backbone, list[str]]:
    torch.manual_seed(0)
    backbone = load_backbone("timm", "test_resnet", None, {})
    head = build_head("linear", backbone.feature_dim, 3, dropout=0.0)
    classifier = Classifier(backbone, head, freeze_plan(backbone, head, "frozen", None, freeze_bn=True))
    store = open_store(str(tmp_path / "store"), backbone, precision, "cpu")
    extractor = Extractor(classifier, store, torch.device("cpu"), precision, 0, show_progress=False)
    return extractor, backbone, sorted(map(str, root.rglob("*.png")))


def complete(extractor: Extractor, paths: list[str], digests: list[str] | None = None) -> None:
    digests = digests or [sha256(path) for path in paths]
    preprocess = extractor.classifier.backbone.preprocess

    def dataset_of(at: list[int]) -> Dataset:
        return PathsDataset([paths[i] for i in at], preprocess, 10**6, [digests[i] for i in at])

    extractor.complete(digests, dataset_of)


def pixels(backbone: Backbone, path: str) -> Tensor:
    return backbone.preprocess(Image.open(path).convert("RGB"))


@pytest.mark.promise(29)
def test_whatever_shapes_a_feature_is_part_of_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    backbone = load_backbone("timm", "test_resnet", None, {})

    def key(precision: str = "32-true", device: str = "cpu") -> str:
        return open_store(str(tmp_path), backbone, precision, device).folder.name

    usual, keys = key(), {key("bf16-mixed"), key("16-mixed"), key(device="cuda")}
    assert key() == usual
    for change in ({"resize": (99,)}, {"crop": (8, 8)}, {"interpolation": "nearest"}, {"mean": (0.1,) * 3}):
        whole, backbone.preprocess = backbone.preprocess, replace(backbone.preprocess, **change)
        keys.add(key())
        backbone.preprocess = whole
    identity = backbone.identity
    for change in ({"name": "test_resnet.x"}, {"source": "torchvision"}, {"arguments": {"global_pool": "max"}}):
        backbone.identity = replace(identity, **change)
        keys.add(key())
    backbone.identity = replace(identity, weights="the same values under another label")
    assert key() == usual
    for tensor in (next(backbone.parameters()), next(b for b in backbone.network.buffers() if b.is_floating_point())):
        with torch.no_grad():
            tensor[(0,) * tensor.ndim] += 0.01
        keys.add(key())
    versions = extract.versions()
    for package in ("torch", "torchvision", "timm", "pillow"):
        monkeypatch.setattr(extract, "versions", lambda package=package: versions | {package: "9.9.1"})
        keys.add(key())
    assert usual not in keys
    assert len(keys) == 3 + 4 + 3 + 2 + 4
    monkeypatch.setattr(extract, "versions", lambda: versions | {"lightning": "9.9"})
    last = key()
    monkeypatch.setattr(extract, "versions", lambda: versions)
    assert key() == last, "what shapes no feature is not"


def test_a_file_that_changes_while_it_is_read_is_never_stored_under_its_old_digest(
    pictures: Path, tmp_path: Path
) -> None:
    extractor, _, paths = extractor_of(tmp_path, pictures)
    digests = [sha256(path) for path in paths]
    write_pictures(pictures, {"ant": 1}, seed=9)  # another picture under the first one's name
    with pytest.raises(UserError, match=f"{paths[0]}: changed since the dataset was looked through"):
        complete(extractor, paths, digests)
    assert extractor.store.locate(digests).missing == [0]


def test_an_interrupted_pass_keeps_what_it_had(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, _, paths = extractor_of(tmp_path, pictures)
    extractor.batch_size = 10
    forward, calls = extractor._forward, []

    def stopped(inputs: Tensor) -> Tensor:
        calls.append(len(inputs))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(inputs)

    monkeypatch.setattr(extractor, "_forward", stopped)
    with pytest.raises(KeyboardInterrupt):
        complete(extractor, paths)
    assert len(open_again(extractor).locate([sha256(path) for path in paths]).missing) == 36 - 20


def open_again(extractor: Extractor) -> FeatureStore:
    return open_store(str(extractor.store.folder.parent), extractor.classifier.backbone, extractor.precision, "cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch(
    error: Exception, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    extractor, _, paths = extractor_of(tmp_path, pictures)
    whole, sizes = extractor.classifier.features, []

    def small_memory(inputs: Tensor) -> Tensor:
        sizes.append(len(inputs))
        if len(inputs) > 8:
            raise error
        return whole(inputs)

    monkeypatch.setattr(extractor.classifier, "features", small_memory)
    extractor.batch_size = 32
    complete(extractor, paths)
    assert sizes[:3] == [32, 16, 8]
    assert sizes[3:] == [8, 8, 8, 4]
    assert extractor.store.locate([sha256(path) for path in paths]).missing == []
    assert "8 samples at a time now" in caplog.text


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("a bug")])
def test_what_smaller_batches_do_not_help_is_raised(
    error: Exception, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, _, paths = extractor_of(tmp_path, pictures)

    def broken(inputs: Tensor) -> Tensor:
        raise error

    monkeypatch.setattr(extractor.classifier, "features", broken)
    with pytest.raises(type(error)):
        complete(extractor, paths)


def test_features_that_are_not_finite_are_refused(pictures: Path, tmp_path: Path) -> None:
    extractor, backbone, paths = extractor_of(tmp_path, pictures)
    with torch.no_grad():
        next(backbone.parameters()).fill_(float("nan"))
    with pytest.raises(NumericalError, match=r"16 of 16 .* precision=32-true: its weights are broken"):
        complete(extractor, paths)
    assert len(extractor.store.locate([sha256(path) for path in paths]).missing) == 36
