"""What a task whose model writes answers needs of the other groups."""

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.objects import takes
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.registry import TASKS

if TYPE_CHECKING:
    from ft_lightning.deploy.predictor import TrainedModel


def generates(cfg: DictConfig) -> bool:
    """Return whether the task of a config is to write answers."""
    name = OmegaConf.select(cfg, "task.name")
    return name in TASKS and TASKS[name].generates


def check(cfg: DictConfig) -> None:
    """Raise UserError for a head, a freeze mode or a module that such a task cannot have, or that no other can."""
    task, head, module = cfg.task.name, cfg.head.get("name"), str(cfg.module._target_)
    if not generates(cfg):
        if head == "none":
            raise UserError(f"head=none: task={task} needs a head: leave it out.")
        return
    if head != "none":
        raise UserError(f"head={head} has no meaning for task={task}: a language model has its own last layer.")
    if cfg.head.init != "random":
        raise UserError(f"head.init={cfg.head.init} has no meaning for task={task}: leave it out.")
    if cfg.finetune.mode == "frozen":
        raise UserError(f"finetune=frozen trains a head, which task={task} does not have: use finetune=lora or full.")
    for key in ("repeats", "folds"):
        if cfg[key] > 1:
            raise UserError(
                f"{key}={cfg[key]} trains heads on stored features, which task={task} does not have: leave it out; -m "
                "seed=0,1,2 trains several times."
            )
    if module == "ft_lightning.module.FineTuner":
        raise UserError(f"module: task={task} needs ft_lightning.language.LanguageTuner, or a subclass of it.")


def purpose(cfg: DictConfig) -> dict[str, Any]:
    """Return the arguments by which a model is loaded with its own last layer; none for other tasks."""
    if not generates(cfg):
        return {}
    if not takes(cfg, "model", "generates"):
        name = cfg.model.get("name")
        raise UserError(
            f"model={name}: task={cfg.task.name} needs a model that writes: use model=smollm2, or model=causal "
            "model.name=/a/folder."
        )
    return {"generates": True}


def refuse_earlier(cfg: DictConfig, earlier: "TrainedModel") -> None:
    """Raise UserError for an `init_from` that writes answers where the task needs features, and the other way round."""
    if earlier.task.generates == generates(cfg):
        return
    network = f"{earlier.classifier.backbone.identity.name}, trained for task={earlier.task.name}"
    if earlier.task.generates:
        raise UserError(
            f"init_from={cfg.init_from} holds {network}, a language model with its last layer; task={cfg.task.name} "
            f"with model.name={cfg.model.name} needs one without. Say task={earlier.task.name}; or export "
            f"model_dir={cfg.init_from} output=/a/folder, and use that without init_from: model=transformers "
            "model.name=/a/folder."
        )
    raise UserError(
        f"init_from={cfg.init_from} holds {network}, a network without the last layer of a language model, which "
        f"task={cfg.task.name} with model.name={cfg.model.name} needs: leave init_from out, or name a run of "
        f"task={cfg.task.name}."
    )
