"""What would fail late or pass in silence ends the command."""

import pytest
import yaml

from conftest import ROOT
from ft_lightning.cli.compose import compose
from ft_lightning.cli.values import SWITCHES, check_switches
from ft_lightning.system.errors import UserError


def test_every_switch_of_conf_is_looked_at() -> None:
    found = set()
    for path in (ROOT / "conf").rglob("*.yaml"):
        group = path.parent.name
        for key, value in (yaml.safe_load(path.read_text()) or {}).items():
            if isinstance(value, bool):
                found.add(key if group == "conf" else f"{group}.{key}")
            elif isinstance(value, dict) and group == "conf":
                found |= {f"{key}.{inner}" for inner, content in value.items() if isinstance(content, bool)}
    theirs = {
        key
        for key in found
        if key.startswith(("trainer.", "model.", "callback.", "hydra.")) or key.endswith("._partial_")
    }
    assert found - theirs <= set(SWITCHES)


@pytest.mark.parametrize("key", ["cache.enabled", "data.allow_leak", "data.case_sensitive", "finetune.freeze_bn"])
@pytest.mark.parametrize("value", ["off", "no", "0", "null"])
def test_what_is_neither_true_nor_false_is_refused(key: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{key}=.*: use true or false"):
        check_switches(compose("train", f"{key}={value}"))


def test_true_and_false_are_fine_and_so_are_keys_a_command_lacks() -> None:
    check_switches(compose("train", "cache.enabled=false", "data.allow_leak=true", "optimizer=sgd"))
    check_switches(compose("evaluate", "model_dir=x", "cache.enabled=true"))
