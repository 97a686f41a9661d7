"""How messages show numbers and names, and which errors mean that memory ran out."""

import pytest

from ft_lightning.system.errors import is_out_of_memory, name_few, number_of, printable, printable_lines


def test_five_names_are_listed_and_more_are_said() -> None:
    assert name_few([]) == ""
    assert name_few(["a", 2]) == "a, 2"
    assert name_few(list("abcde")) == "a, b, c, d, e"
    assert name_few(list("abcdef")) == "a, b, c, d, e, ..."
    assert name_few(["a\nb"]) == "a\\nb"


def test_a_name_writes_no_line_and_moves_no_cursor() -> None:
    assert printable("a\x1b[2J\r\u200bé猫'\"") == "a\\x1b[2J\\r\\u200bé猫'\""
    assert printable_lines("a\tb\nc\r\n") == "a\\tb\nc\\r\n"


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError("out of memory"), False),
    ],
)
def test_memory_that_ran_out_is_known_on_each_device(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) == memory


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (0, ("image",), "0 images"),
        (1200, ("image",), "1,200 images"),
        (1, ("class", "classes"), "1 class"),
        (2, ("class", "classes"), "2 classes"),
        (1, ("file is", "files are"), "1 file is"),
        (2, ("file is", "files are"), "2 files are"),
    ],
)
def test_one_is_singular(number: int, words: tuple[str, ...], said: str) -> None:
    assert number_of(number, *words) == said
