"""Make JSON schemas of conf/ from conf/ itself, with which editors complete and check its files: `make schemas`.

`schemas/<group>.json` says what a file of conf/<group>/ may hold, `schemas/<file>.yaml.json` what conf/<file>.yaml may.
A key has the types of its values in all files, and null, a list or a number where its comment gives one, as in
`null: random`. Alternatives are those that a comment lists as `a | b | c`. Any value may be `???` or an interpolation.
"""

import json
import re
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf

# Groups whose choices have equal keys: our code reads them. The functions of other groups have keys of their own.
CLOSED = ("augment", "data", "finetune", "model", "tune")
TYPES = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
NAMED = {"null": r"\bnull: ", "array": r"(^|\s)\[", "number": r"(^|\s)[\d.][\d.e-]*: "}  # what a comment says could be
LATER = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}
Schema = dict[str, Any]
HYDRA_S: Schema = {"_target_": {"type": "string"}, "_partial_": {"type": "boolean"}}
HYDRA_S |= {"_convert_": {"enum": ["none", "partial", "object", "all"]}}


class Entry(NamedTuple):
    """A key in one file: its value, the comment above and beside it, and the keys below it."""

    file: str
    value: Any
    comment: str
    inner: "dict[str, Entry]"


class File:
    """A file of conf/: its entries, its defaults list, and the first line of the comment that heads it."""

    def __init__(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        head = list(takewhile(lambda line: line.startswith("#"), lines))
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
        node = yaml.compose("\n".join(lines))
        self.entries = _entries(node, values, [""] * len(head) + lines[len(head) :], path.stem) if values else {}
        self.defaults = self.entries.pop("defaults").value if "defaults" in self.entries else []
        self.is_global = any("@package _global_" in line for line in head)
        self.title = next((line.strip("# ") for line in head if "@package" not in line), "")

    def below(self, group: str) -> dict[str, Entry]:
        """What a file that starts at the top of the config says of a group."""
        return self.entries[group].inner if group in self.entries else {}


class Conf:
    """The files of conf/: those at its top, and the choices of each group."""

    def __init__(self, folder: Path) -> None:
        self.top = {path.stem: File(path) for path in sorted(folder.glob("*.yaml"))}
        self.groups: dict[str, dict[str, File]] = {}
        for path in sorted(folder.glob("*/*.yaml")):
            self.groups.setdefault(path.parent.name, {})[path.stem] = File(path)
        self.globals = {group for group, files in self.groups.items() if all(file.is_global for file in files.values())}

    def schemas(self) -> dict[str, Schema]:
        """Each schema by its name; `defaults` is a part of the others."""
        made = {f"{name}.yaml": _with_defaults(self.whole([name]), self.top) for name in self.top}
        for group, files in self.groups.items():
            schema = self.group(group)
            if group in self.globals:
                tops = [name for name in self.top if group in self.chosen(name)] or list(self.top)
                schema = self.whole(tops) | {"definitions": {"own": schema}}
            made[group] = _with_defaults(schema, files)
        return made | {"defaults": self.choices()}

    def group(self, group: str) -> Schema:
        """What may be said of a group, in its own files and in others."""
        closed, own = group in CLOSED, [*self.groups[group].values()]
        if closed:  # a file that inherits, and names no function of its own, adds no key: a misspelt one stays wrong
            own = [file for file in own if not file.defaults or "_target_" in file.entries]
        others = [file for name, file in self.top.items() if group in self.chosen(name)]
        if not closed:
            others += [file for name in sorted(self.globals) for file in self.groups[name].values()]
        keys = _merged([file.below(group) if file.is_global else file.entries for file in own])
        keys = _merged([file.below(group) for file in others]) | keys
        schema = _mapping(keys, closed)
        return schema | {"properties": schema["properties"] | HYDRA_S}

    def whole(self, tops: list[str]) -> Schema:
        """What may be said at the top of a config that one of these files begins."""
        names = sorted({name for top in tops for name in self.included(top)})
        schema = _mapping(_merged([self.top[name].entries for name in names]), closed=True, inside=True)
        schema["properties"]["hydra"] = {"type": "object"}
        for group in sorted(set().union(*map(self.chosen, tops))):
            own = "#/definitions/own" if group in self.globals else ""
            schema["properties"][group] = {"$ref": f"{group}.json{own}"}
        return schema

    def included(self, top: str) -> list[str]:
        names = [name for name in self.top[top].defaults if isinstance(name, str) and name in self.top]
        return [top, *(each for name in names for each in self.included(name))]

    def chosen(self, top: str) -> set[str]:
        """The groups of which a file at the top, or one that it includes, makes a choice."""
        entries = [entry for name in self.included(top) for entry in self.top[name].defaults if isinstance(entry, dict)]
        return {group for entry in entries for group in entry} & self.groups.keys()

    def choices(self) -> Schema:
        """An entry of a defaults list that names a group: `data: digits`, `override /data: digits`."""
        definitions: Schema = {}
        properties: Schema = {}
        patterns: Schema = {"^(optional |override )*/?hydra/": {}}
        for group, files in self.groups.items():
            said = "\n\n".join(f"{choice}: {file.title}" if file.title else choice for choice, file in files.items())
            one: Schema = {"enum": [*files, None]}
            definitions[group] = {"description": said, "anyOf": [one, {"type": "array", "items": one}, LATER]}
            properties |= {key: {"$ref": f"#/definitions/{group}"} for key in (group, f"override /{group}")}
            patterns[f"^(optional |override )*/?{group}(@.+)?$"] = properties[group]
        named = {"properties": properties, "patternProperties": patterns, "additionalProperties": False}
        return {"type": "object", **named, "definitions": definitions}


def _entries(node: yaml.MappingNode, values: dict[str, Any], lines: list[str], file: str) -> dict[str, Entry]:
    found = {}
    for key, value in node.value:
        row = key.start_mark.line
        end = value.end_mark if value.end_mark.line == row else key.end_mark
        above = list(takewhile(lambda line: line.lstrip().startswith("#"), reversed(lines[:row])))
        comments = [*reversed(above), lines[row][end.column :].partition("#")[2]]
        inner = _entries(value, values[key.value], lines, file) if isinstance(value, yaml.MappingNode) else {}
        comment = " ".join(filter(None, (each.strip("# ") for each in comments)))
        found[key.value] = Entry(file, values[key.value], comment, inner)
    return found


def _merged(mappings: list[dict[str, Entry]]) -> dict[str, list[Entry]]:
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    return {key: [mapping[key] for mapping in mappings if key in mapping] for key in keys}


def _mapping(keys: dict[str, list[Entry]], closed: bool, inside: bool = False) -> Schema:
    """`closed`: it takes no other keys; `inside`: neither do the mappings in it."""
    properties = {key: _value(entries, inside) for key, entries in keys.items()}
    return {"type": ["null", "object"], "properties": properties} | ({"additionalProperties": False} if closed else {})


def _value(entries: list[Entry], closed: bool) -> Schema:
    comments: dict[str, list[str]] = {}
    for entry in entries:
        comments.setdefault(entry.comment, []).append(entry.file)
    comments.pop("", None)
    told = [f"{', '.join(files)}: {comment}" if len(comments) > 1 else comment for comment, files in comments.items()]
    schema: Schema = {"description": "\n\n".join(told)} if told else {}
    types = _types([entry.value for entry in entries])
    types |= {name for name, pattern in NAMED.items() if any(re.search(pattern, comment) for comment in comments)}
    if listed := re.search(r"^[^\s;|]+( \| [^\s;|]+)+", "\n".join(comments), re.MULTILINE):
        words = [word.rstrip(":,") for word in listed[0].split(" | ")]
        numbered = [re.sub(r"\d+$", r"\\d+$", f"^{word}") for word in words if re.search(r":\d+$", word)]  # cuda:1
        others = [LATER, *({"type": "string", "pattern": pattern} for pattern in numbered)]
        return schema | {"anyOf": [{"enum": words}, *others, *({"type": name} for name in sorted(types - {"string"}))]}
    if inner := _merged([entry.inner for entry in entries]):
        schema |= _mapping(inner, closed, closed)
    items = [item for entry in entries if isinstance(entry.value, list) for item in entry.value]
    return schema | ({"items": _of(_types(items))} if items else {}) | _of(types)


def _types(values: list[Any]) -> set[str]:
    now = [value for value in values if not (isinstance(value, str) and re.search(LATER["pattern"], value))]
    return {TYPES.get(type(value), "null") for value in now}


def _of(types: set[str]) -> Schema:
    if types <= {"null"}:  # what else could stand there is not known
        return {}
    typed: Schema = {"type": sorted(types | {"string"})}
    if "string" not in types:  # nothing but an interpolation; the message is a key of VS Code's
        typed |= {"pattern": LATER["pattern"], "patternErrorMessage": f"Expected {' or '.join(sorted(types))}."}
    return typed


def _with_defaults(schema: Schema, names: dict[str, File]) -> Schema:
    entry = [{"enum": ["_self_", *names]}, {"type": "string", "pattern": r"/|\$\{"}, {"$ref": "defaults.json"}]
    schema["properties"]["defaults"] = {"type": "array", "items": {"anyOf": entry}}
    return schema


def main(root: Path) -> None:
    """Write the schemas, and into settings.json which files each is for."""
    made, folder = Conf(root / "conf").schemas(), root / ".vscode/schemas"
    for path in folder.glob("*.json"):
        path.unlink()
    folder.mkdir(exist_ok=True)
    for name, schema in made.items():
        text = json.dumps(
            {"$schema": "http://json-schema.org/draft-07/schema#", **schema}, indent=1, ensure_ascii=False
        )
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    places = {name: name if name.endswith(".yaml") else f"{name}/*.yaml" for name in sorted(made.keys() - {"defaults"})}
    lines = [f'    "./.vscode/schemas/{name}.json": "conf/{place}"' for name, place in places.items()]
    block = '"yaml.schemas": {\n' + ",\n".join(lines) + "\n  }"
    settings = root / ".vscode/settings.json"
    text = re.sub(r'"yaml\.schemas": \{[^{}]*\}', lambda _: block, settings.read_text(encoding="utf-8"))
    settings.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(__file__).parents[1])
