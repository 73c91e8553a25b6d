"""Broken policies from sound ones, each by its seed: the same seed gives the same text for ever.

Knows the look of tokens; must never know what they mean.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from lockgate.compiler.errors import pages
from tests import filetest

ROOT = Path(__file__).parents[2]
TOKEN = re.compile(r'\s+|#[^\n]*|"[^"\n]*"|[\w./:-]+|.', re.DOTALL)
HUGE = (
    "9" * 400,
    "0x" + "f" * 300,
    "1" * 9 + ".1.1.1",
    "10.0.0.0/" + "9" * 60,
    "::/" + "1" * 40,
    "9" * 99 + "s",
)
ODD = "\0\x01\x1b\x7f\x85\xa0\u2028\u202e\ufeff\ud7ff\ufffd\U0001f525é“”–;`$\\'~^@?*&|%\r\v\f"


@cache
def samples() -> tuple[str, ...]:
    """Sound policies of all kinds: examples, the whole language, file tests, pages of codes."""
    files = [
        *sorted((ROOT / "examples").rglob("*.gate")),
        *sorted((ROOT / "tests" / "unit" / "data").rglob("*.gate")),
    ]
    texts = [path.read_text() for path in files]
    tests = sorted((ROOT / "tests" / "filetests").rglob("*.ft"))
    texts += [filetest.read(path.read_text()).get("policy") or "" for path in tests]
    texts += [
        pages.example(page.text, section)
        for page in pages.pages().values()
        for section in ("Example", "Instead")
        if f"## {section}\n" in page.text
    ]
    return tuple(text for text in texts if len(text) < 20_000)


def mutant(seed: int) -> str:
    """A text that was a policy before one to six things happened to it."""
    rng = random.Random(seed)
    text = rng.choice(samples())
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        text = rng.choice(MUTATIONS)(text, rng)[:40_000]
    return text


def _on_tokens(change: Callable[[list[str], random.Random], None]) -> Callable[[str, random.Random], str]:
    def mutation(text: str, rng: random.Random) -> str:
        tokens = TOKEN.findall(text)
        if tokens:
            change(tokens, rng)
        return "".join(tokens)

    return mutation


def _run(tokens: Sequence[str], rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(tokens))
    return start, min(len(tokens), start + rng.choice((1, 1, 1, 2, 3, 10)))


def _delete(tokens: list[str], rng: random.Random) -> None:
    start, end = _run(tokens, rng)
    del tokens[start:end]


def _duplicate(tokens: list[str], rng: random.Random) -> None:
    start, end = _run(tokens, rng)
    tokens[end:end] = tokens[start:end] * rng.choice((1, 1, 2, 50))


def _swap(tokens: list[str], rng: random.Random) -> None:
    a, b = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    tokens[a], tokens[b] = tokens[b], tokens[a]


def _replace(tokens: list[str], rng: random.Random) -> None:
    """A token becomes one from somewhere else."""
    others = TOKEN.findall(rng.choice(samples())) or [""]
    tokens[rng.randrange(len(tokens))] = rng.choice(others)


def _misspell(tokens: list[str], rng: random.Random) -> None:
    at = rng.randrange(len(tokens))
    word = tokens[at]
    cut = rng.randrange(len(word) + 1)
    tokens[at] = word[:cut] + rng.choice(("", "x", word[cut : cut + 1] * 2, "-", ".", "1")) + word[cut + 1 :]


def _huge(tokens: list[str], rng: random.Random) -> None:
    numbers = [i for i, token in enumerate(tokens) if token[:1].isdigit()]
    tokens[rng.choice(numbers or [0])] = rng.choice(HUGE)


def _nest(tokens: list[str], rng: random.Random) -> None:
    start, end = _run(tokens, rng)
    left, right = rng.choice(
        (("{", "}"), ("(", ")"), ("not ", ""), ("[", "]"), ("if (", ")"), ("{ any, ", "}"))
    )
    depth = rng.choice((1, 2, 20, 70, 3000))
    tokens[start:end] = [left * depth, *tokens[start:end], right * (depth + rng.choice((0, 0, -1)))]


def _splice(text: str, rng: random.Random) -> str:
    other = rng.choice(samples())
    return text[: rng.randrange(len(text) + 1)] + other[rng.randrange(len(other) + 1) :]


def _truncate(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _odd(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + "".join(rng.choices(ODD, k=rng.choice((1, 1, 3, 30)))) + text[at:]


def _flip(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x3000)))) + text[at + 1 :]


MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    *(_on_tokens(f) for f in (_delete, _duplicate, _swap, _replace, _replace, _misspell, _huge, _nest)),
    _splice,
    _truncate,
    _odd,
    _flip,
)
