"""What storage over TLS needs in tests: a certificate, and a token that Azurite believes."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.azurite import Certificate

OBJECT_ID = "5d6a2f6e-6f0b-4f6c-9a3f-1f4b8c1f0a11"
TENANT_ID = "0b8f5c9a-32d3-4a35-9d7b-2f7f0f6f2c22"


def self_signed(folder: Path) -> Certificate:
    """A certificate of 127.0.0.1, and its key, in PEM files in ``folder``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azurite")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = Certificate(folder / "cert.pem", folder / "key.pem")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


class Identity:
    """A token credential as azure-identity's are; Azurite reads its tokens, and verifies nothing."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": f"https://sts.windows.net/{TENANT_ID}/",
            "iat": now - 300,
            "nbf": now - 300,
            "exp": now + 3600,
            "oid": OBJECT_ID,
            "tid": TENANT_ID,
        }
        token = ".".join((_encoded({"alg": "none", "typ": "JWT"}), _encoded(claims), "c2lnbmF0dXJl"))
        self.tokens.append(token)
        return AccessToken(token, now + 3600)

    async def close(self) -> None:
        """Nothing is open."""


def _encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
