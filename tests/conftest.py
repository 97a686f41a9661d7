"""What the tests share: small real pictures, a small pretrained network, and the commands as a person runs them."""

import functools
import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the cores to other work
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: threads of one must not wait for those of another
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    gc.disable()  # until tests are collected: a fifth of that time goes into looking through modules for garbage

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts jobs in the background, and they theirs
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import psutil
import pytest
from markupsafe import Markup
from PIL import Image

from composing import changed, composed_once
from ft_lightning.cli.compose import CONF
from ft_lightning.data.packages import packages

ROOT = Path(__file__).parents[1]
WIDE = {"COLUMNS": "200"}  # the terminal of commands
# Where figures are drawn: of any numbers and of any names.
DRAWING = {"pages", "test_any_tree.py", "test_check.py", "test_leaderboard.py", "test_overrides.py"}


@functools.cache
def _probe() -> float:
    """Seconds that a process takes to import torch, when it is first asked."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.monotonic() - begun


def patience(seconds: int) -> int:
    """How many seconds to wait for what an idle machine does in a fraction of that: more, the busier this one is."""
    waiting = psutil.getloadavg()[0] / (os.cpu_count() or 1)
    return math.ceil(seconds * max(1.0, _probe() / 2, waiting))


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    import torch  # not above: the process that only hands out tests would import it too

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()  # or each look for garbage is one among all libraries: a tenth of the time of tests


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # Triton would complain


@pytest.fixture(scope="session", autouse=True)
def _composed_once() -> Iterator[None]:
    with composed_once(), pytest.MonkeyPatch.context() as patch:
        if changed(CONF):  # then processes that are started take sitecustomize.py from here
            patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        yield


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made, but not drawn, which is a third of a small run; nor are those of forked commands."""
    monkeypatch.setattr("ft_lightning.pages.page._svg", lambda figure, salt: Markup("<svg></svg>"))
    monkeypatch.setenv("NO_DRAWING", "1")


@pytest.fixture(autouse=True)
def _figures(request: pytest.FixtureRequest) -> None:
    """Draw figures in the tests of DRAWING alone."""
    if not DRAWING & {request.path.name, request.path.parent.name}:
        request.getfixturevalue("blank_figures")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A user's cache directory is not for tests; the commands they start inherit theirs."""
    cache, fetched = tmp_path_factory.mktemp("cache"), packages()
    if fetched.is_dir():  # data of the demos, which `make` has fetched
        (cache / "ft_lightning").mkdir()
        (cache / "ft_lightning/packages").symlink_to(fetched)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
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


class Command:
    """A command in a process of its own; what it prints is in `stdout` and `stderr` from the start."""

    def __init__(self, pid: int, outputs: tuple[Path, Path], ended: Callable[[], int | None]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._outputs = outputs
        self._ended = ended

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._ended()
        return self.returncode

    def wait(self, seconds: int = 300) -> int:
        """The exit code, with patience for that many seconds of an idle machine."""
        begun = time.monotonic()
        while (code := self.poll()) is None:
            if time.monotonic() - begun > patience(seconds):  # others may have begun to compute since
                self.kill()
                raise TimeoutError(f"{seconds} seconds: {self.stdout}{self.stderr}")
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    @property
    def printed(self) -> bytes:
        """stdout, in the encoding that the command was asked for."""
        return self._outputs[0].read_bytes()

    @property
    def stdout(self) -> str:
        return self._outputs[0].read_text()

    @property
    def stderr(self) -> str:
        return self._outputs[1].read_text()


class Commands:
    """Starts commands: forks of a process that has imported the libraries already, see commands.py."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Command] = []
        self._server: subprocess.Popen[str] | None = None

    def start(
        self, module: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None, fresh: bool = False
    ) -> Command:
        """Start `python -m module arguments`.

        Args:
            env: beside the environment of the tests.
            fresh: in a new interpreter, because it counts when something is imported.
        """
        place = self._folder / str(len(self._started))
        outputs = place.with_suffix(".out"), place.with_suffix(".err")
        for path in outputs:
            path.touch()
        environment = os.environ | WIDE | (env or {})
        if fresh or sys.platform != "linux":  # elsewhere libraries do not bear a fork
            words = [sys.executable, "-m", module, *arguments]
            with outputs[0].open("w") as out, outputs[1].open("w") as err:
                process = subprocess.Popen(words, cwd=cwd, env=environment, stdout=out, stderr=err)
            command = Command(process.pid, outputs, process.poll)
        else:
            how = {"out": str(outputs[0]), "err": str(outputs[1]), "seconds": patience(900)}
            pid = self._ask({"module": module, "arguments": arguments, "cwd": str(cwd), "env": environment} | how)
            command = Command(pid, outputs, lambda: self._ask({"ended": pid}))
        self._started.append(command)
        return command

    def _ask(self, question: dict[str, Any]) -> Any:
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, ROOT / "tests/commands.py"], env=os.environ | WIDE, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._server.stdin
        assert self._server.stdout
        print(json.dumps(question), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        """End whatever still runs."""
        for command in self._started:
            command.kill()
        if self._server:
            self._server.communicate()


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory, _own_cache: None, _composed_once: None) -> Iterator[Commands]:
    server = Commands(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


@pytest.fixture
def run_command(tmp_path: Path, commands: Commands) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m ft_lightning.<verb> overrides...` in a directory of its own, as a person would."""
    home = tmp_path / "cwd"
    home.mkdir()

    def run(
        verb: str, *overrides: str, env: dict[str, str] | None = None, cwd: Path = home, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        command = commands.start(f"ft_lightning.{verb}", *overrides, cwd=cwd, env=env, fresh=fresh)
        return subprocess.CompletedProcess([verb, *overrides], command.wait(), command.stdout, command.stderr)

    return run


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
