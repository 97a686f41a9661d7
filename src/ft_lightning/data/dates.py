"""Dates in many spellings and languages and the same in ISO 8601, as a table: made here, so of no licence."""

import datetime
import hashlib
import json
from pathlib import Path

from platformdirs import user_cache_path

from ft_lightning.system.files import replacing

COUNT = 1000
_ASKED = "Write as ISO 8601: "
_FIRST, _DAYS = datetime.date(1900, 1, 1), 73_000  # to 2099
_ONES = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth"
)
_TEENS = "sixteenth seventeenth eighteenth nineteenth"
_WORDS = [*_ONES.split(), *_TEENS.split(), "twentieth"]
_WORDS += [f"twenty-{one}" for one in _WORDS[:9]] + ["thirtieth", "thirty-first"]

# Of each language the months, the days of the week from Monday on, and spellings. No spelling leaves open which number
# is the day: numbers alone are written only with the year in front, or for days from 13 on.
_LANGUAGES: dict[str, tuple[str, str, list[str]]] = {
    "English": (
        "January February March April May June July August September October November December",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        [
            "{d} {month} {y}",
            "{month} {d}, {y}",
            "{nth} of {month} {y}",
            "the {nth} of {month}, {y}",
            "{month} {nth}, {y}",
            "{mon} {d}, {y}",
            "{d} {mon} {y}",
            "{d:02}-{mon}-{y}",
            "{y}, {month} {d}",
            "the {word} of {month} {y}",
            "{month} the {word}, {y}",
            "{weekday}, {month} {d}, {y}",
            "{weekday} {d} {month} {y}",
            "{weekday}, the {word} of {month} {y}",
        ],
    ),
    "German": (
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
        ["{d}. {month} {y}", "{weekday}, {d}. {month} {y}", "am {d}. {month} {y}", "{weekday}, den {d}. {month} {y}"],
    ),
    "French": (
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "lundi mardi mercredi jeudi vendredi samedi dimanche",
        ["{d} {month} {y}", "le {d} {month} {y}", "{weekday} {d} {month} {y}"],
    ),
    "Spanish": (
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "lunes martes miércoles jueves viernes sábado domingo",
        ["{d} de {month} de {y}", "el {d} de {month} de {y}", "{weekday}, {d} de {month} de {y}"],
    ),
    "Italian": (
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
        "lunedì martedì mercoledì giovedì venerdì sabato domenica",
        ["{d} {month} {y}", "il {d} {month} {y}", "{weekday} {d} {month} {y}"],
    ),
    "Dutch": (
        "januari februari maart april mei juni juli augustus september oktober november december",
        "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
        ["{d} {month} {y}", "op {d} {month} {y}", "{weekday} {d} {month} {y}"],
    ),
    "Portuguese": (
        "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
        "segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo",
        ["{d} de {month} de {y}", "{weekday}, {d} de {month} de {y}"],
    ),
    "Swedish": (
        "januari februari mars april maj juni juli augusti september oktober november december",
        "måndag tisdag onsdag torsdag fredag lördag söndag",
        ["{d} {month} {y}", "den {d} {month} {y}", "{weekday} den {d} {month} {y}"],
    ),
}
_YEAR_FIRST = ["{y}/{m:02}/{d:02}", "{y}.{m:02}.{d:02}", "{y} {m:02} {d:02}", "{y}{m:02}{d:02}", "{y}年{m}月{d}日"]
_DAY_OR_MONTH_FIRST = ["{d}.{m:02}.{y}", "{d}/{m:02}/{y}", "{m:02}/{d}/{y}", "{d}-{m:02}-{y}"]


def write_dates() -> Path:
    """Write 1,000 different prompts and their answers once, as <user cache>/ft_lightning/dates-1.jsonl; return it."""
    table = user_cache_path("ft_lightning") / "dates-1.jsonl"
    if not table.is_file():
        with replacing(table) as temporary:
            lines = [json.dumps(row, ensure_ascii=False) for row in date_rows(COUNT)]
            temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return table


def date_rows(count: int) -> list[dict[str, str]]:
    """Return that many different prompts and their answers; the same on every machine."""
    rows: dict[str, str] = {}
    number = 0
    while len(rows) < count:
        date, spelled = _drawn(number)
        rows[f"{_ASKED}{spelled}"] = date.isoformat()
        number += 1
    return [{"prompt": prompt, "completion": completion} for prompt, completion in rows.items()]


def _drawn(number: int) -> tuple[datetime.date, str]:
    """Draw a date and a spelling by the hash of a number: those of Python's generators may differ between versions."""
    digest = hashlib.sha256(f"dates/{number}".encode()).digest()
    day, kind, way = (int.from_bytes(digest[at : at + 8], "big") for at in (0, 8, 16))
    date = _FIRST + datetime.timedelta(days=day % _DAYS)
    if kind % 10 < 4:  # of ten: four in English, five in other languages, one in numbers
        language = "English"
    elif kind % 10 < 9:
        language = [*_LANGUAGES][1 + kind // 10 % (len(_LANGUAGES) - 1)]
    else:
        numbers = _YEAR_FIRST + (_DAY_OR_MONTH_FIRST if date.day > 12 else [])
        return date, numbers[way % len(numbers)].format(y=date.year, m=date.month, d=date.day)
    months, weekdays, spellings = _LANGUAGES[language]
    return date, _spelled(date, months.split(), weekdays.split(), spellings[way % len(spellings)])


def _spelled(date: datetime.date, months: list[str], weekdays: list[str], spelling: str) -> str:
    month = months[date.month - 1]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10 if date.day not in (11, 12, 13) else 0, "th")
    return spelling.format(
        y=date.year,
        d=date.day,
        month=month,
        mon=month[:3],
        nth=f"{date.day}{ending}",
        word=_WORDS[date.day - 1],
        weekday=weekdays[date.weekday()],
    )
