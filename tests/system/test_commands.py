"""What is printed to be copied means the same to the shell and to Hydra."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ft_lightning.system.commands import command_line, quoted

PATHS = [
    *("outputs/train/2026-11-24_22-42-46_f131cd", "a b", "it's", 'say "x"', "a\\b", "a\\", "\\\\server\\x", '\\"'),
    *("${x}", "a${oc.env:HOME}b", "\\${x}", "a\\\\${x}", "$x", "a,b", "[x]", "{a: b}", "a=b", "(x)", "a#b", "été"),
    *("null", "True", "1_0", "10", "1e5", "nan", "off", "C:\\Users\\me\\x y", " a ", "a\nb", "*", "a;b", "日本", "~"),
]


def as_hydra_reads(word: str) -> str:
    override = OverridesParser.create().parse_override(word)
    return str(OmegaConf.create({"key": override.value()}).key)


@pytest.mark.parametrize("path", PATHS)
def test_hydra_reads_what_was_meant(path: str) -> None:
    assert as_hydra_reads(f"key={quoted(path)}") == path
    *command, word = shlex.split(command_line("predict", model_dir=path))
    assert command == ["python", "-m", "ft_lightning.predict"]
    assert as_hydra_reads(word) == path


@given(st.text(st.sampled_from("ab\"'\\${}[]():,= #~/.é*&;|<>!\t"), min_size=1, max_size=12))
def test_whatever_a_path_is_called(path: str) -> None:
    (word,) = shlex.split(command_line("train", resume=path))[3:]
    assert as_hydra_reads(word) == path


def test_what_needs_no_quotes_has_none() -> None:
    line = command_line("train", ["data.root=x"], **{"data.exclude": "outputs/check/a_1-2.csv"})
    assert line == "python -m ft_lightning.train data.exclude=outputs/check/a_1-2.csv data.root=x"
