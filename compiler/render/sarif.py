"""Diagnostics as a SARIF log, for code scanning: one run, a rule for each code that occurs, with its page.

Source: OASIS "Static Analysis Results Interchange Format 2.1.0", the sections named below. Columns and
offsets count Unicode code points (3.14.17). Paths stay as the user gave them: relative ones are relative to
where the command ran (3.4.3).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lockgate import __version__

from ..diagnostics import Diagnostic, Fix, Label, Severity
from ..errors import pages
from ..source import Source, Span

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning"}  # 3.27.10


def write(diagnostics: list[Diagnostic], colour: bool = False) -> str:
    """The log as JSON."""
    codes = sorted({d.code for d in diagnostics})
    run = {
        "tool": {
            "driver": {"name": "lockgate", "version": __version__, "rules": [_rule(code) for code in codes]}
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(d, codes.index(d.code)) for d in diagnostics],
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _rule(code: str) -> dict[str, Any]:
    """3.49: the page of a code."""
    page = pages.pages()[code]
    parts = pages.sections(page.text)
    return {
        "id": code,
        "name": page.slug,
        "shortDescription": {"text": parts[""]},
        "fullDescription": {"text": " ".join(parts.get("What it means", parts[""]).split())},
        "help": {"text": page.text.strip(), "markdown": pages.markdown(page).strip()},
        "defaultConfiguration": {"level": "error" if code.startswith("E") else "warning"},
    }


def _result(d: Diagnostic, rule: int) -> dict[str, Any]:
    """3.27."""
    found: dict[str, Any] = {
        "ruleId": d.code,
        "ruleIndex": rule,
        "level": LEVELS[d.severity],
        "message": {"text": _message(d)},
    }
    if d.labels:
        found["locations"] = [{"physicalLocation": _place(d.labels[0].span)}]
    if d.labels[1:]:
        found["relatedLocations"] = [_related(label, i) for i, label in enumerate(d.labels[1:], 1)]
    if d.fixes:
        found["fixes"] = [_fix(fix) for fix in d.fixes]
    return found


def _message(d: Diagnostic) -> str:
    label = [d.labels[0].text] if d.labels and d.labels[0].text else []
    witness = [f"example: {d.witness}"] if d.witness else []
    return "\n".join([d.message, *label, *d.notes, *witness, *(f"help: {text}" for text in d.help)])


def _related(label: Label, number: int) -> dict[str, Any]:
    """3.28."""
    message = {"message": {"text": label.text}} if label.text else {}
    return {"id": number, "physicalLocation": _place(label.span), **message}


def _fix(fix: Fix) -> dict[str, Any]:
    """3.55: one replacement."""
    replacement = {"deletedRegion": _region(fix.span), "insertedContent": {"text": fix.replacement}}
    return {
        "description": {"text": f"write `{fix.replacement}`" if fix.replacement.strip() else "delete it"},
        "artifactChanges": [{"artifactLocation": _artifact(fix.span.source), "replacements": [replacement]}],
    }


def _place(span: Span) -> dict[str, Any]:
    return {"artifactLocation": _artifact(span.source), "region": _region(span)}


def _artifact(source: Source) -> dict[str, str]:
    path = Path(source.shown)
    return {"uri": path.as_uri() if path.is_absolute() else quote(path.as_posix())}


def _region(span: Span) -> dict[str, int]:
    """3.30: a text region; the end column is that behind the last character."""
    end_line, end_column = span.source.position(span.end)
    return {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": end_line,
        "endColumn": end_column,
        "charOffset": span.start,
        "charLength": span.end - span.start,
    }
