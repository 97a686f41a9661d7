"""A folder or a CSV becomes samples, or a message that says why not."""

import logging
import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from conftest import files_below, write_pictures
from ft_lightning.data import folders
from ft_lightning.data.collect import nested_folders
from ft_lightning.data.folders import left_out, unused
from ft_lightning.data.labels import Labels
from ft_lightning.data.scan import (
    SPLITS,
    Entry,
    Listing,
    OnProblem,
    base_of,
    scan,
    split_called,
    without_special,
)
from ft_lightning.data.sources import find_images
from ft_lightning.data.split import by_split, refuse_conflicting_labels
from ft_lightning.data.text_sources import reading
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass


def scanned(root: Path | str | None, csv: Path | None = None, case_sensitive: bool = False) -> list[Sample]:
    return scan(find_images, root, csv, Labels(case_sensitive=case_sensitive))  # type: ignore[arg-type] # Hydra gives texts, paths do too


def classes(samples: list[Sample]) -> list[str]:
    return MultiClass.of({split: [s.label for s in those] for split, those in by_split(samples).items()}).class_names


def names(samples: list) -> list[str]:
    return [sample.name for sample in samples]


def test_class_folders_are_read_to_their_depths(pictures: Path) -> None:
    (pictures / "ant" / "deep").mkdir()
    (pictures / "ant" / "00.png").rename(pictures / "ant" / "deep" / "00.PNG")
    samples = scanned(pictures, case_sensitive=False)
    assert len(samples) == 36
    assert "ant/deep/00.PNG" in names(samples)
    assert {sample.label for sample in samples} == {"ant", "bee", "cat"}
    assert {sample.split for sample in samples} == {None}


def test_the_home_directory_may_be_written_as_a_tilde(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(pictures.parent))
    monkeypatch.setenv("USERPROFILE", str(pictures.parent))
    assert len(scanned("~/pictures")) == 36


def test_split_folders_are_recognised(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val", "test")):
        write_pictures(tmp_path / split, {"a": 2, "b": 2}, seed=number)
    assert {sample.split for sample in scanned(tmp_path)} == {"train", "val", "test"}


def test_splits_without_class_folders_are_not_taken_for_classes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "flat", {"train": 2, "test": 2})
    with pytest.raises(UserError, match="test, train read as splits but hold no class folders"):
        scanned(tmp_path / "flat")
    write_pictures(tmp_path / "kaggle/train", {"cat": 2, "dog": 2})
    write_pictures(tmp_path / "kaggle", {"test": 2})
    with pytest.raises(UserError, match=r"no class folders in .*test, 2 images lie directly in it"):
        scanned(tmp_path / "kaggle")


def test_a_stray_picture_does_not_turn_splits_into_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, split in enumerate(("train", "test")):
        write_pictures(tmp_path / split, {"a": 2, "b": 2}, seed=number)
    Image.new("L", (4, 4)).save(tmp_path / "train" / "sheet.png")
    assert {sample.split for sample in scanned(tmp_path)} == {"train", "test"}
    assert "sheet.png" in caplog.text


@pytest.mark.promise(14)
def test_hidden_and_system_files_are_neither_classes_nor_samples(pictures: Path) -> None:
    before = names(scanned(pictures))
    for path in (
        ".ipynb_checkpoints/x.png",
        "__MACOSX/x.png",
        "ant/._00.png",
        "ant/Thumbs.db",
        "ant/desktop.ini",
        "ant/.hidden/x.png",
    ):
        (pictures / path).parent.mkdir(parents=True, exist_ok=True)
        (pictures / path).write_bytes((pictures / "bee/00.png").read_bytes())
    assert names(scanned(pictures)) == before


@pytest.mark.promise(14)
def test_unsupported_images_and_stray_ones_are_reported(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    (pictures / "ant" / "phone.HEIC").write_bytes(b"x")
    Image.new("L", (4, 4)).save(pictures / "stray.png")
    with caplog.at_level(logging.WARNING):
        assert len(scanned(pictures)) == 36
    assert "1 .heic" in caplog.text
    assert "stray.png" in caplog.text


@pytest.mark.promise(16)
def test_a_link_cycle_ends_with_the_exact_count(pictures: Path) -> None:
    (pictures / "ant" / "again").symlink_to(pictures / "ant", target_is_directory=True)
    (pictures / "ant" / "up").symlink_to(pictures / "ant" / "again", target_is_directory=True)
    assert len(scanned(pictures)) == 36


def test_links_out_of_a_class_add_nothing_to_it(pictures: Path, tmp_path: Path) -> None:
    for number, target in enumerate((pictures, tmp_path, Path("/"), pictures / "bee")):
        (pictures / "ant" / f"link{number}").symlink_to(target, target_is_directory=True)
    assert Counter(sample.label for sample in scanned(pictures)) == {"ant": 12, "bee": 12, "cat": 12}


def test_a_link_to_pictures_elsewhere_is_followed(pictures: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "elsewhere", {"more": 3}, seed=1)
    (pictures / "ant" / "more").symlink_to(tmp_path / "elsewhere" / "more", target_is_directory=True)
    samples = scanned(pictures)
    assert len(samples) == 39
    assert "ant/more/00.png" in names(samples)


def test_all_broken_links_are_found(pictures: Path) -> None:
    for name in ("ant", "bee", "cat"):
        (pictures / name / "gone.png").symlink_to("nowhere.png")
    samples = scanned(pictures)
    assert len(samples) == 39
    found = {sample.name: sample for sample in samples if sample.problem}
    assert sorted(found) == ["ant/gone.png", "bee/gone.png", "cat/gone.png"]
    assert {sample.problem for sample in found.values()} == {"a link that leads to nothing"}
    assert len({sample.digest for sample in found.values()}) == 3, "they have no bytes to tell them apart by"
    assert found["ant/gone.png"] in scanned(pictures), "and are the same the next time"


def test_what_is_no_file_with_bytes_is_a_sample_with_a_problem(pictures: Path) -> None:
    (pictures / "ant/empty.png").touch()
    (pictures / "ant/itself.png").symlink_to("itself.png")
    os.mkfifo(pictures / "ant/pipe.png")
    said = {sample.name: sample.problem for sample in scanned(pictures) if sample.problem}
    assert said.keys() == {"ant/empty.png", "ant/itself.png", "ant/pipe.png"}
    assert said["ant/empty.png"] == "an empty file"
    assert "symbolic links" in said["ant/itself.png"]
    assert said["ant/pipe.png"] == "not a file"


def test_a_folder_that_cannot_be_listed_is_named(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.scandir

    def refused(folder: Path) -> object:
        if Path(folder).name == "bee":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    with monkeypatch.context() as patched:  # not beyond the test: pytest removes its folders by it
        patched.setattr(os, "scandir", refused)
        with pytest.raises(UserError, match=r"bee: the folder cannot be listed \(Permission denied\)"):
            scanned(pictures)


def test_unsupported_images_are_reported_once_for_the_whole_dataset(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ant", "bee", "cat"):
        (pictures / name / "phone.heic").write_bytes(b"x")
        (pictures / name / "notes.txt").write_text("not of interest")
    (pictures / "cat" / "drawing.SVG").write_bytes(b"x")
    assert len(scanned(pictures)) == 36
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "7 files have no name of an image" in record.getMessage()
    assert "(3 .heic, 1 .svg, 3 .txt)" in record.getMessage()
    assert str(pictures / "ant" / "phone.heic") in record.getMessage(), "those that may be images come first"


def test_a_class_may_be_called_train_beside_others(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"train": 2, "bus": 2, "car": 2})
    assert {(s.label, s.split) for s in scanned(tmp_path)} == {("train", None), ("bus", None), ("car", None)}


@pytest.mark.parametrize("called", ["Train", "training", "valid", "Validation", "dev", "TEST", "testing"])
def test_folders_that_are_nearly_called_as_splits_are_used_as_them_with_a_word(
    tmp_path: Path, called: str, caplog: pytest.LogCaptureFixture
) -> None:
    meant = split_called(called)
    for number, split in enumerate(SPLITS):
        write_pictures(tmp_path / (called if split == meant else split), {"a": 2, "b": 2}, seed=number)
    samples = scanned(tmp_path)
    assert Counter(sample.split for sample in samples) == {"train": 4, "val": 4, "test": 4}
    assert {sample.split for sample in samples if sample.name.startswith(called)} == {meant}
    assert f"{tmp_path / called} is used as {meant}" in caplog.text


@pytest.mark.parametrize("two", [("val", "valid"), ("Train", "training"), ("test", "TEST")])
def test_two_folders_for_one_split_are_refused(tmp_path: Path, two: tuple[str, str]) -> None:
    for number, name in enumerate({"train", "val", *two}):
        write_pictures(tmp_path / name, {"a": 2, "b": 2}, seed=number)
    with pytest.raises(UserError, match=rf"the folders .*{two[1]}.* both read as {split_called(two[1])}"):
        scanned(tmp_path)


def test_a_folder_beside_the_splits_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pictures(tmp_path / "train", {"a": 2, "b": 2})
    write_pictures(tmp_path / "unlabeled", {"x": 2})
    assert {(s.label, s.split) for s in scanned(tmp_path)} == {("a", "train"), ("b", "train")}
    assert "unlabeled" in caplog.text


def test_a_test_folder_alone_can_be_scanned_but_not_learned_from(tmp_path: Path) -> None:
    write_pictures(tmp_path / "test", {"a": 2, "b": 2})
    samples = scanned(tmp_path)
    assert {sample.split for sample in samples} == {"test"}
    with pytest.raises(UserError, match="no train split"):
        classes(samples)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_name_that_is_no_text_is_refused_before_anything_has_to_be_written(pictures: Path) -> None:
    (pictures / "ant/00.png").rename(pictures / "ant" / os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(UserError, match=r"1 file name is not valid UTF-8: .*caf\\udce9"):
        scanned(pictures)


@pytest.mark.promise(15)
def test_names_with_spaces_letters_of_the_world_and_200_characters(tmp_path: Path) -> None:
    names = ["with space", "größe 猫", "x" * 200]
    write_pictures(tmp_path, dict.fromkeys(names, 2))
    assert classes(scanned(tmp_path)) == sorted(names)


@pytest.mark.promise(15)
@pytest.mark.parametrize(
    ("classes", "case_sensitive"),
    [
        (("caf\u00e9", "cafe\u0301"), True),
        (("cat", "cat "), True),
        (("Cat", "cat"), False),
        (("a cat", "a\u00a0cat"), True),
        (("a cat", "a  cat"), True),
        (("cat", "cat\u200b"), True),
        (("\u2764", "\u2764\ufe0f"), True),
        (("a cat", "A\u00a0Cat"), False),
    ],
)
def test_class_names_that_read_the_same_are_refused(
    tmp_path: Path, classes: tuple[str, str], case_sensitive: bool
) -> None:
    write_pictures(tmp_path, dict.fromkeys(classes, 2))
    with pytest.raises(UserError, match="read the same"):
        scanned(tmp_path, case_sensitive=case_sensitive)


@pytest.mark.parametrize("name", [" ", "\u3000", "\u200b", " \u200d "])
def test_a_class_without_a_visible_name_is_refused(tmp_path: Path, name: str) -> None:
    write_pictures(tmp_path, {"cat": 2, name: 2})
    with pytest.raises(UserError, match="a label is a text, and not empty"):
        scanned(tmp_path)


def test_files_beside_the_folders_are_counted_at_each_level(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pictures(tmp_path / "train", {"a": 2, "b": 2})
    for name in ("sheet.png", "readme.md", "train/over.jpg", "train/.hidden", "train/a/notes", "x/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(scanned(tmp_path)) == 4
    for said in (
        f"2 images beside the class folders are not used: {tmp_path / 'sheet.png'}, {tmp_path / 'train/over.jpg'}",
        "2 files have no name of an image",
        "(1 .md, 1 without a suffix)",
        f"1 hidden or system file is not used: {tmp_path / 'train/.hidden'}",
        "1 folder beside train is not used: x",
    ):
        assert said in caplog.text


@pytest.mark.promise(15)
def test_case_can_be_meant(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"Cat": 2, "cat": 2})
    assert classes(scanned(tmp_path, case_sensitive=True)) == ["Cat", "cat"]


@pytest.mark.promise(18)
def test_what_cannot_be_trained_is_said_in_clear_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        scanned(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a file, not a folder"):
        scanned(tmp_path / "file")
    with pytest.raises(UserError, match="no class folders"):
        scanned(tmp_path)
    write_pictures(tmp_path / "one", {"a": 2})
    with pytest.raises(UserError, match="one class only"):
        classes(scanned(tmp_path / "one"))
    (tmp_path / "one" / "empty").mkdir()
    with pytest.raises(UserError, match="empty: a class folder without images"):
        scanned(tmp_path / "one")


@pytest.mark.promise(9)
def test_a_class_that_train_does_not_know_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", {"a": 2, "b": 2})
    write_pictures(tmp_path / "val", {"a": 2, "zebra": 2}, seed=1)
    with pytest.raises(UserError, match="val split has 1 class that train does not know: zebra"):
        classes(scanned(tmp_path))


def test_a_picture_with_two_labels_is_refused(pictures: Path) -> None:
    (pictures / "bee" / "copy.png").write_bytes((pictures / "ant" / "00.png").read_bytes())
    with pytest.raises(UserError, match=r"ant/00\.png and bee/copy\.png"):
        refuse_conflicting_labels(scanned(pictures))


def test_scanning_writes_nothing(pictures: Path) -> None:
    before = {name: (pictures / name).stat().st_mtime_ns for name in files_below(pictures)}
    scanned(pictures)
    assert {name: (pictures / name).stat().st_mtime_ns for name in files_below(pictures)} == before


def test_a_source_of_ones_own_lists_files(pictures: Path) -> None:
    def find_two(root: str | None, csv: str | None, on_problem: OnProblem) -> Listing:
        assert csv is None
        assert on_problem
        absolute = pictures / "bee" / ".." / "bee" / "00.png"
        return Listing([Entry("ant/00.png", " a", group="g"), Entry(str(absolute), "b")], Path(str(root)))

    found = scan(find_two, str(pictures), None, Labels())
    assert [(s.name, s.label, s.split, s.group) for s in found] == [
        ("ant/00.png", "a", None, "g"), ("bee/00.png", "b", None, None),
    ]  # fmt: skip
    assert [Path(sample.path) for sample in found] == [pictures / "ant" / "00.png", pictures / "bee" / "00.png"]


@pytest.mark.parametrize("label", [None, "", " ", 1])
def test_a_source_without_a_label_is_explained(pictures: Path, label: object) -> None:
    blank = isinstance(label, str)
    said = r"1 sample has no label: bee/00\.png" if blank else r"bee/00\.png has the label .*"
    listing = Listing([Entry("ant/00.png", "a"), Entry("bee/00.png", label)], pictures)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"data.root=/somewhere: {said}; a label is a text, "):
        scan(lambda *_: listing, "/somewhere", None, Labels())


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([Entry("ant/00.png", "a", "valid")], "split 'valid' is unknown"),
        ([Entry("ant/00.png", "a", "train"), Entry("bee/00.png", "b")], "some files have a split and some have none"),
        ([Entry("ant/00.png", "a"), Entry("ant/../ant/00.png", "b")], "1 file more than once: .*ant/00.png"),
        ([("ant/00.png", "a")], r"data\.find lists \('ant/00.png', 'a'\): make it an Entry"),
        ([], "no image is listed"),
    ],
)
def test_what_a_source_of_ones_own_may_not_list_is_told(entries: list, said: str, pictures: Path) -> None:
    with pytest.raises(UserError, match=said):
        scan(lambda *_: Listing(entries, pictures), str(pictures), None, Labels())


def test_a_source_of_ones_own_that_finds_nothing_or_returns_something_else_is_told(pictures: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=/nowhere cannot be read: .*No such file.*labels\.jsonl"):
        scan(lambda root, *_: Path(root, "labels.jsonl").read_text(), "/nowhere", None, Labels())  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"data\.find returned a list: make it return a Listing"):
        scan(lambda *_: [], str(pictures), None, Labels())  # type: ignore[arg-type, return-value]
    found = scan(lambda *_: Listing((Entry("ant/00.png", "a") for _ in "a"), pictures), None, None, Labels())  # type: ignore[arg-type]
    assert [sample.name for sample in found] == ["ant/00.png"], "of a generator too"
    assert base_of(found) == str(pictures), "where it is, without root and table"
    assert base_of([]) is None


def test_a_source_without_root_and_table_is_called_by_its_name(pictures: Path) -> None:
    def in_a_database(root: str | None, csv: str | None, on_problem: OnProblem, database: str) -> Listing:
        return Listing([Entry("ant/00.png", "cat"), Entry("bee/00.png", "Cat")], pictures)

    for find in (partial(in_a_database, database="x.db"), reading(partial(in_a_database, database="x.db"))):
        with pytest.raises(UserError, match=r"^data\.find=in_a_database: the labels 'Cat' and 'cat' read the same"):
            scan(find, None, None, Labels())


def test_class_names_of_a_source_are_checked(pictures: Path) -> None:
    listing = Listing([Entry("ant/00.png", "cat"), Entry("bee/00.png", "Cat")], pictures)
    with pytest.raises(UserError, match=r"data\.csv=table: the labels 'Cat' and 'cat' read the same"):
        scan(lambda *_: listing, None, "table", Labels())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_alone_is_passed_over(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(pictures / "ant/pipe.png")
    (pictures / "ant/00.png").write_bytes(b"")  # a file all the same
    found = scanned(pictures)
    with caplog.at_level(logging.WARNING):
        kept = without_special(found)
    assert sorted({*names(found)} - {*names(kept)}) == ["ant/pipe.png"]
    assert "1 is no file and passed over: ant/pipe.png" in caplog.text


def test_files_that_links_lead_to_count_as_used(tmp_path: Path) -> None:
    write_pictures(tmp_path / "real", {"a": 2})
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/a/link.png").symlink_to(tmp_path / "real/a/00.png")
    (tmp_path / "root/more").symlink_to(tmp_path / "real/a")
    assert unused(tmp_path / "root", [str(tmp_path / "root/a/link.png")]) == ["more/01.png"]


@pytest.mark.parametrize(
    ("names", "install"), [(["a.heic", "b.txt"], True), (["a.HEIF"], True), (["b.txt"], False), (["c.avif"], False)]
)
def test_a_package_is_named_to_those_who_have_images_that_it_reads(
    names: list[str], install: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "UNSUPPORTED", frozenset({".heic", ".heif", ".avif"}))
    assert (
        "convert them to PNG or JPEG, or pip install pillow-heif" in left_out(list(map(Path, names)), [])
    ) == install


@pytest.mark.parametrize(
    ("names", "label", "split", "nested"),
    [
        (["ant/x/1.png", "ant/y/2.png"], "ant", None, {"ant": ["x", "y"]}),
        (["ant/x/1.png", "ant/y/2.png"], "bee", None, {}),  # the label is of a table
        (["ant/x/1.png", "ant/y/2.png"], "ant", "val", {"ant": ["x", "y"]}),  # the split is of a table
        (["ant/x/1.png", "ant/2.png"], "ant", None, {}),
        (["ant/x/1.png", "ant/x/2.png"], "ant", None, {}),
        (["train/ant/x/1.png", "train/ant/y/2.png"], "ant", "train", {"train/ant": ["x", "y"]}),
        (["Training/ant/x/1.png", "Training/ant/y/2.png"], "ant", "train", {"Training/ant": ["x", "y"]}),
        (["train/ant/1.png", "train/bee/2.png"], "train", None, {"train": ["ant", "bee"]}),
        (["photos/train/1.png"], "photos", None, {"photos": ["train"]}),
    ],
)
def test_a_class_folder_of_folders_alone_is_nested(
    names: list[str], label: str, split: str | None, nested: dict[str, list[str]]
) -> None:
    assert nested_folders(Sample(f"/d/{name}", name, label, name, split) for name in names) == nested
