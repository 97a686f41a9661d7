"""Previews are small JPEGs or texts of what can be read, and an index that finds them again by the samples' names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import ROOT
from ft_lightning.readers.images import preview
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.previews import Mark, Snippet, read_previews, write_previews
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table, write_table

RED = (230, 20, 20)
BLUE = (20, 20, 230)
MANY = 10**6  # pixels


def made_of(folder: Path, *names: str, size: tuple[int, int] = (60, 40)) -> list[tuple[str, str]]:
    """A red PNG for each name, in files that are called otherwise; (name, file) as `write` takes them."""
    pairs = [(name, str(folder / f"{number}.png")) for number, name in enumerate(names)]
    for _, file in pairs:
        Image.new("RGB", size, RED).save(file)
    return pairs


def write(pairs: Sequence[tuple[str, str]], folder: Path, max_pixels: int) -> None:
    samples = [Sample(file, name, "", "") for name, file in pairs]
    write_previews(samples, folder, lambda sample: preview(sample.path, max_pixels))


def colour(file: Path, x: float, y: float) -> Sequence[int]:
    """Of the pixel at this share of the width and the height."""
    with Image.open(file) as image:
        return image.getpixel((int(x * (image.width - 1)), int(y * (image.height - 1))))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1000, 500), (240, 120)), ((500, 1000), (120, 240)), ((2000, 2), (240, 1)), ((60, 40), (60, 40))],
)
def test_the_longer_edge_shrinks_to_240_pixels_and_nothing_grows(
    size: tuple[int, int], expected: tuple[int, int], tmp_path: Path
) -> None:
    write(made_of(tmp_path, "a", size=size), tmp_path / "previews", MANY)
    with Image.open(read_previews(tmp_path / "previews")["a"]) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", expected)


def test_a_thumbnail_shows_the_picture_as_training_sees_it(tmp_path: Path) -> None:
    """Turned as its orientation says, on white where it is transparent, 16 bits as 8."""
    halves = np.zeros((40, 40, 3), dtype=np.uint8)
    halves[:20], halves[20:] = RED, BLUE
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(halves).save(tmp_path / "turned.png", exif=exif)
    Image.new("RGBA", (40, 40), (*BLUE, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((40, 40), 65535, dtype=np.uint16)).save(tmp_path / "deep.png")
    names = ("turned", "clear", "deep")
    write([(name, str(tmp_path / f"{name}.png")) for name in names], tmp_path / "previews", MANY)
    found = read_previews(tmp_path / "previews")
    assert colour(found["turned"], 0.5, 0.1) == pytest.approx(BLUE, abs=12)
    assert colour(found["turned"], 0.5, 0.9) == pytest.approx(RED, abs=12)
    assert colour(found["clear"], 0.5, 0.5) == pytest.approx((255, 255, 255), abs=2)
    assert colour(found["deep"], 0.5, 0.5) == pytest.approx((255, 255, 255), abs=2)


def test_what_cannot_be_read_is_left_out_and_every_other_picture_keeps_its_own(tmp_path: Path) -> None:
    pairs = made_of(tmp_path, "first", "damaged", "gone", "last")
    Path(pairs[1][1]).write_bytes(b"no picture")
    Path(pairs[2][1]).unlink()
    Image.new("RGB", (60, 40), BLUE).save(pairs[3][1])
    write(pairs, tmp_path / "previews", MANY)
    found = read_previews(tmp_path / "previews")
    assert set(found) == {"first", "last"}
    assert colour(found["first"], 0.5, 0.5) == pytest.approx(RED, abs=12)
    assert colour(found["last"], 0.5, 0.5) == pytest.approx(BLUE, abs=12)


def test_a_picture_that_is_too_large_is_left_out_and_so_are_those_of_before(tmp_path: Path) -> None:
    pairs = made_of(tmp_path, "a", "b", size=(60, 40))
    write(pairs, tmp_path / "previews", 60 * 40)
    assert set(read_previews(tmp_path / "previews")) == {"a", "b"}
    write(pairs[:1], tmp_path / "previews", 60 * 40 - 1)
    assert read_previews(tmp_path / "previews") == {}
    assert [path.name for path in (tmp_path / "previews").iterdir()] == ["previews.csv"]


def test_a_name_may_be_anything_and_comes_once(tmp_path: Path) -> None:
    names = ["=cmd()", "'=x", "<b>.png", 'a "b", c.png', "two\nlines.png", "../../up.png", "日本語.png", "a/b/c.png"]
    pairs = made_of(tmp_path, *names)
    write([*pairs, *pairs], tmp_path / "previews", MANY)
    found = read_previews(tmp_path / "previews")
    assert list(found) == names
    assert {file.parent for file in found.values()} == {tmp_path / "previews"}
    assert len(list((tmp_path / "previews").iterdir())) == len(names) + 1


def test_an_index_cannot_name_a_file_of_another_folder(tmp_path: Path) -> None:
    """A run may come from somebody else, and its page may be handed on."""
    write(made_of(tmp_path, "a", "b"), tmp_path / "previews", MANY)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    table = read_table(tmp_path / "previews/previews.csv")
    table["file"] = ["../secret.jpg", str(tmp_path / "secret.jpg")]
    write_table(table, tmp_path / "previews/previews.csv")
    assert read_previews(tmp_path / "previews") == {}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a text", "a text"),
        ("=1+1", "=1+1"),
        ("'=quoted", "'=quoted"),
        ("two\nlines", "two\nlines"),
        ("a\r\nb\tc\x85", "a \nb c "),
        ("nul\0bell\x07del\x7f\x9f", "nul\u2400bell\u2407del\u2421\ufffd"),
        ("half \ud83d", "half \ufffd"),
        ("שלום \u202e مرحبا 👩\u200d💻", "שלום \u202e مرحبا 👩\u200d💻"),
        ("", ""),
    ],
)
def test_a_text_is_kept_letter_by_letter(text: str, kept: str, tmp_path: Path) -> None:
    samples = [Sample.of_text("a", text), Sample.of_text("b", "other")]
    write_previews(samples, tmp_path / "previews", lambda sample: sample.content)
    words = pd.DataFrame({"path": ["b", "b"], "start": ["3", "0"], "end": ["5", "2"], "weight": ["0.5", "1"]})
    found = read_previews(tmp_path / "previews", words)
    assert found == {"a": Snippet(kept), "b": Snippet("other", (Mark(0, 2, 1.0), Mark(3, 5, 0.5)))}
    assert len(kept) == len(text), "so that marks stand where they did"


def test_the_thumbnails_of_earlier_runs_are_found() -> None:
    found = read_previews(ROOT / "tests/old/run/report_data/previews")
    assert found
    assert all(isinstance(shown, Path) and shown.is_file() for shown in found.values())


def test_a_file_that_is_gone_is_no_preview_and_no_folder_has_none(tmp_path: Path) -> None:
    write(made_of(tmp_path, "a", "b"), tmp_path / "previews", MANY)
    read_previews(tmp_path / "previews")["a"].unlink()
    assert set(read_previews(tmp_path / "previews")) == {"b"}
    assert read_previews(tmp_path / "nowhere") == {}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "report_data").write_text("a file")
    with pytest.raises(UserError, match="previews cannot be written"):
        write(made_of(tmp_path, "a"), tmp_path / "report_data/previews", MANY)
