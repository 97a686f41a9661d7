"""What may be wrong with images, whatever their labels."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ft_lightning.issues.findings import Finding, listed
from ft_lightning.readers.images import read_image
from ft_lightning.readers.sample import Inspection, Reader, Sample

if TYPE_CHECKING:
    from torch import Tensor

_SMALL, _LONG = 32, 4  # pixels of the shorter edge; longer edge / shorter edge


def about(samples: Iterable[Sample], inspections: Mapping[str, Inspection]) -> list[Finding]:
    """Report odd image sizes."""
    seen = [(sample, inspections[sample.digest]) for sample in samples if sample.digest in inspections]
    small = [s.name for s, look in seen if min(look.width, look.height) < _SMALL]
    fix = "They are enlarged, which shows little: use the originals."
    what = f"image has an edge below {_SMALL} pixels", f"images have an edge below {_SMALL} pixels"
    found = listed("small image", small, what, fix)
    long = [s.name for s, look in seen if max(look.width, look.height) > _LONG * min(look.width, look.height)]
    fix = "Only the middle is seen, as most weights crop to a square: cut them."
    what = f"image is more than {_LONG} times as long as wide", f"images are more than {_LONG} times as long as wide"
    return found + listed("long image", long, what, fix)


def near_duplicates(
    samples: Sequence[Sample], splits: Sequence[str], features: "Tensor", reader: Reader
) -> list[tuple[int, int, float]]:
    """Find images of val or test that an earlier split has too: see `suspects.near_duplicates`."""
    from ft_lightning.issues import suspects  # here, because a look at files needs neither torch nor scikit-learn

    limit: int = reader.max_pixels  # type: ignore[attr-defined]  # of an ImageReader
    return suspects.near_duplicates(features, splits, read=lambda at: read_image(samples[at].path, limit))
