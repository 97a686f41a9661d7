"""Images that are too large for what a model makes of them."""

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from ft_lightning.issues.findings import Findings
from ft_lightning.issues.look import Looked, look_at_sizes
from ft_lightning.readers.sample import Inspection, Sample
from ft_lightning.tasks.registry import DEFAULT

SAMPLES = [Sample(f"/d/{i}.png", f"{i}.png", "a", f"digest {i}") for i in range(10)]
READER: Any = SimpleNamespace(size_error=lambda width, height: "too large" if width > 50 else "")


def looked(large: int) -> Looked:
    inspections = {s.digest: Inspection(99 if i < large else 9, 9, "RGB", "", True) for i, s in enumerate(SAMPLES)}
    return Looked(DEFAULT, None, SAMPLES, {"train": SAMPLES[:6], "test": SAMPLES[6:]}, inspections)


@pytest.mark.parametrize(
    ("large", "policy", "fraction", "blocks"),
    [
        (0, "error", 0.0, None),
        (2, "error", 1.0, True),
        (2, "skip", 0.2, False),
        (2, "skip", 0.19, True),
        (2, "skip", 0.0, True),
    ],
)
def test_they_block_unless_so_many_may_be_left_out(
    large: int, policy: str, fraction: float, blocks: bool | None
) -> None:
    found = Findings()
    data = OmegaConf.create({"on_bad_image": policy, "max_bad_fraction": fraction})
    rest = look_at_sizes(looked(large), READER, data, found)
    assert rest == {sample: "train" if i < 6 else "test" for i, sample in enumerate(SAMPLES) if i >= large}
    assert [finding.blocks for finding in found.findings] == ([] if blocks is None else [blocks])
    assert [issue.path for issue in found.issues] == [sample.name for sample in SAMPLES[:large]]
