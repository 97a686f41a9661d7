"""Writes a language model as a folder that transformers opens, and proves that it answers there as it does here."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ft_lightning.backbones.causal import CausalBackbone
from ft_lightning.backbones.text_networks import quiet
from ft_lightning.deploy import weights
from ft_lightning.readers.chat import ChatReader
from ft_lightning.readers.conversation import Conversation, Message
from ft_lightning.readers.decoding import UnusableTextError
from ft_lightning.readers.tokens import tokenizer_of
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import replacing, write_json

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CLOSE = 1e-4  # logits of the same weights in float32
ALIKE = 0.9  # share of places where a rounded model has to hold the same token for the most probable one
_USER, _ASSISTANT = "user", "assistant"
_QUESTIONS: tuple[Conversation, ...] = (
    (Message(_USER, "What is the capital of France?"),),
    (Message("system", "Answer in one word."), Message(_USER, "Is water wet?\n\n  Say: yes or no. ")),
    (Message(_USER, "把“早上好”翻译成英文 🙂"),),
    (Message(_USER, "1 + 1?"), Message(_ASSISTANT, "2"), Message(_USER, "And 2 + 2?")),
    (Message(_USER, "{\"a\": [1.5e-3, null]}\t<b>&amp;</b>"),),
)  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """How a folder's answers, computed by transformers alone, compare with those of the model directory."""

    conversations: int
    farthest: float  # logits in float32 of the same weights
    alike: float  # share of places with the same most probable token, before and after weights were rounded
    rounding: float  # farthest logits of those


def save(
    folder: Path, backbone: CausalBackbone, dtype: str, adapter: Path, readme: Callable[[Proof, bool], str]
) -> Proof:
    """Write a folder, whole or not at all; raise UserError if it does not answer alike.

    Args:
        backbone: of a model directory: merged, on the CPU, in float32. Its weights are rounded if `dtype` says so.
        dtype: one of DTYPES.
        adapter: a folder in peft's format, which goes into `adapter/`; there may be none.
        readme: (proof, whether there is an adapter) -> README.md.
    """
    network, reader = backbone.network.eval(), backbone.reader
    asked = [each for each in _QUESTIONS if _fits(reader, each)]
    before = _logits(network, reader, asked)
    _round(network, DTYPES[dtype])
    with replacing(folder) as temporary:
        temporary.mkdir()
        _write(temporary, network, reader)
        if adapter.is_dir():
            shutil.copytree(adapter, temporary / "adapter")
        network.float()
        there = _answers_of_transformers(temporary, asked)
        proof = _compared(reader, asked, before, _logits(network, reader, asked), there)
        (temporary / "README.md").write_text(readme(proof, adapter.is_dir()), encoding="utf-8")
    return proof


def _round(network: Any, dtype: torch.dtype) -> None:
    """Round weights, but not what is computed from the config, such as frequencies; none may become infinite."""
    for name, value in network.named_parameters():
        value.data = value.data.to(dtype)
        if not value.isfinite().all():
            raise UserError(f"dtype={str(dtype)[6:]} cannot hold {name}, whose values are too large: use bfloat16.")


def _write(folder: Path, network: Any, reader: ChatReader) -> None:
    """Write config, weights, tokenizer, template and generation settings."""
    from transformers import GenerationConfig

    ends, special = list(reader.format.ends), dict(reader.format.special)
    numbers = {name: tokenizer_of(reader.format.tokenizer).token_to_id(text) for name, text in special.items()}
    known = {name: special[name] for name, number in numbers.items() if number is not None}  # others would be added
    ids: dict[str, Any] = {"bos_token_id": numbers.get("bos_token"), "pad_token_id": numbers.get("pad_token", ends[0])}
    ids |= {"eos_token_id": ends if len(ends) > 1 else ends[0]}
    for name, value in {**ids, "use_cache": True}.items():  # of keys and values, for writing on
        setattr(network.config, name, value)
    network.generation_config = GenerationConfig(do_sample=False, **ids)
    try:
        with quiet():
            network.save_pretrained(folder, max_shard_size=weights.LARGEST)
    except SafetensorError as error:  # raised on a full disk, for example
        raise OSError(str(error)) from error
    for name, content in reader.files().items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    said = {"tokenizer_class": "PreTrainedTokenizerFast", **known, "clean_up_tokenization_spaces": False}
    said |= {"model_input_names": ["input_ids", "attention_mask"]}
    write_json(folder / "tokenizer_config.json", said | ({"model_max_length": reader.limit} if reader.limit else {}))


def _fits(reader: ChatReader, messages: Conversation) -> bool:
    try:
        reader.prompt(messages)
    except UnusableTextError:  # some templates take no system message
        return False
    return True


@torch.inference_mode()
def _logits(network: Any, reader: ChatReader, asked: Sequence[Conversation]) -> list[Tensor]:
    return [network(torch.tensor([reader.prompt(each)])).logits[0] for each in asked]


def _answers_of_transformers(folder: Path, asked: Sequence[Conversation]) -> dict[str, Tensor]:
    """Open the folder with transformers, in a process that knows nothing of ours."""
    with TemporaryDirectory() as place:
        questions, answers = Path(place) / "questions.json", Path(place) / "answers.safetensors"
        write_json(questions, [[message._asdict() for message in each] for each in asked])
        script = Path(__file__).with_name("reopened.py")
        done = subprocess.run(
            [sys.executable, "-P", str(script), str(folder), str(questions), str(answers)],
            env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", check=False,
        )  # fmt: skip
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"transformers cannot open what would be exported, so nothing is written: {last[:300]}")
        return load_file(answers)


def _compared(
    reader: ChatReader,
    asked: Sequence[Conversation],
    before: list[Tensor],
    here: list[Tensor],
    there: dict[str, Tensor],
) -> Proof:
    """Compare what transformers makes of the folder with the logits `before` rounding and `here`, after it."""
    for at, messages in enumerate(asked):
        own, others = reader.prompt(messages), there[f"tokens.{at}"].tolist()
        if own != others:
            place = next((i for i, (a, b) in enumerate(zip(own, others, strict=False)) if a != b), len(others))
            raise _differs(f"it reads {messages[-1].content!r} as other tokens (from token {place + 1} on)")
    if (ends := sorted(there["ends"].tolist())) != sorted(reader.format.ends):
        raise _differs(f"answers would end at the tokens {ends}, not at {sorted(reader.format.ends)}")
    farthest = max(float((there[f"exact.{at}"] - row).abs().max()) for at, row in enumerate(here))
    if not farthest <= CLOSE:
        raise _differs(f"its logits differ by up to {farthest:.2g}, more than {CLOSE:g}")
    rounded = torch.cat([there[f"own.{at}"] for at in range(len(asked))])
    whole = torch.cat(before)
    alike = float((rounded.argmax(1) == whole.argmax(1)).float().mean())
    if alike < ALIKE:
        raise UserError(
            f"dtype: in {1 - alike:.0%} of places the rounded model holds another token for the most probable one "
            f"(at most {1 - ALIKE:.0%} may): use float32. Nothing is written."
        )
    return Proof(len(asked), farthest, alike, float((rounded - whole).abs().max()))


def _differs(how: str) -> UserError:
    return UserError(f"transformers does not answer as this model does: {how}. Nothing is written.")
