"""The digits: written once, whole, into the cache directory and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ft_lightning.data import digits
from ft_lightning.system.errors import UserError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(digits, "user_cache_dir", lambda name: str(tmp_path / name))
    return tmp_path / "ft_lightning"


def test_all_digits_are_written_once_under_their_label(cache: Path) -> None:
    folder = digits.write_digits()
    real = load_digits()
    written = sorted(folder.rglob("*.png"), key=lambda path: path.stem)
    assert [int(path.parent.name) for path in written] == real.target.tolist()
    assert [path.name for path in cache.iterdir()] == [folder.name], "no temporary folder is left"
    for path, pixels in zip(written[:20], real.images, strict=False):
        assert same_digit(np.asarray(Image.open(path)), pixels)
    stamp = written[0].stat().st_mtime_ns
    assert digits.write_digits() == folder
    assert written[0].stat().st_mtime_ns == stamp


def same_digit(written: np.ndarray, real: np.ndarray) -> bool:
    margin, scale = digits._MARGIN, digits._SCALE
    assert written.shape == (224, 224), "as the default network takes them"
    ink = 255.0 - written
    inside = ink[margin:-margin, margin:-margin]
    outside_is_white = ink.sum() == inside.sum()
    small = inside.reshape(8, scale, 8, scale).mean((1, 3))
    return outside_is_white and np.corrcoef(small.ravel(), real.ravel())[0, 1] > 0.98


def test_a_writer_that_was_slower_uses_what_is_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(folder: Path) -> None:
        folder.mkdir(parents=True)
        (cache / "digits-2" / "0").mkdir(parents=True)  # by another process, meanwhile

    monkeypatch.setattr(digits, "_write", overtaken)
    assert digits.write_digits() == cache / "digits-2"
    assert [path.name for path in cache.iterdir()] == ["digits-2"]


def test_an_unwritable_cache_is_said(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="digits cannot be written"):
        digits.write_digits()
