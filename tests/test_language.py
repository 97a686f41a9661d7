from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from chat import language_model, write_language_model
from ft_lightning.backbones.causal import CausalBackbone
from ft_lightning.language import LanguageTuner
from ft_lightning.loss import token_mean
from ft_lightning.model import Classifier
from ft_lightning.readers.conversation import Conversation, Message
from ft_lightning.readers.sample import Sample
from ft_lightning.tasks.instruct import Instruct


def conversations(n: int) -> list[Conversation]:
    """Questions and answers of very different lengths: a mean of means is another number than the mean."""
    answers = ["x" * (1 + 7 * (i % 5)) + str(i) for i in range(n)]
    return [(Message("user", f"question {i}"), Message("assistant", answer)) for i, answer in enumerate(answers)]


class Questions(Dataset):
    def __init__(self, backbone: CausalBackbone, n: int) -> None:
        samples = [Sample.unlabelled(str(i), each, "conversation") for i, each in enumerate(conversations(n))]
        self.inputs = [backbone.reader(sample) for sample in samples]
        self.collate = backbone.reader.collate

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, position: int) -> Any:
        return position, self.inputs[position]

    def loader(self, batch: int) -> DataLoader:
        return DataLoader(self, batch, collate_fn=self._batch)

    def _batch(self, items: list[Any]) -> dict[str, Any]:
        positions, inputs = zip(*items, strict=True)
        index = torch.tensor(positions)
        return {"inputs": self.collate(list(inputs)), "target": torch.zeros(len(index)), "index": index}


def one_step(model: Classifier, batch: int, accumulate: int) -> dict[str, Tensor]:
    """Take one step of plain gradient descent with Lightning; return what each parameter has moved by."""
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    plain = lambda optimizer, _: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)  # noqa: E731
    sgd = lambda groups: torch.optim.SGD(groups, lr=1.0)  # noqa: E731
    module = LanguageTuner(model, Instruct(1, 1), token_mean(), sgd, plain, None, 1.0, 0)
    data = Questions(model.backbone, batch * accumulate).loader(batch)
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, precision="32-true",
    )  # fmt: skip
    trainer.fit(module, data, data)
    return {name: before[name] - p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad}


def plain_gradients(network: Any, questions: Questions) -> tuple[float, dict[str, Tensor]]:
    """Compute what transformers' own loss gives for all questions at once."""
    batch = questions.loader(len(questions)).collate_fn([questions[i] for i in range(len(questions))])["inputs"]
    labels = batch["input_ids"].long().masked_fill(batch["learn"] == 0, -100)
    network.train()
    loss = network(batch["input_ids"].long(), attention_mask=batch["attention_mask"].long(), labels=labels).loss
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.promise(48)
@pytest.mark.parametrize(("batch", "accumulate"), [(8, 1), (4, 2), (2, 4)])
def test_a_step_of_all_weights_is_that_of_a_plain_loop(tmp_path: Path, batch: int, accumulate: int) -> None:
    from transformers import AutoModelForCausalLM

    folder = write_language_model(tmp_path)
    model = language_model(folder, "full")
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    loss, expected = plain_gradients(network, Questions(model.backbone, 8))
    with torch.no_grad():
        inputs = Questions(model.backbone, 8).loader(8)._get_iterator()._next_data()["inputs"]  # type: ignore[attr-defined]
        assert token_mean()(model(inputs), torch.zeros(8)).item() == pytest.approx(loss, abs=1e-5)
    moved = one_step(model, batch, accumulate)
    found = {name.removeprefix("backbone.network."): value for name, value in moved.items()}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-5), name


@pytest.mark.promise(48)
@pytest.mark.parametrize(("batch", "accumulate"), [(8, 1), (4, 2)])
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # of peft
def test_a_step_of_adapters_is_that_of_peft(tmp_path: Path, batch: int, accumulate: int) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = write_language_model(tmp_path)
    model = language_model(folder, "lora")
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")
    wrapped: Any = get_peft_model(network, config)
    assert model.adapters is not None
    with torch.no_grad():
        for name, adapter in model.adapters.named().items():
            layer = wrapped.base_model.model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(adapter.A)
            layer.lora_B["default"].weight.copy_(adapter.B)
    _, expected = plain_gradients(wrapped, Questions(model.backbone, 8))
    moved = one_step(model, batch, accumulate)
    assert len(moved) == len(expected) == 2 * len(model.adapters.named())
    for name in model.adapters.named():
        for part in "AB":
            of_peft = expected[f"base_model.model.{name}.lora_{part}.default.weight"]
            assert of_peft.abs().max() > 1e-4
            assert torch.allclose(moved[f"adapters.{name}.{part}"], of_peft, atol=1e-5), name
