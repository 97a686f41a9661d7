from pathlib import Path

import pytest
import torch

from chat import language_model, tokenizer, write_language_model
from ft_lightning.backbones.causal import CausalBackbone
from ft_lightning.deploy.generation import Writing, _answer, _Stops, _Streamer, write_answers
from ft_lightning.readers.conversation import Message
from ft_lightning.readers.tokens import tokenizer_of
from ft_lightning.system.errors import UserError

END, PAD = 2, 0


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> CausalBackbone:
    return language_model(write_language_model(tmp_path_factory.mktemp("language")), "full").backbone


def encoded(text: str) -> list[int]:
    return tokenizer_of(tokenizer()).encode(text, add_special_tokens=False).ids


def test_a_question_near_the_last_position_costs_its_neighbours_nothing(backbone: CausalBackbone) -> None:
    questions = ["short", "q" * 470, "another", "q" * 480]
    prompts = [backbone.reader.prompt((Message("user", text),)) for text in questions]
    assert len(prompts[3]) + 20 > 512 == backbone.reader.limit
    together = write_answers(backbone, prompts, Writing(20))
    alone = [write_answers(backbone, [prompt], Writing(20))[0] for prompt in prompts]
    assert together == alone
    assert together[0].tokens == 20
    assert 1 <= together[3].tokens <= 512 - len(prompts[3])


@pytest.mark.parametrize("rest", [[], [PAD] * 5, [END] * 5])
def test_tokens_are_counted_up_to_the_text_at_which_an_answer_stops(backbone: CausalBackbone, rest: list[int]) -> None:
    answer = _answer(backbone.reader, [*encoded("ab##"), *rest], ["#"])
    assert answer == ("ab", 3, True)
    assert _answer(backbone.reader, [*encoded("ab"), END, *rest], ["#"]) == ("ab", 3, True)
    assert _answer(backbone.reader, encoded("ab"), ["#"]) == ("ab", 2, False)


def test_a_row_ends_once_its_text_is_there_however_long_it_is(backbone: CausalBackbone) -> None:
    stops = _Stops(backbone.reader, 3, ["🙂!", "#"])
    for text, ended in (("x" * 50 + "🙂!", True), ("x" * 50 + "🙂", False), ("", False), ("#", True)):
        ids = torch.tensor([[7, 8, 9, *encoded(text)]])
        assert stops(ids, torch.empty(0)).tolist() == [ended], text


@pytest.mark.parametrize(
    ("text", "stop", "said"), [("a🙂你b", [], "a🙂你b"), ("one. two", [". t"], "one"), ("a", ["zz"], "a")]
)
def test_what_streams_is_whole_letters_and_nothing_of_a_stop(
    backbone: CausalBackbone, text: str, stop: list[str], said: str
) -> None:
    parts: list[str] = []
    streamer = _Streamer(backbone.reader, stop, parts.append)
    streamer.put(torch.tensor([[1, 2, 3]]))  # the prompt
    for number in encoded(text):
        streamer.put(torch.tensor([number]))
    streamer.end()
    assert "".join(parts) == said
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"stop": ("",)}, "an empty text"),
    ],
)
def test_what_cannot_be_written_so_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Writing(**{"max_new_tokens": 4} | wrong)  # type: ignore[arg-type]


def test_the_bound_of_small_logits_is_seen(tmp_path: Path) -> None:
    folder = write_language_model(tmp_path, "gemma2")
    from ft_lightning.backbones.load_text import load_text_backbone

    random = load_text_backbone("transformers", str(folder), None, None, "auto", False, {}, generates=True)
    assert not random._head_is_all
    plain = load_text_backbone(
        "transformers", str(folder), None, None, "auto", False, {"final_logit_softcapping": None}, generates=True
    )
    assert plain._head_is_all
