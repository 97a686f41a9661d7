"""How pictures that cannot be used are told."""

import json
import pickle
from pathlib import Path

from ft_lightning.data.problems import DataProblemsError, Problem, write_problems

ONE = Problem("/d/ant/0.png", "ant", "train", "an empty file")


def error(count: int) -> DataProblemsError:
    problems = [Problem(f"/d/ant/{i}.png", "ant", "", "torn") for i in range(count)]
    return DataProblemsError(problems, "They cannot be used:", "Mend them.")


def test_a_line_has_path_class_split_and_what_is_wrong() -> None:
    assert str(ONE) == "/d/ant/0.png (label ant, train): an empty file."
    assert str(error(1)) == "They cannot be used:\n/d/ant/0.png (label ant): torn.\nMend them."


def test_a_flood_is_cut_and_the_file_has_all(tmp_path: Path) -> None:
    write_problems(error(1500).problems, tmp_path / "all.json")
    assert len(json.loads((tmp_path / "all.json").read_text())) == 1500
    lines = str(error(1500)).splitlines()
    assert len(lines) == 1003
    assert lines[-2] == "... and 500 more, in problems.json of the run's directory."


def test_a_name_cannot_write_lines_of_its_own() -> None:
    told = str(Problem("/d/a\n\x1b[2J.png", "b\rc", "", "torn"))
    assert told == "/d/a\\n\\x1b[2J.png (label b\\rc): torn."


def test_it_travels_between_processes() -> None:
    again = pickle.loads(pickle.dumps(error(2)))
    assert (str(again), again.problems, again.exit_code) == (str(error(2)), error(2).problems, 2)


def test_as_many_as_are_shown_are_not_cut() -> None:
    assert len(str(error(1000)).splitlines()) == 1002
    assert str(error(1001)).splitlines()[-2] == "... and 1 more, in problems.json of the run's directory."
