"""Files have the mode that the umask says, whatever the library that writes them thinks."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ft_lightning.features.store import FeatureStore
from ft_lightning.system.files import replacing, write_json


@pytest.fixture(params=[0o022, 0o027, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name != "posix", reason="no modes")
def test_every_file_has_the_mode_of_the_umask(umask: int, tmp_path: Path) -> None:
    with replacing(tmp_path / "x.safetensors") as temporary:
        save_file({"x": torch.zeros(1)}, temporary)
    with replacing(tmp_path / "model") as temporary:
        temporary.mkdir()
        save_file({"x": torch.zeros(1)}, temporary / "x.safetensors")
        write_json(temporary / "model.json", {})
    write_json(tmp_path / "metrics.json", {})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"x.safetensors", "model.json", "metrics.json"}
    for path in files:
        assert oct(mode(path)) == oct(0o666 & ~umask), path.name
    assert oct(mode(tmp_path / "model")) == oct(0o777 & ~umask)


@pytest.mark.skipif(os.name != "posix", reason="no modes")
def test_the_feature_store_stays_private(umask: int, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "cache", {"a": 1})
    with store.appending() as appender:
        appender.add(["0" * 64], torch.zeros(1, 4))
    assert oct(mode(store.folder)) == oct(0o700 & ~umask)
