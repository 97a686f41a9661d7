"""What may be a secret is found, what only looks like one is not, and none is repeated."""

import pytest

from ft_lightning.readers.secrets import CARD, MAIL, SECRET, redacted, secrets_in

LETTERS = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC3dE5f"  # of no service
SECRETS = {
    "private key": "-----BEGIN OPENSSH PRIVATE" + " KEY-----\nb3BlbnNzaC1rZXk",
    "AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "GitHub token": "ghp_" + LETTERS[:36],
    "GitLab token": "glpat-" + LETTERS[:20],
    "Anthropic key": "sk-ant-" + LETTERS,
    "OpenAI key": "sk-proj-" + LETTERS,
    "Hugging Face token": "hf_" + LETTERS[:34],
    "Google API key": "AIza" + LETTERS[:35],
    "Slack token": "xoxb-" + LETTERS[:24],
    "Slack webhook": "https://hooks.slack.com/services/" + "T00000000/B00000000/" + LETTERS[:24],
    "Stripe key": "sk_live_" + LETTERS[:24],
    "JSON web token": f"eyJ{LETTERS[:12]}.eyJ{LETTERS[:12]}.{LETTERS[:12]}",
    "bearer token": "Bearer " + LETTERS,
    "password in an address": "postgres://admin:hunter2@db.example.com/x",
    "mail address": "joe.doe+x@mail.example.com",
    "card number": "4111 1111 1111 1111",
}
KINDS = {"mail address": MAIL, "card number": CARD}


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_is_found_by_its_form_and_taken_out(what: str) -> None:
    text = f"see: {SECRETS[what]}, thanks"
    (found,) = secrets_in(text)
    assert (found.what, found.kind) == (what, KINDS.get(what, SECRET))
    assert text[found.start : found.end] in text
    assert found.start == 5
    hidden = redacted(text)
    assert f"[{what}]" in hidden
    assert SECRETS[what][-8:] not in hidden
    assert list(secrets_in(hidden)) == []


@pytest.mark.parametrize(
    "text",
    [
        "the AKIA prefix begins an access key",
        "sk-learn is a library, sk-i-n-d-e-r-g-a-r-t-e-n-and-so-on-for-a-long-while is a word",
        "export GITHUB_TOKEN=ghp_yourtokenhere",
        "send a Bearer token in the header: Authorization: Bearer $TOKEN",
        "https://example.com:8080/a/path",
        "postgres://localhost/db",
        "write to me at home, or look at @somebody, or use a@b",
        "git clone git@github:owner/name",
        "pi is 3.14159265358979323846",
        "4111 1111 1111 1112",
        "0000 0000 0000 0000",
        "978-3-16-148410-0 is a book",
        "at 1700000000000 milliseconds",
        "-----BEGIN PUBLIC KEY-----",
        "",
    ],
)
def test_what_only_looks_like_one_is_none(text: str) -> None:
    assert list(secrets_in(text)) == []
    assert redacted(text) == text


def test_several_in_one_text_are_each_named_once() -> None:
    text = f"{SECRETS['mail address']} {SECRETS['password in an address']} {SECRETS['card number']}"
    assert sorted(found.what for found in secrets_in(text)) == ["card number", "mail address", "password in an address"]


def test_a_long_text_takes_no_time() -> None:
    for text in ("a@" * 50_000, "1 " * 50_000, "a" * 200_000 + "@", "x://" + "a" * 100_000, "eyJ" * 50_000):
        list(secrets_in(text))
