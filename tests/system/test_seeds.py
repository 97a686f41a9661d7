"""Seeds that depend on names alone, the same in every version."""

from types import SimpleNamespace

import pytest
import torch

from ft_lightning.system.seeds import reseed, seed_of


def test_a_seed_is_the_same_in_every_version() -> None:
    assert seed_of(0) == 3456079177858693020
    assert seed_of(7, 3, "step", 12, 0) == 519665819467144762
    assert len({seed_of(0), seed_of(1), seed_of(0, 0), seed_of(0, 1), seed_of(0, "a"), seed_of(0, "a", "b")}) == 6
    assert all(0 <= seed_of(0, i) < 2**63 for i in range(100))


@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_the_generators_of_the_cpu_and_of_the_device_are_seeded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[tuple[str, int]] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seeded.append(("cuda", seed)))
    monkeypatch.setattr(torch.mps, "manual_seed", lambda seed: seeded.append(("mps", seed)))
    state = torch.get_rng_state()
    try:
        reseed(5, SimpleNamespace(type=kind))  # type: ignore[arg-type]
        assert torch.initial_seed() == 5
    finally:
        torch.set_rng_state(state)
    assert seeded == ([] if kind == "cpu" else [(kind, 5)])
