"""What would fail late or pass in silence ends the command."""

import pytest

from ft_lightning.cli.compose import compose
from ft_lightning.cli.values import check_switches
from ft_lightning.system.errors import UserError


@pytest.mark.parametrize("key", ["cache.enabled", "data.allow_leak", "data.case_sensitive", "finetune.freeze_bn"])
@pytest.mark.parametrize("value", ["off", "no", "0", "null"])
def test_what_is_neither_true_nor_false_is_refused(key: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{key}=.*: use true or false"):
        check_switches(compose("train", f"{key}={value}"))


def test_true_and_false_are_fine_and_so_are_keys_a_command_lacks() -> None:
    check_switches(compose("train", "cache.enabled=false", "data.allow_leak=true", "optimizer=sgd"))
    check_switches(compose("evaluate", "model_dir=x", "cache.enabled=true"))
