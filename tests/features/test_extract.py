"""What fills the feature store: every sample once, equal to the backbone's own features, under a telling key."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from conftest import write_pictures
from ft_lightning.backbones.backbone import ImageBackbone
from ft_lightning.backbones.load import load_backbone
from ft_lightning.data.labels import Labels
from ft_lightning.data.scan import scan
from ft_lightning.data.sources import find_images
from ft_lightning.features import extract
from ft_lightning.features.extract import Computing, Extractor, open_store
from ft_lightning.features.fill import fill
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.system.hardware import casting_once


def test_features_equal_the_backbone_s_own(pictures: Path, tmp_path: Path) -> None:
    extractor, backbone, samples = extractor_of(tmp_path, pictures)
    backbone.train()
    rows = fill(extractor.store, backbone, samples, extractor.how)[torch.arange(len(samples))]
    assert all(module.training for module in backbone.modules()), "it is left as it was"
    with torch.no_grad():
        alone = [backbone.eval()(backbone.prepare(backbone.reader(sample)[None])) for sample in samples]
    assert torch.allclose(rows, torch.cat(alone), atol=1e-4)


def computing(backbone: ImageBackbone, precision: str = "32-true", device: str = "cpu") -> Computing:
    return Computing(
        backbone.reader.adapted({"max_pixels": 10**6}), torch.device(device), precision, 0, show_progress=False
    )


def extractor_of(tmp_path: Path, root: Path) -> tuple[Extractor, ImageBackbone, list[Sample]]:
    torch.manual_seed(0)
    backbone = load_backbone("timm", "test_resnet", None, {})
    how = computing(backbone)
    extractor = Extractor(backbone, open_store(str(tmp_path / "store"), backbone, how), how)
    return extractor, backbone, scan(find_images, str(root), None, Labels())


def missing(extractor: Extractor, samples: list[Sample]) -> list[int]:
    return extractor.store.locate([sample.digest for sample in samples]).missing


@pytest.mark.promise(29)
def test_whatever_shapes_a_feature_is_part_of_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    backbone = load_backbone("timm", "test_resnet", None, {})

    def key(precision: str = "32-true", device: str = "cpu") -> str:
        return open_store(str(tmp_path), backbone, computing(backbone, precision, device)).folder.name

    usual, keys = key(), {key("bf16-mixed"), key("16-mixed"), key(device="cuda")}
    assert key() == usual
    for change in ({"resize": (99,)}, {"crop": (8, 8)}, {"interpolation": "nearest"}, {"mean": (0.1,) * 3}):
        whole = backbone.reader
        backbone.reader = replace(whole, preprocess=replace(whole.preprocess, **change))
        keys.add(key())
        backbone.reader = whole
    for module in ("readers.images", "readers.image_reader", "features.extract"):  # of decoding, preprocess, backbone
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"ft_lightning.{module}.VERSION", 99)
            keys.add(key())
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
    assert len(keys) == 3 + 4 + 3 + 3 + 2 + 4
    monkeypatch.setattr(extract, "versions", lambda: versions | {"lightning": "9.9"})
    last = key()
    monkeypatch.setattr(extract, "versions", lambda: versions)
    assert key() == last, "what shapes no feature is not"


def test_a_file_that_changes_while_it_is_read_is_never_stored_under_its_old_digest(
    pictures: Path, tmp_path: Path
) -> None:
    extractor, _, samples = extractor_of(tmp_path, pictures)
    write_pictures(pictures, {"ant": 1}, seed=9)  # another image under the first one's name
    with pytest.raises(UserError, match=f"{samples[0].path}: changed since the dataset was looked through"):
        extractor.compute(samples)
    assert missing(extractor, samples) == [0]


def test_an_interrupted_pass_keeps_what_it_had(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, _, samples = extractor_of(tmp_path, pictures)
    extractor.batch_size = 10
    forward, calls = extractor._forward, []

    def stopped(inputs: Tensor) -> Tensor:
        calls.append(len(inputs))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(inputs)

    monkeypatch.setattr(extractor, "_forward", stopped)
    with pytest.raises(KeyboardInterrupt):
        extractor.compute(samples)
    assert len(missing(extractor, samples)) == 36 - 20
    again = open_store(str(extractor.store.folder.parent), extractor.backbone, extractor.how)
    assert len(again.locate([sample.digest for sample in samples]).missing) == 36 - 20


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.93 GB, other allocations: 1.2 GB)."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch(
    error: Exception, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    extractor, _, samples = extractor_of(tmp_path, pictures)
    whole, sizes = extractor.backbone.forward, []

    def small_memory(inputs: Tensor) -> Tensor:
        sizes.append(len(inputs))
        if len(inputs) > 8:
            raise error
        return whole(inputs)

    monkeypatch.setattr(extractor.backbone, "forward", small_memory)
    extractor.batch_size = 32
    extractor.compute(samples)
    assert sizes[:3] == [32, 16, 8]
    assert sizes[3:] == [8, 8, 8, 4]
    assert missing(extractor, samples) == []
    assert "8 samples at a time now" in caplog.text


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("a bug")])
def test_what_smaller_batches_do_not_help_is_raised(
    error: Exception, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, _, samples = extractor_of(tmp_path, pictures)

    def broken(inputs: Tensor) -> Tensor:
        raise error

    monkeypatch.setattr(extractor.backbone, "forward", broken)
    with pytest.raises(type(error)):
        extractor.compute(samples)


def test_features_that_are_not_finite_are_refused(pictures: Path, tmp_path: Path) -> None:
    extractor, backbone, samples = extractor_of(tmp_path, pictures)
    with torch.no_grad():
        next(backbone.parameters()).fill_(float("nan"))
    with pytest.raises(NumericalError, match=r"16 of 16 .* precision=32-true: its weights are broken"):
        extractor.compute(samples)
    assert len(missing(extractor, samples)) == 36


@pytest.mark.parametrize(("seconds", "passes", "speed"), [(0.4, 4, 40.0), (5.0, 2, 3.2), (0.25, 5, 64.0)])
def test_the_speed_is_that_of_a_second_of_passes_after_the_first(
    seconds: float, passes: int, speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, shapes = [100.0], []

    class Slow(torch.nn.Module):
        backbone = SimpleNamespace(example=lambda n: torch.zeros(n, 3, 8, 8))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            clock[0] += seconds
            shapes.append(tuple(inputs.shape))
            return inputs

    monkeypatch.setattr(extract.time, "perf_counter", lambda: clock[0])
    assert extract.samples_per_s(Slow(), torch.device("cpu"), "32-true") == pytest.approx(speed)  # type: ignore[arg-type]
    assert shapes == [(16, 3, 8, 8)] * passes


def test_frozen_weights_are_cast_once_in_a_pass_and_never_in_float32() -> None:
    network = torch.nn.Linear(8, 8, bias=False).requires_grad_(False)
    inputs, cpu = torch.ones(1, 8), torch.device("cpu")

    def output(dtype: torch.dtype | None = torch.bfloat16) -> torch.Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            return network(inputs)

    before = output()
    with torch.no_grad(), casting_once(network, cpu):
        first = output()
        network.weight.zero_()
        assert first.equal(before)
        assert output().equal(before), "from the weights that were cast before they changed"
        assert not output(None).any()
    assert not output().any(), "nothing is left of it"
    assert not network.weight.requires_grad
    with torch.inference_mode():  # as somebody may load a model
        network = torch.nn.Linear(8, 8, bias=False).requires_grad_(False)
    network.count = torch.nn.Parameter(torch.ones(2, dtype=torch.int8), requires_grad=False)  # as of a quantised one
    with torch.no_grad(), casting_once(network, cpu):
        assert output().equal(output())
