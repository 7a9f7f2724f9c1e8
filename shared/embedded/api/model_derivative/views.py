"""The views of a design: this service knows one, with everything in it."""

import uuid


def view_guid(urn: str) -> str:
    """The guid of a design's 3D view: the same in every translation."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"3d:{urn}"))
