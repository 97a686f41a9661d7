"""What a config is checked for before a job begins."""

import pytest

import ft_lightning.evaluate  # noqa: F401 (its docstring has its usage)
from ft_lightning.cli.checks import check_config
from ft_lightning.cli.compose import compose
from ft_lightning.system.errors import UserError

SOLVES = ["optimizer=lbfgs", "trainer.max_epochs=50"]


@pytest.mark.parametrize(
    ("verb", "in_multirun", "refused"), [("train", False, True), ("train", True, False), ("tune", False, False)]
)
def test_epochs_beside_a_solver_are_refused_where_there_is_one_training(
    verb: str, in_multirun: bool, refused: bool
) -> None:
    cfg = compose(verb, *SOLVES)
    if refused:
        with pytest.raises(UserError, match=r"trainer\.max_epochs=50: optimizer=lbfgs has an epoch for each strength"):
            check_config(cfg, SOLVES, verb, "ft_lightning.train", in_multirun)
    else:
        check_config(cfg, SOLVES, verb, "ft_lightning.train", in_multirun)


def test_what_is_missing_is_said_with_an_example_or_with_the_key() -> None:
    with pytest.raises(UserError, match=r"^model_dir: not set\. For example:\npython -m ft_lightning\.evaluate "):
        check_config(compose("evaluate"), [], "evaluate", "ft_lightning.evaluate", False)
    with pytest.raises(UserError, match=r"^model\.name: not set\. Say model\.name=\.\.\. too\.$"):
        check_config(compose("train", "model=timm"), ["model=timm"], "train", "ft_lightning.evaluate", False)


@pytest.mark.parametrize(
    ("typed", "said"), [("+optimizer.epz=1", "did you mean optimizer.eps"), ("seed=x", "seed=x: use")]
)
def test_keys_and_values_are_checked_too(typed: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        check_config(compose("train", typed), [typed], "train", "ft_lightning.train", True)
    assert said in str(refused.value)
