from ft_lightning.readers.sample import Reader
from ft_lightning.readers.text import TextReader


def f(r: TextReader) -> Reader:
    return r
