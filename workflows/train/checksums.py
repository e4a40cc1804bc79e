"""What a checkpoint's files were when they were written, so that a damaged one is known before it is used.

Orbax notices much of what is cut short, but not a changed byte among the numbers: zstd frames carry no checksum there.
"""

import zlib

from shammie import files

NAME = "checksums.json"
LATER = ("commit_success.txt", "_CHECKPOINT_METADATA")  # Orbax writes these after ours; no number hangs on them


def write(folder: str) -> None:
    """Writes the size and CRC-32 of each file below a folder into it."""
    found = {name: [size, _crc32(files.join(folder, name))] for name, size in _sizes(folder).items()}
    files.write_json(_checksums(folder), found)


def damage(folder: str) -> str:
    """What is wrong with a folder, in a few words; "" if nothing is, or if it has no checksums.

    Raises:
        OSError: a file is there but cannot be read, which is no damage yet.
    """
    if not files.exists(_checksums(folder)):
        return ""
    try:
        wanted = {name: (int(size), int(crc)) for name, (size, crc) in files.read_json(_checksums(folder)).items()}
    except (ValueError, TypeError, AttributeError, OverflowError):
        return "its checksums are unreadable"
    sizes = _sizes(folder)
    for name, (size, crc) in wanted.items():
        if name not in sizes:
            return f"its file {name} is missing"
        if sizes[name] != size:
            return f"its file {name} has {sizes[name]} bytes instead of {size}"
        if _crc32(files.join(folder, name)) != crc:
            return f"its file {name} has other bytes than were written"
    return ""


def _checksums(folder: str) -> str:
    return files.join(folder, NAME)


def _sizes(folder: str) -> dict[str, int]:
    found = files.file_sizes(folder)
    return {name: size for name, size in found.items() if name.rsplit("/", 1)[-1] not in (NAME, *LATER)}


def _crc32(path: str) -> int:
    crc = 0
    with files.open_read(path) as file:
        while chunk := file.read(files.CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc
