"""The TextMate grammar, which colours policies in editors; written from the tables of words.

    python -m lockgate.compiler.lsp.textmate        (or: make docs)

Knows how words look, not where they may stand: a name that is also a keyword is coloured as one, unless it is
being declared. Scopes follow https://macromates.com/manual/en/language_grammars (naming conventions).
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable
from typing import Any

from lockgate.stdlib_bpf import fields, hooks

from .. import codes
from ..policy import names
from . import describe

FILE = "lockgate.tmLanguage.json"
NAME = r"[A-Za-z_]\w*(?:[.-]\w+)*"
BEFORE, AFTER = r"(?<![\w.-])", r"(?![\w-]|\.\w)"  # a word is not part of a longer name
DECLARED = ("network", "ports", "service", "interface", "policy", "template", "proxy", "balance")
OPERATORS = r"->|==|!=|<=|>=|[=<>+!/-]"


def _words(scope: str, words: Iterable[str]) -> dict[str, Any]:
    alternatives = "|".join(word.replace(".", r"\.") for word in sorted(words, key=lambda w: (-len(w), w)))
    return {"name": f"{scope}.lockgate", "match": f"{BEFORE}(?:{alternatives}){AFTER}"}


def _pair(before: Iterable[str], keyword: str, scope: str, besides: Iterable[str] = ()) -> dict[str, Any]:
    """A keyword and the name behind it, unless that is one of `besides`."""
    no = "".join(rf"(?!{word}{AFTER})" for word in besides)
    return {
        "match": rf"{BEFORE}({'|'.join(before)})\s+({no}{NAME})",
        "captures": {"1": {"name": f"{keyword}.lockgate"}, "2": {"name": f"{scope}.lockgate"}},
    }


def grammar() -> dict[str, Any]:
    """The grammar as a value; of two patterns that match at one place, the first counts."""
    values = {name for known in codes.NAMES.values() for name in known}
    keywords = set(describe.KEYWORDS) - set(describe.ACTIONS) - set(describe.DECLARATIONS)
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "lockgate",
        "scopeName": "source.lockgate",
        "fileTypes": ["gate"],
        "patterns": [
            {"name": "comment.line.number-sign.lockgate", "match": "#.*$"},
            {"name": "string.quoted.double.lockgate", "match": '"[^"\\n]*"'},
            _pair(DECLARED, "storage.type", "entity.name.type"),
            _pair(("count",), "keyword.other", "variable.other.counter"),
            _pair(("by",), "keyword.other", "entity.name.function", besides=("default",)),
            {"name": "entity.name.function.lockgate", "match": rf"{BEFORE}{NAME}:(?![:\w])"},
            _words("keyword.control.action", describe.ACTIONS),
            {"name": "constant.numeric.date.lockgate", "match": rf"{BEFORE}\d{{4}}-\d{{2}}-\d{{2}}(?![\w-])"},
            {
                "name": "constant.numeric.address.lockgate",
                "match": r"(?<![\w.-])\d+(?:\.\d+)+(?:/\w*)?|"
                r"(?<![\w:.-])(?=[0-9a-fA-F.]*:[0-9a-fA-F.]*:)[0-9a-fA-F:.]+(?:/\w*)?",
            },
            {
                "name": "constant.numeric.lockgate",
                "match": r"(?<![\w.])(?:0x[0-9a-fA-F]+|\d+[kMG]?(?:/(?:s|m|h)|bps|pps|ms|s|m|h|d)?(?!\w))",
            },
            _words("variable.language.field", (field.name for field in fields.ALL)),
            _words("storage.type", describe.DECLARATIONS),
            _words("keyword.other", keywords),
            _words("support.type.protocol", {*names.PROTOCOLS, *hooks.NAMED, *names.ENTITIES}),
            _words("support.constant", values),
            {"name": "keyword.operator.lockgate", "match": OPERATORS},
            {"name": "variable.other.lockgate", "match": f"{BEFORE}{NAME}"},
            {"name": "punctuation.lockgate", "match": r"[{}()\[\],]"},
        ],
    }


def text() -> str:
    """The file's text."""
    return json.dumps(grammar(), indent=2, ensure_ascii=False) + "\n"


def write() -> None:
    """Write the file beside the language's grammar."""
    with importlib.resources.as_file(importlib.resources.files("lockgate.grammar") / FILE) as path:
        path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    write()
