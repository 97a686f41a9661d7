"""What is said of folders, groups and files that are not used."""

from pathlib import Path

import pytest
from hydra.errors import InstantiationException

from conftest import write_pictures
from ft_lightning.cli.compose import compose
from ft_lightning.data.labels import Labels
from ft_lightning.data.scan import scan
from ft_lightning.data.sources import find_images
from ft_lightning.issues.by_task import label_issues
from ft_lightning.issues.layout import about_folder, about_groups, about_nesting, quick_findings
from ft_lightning.issues.traits import Trait
from ft_lightning.readers.sample import Sample
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.registry import TASKS
from ft_lightning.train import train
from issues.test_findings import kinds


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_every_file_that_is_not_used_is_told(tmp_path: Path) -> None:
    used = ["cat/1.png", "dog/1.png"]
    names = ["cat/notes.txt", "cat/2.heic", "loose.JPG", "new/3.png", ".hidden", "cat/Thumbs.db"]
    folder_of(tmp_path, *used, *names)
    (tmp_path / "cat/a").symlink_to(tmp_path / "dog", target_is_directory=True)
    found = about_folder(tmp_path, [Sample(str(tmp_path / name), name, name[:3], name, None) for name in used])
    assert kinds(found) == ["unused", "unsupported", "no image", "hidden"]
    assert "2 images are in no class folder and not used: loose.JPG, new/3.png." in found[0].said
    assert "cat/2.heic" in found[1].said
    assert "cat/notes.txt" in found[2].said
    assert ".hidden, cat/Thumbs.db" in found[3].said
    assert not any(finding.blocks for finding in found)


def test_names_in_findings_neither_clear_a_screen_nor_begin_a_line(tmp_path: Path) -> None:
    found = about_folder(folder_of(tmp_path, "x\x1b[2J", "a\nb"), [])
    assert "a\\nb, x\\x1b[2J" in found[0].said


def nested(root: Path, *folders: str) -> list[Sample]:
    for number, folder in enumerate(folders):
        write_pictures(root / folder, {"": 2}, seed=number)
    return scan(find_images, str(root), None, Labels())


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (["photos/cat", "photos/dog", "old/cat", "old/dog"], ["photos", "old", "cat", "dog"]),
        (["photos/train", "photos/test", "more/x", "more/y"], ["photos", "more", "train", "test"]),
        (["cat", "dog", "extra/cat", "extra/dog"], ["extra"]),
        (["set/train/cat", "set/train/dog", "dog"], ["set", "train"]),
        (["train/a/cat", "train/a/dog", "train/b", "val/b"], ["train/a", "cat", "dog"]),
        (["Training/a/cat", "Training/a/dog", "Training/b", "val/b"], ["Training/a"]),
    ],
)
def test_a_root_one_folder_too_high_is_named(tmp_path: Path, folders: list[str], named: list[str]) -> None:
    (found,) = about_nesting(nested(tmp_path, *folders))
    assert not found.blocks
    assert "data.root is one folder too high" in found.said
    for name in named:
        assert name in found.said


@pytest.mark.parametrize(
    "folders",
    [
        ["cat", "dog"],
        ["cat/images", "dog/images"],
        ["cat", "cat/persian", "cat/siamese", "dog"],
        ["train/cat", "train/dog", "val/cat"],
    ],
)
def test_folders_that_are_classes_are_not(tmp_path: Path, folders: list[str]) -> None:
    assert about_nesting(nested(tmp_path, *folders)) == []


def test_every_run_says_so_before_it_trains_and_one_class_that_holds_all_is_refused_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("photos", "old")):
        write_pictures(tmp_path / "root" / name, {"cat": 6, "dog": 6}, seed=number)
    tiny = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1"]
    (tmp_path / "run").mkdir()
    train(compose("train", f"data.root={tmp_path / 'root'}", *tiny), tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert "All images of old, photos lie in folders below (cat, dog)" in said
    write_pictures(tmp_path / "one" / "photos", {"cat": 4, "dog": 4}, seed=5)
    with pytest.raises(
        InstantiationException, match=r"one class only \(photos\).* All images of photos lie in folders below"
    ):
        train(compose("train", f"data.root={tmp_path / 'one'}", *tiny), tmp_path / "run")


def in_groups(*groups: str | None, label: str = "a") -> list[Sample]:
    names = [f"{label}/{number}.png" for number in range(len(groups))]
    return [Sample(f"/d/{name}", name, label, name, None, group) for name, group in zip(names, groups, strict=True)]


@pytest.mark.promise(39)
@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (in_groups(*(f"p{i // 4}" for i in range(80))), "80 images are in 20 groups of 4 (a 20)."),
        (in_groups(*(f"p{i}" for i in range(20))), "of 1 (a 20): each image is its own group in its class."),
        (
            in_groups("x", "y") + in_groups("x", "y", label="b"),
            "4 images are in 2 groups of 2 (a 2, b 2): each image is its own group in its class.",
        ),
        (in_groups(*(f"p{max(i, 1)}" for i in range(40))), "38 of them have one image of a class."),
        (in_groups(*(f"p{min(i, 20)}" for i in range(60))), "of 1 to 40 (a 21): one has more than half of them."),
        (in_groups(*(f"p{i % 3}" for i in range(30))), "30 images are in 3 groups of 10 (a 3): few for a."),
        (in_groups("p", None, "p", "q", "q"), "4 images are in 2 groups of 2 (a 2): few for a."),
    ],
)
def test_the_number_of_groups_is_said_and_what_is_odd_about_it(samples: list[Sample], said: str) -> None:
    (found,) = about_groups(samples, MultiClass)
    assert said in found.said
    assert bool(found.fix) == (": " in found.said)
    assert found in quick_findings(MultiClass(["a"], []), {"train": samples, "val": [], "test": []}, in_folders=True)


def test_nothing_is_said_where_there_are_no_groups() -> None:
    assert about_groups(in_groups(None, None), MultiClass) == []


def test_a_subclass_is_looked_at_like_its_task_and_nothing_is_said_of_what_no_module_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Grades(MultiClass):
        name = "grades"

    class Words:
        name = "words"

    for task in (Grades, Words):
        monkeypatch.setitem(TASKS, task.name, task)
    assert label_issues("grades") is label_issues("multiclass")
    nothing = label_issues("words")
    samples = in_groups(None, None)
    assert nothing.about_labels(MultiClass(["a"], []), {"train": samples, "val": [], "test": []}) == ([], [])
    assert nothing.about_trait(samples, Trait("colour mode", "Images", {}, "")) == []
    assert nothing.grouped(samples) == {"": samples}
