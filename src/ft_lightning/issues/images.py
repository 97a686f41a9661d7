"""What may be wrong with images, whatever their labels."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ft_lightning.issues.findings import Finding, Issue, listed
from ft_lightning.issues.traits import Trait
from ft_lightning.readers import images
from ft_lightning.readers.images import read_image
from ft_lightning.readers.sample import Inspection, Reader, Sample
from ft_lightning.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor


ALIKE = "correlation"
_SMALL, _LONG = 32, 4  # pixels of the shorter edge; longer edge / shorter edge


def about(samples: Sequence[Sample], inspections: Mapping[str, Inspection]) -> tuple[list[Finding], list[Issue]]:
    """Report odd image sizes."""
    seen = [(sample, inspections[sample.digest]) for sample in samples if sample.digest in inspections]
    small = [s.name for s, look in seen if min(look.width, look.height) < _SMALL]
    fix = "They are enlarged, which shows little: use the originals."
    what = f"image has an edge below {_SMALL} pixels", f"images have an edge below {_SMALL} pixels"
    found = listed("small image", small, what, fix)
    long = [s.name for s, look in seen if max(look.width, look.height) > _LONG * min(look.width, look.height)]
    fix = "Only the middle is seen, as most weights crop to a square: cut them."
    what = f"image is more than {_LONG} times as long as wide", f"images are more than {_LONG} times as long as wide"
    return found + listed("long image", long, what, fix), []


def about_inputs(samples: Sequence[Sample], reader: Reader) -> tuple[list[Finding], list[Issue]]:
    return [], []


def about_outputs(samples: Sequence[Sample], outputs: "Tensor") -> tuple[list[Finding], list[Issue]]:
    """Report images whose features are far from all others: see `suspects.about_outliers`."""
    from ft_lightning.issues import suspects  # here, because a look at files needs neither torch nor scikit-learn

    return suspects.about_outliers(samples, outputs)


def traits(samples: Sequence[Sample], inspections: Mapping[str, Inspection]) -> list[Trait]:
    """Return the colour modes, as stored."""
    fix = "A network can learn that in place of their content: convert all to one mode."
    return [Trait("colour mode", "Images", {digest: look.mode for digest, look in inspections.items()}, fix)]


def near_duplicates(
    samples: Sequence[Sample], splits: Sequence[str], features: "Tensor", reader: Reader
) -> list[tuple[int, int, float]]:
    """Find images of val or test that an earlier split has too: see `suspects.near_duplicates`."""
    from ft_lightning.issues import suspects  # here, because a look at files needs neither torch nor scikit-learn

    limit: int = reader.max_pixels  # type: ignore[attr-defined]  # of an ImageReader
    return suspects.near_duplicates(features, splits, read=lambda at: read_image(samples[at].path, limit))


def record(samples: Sequence[Sample], inspections: Mapping[str, Inspection], task: type[Task]) -> dict[str, Any]:
    """Count images by size, and those with each label's names by colour mode."""
    sizes = Counter(f"{each.width} x {each.height}" for each in inspections.values())
    (modes,) = traits(samples, inspections)
    by_name = {name: dict(count) for name, count in modes.counts(samples, task).items()}
    return {"modes": by_name, "sizes": dict(sizes.most_common())}


def preview(sample: Sample) -> bytes:
    """Return a small JPEG; the limits of the data have been checked."""
    return images.preview(sample.path, sys.maxsize)


def label(text: str) -> str:
    return text
