"""What was meant by a key, a choice or a word of the command line that there is not."""

import difflib
import re
from collections.abc import Iterable, Iterator

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ft_lightning.cli.compose import CONF, compose_with_hydra, is_group
from ft_lightning.cli.meanings import files, read
from ft_lightning.runs.resume import CHANGEABLE
from ft_lightning.system.errors import UserError

# Where a path belongs that was given to a group.
_PLACES = {"data": "data.root", "model": "model.weights", "tune": "tune.storage"}
# What is meant by a word alone; of the other commands a dataset.
_MEANT = {"predict": "input", "evaluate": "model_dir", "export": "model_dir", "report": "run"}
_ENOUGH = 0.65  # of difflib's ratio, for a key to be meant
_MISTAKEN = 0.75  # for one that was added on purpose
_NEARLY = 0.8  # for one in a file of one's own, where tags is no misspelt task
_FLAGS = ("--cfg", "--config-dir", "--config-name", "--config-path", "--experimental-rerun", "--info", "--package")
_PATH_LIKE = re.compile(r"^(~|\.{0,2}/|[A-Za-z]:[\\/])|/|\\|\.(csv|tsv|zip|pth?|safetensors)$")


def refuse_words(words: Iterable[str]) -> None:
    """Raise UserError for a key without a value, as after an unset variable of the shell, or with dashes before it."""
    for word in words:
        key, equals, value = word.partition("=")
        if key.startswith("--") and equals and key not in _FLAGS:
            raise UserError(f"{word}: keys have no dashes; say {word.lstrip('-')}.")
        if equals and not value.strip() and not key.startswith(("-", "~")):
            raise UserError(f"{key.lstrip('+')} is empty: give it a value, or leave {key}= out.")
        if equals and (CONF / key).is_dir():
            _refuse_no_choice(word)


def _refuse_no_choice(word: str) -> None:
    """Raise UserError for a choice that is no name, for which Hydra has no sentence."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
        value = override.value()
    except HydraException:  # said later
        return
    group, _, typed = word.partition("=")
    values = value if isinstance(value, list) else [value]
    nothing = values == [None] and group != "experiment"
    if nothing or any(isinstance(value, int | float | dict | list) for value in values):
        options = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
        meant = f"; or did you mean {_PLACES[group]}={typed}?" if group in _PLACES else "."
        raise UserError(f"no {word}: use one of {options}{meant}")


def explain(verb: str, words: list[str], error: BaseException) -> UserError | None:
    """Say which key or choice was meant where a command line does not compose; None if nothing is near."""
    if not isinstance(error, HydraException):
        return None
    if of_file := re.match(r"In '(\w+/\w+)': (.*)", str(error), re.S):
        fix = " Does it lack its first line, `# @package _global_`?" if "@" in of_file[2] else ""
        return UserError(f"conf/{of_file[1]}.yaml: {' '.join(of_file[2].split())}{fix}")
    overrides: list[Override] = []
    for word in _without_flags(words):
        try:
            overrides += OverridesParser.create().parse_overrides([word])
        except HydraException:
            return None if "=" in word.lstrip("+~") else UserError(_without_key(verb, word))
    groups = [each for each in overrides if is_group(each.key_or_group)]
    if isinstance(error, MissingConfigException):
        said = (_other_choice(each, error) for each in groups)
    else:
        known = _known(verb, [each.input_line or "" for each in groups])
        changed = [each for each in overrides if each.type is OverrideType.CHANGE and each.key_or_group not in known]
        goes_on = any(each.key_or_group == "resume" for each in overrides)
        said = (
            _fixed_key(each) if goes_on and not _may_change(each, known) else _other_key(verb, each, known)
            for each in changed
        )
    message = next(filter(None, said), None)
    if not message and (inner := getattr(error.__cause__, "full_key", None)):
        typed = [each.input_line for each in overrides if each.key_or_group == inner]  # a list in place of a node
        message = f"{typed[-1]}: it holds other keys; see --cfg job." if typed else None
        message = message or f"no key {inner}: +{inner}=... adds it, where what reads it takes it."
    return UserError(message) if message else None


def _without_flags(words: list[str]) -> list[str]:
    """Return the overrides among words, without flags and what follows a flag, such as job after --cfg."""
    said = [before in (*_FLAGS, "-c", "-cd", "-cn", "-cp", "-p", "-i") for before in ["", *words]]
    return [word for word, follows in zip(words, said, strict=False) if not (follows or word.startswith("-"))]


def _without_key(verb: str, word: str) -> str:
    if word in _known(verb, []):
        return f"{word} has no value: say {word}=... ."
    place = _MEANT.get(verb) or _place_of("data", word)
    plain = re.fullmatch(r"[\w./~:-]+", word)
    meant = f"{place}={word}" if plain else f"'{place}=\"{word}\"'"
    return f"{word} has no key: did you mean {meant}?"


def _place_of(group: str, path: str) -> str:
    """Return the key for a path that was given to a group."""
    return "data.csv" if group == "data" and path.endswith((".csv", ".tsv")) else _PLACES[group]


def _other_key(verb: str, override: Override, known: set[str]) -> str:
    """Say what was meant by a key that there is not: one of another choice of its group, or the nearest."""
    key = override.key_or_group
    group = key.partition(".")[0]
    others = [path.stem for path in sorted(CONF.glob(f"{group}/*.yaml")) if key in read(path)]
    if key == "data.csv" and "data.table" in known:
        return f"no key {key} with this data: did you mean data.table={_typed_value(override)}?"
    if others and f"hydra.runtime.choices.{group}" in known:
        return f"no key {key} with this {group}: say {group}={' or '.join(others)} too."
    parent = key.rpartition(".")[0]
    beside = {name.rpartition(".")[2] for name in known if name.startswith(f"{parent}.")}
    if beside and beside <= {"_target_", "_partial_"}:  # as data.find, whose function may be the user's
        return f"no key {key}: say +{key}={_typed_value(override)} where {parent}._target_ takes it."
    if meant := nearest(key, [name for name in known if key.startswith("hydra.") == name.startswith("hydra.")]):
        return f"no key {key}: did you mean {meant}={_typed_value(override)}?"
    return f"no key {key}: --cfg job shows those of {verb}; +{key}=... adds one of your own."


def _may_change(override: Override, known: set[str]) -> bool:
    """Return whether what was meant by a misspelt key may be another when a run goes on."""
    meant = nearest(override.key_or_group, known) or ""
    return any(meant == name or meant.startswith(f"{name}.") for name in CHANGEABLE)


def _fixed_key(override: Override) -> str:
    return f"{override.input_line} cannot change when a run goes on: leave it out, or start a new run without resume."


def refuse_unread(cfg: DictConfig, typed: list[str]) -> None:
    """Raise UserError for a key that was added with a plus, that nothing reads and that is like one that is read."""
    for word in typed:
        key = word.lstrip("+").partition("=")[0]
        if not word.startswith("+") or key.startswith(("tune.", "hydra.")) or is_group(key) or _is_argument(cfg, key):
            continue
        known = [name for file in files() for name in file if OmegaConf.select(cfg, name, default=None) is not None]
        meant = None if key in known or _is_referred_to(cfg, key) else nearest(key, known, _MISTAKEN)
        if meant:
            raise UserError(f"{word}: nothing reads {key}: did you mean {meant}={word.partition('=')[2]}?")


def refuse_unread_of_files(cfg: DictConfig) -> None:
    """Raise UserError for a misspelt key that a file sets, such as one of conf/experiment, and that nothing reads."""
    known = {name.partition(".")[0] for path in CONF.glob("*.yaml") for name in (path.stem, *read(path))}
    known |= {path.name for path in CONF.iterdir() if path.is_dir()}
    known |= {name for path in CONF.glob("finetune/*.yaml") for name in read(path)}
    own = [*map(str, cfg), *(f"finetune.{name}" for name in cfg.get("finetune") or ())]
    for key in own:
        if key not in known and not _is_referred_to(cfg, key) and (meant := nearest(key, known, _NEARLY)):
            raise UserError(f"{key}: a file of conf/ sets it, and nothing reads it: did you mean {meant}?")


def _is_referred_to(cfg: DictConfig, key: str) -> bool:
    """Return whether an interpolation names a key, by itself, relative to another, or as what a resolver is given."""
    return bool(re.search(rf"\$\{{(\.+|[^}}]*[:,\s])?{re.escape(key)}\b", OmegaConf.to_yaml(cfg)))


def _is_argument(cfg: DictConfig, key: str) -> bool:
    """Return whether a key lies inside of what a `_target_` is given, whose names are its own."""
    parts = key.split(".")
    above = (OmegaConf.select(cfg, ".".join(parts[:end])) for end in range(1, len(parts)))
    return any(isinstance(node, DictConfig) and "_target_" in node for node in above)


def _typed_value(override: Override) -> str:
    return (override.input_line or "").partition("=")[2]


def _other_choice(override: Override, error: MissingConfigException) -> str | None:
    """Say what was meant by a choice that a group does not have: a path, or another choice."""
    group, value = override.key_or_group.partition("@")[0], _typed_value(override)
    if not (error.missing_cfg_file or "").startswith(f"{group}/"):
        return None
    if _PATH_LIKE.search(value) and group in _PLACES:
        return f"{group}={value}: did you mean {_place_of(group, value)}={value}?"
    options = sorted(error.options or [])
    value = next((one for one in value.split(",") if one not in options), value)  # of a multirun
    near = difflib.get_close_matches(value, options, 1)
    meant = f"did you mean {group}={near[0]}? There are " if near else "use one of "
    more = f", or model=timm model.name={value} for one of timm's" if group == "model" else ""
    return f"no {group}={value}: {meant}{', '.join(options)}{more}."


def _known(verb: str, groups: list[str]) -> set[str]:
    """Return the dotted keys of a command with these choices, and its groups."""
    for choices in (groups, []):
        try:
            cfg = compose_with_hydra(verb, choices)
        except (HydraException, OmegaConfBaseException):
            continue
        return set(keys_of(cfg))
    return set()


def keys_of(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a config, those that hold others too."""
    for key, value in ((str(key), value) for key, value in node.items_ex(resolve=False)):
        yield f"{prefix}{key}"
        if isinstance(value, DictConfig) and not (value._is_none() or value._is_missing() or value._is_interpolation()):
            yield from keys_of(value, f"{prefix}{key}.")


def nearest(key: str, known: Iterable[str], enough: float = _ENOUGH) -> str | None:
    """Return the known key that is most like a misspelt one, by its last part or by its spelling; None if none is."""
    last = key.rpartition(".")[2]

    def likeness(other: str) -> float:
        """Of the last parts, or of what was typed to the last part; a shared group alone says little."""
        end = other.rpartition(".")[2]
        contained = min(len(last), len(end)) > 1 and (last in end or end in last)
        return max(_ratio(last, end), _ENOUGH * contained)

    near = [(likeness(other) + 0.3 * _ratio(key, other), other) for other in known if likeness(other) >= enough]
    return max(near)[1] if near else None


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
