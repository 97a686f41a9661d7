"""Texts: how fast features are, how good each mode is, and ours beside a plain Trainer loop of transformers.

    python benchmarks/texts.py speed                       # features a CPU second: a few minutes on two cores
    python benchmarks/texts.py accuracy                    # frozen, all 10,072 snippets, five splits
    python benchmarks/texts.py accuracy --table sms.csv    # another table with the columns text and label
    python benchmarks/texts.py modes                       # frozen, lora, full; 2,000 snippets, three splits: an hour
    python benchmarks/texts.py trainer                     # one epoch of all weights: ours, and transformers' Trainer

The encoder is all-MiniLM-L6-v2. `speed` computes the features of short snippets and of long ones (twelve joined) in one
thread: by the project (batches of one length), as the library's examples do in the order of arrival, padded to the
longest of a batch of 8 (the Trainer's default), 16 or 32, or to max_length, and as sentence-transformers does, sorted
by length in batches of 32. All at one precision, --precision.

`modes` compares by the paired bootstrap over test texts. Prints tables, writes texts_<part>.json into --out.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accuracy import paired_difference
from common import report
from torch import Tensor

import ft_lightning
from ft_lightning import build
from ft_lightning.backbones.snapshots import locate
from ft_lightning.cli.compose import compose
from ft_lightning.data.scan import digest_of
from ft_lightning.data.snippets import write_snippets
from ft_lightning.features.extract import Computing, Extractor, open_store
from ft_lightning.readers.sample import Sample
from ft_lightning.system.hardware import autocast

MODES = {
    "frozen": ["optimizer=lbfgs"],
    "lora": ["finetune=lora", "trainer.max_epochs=3"],
    "full": ["finetune=full", "optimizer.lr=5e-5", "finetune.backbone_lr_factor=1", "trainer.max_epochs=3"],
}
# How examples compute features: rows of a batch, sorted by length or not, padding as the tokenizer knows it.
EXAMPLES: dict[str, tuple[int, bool, bool | str]] = {
    "arrival, longest of 8": (8, False, True),
    "arrival, longest of 16": (16, False, True),
    "arrival, longest of 32": (32, False, True),
    "sorted, longest of 32": (32, True, True),
    "padded to max_length": (16, False, "max_length"),
}
PADDED = 200  # texts that are padded to max_length, to save time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "accuracy", "modes", "trainer"])
    parser.add_argument("--table", type=Path, help="texts and labels; the snippets by default")
    parser.add_argument("--texts", type=int, default=2000, help="of speed, modes and trainer")
    parser.add_argument("--seeds", type=int, help="splits 0 to n - 1; of speed rounds in turn, three by default")
    parser.add_argument("--precision", default="32-true", help="of speed; or bf16-mixed")
    parser.add_argument("--out", type=Path, default=Path("outputs/texts"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.table = options.table or write_snippets()
    part: Callable[[argparse.Namespace], list[dict[str, Any]]] = globals()[f"of_{options.part}"]
    report(options.out, f"texts_{options.part}", part(options))


def of_speed(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return texts a CPU second, the median of rounds in turn, and how many times as fast ours is."""
    torch.set_num_threads(1)
    short = pd.read_csv(options.table)["text"].sample(options.texts, random_state=0).tolist()
    long = [" ".join(short[at : at + 12]) for at in range(0, len(short), 12)]
    backbone = build.pretrained(compose("train", ["experiment=text"])).backbone
    rows = []
    for name, texts in {"short": short, "long": long}.items():
        rates: dict[str, list[float]] = {way: [] for way in ("ours", *EXAMPLES)}
        for _ in range(options.seeds or 3):
            for way, each in rates.items():
                those = texts[:PADDED] if EXAMPLES.get(way, (0, False, True))[2] == "max_length" else texts
                start = time.process_time()
                if way == "ours":
                    ours(backbone, those, options.precision)
                else:
                    example(backbone, those, options.precision, *EXAMPLES[way])
                each.append(len(those) / (time.process_time() - start))
        rate = {way: statistics.median(each) for way, each in rates.items()}
        rows += [
            {"texts": name, "way": way, "a CPU second": of, "ours is": rate["ours"] / of} for way, of in rate.items()
        ]
    return rows


def ours(backbone: Any, texts: list[str], precision: str) -> None:
    how = Computing(backbone.reader, torch.device("cpu"), precision, 0, show_progress=False)
    Extractor(backbone, open_store(None, backbone, how, on_disk=False), how).compute(
        [replace(Sample.of_text(str(at), text), digest=digest_of(text)) for at, text in enumerate(texts)]
    )


@torch.no_grad()
def example(backbone: Any, texts: list[str], precision: str, rows: int, is_sorted: bool, padding: bool | str) -> None:
    """Compute features as examples of transformers do, and as sentence-transformers does, which sorts by characters."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(locate("all-MiniLM-L6-v2", "embedded", None).folder)
    network = backbone.network.eval()
    texts = sorted(texts, key=len, reverse=True) if is_sorted else texts
    for at in range(0, len(texts), rows):
        batch = tokenizer(
            texts[at : at + rows],
            padding=padding,
            truncation=True,
            max_length=backbone.reader.max_length,
            return_tensors="pt",
        )
        with autocast(precision, "cpu"):
            hidden: Tensor = network(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        _ = (hidden * mask).sum(1) / mask.sum(1)


def of_accuracy(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the frozen encoder's test accuracy on several splits beside the baselines, and a second run's seconds."""
    rows = []
    for seed in range(options.seeds or 5):
        for _ in range(2):  # the second run has its features
            run = trained(options.table, seed, [])
        test, timing = run.metrics["test"], run.metrics["timing"]
        rows.append(
            {"split": seed}
            | {name: test[name] for name in ("accuracy", "tfidf_accuracy", "knn_accuracy", "majority_accuracy")}
            | {"n": test["n"], "second run, s": timing["features_s"] + timing["fit_s"]}
        )
    mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0] if key != "split"}
    return [*rows, {"split": "mean"} | mean]


def of_modes(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return each mode's test accuracy and minutes, and the paired difference to the frozen one over all splits."""
    table = sampled(options)
    rows: list[dict[str, Any]] = []
    for mode, overrides in MODES.items():
        own = []
        for seed in range(options.seeds or 3):
            metrics = trained(table, seed, overrides, options.out / mode / str(seed)).metrics
            minutes = metrics["timing"]["total_s"] / 60
            own.append({"mode": mode, "split": seed, "accuracy": metrics["test"]["accuracy"], "minutes": minutes})
        mean = {key: statistics.fmean(row[key] for row in own) for key in ("accuracy", "minutes")}
        difference, low, high = paired_difference(options.out / mode, options.out / "frozen")
        rows += [*own, {"mode": mode, "split": "mean", **mean, "ahead by": difference, "low": low, "high": high}]
    return rows


def of_trainer(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return texts trained on a CPU second in one epoch of all weights, ours and transformers' Trainer."""
    torch.set_num_threads(1)
    table = sampled(options)
    start = time.process_time()
    run = trained(table, 0, ["finetune=full", "head.init=random", "trainer.max_epochs=1", "precision=32-true"])
    own = time.process_time() - start
    samples = run.table("split")
    start = time.process_time()
    accuracy = of_peer(table, samples, options.out)
    peer = time.process_time() - start
    count = int((samples["split"] == "train").sum())
    rate = "texts a CPU second"
    return [
        {"loop": "ours", rate: count / own, "accuracy": run.metrics["test"]["accuracy"], "ours is": 1.0},
        {"loop": "Trainer", rate: count / peer, "accuracy": accuracy, "ours is": peer / own},
    ]


def of_peer(table: Path, split: pd.DataFrame, out: Path) -> float:
    """Fine-tune as transformers' text classification example does: padded to the longest, AdamW 5e-5, batches of 32."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    folder = locate("all-MiniLM-L6-v2", "embedded", None).folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = pd.read_csv(table)
    by_row = split.set_index(split["path"].str.partition("#")[2].astype(int))["split"]
    rows["split"] = by_row.loc[rows.index + 2].to_numpy()
    classes = sorted(rows["label"].unique())

    def encoded(name: str) -> list[dict[str, Any]]:
        part = rows[rows["split"] == name]
        return [
            {**tokenizer(text, truncation=True, max_length=256), "labels": classes.index(label)}
            for text, label in zip(part["text"], part["label"], strict=True)
        ]

    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(classes), dtype=torch.float32)
    arguments = TrainingArguments(
        str(out / "trainer"), num_train_epochs=1, per_device_train_batch_size=32, per_device_eval_batch_size=32,
        learning_rate=5e-5, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    padding = DataCollatorWithPadding(tokenizer)
    trainer: Any = Trainer(model, arguments, train_dataset=encoded("train"), data_collator=padding)
    trainer.train()
    test = encoded("test")
    logits = trainer.predict(test).predictions
    return float((logits.argmax(1) == [row["labels"] for row in test]).mean())


def sampled(options: argparse.Namespace) -> Path:
    table: Path = options.out / f"{options.table.stem}_{options.texts}.csv"
    pd.read_csv(options.table).sample(options.texts, random_state=0).to_csv(table, index=False)
    return table


def trained(table: Path, seed: int, overrides: list[str], folder: Path | None = None) -> ft_lightning.Run:
    where = ["experiment=text", f"data.table={table}", f"data.split_seed={seed}", f"seed={seed}"]
    return ft_lightning.run("train", *where, *overrides, "trainer.enable_progress_bar=false", run_dir=folder)


if __name__ == "__main__":
    main()
