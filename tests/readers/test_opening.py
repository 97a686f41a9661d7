"""Which formats are read, and what is said of those that need another package."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from ft_lightning.data.folders import UNSUPPORTED
from ft_lightning.readers.images import inspect_image, read_image
from ft_lightning.readers.opening import HEIF, SUFFIXES


def test_no_suffix_is_both_read_and_not() -> None:
    assert not SUFFIXES & UNSUPPORTED
    assert (".heic" in SUFFIXES) == HEIF
    assert {".heic", ".heif", ".avif"} <= SUFFIXES | UNSUPPORTED


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow cannot read AVIF")
@pytest.mark.parametrize("turn", [1, 6])
def test_avif_is_read_and_turned(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / "x.avif", exif=exif)
    image = read_image(tmp_path / "x.avif", 10_000)
    assert image.size == ((60, 40) if turn == 1 else (40, 60))
    assert np.abs(np.asarray(image)[20, 20].astype(int) - (200, 30, 30)).max() <= 6
    assert "max_pixels=100" in inspect_image(tmp_path / "x.avif", 100)[1].error


@pytest.mark.parametrize("turn", [1, 6])
def test_heic_is_read(tmp_path: Path, turn: int) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pip install pillow-heif")
    heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / "x.heic", exif=exif)
    image = read_image(tmp_path / "x.heic", 10_000)
    assert image.size == (60, 40), "a HEIC is turned by its own boxes, whatever its EXIF says"
    assert np.abs(np.asarray(image)[20, 20].astype(int) - (200, 30, 30)).max() <= 6
    content = (tmp_path / "x.heic").read_bytes()
    assert inspect_image(content[: len(content) // 2], 10_000)[1].error


def test_without_the_package_heic_is_told_from_what_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "x.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(400))
    script = (
        "import sys; sys.modules['pillow_heif'] = None; import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'pillow_heif' else find(name, *rest)\n"
        "from ft_lightning.readers import images\n"
        f"print('.heic' in images.opening.SUFFIXES, images.inspect_image({str(path)!r}, 10**6)[1].error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False AVIF or HEIC, which needs another package: pip install pillow-heif\n"
