"""What the tests share: small real pictures, a small pretrained network, and the commands as a person runs them."""

import functools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the cores to other work
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: threads of one must not wait for those of another
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]


@functools.cache
def _probe() -> float:
    """Seconds that a process takes to import torch, when it is first asked."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.monotonic() - begun


def patience(seconds: int) -> int:
    """How many seconds to wait for what an idle machine does in a fraction of that: more, the busier this one is."""
    return math.ceil(seconds * max(1.0, _probe() / 2))


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A user's cache directory is not for tests; the commands they start inherit theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three classes of a dozen pictures, 32 to 64 pixels wide, that colour tells apart."""
    return write_pictures(tmp_path / "pictures", {"ant": 12, "bee": 12, "cat": 12})


def write_pictures(root: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """`counts[name]` noisy pictures of each class below `root/<name>/`."""
    rng = np.random.default_rng(seed)
    for number, (name, count) in enumerate(counts.items()):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            height, width = rng.integers(32, 64, 2)
            pixels = rng.integers(0, 120, (height, width, 3))
            pixels[..., number % 3] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02d}.png")
    return root


class Commands:
    """Runs commands in forks of a process that has imported the libraries already: see commands.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: subprocess.Popen[str] | None = None

    def run(self, module: str, arguments: tuple[str, ...], cwd: Path) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run([sys.executable, "-m", module, *arguments], ...)`, with text captured."""
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, ROOT / "tests/commands.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        out, err = self.folder / "out", self.folder / "err"
        place = {"cwd": str(cwd), "env": os.environ | {"COLUMNS": "200"}, "out": str(out), "err": str(err)}
        asked = {"module": module, "arguments": arguments, **place}
        assert self._server.stdin
        assert self._server.stdout
        print(json.dumps(asked), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        return subprocess.CompletedProcess([module, *arguments], code, out.read_text(), err.read_text())

    def close(self) -> None:
        """End the process, if there is one."""
        if self._server:
            self._server.communicate()


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory, _own_cache: None) -> Iterator[Commands]:
    server = Commands(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


@pytest.fixture
def run_command(tmp_path: Path, commands: Commands) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m ft_lightning.<verb> overrides...` in a directory of its own, as a person would."""
    home = tmp_path / "cwd"
    home.mkdir()

    def run(
        verb: str, *overrides: str, env: dict[str, str] | None = None, cwd: Path = home
    ) -> subprocess.CompletedProcess[str]:
        if env is None and sys.platform == "linux":  # elsewhere libraries do not bear a fork
            return commands.run(f"ft_lightning.{verb}", overrides, cwd)
        return subprocess.run(
            [sys.executable, "-m", f"ft_lightning.{verb}", *overrides],
            cwd=cwd,
            env=os.environ | {"COLUMNS": "200"} | (env or {}),
            capture_output=True,
            text=True,
            timeout=patience(300),
            check=False,
        )

    return run


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
