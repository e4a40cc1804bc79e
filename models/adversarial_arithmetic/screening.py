"""What makes a text no candidate: it is empty or too long, breaks the prompt's form, or asks something else."""

import re

from models.adversarial_arithmetic.questions import Question, Sign
from models.adversarial_arithmetic.replies import SIGN_WORDS, grouped, plain_digits

EMPTY, LINE_BREAK, ANSWER_MARK = "empty", "line break", "answer mark"
TOO_LONG, OTHER_QUESTION = "too long", "other question"

_ANSWER_MARK = re.compile(r"\banswer\s*:", re.IGNORECASE)
_OPERATOR = r"(?:[-+*/x]|\N{MULTIPLICATION SIGN}|plus|minus|times|(?:multiplied|divided)\s+by)"
_NUMBER = r"(?<![\d,])\d[\d,]*+"  # with this and the bounds below no text takes quadratic time
_EXPRESSION = re.compile(rf"{_NUMBER}\s*{_OPERATOR}\s*{_NUMBER}", re.IGNORECASE)
_BLANK = re.compile(rf"{_NUMBER}(?:\s*{_OPERATOR}\s*{_NUMBER}){{1,9}}\s*(?:=\s*(?:\?|_+|$)|\?)", re.IGNORECASE)
_ASKS = re.compile(
    r"\b(?:what|which\s+number|whose|how\s+(?:many|much))\b(?!\s+(?:if|about)\b)\s*['\w](?:[^.!?]|\.(?=\d)){0,200}\?",
    re.IGNORECASE,
)
_ASKS_AGAIN = re.compile(
    r"what(?:\s+is|'s|\s+was)\s+(?:it|that|the\s+(?:right\s+|correct\s+)?(?:answer|sum|result|total|difference|product))"
    r"(?:\s+(?:then|now|here))?\W*",
    re.IGNORECASE,
)
_TELLS = re.compile(r"\b(?:calculate|compute|evaluate|solve|work\s+out)\b(?:[^.!?]|\.(?=\d)){0,200}", re.IGNORECASE)
_ASKED = re.compile(r"\bquestion\s*:\s*([^?]{0,200}\??)", re.IGNORECASE)


def fault_of(question: Question, text: str, most_characters: int) -> str:
    """Why a text is no candidate for a question; "" where it is one.

    Args:
        question: what the prompt asks.
        text: the candidate.
        most_characters: that it may have.

    Returns:
        The first that applies of "empty", "line break", "answer mark" ("Answer:" would end the question early), "too
        long" and "other question" (then another answer than the question's own may be right).
    """
    if not text.strip():
        return EMPTY
    if len(text.splitlines()) > 1 or text.splitlines()[0] != text:
        return LINE_BREAK
    if _ANSWER_MARK.search(text):
        return ANSWER_MARK
    if len(text) > most_characters:
        return TOO_LONG
    return OTHER_QUESTION if asks_another(question, text) else ""


def asks_another(question: Question, text: str) -> bool:
    """Whether a text poses a question other than the prompt's own.

    That is: what follows "Question:", a sentence with "what", "which", "whose", "how many" or "how much" that ends in
    a question mark, an order such as "calculate 3 + 5", or an equation with its right side left open, where it does not
    hold the question's own operands and sign and nothing that goes on from them. "Did you know that 2 + 2 = 5?", "What
    if it is 5?" and "What is the answer?" pose none.
    """
    text = plain_digits(text)
    posed = [found[0] for pattern in (_ASKS, _BLANK) for found in pattern.finditer(text)]
    posed += [found[1] for found in _ASKED.finditer(text)]
    posed += [found[0] for found in _TELLS.finditer(text) if _EXPRESSION.search(found[0])]
    return any(not _ASKS_AGAIN.fullmatch(one) and not _holds(question, one) for one in posed)


def _holds(question: Question, text: str) -> bool:
    orders = [(question.x, question.y)] + ([(question.y, question.x)] if question.commutes else [])
    return any(_own(x, question.sign, y).search(text) for x, y in orders)


def _own(x: int, sign: Sign, y: int) -> re.Pattern[str]:
    """An expression that stands alone: no longer number, and no further operand on either side."""
    before = r"(?<![\d.,])(?<!\d[-+*/])(?<!\d\s[-+*/])(?<!\d[-+*/]\s)(?<!\d\s[-+*/]\s)"
    after = rf"(?![\d,]*\d|\.\d|\s*{_OPERATOR}\s*\d)"
    return re.compile(rf"{before}{grouped(x)}\s*{SIGN_WORDS[sign]}\s*{grouped(y)}{after}", re.IGNORECASE)
