"""Adapters: beside layers of any network, whose own names and values they leave alone; trained, merged, and peft's."""

import copy
import functools
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    T5Config,
    T5EncoderModel,
)
from transformers.pytorch_utils import Conv1D

import ft_lightning
from conftest import files_below
from ft_lightning.backbones.blocks import take_off_last_layer, trace
from ft_lightning.backbones.load import load_backbone
from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.cli.compose import compose
from ft_lightning.deploy import adapter as peft_files
from ft_lightning.evaluate import evaluate
from ft_lightning.finetune import freeze_plan
from ft_lightning.lora import Adapters, adapt
from ft_lightning.model import Classifier
from ft_lightning.optim import build_optimizer
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError
from ft_lightning.train import train
from ft_lightning.tune import tune
from texts import FAMILIES, WORDS, library_network, write_folder

TINY = ["model=timm", "model.name=test_vit", "model.weights=null", "finetune=lora"]
PLAIN = {"rank": 4, "alpha": 8, "targets": "all-linear", "dropout": 0.0}


def image_network(make: Callable[[], Any], size: int) -> tuple[nn.Module, Tensor, Any]:
    network = make()
    take_off_last_layer(network)
    return network, torch.randn(3, 3, size, size), trace(network, (size, size))[0]


def text_network(config: Any, blocks: str, kind: Any = AutoModel) -> tuple[nn.Module, Tensor, Any]:
    network = kind.from_config(config) if kind is AutoModel else kind(config)
    names = [f"{blocks}.{i}" for i in range(len(network.get_submodule(blocks)))]  # type: ignore[arg-type]
    return network.eval(), torch.randint(5, 40, (3, 7)), tuple((name,) for name in names)


SMALL = {"vocab_size": 40, "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
T5 = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2}
DISTIL = {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
# Networks, the number of their linear layers, and of those that they call instead of only reading their weights.
NETWORKS: dict[str, tuple[Callable[[], tuple[nn.Module, Tensor, Any]], int, int]] = {
    "vit": (lambda: image_network(lambda: VisionTransformer(32, 16, 2, 2, 32, 64), 32), 8, 4),
    "swin": (lambda: image_network(lambda: SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4]), 64), 9, 5),
    "timm vit": (lambda: image_network(lambda: timm.create_model("vit_tiny_patch16_224", depth=2), 224), 8, 8),
    "timm beit": (lambda: image_network(lambda: timm.create_model("beit_base_patch16_224", depth=1), 224), 4, 3),
    "bert": (lambda: text_network(BertConfig(**SMALL, **BERT), "encoder.layer"), 12, 12),
    "distilbert": (lambda: text_network(DistilBertConfig(**DISTIL), "transformer.layer"), 12, 12),
    "modernbert": (lambda: text_network(ModernBertConfig(**SMALL, **BERT), "layers"), 8, 8),
    "t5": (lambda: text_network(T5Config(**T5), "encoder.block", T5EncoderModel), 12, 12),
    "gpt2": (lambda: text_network(GPT2Config(**SMALL, **GPT2), "h"), 8, 8),
    "llama": (lambda: text_network(LlamaConfig(**SMALL, **BERT), "layers"), 14, 14),
    "albert": (lambda: text_network(AlbertConfig(**SMALL, **BERT), "encoder.albert_layer_groups"), 6, 6),
}  # fmt: skip


def features(network: nn.Module, inputs: Tensor) -> Tensor:
    found = network(inputs)
    return found if isinstance(found, Tensor) else found.last_hidden_state.mean(1)


def adapted(network: nn.Module, inputs: Tensor, blocks: Any, **options: Any) -> Adapters:
    return adapt(network, blocks, lambda: network(inputs[:1]), "tiny", Adapters(**PLAIN | options))


def moved(adapters: Adapters, std: float = 0.05) -> None:
    """As if they had been trained."""
    with torch.no_grad():
        for adapter in adapters.named().values():
            adapter.B.normal_(std=std)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_adapted_network_starts_as_it_was_to_the_bit_under_its_own_names(name: str, precision: torch.dtype) -> None:
    make, layers, called = NETWORKS[name]
    torch.manual_seed(0)
    network, inputs, blocks = make()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modules = [key for key, _ in network.named_modules()]
    with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        expected = features(network.eval(), inputs)
        adapters = adapted(network, inputs, blocks)
        assert torch.equal(features(network, inputs), expected)
    assert [key for key, _ in network.named_modules()] == modules
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    found = adapters.named()
    assert (len(found), sum(one.is_called for one in found.values())) == (layers, called)
    assert all(one.A.dtype == one.B.dtype == torch.float32 for one in found.values())
    assert adapters.to_dict() == {"rank": 4, "alpha": 8, "targets": "all-linear", "layers": layers}


@pytest.mark.promise(1)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_adapter_moves_in_two_steps_and_the_network_not_by_a_bit(name: str) -> None:
    torch.manual_seed(0)
    network, inputs, blocks = NETWORKS[name][0]()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    adapters = adapted(network, inputs, blocks)
    network.requires_grad_(False)
    optimizer = torch.optim.Adam(adapters.parameters(), lr=1e-2)
    start = copy.deepcopy(adapters.state_dict())
    for step in range(2):
        optimizer.zero_grad()
        (features(network, inputs) * torch.arange(3)[:, None]).square().sum().backward()
        optimizer.step()
        for key, value in adapters.state_dict().items():
            stays = step == 0 and key.endswith(".A")  # B is zero: A has no gradient yet
            assert torch.equal(value, start[key]) == stays, f"{key} in step {step}"
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_merged_weights_answer_as_the_adapters_do(name: str) -> None:
    make, *_ = NETWORKS[name]
    torch.manual_seed(0)
    network, inputs, blocks = make()
    adapters = adapted(network, inputs, blocks)
    with torch.no_grad():
        start = features(network, inputs)
        moved(adapters)
        trained = features(network, inputs)
        plain = make()[0].eval()
        plain.load_state_dict(adapters.merged(network.state_dict()))
        assert (trained - start).abs().max() > 1e-2
        torch.testing.assert_close(features(plain, inputs), trained, atol=1e-5, rtol=1e-5)


def text_backbone(family: str, folder: Path, **given: Any) -> Any:
    given = {"pooling": "auto", "grad_checkpointing": False, "arguments": {}} | given
    written = write_folder(folder / family, library_network(family))
    return load_text_backbone("transformers", str(written), weights="DEFAULT", revision=None, **given)


def text_classifier(backbone: Any) -> Classifier:
    head = nn.Linear(backbone.feature_dim, 3)
    inputs = backbone.prepare(backbone.example(1))
    adapters = adapt(backbone.network, backbone.blocks, lambda: backbone(inputs), "tiny", Adapters(**PLAIN))
    names = [name for name, _ in adapters.named_parameters()]
    return Classifier(backbone, head, freeze_plan(backbone, head, "lora", None, True, names), adapters)


def batch_of(backbone: Any) -> Any:
    samples = [Sample.unlabelled("a", "the cat sat on the mat"), Sample.unlabelled("b", "dog ran " * 9)]
    return backbone.reader.collate([backbone.reader(sample) for sample in samples])


@pytest.mark.parametrize("recompute", [False, True], ids=["", "recomputed"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_of_texts_starts_as_it_was_and_moves_every_adapter(
    family: str, recompute: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    try:
        backbone = text_backbone(family, tmp_path, grad_checkpointing=recompute).eval()
    except UserError as error:
        pytest.skip(str(error))
    batch = batch_of(backbone)
    backbone.requires_grad_(False)  # the kernels of frozen weights may be others: Mamba's are
    with torch.no_grad():
        start = backbone(backbone.prepare(batch))
    model = text_classifier(backbone).train()
    with torch.no_grad():
        assert torch.equal(model.features(batch), start)
    assert torch.allclose(model.features(batch), start, atol=1e-5), "no dropout of the network, whatever trains"
    torch.nn.functional.cross_entropy(model(batch), torch.tensor([0, 1])).backward()
    still = [name for name, one in model.adapters.named().items() if one.B.grad is None or not one.B.grad.any()]  # type: ignore[union-attr]
    assert not still
    assert model.adapters.named()  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in backbone.parameters())


@pytest.mark.parametrize("family", ["bert", "llama", "opt", "gpt2", "distilbert", "t5"])
def test_checkpointing_computes_each_block_again(family: str, tmp_path: Path) -> None:
    grads = []
    for recompute in (False, True):
        torch.manual_seed(0)
        backbone = text_backbone(family, tmp_path / str(recompute), grad_checkpointing=recompute)
        model = text_classifier(backbone).train()
        calls: list[int] = []
        inside = backbone.network.get_submodule(backbone.blocks[-1][0])
        leaf = next(module for module in inside.modules() if isinstance(module, nn.Linear | Conv1D))
        leaf.register_forward_hook(functools.partial(lambda calls, *_: calls.append(1), calls))
        model(batch_of(backbone)).square().sum().backward()
        assert len(calls) == 1 + recompute
        grads.append(torch.cat([one.B.grad.flatten() for one in model.adapters.named().values()]))  # type: ignore[union-attr]
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("name", ["bert", "vit", "gpt2"])
def test_a_copy_of_a_classifier_has_adapters_of_its_own(name: str) -> None:
    network, inputs, blocks = NETWORKS[name][0]()
    both = nn.ModuleDict({"network": network, "adapters": adapted(network, inputs, blocks)})
    other = copy.deepcopy(both)
    with torch.no_grad():
        start = features(network, inputs)
        moved(other["adapters"])  # type: ignore[arg-type]
        assert torch.equal(features(network, inputs), start)
        assert not torch.equal(features(other["network"], inputs), start)


def test_half_precision_weights_have_adapters_in_float32() -> None:
    network, inputs, blocks = NETWORKS["llama"][0]()
    network.bfloat16()
    adapters = adapted(network, inputs, blocks)
    moved(adapters)
    assert features(network, inputs).dtype == torch.bfloat16
    assert {value.dtype for value in adapters.state_dict().values()} == {torch.float32}
    merged = adapters.merged(network.state_dict())
    assert {value.dtype for value in merged.values()} == {torch.bfloat16}, "the type of the network"


ATTENTION = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]


@pytest.mark.parametrize(
    ("targets", "endings"),
    [
        ("all-linear", [*ATTENTION, "intermediate.dense", "output.dense"]),
        ("attention", ATTENTION),
        ("mlp", ["intermediate.dense", "output.dense"]),
        (["query", "value"], ["attention.self.query", "attention.self.value"]),
        ("output.dense", ["attention.output.dense", "output.dense"]),
        (r".*\.(key|intermediate\.dense)", ["attention.self.key", "intermediate.dense"]),
        (["attention", "intermediate.dense"], [*ATTENTION, "intermediate.dense"]),
        ("encoder.layer.1.output.dense", None),
    ],
)
def test_targets_name_layers(targets: Any, endings: list[str] | None) -> None:
    network, inputs, blocks = NETWORKS["bert"][0]()
    found = list(adapted(network, inputs, blocks, targets=targets).named())
    assert sorted(found) == sorted(
        [targets] if endings is None else [f"encoder.layer.{i}.{name}" for i in (0, 1) for name in endings]
    )


@pytest.mark.parametrize("name", ["vit", "swin", "timm vit", "modernbert", "t5", "gpt2", "llama", "distilbert"])
def test_attention_and_mlp_are_told_apart_in_every_family(name: str) -> None:
    make, layers, _ = NETWORKS[name]
    found = {}
    for targets in ("attention", "mlp"):
        network, inputs, blocks = make()
        found[targets] = set(adapted(network, inputs, blocks, targets=targets).named())
    assert len(found["attention"]) + len(found["mlp"]) == layers
    assert not any(
        re.search("mlp|ffn|Dense|lin1|c_fc|_proj$", path) for path in found["attention"] if "att" not in path
    )
    assert all(re.search(r"mlp|ffn|DenseRelu|reduction", path) for path in found["mlp"])


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ("keys", "finetune.targets=keys fits none of the 12 linear layers.*endings of names such as dense, key, query"),
        (["query", "nothing"], "finetune.targets=nothing fits none"),
        ("(", r"finetune.targets=\( is no regular expression"),
        ([7], "finetune.targets=7 fits none"),
    ],
)
def test_targets_that_name_nothing_are_refused_with_names_that_exist(targets: Any, said: str) -> None:
    network, inputs, blocks = NETWORKS["bert"][0]()
    with pytest.raises(UserError, match=said):
        adapted(network, inputs, blocks, targets=targets)


def test_names_that_end_in_a_number_are_shown_with_what_is_before_it() -> None:
    network, inputs, blocks = NETWORKS["vit"][0]()
    with pytest.raises(UserError, match=r"names such as mlp\.0, mlp\.3, out_proj, self_attention"):
        adapted(network, inputs, blocks, targets="nothing")


def test_a_network_without_linear_layers_in_its_blocks_is_refused() -> None:
    network, inputs, blocks = image_network(lambda: timm.create_model("test_resnet"), 64)
    with pytest.raises(UserError, match="the blocks of tiny have none that it can use: use finetune=partial"):
        adapted(network, inputs, blocks)


class Odd(nn.Module):
    """A layer that is called by keyword, one that shares its weight, one that is never used, one outside the blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 6)
        self.block = nn.ModuleDict({name: nn.Linear(6, 6) for name in ("keyword", "tied", "unused")})
        self.block["tied"].weight = self.words.weight
        self.outside = nn.Linear(6, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = self.block["keyword"](input=self.words(inputs))
        return self.outside(self.block["tied"](inputs)).mean(1)


def test_layers_that_share_a_weight_or_are_not_used_get_no_adapter() -> None:
    network, inputs = Odd(), torch.randint(6, (3, 4))
    adapters = adapted(network, inputs, (("block",),))
    assert list(adapters.named()) == ["block.keyword"]
    with torch.no_grad():
        start = features(network, inputs)
        moved(adapters, std=1.0)
        assert not torch.equal(features(network, inputs), start)
    assert {type(module) for module in network.block.values()} == {nn.Linear}
    assert not any("shown" in module.__dict__ for module in network.modules())


def test_dropout_leaves_out_inputs_of_adapters_in_training_alone() -> None:
    torch.manual_seed(0)
    network, inputs, blocks = NETWORKS["bert"][0]()
    adapters = adapted(network, inputs, blocks, dropout=0.5)
    moved(adapters)
    with torch.no_grad():
        one, two = features(network, inputs), features(network, inputs)
        adapters.eval()
        assert torch.equal(features(network, inputs), features(network, inputs))
        assert not torch.equal(one, two)


def test_dropout_is_refused_where_only_weights_are_read() -> None:
    network, inputs, blocks = NETWORKS["vit"][0]()
    with pytest.raises(UserError, match=r"finetune.dropout=0.1: tiny reads the weights of 4 layers .*dropout=0\.$"):
        adapted(network, inputs, blocks, dropout=0.1)


def classifier(freeze_bn: bool = True) -> Classifier:
    torch.manual_seed(0)
    backbone, head = load_backbone("timm", "test_vit", None, {}), nn.Linear(64, 3)
    adapters = adapt(
        backbone.network,
        backbone.blocks,
        lambda: backbone(backbone.prepare(backbone.example(1))),
        "vit",
        Adapters(**PLAIN),
    )
    names = [name for name, _ in adapters.named_parameters()]
    return Classifier(backbone, head, freeze_plan(backbone, head, "lora", None, freeze_bn, names), adapters)


def test_the_plan_trains_adapters_and_head_and_holds_everything_else() -> None:
    model = classifier()
    assert {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"adapters", "head"}
    assert {name.partition(".")[0] for name in model.plan.trained_state(model.state_dict())} == {"adapters", "head"}
    for module in model.train().modules():
        module.training = True
    model.features(model.backbone.example(1))
    in_training = {name for name, module in model.named_modules() if module.training}
    assert {name.partition(".")[0] for name in in_training if name} == {"adapters", "backbone", "head"}
    assert {name for name in in_training if name.startswith("backbone")} == {"backbone"}
    assert not any(module.training for module in model.eval().modules())


def test_adapters_have_the_backbone_s_rate_and_the_head_comes_last() -> None:
    model = classifier()
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = build_optimizer(lambda groups: torch.optim.AdamW(groups, lr=1.0), trainable, 0.25)
    assert [(group["name"], group["lr"]) for group in optimizer.param_groups] == [
        ("adapters", 0.25), ("head", 1.0), ("head_no_decay", 1.0)
    ]  # fmt: skip
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trainable)


PEFT_NETWORKS = ["bert", "gpt2", "timm vit", "albert", "llama"]


@pytest.mark.parametrize("name", PEFT_NETWORKS)
@pytest.mark.parametrize("stabilised", [False, True])
def test_peft_opens_the_adapter_and_answers_the_same(name: str, stabilised: bool, tmp_path: Path) -> None:
    make, *_ = NETWORKS[name]
    torch.manual_seed(0)
    network, inputs, blocks = make()
    state = copy.deepcopy(network.state_dict())
    adapters = adapted(network, inputs, blocks, rank_stabilised=stabilised)
    assert adapters.scale == (8 / 4**0.5 if stabilised else 8 / 4)
    moved(adapters)
    peft_files.save(tmp_path / "adapter", adapters, "/some/where/tiny")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["target_modules"] == sorted(adapters.named())
    assert config["fan_in_fan_out"] == (name == "gpt2")
    assert files_below(tmp_path) == {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    plain = make()[0]
    plain.load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for what has another name now
        from peft import PeftModel

        opened = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()  # type: ignore[arg-type]
    with torch.no_grad():
        trained = features(network, inputs)
        torch.testing.assert_close(features(opened.base_model.model, inputs), trained, atol=1e-6, rtol=1e-5)
        joined = opened.merge_and_unload()
        torch.testing.assert_close(joined.state_dict(), adapters.merged(network.state_dict()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_where_peft_would_change_nothing_no_adapter_is_written(name: str, tmp_path: Path) -> None:
    network, inputs, blocks = NETWORKS[name][0]()
    peft_files.save(tmp_path / "adapter", adapted(network, inputs, blocks), "tiny")
    assert not (tmp_path / "adapter").exists()
    network, inputs, blocks = NETWORKS[name][0]()
    peft_files.save(tmp_path / "adapter", adapted(network, inputs, blocks, targets="mlp"), "tiny")
    assert (tmp_path / "adapter").exists(), "of the layers that it calls"


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(parents=True)
    return train(compose("train", "precision=32-true", *TINY, *overrides), folder)


def test_a_run_delivers_the_merged_network_and_the_adapter_beside_it(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = f"cache.dir={tmp_path / 'store'}"
    frozen = run(tmp_path / "frozen", f"data.root={pictures}", cache, "finetune=frozen", "trainer.max_epochs=1")
    metrics = run(tmp_path / "run", f"data.root={pictures}", cache, "trainer.max_epochs=3", "head=mlp")
    said = " ".join(capsys.readouterr().out.split())
    assert "adapters of rank 8 beside 24 linear layers and the head train, the backbone is frozen" in said
    assert "in every epoch, because finetune=lora trains adapters in the backbone" in said
    assert frozen["timing"]["cache"]["computed"] == 36
    counts = metrics["data"]["samples"]
    assert metrics["timing"]["cache"] == {"hits": counts["train"] + counts["val"], "computed": 0}, (
        "the probe's features, of train and val, were there"
    )

    model, card = tmp_path / "run/model", json.loads((tmp_path / "run/model/model.json").read_text())
    assert card["finetune"] == {
        "mode": "lora", "trained_blocks": [], "rank": 8, "alpha": 16, "targets": "all-linear", "layers": 24
    }  # fmt: skip
    files = {"model.json", "model.safetensors", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    assert files_below(model) == files
    assert str(tmp_path) not in "".join(path.read_text() for path in model.rglob("*.json"))
    page = (tmp_path / "run/report.html").read_text()
    assert "lora: adapters of rank 8 (alpha 16) beside 24 layers (all-linear), and the head" in page

    before, after = (load_file(tmp_path / name / "model/model.safetensors") for name in ("frozen", "run"))
    network = {name for name in before if name.startswith("backbone.")}
    assert network == {name for name in after if name.startswith("backbone.")}
    moved = {name for name in network if not torch.equal(before[name], after[name])}
    assert len(moved) == 24
    assert all(name.endswith(".weight") and name.split(".")[-2] in ("qkv", "proj", "fc1", "fc2") for name in moved)
    held = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[1] for name in held} == {"adapters", "head"}

    loaded = ft_lightning.load(tmp_path / "run")
    assert loaded.classifier.adapters is None
    assert not loaded.is_frozen
    again = {"model_dir": tmp_path / "run", "data.root": pictures, "data.split": "test", "precision": "32-true"}
    (tmp_path / "again").mkdir()
    scored = evaluate(compose("evaluate", *(f"{key}={value}" for key, value in again.items())), tmp_path / "again")
    assert scored["test"]["accuracy"] == metrics["test"]["accuracy"]
    assert scored["test"]["loss"] == pytest.approx(metrics["test"]["loss"], abs=1e-5)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_run_on_texts_delivers_both(family: str, tmp_path: Path) -> None:
    network = write_folder(tmp_path / family, library_network(family))
    lines = [f"{words} {' '.join(WORDS[:i])},{label}" for i in range(12) for words, label in (("cat", 1), ("dog", 0))]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *lines]))
    (tmp_path / "run").mkdir()
    options = ["data=texts", f"data.table={tmp_path / 'texts.csv'}", "model=transformers", f"model.name={network}"]
    cfg = compose("train", "precision=32-true", "finetune=lora", "trainer.max_epochs=2", *options)
    metrics = train(cfg, tmp_path / "run")
    files = {"model.json", "model.safetensors", "tokenizer.json"}
    assert files_below(tmp_path / "run/model") == files | {
        f"adapter/adapter_{x}" for x in ("config.json", "model.safetensors")
    }
    assert str(tmp_path) not in (tmp_path / "run/model/adapter/adapter_config.json").read_text()
    loaded = ft_lightning.load(tmp_path / "run")
    answers = pd.read_csv(tmp_path / "run/predictions.csv").set_index("path")
    texts = [line.rpartition(",")[0] for line in lines]
    found = loaded.predict(texts, precision="32-true")["probability"]
    places = [int(name.rpartition("#")[2]) for name in answers.index]
    assert len(places) == metrics["test"]["n"]
    first = 2  # the number of the first row of a table, below its head
    again = [found[place - first] for place in places]
    assert again == pytest.approx(answers["probability"].tolist(), abs=1e-4)


def test_the_average_of_adapters_is_delivered_and_training_goes_on_from_it(pictures: Path, tmp_path: Path) -> None:
    metrics = run(tmp_path / "run", f"data.root={pictures}", "callback=ema", "trainer.max_epochs=2")
    first = ft_lightning.load(tmp_path / "run").classifier.state_dict()
    (tmp_path / "scores").mkdir()
    options = [f"model_dir={tmp_path / 'run'}", f"data.root={pictures}", "data.split=test", "precision=32-true"]
    scored = evaluate(compose("evaluate", *options), tmp_path / "scores")
    assert scored["test"]["loss"] == pytest.approx(metrics["test"]["loss"], abs=1e-5)
    start = ["optimizer.lr=0", "head.init=random", "trainer.max_epochs=1", f"init_from={tmp_path / 'run'}"]
    run(tmp_path / "second", f"data.root={pictures}", *start)
    second = ft_lightning.load(tmp_path / "second").classifier.state_dict()
    assert all(torch.equal(first[name], value) for name, value in second.items())


def test_a_search_may_choose_lora(pictures: Path, tmp_path: Path) -> None:
    space = [
        "tune.space.finetune.choices=['lora finetune.rank=2','lora finetune.rank=3']",
        "tune.space.augment=null",
        "tune.sampler=random",
    ]
    options = [*TINY[:3], "tune=finetune", "tune.trials=2", "trainer.max_epochs=1", f"data.root={pictures}"]
    (tmp_path / "study").mkdir()
    tune(compose("tune", *options, *space), tmp_path / "study", [*options, *space])
    (card,) = (tmp_path / "study").glob("trial_*/model/model.json")
    assert json.loads(card.read_text())["finetune"]["rank"] in (2, 3)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["finetune=partial", "finetune.rank=4"], "finetune.rank=4 has no meaning for finetune=partial: say"),
        (["finetune=frozen", "finetune.targets=mlp"], "finetune.targets=mlp has no meaning for finetune=frozen"),
        (["finetune.alpha=null"], "finetune.alpha=null: finetune=lora needs a value"),
        (["finetune.alpha=0"], "finetune.alpha=0: use a number above 0"),
        (["finetune.rank=0"], "finetune.rank=0: use a whole number from 1"),
        (["finetune.targets=nothing"], "finetune.targets=nothing fits none of the 24 linear layers"),
        (["finetune.dropout=2"], "finetune.dropout=2: use a number from 0 to 1"),
        (["finetune.k=2"], "finetune.k=2 has no meaning for finetune=lora: say finetune=partial too"),
        (["model.name=test_resnet"], "blocks of test_resnet.r160_in1k have none that it can use: use finetune=partial"),
        (["folds=2"], "folds=2 trains on stored features.*finetune=lora trains adapters in the backbone"),
        (["repeats=2"], "repeats=2 trains on stored features.*finetune=lora trains adapters in the backbone"),
        (["optimizer=lbfgs"], "optimizer=lbfgs trains on stored features.*finetune=lora trains adapters"),
        (["head=auto"], "head=auto compares heads on stored features, but finetune=lora"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_does_not_fit_lora_is_refused(overrides: list[str], said: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        run(tmp_path / "run", f"data.root={pictures}", *overrides)
