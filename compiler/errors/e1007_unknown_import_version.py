"""E1007: unknown-import-version."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class UnknownImportVersion(Finding):
    """A document has a version that the importer does not know.

    ## What it means

    Its kind is known, its `apiVersion` is not: fields may mean something else there.

    ## Why it matters

    A policy that is read by the rules of another version may let through what it should not.

    ## Example (shell)

        sed -i 's,networking.k8s.io/v1,networking.k8s.io/v9,' policy.yaml
        lockgate import kubernetes policy.yaml

    ## Instead (shell)

        sed -i 's,networking.k8s.io/v9,networking.k8s.io/v1,' policy.yaml
        lockgate import kubernetes policy.yaml
    """

    code = "E1007"
    slug = "unknown-import-version"
    span: Span
    kind: str
    version: str
    known: tuple[str, ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        known = " and ".join(f"`{v}`" for v in self.known)
        return self.make(f"`{self.version}` of `{self.kind}` is not known", (self.span, f"known: {known}"))
