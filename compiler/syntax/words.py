"""What the parser could take next, in the words of someone who writes policies.

Knows the names of terminals; must never know the parser's states. No text of the parser library gets past
this module.
"""

from __future__ import annotations

from collections.abc import Collection

ACTIONS = ("allow", "drop", "reject", "pass", "continue", "redirect", "mirror")
TYPE_AND_ACTION = "redirect"  # a type of ICMP, too
DIRECTIONS = ("ingress", "egress")
DECLARATIONS = (
    "network", "ports", "service", "interface", "policy", "test",
    "import", "tiers", "forward", "proxy", "template", "failsafe", "balance",
)  # fmt: skip
ATTRIBUTES = ("default", "owner", "fragments", "tier", "mode", "state", "reload", "order")
STEPS = ("expect", "given", "assert", "repeat", "after")

# Words behind terminals that stand for several.
MANY_WORDS = {"ACTION": ACTIONS, "DIRECTION": DIRECTIONS}

# The first row whose terminals can all come next says what was expected.
SITUATIONS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"RELATION", "IN", "AND"}), "a comparison (`== 2`, `in { 1, 2 }`), `and` or `or`"),
    (frozenset({"AND", "OR", "RPAR"}), "`and`, `or` or `)`"),
    (frozenset({"AND", "OR", "ACTION"}), "`and`, `or`, the rest of the rule or the next one"),
    (frozenset({"FROM", "ACTION"}), "the rest of the rule or the next one"),
    (frozenset({"FROM", "EXPECT"}), "the rest of the expectation or the next one"),
    (frozenset({"SIGN", "ACTION"}), "`port`, `+`, `-` or the next part of the rule"),
    (frozenset({"ACTION", "OWNER"}), "a rule, an attribute or `}`"),
    (frozenset({"EXPECT", "RBRACE"}), "`expect`, `given` or `}`"),
    (frozenset({"ADDRESS", "PORT"}), "a network or `port`: `from 10.0.0.0/8`, `to port 80`, `to any`"),
    (frozenset({"ADDRESS", "ANY"}), "a network: an address, a name, `{ … }`, `any` or `not …`"),
    (frozenset({"LPAR", "NAME", "NOT"}), "a condition: `ip.ttl < 2`, `arp.op in { request }`, `not …`"),
    (frozenset({"INT", "HEX", "NAME"}), "a value: a number, a name or an address"),
    (frozenset({"POLICY", "NETWORK"}), "a declaration: network, ports, service, interface, policy or test"),
    (frozenset({"INT", "NAME", "LBRACE"}), "a number, a name or `{ … }`"),
    (frozenset({"NAME", "STRING", "LBRACE"}), 'an interface: a name, `"eth0"` or `{ … }`'),
    (frozenset({"ON", "FOR"}), "`on INTERFACE` or `for cgroup PATH`"),
    (frozenset({"AT", "FOR"}), "`at HOOK`"),
    (frozenset({"COMMA", "RBRACE"}), "`,` or `}`"),
    (frozenset({"ACTION"}), "an action: allow, drop, reject, pass or continue"),
)

TERMINALS = {
    "ADDRESS": "an address",
    "NAME": "a name",
    "STRING": "a string in quotes",
    "INT": "a number",
    "DATE": "a date",
    "DURATION": "a duration",
    "RATE": "a rate",
    "EQUAL": "`=`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "COMMA": "`,`",
    "RPAR": "`)`",
}


def expectation(terminals: Collection[str]) -> str:
    """What a set of terminals means to a user."""
    for needed, words in SITUATIONS:
        if needed <= set(terminals):
            return words
    known = sorted(TERMINALS[name] for name in terminals if name in TERMINALS)
    return " or ".join(known[:3]) or "something else"
