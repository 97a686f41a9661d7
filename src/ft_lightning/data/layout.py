"""How the samples of a training were laid out: the columns of its table, and of how many texts a sample consists."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError

PAIR = 2
_DEFAULTS = {"image": ("label",), "text": ("text", "label")}  # keys of conf/data that name a column without being set


@dataclass(frozen=True)
class Layout:
    """How the samples of a training were laid out, as model.json says; empty for models that do not say it.

    Args:
        keys: keys of conf/data that named columns, such as text and label, and how a cell of theirs is read.
        texts: of how many texts a sample consists: 2 of pairs; 0: unknown, or the samples are no texts.
    """

    keys: Mapping[str, Any] = field(default_factory=dict)
    texts: int = 0

    @classmethod
    def of(cls, samples: Sequence[Sample], **keys: Any) -> Self:
        """Return the layout of samples; raise UserError where some are pairs and some single texts."""
        first: dict[int, str] = {}
        for sample in samples:
            if not sample.problem:
                first.setdefault(sample.texts, sample.name)
        if {1, PAIR} <= first.keys():
            raise UserError(
                f"data: {first[1]} is a single text and {first[PAIR]} a pair: a model learns from one or the other."
            )
        return cls({key: value for key, value in keys.items() if value is not None}, next(iter(first), 0))

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Self:
        """Return the layout that `to_dict` described."""
        return cls(dict(said["keys"]), int(said["texts"])) if said else cls()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def columns(self, key: str) -> list[str]:
        """Return the columns that a key of conf/data named; none where it was not set."""
        named = self.keys.get(key) or []
        return [named] if isinstance(named, str) else list(named)

    def within(self, there: Collection[str], kind: str) -> dict[str, Any]:
        """Return the keys to read another table by.

        Those of the training, as far as the table has their columns, or lacks the usual ones too.

        Args:
            there: the columns of the table.
            kind: what the model reads: image, text or conversation.
        """
        usual = _DEFAULTS.get(kind, ())
        return {
            key: value
            for key, value in self.keys.items()
            if key == "label_sep" or {*self.columns(key)} <= {*there} or (key in usual and key not in there)
        }

    def refuse_others(self, samples: Sequence[Sample], key: str) -> None:
        """Raise UserError for single texts where the model was trained on pairs, and the other way round.

        Args:
            key: that names the columns of a table, for the message.
        """
        counts = {1, PAIR} - {self.texts}
        others = [sample for sample in samples if not sample.problem and sample.texts in counts]
        if not (self.texts and others):
            return
        name, number = others[0].name, f"{len(others):,} of {len(samples):,}"
        named = ",".join(self.columns("text"))
        columns = f" (data.text={f'[{named}]' if self.texts == PAIR else named})" if named else ""
        if self.texts == PAIR:
            raise UserError(
                f"This model was trained on pairs of texts{columns}; {number} here are single texts ({name}): name "
                f"the two columns of a table, {key}=[{named or 'one,other'}]. A pair that is typed is "
                'text=[[one,other]]; in Python, [("one", "other")].'
            )
        raise UserError(
            f"This model was trained on single texts{columns}; {number} here are pairs ({name}): name one column, "
            f"{key}={named or 'text'}."
        )
