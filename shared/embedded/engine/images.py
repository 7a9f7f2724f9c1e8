"""Pictures: which kind they are, and the two kinds that glTF takes.

What looks at pixels is in `pillow`, which is loaded where a picture has to be decoded."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\xabKTX 20\xbb\r\n\x1a\n", "image/ktx2"),
    (b"DDS ", "image/vnd-ms.dds"),
)
EXTENSIONS = {"image/png": ".png", "image/jpeg": ".jpg"}


class UnreadableImage(Exception):
    """The bytes are no picture that can be decoded within the limit."""


def mime_of(data: bytes) -> str | None:
    """The content type that the first bytes say, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC if data.startswith(magic)), None)


def for_gltf(data: bytes) -> tuple[bytes, str]:
    """The picture as PNG or JPEG: unchanged if it is one, else turned into a PNG.

    Raises `UnreadableImage`."""
    mime = mime_of(data)
    if mime in ("image/png", "image/jpeg"):
        return data, mime
    from shared.embedded.engine import pillow

    return pillow.as_png(data)
