"""The sentences of the corpus: what its rules (`models.adversarial_arithmetic.corpus_rules`) are worded with.

In a text {x} {sign} {y} is the calculation, {z} its result, {v} and {u} are some values, {n} is a small number,
{name}, {other}, {thing}, {place} and {word} are words, {made} is a made-up sign and {code} garbled text.
"""

from collections.abc import Mapping

NAMES = ("Tom", "Ann", "Ben", "Eva", "Max", "Lea", "Sam", "Mia", "Leo", "Zoe", "Jim", "Kim")
THINGS = ("apples", "pens", "books", "cups", "eggs", "hats", "cars", "keys", "birds", "trees")
PLACES = ("school", "home", "town", "the park", "the shop", "the lake", "the office", "the garden")
WORDS = ("blue", "red", "cold", "warm", "old", "new", "late", "early", "quiet", "busy", "dark", "small")
LETTERS = ("a", "b", "c", "k", "m", "p", "q", "t")
MADE_UP_SIGNS = ("#", "@", "%", "&", "$", "~")

ASKED: Mapping[str, tuple[str, ...]] = {
    "+": (
        "What is {x} plus {y}?", "How much is {x} + {y}?", "Add {x} and {y}.", "What is the sum of {x} and {y}?",
        "{x} + {y} is what?", "Find {x} + {y}.", "What do {x} and {y} make?",
    ),
    "-": (
        "What is {x} minus {y}?", "How much is {x} - {y}?", "Take {y} from {x}.", "Find {x} - {y}.",
        "{x} - {y} is what?",
    ),
    "*": (
        "What is {x} times {y}?", "How much is {x} * {y}?", "Multiply {x} by {y}.", "Find {x} * {y}.",
        "{x} * {y} is what?",
    ),
}  # fmt: skip
STORIES: Mapping[str, tuple[str, ...]] = {
    "+": (
        "{name} has {x} {thing}. {name} gets {y} more. How many {thing} does {name} have?",
        "{name} has {x} {thing} and {other} has {y}. How many {thing} do they have?",
        "There are {x} {thing} at {place}. {name} brings {y} more. How many {thing} are there?",
    ),
    "-": (
        "{name} has {x} {thing}. {name} gives {y} away. How many {thing} are left?",
        "There are {x} {thing} at {place}. {name} takes {y}. How many {thing} are left?",
    ),
    "*": (
        "{name} has {x} bags of {y} {thing} each. How many {thing} does {name} have?",
        "There are {x} rows of {y} {thing}. How many {thing} are there?",
    ),
}  # fmt: skip
IRRELEVANT = (
    "It is {word} today.", "{name} is at {place}.", "{name} likes {thing}.", "The {thing} are {word}.",
    "{name} is {v} years old.", "The bus to {place} leaves at {v}.", "{name} has {v} {thing}.",
    "{other} and {name} go to {place}.", "There are {v} {thing} at {place}.", "{name} lives at number {v}.",
    "It is day {v} of the month.", "The way to {place} takes {v} minutes.", "{name} reads a {word} book.",
    "Please think about it.", "Take your time.", "This one is easy.", "{name} asks this at {place}.",
    "{name} met {other} at {place}.", "The {word} {thing} are for {name}.", "A letter came for {name}.",
    "Page {v} is about {thing}.", "{name} saw {v} {thing} and {u} cups.", "The room is {word} and {word}.",
    "Thank you for your help, {name}.", "{name} wrote it down.", "{other} says that {name} is {word}.",
    "Everyone at {place} knows {name}.", "They sell {thing} for {v} dollars.", "It rained for {v} days.",
    "Do not be {word}.", "{name} said so to {other}.", "The {thing} of {other} cost {v} and {u} dollars.",
)  # fmt: skip
READING = (
    ("{name} says {v}.", "What does {name} say?"),
    ("The box holds {v} {thing}.", "How many {thing} does the box hold?"),
    ("{name} is {v} years old.", "How old is {name}?"),
    ("The key gives {v}.", "What does the key give?"),
    ("The answer of {name} is {v}.", "What is the answer of {name}?"),
    ("The result is {v}.", "What is the result?"),
    ("The number of {name} is {v}.", "What is the number of {name}?"),
    ("{name} says that {x} {sign} {y} is {v}.", "What does {name} say {x} {sign} {y} is?"),
    ("{name} claims that the answer is {v}.", "What does {name} claim?"),
    ("There are {v} {thing} at {place}.", "How many {thing} are at {place}?"),
    ("The book says that it is {v}.", "What does the book say?"),
    ("{name} wrote {v} on the board.", "What is on the board?"),
)
STATED = (
    "{x} {sign} {y} is {z}.", "{x} {sign} {y} = {z}.", "We know that {x} {sign} {y} is {z}.", "The answer is {z}.",
    "As we saw, {x} {sign} {y} = {z}.", "The book says that it is {z}.", "The result is {z}.",
    "{name} says that {x} {sign} {y} is {z}.", "{name} found {z}.", "The key gives {z}.", "It makes {z}.",
    "All at {place} agree that it is {z}.", "The teacher says {z}.", "The right answer is {z}.",
)  # fmt: skip
TABLES = ("{x} {made} {y} is {v}.", "In the table {x} {made} {y} is {v}.", "By our rule {x} {made} {y} = {v}.")
CONVENTIONS: tuple[tuple[str, str], ...] = (
    ("Here {sign} means minus.", "x-y"),
    ("In this game {sign} means -.", "x-y"),
    ("Here {sign} means times.", "x*y"),
    ("Here {sign} means plus.", "x+y"),
    ("Count {n} more.", "z+n"),
    ("Then add {n}.", "z+n"),
    ("Add {n} to the result.", "z+n"),
    ("In this game all results are {n} higher.", "z+n"),
    ("At {place} they count {n} more.", "z+n"),
    ("Then take {n} away.", "z-n"),
    ("Take {n} from the result.", "z-n"),
    ("In this game all results are {n} lower.", "z-n"),
    ("Double the result.", "z+z"),
    ("Count it twice.", "z+z"),
)
CORRECTIONS: tuple[tuple[str, str], ...] = (
    ("No, the first number is {u}.", "u?y"),
    ("Sorry, I mean {u} in place of {x}.", "u?y"),
    ("Wait, {x} should be {u}.", "u?y"),
    ("No, the second number is {u}.", "x?u"),
    ("Sorry, not {y} but {u}.", "x?u"),
    ("The {y} is a typo for {u}.", "x?u"),
    ("Read {u} in place of {y}.", "x?u"),
)
DENIED = (
    "{name} says that it is {v}, but {name} is wrong.", "It is not {v}.", "{x} {sign} {y} is not {v}.",
    "A wrong answer is {v}.", "Do not say {v}.", "The answer {v} of {name} is false.",
)  # fmt: skip
CODES = (
    "{code}", "{code}", "{code}", "Order {code}.", "Ref: {code}", "See {code}.", "The password is {code}",
    "File {code} is lost.", "www.{code}.com", "[{code}]", "id={code}",
)  # fmt: skip
