"""Statements of a schema as SQLite keeps them, and how the same is written under other names.

What is kept begins with ``CREATE TABLE name`` (or ``CREATE INDEX name ON table``), whatever was said before, so that
names are found by their place. All that is not about names is left as it is.
"""

import re
import string
from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.store._quoting import quoted

__all__ = [
    "folded",
    "is_by_rowid",
    "names_in",
    "parts_of_index",
    "quoted",
    "renamed_index",
    "renamed_table",
    "words_of",
]

_TOKEN: Final = re.compile(
    r"\s+|--[^\n]*|/\*.*?(?:\*/|\Z)"
    r"|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]"
    r"|[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*|.",
    re.DOTALL,
)

_SMALL: Final = {ord(capital): ord(capital.lower()) for capital in string.ascii_uppercase}


def folded(name: str) -> str:
    """A name as SQLite compares it: the case of the letters A to Z does not count, that of others does."""
    return name.translate(_SMALL)


def is_by_rowid(sql: str) -> bool:
    """Whether the table that a statement makes has row ids. Its options stand behind the last bracket."""
    words = words_of(sql)
    return ")" not in words or "WITHOUT" not in words[len(words) - words[::-1].index(")") :]


def renamed_table(sql: str, name: str) -> str:
    """The statement of a table under another name, and without foreign keys.

    Those of a shadow table would be in the way of live ones: whoever deletes a row there would have to wait until no
    row here refers to it.
    """
    tokens = _significant(sql)
    tokens[_after(tokens, "TABLE")] = _Token(quoted(name))
    return _joined(_without_references(tokens))


def renamed_index(sql: str, name: str, table: str) -> str:
    """The statement of an index under another name, on another table."""
    tokens = _significant(sql)
    tokens[_after(tokens, "INDEX")] = _Token(quoted(name))
    tokens[_after(tokens, "ON")] = _Token(quoted(table))
    return _joined(tokens)


def parts_of_index(sql: str) -> tuple[list[str], str]:
    """What an index is of, without the direction of each; and its condition, if it has one."""
    tokens = _significant(sql)
    start = _after(tokens, "ON") + 2
    parts, depth = [list[_Token]()], 1
    while depth:
        token = tokens[start]
        start += 1
        depth += (token.text == "(") - (token.text == ")")
        if depth == 1 and token.text == ",":
            parts.append([])
        elif depth:
            parts[-1].append(token)
    shown = [_joined(each[:-1] if each[-1].word in ("ASC", "DESC") else each).strip() for each in parts]
    return shown, _joined(tokens[start + 1 :]).strip()


def names_in(sql: str) -> set[str]:
    """Every name in a statement, unquoted, keywords among them."""
    found: set[str] = set()
    for token, _ in _significant(sql):
        if token[0] != "'":
            quote = token[0] if token[0] in '"`' else ""
            found.add(token[1:-1].replace(quote * 2, quote) if quote else token.strip("[]"))
    return found


def words_of(sql: str) -> list[str]:
    """Its words and signs in capitals, without texts and quoted names."""
    return [token.upper() for token, _ in _significant(sql) if token[0] not in "'\"`["]


class _Token(NamedTuple):
    text: str
    is_apart: bool = True
    """Whether there is a blank before it."""

    @property
    def word(self) -> str:
        """In capitals."""
        return self.text.upper()


def _significant(sql: str) -> list[_Token]:
    """Tokens that are neither blanks nor comments."""
    found: list[_Token] = []
    is_apart = False
    for token in _TOKEN.findall(sql):
        if token.isspace() or token.startswith(("--", "/*")):
            is_apart = True
        else:
            found.append(_Token(token, is_apart))
            is_apart = False
    return found


def _joined(tokens: Sequence[_Token]) -> str:
    return "".join(f" {text}" if is_apart else text for text, is_apart in tokens)


def _after(tokens: Sequence[_Token], keyword: str) -> int:
    """Where the first token after a keyword is."""
    return next(number for number, token in enumerate(tokens) if token.word == keyword) + 1


def _without_references(tokens: Sequence[_Token]) -> list[_Token]:
    left = list(tokens)
    while "REFERENCES" in (words := [token.word for token in left]):
        start = words.index("REFERENCES")
        end = _end_of_reference(words, start)
        columns = _opening(words, start - 1) if words[start - 1] == ")" else 0
        is_of_table = words[max(columns - 2, 0) : columns] == ["FOREIGN", "KEY"]
        start = columns - 2 if is_of_table else start
        if words[start - 2] == "CONSTRAINT":
            start -= 2
        if is_of_table and words[start - 1] == ",":
            start -= 1
        left[start:end] = []
        left[start] = left[start]._replace(is_apart=True)
    return left


def _end_of_reference(words: Sequence[str], start: int) -> int:
    """The place behind a ``REFERENCES`` clause (https://www.sqlite.org/syntax/foreign-key-clause.html)."""
    place = start + 2
    if place < len(words) and words[place] == "(":
        place = words.index(")", place) + 1
    while place < len(words):
        match words[place : place + 4]:
            case ["ON", _, "SET" | "NO", _]:
                place += 4
            case ["ON", _, _, *_]:
                place += 3
            case ["MATCH", _, *_]:
                place += 2
            case ["NOT", "DEFERRABLE", *_]:
                place += 2
            case ["DEFERRABLE", *_]:
                place += 1
            case ["INITIALLY", _, *_]:
                place += 2
            case _:
                break
    return place


def _opening(words: Sequence[str], closing: int) -> int:
    """Where the bracket opens that closes there."""
    depth = 0
    for place in range(closing, -1, -1):
        depth += (words[place] == ")") - (words[place] == "(")
        if depth == 0:
            return place
    return 0
