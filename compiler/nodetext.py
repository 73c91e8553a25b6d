"""Syntax trees and policies as text, and back: values made of frozen dataclasses, tuples, dicts, scalars.

One form serves both stages, `Class(field=value, …)` with a line for each node; fields at their default are
left out. A span is its character offsets in the source, which reading needs again. Knows how to write and
read values; knows nothing of what they mean.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from lockgate.stdlib_bpf.sets import IntervalSet

from .source import Source, Span

WIDTH = 100


class NodeTextError(ValueError):
    """Text that is no value of the given classes; the message says where."""


def write(value: object, indent: int = 0) -> str:
    """A value as text, without a line end."""
    if isinstance(value, Span):
        return f"Span({value.start}, {value.end})"
    if isinstance(value, Source):
        return f"Source(name={value.name!r})"
    if isinstance(value, IntervalSet):
        return (
            "IntervalSet("
            + ", ".join(f"{low}" if low == high else f"({low}, {high})" for low, high in value)
            + ")"
        )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [
            f for f in dataclasses.fields(value) if f.init and not _is_default(f, getattr(value, f.name))
        ]
        parts = [f"{f.name}={write(getattr(value, f.name), indent + 2)}" for f in fields]
        return _wrapped(type(value).__name__ + "(", parts, ")", indent)
    if isinstance(value, tuple | list):
        return _wrapped("[", [write(v, indent + 2) for v in value], "]", indent)
    if isinstance(value, dict):
        return _wrapped("{", [f"{k!r}: {write(v, indent + 2)}" for k, v in value.items()], "}", indent)
    return repr(value)


def _is_default(field: dataclasses.Field[Any], value: object) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(value == field.default)


def _wrapped(opening: str, parts: list[str], closing: str, indent: int) -> str:
    flat = opening + ", ".join(parts) + closing
    if len(flat) + indent <= WIDTH and "\n" not in flat:
        return flat
    pad = " " * (indent + 2)
    return opening + "\n" + "".join(f"{pad}{part},\n" for part in parts) + " " * indent + closing


def read(text: str, source: Source, classes: Iterable[type]) -> Any:
    """The value that `write` wrote. `classes`: every dataclass that may occur. NodeTextError for anything
    else; nothing in the text is ever executed."""
    known: dict[str, Callable[..., Any]] = {c.__name__: c for c in classes}
    known["Source"] = lambda name: source
    known["IntervalSet"] = IntervalSet.of
    known["Span"] = lambda start, end: Span(source, start, end)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise NodeTextError(f"line {error.lineno}: not a value") from None
    return _value(tree.body, known)


def _value(node: ast.expr, known: dict[str, Callable[..., Any]]) -> Any:
    match node:
        case ast.Constant(value):
            return value
        case ast.List(items) | ast.Tuple(items):
            return tuple(_value(item, known) for item in items)
        case ast.Dict(keys, values):
            return {
                _value(k, known): _value(v, known) for k, v in zip(keys, values, strict=True) if k is not None
            }
        case ast.UnaryOp(ast.USub(), ast.Constant(int(value))):
            return -value
        case ast.Call(ast.Name(name), arguments, keywords) if name in known:
            given = {k.arg: _value(k.value, known) for k in keywords if k.arg}
            try:
                return known[name](*(_value(a, known) for a in arguments), **given)
            except TypeError as error:
                raise NodeTextError(f"line {node.lineno}: {error}") from None
    raise NodeTextError(f"line {node.lineno}: not a value of a stage")
