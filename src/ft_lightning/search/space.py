"""The search space: `tune.space`, nested like the keys of `train` -> distributions -> overrides of a trial."""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ft_lightning.system.errors import UserError
from ft_lightning.system.kinds import fits

_FIELDS = ("choices", "low", "high", "step", "log")  # no key of `train` has one of these names

_MOST = 100_000  # combinations of a grid, a list that every process of a search holds

Space = dict[str, BaseDistribution]  # by the key of `train`


def read_space(nested: Mapping[str, Any]) -> Space:
    """Return the distributions of a space such as `{"optimizer": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}}}`.

    A node may have a distribution and nodes below it: `optimizer.choices` beside `optimizer.lr`. Integer bounds give
    integers. Keys that are null are not searched.
    """
    if not isinstance(nested, Mapping):
        raise UserError(f"tune.space={nested}: name keys of train with choices, or with low and high.")
    space = dict(_walk(nested, ""))
    if not space:
        raise UserError("tune.space is empty: name a key of train with choices, or with low and high.")
    return space


def _walk(node: Mapping[str, Any], key: str) -> Iterator[tuple[str, BaseDistribution]]:
    own = {name: node[name] for name in _FIELDS if node.get(name) is not None}
    if own:
        yield key, _distribution(key, own)
    for name, below in node.items():
        place = f"{key}.{name}".lstrip(".")
        if isinstance(below, Mapping):
            yield from _walk(below, place)
        elif name not in _FIELDS and below is not None:
            raise UserError(f"tune.space.{place}={below}: use choices, or low and high; say {place}={below} to fix it.")


def _distribution(key: str, own: dict[str, Any]) -> BaseDistribution:
    setting = f"tune.space.{key}={json.dumps(own)}"
    try:
        if "choices" in own:
            if len(own) > 1 or not isinstance(own["choices"], list):
                raise UserError(
                    f"{setting}: choices is a list, without low, high, step or log; in their place: ~tune.space.{key} "
                    f"+tune.space.{key}.choices=[...]."
                )
            return CategoricalDistribution(list(dict.fromkeys(_choice(key, value) for value in own["choices"])))
        low, high, log = own["low"], own["high"], own.get("log", False)
        if not fits(log, bool):
            raise ValueError("log is true or false")
        if any(isinstance(bound, bool) for bound in (low, high)) or not math.isfinite(high - low):
            raise ValueError("low and high are finite numbers")
        if all(fits(bound, int) for bound in (low, high, own.get("step", 1))):
            return IntDistribution(low, high, log=log, step=own.get("step", 1))
        return FloatDistribution(low, high, log=log, step=own.get("step"))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        reason = "high - low is too many steps" if isinstance(error, ArithmeticError) else error
        raise UserError(f"{setting}: use choices: [...], or low and high with step or log: true ({reason}).") from error


def _choice(key: str, value: Any) -> Any:
    """Return a choice in a form that Optuna can store: lists and dictionaries as override text."""
    choice = _quoted(value) if isinstance(value, list | dict) else value
    try:
        OverridesParser.create().parse_overrides(overrides({key: choice}))
    except HydraException as error:
        raise UserError(f"tune.space.{key}: the choice {value} is not a valid override of train: quote it.") from error
    return choice


def _quoted(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_quoted, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_quoted(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """Suggest a value for each key."""
    values: dict[str, Any] = {}
    for key, kind in space.items():
        if isinstance(kind, CategoricalDistribution):
            values[key] = trial.suggest_categorical(key, kind.choices)
        elif isinstance(kind, IntDistribution):
            values[key] = trial.suggest_int(key, kind.low, kind.high, step=kind.step, log=kind.log)
        elif isinstance(kind, FloatDistribution):
            values[key] = trial.suggest_float(key, kind.low, kind.high, step=kind.step, log=kind.log)
    return values


def held(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the values that the space holds."""
    return {key: values[key] for key, kind in space.items() if _holds(kind, values[key])}


def _holds(kind: BaseDistribution, value: Any) -> bool:
    if isinstance(kind, CategoricalDistribution):
        return any(value == choice and type(value) is type(choice) for choice in kind.choices)
    if not isinstance(kind, FloatDistribution | IntDistribution) or type(value) not in (int, float):
        return False
    steps = (value - kind.low) / kind.step if kind.step else 0
    return kind.low <= value <= kind.high and abs(steps - round(steps)) < 1e-8


def grid(space: Space) -> list[dict[str, Any]]:
    """Return all combinations of a space's values; the last key varies fastest."""
    values: list[Sequence[Any]] = []
    for key, kind in space.items():
        if isinstance(kind, CategoricalDistribution):
            values.append(kind.choices)
        elif isinstance(kind, IntDistribution) and not kind.log:
            values.append(range(kind.low, kind.high + 1, kind.step))
        else:
            raise UserError(f"tune.sampler=grid: tune.space.{key} has no list of values: use choices, or sampler=tpe.")
    if (number := math.prod(map(len, values))) > _MOST:
        raise UserError(f"tune.sampler=grid: {number:,} combinations are more than {_MOST:,}: use sampler=tpe.")
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*values)]


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Return the overrides of `train` for these values.

    A choice may contain further overrides: "timm model.name=convnext_atto" for the key "model".
    """
    return [
        word for key, value in values.items() for word in re.split(r" (?=[+~]*[\w./@]+=)", f"{key}={_typed(value)}")
    ]


def _typed(value: object) -> str:
    return value if isinstance(value, str) else "null" if value is None else json.dumps(value)
