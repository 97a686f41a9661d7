"""What shapes a stored feature has a version; a change of that code without another version is noticed here."""

import hashlib
import io
import tokenize
from collections.abc import Iterator

import pytest

from conftest import ROOT
from ft_lightning.backbones import backbone
from ft_lightning.readers import chat, fast, images, preprocess, text

# Version -> digest of the code, comments and docstrings aside. If this test fails, ask: do equal samples still give
# equal features? If so, put the new digest here. If not, raise VERSION in the module that has changed as well: every
# feature store is then filled once more.
KNOWN = {
    # The version stays, as the key of exact must (data.decode), although 16-bit TIFFs whose zero is white turn over.
    "readers/images.py": {1: "465ae49f1917c0b3"},
    "readers/depth.py": {1: "4902672d3fb6bdbe"},
    "readers/fast.py": {1: "f7203974bff3d8f7"},
    "readers/metadata.py": {1: "01422a1557ea4b8f"},
    "readers/preprocess.py": {1: "18d90b3b1997453a"},
    "backbones/backbone.py": {1: "9e51f1afabcb22b3"},
    "backbones/libraries.py": {1: "a5d426360a9996df"},
    "backbones/after_pooling.py": {2: "acd0191f18cbb5d7"},
    "backbones/transformers.py": {2: "8cf4de976340992c"},
    "readers/text.py": {2: "7671cd2f7945dc8c"},
    "readers/tokens.py": {2: "1f1d4a2550b1171d"},
    "readers/chat.py": {1: "06a579824d05f9ff"},
    "readers/turns.py": {1: "24a2cc6cbbad6453"},
    "readers/template.py": {1: "285b37e782993ea5"},
    "readers/sandbox.py": {1: "14c37933e57e2702"},
    "backbones/causal.py": {1: "0a3f46da0a610bc9"},
}
VERSIONS = {
    "readers/images.py": images.VERSION,
    "readers/depth.py": images.VERSION,
    "readers/fast.py": fast.VERSION,
    "readers/metadata.py": images.VERSION,
    "readers/preprocess.py": preprocess.VERSION,
    "backbones/backbone.py": backbone.VERSION,
    "backbones/libraries.py": backbone.VERSION,
    "backbones/after_pooling.py": text.VERSION,
    "backbones/transformers.py": text.VERSION,
    "readers/text.py": text.VERSION,
    "readers/tokens.py": text.VERSION,
    "readers/chat.py": chat.VERSION,
    "readers/turns.py": chat.VERSION,
    "readers/template.py": chat.VERSION,
    "readers/sandbox.py": chat.VERSION,
    "backbones/causal.py": chat.VERSION,
}


def tokens_of(source: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens, with an f-string as one, as Python 3.11 has them: later ones take it apart."""
    lines, begun, depth = source.splitlines(keepends=True), (0, 0), 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = tokenize.tok_name[token.type]
        begun = token.start if name == "FSTRING_START" and not depth else begun
        inside = depth > 0
        depth += {"FSTRING_START": 1, "FSTRING_END": -1}.get(name, 0)
        if inside and not depth:
            (first, start), (last, end) = begun, token.end
            text = "".join(lines[first - 1 : last])
            text = text[start : len(text) - len(lines[last - 1]) + end]
            yield tokenize.TokenInfo(tokenize.STRING, text, begun, token.end, token.line)
        elif not depth:
            yield token


def digest(source: str) -> str:
    """Of what runs: without comments, docstrings, imports and the layout."""
    kept: list[str] = []
    line: list[str] = []
    for token in tokens_of(source):
        if token.type in (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            continue
        if token.type != tokenize.NEWLINE:
            line.append(token.string)
            continue
        is_docstring = len(line) == 1 and line[0][-1] in "\"'"
        if not is_docstring and line[0] not in ("import", "from"):
            kept += [*line, "\n"]
        line = []
    return hashlib.sha256(" ".join(kept).encode()).hexdigest()[:16]


@pytest.mark.promise(29)
@pytest.mark.parametrize("name", KNOWN)
def test_code_that_shapes_features_changes_together_with_its_version(name: str) -> None:
    package = ROOT / "src" / backbone.__name__.partition(".")[0]
    assert KNOWN[name][VERSIONS[name]] == digest((package / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("change", "is_seen"),
    [
        (("x = 1", "x = 2"), True),
        (("x = 1", "x = 1  # of something"), False),
        (('"""It."""', '"""It does."""'), False),
        (("def f():", "def f(\n):"), False),
        (("import re", "import io"), False),
    ],
)
def test_what_counts_as_a_change(change: tuple[str, str], is_seen: bool) -> None:
    source = 'import re\n\n\ndef f():\n    """It."""\n    x = 1\n    return x\n'
    assert (digest(source) != digest(source.replace(*change))) == is_seen
