"""Computes the features that the store lacks, and reads them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ft_lightning.backbones.backbone import Backbone
from ft_lightning.data.damage import Inspector
from ft_lightning.features.extract import Computing, Extractor
from ft_lightning.features.rows import Rows
from ft_lightning.features.store import FeatureStore
from ft_lightning.readers.sample import Sample
from ft_lightning.system import console
from ft_lightning.system.distributed import Processes
from ft_lightning.system.errors import NumericalError, UserError


class Filled(NamedTuple):
    """Numbers of samples with distinct content that the store had, and that it lacked."""

    found: int
    computed: int


def fill(
    store: FeatureStore,
    backbone: Backbone,
    samples: Sequence[Sample],
    how: Computing,
    inspector: Inspector | None = None,
) -> Rows:
    """Compute the features that the store lacks, report it on the console, and return the rows of all samples."""
    complete(store, backbone, samples, how, inspector)
    return rows_of(store, samples)


def rows_of(store: FeatureStore, samples: Sequence[Sample]) -> Rows:
    """Return rows (N, D) of stored samples, in order."""
    return store.locate([sample.digest for sample in samples]).compacted()


def complete(
    store: FeatureStore,
    backbone: Backbone,
    samples: Sequence[Sample],
    how: Computing,
    inspector: Inspector | None = None,
    processes: Processes | None = None,
    live: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> Filled:
    """Compute the features that the store lacks, shared among processes. Collective.

    Args:
        inspector: records what decoding finds, decodes the samples that no feature pass will, and raises if any is
            unusable. Without it unreadable samples raise.
        processes: share the work; None: this process alone.
        live: splits whose features are computed in every epoch, and why, for the console.
        quiet: print nothing if nothing is to be computed.
    """
    processes = processes or Processes()
    distinct = list({sample.digest: sample for sample in samples}.values())
    missing = _missing(store, distinct)
    filled = Filled(len(distinct) - len(missing), len(missing))
    if processes.is_main and (missing or not quiet):
        say(store, filled, live or {})
    if inspector:
        # Waits for all processes, so that none sees rows that another has already added, and shares are even.
        inspector.settle({sample.digest for sample in missing}, how.show_progress, processes)
    extractor = Extractor(backbone, store, how)
    for position, size in processes.shares():
        error = None
        try:
            extractor.compute(_missing(store, distinct)[position::size], inspector.record_batch if inspector else None)
        except (UserError, NumericalError) as own:
            error = own
        finally:
            if inspector:
                inspector.flush()
        _raise_in_all(processes, error)
        if inspector:
            inspector.share(processes)
            inspector.refuse()
        store.refresh()
    return filled


def say(store: FeatureStore | None, filled: Filled, live: Mapping[str, str]) -> None:
    """Print what the store has, what is computed now, and why splits are computed in every epoch."""
    lines: dict[str, str] = {}
    if store:
        lines["features"] = f"{filled.found:,} stored, {filled.computed:,} to compute"
        place = f"{console.short(store.folder)} ({store.size / 2**20:.1f} MB)"
        lines["store"] = place if store.on_disk else "in memory, for this run"
    reasons = {why: ", ".join(split for split in live if live[split] == why) for why in live.values()}
    if reasons:
        lines["live"] = "\n".join(f"{splits}: in every epoch, because {why}" for why, splits in reasons.items())
    console.pairs(**lines)


def _missing(store: FeatureStore, samples: Sequence[Sample]) -> list[Sample]:
    return [samples[i] for i in store.locate([sample.digest for sample in samples]).missing]


def _raise_in_all(processes: Processes, error: UserError | NumericalError | None) -> None:
    """Raise the errors of all processes in each, so that none waits for one that has ended. Collective."""
    if errors := [error for error in processes.gather(error) if error]:
        raise type(errors[0])("\n".join(str(error) for error in errors))
