"""Which pictures cannot be used: what is known, what is decoded, what the memo is told."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from data.test_module import PREPROCESS, datamodule
from ft_lightning.callbacks.stored_features import _refuse_differences
from ft_lightning.data import kinds
from ft_lightning.data.datasets import InspectedDataset, collating
from ft_lightning.data.kinds import IMAGES, skips
from ft_lightning.data.labels import Labels
from ft_lightning.data.memo import Memo
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.data.scan import scan
from ft_lightning.data.sources import find_images
from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.readers.sample import Inspection, Sample
from ft_lightning.system.distributed import Processes
from ft_lightning.system.errors import UserError


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were decoded."""
    seen: list[str] = []
    whole = kinds.inspect_image

    def counted(path: str, max_pixels: int, digest: str | None = None) -> Any:
        seen.append(path)
        return whole(path, max_pixels, digest)

    monkeypatch.setattr(kinds, "inspect_image", counted)
    return seen


def inspected(samples: list[Sample], memo: Memo | None, max_pixels: int = 10**6) -> dict[str, str]:
    inspector = IMAGES.inspector({"": samples}, memo, {"max_pixels": max_pixels})
    inspector.decode_unknown(show_progress=False)
    return {sample.name: inspector.problem(sample) for sample in samples if inspector.problem(sample)}


def test_each_content_is_decoded_once_and_never_again(pictures: Path, tmp_path: Path, decoded: list[str]) -> None:
    (pictures / "ant/bad.png").write_bytes((pictures / "ant/00.png").read_bytes()[:90])
    (pictures / "ant/copy.png").write_bytes((pictures / "ant/bad.png").read_bytes())
    samples = scan(find_images, str(pictures), None, Labels())
    memo = Memo(tmp_path / "memo.sqlite", True)
    found = inspected(samples, memo)
    assert found.keys() == {"ant/bad.png", "ant/copy.png"}
    assert len(decoded) == 37
    decoded.clear()
    assert inspected(samples, memo) == found
    assert not decoded
    assert len(inspected(samples, None)) == 2
    assert len(decoded) == 37, "without a memo each process looks itself"


def test_a_remembered_problem_has_all_others_looked_at_and_none_leaves_them(
    pictures: Path, tmp_path: Path, decoded: list[str]
) -> None:
    memo = Memo(tmp_path / "memo.sqlite", True)
    samples = scan(find_images, str(pictures), None, Labels())
    IMAGES.inspector({"": samples}, memo, {"max_pixels": 10**6}).refuse_known(show_progress=False)
    assert not decoded, "something else will decode them"
    IMAGES.inspector({"": samples[:5]}, memo, {"max_pixels": 10**6}).decode_unknown(show_progress=False)
    with pytest.raises(DataProblemsError, match="36 of 36 images cannot be used"):
        IMAGES.inspector({"": samples}, memo, {"max_pixels": 1000}).refuse_known(
            show_progress=False
        )  # five were known to be too large now
    assert len(decoded) == 36
    assert len(set(decoded)) == 36


def test_a_limit_is_not_remembered(pictures: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.sqlite", True)
    samples = scan(find_images, str(pictures), None, Labels())
    assert len(inspected(samples, memo, 1000)) == 36
    assert not inspected(samples, memo)
    assert len(inspected(samples, memo, 1000)) == 36


def test_a_file_that_changed_is_named_and_looked_at_anew_the_next_time(pictures: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.sqlite", True)
    path = str(pictures / "ant/00.png")
    samples = scan(find_images, str(pictures), None, Labels())
    memo.remember_files([(path, 1, 1, samples[0].digest)])
    Path(path).write_bytes(Path(pictures / "ant/01.png").read_bytes())
    found = inspected(samples, memo)
    assert found == {"ant/00.png": "changed since the dataset was looked through; start again"}
    assert not memo.digest_of([path])
    assert not memo.inspections([samples[0].digest]), "nothing is known of the bytes that are gone"


def test_equal_files_of_which_one_changed_are_told_apart(pictures: Path) -> None:
    (pictures / "ant/zz.png").write_bytes((pictures / "ant/00.png").read_bytes())
    samples = scan(find_images, str(pictures), None, Labels())
    (pictures / "ant/00.png").unlink()
    assert inspected(samples, None) == {"ant/00.png": "cannot be read (No such file or directory)"}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_feature_pass_teaches_the_same_as_looking(pictures: Path, tmp_path: Path, workers: int) -> None:
    (pictures / "ant/00.png").write_bytes(b"no picture")
    samples = scan(find_images, str(pictures), None, Labels())
    found = []
    for name, batchwise in (("one", False), ("two", True)):
        memo = Memo(tmp_path / name, True)
        inspector = IMAGES.inspector({"": samples}, memo, {"max_pixels": 10**6})
        if batchwise:
            reader = ImageReader(PREPROCESS)
            dataset = InspectedDataset(samples, reader)
            for batch in DataLoader(dataset, 8, num_workers=workers, collate_fn=collating(reader)):
                inspector.record_batch([samples[i] for i in batch["index"]], batch)
            inspector.flush()
        else:
            inspector.decode_unknown(show_progress=False)
        found.append((memo.inspections([s.digest for s in samples]), [inspector.problem(s) for s in samples]))
    assert found[0] == found[1]
    assert len(found[0][0]) == 36


class Told(Processes):
    """One of two processes, to which the test says what the other one knows."""

    def __init__(self, rank: int, other: Any = None) -> None:
        super().__init__(rank, 2, rank, 2)
        object.__setattr__(self, "other", other)
        object.__setattr__(self, "said", [])

    def gather(self, own: Any) -> list[Any]:
        self.said.append(own)  # type: ignore[attr-defined]
        return [own] if self.other is None else [own, self.other]  # type: ignore[attr-defined]


def test_processes_look_at_all_images_together_and_learn_from_each_other(pictures: Path, decoded: list[str]) -> None:
    (pictures / "ant/00.png").write_bytes(b"no picture")
    shares, said = [], []
    for rank in (0, 1):
        data, processes = datamodule(pictures), Told(rank)
        with suppress(DataProblemsError):  # in the process that has decoded it
            data.inspector.settle(set(), show_progress=False, processes=processes)
        shares.append(set(decoded))
        said += processes.said  # type: ignore[attr-defined]
        decoded.clear()
    assert not shares[0] & shares[1]
    assert shares[0] | shares[1] == {str(path) for path in pictures.rglob("*.png")}
    bad = next(one for one in said if one[0] or one[1])
    inspector = datamodule(pictures).inspector
    inspector.share(Told(0, other=bad))
    assert [problem.path for problem in inspector.problems()] == [str(pictures / "ant/00.png")]


def test_processes_that_left_out_different_images_stop(pictures: Path) -> None:
    (pictures / "ant/00.png").write_bytes(b"no picture")
    data = datamodule(pictures, on_bad_image="skip")
    assert [problem.path for problem in data.left_out] == [str(pictures / "ant/00.png")]
    _refuse_differences(Told(0, other={str(pictures / "ant/00.png")}), data)
    with pytest.raises(UserError, match="1 image can be read by some processes of this run and not by others"):
        _refuse_differences(Told(0, other=set()), data)


@pytest.mark.parametrize(("policy", "share"), [("error", 0), ("skip", 1), ("skip", 0.05)])
def test_a_policy_that_can_be_followed_is_accepted(policy: str, share: float) -> None:
    skips(IMAGES, {"on_bad_image": policy, "max_bad_fraction": share})


@pytest.mark.parametrize(
    ("policy", "share", "said"),
    [
        ("skip", -0.01, "max_bad_fraction=-0.01"),
        ("skip", 1.01, "max_bad_fraction=1.01"),
        ("skip", "x", "max_bad_fraction=x"),
        ("leave", 0.5, "on_bad_image=leave"),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(policy: str, share: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        skips(IMAGES, {"on_bad_image": policy, "max_bad_fraction": share})


def test_what_is_left_out_counts_once_more_when_something_breaks_later(pictures: Path) -> None:
    (pictures / "ant/00.png").write_bytes(b"no picture")
    (pictures / "bee/00.png").write_bytes(b"no picture either")
    inspector = IMAGES.inspector({"": scan(find_images, str(pictures), None, Labels())}, None, {"max_pixels": 10**6})
    inspector.leave_out(2 / 36, lambda splits: [], show_progress=False)
    assert len(inspector.samples()) == 34
    (broken, *_) = inspector.samples()
    inspector.record([broken], [Inspection(0, 0, "", "torn", True)])
    with pytest.raises(DataProblemsError, match=r"^3 of 36 images cannot be used, more than data\.max_bad_fraction="):
        inspector.leave_out(2 / 36, lambda splits: [], show_progress=False)
    inspector.leave_out(3 / 36, lambda splits: [], show_progress=False)
    assert [len(inspector.samples()), len(inspector.left_out)] == [33, 3]
