"""The section that shows a conversation as the network reads it, with the tokens that are learnt marked."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from ft_lightning.pages.page import Section
from ft_lightning.runs.previews import visible


def rendered(record: Mapping[str, Any]) -> list[Section]:
    """Build the section from the entry `example` of a record: the name of a sample, and its parts; none without."""
    if not (example := record.get("example")):
        return []
    parts = [
        Markup('<mark style="--weight: 60%">{}</mark>' if learnt else "{}").format(visible(text))
        for text, learnt in example["parts"]
    ]
    text = (
        f"{example['path']}, the first conversation, as the model's chat template writes it: with a system message, if "
        "the template has one of its own. What is marked is learnt, the sign that ends an answer too; the rest is only "
        "read."
    )
    code = Markup('<span class="rendered" dir="auto">{}</span>').format(Markup("").join(parts))
    return [Section("What the model reads", text, code=code)]
