"""The README.md of an exported language model: what it is, what it was made of, how good it is."""

from pathlib import Path
from typing import Any

from ft_lightning.deploy.hf import Proof
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import printable

_NUMBERS = ("n", "loss", "perplexity", "exact_match", "stop_rate", "answer_tokens")
_USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
question = [{"role": "user", "content": "..."}]
inputs = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
written = model.generate(**inputs, max_new_tokens=64)
print(tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```"""


def text(card: dict[str, Any], run: Run, dtype: str, proof: Proof, has_adapter: bool) -> str:
    """Write the card.

    Args:
        card: model.json.
        run: that made the model; without its files, the card says what model.json knows.
    """
    base, mode = card["backbone"], card["finetune"]
    known = run.metrics if "test" in run.metrics else card["metrics"]
    hub = f"base_model: {base['name']}\n" if "/" in base["name"] else ""
    rank = f", rank {mode['rank']}, alpha {mode['alpha']}, merged into the weights" if "rank" in mode else ""
    adapter = (
        "\n`adapter/` has the adapters once more, in peft's format: "
        "`PeftModel.from_pretrained(BASE, 'FOLDER/adapter')` on the base model, not on this one.\n"
        if has_adapter
        else ""
    )
    versions = {name: (card.get("versions") or {}).get(name, "?") for name in ("ft_lightning", "transformers")}
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"""---
library_name: transformers
pipeline_tag: text-generation
{hub}---

# {_line(base["name"])}, fine-tuned

- **Base**: {_line(base["name"])}, weights {_line(base["weights"])}
- **Trained**: finetune={mode["mode"]}{rank}
- **Data**: {_data(known.get("data") or {})}
- **Weights**: {dtype}
- **Licence**: unknown. Those of the base and of the data hold: find them out before you pass this model on.
- **Made by**: {made}

## How good

{_table(known)}

Exact match and stop rate are of answers that were written greedily, stop rate is the share that ends by itself.

## How it was checked

transformers alone opened this folder, in a process of its own. Of {proof.conversations} questions it made the same
tokens, and in float32 the same logits within {proof.farthest:.1e}.{_rounding(proof, dtype)}

## How to use it

{_USE}
{adapter}"""


def _data(data: dict[str, Any]) -> str:
    if "location" not in data:
        return "not known here"
    samples = ", ".join(f"{split} {number:,}" for split, number in dict(data.get("samples") or {}).items())
    return f"{_line(Path(str(data['location'])).name)} ({samples})"


def _table(metrics: dict[str, Any]) -> str:
    columns = {split: metrics[split] for split in ("val", "test")}
    columns |= {f"base, {split}": own["base"] for split, own in columns.items() if own.get("base")}
    rows = [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    for name in _NUMBERS:
        if any(name in numbers for numbers in columns.values()):
            cells = [_number(numbers.get(name)) for numbers in columns.values()]
            rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def _line(value: Any) -> str:
    """Return a name so that it neither ends the line nor is read as markup."""
    return printable(str(value)).replace("<", "&lt;").replace("`", "'")


def _rounding(proof: Proof, dtype: str) -> str:
    if dtype == "float32":
        return ""
    return (
        f" Rounded to {dtype}, {proof.alike:.1%} of places have the same most probable token as before, and logits "
        f"differ by up to {proof.rounding:.2g}."
    )
