"""Every family of text networks, tiny and random: features, blocks, freezing, batches, and back from plain values."""

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ft_lightning.backbones.load import build_backbone
from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.backbones.transformers import TextBackbone, _calls, _rows
from ft_lightning.finetune import freeze_plan
from ft_lightning.model import Classifier
from ft_lightning.readers.sample import Sample
from ft_lightning.readers.text import FILE
from texts import FAMILIES, WORDS, library_network, tokenizer, write_folder

DECODERS = {"bloom", "gemma3_text", "gpt2", "gpt_neox", "llama", "mamba", "opt", "phi3", "qwen2", "qwen3"}
DECODERS |= {"rwkv", "xlnet"}
TABLES = {
    "albert",
    "bert",
    "deberta",
    "distilbert",
    "electra",
    "ernie",
    "gpt2",
    "mpnet",
    "opt",
    "roberta",
    "xlm-roberta",
}
TEXTS = [" ".join(random.Random(n).choices(WORDS, k=n)) for n in (1, 3, 14, 15, 16, 17, 30, 45, 46, 60, 62, 90)]


def loaded(name: Path | str, **given: Any) -> TextBackbone:
    arguments: dict[str, Any] = {
        "source": "transformers",
        "name": str(name),
        "weights": "DEFAULT",
        "revision": None,
        "pooling": "auto",
        "grad_checkpointing": False,
        "arguments": {},
    }
    return load_text_backbone(**arguments | given)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[TextBackbone, Any]]:
    """Our backbone of a family, in eval mode, and the library's own network that it was loaded from."""

    @cache
    def make(name: str) -> tuple[TextBackbone, Any]:
        network = library_network(name)
        return loaded(write_folder(tmp_path_factory.mktemp("families") / name, network)).eval(), network

    return make


def batch_of(backbone: TextBackbone, texts: list[Any]) -> dict[str, Tensor]:
    samples = [Sample.unlabelled(f"text {i}", text) for i, text in enumerate(texts)]
    return backbone.prepare(backbone.reader.collate([backbone.reader(sample) for sample in samples]))


@torch.no_grad()
def features_of(backbone: TextBackbone, texts: list[Any], dtype: torch.dtype | None = None) -> Tensor:
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        return backbone(batch_of(backbone, texts))


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_the_library_s_own_hidden_states_pooled(name: str, family: Any) -> None:
    backbone, network = family(name)
    features = features_of(backbone, TEXTS)
    batch = batch_of(backbone, TEXTS)
    live = backbone(batch).detach()  # with gradients: padded to the longest of all
    for i, row in enumerate(batch["input_ids"][:, 0]):
        ids = row[: int(batch["attention_mask"][i].sum())]
        with torch.no_grad():
            hidden = network(input_ids=ids[None]).last_hidden_state[0]
        expected = hidden[-1] if backbone.pooling == "last" else hidden.mean(0)
        for found in (features[i], live[i]):
            assert torch.allclose(found, expected, atol=1e-5, rtol=1e-4), (i, (found - expected).abs().max())
    assert backbone.pooling == ("last" if name in DECODERS else "mean")
    assert features.shape == (len(TEXTS), backbone.feature_dim)


@pytest.mark.promise(43)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bf16"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_text_s_features_do_not_depend_on_its_batch(name: str, dtype: torch.dtype | None, family: Any) -> None:
    backbone, _ = family(name)
    together = features_of(backbone, TEXTS, dtype)
    assert together.dtype == (dtype or torch.float32)
    assert len({tuple(row.tolist()) for row in together}) == len(TEXTS), "they do depend on the text"
    order = torch.randperm(len(TEXTS), generator=torch.Generator().manual_seed(1))
    shuffled = features_of(backbone, [TEXTS[i] for i in order] + TEXTS[:5], dtype)[: len(TEXTS)]
    assert torch.equal(shuffled, together[order]), "another position and other mates"
    alone = torch.cat([features_of(backbone, [text], dtype) for text in TEXTS])
    assert torch.equal(alone, together), "alone"
    many = features_of(backbone, [text for text in TEXTS for _ in range(20)], dtype)[::20]
    assert torch.equal(many, together), "in groups of several calls"


@pytest.mark.promise(43)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bf16"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "modernbert"])
def test_nor_do_those_of_texts_that_fill_their_padded_length(name: str, dtype: torch.dtype | None, family: Any) -> None:
    backbone, _ = family(name)
    texts = [" ".join(random.Random(n).choices(WORDS, k=n)) for n in range(1, 63)]  # 3 to 64 tokens
    together = features_of(backbone, texts, dtype)
    for at in range(1, len(texts), 4):  # 4, 8, ... tokens: no row of these batches is padded
        for count in (1, 15, 33):
            found = features_of(backbone, [texts[at]] * count, dtype)
            assert torch.equal(found, together[[at] * count]), (at + 3, count)
    for seed in range(4):
        drawn = torch.randint(len(texts), (41,), generator=torch.Generator().manual_seed(seed))
        assert torch.equal(features_of(backbone, [texts[at] for at in drawn], dtype), together[drawn])


def test_calls_hold_each_row_once_and_one_that_is_padded_or_room_for_it() -> None:
    for padded, full, size in product(range(9), range(9), (2, 4, 8)):
        rows = list(range(padded + full))
        calls = _calls(rows[:padded], rows[padded:], size, apart=False)
        assert sorted(chain(*calls)) == rows
        for call in calls:
            assert 0 < len(call) <= size, (padded, full, size)
            assert len(call) < size or min(call) < padded, (padded, full, size)
    assert _calls([], [0, 1, 2], 2, apart=True) == [[0, 2], [1]]


@pytest.mark.parametrize(
    ("length", "rows"), [(4, 16), (24, 16), (28, 8), (48, 8), (52, 4), (96, 4), (104, 2), (256, 2), (4096, 2)]
)
def test_a_call_s_rows_depend_on_the_padded_length(length: int, rows: int) -> None:
    assert _rows("cpu", length) == rows
    assert 256 >= _rows("cuda", length) >= rows


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_are_in_forward_order_and_hold_everything(name: str, family: Any) -> None:
    backbone, _ = family(name)
    assert len(backbone.blocks) == (1 if name == "albert" else 4), "embeddings and three layers"
    called: dict[int, None] = {}

    def note(position: int, *_: Any) -> None:
        called.setdefault(position)

    network = backbone.network
    parts = [[network.get_submodule(one) for one in part] for part in backbone.blocks]
    handles = [module.register_forward_pre_hook(partial(note, i)) for i, part in enumerate(parts) for module in part]
    features_of(backbone, TEXTS[:2])
    for handle in handles:
        handle.remove()
    assert list(called) == list(range(len(parts)))
    held = [{id(p) for module in part for p in module.parameters()} for part in parts]
    assert sum(map(len, held)) == len(set().union(*held)), "a parameter is in one block"
    outside = {one for one, p in network.named_parameters() if id(p) not in set().union(*held)}
    assert outside <= {"mask_emb"}, "of XLNet, which is for its pretraining"


@pytest.mark.promise(1)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_frozen_prefix_never_moves(name: str, family: Any, tmp_path: Path) -> None:
    backbone = loaded(write_folder(tmp_path, library_network(name)))
    head = nn.Linear(backbone.feature_dim, 2)
    model = Classifier(backbone, head, freeze_plan(backbone, head, "partial", 1, freeze_bn=True))
    batch = batch_of(backbone, TEXTS[:4])
    seen: dict[str, list[Tensor]] = {}

    def keep(module_name: str, module: nn.Module, given: Any, output: Any) -> None:
        # The first call: a dropout may be there once more after the last layer.
        seen.setdefault(module_name, [x.detach().clone() for x in tree_leaves(output) if isinstance(x, Tensor)])

    def compare(batch: Any) -> Tensor:
        before = seen.copy()
        seen.clear()
        logits = model(batch)
        for where, values in before.items():
            assert all(torch.equal(a, b) for a, b in zip(values, seen[where], strict=True)), f"{where} has moved"
        return logits

    for one in (one for block in backbone.blocks[:-1] for one in block):
        backbone.network.get_submodule(one).register_forward_hook(partial(keep, one))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval()
    compare(batch)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    nn.functional.cross_entropy(compare(batch), torch.tensor([0, 1, 1, 0])).backward()
    optimizer.step()
    model.eval()
    compare(batch)
    assert len(seen) >= len(backbone.blocks[:-1])
    after = model.state_dict()
    frozen = model.plan.frozen_state(before)
    assert all(torch.equal(after[key], value) for key, value in frozen.items())
    moved = {key for key, value in before.items() if not torch.equal(after[key], value)}
    assert moved.issuperset(f"head.{key}" for key in ("weight", "bias"))
    assert any(key.startswith(f"backbone.network.{backbone.blocks[-1][0]}.") for key in moved), "the last block trains"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_is_rebuilt_from_plain_values(name: str, family: Any) -> None:
    backbone, _ = family(name)
    identity = json.loads(json.dumps(asdict(backbone.identity)))
    text = json.dumps(identity)
    assert not any(key in text for key in ("auto_map", "_name_or_path", "quantization", "architectures", "dtype"))
    preprocess = json.loads(json.dumps(backbone.reader.to_dict())) | {"files": {FILE: tokenizer()}}
    rebuilt: Any = build_backbone(identity, preprocess)
    assert rebuilt.state_dict().keys() == backbone.state_dict().keys()
    rebuilt.load_state_dict(backbone.state_dict())
    assert (rebuilt.blocks, rebuilt.feature_dim, rebuilt.identity) == (
        backbone.blocks,
        backbone.feature_dim,
        backbone.identity,
    )
    assert rebuilt.reader == backbone.reader
    assert rebuilt.reader.key() == backbone.reader.key()
    assert torch.equal(features_of(rebuilt.eval(), TEXTS), features_of(backbone, TEXTS))


@pytest.mark.parametrize("name", FAMILIES)
def test_all_positions_can_be_used_and_no_more(name: str, family: Any) -> None:
    backbone, network = family(name)
    limit = backbone.reader.limit
    assert limit == (None if name in ["bloom", "mamba", "t5", "xlnet"] else 64)
    if limit and name in [
        "bert",
        "roberta",
        "xlm-roberta",
        "mpnet",
        "gpt2",
        "opt",
        "distilbert",
        "electra",
        "ernie",
        "albert",
        "deberta",
    ]:
        ids = torch.full((1, limit), 5)
        network(input_ids=ids)
        with pytest.raises((RuntimeError, IndexError)):
            network(input_ids=torch.cat([ids, ids[:, :1]], 1))
