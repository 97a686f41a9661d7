"""A language model beside what others would run: `python benchmarks/language.py [--rows 160] [--answers 40]`.

Trained tokens a CPU second and peak memory of this project's step and of the plain Trainer loop of transformers with
peft: the same rows in the same batches, the same precision, adapters and optimizer, on one thread; each in a process of
its own, in turn. With `--answers 40` an answer is that many dates long: the logits of all its tokens at once would be
most of the memory.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
BATCH = 8


def conversations(n: int, answers: int) -> list[Any]:
    """Return the questions and answers of data=dates, an answer as often as asked."""
    from ft_lightning.data.dates import write_dates
    from ft_lightning.readers.conversation import Message

    rows = [json.loads(line) for line in write_dates().read_text(encoding="utf-8").splitlines()[:n]]
    return [
        (Message("user", row["prompt"]), Message("assistant", " ".join([row["completion"]] * answers))) for row in rows
    ]


def read(backbone: Any, n: int, answers: int) -> list[dict[str, Any]]:
    """Return the inputs of n rows, in batches: both loops train on these."""
    from ft_lightning.readers.sample import Sample

    inputs = [
        backbone.reader(Sample.unlabelled(str(i), one, "conversation"))
        for i, one in enumerate(conversations(n, answers))
    ]
    return [backbone.reader.collate(inputs[at : at + BATCH]) for at in range(0, n, BATCH)]


def loaded() -> Any:
    """Load SmolLM2 as model=smollm2 does."""
    from ft_lightning.backbones.load_text import load_text_backbone

    return load_text_backbone(
        "transformers", "SmolLM2-135M-Instruct", "embedded", None, "auto", False, {}, generates=True
    )


def ours(batches: list[dict[str, Any]], backbone: Any, precision: Any) -> None:
    """Train as `task=instruct finetune=lora` does, by Lightning."""
    import torch
    from lightning import Trainer
    from torch.utils.data import DataLoader

    from ft_lightning.finetune import freeze_plan
    from ft_lightning.heads import build_head
    from ft_lightning.language import LanguageTuner
    from ft_lightning.lora import Adapters, adapt
    from ft_lightning.loss import token_mean
    from ft_lightning.model import Classifier
    from ft_lightning.tasks.instruct import Instruct

    adapters = adapt(
        backbone.network, backbone.blocks, lambda: backbone(backbone.prepare(backbone.example(1, 16))), "smollm2",
        Adapters(8, 16, "all-linear", 0.0),
    )  # fmt: skip
    head = build_head("none", 3, 3)
    names = [name for name, _ in adapters.named_parameters()]
    model = Classifier(backbone, head, freeze_plan(backbone, head, "lora", None, True, names), adapters)
    constant: Callable[..., Any] = lambda optimizer, _: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)  # noqa: E731
    module = LanguageTuner(
        model, Instruct(0, 1), token_mean(), lambda groups: torch.optim.AdamW(groups, lr=1e-3), constant, None, 1.0, 0
    )
    rows = [{"inputs": batch, "target": torch.zeros(BATCH), "index": torch.arange(BATCH)} for batch in batches]
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, precision=precision, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, DataLoader(rows, batch_size=None), DataLoader(rows[:1], batch_size=None))  # type: ignore[arg-type]


def theirs(batches: list[dict[str, Any]], backbone: Any, precision: Any) -> None:
    """Train by transformers' Trainer with peft."""
    from peft import LoraConfig, get_peft_model
    from torch.utils.data import DataLoader
    from transformers import Trainer, TrainingArguments

    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(backbone.network, config)
    rows = [
        {
            "input_ids": batch["input_ids"].long(),
            "attention_mask": batch["attention_mask"].long(),
            "labels": batch["input_ids"].long().masked_fill(batch["learn"] == 0, -100),
        }
        for batch in batches
    ]

    class InOrder(Trainer):
        def get_train_dataloader(self) -> Any:
            return DataLoader(rows, batch_size=None)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder:
        how = TrainingArguments(
            folder, per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=1e-3,
            lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=0.0, bf16=precision == "bf16-mixed",
            use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        InOrder(model, how, train_dataset=rows).train()


def one(which: str, options: argparse.Namespace) -> None:
    """Train n rows in this process; print trained tokens a CPU second and the peak memory in GB."""
    import torch

    torch.set_num_threads(1)
    backbone = loaded()
    batches = read(backbone, options.rows, options.answers)
    tokens = sum(int(batch["learn"].sum()) for batch in batches)
    start = time.process_time()
    {"ours": ours, "theirs": theirs}[which](batches, backbone, options.precision)
    spent = time.process_time() - start
    print(json.dumps({"tokens_per_cpu_s": tokens / spent, "peak_gb": peak()}))


def peak() -> float:
    """Return the most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run(*arguments: str) -> dict[str, float]:
    """Run this file in a process of its own; return what it prints last."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--answers", type=int, default=1)
    parser.add_argument("--precision", default="bf16-mixed", choices=["bf16-mixed", "32-true"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=["ours", "theirs"], help=argparse.SUPPRESS)  # the process that measures
    options = parser.parse_args()
    if options.only:
        one(options.only, options)
        return
    for number in range(1, options.rounds + 1):
        found = {which: run(*sys.argv[1:], "--only", which) for which in ("ours", "theirs")}
        speed = found["ours"]["tokens_per_cpu_s"] / found["theirs"]["tokens_per_cpu_s"]
        memory = found["ours"]["peak_gb"] / found["theirs"]["peak_gb"]
        print(f"round {number}: {found}; speed {speed:.2f}, peak memory {memory:.2f}", flush=True)


if __name__ == "__main__":
    main()
