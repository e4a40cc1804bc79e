"""Names that come from outside and become names of files: a plain part of a path, and nothing that leads elsewhere."""

from shammie.errors import UserError

MOST_BYTES = 255  # of one name, on the file systems in use


def plain_name(name: object, what: str, cure: str = "") -> str:
    """A name as one part of a path.

    Args:
        name: from a manifest, a header, a server or an option.
        what: it names, for the error, such as "shard".
        cure: what to do about a wrong one.

    Raises:
        UserError: it is no text, is empty, "." or "..", holds a slash, a backslash or a character that cannot be seen,
            or is longer than a file's name may be.
    """
    if isinstance(name, str) and name not in ("", ".", "..") and name.isprintable() and not set(name) & set("/\\"):
        if len(name.encode()) <= MOST_BYTES:
            return name
    raise UserError(f"{what} {name!r:.100} cannot be a file's name", cure or "use letters, digits, '-', '_' and '.'")


def inner_path(path: object, what: str, cure: str = "") -> str:
    """A path that stays below a folder: plain names with slashes between.

    Raises:
        UserError: it is absolute, leads upwards, or a part of it is no plain name.
    """
    if not isinstance(path, str):
        raise UserError(f"{what} {path!r:.100} cannot be a file's name", cure or "use text")
    return "/".join(plain_name(part, what, cure) for part in path.split("/"))
