"""Keys and passwords: what a text, a command or a config shows of them, which is nothing.

Keys come from the environment alone (`beam_jobs.inference.endpoint`). What is recorded, logged or raised goes through
here all the same, for a person may have written one into an option or an address.
"""

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

HIDDEN = "[…]"
LEAST_CHARACTERS = 8  # shorter values of the environment are in any text
_NAMES = re.compile(r"(?:^|_)(?:KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_WORD = (
    r"(?:[a-z0-9]+[_-])*(?:(?:api|access|private)[_-]?key|(?<![a-z0-9])key|token|secret|password|passwd"
    r"|authorization|signature|sig)"
)
_MAKERS = (  # how makers write their own
    r"\b(?:sk|pk|rk|gsk|xai|hf|ghp|gho|glpat|xox[abprs])[-_][A-Za-z0-9_-]{12,}|\bAIza[A-Za-z0-9_-]{20,}"
    r"|\bAKIA[A-Z0-9]{16}\b|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[\w-]*"
)
_PATTERNS = (
    (re.compile(r"(?<=://)[^/\s@'\"]+(?=@)"), HIDDEN),  # user:password@host
    (re.compile(rf"(?P<name>[?&;]{_WORD}=)[^&#;\s'\"]+", re.IGNORECASE), rf"\g<name>{HIDDEN}"),  # in an address
    (re.compile(r"(?P<name>\bBearer\s+)[^\s'\",]{8,}", re.IGNORECASE), rf"\g<name>{HIDDEN}"),
    (re.compile(_MAKERS), HIDDEN),
)
_OPTION = re.compile(
    rf"(?P<name>(?:^|[\s.'\"{{,(-]){_WORD}['\"]?\s*[=:]\s*)(?P<quote>['\"]?)(?!%|@|None\b)[^'\"\s,}})]{{{LEAST_CHARACTERS},}}",
    re.IGNORECASE,
)


def looks_like_one(name: str) -> bool:
    """Whether a field's or a variable's name says that it holds a key or a password."""
    return re.fullmatch(_WORD, name, re.IGNORECASE) is not None


def without_secrets(text: str) -> str:
    """A text in which keys and passwords are hidden.

    Hidden are the values of environment variables whose names end in KEY, TOKEN, SECRET, PASSWORD or CREDENTIALS;
    users, passwords and keys in addresses; what follows "Bearer"; and keys that can be told by how their makers write
    them, such as sk-….
    """
    for value in _of_environment():
        if value in text:
            text = text.replace(value, HIDDEN)
    for pattern, put in _PATTERNS:
        text = pattern.sub(put, text)
    return text


def command_without_secrets(words: Sequence[str]) -> list[str]:
    """A command's words, to be recorded; hidden is also what an option such as --api_key is given."""
    hidden, after_name = [], False
    for word in words:
        told = _OPTION.sub(rf"\g<name>\g<quote>{HIDDEN}", without_secrets(word))
        hidden.append(HIDDEN if after_name and not word.startswith("-") else told)
        after_name = word.startswith("--") and looks_like_one(word.lstrip("-"))
    return hidden


def _of_environment() -> Iterable[str]:
    """The keys in this process's environment, the longest first."""
    return _chosen(tuple(sorted((name, value) for name, value in os.environ.items() if _NAMES.search(name))))


@lru_cache(maxsize=4)
def _chosen(variables: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    values = {value.strip() for _, value in variables}
    # a path to a key, or a word, is none
    keys = {value for value in values if len(value) >= LEAST_CHARACTERS and not _is_path(value)}
    return tuple(sorted(keys, key=len, reverse=True))


def _is_path(value: str) -> bool:
    """Whether a value names a file; a key in base64 may begin with a slash too, but is no file with an ending."""
    named = value.startswith(("/", "~", ".")) and re.fullmatch(r"[\w~./-]*/[\w-]+\.\w{1,5}", value)
    return bool(named) or os.path.exists(os.path.expanduser(value))
