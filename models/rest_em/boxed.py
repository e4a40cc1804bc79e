r"""Boxed answers: the last \boxed{...} of a solution and its normal form.

The normal form makes equal what differs in writing only, so that most answers are settled without algebra. It serves
the purpose of the one in Hendrycks et al. (MATH, arXiv:2103.03874), but rational numbers get their exact value, and a
missing answer equals nothing, not even another one.
"""

import re
from fractions import Fraction

from models.rest_em.answers import last_match, number_of

MAX_ANSWER = 2000

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}")
_UNIT = re.compile(r"\\(?:text|textbf|textit|textrm|mbox)\s*\{[^{}]*\}\Z|\\mathrm\s*\{[^{}]{2,}\}\Z")
_SPACES = re.compile(r"(?:(?<!\\)\\[,;: ]|~|\\q?quad(?![A-Za-z])|\s)+")
_GROUP_MARKS = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!)(?=[0-9]{3}(?![0-9]))")
_SPACED_GROUPS = re.compile(r"(?<![0-9._^])(?<![0-9] )[1-9][0-9]{0,2}(?: [0-9]{3})+(?! ?[0-9])")
_COMMA_GROUPS = re.compile(r"(?<![0-9.,_^])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9]|,[^ ])")
_SEPARATOR = re.compile(r" , ?|, ")
_NEEDLESS = re.compile(r"(?<![0-9]) | (?![0-9])")
_DROPPED = re.compile(
    r"(?<!\\)\\!|\\(?:left|right|displaystyle|limits|Bigg?[lr]?|bigg?[lr]?)(?![A-Za-z])|\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree|°"
)
_BARE_FRACTION = re.compile(
    r"\\frac([0-9A-Za-z]) ?([0-9A-Za-z])|\\frac([0-9A-Za-z])(?=\{)|\\frac(\{[^{}]*\})([0-9A-Za-z])"
)
_BARE_ROOT = re.compile(r"\\sqrt([0-9A-Za-z])")
_RATIO = re.compile(r"(-?)\\frac\{(-?[0-9]+)\}\{(-?[0-9]+)\}")
_PLAIN = re.compile(r"-?(?:[0-9]+|[1-9][0-9]{0,2}(?:,[0-9]{3})+)?(?:\.[0-9]+)?(?:/[0-9]+)?")
_NAMED = re.compile(r"(?:[A-Za-z]|\\[A-Za-z]+)(?:_\{?[A-Za-z0-9]\}?)?(?:\([A-Za-z]\))?=([^=<>]+)")
_SAME = (
    ("\N{MINUS SIGN}", "-"),
    ("π", "\\pi"),
    ("∞", "\\infty"),
    ("≤", "\\leq"),
    ("≥", "\\geq"),
    ("\\$", ""),
    ("$", ""),
    ("\\%", ""),
    ("%", ""),
    ("{,}", ","),
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("\\lbrace", "\\{"),
    ("\\rbrace", "\\}"),
)


def last_boxed(text: str) -> str | None:
    r"""What stands in the last \boxed{...} or \fbox{...}, or the word behind "\boxed 5"; None if it isn't closed."""
    last = last_match(_BOX, text)
    if last is None:
        return None
    start = last.end()
    if text[start : start + 1] != "{":
        return re.split(r"[\s$]", text[start : start + MAX_ANSWER], maxsplit=1)[0].rstrip(".,")
    depth, at = 0, start
    while at < min(len(text), start + 2 * MAX_ANSWER):
        if text[at] == "\\":
            at += 1  # an escaped brace is a set's, not a group's
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : at]
        at += 1
    return None


def normal_form(answer: str) -> str:
    r"""One writing for answers that differ in writing only; "" for an empty one, or one over `MAX_ANSWER` characters.

    Spaces, delimiter sizes, units and degree, dollar and percent signs go; \dfrac12 becomes \frac{1}{2}; of "x=5" the
    5 stays; a rational number becomes its value in lowest terms, so 1/2, 0.5 and \frac{2}{4} are one.

    A comma beside a space, of whatever width, separates a list: "1, 234" is two numbers, and keeps its space, for
    without it would be one. "{,}" and ",\!" before three digits never separate; nor does a bare comma outside of
    brackets where all digits stand in groups of three, as in "1,234". A space between digits goes only where they
    stand in such groups: "1 234" is 1234, "1 2" is not 12, and "1 1/2" not 11/2.
    """
    if len(answer) > MAX_ANSWER:
        return ""
    answer = _GROUP_MARKS.sub("", answer)
    for one, other in _SAME:
        answer = answer.replace(one, other)
    answer = re.sub(r"\\([lg])e(?![A-Za-z])", r"\\\1eq", _DROPPED.sub("", answer))
    answer = _without_spaces(_SPACES.sub(" ", _without_unit(answer.strip())).strip()).rstrip(".")
    answer = _BARE_ROOT.sub(r"\\sqrt{\1}", _BARE_FRACTION.sub(_braced, answer))
    if named := _NAMED.fullmatch(answer):
        answer = named[1]
    value = rational(answer)
    return answer if value is None else str(value)


def _without_spaces(answer: str) -> str:
    """Without the spaces that mean nothing, and with numbers in groups of digits as one run of digits."""
    answer = _SPACED_GROUPS.sub(lambda found: found[0].replace(" ", ""), _SEPARATOR.sub(", ", answer))
    answer = ", ".join(_NEEDLESS.sub("", one) for one in _joined(answer).split(", "))
    bare = answer.replace(", ", ",")
    return bare if _joined(bare) == bare else answer


def _joined(answer: str) -> str:
    def one(found: re.Match[str]) -> str:
        before = answer[: found.start()]
        inside = sum(before.count(char) for char in "([{") - sum(before.count(char) for char in ")]}")
        return found[0] if inside else found[0].replace(",", "")  # "(1,234)" is a pair

    return _COMMA_GROUPS.sub(one, answer)


def _without_unit(answer: str) -> str:
    unit = _UNIT.search(answer)
    if unit and answer[: unit.start()].strip() and not re.search(r"\b(?:or|and)\b", unit[0]):
        answer = answer[: unit.start()]
    return _TEXT.sub(r"\1", answer)


def _braced(found: re.Match[str]) -> str:
    top, under, alone, group, behind = found.groups()
    if alone:
        return f"\\frac{{{alone}}}"
    return f"\\frac{group}{{{behind}}}" if group else f"\\frac{{{top}}}{{{under}}}"


def rational(answer: str) -> Fraction | None:
    """The value of an answer, in normal form or nearly, that is a rational number in digits; else None."""
    if ratio := _RATIO.fullmatch(answer):
        sign, top, under = ratio.groups()
        value, below = number_of(top), number_of(under)
        return None if value is None or not below else value / below * (-1 if sign else 1)
    return number_of(answer) if _PLAIN.fullmatch(answer) else None


def same_answer(reference: str | None, answer: str | None) -> bool:
    """Whether two answers have the same normal form; an answer that is missing or empty is no one's equal."""
    form = normal_form(reference or "")
    return form != "" and form == normal_form(answer or "")


def settled(reference: str, answer: str) -> bool | None:
    """What their writing alone tells of two answers in normal form; None where algebra has to decide.

    Equal writing is equal. Rational numbers, alone or in lists, are equal only if exactly so: libraries round, and
    some take "1,234, 5" for "1, 234, 5". A set is no pair and no interval, and the ends of an interval count.
    """
    if not reference or not answer or reference == answer:
        return bool(reference) and reference == answer
    numbers, others = _rationals(reference), _rationals(answer)
    if numbers and others and (numbers != others or len(numbers) == 1):
        return False
    ends = [(_ends(one)) for one in (reference, answer)]
    return False if None not in ends and ends[0] != ends[1] else None


def _rationals(answer: str) -> set[Fraction] | None:
    """The numbers of a list, or the one that an answer is; None where something else is among them."""
    if (alone := rational(answer)) is not None:
        return {alone}
    inner = answer.replace("\\{", "{").replace("\\}", "}")[1:-1] if _ends(answer) else answer
    found: set[Fraction] = set()
    for one in inner.split(","):
        if (value := rational(one.strip())) is None:
            return None
        found.add(value)
    return found


def _ends(answer: str) -> str | None:
    """The delimiters around a list, such as "()" or "[)"; None where the answer isn't one delimited list."""
    answer = answer.replace("\\{", "{").replace("\\}", "}")
    if len(answer) < 3 or answer[0] not in "([{" or answer[-1] not in ")]}" or "," not in answer:
        return None
    depth = 0
    for at, char in enumerate(answer):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and at < len(answer) - 1:
            return None
    return answer[0] + answer[-1]
