"""Statements that the service takes back only if it made them, for the purpose it made them for."""

import pytest

from shared.embedded.seals import Seals, decode, encode

SEALS = Seals("a key that only the tests know", "uploads")


def test_a_statement_comes_back_as_it_was() -> None:
    statement = {"bucket": "b", "key": "ü/?&%", "expires": "2026-11-22T12:00:00Z", "none": None}
    sealed = SEALS.seal(statement)
    assert SEALS.open(sealed) == statement
    assert set(sealed) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@pytest.mark.parametrize("change", [lambda s: s + "A", lambda s: s[1:], lambda s: "A" + s, lambda s: s[:-1]])
def test_a_changed_statement_does_not_open(change: object) -> None:
    assert callable(change)
    assert SEALS.open(change(SEALS.seal({"a": 1}))) is None


@pytest.mark.parametrize("text", ["", ".", "x", "a.b", "a.b.c", "\udcff.x", "ü.ü"])
def test_nonsense_does_not_open(text: str) -> None:
    assert SEALS.open(text) is None


def test_another_purpose_or_key_does_not_open_it() -> None:
    sealed = SEALS.seal({"a": 1})
    assert Seals("a key that only the tests know", "downloads").open(sealed) is None
    assert Seals("another key of the tests", "uploads").open(sealed) is None


def test_a_signature_is_good_for_its_text_only() -> None:
    assert SEALS.signed("text", SEALS.sign("text"))
    assert not SEALS.signed("text ", SEALS.sign("text"))
    assert not SEALS.signed("text", "")


def test_what_is_no_statement_decodes_to_nothing() -> None:
    assert decode(encode({"a": [1]})) == {"a": [1]}
    for text in ("", "!", "bnVsbA", "WzFd", "_w"):
        assert decode(text) is None
