"""The two halves cannot import each other: here their error codes are held together."""

from lockgate.compiler.errors import pages
from lockgate.runtime import errors


def test_every_code_of_the_runtime_has_a_page() -> None:
    known = pages.pages()
    assert {e.code for e in errors.ALL} <= set(known)
