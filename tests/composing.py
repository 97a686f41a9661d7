"""How a process of tests composes: from the values that tests rely on, and each set of choices once.

A project made of this template changes values of conf/: another model, a seed, more epochs. Its tests go on with those
of defaults.yaml beside this file, in the place of what the same files of conf/ say; files and keys of its own stay.
So they do where it has deleted files: what those name is in src all the same.
`python tests/composing.py` writes defaults.yaml as conf/ is.
"""

import copy
import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.compose import CONF

Plugins.instance()  # registers where configs come from
_DEFAULTS = Path(__file__).with_name("defaults.yaml")
_FILES = SourcesRegistry.instance().resolve("file")
_LOAD, _IS_CONFIG = _FILES.load_config, _FILES.is_config
_PACKAGE = "@package"  # in defaults.yaml: where a file's keys go, which a comment of the file says


@functools.cache
def shipped() -> dict[str, Any]:
    """What each file of conf/ says in tests."""
    return {name: {key: value for key, value in file.items() if key != _PACKAGE} for name, file in _relied_on().items()}


@functools.cache
def _relied_on() -> dict[str, Any]:
    read = OmegaConf.load(_DEFAULTS)
    return {str(name): OmegaConf.to_container(file) for name, file in read.items_ex(resolve=False)}


@contextmanager
def composed_as_it_is() -> Iterator[None]:
    """Compose what conf/ says, whatever other tests rely on."""
    if not changed(CONF):
        yield
        return
    with mock.patch(f"{__name__}.shipped", return_value={}):
        yield


@functools.cache
def changed(conf: Path) -> bool:
    """Return whether conf/ says something else than tests rely on."""
    files = {conf / f"{name}.yaml": values for name, values in shipped().items()}
    return any(replaced(_said(path), values) != _said(path) for path, values in files.items() if path.is_file())


def own_keys() -> list[str]:
    """Return overrides that take away what a project has added at the top of train.yaml."""
    return [f"~{key}" for key in sorted(_keys(_said(CONF / "train.yaml")) - _keys(shipped()["train"]))]


def replaced(said: Any, relied_on: Any) -> Any:
    """Put what tests rely on in the place of what a file says; what was added stays, if it is for the same target."""
    if isinstance(relied_on, list) and any(isinstance(each, dict) for each in relied_on):
        groups = {group for each in relied_on if isinstance(each, dict) for group in each}
        added = [each for each in said or [] if isinstance(each, dict) and not groups & each.keys()]
        return relied_on + [each for each in added if "override" not in str(each)]
    if not isinstance(relied_on, dict) or not isinstance(said, dict):
        return relied_on
    if said.get("_target_") != relied_on.get("_target_"):
        return relied_on
    values = {key: relied_on[key] if key == "space" else replaced(said.get(key), relied_on[key]) for key in relied_on}
    return said | values


def _keys(train: dict[str, Any]) -> set[str]:
    """Return the keys and the groups of train.yaml."""
    groups = {group for each in train["defaults"] if isinstance(each, dict) for group in each}
    return {key for key in {*train, *groups} - {"defaults"} if "override" not in key}


def _said(path: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path))


@contextmanager
def composed_once() -> Iterator[None]:
    """Compose from defaults.yaml; read each file once, and remember which files each set of choices means."""
    files: dict[Any, ConfigResult] = {}
    lists: dict[Any, DefaultsList] = {}
    configs: dict[Any, DictConfig] = {}
    compose = ConfigLoaderImpl._compose_config_from_defaults_list

    def load_once(self: ConfigSource, config_path: str) -> ConfigResult:
        if self.path != str(CONF):
            return _LOAD(self, config_path)
        name = config_path.removesuffix(".yaml")
        relied_on = shipped().get(name)
        key = (CONF, name, relied_on is None)
        if key not in files and relied_on is not None and not _IS_CONFIG(self, config_path):  # deleted
            header = {"package": _relied_on()[name].get(_PACKAGE)}
            files[key] = ConfigResult(self.provider, f"file://{CONF}", OmegaConf.create(relied_on), header)
        elif key not in files:
            files[key] = _LOAD(self, config_path)
            if relied_on is not None:
                said = OmegaConf.to_container(files[key].config)
                files[key].config = OmegaConf.create(replaced(said, relied_on))
        return copy.deepcopy(files[key])

    def is_config(self: ConfigSource, config_path: str) -> bool:
        relied_on = self.path == str(CONF) and config_path.removesuffix(".yaml") in shipped()
        return relied_on or _IS_CONFIG(self, config_path)

    def list_once(repo: Any, config_name: str, overrides_list: Sequence[Any], **how: bool) -> DefaultsList:
        if not _looks_into_conf_alone(repo):
            return create_defaults_list(repo, config_name, list(overrides_list), **how)
        read = Overrides(repo, list(overrides_list))
        values = set(map(id, read.config_overrides))
        choices = tuple(each.input_line for each in overrides_list if id(each) not in values)
        key = (CONF, not shipped(), config_name, choices, *how.items())
        if key not in lists:
            lists[key] = create_defaults_list(repo, config_name, list(overrides_list), **how)
        known = lists[key]
        return DefaultsList(known.defaults, known.defaults_tree, read.config_overrides, known.overrides)

    def compose_once(self: ConfigLoaderImpl, defaults: Sequence[Any], repo: Any) -> DictConfig:
        if not _looks_into_conf_alone(repo):
            return compose(self, defaults, repo)
        key = (CONF, not shipped(), *((each.config_path, each.package, each.is_self) for each in defaults))
        if key not in configs:
            configs[key] = compose(self, defaults, repo)
        return copy.deepcopy(configs[key])

    with (
        mock.patch.object(_FILES, "load_config", load_once),
        mock.patch.object(_FILES, "is_config", is_config),
        mock.patch.object(config_loader_impl, "create_defaults_list", list_once),
        mock.patch.object(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose_once),
    ):
        yield


def _looks_into_conf_alone(repo: Any) -> bool:
    """Not into a folder of a test's own too, whose files change."""
    return {each.path for each in repo.get_sources() if each.scheme() == "file"} == {str(CONF)}


if __name__ == "__main__":
    lines = ["# What tests rely on of conf/, whatever a project makes of it: see composing.py.\n"]
    conf = Path(__file__).parents[1] / "conf"
    for path in sorted(conf.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        package = re.match(r"# @package (\S+)", text)
        said = (yaml.safe_load(text) or {}) | ({_PACKAGE: package[1]} if package else {})
        name = path.relative_to(conf).with_suffix("").as_posix()
        lines.append(f"{name}: {yaml.safe_dump(said, default_flow_style=True, width=116, sort_keys=False)}")
    _DEFAULTS.write_text("".join(lines), encoding="utf-8")
