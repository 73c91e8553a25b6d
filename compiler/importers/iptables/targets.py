"""What targets do, one row each: iptables-extensions(8).

Knows targets and our actions; must never know matches or chains. A target without a row cannot be said,
unless it is the name of a chain.
"""

from __future__ import annotations

import re

from ..model import Action
from ..refusals import BadValueError, NotSayableError
from .draft import Draft

DECIDES = {"ACCEPT": "allow", "DROP": "drop"}
LOGS = frozenset({"LOG", "NFLOG", "ULOG"})
# Options of targets that say how a log line looks: here the event says rule, packet and time.
LOG_WORDS = {
    "--log-prefix": 1, "--log-level": 1, "--log-tcp-sequence": 0, "--log-tcp-options": 0,
    "--log-ip-options": 0, "--log-uid": 0, "--log-macdecode": 0, "--nflog-prefix": 1, "--nflog-group": 1,
    "--nflog-size": 1, "--nflog-threshold": 1, "--nflog-range": 1,
}  # fmt: skip
# Answers: by name of iptables and ip6tables, ours. Numbers are those of `docs/language.md`, Answers.
ANSWERS = {
    "icmp-port-unreachable": "port",
    "icmp-host-unreachable": "host",
    "icmp-net-unreachable": "network",
    "icmp-admin-prohibited": "prohibited",
    "tcp-reset": "reset",
    "icmp6-port-unreachable": "port",
    "icmp6-addr-unreachable": "host",
    "icmp6-no-route": "network",
    "icmp6-adm-prohibited": "prohibited",
}
NEAR = {
    "icmp-host-prohibited": "icmp-admin-prohibited",
    "icmp-net-prohibited": "icmp-admin-prohibited",
}
_NOT_A_NAME = re.compile(r"[^a-z0-9]+")
RESERVED = frozenset({"default", "malformed", "fragments"})


def reject(draft: Draft, answer: str) -> Action:
    """`-j REJECT --reject-with ANSWER`."""
    if answer not in ANSWERS:
        near = NEAR.get(answer)
        raise NotSayableError(
            f"--reject-with {answer}",
            "there is no such answer here; the packet would be gone all the same",
            f"write `--reject-with {near}`" if near else "",
        )
    word = ANSWERS[answer]
    if word == "reset" and draft.protocols is not None and draft.protocols.ranges != ((6, 6),):
        raise BadValueError("tcp-reset", "is an answer to TCP only")
    return Action("reject", word)


def label(prefix: str) -> str:
    """The name of a rule that logs, of what it wrote before each line."""
    name = _NOT_A_NAME.sub("-", prefix.lower()).strip("-")
    return name if name and name[0].isalpha() and name not in RESERVED else ""
