"""What a developer needs to see a failure of ours again, as one archive.

Knows exceptions and files; must never know what a policy means. Nothing in it names a home directory, a user
or this machine's folders.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath

from . import __file__ as package_file
from . import __version__

MAX_INPUT_BYTES = 64 << 20
LIBRARIES = ("click", "lark", "llvmlite", "pyelftools", "pyroute2")


def write(error: BaseException, arguments: Sequence[str], inputs: Mapping[str, bytes]) -> Path:
    """The archive's path. `inputs`: file name → contents; files among the arguments are added to them."""
    members = {"versions.txt": _versions(), "command.txt": _anonymous(f"lockgate {shlex.join(arguments)}\n")}
    members["traceback.txt"] = _anonymous("".join(traceback.format_exception(error)))
    members |= {f"{name}.txt": text for name, text in _intermediate_forms(error).items()}
    handle, name = tempfile.mkstemp(prefix="lockgate-bug-", suffix=".zip")
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in members.items():
            archive.writestr(member, text)
        for member, data in (_arguments_that_are_files(arguments) | dict(inputs)).items():
            archive.writestr(f"inputs/{_inside(member)}", data)
    return Path(name)


def chain_of(error: BaseException) -> list[BaseException]:
    """An exception and its causes."""
    found: list[BaseException] = [error]
    while (cause := found[-1].__cause__) is not None and cause not in found:
        found.append(cause)
    return found


def _intermediate_forms(error: BaseException) -> dict[str, str]:
    """Texts that exceptions of the compiler carry: two forms, and a packet that tells them apart."""
    return {
        part: text
        for one in chain_of(error)
        for part in ("before", "after", "witness")
        if isinstance(text := getattr(one, part, None), str)
    }


def _versions() -> str:
    lines = [f"lockgate {__version__}", f"Python {platform.python_version()}", platform.platform()]
    for name in LIBRARIES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return "\n".join(lines) + "\n"


def _arguments_that_are_files(arguments: Sequence[str]) -> dict[str, bytes]:
    found = {}
    for argument in arguments:
        path = Path(argument)
        try:
            if path.is_file() and path.stat().st_size <= MAX_INPUT_BYTES:
                found[path.name] = path.read_bytes()
        except (OSError, ValueError):  # gone, not readable, or no name that a file can have
            continue
    return found


def _inside(name: str) -> str:
    """A name below the archive's folder, whatever it was before."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
    return "/".join(parts) or "input"


def _anonymous(text: str) -> str:
    """Text without this machine's folders."""
    folders = {
        str(Path(package_file).resolve().parents[2]): "LOCKGATE",
        str(Path(package_file).parent.parent): "LOCKGATE",
        sys.prefix: "PYTHON",
        sys.base_prefix: "PYTHON",
        str(Path.cwd()): ".",
        str(Path.home()): "~",
    }
    for folder in sorted(folders, key=len, reverse=True):
        if len(folder) > 1:
            text = re.sub(re.escape(folder) + r"(?=[/\s\"':]|$)", folders[folder], text)
    return text
