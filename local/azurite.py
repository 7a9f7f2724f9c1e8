"""Azurite, Microsoft's storage emulator: started on free ports, in memory, and stopped again."""

import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from local.places import NODE_MODULES
from local.processes import tethered

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's fixed, public account: https://github.com/Azure/Azurite#default-storage-account"""

LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at (\S+)")
START_SECONDS = 60
STOP_SECONDS = 5


class AzuriteFailed(Exception):
    """Azurite did not start; the message holds what it said."""


@dataclass(frozen=True)
class Certificate:
    """PEM files that make Azurite speak TLS, which bearer tokens need."""

    certificate: Path
    key: Path


@dataclass
class Azurite:
    """A running storage emulator.

        with Azurite.start() as azurite:
            BlobServiceClient.from_connection_string(azurite.connection_string)

    With a `Certificate` it speaks https and accepts (without verifying) bearer tokens.
    """

    blob_url: str
    queue_url: str
    table_url: str
    _process: "subprocess.Popen[str]" = field(repr=False)

    @classmethod
    def start(cls, certificate: Certificate | None = None, folder: Path | None = None) -> Self:
        """Returns when all three services listen. What is stored is in memory, or in `folder`, where it
        stays. Raises `AzuriteFailed`."""
        script = NODE_MODULES / "azurite" / "dist" / "src" / "azurite.js"
        if not script.exists():
            raise AzuriteFailed(f"{script} is not there; `make run` and `make test` install it")
        # --skipApiVersionCheck: the client library speaks a newer version than any Azurite knows.
        command = ["node", str(script), "--silent", "--disableTelemetry"]
        command += ["--inMemoryPersistence"] if folder is None else ["--location", str(folder)]
        command += ["--skipApiVersionCheck", "--blobPort", "0", "--queuePort", "0", "--tablePort", "0"]
        environment = dict(os.environ)
        if certificate is not None:
            command += ["--oauth", "basic", "--cert", str(certificate.certificate)]
            command += ["--key", str(certificate.key)]
            # Copying a blob makes Azurite call itself, over TLS.
            environment["NODE_EXTRA_CA_CERTS"] = str(certificate.certificate)
        # A file, not a pipe: nothing has to keep reading it.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            process = subprocess.Popen(
                tethered(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the host, which stops Azurite last
                text=True,
            )
            try:
                urls = _wait(process, output)
            except BaseException:
                process.kill()
                process.wait()
                raise
        return cls(urls["Blob"], urls["Queue"], urls["Table"], process)

    @property
    def connection_string(self) -> str:
        """Holds the public key above and the three endpoints with their account."""
        return (
            f"DefaultEndpointsProtocol={self.blob_url.partition(':')[0]};AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.blob_url}/{ACCOUNT};QueueEndpoint={self.queue_url}/{ACCOUNT};"
            f"TableEndpoint={self.table_url}/{ACCOUNT};"
        )

    @property
    def pid(self) -> int:
        """Of the one node process."""
        return self._process.pid

    def stop(self) -> None:
        """Ends the process, by force if it must be; data in memory is gone. Twice is harmless."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _wait(process: "subprocess.Popen[str]", output: IO[str]) -> dict[str, str]:
    """The three addresses by service name, as soon as Azurite has printed them."""
    give_up = time.monotonic() + START_SECONDS
    while True:
        output.seek(0)
        text = output.read()
        urls = dict(LISTENING.findall(text))
        if len(urls) == 3:
            return urls
        if process.poll() is not None:
            raise AzuriteFailed(f"Azurite ended with status {process.returncode}:\n{text[-2000:]}")
        if time.monotonic() > give_up:
            raise AzuriteFailed(f"Azurite did not listen within {START_SECONDS} s:\n{text[-2000:]}")
        time.sleep(0.02)
