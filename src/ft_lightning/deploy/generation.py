"""Writes answers with a language model: greedily or sampled, in batches, or one shown while it is written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ft_lightning.backbones.causal import CausalBackbone
from ft_lightning.backbones.text_networks import quiet
from ft_lightning.features.extract import in_eval_mode
from ft_lightning.readers.chat import ChatReader
from ft_lightning.readers.decoding import UnusableTextError
from ft_lightning.readers.sample import Sample
from ft_lightning.system.console import sample_progress
from ft_lightning.system.errors import UserError
from ft_lightning.system.kinds import Count, NotNegative, Share

_AT_ONCE = 32  # answers
_TOKENS = 16_384  # of prompts and answers at once: keys and values of all layers are in memory


class Answer(NamedTuple):
    """What a model has written."""

    text: str
    tokens: int  # with the one that ends it
    stopped: bool  # whether the model ended it by itself


@dataclass(frozen=True)
class Writing:
    """How answers are written.

    Args:
        max_new_tokens: of an answer; one that is not at its end then is cut.
        temperature: 0: always the most probable token; higher: more varied, from `seed`.
        top_p: share of the probability that the tokens to choose from have (Holtzman et al., "The Curious Case of
            Neural Text Degeneration", ICLR 2020).
        stop: texts before which an answer ends.
    """

    max_new_tokens: Count
    temperature: NotNegative = 0.0
    top_p: Share = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens={self.max_new_tokens}: use a number from 1.")
        if self.temperature < 0:
            raise UserError(f"temperature={self.temperature}: use 0, for the most probable answer, or a number above.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p}: use a share above 0, up to 1.")
        if any(not text for text in self.stop):
            raise UserError("stop holds an empty text, before which every answer would end: leave it out.")


def write_answers(
    backbone: CausalBackbone, prompts: Sequence[list[int]], how: Writing, show_progress: bool = False
) -> list[Answer]:
    """Write an answer after each prompt, its tokens as `ChatReader.prompt` gives them, on the network's device.

    Prompts of one batch are padded on the left, so that each is followed by its answer. On a CPU numbers are float32:
    autocast would convert all weights at each token.
    """
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    answers: dict[int, Answer] = {}
    with _evaluating(backbone, how.seed), sample_progress(show_progress) as progress:
        bar = progress.add_task("Writing answers", total=len(prompts))
        while order:
            longest = len(prompts[order[-1]]) + how.max_new_tokens
            size = max(1, min(_AT_ONCE, _TOKENS // longest))
            limit = backbone.reader.limit
            if limit is not None and longest > limit:
                size = 1  # beside others, one that reaches the last position would end their answers too
            order, part = order[:-size], order[-size:]
            answers |= zip(part, _answers(backbone, [prompts[at] for at in part], how), strict=True)
            progress.advance(bar, len(part))
    return [answers[at] for at in range(len(prompts))]


def answers_table(
    backbone: CausalBackbone, samples: Sequence[Sample], how: Writing, show_progress: bool
) -> pd.DataFrame:
    """Answer conversations that end with a question; the row of one that cannot be answered has its error alone."""
    prompts, errors = dict[int, list[int]](), dict[int, str]()
    for at, sample in enumerate(samples):
        try:
            prompts[at] = _prompt(backbone, sample)
        except UnusableTextError as error:
            errors[at] = f"{sample.path}: {error}."
    written = dict(zip(prompts, write_answers(backbone, list(prompts.values()), how, show_progress), strict=True))
    return _table([(sample, written.get(at), errors.get(at, "")) for at, sample in enumerate(samples)])


def stream_table(backbone: CausalBackbone, sample: Sample, how: Writing, say: Callable[[str], None]) -> pd.DataFrame:
    """Answer one conversation; `say` is called with each new part of the text, or with the error."""
    try:
        prompt = _prompt(backbone, sample)
    except UnusableTextError as error:
        say(f"{error}.")
        return _table([(sample, None, f"{sample.path}: {error}.")])
    with _evaluating(backbone, how.seed):
        answer = _answers(backbone, [prompt], how, _Streamer(backbone.reader, how.stop, say))[0]
    return _table([(sample, answer, "")])


def _prompt(backbone: CausalBackbone, sample: Sample) -> list[int]:
    if sample.problem:
        raise UnusableTextError(sample.problem)
    return backbone.reader.prompt(sample.content)


def _table(rows: Sequence[tuple[Sample, Answer | None, str]]) -> pd.DataFrame:
    columns = ["path", "prompt", "answer", "stopped", "answer_tokens", "error"]
    cells = [
        (sample.path, sample.content[-1].content if sample.content else "", *said, error)
        for sample, answer, error in rows
        for said in [(answer.text, answer.stopped, answer.tokens) if answer else (None, None, None)]
    ]
    return pd.DataFrame(cells, columns=columns).astype({"answer_tokens": "Int64"})


@contextmanager
def _evaluating(backbone: CausalBackbone, seed: int) -> Iterator[None]:
    """Have the network in eval mode, without gradients, its random numbers from a seed of its own."""
    device = next(backbone.parameters()).device
    on_cpu = device.type == "cpu"
    exact = torch.autocast(device.type, enabled=False) if on_cpu else nullcontext()
    chance = torch.random.fork_rng(devices=[] if on_cpu else [device])
    with in_eval_mode(backbone), chance, torch.inference_mode(), exact, quiet():
        torch.manual_seed(seed)
        yield


def _answers(
    backbone: CausalBackbone, prompts: Sequence[list[int]], how: Writing, streamer: Any = None
) -> list[Answer]:
    """Write a batch of answers."""
    from transformers import GenerationConfig

    reader, network = backbone.reader, backbone.network
    device = next(backbone.parameters()).device
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), reader.pad, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    room = how.max_new_tokens if reader.limit is None else min(how.max_new_tokens, reader.limit - longest)
    sampled = {"do_sample": True, "temperature": float(how.temperature), "top_p": float(how.top_p), "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=room,
        eos_token_id=list(reader.format.ends),
        pad_token_id=reader.pad,
        use_cache=True,
        **(sampled if how.temperature else {"do_sample": False}),
    )
    own = network.generation_config
    network.generation_config = GenerationConfig()  # the file's own settings would add to these
    try:
        written = network.generate(
            ids.to(device),
            attention_mask=mask.to(device),
            generation_config=config,
            stopping_criteria=[_Stops(reader, longest, how.stop)] if how.stop else None,
            streamer=streamer,
        )
    finally:
        network.generation_config = own
    return [_answer(reader, row, how.stop) for row in written[:, longest:].tolist()]


def _answer(reader: ChatReader, ids: list[int], stop: Sequence[str]) -> Answer:
    """Make an answer of the tokens of a row, after whose end the library fills up."""
    end = next((at for at, number in enumerate(ids) if number in reader.format.ends), None)
    text = reader.format.text_of(ids if end is None else ids[:end])
    cut = min((at for each in stop if (at := text.find(each)) >= 0), default=None)
    if cut is None:
        return Answer(text, len(ids) if end is None else end + 1, end is not None)
    needed = next(n for n in range(1, len(ids) + 1) if any(each in reader.format.text_of(ids[:n]) for each in stop))
    return Answer(text[:cut], needed, True)


class _Stops:
    """Ends a row once its text holds one of the texts to stop at."""

    def __init__(self, reader: ChatReader, start: int, stop: Sequence[str]) -> None:
        self.reader, self.start, self.stop = reader, start, stop
        self.window = max(len(each.encode()) for each in stop) + 8  # tokens: a text that has just come is in the last

    def __call__(self, ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        last = ids[:, max(self.start, ids.shape[1] - self.window) :]
        texts = [self.reader.format.text_of(row) for row in last.tolist()]
        return torch.tensor([any(each in text for each in self.stop) for text in texts], device=ids.device)


class _Streamer:
    """Says a text as its tokens come: whole letters alone, and nothing that a text to stop at may begin with."""

    def __init__(self, reader: ChatReader, stop: Sequence[str], say: Callable[[str], None]) -> None:
        self.reader = reader
        self.stop, self.say = stop, say
        self.ids: list[int] = []
        self.said = 0
        self._prompt = True

    def put(self, ids: Tensor) -> None:
        """Take the next tokens; the first are those of the prompt."""
        if self._prompt:
            self._prompt = False
            return
        self.ids += ids.flatten().tolist()
        self._say(held=max((len(each) - 1 for each in self.stop), default=0))

    def end(self) -> None:
        self._say(held=0)

    def _say(self, held: int) -> None:
        text = _answer(self.reader, self.ids, self.stop).text
        whole = len(text.rstrip("\N{REPLACEMENT CHARACTER}")) - held
        if whole > self.said:
            self.say(text[self.said : whole])
            self.said = whole
