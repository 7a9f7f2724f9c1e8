"""Access tokens open the API for a day, for one account, and only if they were issued here."""

import base64
import json
from datetime import UTC, datetime, timedelta

from shared.embedded.tokens import LIFETIME, Tokens
from shared.settings import Settings

ACCOUNT_ID = "30EA64BD-100f-4bf0-adc9-29fa45d4880c"
KEY = "a key that only the tests know"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def tokens(key: str = KEY, account_id: str = ACCOUNT_ID, at: datetime = NOON) -> Tokens:
    settings = Settings(
        model_storage="UseDevelopmentStorage=true",
        embedded_account_id=account_id,
        embedded_account_key=key,
        website_hostname="service.test",
    )
    return Tokens(settings, lambda: at)


def test_a_token_is_good_for_a_day() -> None:
    token = tokens().issue()
    assert tokens(at=NOON + LIFETIME - timedelta(seconds=1)).accepts(token)
    assert not tokens(at=NOON + LIFETIME).accepts(token)


def test_a_new_account_key_ends_every_token() -> None:
    assert not tokens(key=KEY + "!").accepts(tokens().issue())


def test_a_token_of_another_account_with_the_same_key_is_not_accepted() -> None:
    other = tokens(account_id="11111111-2222-3333-4444-555555555555")
    assert not other.accepts(tokens().issue())


def test_a_changed_token_is_not_accepted() -> None:
    header, payload, signature = tokens().issue().split(".")
    later = json.loads(base64.urlsafe_b64decode(payload + "===")) | {"exp": 2**40}
    forged = base64.urlsafe_b64encode(json.dumps(later).encode()).decode().rstrip("=")
    assert not tokens().accepts(f"{header}.{forged}.{signature}")
    for other in (f"{header}.{payload}.", f"{header}.{payload}", payload, "", "..", "é.é.é"):
        assert not tokens().accepts(other)


def test_the_payload_reads_the_same_in_both_base64_alphabets() -> None:
    for minutes in range(0, 3000, 211):
        payload = tokens(at=NOON + timedelta(minutes=minutes)).issue().split(".")[1]
        assert not set(payload) & {"-", "_", "+", "/"}


def test_the_account_key_opens_its_account_only() -> None:
    assert tokens().opens(ACCOUNT_ID.lower(), KEY)
    assert not tokens().opens(ACCOUNT_ID, KEY + "x")
    assert not tokens().opens(ACCOUNT_ID, "")
    assert not tokens().opens("11111111-2222-3333-4444-555555555555", KEY)
