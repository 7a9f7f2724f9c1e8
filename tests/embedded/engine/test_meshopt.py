"""Against the reference: `meshopt_vectors.json` holds what meshoptimizer 1.3's encoder made of random
and regular data, and the SHA-256 of what its own decoder makes of that."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from shared.embedded.engine.meshopt import decode_view
from shared.problems import Code, Problem

_VECTORS = json.loads(Path(__file__).with_name("meshopt_vectors.json").read_text())


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: str(vector["name"]))
def test_every_mode_and_filter_decodes_to_the_references_bytes(vector: dict[str, Any]) -> None:
    decoded = decode_view(base64.b64decode(vector["data"]), vector)
    assert len(decoded) == vector["count"] * vector["byteStride"]
    assert hashlib.sha256(decoded).hexdigest() == vector["sha256"]


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: str(vector["name"]))
def test_a_stream_that_is_cut_off_or_of_another_kind_is_refused(vector: dict[str, Any]) -> None:
    data = base64.b64decode(vector["data"])
    for broken in (data[: len(data) // 2 + 1], b"\0" + data[1:], b""):
        try:
            decode_view(broken, vector)
        except Problem as problem:
            assert problem.code is Code.CORRUPT_MODEL
        else:
            # Cut where the end still looks like one: bytes of the right number, and no crash.
            assert broken[:1] == data[:1]
