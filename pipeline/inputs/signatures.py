"""What the first bytes of a file say, for files whose name says nothing."""

from __future__ import annotations

from pipeline.inputs.file_kinds import is_hidden

HEAD_BYTES = 12
_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
)
_BRANDS = (b"ftypavif", b"ftypavis", b"ftypheic", b"ftypheix", b"ftypmif1")


def looks_like_image(head: bytes) -> bool:
    """Whether a file that starts like this is an image, by the signature of its format."""
    return (
        head.startswith(_STARTS)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or head[4:12] in _BRANDS
    )


def has_no_extension(name: str) -> bool:
    """Whether a name says nothing of what is in the file; hidden files are left alone."""
    return "." not in name.rpartition("/")[2] and not is_hidden(name)
