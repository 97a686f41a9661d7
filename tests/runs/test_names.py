"""Names in saved configs, whatever the package was called when they were saved."""

import pytest

from ft_lightning.runs import names
from ft_lightning.runs.names import PACKAGE, current, oldest


@pytest.fixture(autouse=True)
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after two renames."""
    monkeypatch.setattr(names, "FORMER", ("first", "second"))
    monkeypatch.setattr(names, "_FIRST", "first")


def test_targets_of_former_names_are_ours_and_nothing_else_changes() -> None:
    saved = {
        "a": {"_target_": "first.heads.build_head", "name": "first.x", "n": 3},
        "b": [{"_target_": "second.optim.cosine"}, {"_target_": f"{PACKAGE}.x"}, "first.x"],
        "c": {"_target_": "torch.optim.Adam"},
        "d": {"_target_": "first"},
        "e": {"_target_": None},
    }
    assert current(saved) == {
        "a": {"_target_": f"{PACKAGE}.heads.build_head", "name": "first.x", "n": 3},
        "b": [{"_target_": f"{PACKAGE}.optim.cosine"}, {"_target_": f"{PACKAGE}.x"}, "first.x"],
        "c": {"_target_": "torch.optim.Adam"},
        "d": {"_target_": "first"},
        "e": {"_target_": None},
    }


@pytest.mark.parametrize(
    ("value", "first"),
    [
        (f"{PACKAGE}.heads.build_head", "first.heads.build_head"),
        ("second.heads.build_head", "first.heads.build_head"),
        (f"{PACKAGE}.augment.augmentation", "first.preprocess.augmentation"),
        (f"{PACKAGE}.callbacks.early_stopping.EarlyStopping", "lightning.pytorch.callbacks.EarlyStopping"),
        ("torch.optim.Adam", "torch.optim.Adam"),
        ("first", "first"),
        ("2.5", "2.5"),
        (2.5, 2.5),
        (None, None),
        (["first.x"], ["first.x"]),
    ],
)
def test_configs_are_compared_by_the_first_name(value: object, first: object) -> None:
    assert oldest(value) == first
