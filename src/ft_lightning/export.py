"""`python -m ft_lightning.export`: model directory -> a folder for other programs, proven to answer the same.

python -m ft_lightning.export model_dir=outputs/train/<run> output=/a/new/folder
python -m ft_lightning.export model_dir=model output=/a/new/folder dtype=bfloat16
"""

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ft_lightning.cli import command
from ft_lightning.cli.job import Verb
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError, number_of


def export(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Write a language model as transformers and peft read it, whole or not at all."""
    from ft_lightning.deploy import hf, hf_card, model_dir
    from ft_lightning.system.console import pairs, short

    output, source = Path(str(cfg.output)).expanduser().absolute(), Path(str(cfg.model_dir)).expanduser()
    refuse_used(output, cfg.output)
    model = model_dir.load(cfg.model_dir)
    if not model.task.generates:
        raise UserError(
            f"format={cfg.format} fits models that write answers (task=instruct), and {cfg.model_dir} is of "
            f"task={model.task.name}: use predict, or ft_lightning.load in Python."
        )
    backbone: Any = model.classifier.backbone
    adapter = model_dir.find(source, "model_dir") / model_dir.ADAPTER
    readme = partial(hf_card.text, model.card, Run.of_model(source), cfg.dtype)
    proof = hf.save(output, backbone, cfg.dtype, adapter, readme)
    rounding = "" if cfg.dtype == "float32" else f", {proof.alike:.1%} of places the same most probable token"
    pairs(
        folder=str(short(output)),
        weights=f"{cfg.dtype}, {sum(file.stat().st_size for file in output.glob('*.safetensors')):,} bytes",
        proof=f"{number_of(proof.conversations, 'question')} in transformers: the same tokens, logits within "
        f"{proof.farthest:.1e}{rounding}",
    )
    return {"conversations": proof.conversations, "farthest": proof.farthest, "alike": proof.alike}


def refuse_used(output: Path, typed: Any) -> None:
    """Raise UserError for a place that holds something, and for none."""
    if typed is None:
        raise UserError("output=null: name a new folder.")
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"output={typed} holds files already, which would be mixed with others: name a new folder.")
    if output.exists() and not output.is_dir():
        raise UserError(f"output={typed} is a file: name a new folder.")


VERB = Verb("export", export, libraries=("torch", "transformers"))

if __name__ == "__main__":
    command.run(VERB)
