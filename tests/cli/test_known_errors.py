"""What an exception means to a user, however it was wrapped on its way."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException, MissingConfigException
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from ft_lightning.cli.known_errors import config_error, known_error, refusal_of_a_typed_value
from ft_lightning.system.errors import NumericalError, UserError


def wrapped(error: Exception, times: int) -> Exception:
    for _ in range(times):
        outer = InstantiationException("Error in call to target")
        outer.__cause__ = error
        error = outer
    return error


def test_a_typed_error_is_found_below_any_number_of_wrappers() -> None:
    for typed in (UserError("mend it"), NumericalError("not finite")):
        for times in (0, 1, 3):
            assert known_error(wrapped(typed, times)) is typed


def test_what_a_library_refuses_is_the_user_s_and_a_bug_is_nobody_s() -> None:
    assert isinstance(known_error(wrapped(ValueError("momentum"), 1)), UserError)
    assert known_error(wrapped(ZeroDivisionError(), 1)) is None
    assert known_error(ZeroDivisionError()) is None


def raised_by(call: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        call()
    return raised.value


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["callback.x.mode=upwards", "seed=1"], "callback.x.mode=upwards: does not fit: `mode` can be"),
        (["+trainer.sync_batchnorm=true"], "trainer.sync_batchnorm=true: does not fit"),
        (["logger.x.mode=1"], "logger.x.mode=1: does not fit"),
        (["seed=1", "optimizer.lr=3"], None),
        ([], None),
    ],
)
def test_what_a_library_refuses_late_is_of_the_typed_value_that_it_names(typed: list[str], said: str | None) -> None:
    late = raised_by(lambda: EarlyStopping(monitor="val/loss", mode="upwards"))
    known = refusal_of_a_typed_value(late, typed)
    assert said in str(known) if said else known is None


def test_an_error_of_our_own_code_and_one_that_is_no_refusal_stay_bugs() -> None:
    ours = ValueError("four")
    assert refusal_of_a_typed_value(ours, ["head.four=1"]) is None, "raised nowhere"
    assert refusal_of_a_typed_value(raised_by(lambda: 1 / 0), ["trainer.division=1"]) is None


def test_a_number_that_torch_cannot_hold_is_blamed_for_an_overflow() -> None:
    late = raised_by(lambda: torch.zeros(1).add(1, alpha=10**20))
    assert isinstance(late, OverflowError)
    typed = ["seed=1", "+optimizer.weight_decay=100000000000000000000"]
    assert str(refusal_of_a_typed_value(late, typed)).startswith("optimizer.weight_decay=100000000000000000000: too l")
    assert refusal_of_a_typed_value(late, typed[:1]) is None


@pytest.mark.parametrize(
    ("error", "users"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (OSError(errno.EBADF, "Bad file descriptor"), False),
        (OSError("no number"), False),
        (ConfigKeyError("no key"), True),
        (MissingConfigException("no config"), True),
    ],
    ids=str,
)
def test_a_disk_that_takes_nothing_and_a_config_that_cannot_be_read_are_the_user_s(
    error: Exception, users: bool
) -> None:
    assert (str(known_error(error)) == str(error)) == users
    assert (known_error(error) is None) != users


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "${nope}",
            "data.root: Interpolation key 'nope' not found. ${...} is the value of another key, ${oc.env:NAME}",
        ),
        ("${oc.env:NO_SUCH}", "data.root: Environment variable 'NO_SUCH' not found. ${...} is"),
        ("${data.root}", "data.root: Recursive interpolation detected. "),
        ("${strange:1}", "data.root: Unsupported interpolation type strange. "),
    ],
)
def test_a_reference_to_nothing_is_told_with_its_key(value: str, said: str) -> None:
    with pytest.raises(OmegaConfBaseException) as lacking:
        OmegaConf.create({"data": {"root": value}}).data.root  # noqa: B018
    assert str(known_error(lacking.value)).startswith(said)
    assert OmegaConf.create({"text": r"a \${x}"}).text == "a ${x}", "as the message says"


def test_the_cause_of_an_error_of_hydra_is_said_once() -> None:
    with pytest.raises(ConfigAttributeError) as lacking:
        OmegaConf.create({"data": {"root": 1}}).data.nothing  # noqa: B018
    assert str(config_error(lacking.value)).startswith("data.nothing is missing: write it into the file that data=...")
    error = wrapped(ConfigKeyError("no key x"), 1)
    assert str(config_error(error)) == "Error in call to target\nno key x"
    assert str(config_error(ConfigKeyError("a:\n\tb\n\tc"))) == "a: b, c"
    same = wrapped(ConfigKeyError("Error in call to target"), 1)
    assert str(config_error(same)) == "Error in call to target"
