"""What the samples of a dataset are, images, texts or conversations, as far as verbs and data need to know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ft_lightning.data import conversation_inputs, text_inputs
from ft_lightning.data.conversation_sources import checking, find_conversations
from ft_lightning.data.damage import Inspect, Inspector
from ft_lightning.data.inputs import find_files
from ft_lightning.data.memo import Memo
from ft_lightning.data.own_source import function_of, of_ones_own
from ft_lightning.data.scan import FindFiles, with_columns
from ft_lightning.data.sources import find_images
from ft_lightning.data.split import Splits
from ft_lightning.data.text_sources import find_texts, reading
from ft_lightning.data.too_long import hold_to_length
from ft_lightning.readers.images import inspect_image, size_error
from ft_lightning.readers.lengths import length_of
from ft_lightning.readers.sample import Inspection, Reader, Sample
from ft_lightning.readers.words import Part, parts_of
from ft_lightning.system.errors import UserError
from ft_lightning.system.kinds import Share, fits


def _hold_to_size(inspector: Inspector, reader: Reader, skips: bool) -> bool:
    inspector.limit(reader)
    return skips


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Samples of one kind: where they are listed, and what can be wrong with them.

    Args:
        name: that of their readers; also what people call one of them.
        find: lists them where no source is named.
        inputs: (pattern of a file, folder or table; columns of a table, or None; those of the model's training) -> the
            samples to answer.
        columns: keys of conf/data that name columns of a table, which `find` takes.
        own: keys of data that say something of these samples, and nothing of those of every kind.
        inspecting: (keys of conf/data) -> what decodes a sample, and what judges its width and height.
        remembered: whether looking at one costs enough to keep the verdict.
        prepared: (source) -> the source as a dataset uses it.
        parts: (sample, how many at most) -> what a model can answer without, to see what speaks for its answer.
        typed: texts of the command line -> samples; None where they are files.
        hold: (inspector, reader, whether unusable samples are left out) -> whether those are that the reader refuses.
        on_bad: the key of conf/data that says what happens to samples that cannot be used.
    """

    name: str
    find: FindFiles
    inputs: Callable[[str, Sequence[str] | None, Sequence[str]], list[Sample]]
    columns: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    inspecting: Callable[[Mapping[str, Any]], tuple[Inspect, Callable[[int, int], str]]]
    remembered: bool = False
    parts: Callable[[Sample, int], Sequence[Part]] | None = None
    prepared: Callable[[FindFiles], FindFiles] = lambda find: find
    typed: Callable[[Sequence[str | tuple[str, ...]]], list[Sample]] | None = None
    hold: Callable[[Inspector, Reader, bool], bool] = _hold_to_size
    on_bad: str

    def source(self, find: FindFiles | None, keys: Mapping[str, Any]) -> FindFiles:
        """Return what lists the samples: `find`, or that of the kind; it knows the columns that the keys name."""
        given = {name: keys[name] for name in self.columns if keys.get(name) is not None}
        if find and function_of(find) not in (kind.find for kind in KINDS.values()):
            find = of_ones_own(find)
        return with_columns(self.prepared(find or self.find), given)

    def refuse_other(self, reader: Reader) -> None:
        """Raise UserError for a model that reads samples of another kind."""
        if reader.kind != self.name:
            raise UserError(
                f"data: its samples are {self.name}s, and model reads {reader.kind}s: choose another model, or "
                "other data."
            )

    def inspector(self, splits: Splits, memo: Memo | None, keys: Mapping[str, Any]) -> Inspector:
        """Return what finds the samples of these splits that cannot be used, by the keys of conf/data."""
        inspect, judge = self.inspecting(keys)
        fix = f"Mend or remove them, or leave them out: data.{self.on_bad}=skip."
        inspector = Inspector(splits, memo if self.remembered else None, self.name, inspect, judge, fix)
        if not self.remembered:
            inspector.decode_unknown(show_progress=False)
        return inspector


def kind_of(keys: Mapping[str, Any]) -> Kind:
    """Return the kind of the samples that these keys of conf/data describe."""
    if "learn" in keys:  # which no other kind has
        return CONVERSATIONS
    return TEXTS if TEXTS.on_bad in keys else IMAGES


def table_of(keys: Mapping[str, Any]) -> str | None:
    """Return the table that the keys of conf/data name; `data.csv` is an older name of `data.table`."""
    table, csv = keys.get("table"), keys.get("csv")
    if table and csv:
        raise UserError(f"data.table={table}: it means the same as data.csv={csv}: give one of them.")
    return table or csv


def made_by(create: Callable[[], Path]) -> tuple[str | None, str | None]:
    """Make the data that `data.create` makes, and return it as folder or table, the other None."""
    made = Path(create())
    return (None, str(made)) if made.is_file() else (str(made), None)


def skips(kind: Kind, keys: Mapping[str, Any]) -> bool:
    """Return whether samples that cannot be used are left out; UserError for a value that says neither."""
    policy, share = keys[kind.on_bad], keys["max_bad_fraction"]
    if policy not in ("error", "skip"):
        raise UserError(f"data.{kind.on_bad}={policy}: use one of error, skip.")
    if not fits(share, Share):
        raise UserError(f"data.max_bad_fraction={share}: use a share from 0 to 1, such as 0.05.")
    return policy == "skip"


def _of_images(keys: Mapping[str, Any]) -> tuple[Inspect, Callable[[int, int], str]]:
    limit: int = keys["max_pixels"]

    def inspect(sample: Sample) -> Inspection:
        if keys.get("decode") == "fast":  # as small as it gets: only the verdict is wanted
            return inspect_image(sample.path, limit, sample.digest, lambda *_: (1, 1), fast=True)[1]
        return inspect_image(sample.path, limit, sample.digest)[1]

    return inspect, partial(size_error, max_pixels=limit)


def _of_texts(keys: Mapping[str, Any]) -> tuple[Inspect, Callable[[int, int], str]]:
    # What is wrong with a text, or a conversation, is known once it is read, which its source does.
    return lambda sample: Inspection(length_of(sample.content), 0, "text", "", True), lambda *_: ""


def _image_inputs(pattern: str, columns: Sequence[str] | None, _: Sequence[str]) -> list[Sample]:
    if columns:
        raise UserError(f"column={','.join(columns)}: this model reads images, which are files: leave it out.")
    return [Sample.unlabelled(str(path)) for path in find_files(pattern)]


_LABELS = ("label_sep", "empty_label", "case_sensitive")
IMAGES = Kind(
    name="image",
    find=find_images,
    inputs=_image_inputs,
    own=("max_pixels", "on_bad_image", *_LABELS),
    inspecting=_of_images,
    remembered=True,
    on_bad="on_bad_image",
)
TEXTS = Kind(
    name="text",
    find=find_texts,
    inputs=text_inputs.find_texts,
    columns=("text",),
    own=("text", "max_length", "truncate", "on_bad_text", *_LABELS),
    inspecting=_of_texts,
    parts=parts_of,
    prepared=reading,
    typed=text_inputs.typed_texts,
    on_bad="on_bad_text",
)
CONVERSATIONS = Kind(
    name="conversation",
    find=find_conversations,
    inputs=conversation_inputs.find_questions,
    columns=("text",),
    own=("text", "max_length", "on_too_long", "on_bad_text"),
    inspecting=_of_texts,
    prepared=checking,
    typed=conversation_inputs.typed_questions,
    hold=hold_to_length,
    on_bad="on_bad_text",
)
KINDS = {kind.name: kind for kind in (IMAGES, TEXTS, CONVERSATIONS)}
