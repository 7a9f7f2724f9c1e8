"""An order, an account, and what they are made of: none of it is real."""

import base64
import json
import time
from typing import Any

import pytest

from shared.clients import Order, Place
from shared.problems import ServiceFault

ACCOUNT = "30ea64bd-100f-4bf0-adc9-29fa45d4880c"
KEY = "c2VjcmV0LWtleS1vZi10aGUtYWNjb3VudA=="
CV = "ZYQOysUDHEeWoUr1YBzycg.0"
SIGNATURE = "q2Zl%2BVhRk3yT5nGm0aXw8sJd7uKcP4oE1iBvLrNtHyM%3D"
READ_SAS = f"sv=2026-10-06&se=2026-11-22T18%3A00Z&sr=c&sp=rl&sig={SIGNATURE}"
WRITE_SAS = f"sv=2026-10-06&se=2026-11-22T18%3A00Z&sr=c&sp=cw&sig=W{SIGNATURE}"

SAS_CREATE = "createWithSharedAccessSignature"
CONVERSION = "0f6d9a52-4d4c-4a51-b1a4-3f5b8b6d0c11"

ORDER = Order(
    id="5f2b6f0f4a1e4a0c9a1d2e3f4a5b6c7d",
    input=Place("modelsaccount", "models", "cars", READ_SAS),
    model="car.obj",
    output=Place("modelsaccount", "converted", "cars/car.obj/5f2b", WRITE_SAS),
    formats=({"type": "glb"}, {"type": "thumbnail", "advanced": {"width": 400, "height": 400}}),
    callback="https://example.com/callbacks/remote-rendering",
)


def jwt(life: float = 86_400, **claims: Any) -> str:
    parts = ({"alg": "none"}, {"exp": int(time.time() + life), **claims})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


async def fault_of(call: Any) -> ServiceFault:
    with pytest.raises(ServiceFault) as caught:
        await call
    return caught.value
