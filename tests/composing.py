"""Hydra composes each set of choices once in a process of tests; what a test sets beside them goes into a copy."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from omegaconf import DictConfig

from ft_lightning.cli.compose import CONF


@contextmanager
def composed_once() -> Iterator[None]:
    """Remember for each set of choices which files it means, and what they are together: most of Hydra's 0.1 s."""
    lists: dict[Any, DefaultsList] = {}
    configs: dict[Any, DictConfig] = {}
    compose = ConfigLoaderImpl._compose_config_from_defaults_list

    def list_once(repo: Any, config_name: str, overrides_list: Sequence[Any], **how: bool) -> DefaultsList:
        if not _looks_into_conf_alone(repo):
            return create_defaults_list(repo, config_name, list(overrides_list), **how)
        read = Overrides(repo, list(overrides_list))
        values = set(map(id, read.config_overrides))
        choices = tuple(each.input_line for each in overrides_list if id(each) not in values)
        key = (config_name, choices, *how.items())
        if key not in lists:
            lists[key] = create_defaults_list(repo, config_name, list(overrides_list), **how)
        known = lists[key]
        return DefaultsList(known.defaults, known.defaults_tree, read.config_overrides, known.overrides)

    def compose_once(self: ConfigLoaderImpl, defaults: Sequence[Any], repo: Any) -> DictConfig:
        if not _looks_into_conf_alone(repo):
            return compose(self, defaults, repo)
        key = tuple((each.config_path, each.package, each.is_self) for each in defaults)
        if key not in configs:
            configs[key] = compose(self, defaults, repo)
        return copy.deepcopy(configs[key])

    with (
        mock.patch.object(config_loader_impl, "create_defaults_list", list_once),
        mock.patch.object(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose_once),
    ):
        yield


def _looks_into_conf_alone(repo: Any) -> bool:
    """Not into a folder of a test's own too, whose files change."""
    return {each.path for each in repo.get_sources() if each.scheme() == "file"} == {str(CONF)}
