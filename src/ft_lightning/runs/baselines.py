"""Whether a baseline is better than the model of a run, and what to try then."""

from ft_lightning.runs.run import Run
from ft_lightning.system.errors import decimals
from ft_lightning.tasks.registry import TASKS, finite, title_of

_NEIGHBOURS = "Answering by the most similar training samples, without any training,"
_WORDS = "A linear model that counts words (TF-IDF)"


def better_baseline(run: Run) -> str:
    """Return a sentence on a baseline that is better on test than the trained model; empty if none is.

    Better means that the 95 % interval of the difference on the same samples does not hold zero, or, where that is not
    known, that it is beyond the interval of the model's own metric: what is within may be chance.
    """
    metrics, task = run.metrics, TASKS.get(run.task)
    test = metrics.get("test")
    if task is None or "val" not in metrics or not isinstance(test, dict):  # an evaluation has nothing to try
        return ""
    of_all = {f"knn_{task.monitor}": _NEIGHBOURS, f"tfidf_{task.monitor}": _WORDS}
    for name, what in {**of_all, **task.baselines}.items():
        metric = name.partition("_")[2]
        value, bounds = finite(test.get(name)), test.get(f"{metric}_ci95")
        paired = (metrics.get("differences") or {}).get(name)  # older runs have none
        if value is None or value == test.get(metric) or not (known := paired or bounds):
            continue
        low, high = known
        if low == high:  # of a single sample, say: nothing is known of others
            continue
        least, most = (0.0, 0.0) if paired else (value, value)
        if high < least if task.directions[metric] == "max" else low > most:
            than = f"beyond the 95 % interval of this model ({decimals(low)} to {decimals(high)})"
            if paired:
                between = f"{decimals(low, '+')} to {decimals(high, '+')}"
                than = f"this model {decimals(test[metric])} (95 % interval of the difference {between})"
            return f"{what} has {title_of(metric, run.task)} {decimals(value)} on test, {than}: try {_tries(run)}."
    return ""


def _tries(run: Run) -> str:
    """Name what may fit such data better and was not done, by its keys."""
    config = run.config
    head, solver = ((config.get(group) or {}).get(key) for group, key in (("head", "name"), ("optimizer", "_target_")))
    mode = (run.card.get("finetune") or {}).get("mode")
    texts = (run.card.get("preprocess") or {}).get("kind") == "text"
    tries = {
        "head=mlp": head not in ("mlp", "auto"),
        "optimizer=lbfgs": mode == "frozen" and head != "auto" and not str(solver).endswith("HeadSolver"),
        "finetune=lora": mode == "frozen" and texts,  # as good as partial there, and smaller
        "finetune=partial": mode == "frozen" and not texts,
        "finetune=full": mode in ("partial", "lora") or (mode == "frozen" and texts),
        "another model": True,
    }
    *others, last = [name for name, fits in tries.items() if fits]
    return f"{', '.join(others)} or {last}" if others else last
