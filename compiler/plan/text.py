"""Plans as text and back: `read(write(plan)) == plan`, spans of the rules aside.

    plan "edge" at xdp default pass
    device "eth1"
    cgroup "/shop"
    rule 0 "block" drop "edge.gate" 4 3 name "block"
    table set0 range_index 32 max 2 {10.0.0.0/8, 192.0.2.0/24}
    table set_ban_v4 lpm_trie 32 max 1000 live "ban"
    0: eth.type in 0x0800 ? 1 : 4
    1: ip4.src in set0 ? 3 : 2 for 0
    2: ip4.src in set_ban_v4 ? 3 : 4 for 0
    3: decide 0
    4: decide default

A node is `TEST ? YES : NO`, with the rule it serves behind `for`. The other test is `tcp.flags & 18 = 2`.
`admit RULE ? YES : NO` asks a rule's limit, `pass RULE then NEXT` is a rule that lets the packet go on,
`hot RULE` is one that most packets match which reach it, `classify NAME else NO` is a decision by the first
box of a classifier around the packet:

    classifier rules0 rule_tree ip4.src ip4.dst l4.proto th.sport th.dport
    box rules0 0 10.0.0.0/8 0.0.0.0/0 6 0-65535 22

`tag FIELD by NAME then NEXT` looks a field up in several sets at once; behind it `ip4.src in tags0.1` asks
whether member 1 holds it:

    tags tags0 tag_index 32
    member tags0 {10.0.0.0/8}
    member tags0 {10.1.2.0/24, 192.0.2.7}

`part` stands before the first node of each part of a plan that is cut.
"""

from __future__ import annotations

import re
from dataclasses import replace

from lockgate.stdlib_bpf.classifiers import Box
from lockgate.stdlib_bpf.sets import EMPTY
from lockgate.stdlib_bpf.state.flows import STACK
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE

from ..irtext import Words, lines, print_range, print_set, print_value, quoted, style_of, style_of_keys
from ..match.ir import RuleInfo
from ..match.text import read_head, read_rule, write_head, write_modes, write_rule
from .ir import (
    DEFAULT,
    Admit,
    Between,
    Branch,
    Classifier,
    Classify,
    InTable,
    Leaf,
    Masked,
    Node,
    Pass,
    Plan,
    Table,
    Tag,
    Tagged,
    Tags,
    Test,
)


def write(plan: Plan) -> str:
    """The plan as text."""
    out = [write_head("plan", plan.name, plan.hook, plan.direction, plan.default)]
    out += [f"device {quoted(name)}" for name in plan.devices]
    out += [f"cgroup {quoted(path)}" for path in plan.cgroups]
    out += [f"selection {quoted(text)}" for text in plan.selections]
    out += write_modes(plan.fragments, plan.forward)
    out += [write_rule(index, rule) for index, rule in enumerate(plan.rules)]
    out += [f"hot {rule}" for rule in plan.hot]
    out += [_write_table(table) for table in plan.tables]
    for tags in plan.tags:
        out += _write_tags(tags)
    for one in plan.classifiers:
        out += _write_classifier(one)
    begins = set(plan.parts)
    for index, node in enumerate(plan.nodes):
        out += ["part"] * (index in begins)
        out.append(f"{index}: {_write_node(node)}")
    return "\n".join(out) + "\n"


def read(text: str) -> Plan:
    """The plan of a text; not verified. IrSyntaxError for text that `write` would not write."""
    head: tuple[str, str, str, str] | None = None
    fragments, forward = DEFAULT_MODE, STACK
    rules: list[RuleInfo] = []
    devices: list[str] = []
    cgroups: list[str] = []
    selections: list[str] = []
    tables: list[Table] = []
    nodes: list[Node] = []
    classifiers: list[Classifier] = []
    boxes: dict[str, list[Box]] = {}
    hot: list[int] = []
    parts: list[int] = []
    tags: list[Tags] = []
    for words in lines(text):
        match words.next():
            case "plan":
                head = read_head(words)
            case "device":
                devices.append(words.string())
            case "cgroup":
                cgroups.append(words.string())
            case "selection":
                selections.append(words.string())
            case "fragments":
                fragments = words.next()
            case "forward":
                forward = words.next()
            case "rule":
                rules.append(read_rule(words, len(rules)))
            case "hot":
                hot.append(words.number())
            case "table":
                tables.append(_read_table(words))
            case "tags":
                tags.append(Tags(words.next(), words.next(), words.number(), ()))
            case "member" if tags:
                words.expect(tags[-1].name)
                found = words.value_set(style_of_keys(tags[-1].width_bits))
                tags[-1] = replace(tags[-1], members=(*tags[-1].members, found))
            case "classifier":
                classifiers.append(Classifier(words.next(), words.next(), tuple(words.rest()), ()))
                boxes[classifiers[-1].name] = []
            case "box" if classifiers:
                words.expect(classifiers[-1].name)
                boxes[classifiers[-1].name].append(_read_box(classifiers[-1], words))
            case "part":
                parts.append(len(nodes))
            case word if word == f"{len(nodes)}:":
                nodes.append(_read_node(words, {table.name for table in tables}))
            case word:
                raise words.error(
                    "expected plan, device, cgroup, selection, rule, hot, table, tags, member, classifier, "
                    f"box, part or `{len(nodes)}:`, found `{word}`"
                )
        words.end()
    if head is None:
        raise Words("", 1).error("no line begins with `plan`")
    return Plan(
        *head,
        rules=tuple(rules),
        tables=tuple(tables),
        nodes=tuple(nodes),
        devices=tuple(devices),
        cgroups=tuple(cgroups),
        fragments=fragments,
        forward=forward,
        classifiers=tuple(replace(one, boxes=tuple(boxes[one.name])) for one in classifiers),
        selections=tuple(selections),
        hot=tuple(hot),
        parts=tuple(parts),
        tags=tuple(tags),
    )


def write_test(test: Test) -> str:
    """One test, as in a node."""
    style = style_of(test.field)
    match test:
        case Between(field, low, high):
            return f"{field} in {print_range(low, high, style)}"
        case Masked(field, mask, value):
            return f"{field} & {print_value(mask, style)} = {print_value(value, style)}"
        case InTable(field, table):
            return f"{field} in {table}"
        case Tagged(field, tags, member):
            return f"{field} in {tags}.{member}"


def _write_table(table: Table) -> str:
    out = f"table {table.name} {table.kind} {table.width_bits} max {table.max_entries}"
    if table.live is not None:
        return f"{out} live {quoted(table.live)}"
    return f"{out} {print_set(table.values, style_of_keys(table.width_bits))}"


def _read_table(words: Words) -> Table:
    name, kind, width = words.next(), words.next(), words.number()
    words.expect("max")
    entries = words.number()
    live = words.string() if words.take("live") else None
    style = style_of_keys(width)
    values = words.value_set(style) if live is None else EMPTY
    return Table(name, kind, width, values, entries, live)


def _write_tags(tags: Tags) -> list[str]:
    style = style_of_keys(tags.width_bits)
    members = (f"member {tags.name} {print_set(values, style)}" for values in tags.members)
    return [f"tags {tags.name} {tags.kind} {tags.width_bits}", *members]


def _write_classifier(one: Classifier) -> list[str]:
    styles = [style_of(field) for field in one.fields]
    out = [f"classifier {one.name} {one.kind} {' '.join(one.fields)}"]
    for box in one.boxes:
        ranges = (print_range(*ends, style) for ends, style in zip(box.ranges, styles, strict=True))
        out.append(f"box {one.name} {box.rule} {' '.join(ranges)}")
    return out


def _read_box(one: Classifier, words: Words) -> Box:
    rule = words.number()
    return Box(rule, tuple(words.value_range(style_of(field)) for field in one.fields))


def _write_node(node: Node) -> str:
    match node:
        case Leaf(rule):
            return f"decide {'default' if rule == DEFAULT else rule}"
        case Admit(rule, yes, no):
            return f"admit {rule} ? {yes} : {no}"
        case Pass(rule, following):
            return f"pass {rule} then {following}"
        case Classify(name, no):
            return f"classify {name} else {no}"
        case Tag(field, tags, following):
            return f"tag {field} by {tags} then {following}"
        case Branch(test, yes, no, served):
            out = f"{write_test(test)} ? {yes} : {no}"
            return out if served is None else f"{out} for {served}"


def _read_node(words: Words, tables: set[str]) -> Node:
    if words.take("decide"):
        return Leaf(DEFAULT if words.take("default") else words.number())
    if words.take("admit"):
        return Admit(words.number(), *_read_ways(words))
    if words.take("pass"):
        rule = words.number()
        words.expect("then")
        return Pass(rule, words.number())
    if words.take("classify"):
        name = words.next()
        words.expect("else")
        return Classify(name, words.number())
    if words.take("tag"):
        field = words.next()
        words.expect("by")
        tagging = words.next()
        words.expect("then")
        return Tag(field, tagging, words.number())
    test = _read_test(words, tables)
    yes, no = _read_ways(words)
    return Branch(test, yes, no, words.number() if words.take("for") else None)


def _read_ways(words: Words) -> tuple[int, int]:
    words.expect("?")
    yes = words.number()
    words.expect(":")
    return yes, words.number()


def _read_test(words: Words, tables: set[str]) -> Test:
    field = words.next()
    style = style_of(field)
    if words.take("&"):
        mask, _ = words.value_range(style)
        words.expect("=")
        value, _ = words.value_range(style)
        return Masked(field, mask, value)
    words.expect("in")
    if (name := words.peek()) in tables and name is not None:
        words.next()
        return InTable(field, name)
    if name is not None and (found := re.fullmatch(r"([A-Za-z_]\w*)\.(\d+)", name)):
        words.next()
        return Tagged(field, found[1], int(found[2]))
    return Between(field, *words.value_range(style))
