"""The reader of texts: tokens, cuts, windows, pairs, unusable texts, and its key."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from ft_lightning.readers.sample import Sample, SampleError
from ft_lightning.readers.text import TextReader
from ft_lightning.readers.tokens import tokenizer_of
from ft_lightning.system.errors import UserError
from texts import WORDS, tokenizer

CLS, SEP, UNK = 1, 2, 3
LONG = " ".join(WORDS)


def reader(**given: Any) -> TextReader:
    return TextReader(**{"tokenizer": tokenizer(), "max_length": 32, "limit": 64, "types": True} | given)


def sample(content: Any, path: str = "texts.csv#3", digest: str = "") -> Sample:
    return Sample(path, path, "", digest, content=content)


def tokens(of: TextReader, content: Any) -> list[list[int]]:
    """Those that the mask shows, window by window."""
    inputs: Any = of(sample(content))
    return [row[mask.bool()].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]


def numbers(words: str) -> list[int]:
    return [4 + WORDS.index(word) for word in words.split()]


def test_tokens_are_those_of_the_file_without_its_own_cut_and_padding() -> None:
    own = Tokenizer.from_str(tokenizer())
    assert len(own.encode(LONG).ids) == 9, "the file cuts and pads"
    assert tokens(reader(), LONG) == [[CLS, *numbers(LONG), SEP]]
    assert tokens(reader(), "The  CAT unheard-of") == [[CLS, *numbers("the cat"), UNK, UNK, UNK, SEP]]


@pytest.mark.parametrize(
    ("words", "length"),
    [(1, 4), (2, 4), (3, 8), (6, 8), (62, 64), (63, 72), (70, 72), (126, 128), (127, 144), (238, 240), (239, 250)],
)
def test_the_padded_length_is_the_text_s_own(words: int, length: int) -> None:
    inputs: Any = reader(max_length=250, limit=250)(sample(" ".join(["cat"] * words)))
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape == (1, length)
    assert inputs["input_ids"].dtype == torch.int32
    assert int(inputs["attention_mask"].sum()) == words + 2


@pytest.mark.parametrize("words", [47, 48, 100])
def test_the_most_tokens_bound_the_padded_length(words: int) -> None:
    inputs: Any = reader(max_length=50)(sample("cat " * words))
    assert inputs["input_ids"].shape == (1, 50)
    assert int(inputs["attention_mask"].sum()) == min(words + 2, 50)


@pytest.mark.parametrize(
    ("truncate", "content", "kept"),
    [
        ("head", LONG, ["the a cat dog sat ran"]),
        ("head_tail", LONG, ["the a cat to see them"]),
        (
            "windows",
            LONG,
            [
                "the a cat dog sat ran",
                "on under mat tree and then",
                "it was very quiet because nobody",
                "came to see them",
            ],
        ),
        ("windows", "the cat", ["the cat"]),
    ],
)
def test_a_long_text_is_cut_as_truncate_says(truncate: str, content: str, kept: list[str]) -> None:
    short = reader(max_length=8, truncate=truncate)
    assert tokens(short, content) == [[CLS, *numbers(words), SEP] for words in kept]


@pytest.mark.parametrize(
    ("truncate", "pair", "kept"),
    [
        ("head", ("the a cat dog sat", "ran"), ("the a cat dog", "ran")),
        ("head", ("ran", "the a cat dog sat"), ("ran", "the a cat dog")),
        ("head", ("the a cat dog", "sat ran on under"), ("the a cat", "sat ran")),
        ("head", ("sat ran", "the a cat dog under"), ("sat ran", "the a cat")),
        ("head_tail", ("the a cat dog sat", "ran"), ("the a dog sat", "ran")),
        ("windows", ("the a cat dog sat", "ran"), ("the a cat dog", "ran")),
        ("head", ("", "cat"), ("", "cat")),
    ],
)
def test_of_a_pair_the_longer_text_is_cut(truncate: str, pair: tuple[str, str], kept: tuple[str, str]) -> None:
    short = reader(max_length=8, truncate=truncate)
    assert tokens(short, pair) == [[CLS, *numbers(kept[0]), SEP, *numbers(kept[1]), SEP]]
    inputs: Any = short(sample(pair))
    first, second = len(kept[0].split()) + 2, len(kept[1].split()) + 1
    assert inputs["token_type_ids"].tolist() == [[0] * first + [1] * second + [0] * (-(first + second) % 4)]
    assert "token_type_ids" not in reader(types=False)(sample(pair)), "for a network that does not take them"


def test_cuts_agree_with_the_library_s() -> None:
    library = Tokenizer.from_str(tokenizer())
    library.no_padding()
    for most in range(5, 24):
        library.enable_truncation(most)
        short = reader(max_length=most)
        assert tokens(short, LONG) == [library.encode(LONG).ids]
        pair = ("the cat sat on the mat", "it was very quiet because")
        found, expected = tokens(short, pair)[0], library.encode(*pair).ids
        assert len(found) == len(expected)
        assert abs(found.index(SEP) - expected.index(SEP)) <= 1, "which one loses one more does not matter"


def test_a_batch_is_padded_on_the_right_with_empty_windows() -> None:
    short = reader(max_length=8, truncate="windows", pad=7)
    batch: Any = short.collate([short(sample(text)) for text in ("the cat", LONG, ("a", "dog"))])
    assert batch["input_ids"].shape == (3, 4, 8)
    assert batch["attention_mask"].sum(2).tolist() == [[4, 0, 0, 0], [8, 8, 8, 6], [5, 0, 0, 0]]
    assert (batch["input_ids"][~batch["attention_mask"].bool()] == 7).all()
    assert batch["token_type_ids"].sum((1, 2)).tolist() == [0, 0, 2]


def test_an_inspection_counts_tokens_and_unknown_ones_before_the_cut() -> None:
    _, found = reader(max_length=8).inspect(sample(f"{LONG} 你 好"))
    assert (found.width, found.height, found.mode, found.error, found.lasting) == (len(WORDS) + 4, 2, "text", "", True)


@pytest.mark.promise(44)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        (b"", "it is empty"),
        (b"caf\xe9 is open", "byte 0xe9 at position 3 (line 1) is not UTF-8"),
        (("", " "), "it holds only white space"),
        (7, "a text, or a pair of two, is needed, not int"),
        (("a", "b", "c"), "a text, or a pair of two, is needed, not tuple"),
    ],
)
def test_an_unusable_text_is_named_and_gives_a_blank_input(content: Any, reason: str) -> None:
    inputs, found = reader().inspect(sample(content))
    assert reason in found.error
    assert found.lasting
    assert inputs["attention_mask"].sum() == 1, "so that it can pass the network in its batch"
    with pytest.raises(SampleError, match=r"^texts\.csv#3: .*"):
        reader()(sample(content))


def test_a_text_that_the_tokenizer_takes_nothing_of_is_refused() -> None:
    strip = tokenizer().replace(
        '{"type": "Lowercase"}', '{"type": "Replace", "pattern": {"String": "x"}, "content": ""}'
    )
    _, found = reader(tokenizer=strip).inspect(sample("xxx"))
    assert found.error == "the tokenizer finds nothing in it"


def test_a_file_is_read_once_its_digest_fits(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffthe cat".encode("utf-16-le"))
    of_text, of_bytes = (hashlib.sha256(one).hexdigest() for one in (b"the cat", path.read_bytes()))
    for digest in ("", of_text, of_bytes):
        assert reader().inspect(sample(None, str(path), digest))[1].width == 4
    _, found = reader().inspect(sample(None, str(path), "0" * 64))
    assert found.error == "changed since the dataset was looked through; start again"
    assert not found.lasting
    assert reader().preview(sample(None, str(path))) == "the cat"
    assert reader().inspect(sample(None, str(tmp_path / "none.txt")))[1].error == "no such file"


def test_a_preview_is_the_beginning() -> None:
    assert reader().preview(sample("the cat " * 100)) == ("the cat " * 100)[:300] + " …"
    assert reader().preview(sample(("first", "second"))) == "first\nsecond"


def test_lengths_are_padded_ones_over_all_windows() -> None:
    texts = ["cat " * 20, "cat", "", "dog " * 3, "cat " * 500]
    assert reader().lengths([sample(text) for text in texts]) == [24, 4, 4, 8, 32]
    assert reader(truncate="windows").lengths([sample("cat " * 60)]) == [64]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"max_length": 65}, r"data\.max_length=65: this model has positions for 64 tokens: use 64 or fewer"),
        ({"max_length": 4}, r"data\.max_length=4: with the tokens that the tokenizer adds, use at least 5"),
        ({"truncate": "tail"}, r"data\.truncate=tail is unknown: use one of head, head_tail, windows"),
    ],
)
def test_keys_that_do_not_fit_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        reader().adapted(keys)


def test_adapted_keeps_what_is_null_and_ignores_what_is_for_images() -> None:
    assert reader().adapted({"max_length": None, "truncate": None, "max_pixels": 7, "decode": "fast"}) == reader()
    adapted = reader().adapted({"max_length": 64, "truncate": "windows"})
    assert (adapted.max_length, adapted.truncate) == (64, "windows")


def test_the_key_has_everything_that_shapes_tokens() -> None:
    other = tokenizer().replace('"Lowercase"', '"NFC"')
    changes = ({}, {"max_length": 16}, {"truncate": "windows"}, {"tokenizer": other}, {"pad": 1}, {"types": False})
    keys = [reader(**change).key() for change in changes]
    assert len({str(key) for key in keys}) == len(changes)
    assert TextReader.libraries == ("torch", "transformers", "tokenizers"), "whose versions the store adds"
    assert reader().to_dict()["files"] == {"tokenizer.json": hashlib.sha256(tokenizer().encode()).hexdigest()}
    assert reader().files() == {"tokenizer.json": tokenizer().encode()}


def test_a_reader_is_pickled_without_its_built_tokenizer() -> None:
    one = reader()
    one(sample("the cat"))
    copy = pickle.loads(pickle.dumps(one))
    assert copy == one
    assert len(pickle.dumps(one)) < len(tokenizer()) + 1000
    assert "vocab" not in repr(one)


@pytest.mark.promise(45)
@pytest.mark.parametrize("content", ["", "{}", "[]", "no json", '{"model": {}}', tokenizer()[:-2], "\0" * 9])
def test_a_broken_tokenizer_is_an_error_of_its_own(content: str) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read"):
        tokenizer_of(content)
