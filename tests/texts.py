"""Tiny random text networks of every family, in folders as transformers writes them, and a tokenizer of a few words."""

import json
from pathlib import Path
from typing import Any

import torch

from ft_lightning.backbones.text_networks import quiet

_SENTENCE = "the a cat dog sat ran on under mat tree and then it was very quiet because nobody came to see them"
WORDS = _SENTENCE.split()
_SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_POSITIONS = {"max_position_embeddings": 64}
_DECODER = _SMALL | _POSITIONS | {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_ROBERTA = _SMALL | {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}
_GPT2 = {
    "vocab_size": 40,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

FAMILIES: dict[str, dict[str, Any]] = {  # model_type -> config
    "albert": _SMALL | _POSITIONS | {"embedding_size": 16},
    "bert": _SMALL | _POSITIONS,
    "bloom": {"vocab_size": 40, "hidden_size": 32, "n_layer": 3, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2},
    "deberta": _SMALL | _POSITIONS | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": _SMALL
    | _POSITIONS
    | {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "conv_kernel_size": 3,
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "distilbert": {"vocab_size": 40, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48} | _POSITIONS,
    "electra": _SMALL | _POSITIONS | {"embedding_size": 16},
    "ernie": _SMALL | _POSITIONS,
    "gemma3_text": _DECODER | {"head_dim": 8},
    "gpt2": _GPT2,
    "gpt_neox": _SMALL | _POSITIONS | {"bos_token_id": 1, "eos_token_id": 2},
    "llama": _DECODER,
    "mamba": {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "state_size": 4},
    "modernbert": _SMALL
    | _POSITIONS
    | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    "mpnet": _SMALL | {"max_position_embeddings": 66, "pad_token_id": 1},
    "opt": {
        "vocab_size": 40,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "ffn_dim": 48,
        "word_embed_proj_dim": 32,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    | _POSITIONS,
    "phi3": _DECODER,
    "qwen2": _DECODER,
    "qwen3": _DECODER | {"head_dim": 8},
    "roberta": _ROBERTA,
    "rwkv": {
        "vocab_size": 40,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "attention_hidden_size": 32,
        "context_length": 64,
    },
    "t5": {"vocab_size": 40, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4},
    "xlm-roberta": _ROBERTA,
    "xlnet": {"vocab_size": 40, "d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 48},
}


def tokenizer() -> str:
    """Return the tokenizer.json of a few words: [CLS] text [SEP], [CLS] text [SEP] text [SEP]; it cuts and pads."""
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS])}

    def part(kind: str, name: str, number: int) -> dict[str, Any]:
        return {kind: {"id": name, "type_id": number}}

    start, end = part("SpecialToken", "[CLS]", 0), part("SpecialToken", "[SEP]", 0)
    single = [start, part("Sequence", "A", 0), end]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
            "padding": {
                "strategy": {"Fixed": 9},
                "direction": "Left",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
            "added_tokens": [
                {
                    "id": i,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
                for i, token in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]"])
            ],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": single,
                "pair": [*single, part("Sequence", "B", 1), part("SpecialToken", "[SEP]", 1)],
                "special_tokens": {
                    token: {"id": token, "ids": [vocabulary[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")
                },
            },
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        }
    )


def library_network(family: str, seed: int = 0, **arguments: Any) -> Any:
    """Build a family's network as the library does, with values that are not the ones of a fresh start."""
    from transformers import CONFIG_MAPPING, AutoModel, T5EncoderModel

    torch.manual_seed(seed)
    config = CONFIG_MAPPING[family](**FAMILIES[family] | arguments)
    network: Any = T5EncoderModel(config) if family == "t5" else AutoModel.from_config(config)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value), alpha=0.05)
    return network.eval()


def write_folder(folder: Path, network: Any) -> Path:
    """Write a folder as transformers does, with our tokenizer."""
    with quiet():
        network.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer(), encoding="utf-8")
    return folder
