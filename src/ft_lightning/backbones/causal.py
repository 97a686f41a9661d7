"""A language model of transformers: tokens -> how well it predicts those that are learnt."""

from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ft_lightning.backbones.backbone import Identity
from ft_lightning.backbones.blocks import trace_list
from ft_lightning.readers.chat import ChatReader

WIDTH = 3  # of an output: sum of losses, tokens, those that were the most probable
_LARGE = 1e4
_ROWS = 256  # tokens whose logits are in memory at a time: a vocabulary of 150,000 takes 150 MB


class CausalBackbone(nn.Module):
    """A pretrained language model with its own last layer; a `Backbone` of conversations.

    Logits are computed only for the tokens that are learnt, some hundred at a time, so that memory hardly grows with
    the vocabulary.

    Args:
        network: a model of transformers that predicts the next token.
        reader: turns a conversation into tokens.
    """

    sums: ClassVar[bool] = True  # outputs are kept in float32, whatever the precision

    def __init__(self, network: Any, identity: Identity, reader: ChatReader) -> None:
        super().__init__()
        self.network: Any = network  # a module of transformers
        self.identity = identity
        self.reader: Any = reader  # a ChatReader, which the protocol of backbones knows as a reader
        self.feature_dim = WIDTH
        self._longest, self._pad = reader.max_length, reader.pad
        self._base = next(name for name, module in network.named_modules() if module is network.base_model)
        blocks, _ = trace_list(network.base_model, lambda: self._hidden(self.prepare(self.example(1, 16)))[:, 0])
        self.blocks = tuple(tuple(f"{self._base}.{name}" for name in block) for block in blocks)
        self._head_is_all = self._has_plain_head()

    def example(self, n: int, length: int | None = None) -> dict[str, Tensor]:
        """Return a blank batch of n conversations to learn wholly, as long as the longest, or of another length."""
        ids = torch.full((n, min(length or self._longest, self._longest)), self._pad, dtype=torch.int32)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "learn": torch.ones_like(ids)}

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn a loaded batch, int32 (B, L), into the network's input, int64 of the same shape."""
        return {name: values.long() for name, values in inputs.items()}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Compute outputs (B, 3) of prepared tokens (B, L), in float32, summed over the tokens of a row to be learnt.

        They are the negative logarithm of the probability of each token, how many tokens there are, and how many were
        the most probable.
        """
        ids, learn = inputs["input_ids"], inputs["learn"][:, 1:].bool()  # the first token follows nothing
        targets, rows = ids[:, 1:][learn], learn.nonzero()[:, 0]
        if self._head_is_all:
            hidden = self._hidden(inputs)[:, :-1][learn]  # (R, D)
            parts = zip(hidden.split(_ROWS), targets.split(_ROWS), strict=True)
            recompute = torch.is_grad_enabled() and len(targets) > _ROWS
            score = partial(checkpoint, self._scored, use_reentrant=False) if recompute else self._scored
            scores = [score(*part) for part in parts] or [hidden.new_zeros(0, 2, dtype=torch.float32)]
        else:
            logits = self.network(ids, attention_mask=inputs["attention_mask"]).logits[:, :-1][learn]
            scores = [_scores(logits, targets)]
        each = torch.cat(scores)  # (R, 2)
        sums = each.new_zeros(len(ids), 2).index_add(0, rows, each)
        return torch.stack([sums[:, 0], learn.sum(1).to(sums), sums[:, 1]], 1)

    def _hidden(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the last hidden states (B, L, D)."""
        base = self.network.base_model
        return base(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state

    def _scored(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return _scores(self.network.get_output_embeddings()(hidden), targets)

    @torch.no_grad()
    def _has_plain_head(self) -> bool:
        """Return whether logits are the last layer's outputs; some families scale or bound them afterwards."""
        ids = torch.arange(1, 5)[None]  # no padding, which may be embedded as zeros
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        training, head = self.network.training, self.network.get_output_embeddings()
        self.network.eval()
        # Small logits, as of a network with random weights, would show no bound.
        larger = head.register_forward_pre_hook(lambda _, args: (args[0] * _LARGE,))
        logits = self.network(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        plain = head(self._hidden(inputs))
        larger.remove()
        self.network.train(training)
        return torch.allclose(logits, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


def _scores(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of each target (R,), and whether it was the most probable: (R, 2), float32."""
    logits = logits.float()  # half precision would round probabilities to three digits
    nll = F.cross_entropy(logits, targets, reduction="none")
    return torch.stack([nll, (logits.detach().argmax(1) == targets).float()], 1)
