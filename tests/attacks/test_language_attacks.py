"""Hostile chat templates, tokens and settings of language models: nothing runs, and the file is named with the fix."""

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chat import CHATML, END, SIGNS, language_model, tokenizer, write_language_model
from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.deploy import model_dir
from ft_lightning.readers import sandbox, template
from ft_lightning.readers.conversation import Message
from ft_lightning.readers.decoding import UnusableTextError
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.instruct import Instruct

Attack = Callable[[Path], Any]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    asked: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    yield
    assert not asked, "it wanted something from somewhere"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("original") / "llama")


def load(folder: Path) -> Any:
    return load_text_backbone("transformers", str(folder), "DEFAULT", None, "auto", False, {}, generates=True)


def says(source: str) -> Attack:
    return lambda folder: (folder / "chat_template.jinja").write_text(source)


def put(name: str, **values: Any) -> Attack:
    """Set values of a JSON file."""

    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))

    return change


def raw(name: str, content: bytes) -> Attack:
    return lambda folder: (folder / name).write_bytes(content)


def in_config(said: Any) -> Attack:
    """Have the template in tokenizer_config.json alone."""

    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()
        put("tokenizer_config.json", chat_template=said)(folder)

    return change


CLASSES = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}" + (
    "{% endfor %}{% endfor %}"
)
CALLS = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}"
TEMPLATES: dict[str, tuple[str, str]] = {
    "classes": (CLASSES, "'__class__' of 'str' object is unsafe"),
    "globals of a function": ("{{ lipsum.__globals__['os'].mkdir('CANARY') }}", "'__globals__' of 'function' object"),
    "globals of a class": ("{{ cycler.__init__.__globals__.os.mkdir('CANARY') }}", "'__init__' of 'type' object"),
    "globals of the messages": ("{{ messages.append.__self__ }}", "is unsafe"),
    "a format": ("{{ '{0.__class__.__mro__}'.format('') }}", "'__class__' of 'str' object is unsafe"),
    "globals of ours": ("{{ raise_exception.__globals__.json }}", "'__globals__' of 'function' object"),
    "the counter": ("{{ messages.__init__.__func__ }}", "is unsafe"),
    "other messages": ("{% set _ = messages.append(1) %}", "'append' of 'list' object is unsafe"),
    "another message": ("{% set _ = messages[0].update({'content': 'x'}) %}", "'update' of 'dict' object is unsafe"),
    "a file": ("{% include '/etc/passwd' %}", "no loader"),
    "a module": ("{% import 'os' as os %}", "no loader"),
    "a parent": ("{% extends '/etc/passwd' %}", "no loader"),
    "the clock": ("{{ strftime_now('%Y') }}", "'strftime_now' is undefined"),
    "a long range": ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
    "loops in loops": (LOOP, r"it goes on after 20,000 passes"),
    "calls of calls": (CALLS, r"it goes on after 20,000 passes"),
    "calls without end": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    "a long text": ("{{ 'a' * 10**11 }}", r"\* with 100000000000 would fill the memory"),
    "a long list": ("{{ 10**11 * [1] }}", r"\* with 100000000000 would fill the memory"),
    "a tower": ("{{ 9 ** (9 ** 9) }}", r"\*\* with 387420489 would fill the memory"),
}
FOLDERS: dict[str, tuple[Attack, str]] = {
    **{
        f"a template reaches for {what}": (says(CHATML + source), message)
        for what, (source, message) in TEMPLATES.items()
    },
    "a template is cut": (says("{% for"), "cannot be read: unexpected 'end of template'"),
    "a template of brackets": (says("{{ " + "(" * 5000 + ")" * 5000 + " }}"), "cannot be read: maximum recursion"),
    "a template has tags of its own": (says(CHATML + "{% debug %}"), "cannot be read: Encountered unknown tag"),
    "a template is no text": (raw("chat_template.jinja", b"\xff\xfe\x00"), r"chat_template\.jinja cannot be used"),
    "a template is empty": (says(" \n"), r"chat_template\.jinja: its chat template is no text or an empty one"),
    "a template is a number": (in_config(7), r"tokenizer_config\.json: its chat template is no text"),
    "a template is an object": (
        in_config({"default": CHATML}),
        r"tokenizer_config\.json: its chat template is no text",
    ),
    "templates are numbers": (in_config([1, 2]), r"tokenizer_config\.json: its chat template is no text"),
    "a template of a list is a number": (
        in_config([{"name": "default", "template": 5}]),
        "its chat template is no text",
    ),
    "no template of a list is the default": (
        in_config([{"name": "x", "template": CHATML}]),
        "chat template is no text",
    ),
    "a template in the config is hostile": (in_config(CHATML + CLASSES), "'__class__' of 'str' object is unsafe"),
    **{
        f"{file} {what}": (raw(file, content), rf"{file} {message}")
        for file in ("tokenizer_config.json", "generation_config.json")
        for what, content, message in (
            ("is a list", b"[]", "holds no keys: put the model's own file there"),
            ("is a text", b'"x"', "holds no keys"),
            ("is cut", b"{", "cannot be used"),
            ("is nested without end", b"[" * 100_000, "cannot be used"),
        )
    },
    **{
        f"eos_token={said!r}": (put("tokenizer_config.json", eos_token=said), r"eos_token=.* is no text: write")
        for said in (7, ["<|im_end|>"], {"content": ["x"]}, True)
    },
    **{
        f"{file} says eos_token_id={said!r}"[:70]: (
            put(file, eos_token_id=said),
            rf"{file}: eos_token_id=.* is no token of its tokenizer\.json: write the number",
        )
        for file in ("generation_config.json", "config.json")
        for said in (10**9, 10**40, -1, [END, 10**9])
    },
    **{
        f"generation_config.json says eos_token_id={said!r}": (
            put("generation_config.json", eos_token_id=said),
            r"generation_config\.json: eos_token_id=.* is no token",
        )
        for said in ("2", 2.5, True, [[2]], [{"a": 1}], {"a": 1})
    },
    "config.json says that the end is a text": (put("config.json", eos_token_id="x"), r"config\.json cannot be used"),
    "config.json says that the end is an object": (put("config.json", eos_token_id={"a": 1}), r"config\.json cannot"),
    "padding beyond the network": (put("config.json", pad_token_id=10**9), "Padding_idx"),
}


@pytest.mark.promise(45)
@pytest.mark.parametrize("what", FOLDERS)
def test_a_hostile_language_model_is_refused(
    what: str, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_STEPS", 20_000)
    monkeypatch.chdir(tmp_path)
    folder, (attack, message) = tmp_path / "llama", FOLDERS[what]
    shutil.copytree(original, folder)
    attack(folder)
    with pytest.raises(UserError, match=message) as raised:
        load(folder)
    assert str(raised.value).startswith("model.name=")
    assert len(str(raised.value)) < 700
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama"], "nothing ran"


@pytest.mark.promise(45)
@pytest.mark.parametrize(
    "source",
    [
        "{{ ''|attr('__class__') }}",
        "{{ self.__init__ }}",
        "{{ ''['__class__'] }}",
        "{{ environment }}{{ step }}",
        "{{ raise_exception.__globals__ }}",
    ],
)
def test_what_a_sandbox_hides_is_nothing(source: str, original: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(original, tmp_path / "llama")
    says(CHATML + source)(folder)
    try:
        backbone = load(folder)
    except UserError as error:
        assert "unsafe" in str(error)  # noqa: PT017
    else:
        assert backbone.reader.prompt((Message("user", "a"),)) == load(original).reader.prompt((Message("user", "a"),))


FOR = "{% set ns = namespace(x='xx', l=[1]) %}{% for i in range(40) %}"
BIG = "{% set a = 'x' * 1000000 %}"


@pytest.mark.promise(45)
@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x'.center(10**9) }}",
        "{{ 'x'|center(1000000000) }}",
        "{{ 'x'.zfill(1000000000) }}",
        "{{ 'x' * 10**9 }}",
        BIG + "{{ a * 1000 }}",
        "{{ lipsum(n=1000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ '%1000000000s'|format('x') }}",
        BIG + "{{ a.replace('x', 'y' * 1000) }}",
        BIG + "{{ a|replace('x', 'y' * 1000) }}",
        BIG + "{{ ('y' * 1000).join(a) }}",
        BIG + "{{ a|join('y' * 1000) }}",
        BIG + "{{ [a] * 1000 }}",
        BIG + "{{ ([a] * 9)|map('center', 1000000)|map('replace', 'x', 'yy' * 9)|join }}",
        "{{ ('\t' * 100000).expandtabs(10000) }}",
        "{{ ('a\n' * 100000)|indent(10000) }}",
        "{{ [1]|batch(1000000000, 'x')|list }}",
        "{{ (1).to_bytes(1000000000, 'big') }}",
        "{{ ('x' * 20000)|list|map('center', 100000)|list|length }}",
        FOR + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
        FOR + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        FOR + "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
        "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}" + FOR + "{% set ns.x = m(ns.x) %}{% endfor %}",
        FOR + "{% set ns.l = ns.l + ns.l %}{% endfor %}",
        FOR + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        FOR + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l|tojson }}",
        "{% set ns = namespace(x=9) %}{% for i in range(40) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{% for i in range(90000) %}" + "y" * 2000 + "{% endfor %}",
    ],
)
def test_a_template_cannot_fill_the_memory(source: str) -> None:
    with pytest.raises(UnusableTextError, match="would fill the memory"):
        template.render(source, [Message("user", "a")], {}, True)


def test_a_template_within_the_bounds_writes_what_it_would_without() -> None:
    source = (
        "{%- macro said(m) %}[{{ m.role|upper }}: {{ m['content']|trim ~ '!' }}]{% endmacro -%}"
        "{% for m in messages %}{{ said(m) }}{% set b %}<{{ loop.index0 }}>{% endset %}{{ b + '%s-%d' % ('x', 7) }}"
        "{{ m.content.split(' ')|map('capitalize')|join(', ') }}{{ 'ab'.center(6) }}{{ '{:>4}'.format(loop.index) }}"
        "{{ ['a', 1, none]|list|string }}{{ m.content.replace('e', 'EE')|indent(2) }}{{ '=' * 3 }}{{ 2 ** 5 + 7 % 4 }}"
        "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ m.content[1:3] }}{{ 'x'|default('y') }}"
        "{{ loop.cycle('odd', 'even') }}{{ dict(a=1)|items|list }}{{ {'k': [1.5, true]}|tojson }}\n{% endfor %}"
        "{% filter lower %}DONE {{ messages|length }}{% endfilter %}"
    )
    messages = [Message("user", "hello there\nyou"), Message("assistant", " yes ")]
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    plain.filters["tojson"] = template._as_json
    expected = plain.from_string(source).render(messages=[message._asdict() for message in messages])
    assert template.render(source, messages, {}, False) == expected


def test_long_conversations_are_far_from_the_limit_of_loops() -> None:
    talk = [Message("user" if i % 2 == 0 else "assistant", "hello") for i in range(720)]
    pairs = "{% for a in messages %}{% for b in messages %}{% endfor %}{{ a['content'] }}{% endfor %}"
    assert template.render(pairs, talk, {}, True) == "hello" * 720
    assert template.render(pairs, talk, {}, True) == "hello" * 720, "each text has passes of its own"


# --- model directories ---


@pytest.fixture(scope="module")
def model(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    model_dir.save(folder, language_model(original, "full"), {"name": "none"}, Instruct(1, 1), {"val": {}, "test": {}})
    return folder


def card(key: str, value: Any) -> Attack:
    def change(folder: Path) -> None:
        content = node = json.loads((folder / "model.json").read_text())
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        node[last] = value
        (folder / "model.json").write_text(json.dumps(content))

    return change


def file_of_card(name: str, content: bytes) -> Attack:
    """Change a file, and its digest with it."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)
        files = json.loads((folder / "model.json").read_text())["preprocess"]["files"]
        card("preprocess.files", files | {name: sha256(content).hexdigest()})(folder)

    return change


MODELS: dict[str, Attack] = {
    **{
        f"ends={said!r}": card("preprocess.ends", said)
        for said in ([10**9], [-1], [10**40], ["2"], [2.0], [True], [None], [[2]], {"a": 1}, "2", 2.5)
    },
    **{
        f"special={said!r}": card("preprocess.special", said)
        for said in (
            {"eos_token": 7}, {"eos_token": None}, {"eos_token": ["x"]}, {"messages": "x"}, {"raise_exception": "x"},
            {"add_generation_prompt": "x"}, {"self": "x"}, ["eos_token"], "eos_token", 7, None,
        )
    },
    "a negative length": card("preprocess.max_length", -1),
    "a length that is none": card("preprocess.max_length", "many"),
    "a length beyond the positions": card("preprocess.max_length", 10**6),
    "a policy that is none": card("preprocess.on_too_long", "os.mkdir"),
    "a way to learn that is none": card("preprocess.learn", ["answers"]),
    "no template": lambda folder: (folder / "chat_template.jinja").unlink(),
    "a template of other bytes": says(CHATML + " "),
    "a template that reaches out": file_of_card("chat_template.jinja", (CHATML + CLASSES).encode()),
    "a template that is no text": file_of_card("chat_template.jinja", b"\xff\xfe\x00"),
    "a template without an end": file_of_card("chat_template.jinja", b"{{ messages[0]['content'] }}"),
    "a tokenizer without the end": file_of_card(
        "tokenizer.json", tokenizer().replace(SIGNS[END], "<|im_other|>").encode()
    ),
    "a template outside": card("preprocess.files", {"../chat_template.jinja": "0" * 64}),
    "no files": card("preprocess.files", {}),
    "an encoder": card("backbone.arguments.generates", False),
    "a task that is none": card("task", {"name": "os.mkdir"}),
    "answers of no length": card("task.max_new_tokens", "many"),
}  # fmt: skip


@pytest.mark.promise(45)
@pytest.mark.parametrize("what", MODELS)
def test_a_hostile_model_directory_of_a_language_model_is_refused(what: str, model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    MODELS[what](folder)
    with pytest.raises(UserError) as raised:
        model_dir.load(folder)
    assert re.search(
        r"model\.json|model holds no model|chat.template|tokenizer|end token|max_length|task|data\.", str(raised.value)
    )
