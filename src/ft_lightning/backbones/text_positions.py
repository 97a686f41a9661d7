"""What a text network can take: how many tokens, which of them, and whether a pair's texts are told apart."""

from inspect import signature
from typing import Any

from torch import nn

from ft_lightning.readers.tokens import tokenizer_of
from ft_lightning.system.errors import UserError

_STRANGE = "zqx \u4e00 \U0001f9ff \ue000"  # letters that few tokenizers know


def fits_tokenizer(network: Any, tokenizer: str) -> None:
    """Raise UserError if a tokenizer has tokens that the network does not know, or fails on what it does not know."""
    made, embeddings = tokenizer_of(tokenizer), network.get_input_embeddings().num_embeddings
    last = max(made.get_vocab().values(), default=-1)
    try:
        made.encode(_STRANGE)
    except Exception as error:  # of no type of its own
        raise UserError(
            f"its tokenizer.json has no token for what it does not know ({error}): add it to its vocabulary."
        ) from error
    if last >= embeddings:
        raise UserError(f"its tokenizer has a token {last:,}, its network {embeddings:,}: they do not belong together.")


def pad_of(network: Any) -> int:
    """Return the token that stands where there is no text: the one that the network names, or the first."""
    pad = getattr(network.config, "pad_token_id", None)
    return pad if isinstance(pad, int) and 0 <= pad < network.get_input_embeddings().num_embeddings else 0


def positions_of(network: Any) -> int | None:
    """Return how many tokens the network has positions for; None if their number is not limited."""
    most = getattr(network.config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return None
    for name, module in network.named_modules():
        # Those of RoBERTa count from behind the padding's own.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return most - module.padding_idx - 1
    return most


def takes_types(network: Any) -> bool:
    """Return whether the network tells the first text of a pair from the second."""
    return (
        getattr(network.config, "type_vocab_size", 0) > 1 and "token_type_ids" in signature(network.forward).parameters
    )
