"""Several processes do what one does, leave one run directory, and end together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors import safe_open

from callbacks.test_stored_features import same_result, save_weights
from conftest import Commands, files_below, patience, write_pictures
from ft_lightning import build
from ft_lightning.cli.compose import compose
from ft_lightning.cli.processes import refuse_parts
from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.errors import UserError
from ft_lightning.train import train
from test_train import RUN_FILES, but_previews

# Goes to a folder on PYTHONPATH. Every process that imports it leaves its id there, to be found dead later.
INJECTED = """
import hashlib, os, signal, time
from pathlib import Path
import psutil
from lightning.pytorch.callbacks import Callback
from ft_lightning.system.errors import NumericalError, UserError

RANK = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
HERE = Path(__file__).parent
STARTER = os.getppid()  # asked now: of an orphan it would be the first process of the machine
(HERE / f"{os.getpid()}.pid").touch()

def fail(how):
    if how in ("killed", "orphaned"):  # itself, or whoever started it
        victim = os.getpid() if how == "killed" else STARTER
        if not psutil.pid_exists(victim):  # an orphan comes here once more until it ends
            return
        for process in psutil.Process(victim).children(recursive=True):  # also those that read images
            (HERE / f"{process.pid}.pid").touch()
        os.kill(victim, signal.SIGKILL)
        return
    raise {"user": UserError, "numerical": NumericalError, "bug": ZeroDivisionError}[how](f"injected into {RANK}")

class Fail(Callback):
    def __init__(self, where, rank, how):
        self.where, self.rank, self.how = where, rank, how
    def at(self, where):
        if (where, RANK) == (self.where, self.rank):
            fail(self.how)
        if where == self.where == "val":  # the other one notices no broken connection, as on a GPU
            time.sleep(600)
    def setup(self, *args, **kwargs):
        self.at("setup")
    def on_train_batch_start(self, *args):
        self.at("train")
    def on_validation_batch_start(self, *args):
        self.at("val")

def data(rank, how, **options):
    from ft_lightning.data.module import ImageFolderDataModule
    if RANK == rank and how != "filling":
        fail(how)
    module = ImageFolderDataModule(**options)
    if RANK == rank and how == "filling":  # when all processes have met
        module.inspector.settle = lambda *args: fail("killed")
    return module

class Digest(Callback):
    def __init__(self, name):
        self.name = name
    def on_fit_end(self, trainer, module):
        digest = hashlib.sha256()
        for name, value in module.state_dict().items():
            digest.update(name.encode() + value.numpy().tobytes())
        (HERE / f"{self.name}.{RANK}.digest").write_text(digest.hexdigest())
"""
Launch = Callable[..., tuple[int, str]]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


@pytest.fixture
def injected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "injected"
    folder.mkdir()
    (folder / "inject.py").write_text(INJECTED)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return folder


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    weights = save_weights(tmp_path / "weights.pth", "test_resnet")
    network = ["model=timm", "model.name=test_resnet", f"model.weights={weights}"]
    return [*network, "precision=32-true", "trainer.max_epochs=2", f"cache.dir={tmp_path / 'store'}"]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "cwd"
    folder.mkdir()
    return folder


@pytest.fixture
def launch(commands: Commands, cwd: Path) -> Launch:
    """Runs a command whose processes Lightning starts itself, or torchrun, or srun: (exit code, stderr).

    In "as torchrun" and "srun" the tests start both processes, from a fork, with what these would tell them.
    """

    def launched(
        launcher: str, *overrides: str, verb: str = "train", cwd: Path = cwd, processes: int = 2
    ) -> tuple[int, str]:
        words = [*TORCHRUN, f"ft_lightning.{verb}"] if launcher == "torchrun" else [f"ft_lightning.{verb}"]
        tasks_of = {"srun": slurm_tasks, "as torchrun": torchrun_tasks}
        environments = tasks_of[launcher](processes) if launcher in tasks_of else [{}]
        tasks = [commands.start(*words, *overrides, cwd=cwd, env=task) for task in environments]
        try:
            return max(task.wait(60) for task in tasks), "".join(task.stderr for task in tasks)
        finally:
            for task in tasks:
                task.kill()

    return launched


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def torchrun_tasks(count: int = 2) -> Iterator[dict[str, str]]:
    """What torchrun tells its processes on one machine."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "1"}
    common |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(count))
    for rank in map(str, range(count)):
        yield common | {"RANK": rank, "LOCAL_RANK": rank}


def slurm_tasks(count: int) -> Iterator[dict[str, str]]:
    """What srun tells its tasks on one machine."""
    port = free_port()
    common = {"NNODES": "1", "NODEID": "0", "JOB_ID": "1", "JOB_NAME": "train"}
    common |= dict.fromkeys(("NTASKS", "NTASKS_PER_NODE"), str(count))
    for rank in map(str, range(count)):
        names = common | {"PROCID": rank, "LOCALID": rank, "NODELIST": "localhost"}
        yield {"MASTER_PORT": port} | {f"SLURM_{name}": value for name, value in names.items()}


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    ("launcher", "devices", "val", "test"),
    [("lightning", 2, 1, 7), ("as torchrun", 3, 7, 1), ("srun", 2, 1, 7)],
)
def test_metrics_count_every_sample_once_and_all_share_one_directory(
    launch: Launch, launcher: str, devices: int, val: int, test: int, options: list[str], cwd: Path, tmp_path: Path
) -> None:
    root = tmp_path / "pictures"
    for seed, (split, count) in enumerate({"train": 6, "val": val, "test": test}.items()):
        counts = {"ant": 6, "bee": 6} if split == "train" else {"ant": count // 2, "bee": count - count // 2}
        write_pictures(root / split, {name: n for name, n in counts.items() if n}, seed)
    options = [*options, f"data.root={root}"]
    code, errors = launch(
        launcher, *options, "trainer=ddp_cpu", f"trainer.devices={devices}", f"data.batch_size={12 // devices}",
        "logger=tensorboard", processes=devices,
    )  # fmt: skip
    assert code == 0, errors
    (run_dir,) = (cwd / "outputs/train").iterdir()
    assert {name for name in but_previews(run_dir) if not name.startswith("tensorboard/")} == RUN_FILES
    assert [path.name for path in cwd.iterdir()] == ["outputs"]
    writers = {path.name.split(".")[-2] for path in (run_dir / "tensorboard").glob("events*")}
    assert len(writers) == 1, "the main process"
    several = json.loads((run_dir / "metrics.json").read_text())

    one = tmp_path / "one"
    one.mkdir()
    alone = train(compose("train", *options, "data.batch_size=12"), one)
    assert several["timing"]["cache"] == {"hits": 0, "computed": 12 + val + test}
    for split, count in (("val", val), ("test", test)):
        assert several[split]["n"] == count
        assert flat(several[split]) == pytest.approx(flat(alone[split]), abs=1e-4)
    assert same_result(one, run_dir, atol=1e-4)


def flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            numbers |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            numbers |= {f"{prefix}{name}/{i}": number for i, number in enumerate(value)}
        else:
            numbers[prefix + name] = value
    return numbers


FITS = {
    "frozen": ["finetune=frozen"],
    "frozen, live": ["finetune=frozen", "augment=light"],
    "frozen, solved": ["finetune=frozen", "optimizer=lbfgs"],
    "partial": ["finetune=partial", "head.init=probe"],
    "full": ["finetune=full", "augment=light"],
}
FIT_ALL = """
import json, sys
from pathlib import Path
from ft_lightning.cli.compose import compose
from ft_lightning.train import train
for name, overrides in json.loads(sys.argv[1]).items():
    folder = Path(sys.argv[2]) / name
    folder.mkdir(parents=True, exist_ok=True)
    digest = ["+callback.digest._target_=inject.Digest", f"+callback.digest.name='{name}'"]
    train(compose("train", *overrides, *digest), folder)
"""


@pytest.mark.promise(6)
def test_all_processes_end_with_the_same_parameters_and_buffers(
    options: list[str], pictures: Path, injected: Path, commands: Commands, tmp_path: Path
) -> None:
    (injected / "fit_all.py").write_text(FIT_ALL)
    common = [*options, f"data.root={pictures}", "trainer=ddp_cpu", "data.batch_size=4"]
    fits = json.dumps({name: [*common, *own] for name, own in FITS.items()})
    tasks = [
        commands.start("fit_all", fits, str(tmp_path / "runs"), cwd=tmp_path, env=task) for task in torchrun_tasks()
    ]
    for task in tasks:
        assert task.wait(200) == 0, task.stderr
    digests = {path.name: path.read_text() for path in injected.glob("*.digest")}
    assert len(digests) == 2 * len(FITS)
    for name in FITS:
        assert digests[f"{name}.0.digest"] == digests[f"{name}.1.digest"], name
    assert len(set(digests.values())) == len(FITS)


def test_two_processes_share_the_work_and_find_what_one_finds(
    launch: Launch, options: list[str], pictures: Path, cwd: Path, tmp_path: Path
) -> None:
    shares = ["data.val_fraction=0.17", "data.test_fraction=0.17"]  # 24 of train: three whole batches
    options = [*options, *shares, f"data.root={pictures}", "trainer.max_epochs=4"]
    for optimizer, hits in (("adam", 0), ("lbfgs", 36)):
        if optimizer == "lbfgs":  # has an epoch for each strength, and no others
            options = [option for option in options if not option.startswith("trainer.max_epochs=")]
        one, two = tmp_path / f"one_{optimizer}", tmp_path / f"two_{optimizer}"
        one.mkdir()
        alone = train(compose("train", *options, f"optimizer={optimizer}", "data.batch_size=8"), one)
        code, errors = launch(
            "as torchrun", *options, f"optimizer={optimizer}", "data.batch_size=4", "trainer=ddp_cpu",
            f"cache.dir={tmp_path / 'two_store'}", f"hydra.run.dir={two}",
        )  # fmt: skip
        assert code == 0, errors
        together = json.loads((two / "metrics.json").read_text())
        assert alone["test"]["n"] == together["test"]["n"]
        assert same_result(one, two, atol=1e-4)
        assert together["timing"]["cache"] == {"hits": hits, "computed": 36 - hits}
        rows = [len(read_shard(path)) for path in (tmp_path / "two_store").rglob("*.safetensors")]
        assert rows == [18, 18], "each process wrote its half, once"


def read_shard(path: Path) -> Any:
    with safe_open(path, "pt") as file:
        return file.get_tensor("digests")


def failure(where: str, rank: int, how: str) -> list[str]:
    if where == "data":
        return ["data._target_=inject.data", f"+data.rank={rank}", f"+data.how={how}"]
    keys = {"_target_": "inject.Fail", "where": where, "rank": rank, "how": how}
    return [f"+callback.fail.{key}={value}" for key, value in keys.items()]


QUICK = [
    ("lightning", "data", 1, "user"),
    ("lightning", "train", 1, "numerical"),
    ("lightning", "val", 0, "user"),
    ("torchrun", "setup", 1, "user"),
]
ALL = [
    *((launcher, where, rank, "user") for launcher in ("lightning", "torchrun")
      for where in ("data", "setup", "train", "val") for rank in (0, 1)),
    *(("lightning", "train", rank, how) for rank in (0, 1) for how in ("bug", "killed")),
    ("lightning", "data", 1, "killed"),
    ("torchrun", "val", 1, "killed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("launcher", "where", "rank", "how"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in ALL if case not in QUICK)],
)
def test_a_failure_in_one_process_ends_all_within_a_minute(
    launch: Launch,
    launcher: str,
    where: str,
    rank: int,
    how: str,
    options: list[str],
    pictures: Path,
    injected: Path,
) -> None:
    code, errors = launch(
        launcher, *options, f"data.root={pictures}", "data.batch_size=4", "trainer=ddp_cpu",
        *failure(where, rank, how),
    )  # fmt: skip
    if launcher == "torchrun":
        assert code == 1
    elif how == "killed" and rank == 0:
        assert code == -signal.SIGKILL
    else:
        assert code == {"user": 2, "numerical": 3, "bug": 1, "killed": 1}[how], errors
    if how == "killed":
        assert launcher == "torchrun" or rank == 0 or "another process of this run was ended by signal 9" in errors
    else:
        assert errors.count(f"injected into {rank}") == 1, errors
        assert ("Traceback" in errors) == (how == "bug" or launcher == "torchrun"), errors  # torchrun's own
        assert f"injected into {1 - rank}" not in errors
    assert not alive(injected), "a process is left behind"


ENDS = [
    ("lightning", "data", 1, "orphaned"),  # the main one, before the other has come to the rendezvous
    ("lightning", "data", 0, "filling"),
    ("lightning", "train", 0, "killed"),
    ("torchrun", "train", 1, "orphaned"),  # torchrun itself
    ("lightning", "data", 0, "killed"),
    ("lightning", "setup", 0, "killed"),
    ("lightning", "val", 0, "killed"),
]


@pytest.mark.promise(37)
@pytest.mark.parametrize(
    ("launcher", "where", "rank", "how"),
    [*ENDS[:4], *(pytest.param(*case, marks=pytest.mark.slow) for case in ENDS[4:])],
)
def test_no_process_outlives_the_main_one(
    launch: Launch, launcher: str, where: str, rank: int, how: str, options: list[str], pictures: Path, injected: Path
) -> None:
    code, errors = launch(
        launcher, *options, f"data.root={pictures}", "data.batch_size=4", "trainer=ddp_cpu",
        "augment=light", "data.num_workers=1", *failure(where, rank, how),
    )  # fmt: skip
    assert code == -signal.SIGKILL, errors
    assert not alive(injected), "a process is left behind"


STARTS = """
import os, subprocess, sys
child = "import sys, time; from ft_lightning.cli import processes; processes.watch_starter(); time.sleep(600)"
told = {"RUN_STARTED_BY": str(os.getpid())} if sys.argv[1] == "told" else {}
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
print(subprocess.Popen([sys.executable, "-c", child], env=os.environ | told, **quiet).pid)
"""


@pytest.mark.promise(37)
def test_a_process_ends_after_its_starter_however_soon_that_was() -> None:
    def started(how: str) -> int:  # its starter has ended by now, before it could ask who that is
        command = [sys.executable, "-c", STARTS, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    watching, another = started("told"), started("not told")
    deadline = time.monotonic() + patience(20)
    while psutil.pid_exists(watching) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not psutil.pid_exists(watching)
    assert psutil.pid_exists(another), "a program that somebody else started watches nobody"
    os.kill(another, signal.SIGKILL)


def alive(injected: Path) -> list[int]:
    """The processes that do not end by themselves in a moment, which have nothing to wait for."""
    pids = [int(path.stem) for path in injected.glob("*.pid")]
    assert pids
    deadline = time.monotonic() + patience(20)
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


@pytest.mark.parametrize(
    ("launcher", "overrides", "said", "left"),
    [
        ("as torchrun", ["-m", "trainer=ddp_cpu", "seed=0,1"], "would each run the whole multirun", set()),
        (
            "lightning", ["-m", "trainer.accelerator=cpu", "trainer.devices=2", "seed=0,1"],
            "each job of a multirun runs in one process",
            {"config.yaml", "outcome.json", "log.txt", "multirun.yaml", "multirun.csv"},
        ),
        ("as torchrun", [], "torchrun or srun started 2: say trainer=ddp", set()),
        pytest.param(
            "torchrun",
            ["trainer=ddp_cpu", "trainer.devices=3"],
            "a run of 3 processes",
            set(),
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_processes_that_cannot_work_together_are_refused_with_a_sentence(
    launch: Launch,
    launcher: str,
    overrides: list[str],
    said: str,
    left: set[str],
    options: list[str],
    pictures: Path,
    cwd: Path,
) -> None:
    code, errors = launch(launcher, *overrides, *options, f"data.root={pictures}")
    assert code == (1 if launcher == "torchrun" else 2)  # torchrun has a code of its own
    assert said in errors
    assert {Path(name).name for name in files_below(cwd)} == left


def test_a_command_of_one_process_is_refused_to_several(launch: Launch, cwd: Path) -> None:
    code, errors = launch("srun", "model_dir=x", "input=y", verb="predict")
    assert code == 2
    assert "[another process] error: predict runs in one process" in errors


def test_a_run_inside_the_dataset_is_refused_by_all_and_leaves_nothing(
    launch: Launch, options: list[str], pictures: Path
) -> None:
    before = sorted(pictures.rglob("*"))
    for more in ([], [f"hydra.run.dir={pictures}/runs/one"]):
        code, errors = launch("srun", *options, f"data.root={pictures}", "trainer=ddp_cpu", *more, cwd=pictures)
        assert code == 2
        assert errors.count("lies inside the dataset") == 2
        assert sorted(pictures.rglob("*")) == before


@pytest.mark.parametrize(
    ("variables", "main"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, True),  # torchrun, started by srun
        ({"RANK": "2", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, False),
        ({"SLURM_PROCID": "1"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # Lightning's launcher in an interactive job
        ({"NODE_RANK": "1"}, False),  # Lightning's launcher on a second machine
        ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, True),
    ],
)
def test_one_process_speaks_for_all(variables: dict[str, str], main: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() == main


@pytest.mark.parametrize("name", ["FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"])
def test_a_strategy_that_has_weights_in_parts_is_refused_before_it_trains(name: str) -> None:
    class Trainer:
        strategy = type(name, (), {})()

    with pytest.raises(UserError, match=rf"trainer.strategy={name}: .* use trainer=ddp"):
        refuse_parts(Trainer())  # type: ignore[arg-type]


@pytest.mark.parametrize(("more", "message"), [([], "no such device"), (["trainer.accelerator=cpu"], "requires a GPU")])
def test_fsdp_on_a_cpu_is_refused_in_a_sentence(more: list[str], message: str, pictures: Path, tmp_path: Path) -> None:
    cfg = compose("train", "trainer=fsdp", *more, "model=timm", "model.name=test_resnet", f"data.root={pictures}")
    assert (cfg.trainer.strategy.state_dict_type, cfg.trainer.strategy.use_orig_params) == ("full", True)
    with pytest.raises(UserError, match=message):
        build.trainer(cfg, [], tmp_path)
