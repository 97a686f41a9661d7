"""An exported language model: opened by transformers and peft, with the same answers; else not written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import ft_lightning
from chat import END, language_model, write_language_model
from conftest import files_below
from ft_lightning.backbones.causal import CausalBackbone
from ft_lightning.deploy import hf, model_dir, reopened, weights
from ft_lightning.readers.conversation import Message
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.instruct import Instruct

FILES = {
    *("README.md", "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "chat_template.jinja"),
    *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
}
QUESTION = (Message("user", "how are you, 世界?"),)


def trained(folder: Path, family: str = "llama", mode: str = "lora", **arguments: Any) -> Path:
    """A run's directory with a model that was trained a little, and base/ beside it."""
    base = write_language_model(folder / "base", family, **arguments)
    classifier = language_model(base, mode)
    (folder / "run").mkdir()
    model_dir.save(folder / "run/model", classifier, {"name": "none"}, Instruct(1, 8), {"val": {}, "test": {"n": 3}})
    return folder / "run"


def export(run: Path, **keys: str) -> Path:
    output = run.parent / "out"
    said = [f"{key}={value}" for key, value in keys.items()]
    ft_lightning.run("export", f"model_dir={run}", f"output={output}", *said, run_dir=run.parent / "export")
    return output


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open the folder in this process, which takes a tenth of the time."""

    def run(words: list[str], **_: Any) -> Any:
        class Done:
            returncode, stderr = 0, ""

        try:
            reopened.main(*words[3:])
        except Exception as error:
            Done.returncode, Done.stderr = 1, f"Traceback\n{error}"
        return Done

    monkeypatch.setattr(hf.subprocess, "run", run)


@torch.no_grad()
def logits(network: Any, tokens: list[int]) -> torch.Tensor:
    return network.eval()(torch.tensor([tokens])).logits[0].float()


@pytest.mark.promise(49)
@pytest.mark.parametrize(
    ("family", "dtype"), [("llama", "float32"), ("gpt2", "float32"), ("qwen2", "bfloat16"), ("gemma2", "float16")]
)
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # of peft
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings.*:UserWarning")  # of peft
def test_transformers_and_peft_open_what_is_exported(
    family: str, dtype: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if family != "llama":  # one of them is opened as a user's is, in a process of its own
        request.getfixturevalue("in_process")
    run = trained(tmp_path, family)
    folder = export(run, dtype=dtype)
    backbone = model_dir.load(run).classifier.backbone
    assert isinstance(backbone, CausalBackbone)
    tokens = backbone.reader.prompt(QUESTION)
    own = logits(backbone.network, tokens)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = [message._asdict() for message in QUESTION]
    assert tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False) == tokens
    assert tokenizer.eos_token == "<|im_end|>"
    network = AutoModelForCausalLM.from_pretrained(folder)
    assert str(network.dtype) == f"torch.{dtype}"
    assert torch.allclose(
        logits(network, tokens), own, atol={"float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-1}[dtype]
    )
    assert network.generation_config.eos_token_id == END
    assert network.config.use_cache
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    assert not torch.allclose(logits(base, tokens), own, atol=1e-3), "it was trained"
    adapted = PeftModel.from_pretrained(base, str(folder / "adapter"))
    assert torch.allclose(logits(adapted, tokens), own, atol=1e-4)
    assert set(files_below(folder)) == FILES
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.[!s]*")]
    assert not any(str(tmp_path) in text or str(Path.home()) in text for text in texts), "no path of this machine"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "Licence**: unknown" in readme
    assert "| n | " in readme
    assert f"**Weights**: {dtype}" in readme


@pytest.mark.usefixtures("in_process")
def test_answers_end_where_training_ended_them_and_tied_weights_are_written_once(tmp_path: Path) -> None:
    run = trained(tmp_path, "llama", "full")
    card = json.loads((run / "model/model.json").read_text())
    card["preprocess"]["ends"] = [0, END]
    (run / "model/model.json").write_text(json.dumps(card))
    folder = export(run)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [0, END]
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == [0, END]
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert not (folder / "adapter").exists()


@pytest.mark.usefixtures("in_process")
def test_large_weights_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "LARGEST", 30_000)
    folder = export(trained(tmp_path, "qwen2"))
    parts = list(folder.glob("model-*-of-*.safetensors"))
    assert len(parts) > 2
    assert (folder / "model.safetensors.index.json").is_file()


@pytest.mark.usefixtures("in_process")
def test_a_model_without_a_template_takes_the_plain_one_with_it(tmp_path: Path) -> None:
    folder = export(trained(tmp_path, template=None))
    assert "### Question:" in (folder / "chat_template.jinja").read_text()


def other_weight(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["model.norm.weight"] += 0.01
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def weights_gone(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["model.layers.0.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def put(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        said = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(said | values))

    return change


def another_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("'\n'", "'\n\n'", 1))


FAILURES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a weight": (other_weight, r"its logits differ by up to"),
    "a weight that is missing": (weights_gone, r"its logits differ by up to"),
    "a template": (another_template, r"other tokens \(from token \d+ on\)"),
    "an end": (put("generation_config.json", eos_token_id=1), r"would end at the tokens \[1\], not at \[2\]"),
    "a config": (put("config.json", model_type="no_such"), "transformers cannot open what would be exported"),
    "a size": (put("config.json", hidden_size=64), "transformers cannot open what would be exported"),
}


@pytest.mark.promise(51)
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("what", FAILURES)
def test_a_folder_that_does_not_answer_alike_is_not_written(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, message = FAILURES[what]
    write = hf._write

    def damaged(folder: Path, *others: Any) -> None:
        write(folder, *others)
        change(folder)

    monkeypatch.setattr(hf, "_write", damaged)
    run = trained(tmp_path)
    with pytest.raises(UserError, match=message):
        export(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "export", "run"], "nothing stays"


def test_a_number_that_half_precision_cannot_hold_is_named(tmp_path: Path) -> None:
    backbone = language_model(write_language_model(tmp_path / "base"), "full").backbone
    with torch.no_grad():
        backbone.network.model.norm.weight[0] = 1e5
    with pytest.raises(UserError, match=r"dtype=float16 cannot hold model\.norm\.weight"):
        hf.save(tmp_path / "out", backbone, "float16", tmp_path / "none", lambda *_: "")


def test_a_place_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("x")
    for output, message in (("out", "holds files already"), ("out/mine.txt", "is a file")):
        with pytest.raises(UserError, match=message):
            ft_lightning.run("export", "model_dir=x", f"output={tmp_path / output}", run_dir=tmp_path / "run")
    assert files_below(tmp_path / "out") == {"mine.txt"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"format": "onnx"}, "format=onnx: use hf"),
        ({"format": "7"}, "format=7: use hf"),
        ({"output": "null"}, "output=null: name a new folder"),
        ({"dtype": "int8"}, "dtype=int8: use one of float32, bfloat16, float16"),
        ({"dtype": "null"}, "dtype=null: use one of float32, bfloat16, float16"),
    ],
)
def test_what_is_no_format_or_type_is_refused_before_anything_is_read(
    keys: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        export(tmp_path / "run", **keys)


def test_other_models_are_refused_by_name(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "old/run/model"
    with pytest.raises(UserError, match=r"format=hf fits models that write answers .* is of task=multiclass"):
        ft_lightning.run("export", f"model_dir={folder}", f"output={tmp_path / 'out'}", run_dir=tmp_path / "run")
    assert not (tmp_path / "out").exists()
