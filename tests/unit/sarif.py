"""What sarif-schema-2.1.0.json (OASIS) demands of the objects that lockgate writes: required properties,
properties that exist, their types, and ranges. `check` raises AssertionError with the path of what is
wrong."""

from __future__ import annotations

import re
from typing import Any

TEXT, NUMBER, LEVEL = "text", "number", ("none", "note", "warning", "error")
URI = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")

# object → property → (required, type); a type in a list is an array of it
OBJECTS: dict[str, dict[str, tuple[bool, Any]]] = {
    "log": {"$schema": (False, "uri"), "version": (True, ("2.1.0",)), "runs": (True, ["run"])},
    "run": {
        "tool": (True, "tool"),
        "results": (False, ["result"]),
        "columnKind": (False, ("utf16CodeUnits", "unicodeCodePoints")),
    },
    "tool": {"driver": (True, "component")},
    "component": {"name": (True, TEXT), "version": (False, TEXT), "rules": (False, ["rule"])},
    "rule": {
        "id": (True, TEXT),
        "name": (False, TEXT),
        "shortDescription": (False, "rich"),
        "fullDescription": (False, "rich"),
        "help": (False, "rich"),
        "defaultConfiguration": (False, "configuration"),
    },
    "configuration": {"level": (False, LEVEL)},
    "rich": {"text": (True, TEXT), "markdown": (False, TEXT)},
    "message": {"text": (True, TEXT)},
    "result": {
        "ruleId": (False, TEXT),
        "ruleIndex": (False, NUMBER),
        "level": (False, LEVEL),
        "message": (True, "message"),
        "locations": (False, ["location"]),
        "relatedLocations": (False, ["location"]),
        "fixes": (False, ["fix"]),
    },
    "location": {
        "id": (False, NUMBER),
        "physicalLocation": (False, "place"),
        "message": (False, "message"),
    },
    "place": {"artifactLocation": (False, "artifact"), "region": (False, "region")},
    "artifact": {"uri": (False, "uri")},
    "region": {
        "startLine": (False, "from 1"),
        "startColumn": (False, "from 1"),
        "endLine": (False, "from 1"),
        "endColumn": (False, "from 1"),
        "charOffset": (False, NUMBER),
        "charLength": (False, NUMBER),
    },
    "fix": {"description": (False, "message"), "artifactChanges": (True, ["change"])},
    "change": {"artifactLocation": (True, "artifact"), "replacements": (True, ["replacement"])},
    "replacement": {"deletedRegion": (True, "region"), "insertedContent": (False, "content")},
    "content": {"text": (False, TEXT)},
}


def check(value: Any, kind: Any = "log", path: str = "log") -> None:
    if isinstance(kind, list):
        assert isinstance(value, list), path
        for i, item in enumerate(value):
            check(item, kind[0], f"{path}[{i}]")
    elif isinstance(kind, tuple):
        assert value in kind, path
    elif kind in OBJECTS:
        assert isinstance(value, dict), path
        assert set(value) <= set(OBJECTS[kind]), path
        for name, (required, inner) in OBJECTS[kind].items():
            assert name in value or not required, f"{path} lacks {name}"
            if name in value:
                check(value[name], inner, f"{path}.{name}")
    elif kind in (NUMBER, "from 1"):
        assert isinstance(value, int) and value >= (kind == "from 1"), path
    else:
        assert isinstance(value, str), path
        assert kind != "uri" or URI.fullmatch(value), path
