"""Whatever is in a folder: a datamodule that works, or a UserError that says why; and nothing in it is touched."""

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from data.test_module import datamodule
from ft_lightning.data.memo import Memo
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.readers.images import read_image
from ft_lightning.system.errors import UserError
from test_bad_input import tree

SUFFIXES = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "gif", "PNG", "heic", "txt")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MODES = ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "I;16", "F")
NAMES = st.sampled_from(
    [
        "a",
        "b",
        "A",
        "c d",
        "train",
        "val",
        "test",
        "Train",
        "valid",
        "é",
        "e\u0301",
        ".x",
        "._y",
        "Thumbs.db",
        "x" * 200,
    ]
) | st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)


def encoded(mode: str, kind: str, colour: int, size: tuple[int, int]) -> bytes:
    image = Image.effect_noise(size, 1).point(lambda _: colour)  # plain: a function of the arguments alone
    file = io.BytesIO()
    try:
        image.convert(mode).save(file, kind)
    except (OSError, ValueError):  # a mode that the format does not have
        image.convert("RGB").save(file, kind)
    return file.getvalue()


PICTURES = st.builds(
    encoded,
    st.sampled_from(MODES),
    st.sampled_from(FORMATS),
    st.integers(0, 255),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A picture with some bytes changed, and perhaps its end cut off."""
    content = bytearray(draw(PICTURES))
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(len(content) // 2, len(content)))])


CONTENTS = PICTURES | PICTURES | PICTURES | damaged() | st.binary(max_size=40)
LINKS = st.sampled_from(["nowhere", ".", "..", "../a", "a", "/"])
FILE_NAMES = st.builds("{}.{}".format, st.integers(0, 30) | NAMES, st.sampled_from(SUFFIXES))
FOLDERS = st.dictionaries(FILE_NAMES, CONTENTS | LINKS, max_size=8)
CLASSES = st.dictionaries(NAMES, FOLDERS | LINKS, max_size=4)
TREES = CLASSES | st.fixed_dictionaries({"train": CLASSES}, optional={"val": CLASSES, "test": CLASSES, "x": CLASSES})
GOOD = st.builds(  # so that many a tree gets as far as a split
    lambda counts: {
        name: {f"{i}.png": encoded("RGB", "PNG", 60 * number + i, (4, 4)) for i in range(count)}
        for number, (name, count) in enumerate(counts.items())
    },
    st.dictionaries(st.sampled_from(["ant", "bee", "cat"]), st.integers(3, 8), min_size=2),
)


def write(folder: Path, content: Any) -> None:
    try:
        if isinstance(content, dict):
            folder.mkdir(exist_ok=True)
            for name, inner in content.items():
                write(folder / name, inner)
        elif isinstance(content, str):
            folder.symlink_to(content)
        else:
            folder.write_bytes(content)
    except OSError:  # two names that are one here, or one that is too long
        pass


def check(good: dict, odd: dict, policy: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "root"
        for content in (good, odd):
            write(root, content)
        before = tree(root)
        refused: UserError | None = None
        try:
            data = datamodule(
                root, on_bad_image=policy, max_bad_fraction=1.0, memo=Memo(Path(place) / "m.sqlite", True)
            )
            data.inspector.decode_unknown(show_progress=False)
            data.inspector.refuse()
            for samples in data.splits.values():
                assert samples
                for sample in samples:
                    read_image(sample.path, data.max_pixels, sample.digest)
            assert len(data.split_table()) == sum(map(len, data.splits.values())) + len(data.left_out)
            assert len(data.task.class_counts) == len(data.task.class_names) >= 2
            assert all(data.task.class_counts)
            assert all(os.path.lexists(problem.path) and problem.problem for problem in data.left_out)
            event("works")
        except UserError as error:
            refused = error
            event(type(error).__name__)
        assert tree(root) == before
        assert refused is None or str(refused).strip()
        if isinstance(refused, DataProblemsError):
            assert refused.problems
            assert all(problem.problem and str(problem) in str(refused) for problem in refused.problems)


ODD = TREES | st.just({}) | st.fixed_dictionaries({"ant": FOLDERS})
PLAIN = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@pytest.mark.filterwarnings("ignore")  # what Pillow says of a damaged file depends on where it is damaged
@settings(max_examples=80, **PLAIN)
@given(good=GOOD | st.just({}), odd=ODD, policy=st.sampled_from(["error", "skip"]))
def test_any_tree_works_or_says_why(good: dict, odd: dict, policy: str) -> None:
    check(good, odd, policy)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=800, **PLAIN)
@given(good=GOOD | st.just({}), odd=ODD, policy=st.sampled_from(["error", "skip"]))
def test_any_of_many_trees_works_or_says_why(good: dict, odd: dict, policy: str) -> None:
    check(good, odd, policy)
