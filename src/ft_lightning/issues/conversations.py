"""What may be wrong with conversations, whatever the task."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from ft_lightning.data.too_long import TOO_LONG, ConversationReader
from ft_lightning.issues import texts
from ft_lightning.issues.findings import Finding, Issue, listed
from ft_lightning.issues.near_copies import about_copies, spelled_alike
from ft_lightning.issues.robust import centre_and_spread
from ft_lightning.issues.traits import Trait
from ft_lightning.readers.lengths import counted
from ft_lightning.readers.sample import Inspection, Reader, Sample
from ft_lightning.readers.secrets import CARD, MAIL, SECRET, redacted, secrets_in
from ft_lightning.readers.tokens import tokenizer_of, unknown_of
from ft_lightning.readers.words import beginning_of
from ft_lightning.system.errors import name_few, number_of

if TYPE_CHECKING:
    from torch import Tensor


ALIKE = "pieces in common"
_HELD = {SECRET: "what may be a secret", MAIL: "a mail address", CARD: "what may be a card number"}
_FEW = 20  # conversations, below which none is far from the others
_FAR = 6.0  # modified z-score of a logarithm; lengths and losses are spread more widely than normal numbers
_TIMES = 8  # longer than the median, or shorter
_LEAST_SPREAD = 0.1  # of a logarithm: what differs by a tenth is not far
_BY_HEART = 0.05  # loss of a token, from which the model hardly ever hesitates
_LONG_ENOUGH = 8  # tokens of an answer that cannot be foreseen by chance
_STRANGE = 0.05  # share of the conversations, up to which a script is that of a few
_HARD = 1.5  # tokens for a letter; languages that a tokenizer knows take less than one
_UNKNOWN = 0.01  # of the tokens
_LETTERS = 400  # of a conversation, that tell its script


def about(samples: Sequence[Sample], inspections: Mapping[str, Inspection]) -> tuple[list[Finding], list[Issue]]:
    """Report copies but for case and spaces, secrets, and conversations of another length or script than the others."""
    pairs = spelled_alike(samples, lambda sample: [text for _, text in sample.content])
    copies = about_copies(pairs, "conversation")
    parts = [copies, _about_secrets(samples), _about_lengths(samples), _about_scripts(samples)]
    return [finding for found, _ in parts for finding in found], [issue for _, issues in parts for issue in issues]


def _about_secrets(samples: Sequence[Sample]) -> tuple[list[Finding], list[Issue]]:
    places: dict[str, dict[str, list[str]]] = {kind: defaultdict(list) for kind in _HELD}
    labels = {sample.name: sample.label for sample in samples}
    for sample in samples:
        for number, (_, text) in enumerate(sample.content, 1):
            for found in secrets_in(text):
                places[found.kind][sample.name].append(f"{found.what}, message {number}, character {found.start + 1:,}")
    fix = "A model can repeat what it has learnt to anybody: take them out, or exclude these conversations."
    findings, issues = [], []
    for kind, by_name in places.items():
        what = f"conversation holds {_HELD[kind]}", f"conversations hold {_HELD[kind]}"
        named = [f"{name} ({some[0].partition(',')[0]})" if kind == SECRET else name for name, some in by_name.items()]
        findings += listed(kind, named, what, fix)
        issues += [Issue(name, kind, float(len(some)), labels[name], "; ".join(some)) for name, some in by_name.items()]
    return findings, issues


def _about_lengths(samples: Sequence[Sample]) -> tuple[list[Finding], list[Issue]]:
    """Report questions and answers that are far longer or shorter than the others."""
    if len(samples) < _FEW:
        return [], []
    characters = np.array([[len(sample.text or ""), len(sample.label)] for sample in samples])
    score = _far(np.log(np.maximum(characters, 1)))  # (N, 2)
    middle = np.median(characters, axis=0)
    issues = []
    apart = np.abs(np.log(np.maximum(characters, 1) / np.maximum(middle, 1))) > np.log(_TIMES)
    for at in np.flatnonzero((apart & (np.abs(score) > _FAR)).any(1)).tolist():
        which = int((np.abs(score[at]) * apart[at]).argmax())
        part, sample = ("question", "answer")[which], samples[at]
        said = (
            f"its {part} has {number_of(int(characters[at, which]), 'character')}, the median is {middle[which]:,.0f}"
        )
        issues.append(Issue(sample.name, "length", round(float(np.abs(score[at, which])), 2), sample.label, said))
    issues.sort(key=lambda issue: -issue.score)
    than = "far longer or shorter than"
    what = f"conversation is {than} the others", f"conversations are {than} others"
    fix = "Look at them: a cut answer, two rows in one, or a file in the place of a text?"
    return listed("length", [f"{each.path} ({each.suggestion})" for each in issues], what, fix), issues


def _about_scripts(samples: Sequence[Sample]) -> tuple[list[Finding], list[Issue]]:
    """Report conversations of a script that hardly any other has."""
    scripts = [_script("\n".join(text for _, text in sample.content)) for sample in samples]
    counts = Counter(filter(None, scripts))
    few = {script for script, count in counts.items() if count <= _STRANGE * len(samples)}
    odd = [(sample, script) for sample, script in zip(samples, scripts, strict=True) if script in few]
    most = name_few([script for script, _ in counts.most_common(2) if script not in few])
    what = "conversation is in another script than the others", "conversations are in other scripts than the others"
    fix = f"Most are in {most}: do these belong to the dataset? The model learns little of what it hardly sees."
    found = listed("script", [f"{sample.name} ({script})" for sample, script in odd], what, fix)
    return found, [Issue(sample.name, "script", 1.0, sample.label, script) for sample, script in odd]


def _script(text: str) -> str:
    """Return the script of most letters, such as latin or cjk; empty without letters."""
    names = (unicodedata.name(letter, "") for letter in text[:_LETTERS] if letter.isalpha())
    counts = Counter(name.partition(" ")[0].partition("-")[0].lower() for name in names)
    found = counts.most_common(1)[0][0] if counts else ""
    return "japanese" if {"hiragana", "katakana"} & counts.keys() else found


def about_inputs(samples: Sequence[Sample], reader: Reader) -> tuple[list[Finding], list[Issue]]:
    """Report conversations that a model's reader cannot learn from, cuts, or hardly has tokens for."""
    asks = cast(ConversationReader, reader)
    why = {sample.name: (sample, problem) for sample in samples if (problem := asks.problem(sample))}
    long = {name: problem for name, (_, problem) in why.items() if problem.startswith(TOO_LONG)}
    skips = asks.on_too_long == "skip"
    what = "conversation is too long", "conversations are too long"
    cut = ", or data.on_too_long=cut_prompt, which shortens questions" if asks.on_too_long == "error" else ""
    fix = "They are left out." if skips else f"Raise data.max_length, or say data.on_too_long=skip{cut}."
    found = listed("too long", [f"{name} ({said})" for name, said in long.items()], what, fix, blocks=not skips)
    bad = [f"{name}: {problem}" for name, (_, problem) in why.items() if name not in long]
    what = "conversation cannot be read by this model", "conversations cannot be read by this model"
    found += listed("damaged", bad, what, "Mend, remove or exclude them, or say data.on_bad_text=skip.", blocks=True)
    kinds = {name: "too long" if name in long else "damaged" for name in why}
    issues = [Issue(name, kinds[name], 1.0, sample.label, problem) for name, (sample, problem) in why.items()]
    return [*found, *_about_cut(samples, reader), *_about_tokens(samples, reader)], issues


def _about_cut(samples: Sequence[Sample], reader: Reader) -> list[Finding]:
    limit: int = reader.max_length  # type: ignore[attr-defined]  # of a ChatReader
    cut = [sample.name for sample in samples if reader.inspect(sample)[1].width > limit]
    what = f"conversation is cut to {limit:,} tokens", f"conversations are cut to {limit:,} tokens"
    return listed("cut", cut, what, "What their questions begin with is not read: raise data.max_length if it matters.")


def _about_tokens(samples: Sequence[Sample], reader: Reader) -> list[Finding]:
    """Report texts that a tokenizer cannot read, or only letter by letter."""
    content: str = reader.format.tokenizer  # type: ignore[attr-defined]  # of a ChatReader
    every = [text for sample in counted(samples) for _, text in sample.content]
    ids = [each.ids for each in tokenizer_of(content).encode_batch(every, add_special_tokens=False)]
    total, letters = sum(map(len, ids)), sum(map(len, every))
    sign = unknown_of(content)
    unknown = sum(each.count(sign) for each in ids) if sign is not None else 0
    fix = "Its answers can only be poor: choose a model that was trained on their language."
    if unknown > _UNKNOWN * total:
        said = f"This model cannot read your texts: {unknown / total:.1%} of their tokens are unknown to its tokenizer."
        return [Finding("unknown tokens", said, fix)]
    if total > _HARD * letters:
        said = (
            f"This model hardly knows the language of your texts: it takes {total / letters:.1f} tokens for a letter."
        )
        return [Finding("unknown tokens", said, fix)]
    return []


def about_outputs(samples: Sequence[Sample], outputs: "Tensor") -> tuple[list[Finding], list[Issue]]:
    """Report answers that surprise the model before its training far more than others, and those it knows by heart.

    Args:
        outputs: (N, 3) of these samples: sum of losses, tokens, those predicted right.
    """
    sums, tokens = outputs[:, 0].double().numpy(), outputs[:, 1].double().numpy()
    loss = sums / np.maximum(tokens, 1)
    score = _far(np.log(np.maximum(loss, 1e-6))[:, None])[:, 0] if len(samples) >= _FEW else np.zeros(len(samples))
    high = [at for at in np.argsort(-loss) if score[at] > _FAR]
    low = [at for at in np.argsort(loss) if loss[at] < _BY_HEART and tokens[at] >= _LONG_ENOUGH]
    what = "answer surprises the model", "answers surprise the model"
    fix = "Look at them: is the answer another question's, in another language, or noise?"
    names = [f"{samples[at].name} (loss {loss[at]:.2f})" for at in high]
    found = listed("high loss", names, (f"{what[0]} far more than others", f"{what[1]} far more than others"), fix)
    what = "answer is known to the model by heart", "answers are known to the model by heart"
    fix = "There is nothing to learn from them; in val and test they flatter: was the model trained on them?"
    found += listed("low loss", [f"{samples[at].name} (loss {loss[at]:.3f})" for at in low], what, fix)
    issues = [
        Issue(samples[at].name, kind, round(sign * float(loss[at]), 4), samples[at].label, "")
        for kind, places, sign in (("high loss", high, 1), ("low loss", low, -1))
        for at in places
    ]
    return found, issues


def _far(values: np.ndarray) -> np.ndarray:
    """Return modified z-scores (N, K), where what differs little is never far."""
    centre, spread = centre_and_spread(values)
    return (values - centre) / np.maximum(spread, _LEAST_SPREAD)


def traits(samples: Sequence[Sample], inspections: Mapping[str, Inspection]) -> Iterator[Trait]:
    """Yield none: an answer is no class that something else could give away."""
    return iter(())


def near_duplicates(
    samples: Sequence[Sample], splits: Sequence[str], features: "Tensor", reader: Reader
) -> list[tuple[int, int, float]]:
    """Find none: `issues.instruct` finds them without a network."""
    return []


record = texts.record


def preview(sample: Sample) -> str:
    return beginning_of(redacted(sample.text or ""))


def label(text: str) -> str:
    return beginning_of(redacted(text))
