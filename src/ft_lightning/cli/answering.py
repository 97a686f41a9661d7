"""`predict` with a language model: answers to questions, or a conversation in the terminal."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig

from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from ft_lightning.deploy.generation import Writing
    from ft_lightning.deploy.predictor import TrainedModel
    from ft_lightning.readers.sample import Sample

_PROMPT = "> "
_OF_WRITING = {"system": None, "max_new_tokens": None, "temperature": 0.0, "top_p": 1.0, "stop": None}


def refuse_writing(cfg: DictConfig) -> None:
    """Raise UserError for keys of a language model beside another one."""
    for key, default in _OF_WRITING.items():
        if cfg[key] != default:
            raise UserError(f"{key}={cfg[key]}: this model writes no answers: leave it out.")


def talks(cfg: DictConfig) -> bool:
    """Return whether questions are typed one after the other, each to be answered before the next."""
    return cfg.input == "-" and sys.stdin.isatty()


def how_to_write(cfg: DictConfig, model: "TrainedModel") -> "Writing":
    """Return how the keys of predict have answers written."""
    from ft_lightning.deploy.generation import Writing

    for key in ("abstain_below", "threshold"):
        if cfg[key] is not None:
            raise UserError(f"{key}={cfg[key]}: an answer that is written has no probability: leave it out.")
    stop = cfg.stop if isinstance(cfg.stop, ListConfig) else [cfg.stop] if cfg.stop is not None else []
    tokens: int = model.card["task"]["max_new_tokens"] if cfg.max_new_tokens is None else cfg.max_new_tokens
    return Writing(tokens, cfg.temperature, cfg.top_p, tuple(map(str, stop)), cfg.seed)


def answers(cfg: DictConfig, model: "TrainedModel", samples: "Sequence[Sample]") -> "pd.DataFrame":
    """Answer questions; one row each."""
    asked = [_with_system(sample, cfg.system) for sample in samples]
    return model.answer(asked, how_to_write(cfg, model), cfg.device, show_progress=True)


def talk(cfg: DictConfig, model: "TrainedModel") -> "pd.DataFrame":
    """Answer each line as soon as it is typed, until the end of input; one row each.

    Each question stands for itself: a model knows no earlier ones unless it was trained on conversations.
    """
    import pandas as pd

    from ft_lightning.data.conversation_inputs import question
    from ft_lightning.deploy.generation import stream_table

    how, tables = how_to_write(cfg, model), list["pd.DataFrame"]()
    backbone: Any = model.on(cfg.device).backbone
    while (line := _typed()) is not None:
        if line.strip():
            sample = _with_system(question(f"-#{len(tables) + 1}", line), cfg.system)
            tables.append(stream_table(backbone, sample, how, _say))
            _say("\n")
    return pd.concat(tables, ignore_index=True) if tables else model.answer([], how)


def _with_system(sample: "Sample", system: str | None) -> "Sample":
    from ft_lightning.readers.conversation import Message

    messages = sample.content
    if system is None or not messages or messages[0].role == "system":
        return sample
    return replace(sample, content=(Message("system", str(system)), *messages))


def _typed() -> str | None:
    """Return the next line; None at the end of input."""
    _say(_PROMPT)
    line = sys.stdin.readline()
    return line.rstrip("\r\n") if line else None


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
