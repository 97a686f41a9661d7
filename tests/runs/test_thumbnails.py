"""Thumbnails are small JPEGs of what can be read, and an index that finds them again by the pictures' names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ft_lightning.readers.images import preview
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.thumbnails import read_thumbnails, write_thumbnails
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
    write_thumbnails(samples, folder, lambda sample: preview(sample.path, max_pixels))


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
    write(made_of(tmp_path, "a", size=size), tmp_path / "thumbnails", MANY)
    with Image.open(read_thumbnails(tmp_path / "thumbnails")["a"]) as image:
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
    write([(name, str(tmp_path / f"{name}.png")) for name in names], tmp_path / "thumbnails", MANY)
    found = read_thumbnails(tmp_path / "thumbnails")
    assert colour(found["turned"], 0.5, 0.1) == pytest.approx(BLUE, abs=12)
    assert colour(found["turned"], 0.5, 0.9) == pytest.approx(RED, abs=12)
    assert colour(found["clear"], 0.5, 0.5) == pytest.approx((255, 255, 255), abs=2)
    assert colour(found["deep"], 0.5, 0.5) == pytest.approx((255, 255, 255), abs=2)


def test_what_cannot_be_read_is_left_out_and_every_other_picture_keeps_its_own(tmp_path: Path) -> None:
    pairs = made_of(tmp_path, "first", "damaged", "gone", "last")
    Path(pairs[1][1]).write_bytes(b"no picture")
    Path(pairs[2][1]).unlink()
    Image.new("RGB", (60, 40), BLUE).save(pairs[3][1])
    write(pairs, tmp_path / "thumbnails", MANY)
    found = read_thumbnails(tmp_path / "thumbnails")
    assert set(found) == {"first", "last"}
    assert colour(found["first"], 0.5, 0.5) == pytest.approx(RED, abs=12)
    assert colour(found["last"], 0.5, 0.5) == pytest.approx(BLUE, abs=12)


def test_a_picture_that_is_too_large_is_left_out_and_so_are_those_of_before(tmp_path: Path) -> None:
    pairs = made_of(tmp_path, "a", "b", size=(60, 40))
    write(pairs, tmp_path / "thumbnails", 60 * 40)
    assert set(read_thumbnails(tmp_path / "thumbnails")) == {"a", "b"}
    write(pairs[:1], tmp_path / "thumbnails", 60 * 40 - 1)
    assert read_thumbnails(tmp_path / "thumbnails") == {}
    assert [path.name for path in (tmp_path / "thumbnails").iterdir()] == ["thumbnails.csv"]


def test_a_name_may_be_anything_and_comes_once(tmp_path: Path) -> None:
    names = ["=cmd()", "'=x", "<b>.png", 'a "b", c.png', "two\nlines.png", "../../up.png", "日本語.png", "a/b/c.png"]
    pairs = made_of(tmp_path, *names)
    write([*pairs, *pairs], tmp_path / "thumbnails", MANY)
    found = read_thumbnails(tmp_path / "thumbnails")
    assert list(found) == names
    assert {file.parent for file in found.values()} == {tmp_path / "thumbnails"}
    assert len(list((tmp_path / "thumbnails").iterdir())) == len(names) + 1


def test_an_index_cannot_name_a_file_of_another_folder(tmp_path: Path) -> None:
    """A run may come from somebody else, and its page may be handed on."""
    write(made_of(tmp_path, "a", "b"), tmp_path / "thumbnails", MANY)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    table = read_table(tmp_path / "thumbnails/thumbnails.csv")
    table["thumbnail"] = ["../secret.jpg", str(tmp_path / "secret.jpg")]
    write_table(table, tmp_path / "thumbnails/thumbnails.csv")
    assert read_thumbnails(tmp_path / "thumbnails") == {}


def test_a_file_that_is_gone_is_no_thumbnail_and_no_folder_has_none(tmp_path: Path) -> None:
    write(made_of(tmp_path, "a", "b"), tmp_path / "thumbnails", MANY)
    read_thumbnails(tmp_path / "thumbnails")["a"].unlink()
    assert set(read_thumbnails(tmp_path / "thumbnails")) == {"b"}
    assert read_thumbnails(tmp_path / "nowhere") == {}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "report_data").write_text("a file")
    with pytest.raises(UserError, match="thumbnails cannot be written"):
        write(made_of(tmp_path, "a"), tmp_path / "report_data/thumbnails", MANY)
