"""What the source never does: run, import or instantiate something that a data file names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "src/ft_lightning"
SOURCES = sorted(path for folder in ("src", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle", "imp"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *(
        "os.system",
        "os.popen",
        "yaml.load",
        "yaml.load_all",
        "yaml.unsafe_load",
        "yaml.full_load",
        "yaml.unsafe_load_all",
    ),
    *("yaml.full_load_all", "torch.serialization.add_safe_globals", "torch.serialization.safe_globals"),
    *("torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "runpy.run_path", "runpy.run_module"),
    *("importlib.util.spec_from_file_location", "pandas.read_pickle", "ctypes.CDLL"),
}
# Hydra builds what a composed config names: the user's own, as code is. A data file is never such a config.
INSTANTIATES = {f"src/ft_lightning/{name}.py" for name in ("build", "cli/objects", "cli/solver", "cli/values")}
INSTANTIATES |= {"benchmarks"}
# Modules whose names stand in the source: those that are compared with, and a command's own libraries.
IMPORTS_BY_NAME = {"benchmarks/peers.py", *(f"src/ft_lightning/{name}.py" for name in ("cli/loading", "system/lazy"))}


def offences(source: str, where: str = "src/ft_lightning/x.py") -> list[str]:
    """What a source does that it must not, as "line: what"."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    return [
        f"{where}:{getattr(node, 'lineno', 0)}: {what}"
        for node in ast.walk(tree)
        for what in _offences(node, names, where)
    ]


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(name in this file, what it is called where it comes from)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    return f"{_dotted(node.value, names)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def _offences(node: ast.AST, names: dict[str, str], where: str) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        yield from (f"import {module}" for module in modules if module.split(".")[0] in MODULES)
    elif isinstance(node, ast.Name) and node.id in BUILTINS:
        yield node.id
    elif isinstance(node, ast.Name | ast.Attribute):
        name = _dotted(node, names)
        if name in CALLS or set(name.split(".")[1:-1]) & MODULES:  # torch.serialization.pickle
            yield name
        if name.split(".")[-1] in BUILTINS and name.split(".")[0] == "builtins":
            yield name
        if name.startswith("hydra.utils.") and not where.startswith(tuple(INSTANTIATES)):
            yield name
        if name in ("importlib.import_module", "importlib.__import__") and where not in IMPORTS_BY_NAME:
            yield name
    elif isinstance(node, ast.Call):
        yield from _unsafe_arguments(node, _dotted(node.func, names))


def _unsafe_arguments(node: ast.Call, name: str) -> Iterator[str]:
    given = {keyword.arg: keyword.value for keyword in node.keywords}

    def says(argument: str, value: bool) -> bool:
        return isinstance(given.get(argument), ast.Constant) and given[argument].value is value  # type: ignore[attr-defined]

    if name == "torch.load" and not says("weights_only", True):
        yield "torch.load without weights_only=True"
    elif "weights_only" in given and not says("weights_only", True) and not _writes(name):
        yield f"{name} with another weights_only than True"
    if "allow_pickle" in given and not says("allow_pickle", False):
        yield f"{name} with allow_pickle"
    if "shell" in given and not says("shell", False):
        yield f"{name} with a shell"
    if "trust_remote_code" in given and not says("trust_remote_code", False):
        yield f"{name} with trust_remote_code"


def _writes(name: str) -> bool:
    return name.endswith(".save_checkpoint")  # there it says what is left out of the file


@pytest.mark.promise(21)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_runs_what_a_file_says(path: Path) -> None:
    assert offences(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()) == []


@pytest.mark.promise(21)
@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "from pickle import UnpicklingError",
        "import dill, os",
        "from joblib import load",
        "import shelve",
        "def f():\n    import marshal",
        "import torch\ntorch.serialization.pickle.loads(x)",
        "eval(x)",
        "exec(x)",
        "compile(x, '', 'exec')",
        "__import__(x)",
        "run = eval",
        "import builtins\nbuiltins.exec(x)",
        "import os\nos.system(x)",
        "from os import system\nsystem(x)",
        "from os import popen as run\nrun(x)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "import subprocess\nsubprocess.run(x, shell=flag)",
        "import torch\ntorch.load(x)",
        "import torch\ntorch.load(x, weights_only=False)",
        "import torch as t\nt.load(x, weights_only=flag)",
        "from torch import load\nload(x)",
        "trainer.fit(x, weights_only=False)",
        "import torch\ntorch.serialization.add_safe_globals([x])",
        "import torch\nwith torch.serialization.safe_globals([x]): pass",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "import pandas as pd\npd.read_pickle(x)",
        "import yaml\nyaml.load(x, Loader=yaml.Loader)",
        "from yaml import unsafe_load\nunsafe_load(x)",
        "from hydra.utils import instantiate\ninstantiate(x)",
        "import hydra\nhydra.utils.get_method(x)",
        "from importlib import import_module\nimport_module(x)",
    ],
)
def test_the_look_at_the_source_sees(source: str) -> None:
    assert offences(source)


@pytest.mark.promise(21)
@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(x, map_location='cpu', weights_only=True)",
        "model.eval()\nimport re\nre.compile(x)\nimport torch\ntorch.compile(model)",
        "import subprocess\nsubprocess.run([x])",
        "'eval(x), pickle.loads(x)'  # exec(x)",
    ],
)
def test_the_look_at_the_source_lets_pass(source: str) -> None:
    assert offences(source) == []


WRITES = {"write_text", "write_bytes", "save_file", "savetxt", "to_json"}  # and `open` in a mode that writes
# By path below the package: what makes a file whole; a fresh copy that is renamed when whole; a clone's own files.
WRITE_IN_THEIR_OWN_WAY = {"system/files.py", "data/digits.py", "rename.py"}
WRITE_IN_THEIR_OWN_WAY |= {"deploy/reopened.py"}  # into a temporary folder, and without anything of ours


def writes_past_replacing(source: str) -> list[int]:
    """Lines that write a file outside a `with replacing(...)`, which alone makes it whole or leaves the old one."""
    tree = ast.parse(source)
    guarded = {
        id(inside)
        for block in ast.walk(tree)
        if isinstance(block, ast.With) and any("replacing(" in ast.unparse(item) for item in block.items)
        for inside in ast.walk(block)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in guarded]
    return [call.lineno for call in calls if _is_write(call)]


def _is_write(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    modes = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    modes += [keyword.value.value for keyword in call.keywords if isinstance(keyword.value, ast.Constant)]
    in_mode = any(isinstance(mode, str) and len(mode) < 4 and set(mode) & set("wax+") for mode in modes)
    return name in WRITES or (name == "open" and in_mode)


@pytest.mark.promise(26)
@pytest.mark.parametrize("name", [p.relative_to(PACKAGE).as_posix() for p in SOURCES if p.is_relative_to(PACKAGE)])
def test_files_are_written_whole_or_not_at_all(name: str) -> None:
    path = PACKAGE / name
    if name not in WRITE_IN_THEIR_OWN_WAY:
        assert writes_past_replacing(path.read_text(encoding="utf-8")) == []


def test_every_exception_is_a_file_that_exists() -> None:
    assert all((PACKAGE / name).is_file() for name in WRITE_IN_THEIR_OWN_WAY)
    assert all((ROOT / name).exists() for name in INSTANTIATES | IMPORTS_BY_NAME)


def test_a_write_past_the_one_way_is_seen() -> None:
    assert writes_past_replacing("path.write_text('x')\nopen(path, 'w')\npath.open(mode='wb')\nsave_file(x, path)")
    inside = "with replacing(path) as new, new.open('w') as file:\n    file.write('x')\n    new.write_text('x')"
    assert writes_past_replacing(f"{inside}\nopen(path)\npath.open('rb')") == []
