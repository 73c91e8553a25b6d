"""numpy, loaded at its first use: it takes a fifth of the time of a command that builds no table, such as
`check` or `fmt`.

Types of arrays are for the type checker alone, so they stand under TYPE_CHECKING.
"""

from __future__ import annotations

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["np"]

if TYPE_CHECKING:
    import numpy as np
else:

    def _at_first_use(name: str) -> ModuleType:
        """A module that loads itself when it is first asked for something (the recipe of importlib's page).
        ModuleNotFoundError when it is not installed."""
        if name in sys.modules:
            return sys.modules[name]
        spec = find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        spec.loader = LazyLoader(spec.loader)
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    np = _at_first_use("numpy")
