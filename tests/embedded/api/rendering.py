"""The Remote Rendering API for its tests: addresses and bodies."""

from typing import Any

from local.azurite import ACCOUNT
from shared.embedded.requests import Error, State
from tests.embedded.bundle import ACCOUNT_ID, Bundle

V1 = f"/v1/accounts/{ACCOUNT_ID}/conversions"
SAS = f"{V1}/createWithSharedAccessSignature"
LINKED = f"{V1}/create"
V2021 = f"/accounts/{ACCOUNT_ID}/conversions"
VERSION = {"api-version": "2021-01-01"}


def body_2021(bundle: Bundle, model: str = "box.obj") -> dict[str, Any]:
    root = bundle.settings.embedded_blob_url.format(account=ACCOUNT)
    return {
        "settings": {
            "inputLocation": {
                "storageContainerUri": f"{root}/{bundle.models}",
                "storageContainerReadListSas": bundle.sas(bundle.models, "rl"),
                "blobPrefix": "Input",
                "relativeInputAssetPath": model,
            },
            "outputLocation": {
                "storageContainerUri": f"{root}/{bundle.converted}",
                "storageContainerWriteSas": bundle.sas(bundle.converted, "w"),
                "blobPrefix": "Output",
            },
        }
    }


async def end(bundle: Bundle, key: str, error: Error | None = None) -> None:
    """Ends a request as a worker does."""
    held = await bundle.requests.claim(key, "message")
    assert held is not None
    state = State.SUCCEEDED if error is None else State.FAILED
    result = {"outputs": [{"path": "box.glb"}], "warnings": [], "statistics": {"triangles": 12}}
    await bundle.requests.finish(held, state, error=error, result=result)
