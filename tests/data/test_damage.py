"""Which pictures cannot be used: what is known, what is decoded, what the memo is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from data.test_module import PREPROCESS, datamodule
from ft_lightning.callbacks.stored_features import _check_images, _refuse_differences
from ft_lightning.data import damage
from ft_lightning.data.damage import ImageCheck
from ft_lightning.data.datasets import PathsDataset
from ft_lightning.data.memo import Memo
from ft_lightning.data.scan import scan_folder
from ft_lightning.readers.sample import Sample


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were decoded."""
    seen: list[str] = []
    whole = damage.look_at

    def counted(path: str, max_pixels: int, digest: str | None = None) -> Any:
        seen.append(path)
        return whole(path, max_pixels, digest)

    monkeypatch.setattr(damage, "look_at", counted)
    return seen


def settled(check: ImageCheck, samples: list[Sample]) -> dict[str, str]:
    check.begin(samples, decode=True, show_progress=False)
    return {sample.name: check.problem(sample) for sample in samples if check.problem(sample)}


def test_each_content_is_decoded_once_and_never_again(pictures: Path, tmp_path: Path, decoded: list[str]) -> None:
    (pictures / "ant/bad.png").write_bytes((pictures / "ant/00.png").read_bytes()[:90])
    (pictures / "ant/copy.png").write_bytes((pictures / "ant/bad.png").read_bytes())
    samples = scan_folder(pictures, False)
    memo = Memo(tmp_path / "memo.sqlite", True)
    found = settled(ImageCheck(memo, 10**6), samples)
    assert found.keys() == {"ant/bad.png", "ant/copy.png"}
    assert len(decoded) == 37
    decoded.clear()
    assert settled(ImageCheck(memo, 10**6), samples) == found
    assert not decoded
    assert len(settled(ImageCheck(None, 10**6), samples)) == 2
    assert len(decoded) == 37, "without a memo each process looks itself"


def test_a_remembered_problem_has_all_others_looked_at_and_none_leaves_them(
    pictures: Path, tmp_path: Path, decoded: list[str]
) -> None:
    memo = Memo(tmp_path / "memo.sqlite", True)
    samples = scan_folder(pictures, False)
    check = ImageCheck(memo, 10**6)
    check.begin(samples, decode=False, show_progress=False)
    assert not decoded, "something else will decode them"
    check.look(samples[:5], show_progress=False)
    ImageCheck(memo, 1000).begin(samples, decode=False, show_progress=False)  # five are too large now
    assert len(decoded) == 36
    assert len(set(decoded)) == 36


def test_a_limit_is_not_remembered(pictures: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.sqlite", True)
    samples = scan_folder(pictures, False)
    assert len(settled(ImageCheck(memo, 1000), samples)) == 36
    assert not settled(ImageCheck(memo, 10**6), samples)
    assert len(settled(ImageCheck(memo, 1000), samples)) == 36


def test_a_file_that_changed_is_named_and_looked_at_anew_the_next_time(pictures: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.sqlite", True)
    path = str(pictures / "ant/00.png")
    samples = scan_folder(pictures, False)
    memo.remember_files([(path, 1, 1, samples[0].digest)])
    Path(path).write_bytes(Path(pictures / "ant/01.png").read_bytes())
    found = settled(ImageCheck(memo, 10**6), samples)
    assert found == {"ant/00.png": "changed since the dataset was looked through; start again"}
    assert not memo.digest_of([path])
    assert not memo.looks([samples[0].digest]), "nothing is known of the bytes that are gone"


def test_equal_files_of_which_one_changed_are_told_apart(pictures: Path) -> None:
    (pictures / "ant/zz.png").write_bytes((pictures / "ant/00.png").read_bytes())
    samples = scan_folder(pictures, False)
    (pictures / "ant/00.png").unlink()
    assert settled(ImageCheck(None, 10**6), samples) == {"ant/00.png": "cannot be read (No such file or directory)"}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_feature_pass_teaches_the_same_as_looking(pictures: Path, tmp_path: Path, workers: int) -> None:
    (pictures / "ant/00.png").write_bytes(b"no picture")
    samples = scan_folder(pictures, False)
    found = []
    for name, batchwise in (("one", False), ("two", True)):
        memo = Memo(tmp_path / name, True)
        check = ImageCheck(memo, 10**6)
        if batchwise:
            dataset = PathsDataset([s.path for s in samples], PREPROCESS, 10**6, [s.digest for s in samples])
            for batch in DataLoader(dataset, 8, num_workers=workers):
                check.learn_batch([samples[i] for i in batch["index"]], batch)
            check.flush()
        else:
            check.look(samples, show_progress=False)
        found.append((memo.looks([s.digest for s in samples]), [check.problem(s) for s in samples]))
    assert found[0] == found[1]
    assert len(found[0][0]) == 36


class Process:
    """One of two processes."""

    def __init__(self, rank: int) -> None:
        self.global_rank, self.world_size = rank, 2


def others(monkeypatch: pytest.MonkeyPatch, gather: Callable[[Any], list[Any]]) -> None:
    """Tell by hand what the processes of a run tell each other."""
    monkeypatch.setattr("ft_lightning.callbacks.stored_features.gather_objects", lambda own, world_size: gather(own))


def test_processes_look_at_all_pictures_together_and_hear_of_each_other(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    (pictures / "ant/00.png").write_bytes(b"no picture")
    told: list[Any] = []
    others(monkeypatch, lambda own: told.append(own) or [own])
    shares = []
    for rank in (0, 1):
        data: Any = datamodule(pictures)
        monkeypatch.setattr(type(data), "refuse_problems", lambda self: None)
        _check_images(Process(rank), data, set(), False)  # type: ignore[arg-type]
        shares.append(set(decoded))
        decoded.clear()
    assert not shares[0] & shares[1]
    assert shares[0] | shares[1] == {str(path) for path in pictures.rglob("*.png")}
    everything: Any = datamodule(pictures)
    everything.check.share(lambda own: [own, *told])
    assert [problem.path for problem in everything.check.problems(everything.splits)] == [str(pictures / "ant/00.png")]


def test_processes_that_left_out_different_pictures_stop(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pictures / "ant/00.png").write_bytes(b"no picture")
    data = datamodule(pictures, on_bad_image="skip")
    assert [problem.path for problem in data.left_out] == [str(pictures / "ant/00.png")]
    others(monkeypatch, lambda own: [own, own])
    _refuse_differences(Process(0), data)  # type: ignore[arg-type]
    others(monkeypatch, lambda own: [own, []])
    with pytest.raises(Exception, match="1 images can be read by some processes of this run and not by others"):
        _refuse_differences(Process(0), data)  # type: ignore[arg-type]
