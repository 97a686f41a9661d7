"""Fifty questions and answers of a library that does not exist, and a file of conversations with every fault."""

import json
from pathlib import Path
from typing import Any

FIFTY = """\
When do you open?|At nine.
When do you close?|At six.
Are you open on Sundays?|No, we are closed on Sundays.
Are you open on Saturdays?|Yes, until one.
Where are you?|7 Mill Lane, behind the church.
Is there a car park?|Yes, for twelve cars.
May I bring my dog?|Only a guide dog.
How do I join?|Bring a passport and ten minutes.
What does it cost to join?|Nothing.
Who may join?|Everybody above five years of age.
How many books may I borrow?|Eight.
For how long may I keep a book?|For four weeks.
Can I renew a book?|Twice, if nobody waits for it.
How do I renew a book?|On the telephone or in person.
What if I am late?|Ten cents a day for each book.
What if I lose a book?|You pay for a new one.
What if a book is damaged?|Tell us when you bring it back.
Can I reserve a book?|Yes, for fifty cents.
How many films may I borrow?|Two.
For how long may I keep a film?|For one week.
Do you lend games?|Yes, one at a time.
Do you lend instruments?|Only recorders.
Do you have newspapers?|Five, in the reading room.
Do you have old newspapers?|Back to 1903, on film.
Is there a copier?|Yes, ten cents a page.
Can I print?|Yes, from any of the three computers.
Can I use the internet?|For one hour a day.
What is the password of the network?|Ask at the desk.
Is there a place to work?|Upstairs, with twenty desks.
May I eat there?|No, only water is allowed.
Is there coffee?|From a machine in the hall.
Is it quiet?|Upstairs it is.
Is there a lift?|Yes, on the left.
Is there a toilet?|In the cellar.
Do you read to children?|Every Tuesday at three.
How long is the reading?|Half an hour.
Which languages do you have?|English, Polish and Urdu.
Do you have large print?|One shelf, near the window.
Do you have books to listen to?|About six hundred.
Do you deliver?|To people who cannot come.
Can I give you books?|On the first Monday of a month.
Do you buy what I wish for?|Often: fill in the green card.
Do you sell books?|Each May, for a euro.
Who runs the library?|Mrs Adeyemi.
How old is the library?|It opened in 1898.
How many books do you have?|Forty-one thousand.
Can I hire a room?|The small hall, for twenty euros.
Is there a book club?|Every second Thursday.
May I take photographs?|Yes, but not of people.
What do I do when I am bored?|Read."""

Pair = tuple[str, str]


def fifty() -> list[Pair]:
    return [(question, answer) for question, _, answer in (line.partition("|") for line in FIFTY.splitlines())]


def write_lines(table: Path, rows: list[dict[str, Any]]) -> Path:
    table.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return table


def turns(*said: str, first: str = "user") -> list[dict[str, str]]:
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    return [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]


# Rows of {"messages"}, and what train says of those that it cannot use.
ODD_CONVERSATIONS: list[tuple[list[dict[str, str]], str]] = [
    (turns("Hi", "Hello", "How are you?", "Fine."), ""),
    (turns("Zeig 🙂", "🙂👩‍👩‍👧"), ""),
    (turns("一加一？", "二。"), ""),
    (turns("مرحبا", "أهلا"), ""),
    (turns("Hello", "Hi", first="assistant"), "user and assistant take turns"),
    ([*turns("Hi", "Ho"), *turns("again", first="assistant")], "user and assistant take turns"),
    (turns("Hi", ""), "the answer is empty"),
    (turns("Hi", "Ho", "And?"), "it ends without an answer"),
    (turns("Say it.", "word " * 10_000), "too long: "),
    (turns("word " * 10_000, "No."), "too long: "),
]
