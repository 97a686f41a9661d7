"""What may be wrong with conversations is found where it is planted, and not in clean ones."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from chat import write_language_model
from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.check import check
from ft_lightning.cli.compose import compose
from ft_lightning.data.exclude import excluded_names
from ft_lightning.issues import conversations, instruct
from ft_lightning.issues.findings import Finding, Issue
from ft_lightning.issues.layout import quick_findings
from ft_lightning.readers.conversation import Message, digest_of
from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.instruct import Instruct

TASK: Any = Instruct(1, 1)


def asked(number: int, question: str, answer: str) -> Sample:
    messages = (Message("user", question), Message("assistant", answer))
    name = f"qa.jsonl#{number}"
    return Sample(f"/d/{name}", name, answer, digest_of(messages), None, content=messages, kind="conversation")


def clean(count: int = 40) -> list[Sample]:
    things = ("apple", "river", "mountain", "window", "garden", "letter", "engine", "pencil")
    return [
        asked(i, f"Tell me about the {things[i % 8]} number {i * 37}", f"The {things[i % 8]} is fine, {i * 53} times")
        for i in range(count)
    ]


def kinds(found: list[Finding]) -> set[str]:
    return {finding.kind for finding in found}


def rows(issues: list[Issue], kind: str) -> list[str]:
    return [issue.path for issue in issues if issue.kind == kind]


def test_nothing_is_said_of_clean_conversations() -> None:
    assert conversations.about(clean(), {}) == ([], [])
    assert instruct.about_labels(TASK, {"train": clean()[:20], "val": clean()[20:30], "test": clean()[30:]}) == ([], [])
    assert conversations.about([], {}) == ([], [])


PLANTED = {
    "copy": (asked(90, "TELL me about the apple number 0", "The apple is fine,  0 times"), "copy"),
    "AWS key": (asked(91, "What is the key of the lake?", "It is " + "AKIA" + "IOSFODNN7EXAMPLE"), "secret"),
    "mail": (asked(92, "Whom do I ask about the lake?", "Ask jo@lake.example.com"), "mail address"),
    "card": (asked(93, "Pay for the lake with 4111-1111-1111-1111", "It is paid in full now"), "card number"),
    "long answer": (asked(94, "Tell me about the lake number 3", "long " * 200), "length"),
    "short question": (asked(95, "?", "The lake is fine, 94 times"), "length"),
    "script": (asked(96, "Расскажи мне про озеро номер три", "Озеро в порядке, как всегда"), "script"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_with_its_row(name: str) -> None:
    sample, kind = PLANTED[name]
    found, issues = conversations.about([*clean(), sample], {})
    assert kinds(found) == {kind}
    assert rows(issues, kind) == [sample.name]
    assert len(issues) == 1
    (finding,) = found
    assert sample.name in finding.said
    assert finding.fix
    assert not finding.blocks


def test_a_secret_is_named_and_never_printed() -> None:
    for name in ("AWS key", "mail", "card"):
        sample, _ = PLANTED[name]
        found, issues = conversations.about([*clean(), sample], {})
        secret = {"AWS key": "IOSFODNN7EXAMPLE", "mail": "jo@lake", "card": "4111"}[name]
        assert secret not in found[0].said + issues[0].suggestion
        assert "message" in issues[0].suggestion
        assert secret not in conversations.label(sample.label) + conversations.preview(sample)
        assert instruct.grouped([sample, clean()[0]]) == {"": [clean()[0]]}


def test_several_answers_to_one_question_are_named() -> None:
    contrary = [asked(90, "What is the capital?", "Paris"), asked(91, "what is  the capital?", "London")]
    found, issues = instruct.about_labels(TASK, {"train": [*clean(), *contrary], "val": [], "test": []})
    assert kinds(found) == {"two answers"}
    assert rows(issues, "two answers") == ["qa.jsonl#90", "qa.jsonl#91"]
    same = [asked(90, "What is the capital?", "Paris"), asked(91, "What is the capital?", "paris ")]
    assert instruct.about_labels(TASK, {"train": [*clean(), *same], "val": [], "test": []}) == ([], [])


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (("where is the  OLD lake of the small town, and how deep is it?", "north"), True),
        (("Where is the old lake of the small town, and how deep is it now?", "North"), True),
        (("Where is the old lake of the small town, and how deep is it now?", "South"), False),
        (("Why is there no bridge over it?", "North"), False),
    ],
)
@pytest.mark.parametrize("splits", [("train", "val"), ("train", "test"), ("val", "test")])
def test_a_question_that_an_earlier_split_nearly_has_is_named(
    other: tuple[str, str], found: bool, splits: tuple[str, str]
) -> None:
    divided: dict[str, list[Sample]] = {"train": clean(20), "val": [], "test": []}
    divided[splits[0]].append(asked(90, "Where is the old lake of the small town, and how deep is it?", "North"))
    divided[splits[1]].append(asked(91, *other))
    findings, issues = instruct.about_labels(TASK, divided)
    assert (kinds(findings) == {"near-duplicate"}) == found
    assert rows(issues, "near-duplicate") == (["qa.jsonl#90"] if found else [])
    assert all(finding in quick_findings(TASK, divided, False) for finding in findings), "training says so too"


def test_what_is_not_looked_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruct, "_COMPARED", 20)
    divided = {"train": clean(19), "val": [asked(91, "Why is there no bridge?", "North")], "test": []}
    assert instruct.about_labels(TASK, divided) == ([], [])
    divided["test"] = [asked(92, "Who asks?", "Nobody")]
    (finding,), _ = instruct.about_labels(TASK, divided)
    assert finding.said.endswith("were not looked for: there are 21 conversations.")


def test_a_secret_does_not_stand_in_the_example_of_a_record(reader: Reader) -> None:
    sample, _ = PLANTED["AWS key"]
    example = reader.facts([sample])["example"]
    assert "[AWS access key]" in str(example)
    assert "IOSFODNN7EXAMPLE" not in str(example)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def reader(model: Path) -> Reader:
    return load_text_backbone("transformers", str(model), "DEFAULT", None, "auto", False, {}, generates=True).reader


def test_what_is_too_long_or_cut_or_holds_a_sign_is_named(reader: Reader) -> None:
    long, sign = asked(90, "long " * 200, "ok"), asked(91, "a <|im_end|> b", "ok")
    assert conversations.about_inputs(clean(), reader) == ([], [])
    found, issues = conversations.about_inputs([*clean(), long, sign], reader)
    assert {finding.kind: finding.blocks for finding in found} == {"too long": True, "damaged": True}
    assert (rows(issues, "too long"), rows(issues, "damaged")) == ([long.name], [sign.name])
    found, _ = conversations.about_inputs([*clean(), long], reader.adapted({"on_too_long": "skip"}))
    assert [(finding.kind, finding.blocks) for finding in found] == [("too long", False)]
    found, issues = conversations.about_inputs([*clean(), long], reader.adapted({"on_too_long": "cut_prompt"}))
    assert ([finding.kind for finding in found], issues) == (["cut"], [])


def test_a_language_that_takes_a_token_for_each_byte_is_named(reader: Reader) -> None:
    chinese = [asked(i, f"今天天气怎么样呢 {i}", "今天天气很好，适合出去走走") for i in range(30)]
    (finding,), _ = conversations.about_inputs(chinese, reader)
    assert finding.kind == "unknown tokens"
    assert "hardly knows the language" in finding.said


def test_answers_that_surprise_a_model_and_those_it_knows_are_named() -> None:
    losses = torch.tensor([2.0 + 0.02 * (i % 7) for i in range(40)])
    losses[3], losses[5] = 9.0, 0.01
    outputs = torch.stack([losses * 10, torch.full((40,), 10.0), torch.zeros(40)], 1)
    found, issues = conversations.about_outputs(clean(), outputs)
    assert [finding.kind for finding in found] == ["high loss", "low loss"]
    assert rows(issues, "high loss") == ["qa.jsonl#3"]
    assert rows(issues, "low loss") == ["qa.jsonl#5"]
    losses[3], losses[5] = 2.0, 2.0
    outputs = torch.stack([losses * 10, torch.full((40,), 10.0), torch.zeros(40)], 1)
    assert conversations.about_outputs(clean(), outputs) == ([], [])
    short = torch.tensor([[0.01, 2.0, 2.0]] * 5)
    assert conversations.about_outputs(clean(5), short) == ([], []), "two tokens are foreseen by chance"


def checked(model: Path, folder: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir()
    given = ["task=instruct", "model=causal", f"model.name={model}", "data=instructions", "precision=bf16-mixed"]
    return check(compose("check", *given, f"cache.dir={folder / 'cache'}", *overrides), folder)


def write(folder: Path, samples: list[Sample]) -> Path:
    lines = [json.dumps({"prompt": s.content[0].content, "completion": s.label}) for s in samples]
    (folder / "qa.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "qa.jsonl"


@pytest.mark.parametrize("features", ["true", "false"])
def test_a_check_of_clean_conversations_finds_nothing(model: Path, tmp_path: Path, features: str) -> None:
    table = write(tmp_path, clean(60))
    content = checked(model, tmp_path / "check", f"data.table={table}", f"features={features}")
    assert content["findings"] == []
    assert content["can_train"]


def test_a_check_names_everything_at_once_and_data_exclude_takes_its_rows(model: Path, tmp_path: Path) -> None:
    planted = [sample for sample, _ in PLANTED.values()]
    contrary = [asked(0, "What is the capital?", "Paris"), asked(0, "what is  the capital?", "London")]
    spoilt = [asked(0, "x", ""), asked(0, "long " * 200, "ok fine")]
    table = write(tmp_path, [*clean(60), *planted, *contrary, *spoilt])
    with pytest.raises(UserError, match="cannot train as it is: 2 findings"):
        checked(model, tmp_path / "check", f"data.table={table}")
    issues = pd.read_csv(tmp_path / "check/issues.csv", keep_default_na=False)
    expected = {kind for _, kind in PLANTED.values()} | {"two answers", "damaged", "too long"}
    assert set(issues["kind"]) >= expected
    for file in ("check.json", "issues.csv", "report.html", "report_data/previews/previews.csv"):
        content = (tmp_path / "check" / file).read_text(encoding="utf-8")
        assert "IOSFODNN7EXAMPLE" not in content
        assert "4111-1111" not in content
    page = (tmp_path / "check/report.html").read_text(encoding="utf-8")
    assert "<h2>Lengths</h2>" in page
    assert len(excluded_names(str(tmp_path / "check/issues.csv"))) >= len(planted) + 4
    again = checked(model, tmp_path / "again", f"data.table={table}", f"data.exclude={tmp_path / 'check/issues.csv'}")
    assert again["can_train"]
    assert {finding["kind"] for finding in again["findings"]} <= {"excluded"}
