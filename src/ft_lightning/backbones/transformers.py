"""A text network of transformers without a head: tokens -> features, the same whatever else is in the batch."""

from collections import defaultdict
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ft_lightning.backbones.after_pooling import NAME
from ft_lightning.backbones.backbone import Identity
from ft_lightning.backbones.blocks import trace_list
from ft_lightning.readers.sample import Reader
from ft_lightning.readers.text import TextReader, padded_length

POOLINGS = ("mean", "cls", "last")
# Tokens, and the most rows, of a call: with fewer a CPU waits for weights from memory, with more are more rows copies.
_CALL = {"cpu": (384, 16)}
_CALL_ELSEWHERE = (8192, 256)
_MANY = 8  # rows of a call, from which one that must be padded costs less than calls of their own
_FLOAT32_ONLY = {"deberta"}  # masks half-precision scores by the least float32, which overflows (transformers 5.24)


class TextBackbone(nn.Module):
    """A pretrained network that reads tokens; a `Backbone` of texts.

    While no gradients are computed, a text's features depend on its own tokens alone, to the bit: rows are computed in
    groups of one padded length, which is a function of the text, and always as many at a time. Half precision needs
    both; the fastest kernel of a product depends on its shape.

    Args:
        network: a base model of transformers, without a head.
        pooling: of a text's last hidden states: mean, cls (of the first token) or last (of the last).
        reader: turns a text into tokens.
    """

    def __init__(self, network: nn.Module, pooling: str, identity: Identity, reader: TextReader) -> None:
        super().__init__()
        self.network = network
        self.pooling = pooling
        self.identity = identity
        self.reader: Reader = reader
        self._pad, self._longest = reader.pad, reader.max_length
        self._is_float32_only = identity.arguments["config"]["model_type"] in _FLOAT32_ONLY
        self.blocks, self.feature_dim = trace_list(network, lambda: self(self.prepare(self.example(1, 16))))

    def example(self, n: int, length: int | None = None) -> dict[str, Tensor]:
        """Return a blank batch of n texts, as the reader collates them; of the longest, or of another length."""
        ids = torch.full((n, 1, min(length or self._longest, self._longest)), self._pad, dtype=torch.int32)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn a loaded batch, int32 (B, W, L), into the network's input, int64 of the same shape."""
        return {name: values.long() for name, values in inputs.items()}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Compute features: prepared tokens (B, W, L) -> (B, D), in autocast's type; of several windows, their mean."""
        mask = inputs["attention_mask"]
        windows = mask.any(2)  # (B, W); others are there because another text has more
        rows = {name: values[windows] for name, values in inputs.items()}  # (R, L)
        pooled = self._pooled(rows) if torch.is_grad_enabled() else self._exact(rows)
        if torch.is_autocast_enabled(mask.device.type):
            pooled = pooled.to(torch.get_autocast_dtype(mask.device.type))  # as the store keeps them
        if mask.shape[1] == 1:
            return pooled
        # One text at a time: summed over the windows of the batch, the order of the sum would depend on the others.
        return torch.stack([own.mean(0) for own in pooled.split(windows.sum(1).tolist())])

    def _exact(self, rows: dict[str, Tensor]) -> Tensor:
        """Compute rows in groups of one padded length and a fixed size, which copies fill up."""
        mask = rows["attention_mask"]
        groups: dict[tuple[int, bool], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for row, tokens in enumerate(mask.sum(1).tolist()):
            length = min(padded_length(tokens), mask.shape[1])
            is_full = tokens == length
            apart = is_full and _rows(mask.device.type, length) < _MANY
            groups[length, apart][is_full].append(row)
        order: list[int] = []
        pooled: list[Tensor] = []
        for (length, apart), (padded, full) in groups.items():
            size = _rows(mask.device.type, length)
            for part in _calls(padded, full, size, apart):
                filled = torch.tensor(part + part[:1] * (size - len(part)), device=mask.device)
                inputs = {name: values[filled, :length] for name, values in rows.items()}
                if not apart:  # attention takes another path where no row is padded
                    inputs["attention_mask"][len(part) :, -1] = 0
                pooled.append(self._pooled(inputs)[: len(part)])
                order += part
        return torch.cat(pooled)[torch.tensor(order, device=mask.device).argsort()]

    def _pooled(self, rows: dict[str, Tensor]) -> Tensor:
        """Run the network: tokens (R, L) -> hidden states (R, L, D) -> (R, D) in float32."""
        mask = rows["attention_mask"].bool()
        whole = torch.autocast(mask.device.type, enabled=False)
        with whole if self._is_float32_only else nullcontext():
            hidden = self.network(**rows).last_hidden_state.float()
        with whole:
            pooled = self._of_tokens(hidden, mask)
            after: nn.Module | None = getattr(self.network, NAME, None)
            return pooled if after is None else after(pooled)

    def _of_tokens(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
        return hidden.masked_fill(~mask.unsqueeze(2), 0).sum(1) / mask.sum(1, keepdim=True)


def _calls(padded: list[int], full: list[int], size: int, apart: bool) -> list[list[int]]:
    """Divide rows into calls of a size; unless full ones are apart, a row of each call is padded, or there is room."""
    rows = padded + full
    count = -(-len(rows) // size)
    if not apart and len(padded) < count:
        count = -(-len(rows) // (size - 1))
    return [rows[at::count] for at in range(count)]


def _rows(device: str, length: int) -> int:
    """Return how many rows of a padded length a call of the network has: always as many."""
    tokens, most = _CALL.get(device, _CALL_ELSEWHERE)
    return min(most, 1 << max(1, (tokens // length).bit_length() - 1))  # a power of two: the loader's batches are
