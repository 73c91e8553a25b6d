"""W1011: unknown-import-field."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class UnknownImportField(Finding):
    """A document has a field that the importer does not know.

    ## What it means

    The field is not in the published schema of this kind and version.

    ## Why it matters

    It may be misspelt, and then it does nothing today either; or it belongs to a newer version.

    ## Example (shell)

        sed -i 's/podSelector/podSelektor/' policy.yaml
        lockgate import kubernetes policy.yaml

    ## Instead (shell)

        sed -i 's/podSelektor/podSelector/' policy.yaml
        lockgate import kubernetes policy.yaml
    """

    code = "W1011"
    slug = "unknown-import-field"
    span: Span
    path: str
    kind: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(f"`{self.kind}` has no field `{self.path}`", (self.span, "not read"))
