"""Diagnostics as one JSON document: every fact of each, nothing laid out."""

from __future__ import annotations

import json
from typing import Any

from ..diagnostics import Diagnostic
from ..source import Span


def write(diagnostics: list[Diagnostic], colour: bool = False) -> str:
    """A JSON array."""
    return json.dumps([as_dict(d) for d in diagnostics], indent=2, ensure_ascii=False) + "\n"


def as_dict(d: Diagnostic) -> dict[str, Any]:
    """A diagnostic as JSON values. Offsets and columns count characters; lines and columns from 1."""
    return {
        "code": d.code,
        "name": d.name,
        "severity": d.severity.value,
        "message": d.message,
        "labels": [_span_dict(label.span) | {"text": label.text} for label in d.labels],
        "notes": list(d.notes),
        "help": list(d.help),
        "example": d.witness,
        "fixes": [
            _span_dict(fix.span) | {"replacement": fix.replacement, "sure": fix.sure} for fix in d.fixes
        ],
    }


def _span_dict(span: Span) -> dict[str, Any]:
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.shown,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
        "start": span.start,
        "end": span.end,
    }
