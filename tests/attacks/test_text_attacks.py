"""Hostile folders of text networks, and hostile model directories: nothing runs, nothing is fetched, and it is said."""

import json
import pickle
import shutil
import socket
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import hostile
import pytest
import torch
from safetensors.torch import load_file, save_file

from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.backbones.transformers import TextBackbone
from ft_lightning.deploy import model_dir
from ft_lightning.finetune import freeze_plan
from ft_lightning.heads import build_head
from ft_lightning.model import Classifier
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass
from texts import library_network, tokenizer, write_folder

EVIL = "import os\nos.mkdir({canary!r})\nclass Evil:\n    pass\n"
MAP = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForTextEncoding", "AutoTokenizer"), "modeling_evil.Evil")
Attack = Callable[[Path, Path], Any]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    asked: list[Any] = []

    def refuse(self: socket.socket, address: Any) -> None:
        asked.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert not asked, "it wanted something from somewhere"


def load(folder: Path) -> TextBackbone:
    return load_text_backbone("transformers", str(folder), "DEFAULT", None, "auto", False, {})


def put(name: str, **values: Any) -> Attack:
    """Set values of a JSON file."""

    def change(folder: Path, canary: Path) -> None:
        path = folder / name
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))

    return change


def write(name: str, content: Callable[[Path], bytes]) -> Attack:
    return lambda folder, canary: (folder / name).write_bytes(content(canary))


def only_a_pickle(folder: Path, canary: Path) -> None:
    (folder / "model.safetensors").unlink()
    hostile.by_torch(folder / "pytorch_model.bin", canary)


def an_index_that_climbs(folder: Path, canary: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../outside.safetensors"}}')


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("original") / "bert", library_network("bert"))


def attacked(original: Path, tmp_path: Path, attack: Attack) -> tuple[Path, Path]:
    folder, canary = tmp_path / "bert", tmp_path / "canary"
    shutil.copytree(original, folder)
    (folder / "modeling_evil.py").write_text(EVIL.format(canary=str(canary)))
    attack(folder, canary)
    return folder, canary


def test_the_code_is_armed(original: Path, tmp_path: Path) -> None:
    folder, canary = attacked(original, tmp_path, lambda *_: None)
    exec((folder / "modeling_evil.py").read_text())
    assert canary.is_dir()


IGNORED: dict[str, Attack] = {
    "code of its own": put("config.json", auto_map=MAP),
    "code of another repository": put("config.json", auto_map={"AutoModel": "someone/evil--modeling_evil.Evil"}),
    "code for its tokenizer": put("tokenizer_config.json", auto_map=MAP, tokenizer_class="Evil"),
    "attention from a hub": put("config.json", attn_implementation="someone/evil:kernel"),
    "attention from a hub, as the library keeps it": put("config.json", _attn_implementation="someone/evil"),
    "experts from a hub": put("config.json", experts_implementation="someone/evil"),
    "another place": put("config.json", _name_or_path="someone/evil", transformers_weights="../evil.safetensors"),
    "patches": put("config.json", fusion_config={"patch_embeddings": True}),
    "several machines": put("config.json", distributed_config={"tp_size": 2}),
    "a type of numbers": put("config.json", dtype="os", torch_dtype="__builtins__"),
    "an adapter": put("adapter_config.json", base_model_name_or_path="someone/evil", peft_type="LORA"),
    "a pickle beside its weights": lambda folder, canary: hostile.by_torch(folder / "pytorch_model.bin", canary),
    "a template": put("tokenizer_config.json", chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "_target_": put("config.json", _target_="os.mkdir", _args_=["/tmp/evil"]),
}


@pytest.mark.promise(45)
@pytest.mark.parametrize("what", IGNORED)
def test_what_a_folder_asks_for_beyond_its_values_is_ignored(what: str, original: Path, tmp_path: Path) -> None:
    folder, canary = attacked(original, tmp_path, IGNORED[what])
    state, expected = load(folder).network.state_dict(), load_file(original / "model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in state.items())
    assert not canary.exists()


REFUSED: dict[str, Attack] = {
    "a type of code": put("config.json", model_type="modeling_evil"),
    "a type that climbs": put("config.json", model_type="../../modeling_evil"),
    "a type that is none": put("config.json", model_type={"_target_": "os.mkdir"}),
    "quantised by code": put("config.json", quantization_config={"quant_method": "evil", "modules_to_not_convert": []}),
    "a function that is none": put("config.json", hidden_act="__import__('os').system"),
    "only a pickle": only_a_pickle,
    "an index that climbs": an_index_that_climbs,
    "weights are a pickle": write("model.safetensors", lambda canary: pickle.dumps(hostile.Payload(canary))),
    **{
        f"weights have {what}": write("model.safetensors", lambda _, data=data: data)  # type: ignore[misc]
        for what, data in hostile.BROKEN_SAFETENSORS.items()
    },
    "a tokenizer is a pickle": write("tokenizer.json", lambda canary: pickle.dumps(hostile.Payload(canary))),
    "a tokenizer is none": write("tokenizer.json", lambda _: b"[]"),
    "a tokenizer is nested without end": write("tokenizer.json", lambda _: b"[" * 100_000),
    "a config is nested without end": write("config.json", lambda _: b"[" * 100_000),
}


@pytest.mark.promise(45)
@pytest.mark.parametrize("what", REFUSED)
def test_a_folder_that_is_not_what_it_seems_is_refused(what: str, original: Path, tmp_path: Path) -> None:
    folder, canary = attacked(original, tmp_path, REFUSED[what])
    with pytest.raises(UserError):
        load(folder)
    assert not canary.exists()


# --- model directories ---


@pytest.fixture(scope="module")
def model(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    backbone = load(original)
    given: dict[str, Any] = {"name": "linear", "dropout": 0.0}
    head = build_head(in_features=backbone.feature_dim, num_classes=2, **given)
    classifier = Classifier(backbone, head, freeze_plan(backbone, head, "frozen", None, True))
    reader = backbone.reader.adapted({"max_length": 20, "truncate": "head_tail"})
    model_dir.save(folder, classifier, given, MultiClass(["a", "b"], [1, 1]), {"val": {}, "test": {}}, reader=reader)
    return folder


def test_a_model_directory_holds_the_tokenizer_and_reads_as_it_was_trained(model: Path, original: Path) -> None:
    assert sorted(path.name for path in model.iterdir()) == ["model.json", "model.safetensors", "tokenizer.json"]
    card = json.loads((model / "model.json").read_text())
    digest = sha256(tokenizer().encode()).hexdigest()
    assert card["preprocess"] == {
        "kind": "text",
        "max_length": 20,
        "truncate": "head_tail",
        "files": {"tokenizer.json": digest},
    }
    assert str(original) not in json.dumps(card)
    backbone: Any = model_dir.load(model).classifier.backbone
    before = load(original).eval()
    assert backbone.reader == before.reader.adapted({"max_length": 20, "truncate": "head_tail"})
    item = backbone.reader(Sample.unlabelled("", "the cat sat " * 9))
    batch = backbone.prepare(backbone.reader.collate([item]))
    with torch.no_grad():
        assert torch.equal(backbone(batch), before(batch))


def card(key: str, value: Any) -> Attack:
    return hostile._card(key, lambda canary: value)


def tokenizer_as(content: bytes) -> Attack:
    def change(folder: Path, canary: Path) -> None:
        (folder / "tokenizer.json").write_bytes(content)
        card("preprocess.files", {"tokenizer.json": sha256(content).hexdigest()})(folder, canary)

    return change


def other_tensors(folder: Path, canary: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state.pop(next(name for name in sorted(state) if "layer.1" in name))
    save_file(state, folder / "model.safetensors")


CONFIG = "backbone.arguments.config"
MODELS: dict[str, Attack] = {
    "a config that is none": card(CONFIG, [1]),
    "a type of code": card(f"{CONFIG}.model_type", "modeling_evil"),
    "a type for images": card(f"{CONFIG}.model_type", "detr"),
    "a type for images beside text": card(f"{CONFIG}.model_type", "gemma3"),
    "_target_ for its config": card(CONFIG, {"_target_": "os.mkdir"}),
    "a function that is none": card(f"{CONFIG}.hidden_act", "os.mkdir"),
    "more memory than there is": card(f"{CONFIG}.vocab_size", 10**15),
    "other layers": card(f"{CONFIG}.num_hidden_layers", 2),
    "code as pooling": card("backbone.arguments.pooling", "__import__('os')"),
    "no arguments": card("backbone.arguments", {}),
    "a module as source": card("backbone.source", "modeling_evil"),
    "a file outside": card("preprocess.files", {"../../../etc/passwd": "0" * 64}),
    "a file by its whole path": card("preprocess.files", {"/etc/passwd": "0" * 64}),
    "no file": card("preprocess.files", {}),
    "another file": card("preprocess.files", {"model.json": "0" * 64}),
    "files that are none": card("preprocess.files", 7),
    "a tokenizer of other bytes": lambda folder, _: (folder / "tokenizer.json").write_bytes(b"{}"),
    "no tokenizer": lambda folder, _: (folder / "tokenizer.json").unlink(),
    "a tokenizer that is none": tokenizer_as(b"{}"),
    "a tokenizer that is a pickle": tokenizer_as(pickle.dumps({"a": 1})),
    "a tokenizer of more tokens": tokenizer_as(tokenizer().replace('"them": 25', '"them": 25, "x": 50').encode()),
    "a negative length": card("preprocess.max_length", -1),
    "a length beyond the positions": card("preprocess.max_length", 65),
    "a length that is none": card("preprocess.max_length", "many"),
    "a cut that is none": card("preprocess.truncate", "os.mkdir"),
    "other tensors": other_tensors,
}


@pytest.mark.promise(45)
@pytest.mark.parametrize("what", MODELS)
def test_a_hostile_model_directory_is_refused(what: str, model: Path, tmp_path: Path) -> None:
    folder, canary = tmp_path / "model", tmp_path / "canary"
    shutil.copytree(model, folder)
    (folder / "modeling_evil.py").write_text(EVIL.format(canary=str(canary)))
    MODELS[what](folder, canary)
    known = json.loads((folder / "model.json").read_text())
    known["sha256"] = sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(known))
    with pytest.raises(UserError):
        model_dir.load(folder)
    assert not canary.exists()


@pytest.mark.promise(45)
@pytest.mark.parametrize("key", ["auto_map", "attn_implementation", "_attn_implementation", "quantization_config"])
def test_what_a_card_asks_for_beyond_its_values_is_ignored(key: str, model: Path, tmp_path: Path) -> None:
    folder, canary = tmp_path / "model", tmp_path / "canary"
    shutil.copytree(model, folder)
    (folder / "modeling_evil.py").write_text(EVIL.format(canary=str(canary)))
    value: Any = MAP if key == "auto_map" else "someone/evil" if "attn" in key else {"quant_method": "evil"}
    card(f"{CONFIG}.{key}", value)(folder, canary)
    model_dir.load(folder)
    assert not canary.exists()
