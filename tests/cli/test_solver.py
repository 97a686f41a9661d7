"""What goes with optimizer=lbfgs, whose epochs are strengths."""

import pytest

from ft_lightning.cli.compose import compose
from ft_lightning.cli.solver import check_beside_solver, epochs, refuse_other_epochs, solves_head
from ft_lightning.optim import STRENGTHS
from ft_lightning.system.errors import UserError

LBFGS = "optimizer=lbfgs"


def test_only_a_solver_solves() -> None:
    assert solves_head(compose("train", LBFGS))
    for other in ("optimizer=adam", "optimizer=sgd", "optimizer._target_=ft_lightning.optim.constant"):
        assert not solves_head(compose("train", other))


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        (["trainer.max_epochs=7"], 7),
        ([LBFGS], len(STRENGTHS)),
        ([LBFGS, "optimizer.weight_decay=1e-2"], 1),
        ([LBFGS, "optimizer.weight_decay=[1e-2,1]"], 2),
    ],
)
def test_an_epoch_of_a_solver_is_a_strength(typed: list[str], count: int) -> None:
    cfg = compose("train", *typed)
    assert epochs(cfg) == count
    refuse_other_epochs(cfg, typed)
    refuse_other_epochs(compose("train", *typed, f"trainer.max_epochs={count}"), [f"trainer.max_epochs={count}"])
    if LBFGS in typed:
        refuse_other_epochs(compose("train", *typed, "trainer.max_epochs=50"), typed)  # which somebody else has set
        with pytest.raises(UserError, match=f"trainer.max_epochs=50: .* here {count}: leave it out"):
            refuse_other_epochs(compose("train", *typed, "trainer.max_epochs=50"), ["trainer.max_epochs=50"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], ""),
        (["scheduler=cosine"], "no learning rate to schedule"),
        (["data.sampler=balanced"], "data.sampler=balanced: optimizer=lbfgs looks at all samples at once"),
        (["trainer.check_val_every_n_epoch=2"], "trainer.check_val_every_n_epoch: optimizer=lbfgs chooses among all"),
        (["callback=ema"], "callback=ema averages over steps"),
        (["callback=early_stopping"], ""),
    ],
)
def test_what_takes_steps_does_not_go_with_a_solver(typed: list[str], said: str) -> None:
    cfg = compose("train", LBFGS, *typed)
    if not said:
        check_beside_solver(cfg)
        return
    with pytest.raises(UserError) as refused:
        check_beside_solver(cfg)
    assert said in str(refused.value)
