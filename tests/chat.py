"""Tiny random language models, in folders as transformers writes them, and a tokenizer that reads bytes."""

import json
from pathlib import Path
from typing import Any

import torch

from ft_lightning.backbones.causal import CausalBackbone
from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.backbones.text_networks import quiet
from ft_lightning.finetune import freeze_plan
from ft_lightning.heads import build_head
from ft_lightning.lora import Adapters, adapt
from ft_lightning.model import Classifier

SIGNS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END = 2  # <|im_end|>
VOCABULARY = len(SIGNS) + 256
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SIZES = {
    "vocab_size": VOCABULARY + 1,  # with one that no token uses, as networks have
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": END,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _SIZES | {"tie_word_embeddings": True},
    "qwen2": _SIZES | {"tie_word_embeddings": False},
    "gemma2": _SIZES | {"head_dim": 8, "final_logit_softcapping": 5.0, "sliding_window": 64},
    "gpt2": {
        "vocab_size": VOCABULARY + 1,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 512,
        "bos_token_id": 1,
        "eos_token_id": END,
    },
    "gpt_neox": {name: value for name, value in _SIZES.items() if name != "num_key_value_heads"},
}


def tokenizer(prefix: str = "") -> str:
    """Return a tokenizer.json that reads bytes; `prefix` is a sign that it adds by itself, such as <|endoftext|>."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate((*SIGNS, *letters))}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(sign, special=True) for sign in SIGNS])
    if prefix:
        made.post_processor = processors.TemplateProcessing(
            single=f"{prefix} $A", special_tokens=[(prefix, vocabulary[prefix])]
        )
    return made.to_str()


def write_language_model(
    folder: Path, family: str = "llama", template: str | None = CHATML, seed: int = 0, **arguments: Any
) -> Path:
    """Write a tiny language model of a family, as transformers' save_pretrained does; return the folder."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    torch.manual_seed(seed)
    config = CONFIG_MAPPING[family](**FAMILIES[family] | arguments)
    network: Any = AutoModelForCausalLM.from_config(config)
    with torch.no_grad(), quiet():
        for value in network.parameters():
            value.add_(torch.randn_like(value), alpha=0.05)
        network.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer(), encoding="utf-8")
    said = {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def language_model(folder: Path, mode: str, grad_checkpointing: bool = False) -> Classifier:
    """Return the model of a folder as a run trains it; adapters begin with random values, not at zero."""
    backbone = load_text_backbone(
        "transformers", str(folder), "DEFAULT", None, "auto", grad_checkpointing, {}, generates=True
    )
    assert isinstance(backbone, CausalBackbone)
    head = build_head("none", 3, 3)
    adapters = None
    if mode == "lora":
        run = lambda: backbone(backbone.prepare(backbone.example(1)))  # noqa: E731
        adapters = adapt(backbone.network, backbone.blocks, run, "tiny", Adapters(4, 8, "all-linear", 0.0))
        torch.manual_seed(1)
        with torch.no_grad():
            for adapter in adapters.named().values():
                adapter.B.normal_(std=0.02)  # at zero the matrices A would have no gradient
    names = [name for name, _ in adapters.named_parameters()] if adapters else []
    return Classifier(backbone, head, freeze_plan(backbone, head, mode, None, True, names), adapters)
