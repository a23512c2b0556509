"""What a file is, judged by its first bytes. All readers of files that others have written ask here."""

import contextlib

HEAD = 512
"""How many of the first bytes tell."""
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""The number with which the legacy container of torch.save begins, in a pickle."""
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")
_IMAGES = (  # where, what, and the format
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (8, b"CR\2\0", "camera raw"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"qoif", "QOI"),
    (0, b"v/1\1", "OpenEXR"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"IIRO", "camera raw"),
    (0, b"IIU\0", "camera raw"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "camera raw"}
_BRANDS |= dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")
_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(6))


def kind_of(head: bytes) -> str | None:
    """What a file may be that begins so: None for none of these.

    - 'npz': a zip file, the first in it a `.npy`. 'zip': another zip file, as torch.save writes them since PyTorch 1.6.
    - 'safetensors'.
    - 'hdf5', as Keras writes weights.
    - 'torch legacy': as torch.save wrote before.
    - 'tar', 'gzip': archives.
    - 'pickle': of any protocol.

    Args:
        head: the first `HEAD` bytes, or all.
    """
    if head.startswith(b"PK\x03\x04"):
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return "npz" if name.endswith(b".npy") else "zip"
    if head[8:9] == b"{" and (head[9:10] == b'"' or int.from_bytes(head[:8], "little") < 1 << 32):
        return "safetensors"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if head.startswith(b"\x80") and TORCH_MAGIC.to_bytes(10, "little") in head[:32]:
        return "torch legacy"
    if head[257:262] == b"ustar":
        return "tar"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    return "pickle" if head.startswith((*_PROTOCOLS, b"(", b"c")) else None


def image_format(head: bytes) -> str | None:
    """The format of an image that begins so, as people call it; None: none that is known by its first bytes.

    head: the first `HEAD` bytes, or all.
    """
    if head.startswith(b"BM"):  # as may a text
        return "BMP" if head[6:10] == bytes(4) else None
    if head[4:8] == b"ftyp":  # pictures and videos alike
        return _BRANDS.get(head[8:12])
    return next((name for at, magic, name in _IMAGES if head.startswith(magic, at)), None)


def is_page(head: bytes) -> bool:
    """Whether a file is a web page, by its first bytes."""
    return head.lstrip()[:100].lower().startswith(_PAGES)


def is_text(head: bytes) -> bool:
    """Whether a file is text, such as JSON or a log, by its first bytes."""
    text = head.decode("utf-8", errors="ignore")
    return len(head) - len(text.encode()) < 4 and all(x.isprintable() or x in "\t\r\n" for x in text)


def program(head: bytes) -> str | None:
    """'an ONNX model' or 'a LiteRT model', by its first bytes; None: neither of them.

    Of ONNX, which has no magic number: the version of its format, and the name of the program that wrote it.
    """
    if head[4:8] == b"TFL3":
        return "a LiteRT model"
    name = head[4 : 4 + head[3]] if head[:1] + head[2:3] == b"\x08\x12" and len(head) > 4 else b""
    return "an ONNX model" if name and head[1] < 64 and name.isascii() and name.decode().isprintable() else None


def mistaken(head: bytes) -> str | None:
    """What a file is that people often have instead of the one they mean, and what to do; None: none of these.

    head: the first `HEAD` bytes, or all.
    """
    if not head:
        return "the file is empty"
    if is_page(head):
        return "this is a web page: the download was answered by an error or log-in page"
    if head.lstrip().startswith(b"version https://git-lfs"):
        return "this is a git-LFS pointer, not the file; run 'git lfs pull'"
    if image_format(head):
        return "this is an image"
    if found := program(head):
        return f"this is {found}, a program; give the network that it was made of"
    return "this file is compressed; unpack it first" if head.startswith(_PACKED) else None


def mistaken_file(path: str) -> str | None:
    """The same of the file at a path; None, too, if it cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return mistaken(file.read(HEAD))
    return None
