"""What must not be told, and where it may be told: for every test of promise 7."""

import base64
import binascii
import logging
import re
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, unquote

import pytest

from local.azurite import KEY
from shared import telemetry
from tests.pipeline import ACCOUNT_KEY, Pipeline

BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")


class Everything(logging.Handler):
    """Every log record, whatever its level, with its stack trace and its extras."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(f"{self.format(record)} {record.args!r} {vars(record)!r}")


class Leaks:
    """What must not be told, what is told, and whether the one is in the other."""

    def __init__(self, log: Everything, capture: pytest.CaptureFixture[str]) -> None:
        self._log = log
        self._capture = capture
        self._printed = ""
        self.secrets = {KEY, ACCOUNT_KEY}
        self.told: list[str] = []

    def keep(self, sas: str) -> None:
        """Makes a SAS a secret: all of it, and its signature alone."""
        self.secrets |= {sas, parse_qs(sas)["sig"][0]}

    @contextmanager
    def failing(self, *kinds: type[BaseException]) -> Iterator[None]:
        """Keeps what an exception tells, through every cause."""
        with pytest.raises(kinds) as raised:
            yield
        error: BaseException | None = raised.value
        while error is not None:
            self.told += [f"{error!s} {error!r} {error.args!r}"]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        self.told += traceback.format_exception(raised.value)

    async def check(self, pipeline: Pipeline) -> None:
        """Searches what was logged, printed and raised so far, and all that storage holds."""
        self._printed += "".join(self._capture.readouterr())
        texts = [*self._log.told, *self.told, self._printed]
        corpus = "\n".join(texts).encode() + b"\n" + b"\n".join([each async for each in dumped(pipeline)])
        assert len(self.secrets) > 2, "nothing secret was made"
        assert found_in(self.secrets, corpus) == []


def found_in(secrets: set[str], corpus: bytes) -> list[str]:
    """The secrets in a corpus, in any spelling."""
    decoded = b"\n".join(_decoded(chunk) for chunk in set(BASE64.findall(corpus)))
    haystack = corpus + b"\n" + decoded
    haystack += b"\n" + unquote(haystack.decode(errors="replace")).encode()
    spellings = {
        spelling: secret
        for secret in secrets
        for spelling in (secret, quote(secret, safe=""), unquote(secret))
    }
    return sorted({secret for spelling, secret in spellings.items() if spelling.encode() in haystack})


def _decoded(chunk: bytes) -> bytes:
    text = chunk.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return b""


async def dumped(pipeline: Pipeline) -> AsyncIterator[bytes]:
    """Every blob with its metadata, and every queue message."""
    names = pipeline.app.settings
    for container in (
        names.models_container,
        names.converted_container,
        names.in_flight_container,
        names.embedded_container,
    ):
        async for head in pipeline.app.storage.list(container, metadata=True):
            yield f"{container}/{head.name} {dict(head.metadata)} {head.content_type}".encode()
            blob = await pipeline.app.storage.read(container, head.name)
            assert blob is not None
            yield blob.data
    for queue in (names.embedded_queue, names.transfer_queue):
        client = pipeline.app.storage.queue_service.get_queue_client(queue)
        for message in await client.peek_messages(32):
            yield message.content.encode()


@pytest.fixture
def leaks(capfd: pytest.CaptureFixture[str]) -> Iterator[Leaks]:
    root = logging.getLogger()
    level = root.level
    log = Everything()
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    telemetry.configure()
    try:
        yield Leaks(log, capfd)
    finally:
        root.removeHandler(log)
        root.setLevel(level)
