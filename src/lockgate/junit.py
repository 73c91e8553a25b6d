"""Results of a policy's tests as JUnit XML, which build servers collect.

Knows results and the form; runs nothing. There is no standard: these are the elements and attributes that
Jenkins' xunit plug-in checks (junit-10.xsd: testsuites, testsuite, testcase, failure, error).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from lockgate.compiler.diagnostics import Diagnostic, Severity
from lockgate.compiler.render import render

# XML 1.0, 2.2: characters that no document can hold.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """A `test` block: what is wrong with it, and seconds of wall-clock time; `of_service`: it is one of a
    `balance`."""

    title: str
    findings: Sequence[Diagnostic]
    seconds: float
    of_service: bool = False


@dataclass(frozen=True)
class Suite:
    """A policy file. `broken`: it has errors of its own, so no test ran; `diagnostics` says which, and all
    else that was found."""

    name: str
    cases: Sequence[Case]
    diagnostics: Sequence[Diagnostic]
    broken: bool = False


def document(suites: Sequence[Suite]) -> str:
    """The XML document."""
    root = Xml.Element("testsuites", name="lockgate")
    for suite in suites:
        _suite(Xml.SubElement(root, "testsuite"), suite)
    Xml.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'


def _suite(element: Xml.Element, suite: Suite) -> None:
    element.attrib |= {
        "name": _text(suite.name),
        "tests": str(len(suite.cases) + suite.broken),
        "failures": str(sum(bool(case.findings) for case in suite.cases)),
        "errors": str(int(suite.broken)),
        "time": f"{sum(case.seconds for case in suite.cases):.3f}",
    }
    for case in suite.cases:
        made = Xml.SubElement(element, "testcase", name=_text(case.title), classname=_text(suite.name))
        made.set("time", f"{case.seconds:.3f}")
        if case.findings:
            _problem(made, "failure", case.findings)
    if suite.broken:
        made = Xml.SubElement(element, "testcase", name="the policy is sound", classname=_text(suite.name))
        _problem(made, "error", [d for d in suite.diagnostics if d.severity is Severity.ERROR])


def _problem(element: Xml.Element, tag: str, findings: Sequence[Diagnostic]) -> None:
    problem = Xml.SubElement(element, tag, message=_text(findings[0].message), type=findings[0].code)
    problem.text = _text(render(findings))


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
