"""What is said of questions and their answers, across the splits."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ft_lightning.data.split import Splits
from ft_lightning.issues import unknown
from ft_lightning.issues.findings import Finding, Issue, listed
from ft_lightning.issues.near_copies import near_copies, traces_of
from ft_lightning.readers.sample import Sample
from ft_lightning.readers.secrets import secrets_in
from ft_lightning.readers.words import spelling_of
from ft_lightning.system.errors import number_of
from ft_lightning.tasks.task import Task

COUNTED, NOUN, NOUNS, LOOKS = "Conversations", "conversation", "answers", ""
SCORE = "length, modified z-score of its logarithm; high loss, loss of a token, low loss, that with a minus"
_COMPARED = 20_000  # conversations, whose questions are compared in a few seconds
_CANDIDATES = 200  # of those that a page shows


def about_labels(task: Task, splits: Splits) -> tuple[list[Finding], list[Issue]]:
    """Report questions with several answers, and those of val or test that an earlier split nearly has too."""
    several, two_answers = _several_answers([sample for samples in splits.values() for sample in samples])
    copies, near = _near_copies(splits)
    return several + copies, two_answers + near


def _several_answers(samples: Sequence[Sample]) -> tuple[list[Finding], list[Issue]]:
    by_question: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_question[spelling_of(sample.text or "")].append(sample)
    issues, named = [], []
    for asked in by_question.values():
        answers = {spelling_of(sample.label): sample for sample in reversed(asked)}
        if len(answers) > 1:
            named.append(" and ".join(sample.name for sample in sorted(answers.values(), key=lambda s: s.name)[:3]))
            for sample in asked:
                other = next(one for spelled, one in answers.items() if spelled != spelling_of(sample.label))
                issues.append(Issue(sample.name, "two answers", 1.0, sample.label, f"{other.name} answers otherwise"))
    what = "question has several answers", "questions have several answers"
    fix = (
        "A model learns one for another, and none of them can be right each time: keep the one that is wanted, unless "
        "all are. They stay in one split."
    )
    return listed("two answers", named, what, fix), issues


def _near_copies(splits: Splits) -> tuple[list[Finding], list[Issue]]:
    """Report questions of val or test that train, or val for test, has in nearly the same words and with the answer."""
    if (number := sum(map(len, splits.values()))) > _COMPARED:
        said = f"Questions in nearly the same words were not looked for: there are {number:,} conversations."
        return [Finding("not looked for", said, f"They are in up to {_COMPARED:,}.")], []
    every = [(split, sample) for split, samples in splits.items() for sample in samples]
    traces = {at: traces_of(sample.text or "", sample.label) for at, (_, sample) in enumerate(every)}
    pairs: list[tuple[Sample, Sample, float]] = []
    for kept, tested in (("train", "val"), ("train", "test"), ("val", "test")):
        known, asked = ({at: traces[at] for at in traces if every[at][0] == split} for split in (kept, tested))
        for at, other, alike in near_copies(known, asked):
            one, two = every[at][1], every[other][1]
            if one.question != two.question:
                pairs.append((one, two, alike))
    if not pairs:
        return [], []
    pairs.sort(key=lambda pair: (-pair[2], pair[1].name))
    what = "question of val or test is in train", "questions of val or test are in train"
    said = f"{number_of(len(pairs), *what)} in nearly the same words, with the same answer: "
    said += ", ".join(f"{b.name} and {a.name}" for a, b, _ in pairs[:3]) + (" ..." if len(pairs) > 3 else "") + "."
    fix = "Exclude those in train, or keep what belongs together in one split: data.group_by."
    issues = {a.name: Issue(a.name, "near-duplicate", alike, a.label, f"as {b.name}") for a, b, alike in pairs}
    return [Finding("near-duplicate", said, fix)], list(issues.values())


# Answers have no classes: what is said of these is what is said of a task that is not known.
about_trait, suspects, record = unknown.about_trait, unknown.suspects, unknown.record


def grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Return some samples without a secret, in one group."""
    some = list(samples)[:_CANDIDATES]
    return {"": [s for s in some if not any(next(secrets_in(text), None) for _, text in s.content)]}
