"""The faults: each is a piece of a source file and what to put in its place.

`old` must stand in the file exactly once; when the code has moved on, the run says so and fails.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One row of the table. `first`: the stage of tests that comes first, "" for that of all."""

    name: str
    file: str
    old: str
    new: str
    first: str = ""


FRAME, DECODE = "stdlib_bpf/emit/frame.py", "stdlib_bpf/decode/frame.py"
EFFECTS, REPLY = "stdlib_bpf/emit/effects.py", "stdlib_bpf/emit/reply.py"
PROFILED = "compiler/plan/profiled.py"
CLASSIFIERS = "stdlib_bpf/emit/classifiers.py"
PARTS = "compiler/codegen/parts.py"
TAGS, TAGGING = "stdlib_bpf/emit/tags.py", "compiler/plan/tagging.py"
BALANCE, CHOICE = "stdlib_bpf/emit/balance.py", "stdlib_bpf/emit/balance_choice.py"
BACKENDS = "runtime/backends.py"
ORACLE = "the reference itself: "

NFT, HNS = "compiler/nftables", "compiler/hns"

EMIT_FLOWS, EMIT_ENDPOINTS = "stdlib_bpf/emit/flows.py", "stdlib_bpf/emit/endpoints.py"
STATE_FLOWS = "stdlib_bpf/state/flows.py"

FAULTS: tuple[Fault, ...] = (
    # ---- the generated decoder ----
    Fault(
        "AH length in units of 8 bytes",
        FRAME,
        'f.store(f.op("shl", f.op("add", units, 2), 2), length)',
        'f.store(f.op("shl", f.op("add", units, 1), 3), length)',
    ),
    Fault(
        "fragment header's length taken from its second byte",
        FRAME,
        'f.store(const("i64", 8), length)',
        'f.store(f.op("shl", f.op("add", units, 1), 3), length)',
    ),
    Fault(
        "the tag in the frame read though one lies in metadata",
        FRAME,
        'f.branch(f.compare("eq", tag_in_metadata, 0), outer, done, likely=True)',
        "f.jump(outer)",
    ),
    Fault(
        "a tag's priority read with its DEI bit",
        FRAME,
        'registers.set("vlan.priority", registers.function.op("lshr", tci, 13))',
        'registers.set("vlan.priority", registers.function.op("lshr", tci, 12))',
    ),
    Fault(
        "ARP of any kind taken for that of Ethernet and IPv4",
        FRAME,
        'frame.require(f.compare("eq", frame.load_be(type_, header, at), wanted), "arp_kind", rules)',
        "pass",
    ),
    Fault(
        "the last routing header read instead of the first",
        FRAME,
        "f.branch(registers.is_missing(name), first, kept, likely=True)",
        "f.jump(first)",
    ),
    Fault(
        "a missing optional field holds zero",
        "stdlib_bpf/emit/registers.py",
        "self._store(place, part, missing(place.bits) if known else filler)",
        "self._store(place, part, missing(place.bits) if name in ALWAYS else const('i32', 0))",
    ),
    Fault(
        "not of an optional field swaps the two ways",
        "compiler/plan/lower.py",
        'doubtful = fields.ANSWERED - {"ip.proto"}',
        'doubtful = {"l4.proto"}',
    ),
    Fault(
        "ports in the wrong byte order",
        FRAME,
        'registers.set(name, frame.load_be("i16", header, at))',
        'registers.set(name, f.load("i16", f.gep(header, at), align=1))',
    ),
    Fault(
        "a header's bounds checked one byte short",
        FRAME,
        "f.gep(pointer, length), self.end), hint, otherwise or self.cut)",
        "f.gep(pointer, length - 1), self.end), hint, otherwise or self.cut)",
    ),
    Fault(
        "IPv4 total length not checked",
        FRAME,
        'frame.holds(behind, "whole_packet")',
        "pass",
    ),
    Fault(
        "IPv6 payload length not checked",
        FRAME,
        'frame.holds(behind, "whole_payload")',
        "pass",
    ),
    Fault("IHL ignored", FRAME, "frame.advance(ihl)", 'frame.advance(const("i64", 20))'),
    Fault(
        "IHL below 5 accepted",
        FRAME,
        'frame.require(f.compare("uge", ihl, 20), "ihl")',
        'frame.require(f.compare("uge", ihl, 16), "ihl")',
    ),
    Fault(
        "ports read out of later IPv4 fragments",
        FRAME,
        'f.op("and", place, 0x1FFF), 0)',
        'f.op("and", place, 0), 0)',
    ),
    Fault(
        "ports read out of later IPv6 fragments",
        FRAME,
        'f.op("and", place, 0xFFF8), 0)',
        'f.op("and", place, 0), 0)',
    ),
    Fault(
        "an atomic fragment with reserved bits set taken for a later one",
        FRAME,
        'f.op("and", place, 0xFFF8), 0)',
        'f.op("and", place, 0xFFFF), 0)',
    ),
    Fault("one VLAN tag only", FRAME, "for first in (True, False):", "for first in (True,):"),
    Fault(
        "a tag in metadata not counted",
        FRAME,
        "if not first and tag_in_metadata is not None:",
        "if first and not first and tag_in_metadata is not None:",
    ),
    Fault(
        "seven extension headers walked",
        FRAME,
        'f.compare("ult", seen, MAX_EXTENSION_HEADERS)',
        'f.compare("ult", seen, MAX_EXTENSION_HEADERS + 1)',
    ),
    Fault(
        "padding counted as payload",
        FRAME,
        'frame.require(f.compare("uge", f.load("i64", frame.left), length), f"{hint}_left")',
        "pass",
    ),
    Fault(
        "TCP header length not checked",
        FRAME,
        'frame.require(f.compare("uge", data_offset, 20), "data_offset")',
        "pass",
    ),
    Fault(
        "IPv4-mapped addresses let in on the wire",
        FRAME,
        "V4_MAPPED), frame.malformed, good, likely=False)",
        "V4_MAPPED), good, good, likely=False)",
    ),
    Fault(
        "headers outside the linear part are malformed",
        FRAME,
        'f.branch(f.compare("ugt", known, linear), pull, malformed, likely=True)',
        'f.branch(f.compare("ugt", linear, known), pull, malformed, likely=True)',
    ),
    # ---- socket calls ----
    Fault(
        "port at connect in the wrong byte order",
        "stdlib_bpf/emit/sock_addr.py",
        'f.zext(f.byteswap(f.trunc(member("user_port"), "i16")), "i32")',
        'f.zext(f.trunc(member("user_port"), "i16"), "i32")',
    ),
    Fault(
        "IPv4-mapped address at connect judged as IPv6",
        "stdlib_bpf/emit/sock_addr.py",
        'f.branch(f.compare("eq", words[2], V4_MAPPED), mapped, native, likely=False)',
        'f.branch(f.compare("eq", words[2], V4_MAPPED), native, native, likely=False)',
    ),
    Fault(
        "the shallowest cgroup around a process counts",
        "stdlib_bpf/emit/sock_addr.py",
        'registers.set("sock.cgroup", const("i32", place + 1))\n        f.jump(deeper)',
        'registers.set("sock.cgroup", const("i32", place + 1))\n        f.jump(done)',
    ),
    Fault(
        "cgroups below the first level are not looked at",
        "stdlib_bpf/emit/sock_addr.py",
        'f.branch(f.compare("ult", following, LEVELS), here, done)',
        'f.branch(f.compare("ult", following, 2), here, done)',
    ),
    # ---- classifiers ----
    Fault(
        "classifier: the last value of a range is outside",
        CLASSIFIERS,
        'outside = f.op("or", outside, beyond)',
        'outside = f.op("or", outside, beyond if one.prefix else f.op("sub", beyond, 1))',
    ),
    Fault(
        "classifier: a prefix is compared without its last bit",
        CLASSIFIERS,
        'beyond = f.op("sub", const("i64", 0), differing)',
        'beyond = f.op("sub", const("i64", 1), differing)',
    ),
    Fault(
        "classifier: no tree is walked once a box is found",
        CLASSIFIERS,
        'f.branch(f.compare("ult", best, image.parameter(f"first{number}")), done, walk)',
        'f.branch(f.compare("ne", f.load(WORD, found), NONE), done, walk)',
    ),
    Fault(
        "classifier: the box of a later tree wins",
        CLASSIFIERS,
        'f.branch(f.compare("ult", word, f.load(WORD, found)), better, following)',
        "f.jump(better)",
    ),
    Fault(
        "classifier: a box that hides others is hidden with them",
        "stdlib_bpf/classifiers/grow.py",
        "keep = at <= first[self.node]",
        "keep = at < first[self.node]",
    ),
    Fault(
        "classifier: later fragments go by the ports of others",
        "compiler/plan/lower.py",
        "node = self._links(side.chain)",
        "node = self._links(side.apart[0][1] if side.apart else side.chain)",
    ),
    Fault(
        "classifier: any rule may stand before the run that it interrupts",
        "compiler/plan/classify.py",
        "if patience < 0 or not all(_disjoint(one, other) for one in mine for other in run):",
        "if patience < 0:",
    ),
    # ---- sets that are looked up together ----
    Fault(
        "tags: a boundary belongs to what lies before it",
        TAGS,
        'wanted = f.op("or", f.op("shl", low, TAG_BITS), TAG_MASK)',
        'wanted = f.op("shl", low, TAG_BITS)',
    ),
    Fault(
        "tags: a chunk with one boundary inside is taken for uniform",
        TAGS,
        'f.branch(f.compare("eq", inside, 0), done, search)',
        'f.branch(f.compare("ule", inside, 1), done, search)',
    ),
    Fault(
        "tags: a boundary where two sets begin is that of one",
        "stdlib_bpf/tags/merged.py",
        "last = np.append(bounds[1:] != bounds[:-1], True)[: len(bounds)]",
        "last = np.append(True, bounds[1:] != bounds[:-1])[: len(bounds)]",
    ),
    Fault(
        "tags: an address before a cell's first boundary has the tag of the cell before",
        TAGS,
        'f.store(f.op("and", read("turns", f.op("sub", place, 1)), some), tag)',
        'f.store(read("turns", f.op("sub", place, 1)), tag)',
    ),
    Fault(
        "tags: a full slot has the tag of another",
        "stdlib_bpf/tables/range_tree.py",
        "tags = prefixes.tags[mine[whole]]",
        "tags = prefixes.tags[mine[whole]][::-1]",
    ),
    Fault(
        "tags: the bit of the next member is asked",
        "compiler/codegen/nodes.py",
        'held = f.op("and", tag, 1 << node.test.member)',
        'held = f.op("and", tag, 2 << node.test.member)',
    ),
    Fault(
        "tags: a complement is asked for as the set",
        TAGGING,
        "self._chooser.tagged(values, Bit(name, held.name, member, inverted))",
        "self._chooser.tagged(values, Bit(name, held.name, member))",
    ),
    Fault(
        "tags: the other end of the packet is looked up",
        "compiler/codegen/nodes.py",
        "key = self.value(node.field)",
        'key = self.value("ip4.src" if self.registers.wanted("ip4.src") else node.field)',
    ),
    Fault(
        "tags: a rule that leads to a later one leads past the look-up",
        "compiler/plan/chain.py",
        "while before := [place for place, to in leaps if place < at < to]:",
        "while before := [place for place, to in leaps if to < place < at]:",
    ),
    Fault(
        "tags: a rule that lets go on leads past the look-up of its second match",
        "compiler/plan/chain.py",
        "at = firsts[_rule(chain[at])]",
        "at = max(at, firsts[_rule(chain[at])])",
    ),
    # ---- tables ----
    Fault(
        "codes of the slot behind count, too",
        "stdlib_bpf/emit/tables.py",
        'found = f.op("or", found, f.op("and", zero, counts))',
        'found = f.op("or", found, zero)',
    ),
    Fault(
        "LPM key with a prefix length one short",
        "stdlib_bpf/emit/tables.py",
        'f.store(const("i32", width), slot, align=4)',
        'f.store(const("i32", width - 8), slot, align=4)',
    ),
    Fault(
        "LPM entries one bit too long",
        "stdlib_bpf/tables/lpm_trie.py",
        "heads[length] + value.to_bytes(size) for value",
        "heads[min(length + 1, width_bits)] + value.to_bytes(size) for value",
    ),
    Fault(
        "a dynamic set's list fetched anew for each question about a packet",
        "compiler/codegen/common.py",
        "for name in live if len(asked[name]) > 1}",
        "for name in live if len(asked[name]) > 99}",
    ),
    Fault(
        "an entry's end compared the wrong way round",
        "stdlib_bpf/emit/live.py",
        'f.compare("ult", clock(f), until)',
        'f.compare("uge", clock(f), until)',
    ),
    Fault(
        "an entry that has ended hides a wider one",
        "runtime/tries.py",
        "else later(own_ns, _around(trie, token))",
        "else own_ns",
    ),
    Fault(
        "entries keep the end of a wider one that is gone",
        "runtime/tries.py",
        "return [entry for entry in found if entry.token != token]",
        "return []",
    ),
    Fault(
        "hash keys in host order",
        "stdlib_bpf/tables/hash.py",
        'b"".join(value.to_bytes(size) for low',
        'b"".join(value.to_bytes(size, "little") for low',
    ),
    Fault(
        "halves of a 128-bit key swapped",
        "stdlib_bpf/emit/tables.py",
        'f.store(f.byteswap(f.trunc(key, "i64")), f.gep(slot, at + 8), align=4)',
        'f.store(f.byteswap(f.trunc(f.op("lshr", key, 64), "i64")), f.gep(slot, at + 8), align=4)',
    ),
    Fault(
        "parity of an empty chunk of a range index",
        "stdlib_bpf/emit/tables.py",
        "_parity(f, first, yes, no)",
        "_parity(f, first, no, yes)",
    ),
    Fault(
        "boundary of a range index counted one late",
        "stdlib_bpf/emit/tables.py",
        'f.op("sub", f.op("sub", bound, low), 1), 63)',
        'f.op("sub", bound, low), 63)',
    ),
    Fault(
        "both buckets of a cuckoo table on one side",
        "stdlib_bpf/emit/tables.py",
        '"i64"), side << bits)',
        '"i64"), 0 * side << bits)',
    ),
    Fault(
        "second mix of a cuckoo table shifted by one bit more",
        "stdlib_bpf/emit/tables.py",
        "enumerate(zip((16, 15), multipliers[1:]",
        "enumerate(zip((16, 16), multipliers[1:]",
    ),
    Fault(
        "a code of a tree reaches one bit too far",
        "stdlib_bpf/emit/trees.py",
        'reach = f.op("xor", nearest, f.op("sub", nearest, 1))',
        'reach = f.op("or", f.op("shl", f.op("xor", nearest, f.op("sub", nearest, 1)), 1), 1)',
    ),
    Fault(
        "a full slot of a tree taken for a node",
        "stdlib_bpf/emit/trees.py",
        'f.branch(f.compare("uge", word, IS_FULL), ends.full, node)',
        'f.branch(f.compare("uge", word, 2 * IS_FULL), ends.full, node)',
    ),
    Fault(
        "cells of a tree ignore lower halves",
        "stdlib_bpf/emit/trees.py",
        '((key[1], "lowers"), (key[0], "uppers"))',
        '((key[0], "uppers"), (key[0], "uppers"))',
    ),
    Fault(
        "lower halves of IPv6 hosts not compared",
        "stdlib_bpf/emit/tables.py",
        'f.op("xor", halves[1], lower))',
        'f.op("xor", halves[1], halves[1]))',
    ),
    # ---- generated rules and counters ----
    Fault(
        "a range ends one late",
        "compiler/codegen/nodes.py",
        'f.branch(f.compare("ule", above, high - low), yes, no, self._likely(node))',
        'f.branch(f.compare("ule", above, high - low + 1), yes, no, self._likely(node))',
    ),
    Fault(
        "the default's verdict is that of malformed packets",
        "compiler/codegen/nodes.py",
        "self.decide(counters.DEFAULT, self.plan.default)",
        "self.decide(counters.DEFAULT, self.hook.malformed)",
    ),
    Fault(
        "counters of rules shifted by one slot",
        "compiler/codegen/nodes.py",
        "self.decide(counters.FIRST_RULE + leaf.rule, rule.verdict",
        "self.decide(counters.FIRST_RULE + max(0, leaf.rule - 1), rule.verdict",
    ),
    Fault(
        "bytes counted without the Ethernet header",
        "stdlib_bpf/emit/state.py",
        'length = f.zext(registers.get(COUNTED), "i64")',
        'length = f.op("sub", f.zext(registers.get(COUNTED), "i64"), 14)',
    ),
    Fault(
        "named counters left out",
        "compiler/codegen/nodes.py",
        "self.decide(counters.FIRST_RULE + leaf.rule, rule.verdict, rule.count, rule.sample, rule.effects)",
        "self.decide(counters.FIRST_RULE + leaf.rule, rule.verdict, None, rule.sample, rule.effects)",
    ),
    # ---- fragments and buffers ----
    Fault(
        "a later first fragment overwrites what the first one left",
        "stdlib_bpf/emit/fragments.py",
        'f.branch(f.compare("ne", entry, NULL), old, write)',
        "f.jump(write)",
    ),
    Fault(
        "what a first fragment left never gets old",
        "stdlib_bpf/emit/fragments.py",
        "f.branch(_is_fresh(f, entry, now), lend, refused, likely=True)",
        "f.jump(lend)",
    ),
    Fault(
        "a later fragment keeps the protocol of its own header",
        "stdlib_bpf/state/fragments.py",
        '    ("ip.proto", 1),\n)',
        ")",
    ),
    Fault(
        "lengths are those of the first buffer",
        FRAME,
        'registers.set(LENGTH, f.call_helper(BPF_XDP_GET_BUFF_LEN, "i64", ctx) if several else known)',
        "registers.set(LENGTH, known)",
    ),
    Fault(
        "what follows the first buffer is not counted",
        FRAME,
        "registers.set(COUNTED, length)",
        "pass",
    ),
    Fault(
        "packets of UDP go by the rules of TCP",
        "compiler/plan/lower.py",
        "entry = self._links(chain)",
        "entry = self._links(side.apart[0][1])",
    ),
    # ---- limits and rules that let packets go on ----
    Fault(
        "a limit forgets one unit of its burst",
        "stdlib_bpf/emit/limits.py",
        'f.compare("ule", until, limit.cost_ns(limit.burst))',
        'f.compare("ult", until, limit.cost_ns(limit.burst))',
    ),
    Fault(
        "a limit does not count segments",
        "stdlib_bpf/emit/limits.py",
        "units = f.at_least(segments, 1)",
        'units = const("i64", 1)',
    ),
    Fault(
        "a limit's key keeps the bits behind the prefix",
        "stdlib_bpf/emit/limits.py",
        'masked = f.op("and", registers.get(f"ip4.{side}"), _mask(limit.v4_bits, 32))',
        'masked = registers.get(f"ip4.{side}")',
    ),
    Fault(
        "a rule that lets the packet go on is tried again by its next match",
        "compiler/plan/lower.py",
        "onward = parts.get(rules[rule].resume, behind)",
        "onward = parts.get(rules[rule].resume, following)",
    ),
    Fault(
        "a rule that lets the packet go on covers later rules",
        "compiler/match/coverage.py",
        "(taking if program.rules[rule].final else own).add(i, box)",
        "taking.add(i, box)",
    ),
    Fault(
        "what a leap passes over covers what lies behind it",
        "compiler/match/coverage.py",
        "leapt = any(first < taker < target for first, target in spans)",
        "leapt = False",
    ),
    Fault(
        "a rule that leads to a later one leads to the next",
        "compiler/plan/lower.py",
        "onward = parts.get(rules[rule].resume, behind)",
        "onward = behind",
    ),
    Fault(
        "a proof forgets packets that are led to a later rule",
        "compiler/match/prove.py",
        "left += leapt.pop(target)",
        "leapt.pop(target)",
    ),
    Fault(
        "validation does not see what a pass adds",
        "compiler/match/equal.py",
        "((old, new), (new, old))",
        "((old, new),)",
    ),
    Fault(
        "validation takes a plan's leaf for the rule that should decide",
        "compiler/plan/reach.py",
        "yield from (_common(box, other) for other in mine if work.meet(box, other))",
        "yield from ()",
    ),
    Fault(
        "a match is covered when its lowest packet is",
        "compiler/match/coverage.py",
        "        left += parts\n",
        "",
    ),
    Fault(
        "a rule that lets the packet go on does not add to its named counter",
        "compiler/codegen/nodes.py",
        "        if rule.count:\n            r.set(NAMED",
        "        if False:\n            r.set(NAMED",
    ),
    # ---- parts ----
    Fault(
        "a part is leapt over unless the walk goes on at its first node",
        PARTS,
        'f.compare("ult", r.get(NEXT), part.end)',
        'f.compare("ule", r.get(NEXT), part.first)',
    ),
    Fault(
        "every part is begun at its first entry",
        PARTS,
        "[(at, labels[at]) for at in others]",
        "[]",
    ),
    Fault(
        "answers of dynamic sets that parts ask share one bit",
        "compiler/codegen/common.py",
        "1 << i % 32",
        "1",
    ),
    # ---- planning ----
    Fault(
        "the last match wins",
        "compiler/plan/lower.py",
        "for link in reversed(chain):",
        "for link in chain:",
    ),
    Fault(
        "protocol guard missing",
        "compiler/plan/specialise.py",
        "tests.append((L4_PROTO, values))",
        "tests.append((L4_PROTO, fields.lookup(name).full))",
    ),
    Fault(
        "later fragments let through the protocol guard",
        "compiler/plan/specialise.py",
        'elif name == "ip.proto" and transport:',
        'elif name == "ip.proto" and transport and len(values) > 1:',
    ),
    Fault(
        "a tree of comparisons begins inside",
        "compiler/plan/inline.py",
        "return yes if first & 1 else no",
        "return no if first & 1 else yes",
    ),
    # ---- passes ----
    Fault(
        "drop_covered forgets the highest corner",
        "compiler/match/boxes.py",
        "if outside:\n            part",
        "if outside.count > 1:\n            part",
    ),
    Fault(
        "merge joins matches that differ in two fields",
        "compiler/match/passes/merge_neighbours.py",
        "0 if name == field else names.of(values)",
        '0 if name in (field, "th.dport") else names.of(values)',
    ),
    # ---- lowering of rules ----
    Fault(
        "flags under a mask taken for any of them",
        "compiler/policy/model.py",
        "return bool(flags & self.value) if self.mask is None else flags & self.mask == self.value",
        "return bool(flags & self.value)",
    ),
    Fault(
        "port and address of the source swapped with the destination's",
        "compiler/match/lower.py",
        'common["th.sport"] = rule.sports',
        'common["th.dport"] = rule.sports',
    ),
    Fault(
        "ICMP types of one family only",
        "compiler/match/lower.py",
        '    yield tests | {"icmp6.type": traffic.icmp_types}\n',
        "",
    ),
    Fault(
        "a negated network reaches into the other family",
        "compiler/policy/decide.py",
        "return family in families(operand) and not inside(operand)",
        "return not inside(operand)",
    ),
    # ---- what rules do to packets ----
    Fault("a new DSCP takes the ECN bits along", EFFECTS, '"and", word, 0x03FF', '"and", word, 0x00FF'),
    Fault(
        "IPv4 checksum not updated with the DSCP",
        EFFECTS,
        'fold(f, f.op("add", total, after))',
        "fold(f, total)",
    ),
    Fault("carries of a checksum lost", EFFECTS, "for _ in range(2):", "for _ in range(1):"),
    Fault("a mark clears bits outside its mask", EFFECTS, "_signed(~mask & 0xFFFFFFFF)", "0"),
    Fault(
        "an answer goes to whom the packet was for",
        REPLY,
        "self.r.copy(start + size, to, size)",
        "self.r.copy(start, to, size)",
    ),
    Fault("an answer keeps the MAC addresses", REPLY, "self.copy(OLD, 6, 6)", "pass"),
    Fault("a FIN counts for nothing in a reset", REPLY, "for bit in (SYN, FIN):", "for bit in (SYN,):"),
    Fault(
        "a reset repeats the sequence number",
        REPLY,
        "r.copy(OLD + 8, tcp + 4, 4)",
        "r.copy(OLD + 4, tcp + 4, 4)",
    ),
    Fault(
        "a reset is answered by a reset",
        REPLY,
        'self.r.require(f.compare("eq", f.op("and", flags, RST), 0), "no_reset")',
        "pass",
    ),
    Fault(
        "ICMPv6 without its pseudo header",
        REPLY,
        'f.op("add", length, IPPROTO_ICMPV6)',
        'f.op("add", length, 0)',
    ),
    Fault(
        "padding is quoted",
        REPLY,
        'f.branch(f.compare("ult", length, QUOTE), short, long)',
        'f.branch(f.compare("ult", length, 20), short, long)',
    ),
    Fault(
        ORACLE + "a reset acknowledges no FIN",
        "stdlib_bpf/reply.py",
        "bool(flags & SYN) + bool(flags & FIN)",
        "bool(flags & SYN)",
    ),
    Fault(
        ORACLE + "marks are not added up",
        "stdlib_bpf/outcome.py",
        "mark = mark & ~mask | value",
        "mark = value",
    ),
    Fault(
        ORACLE + "a cgroup is without those below it",
        "compiler/policy/cgroups.py",
        "return here | below if wanted else below",
        "return here if wanted else below",
    ),
    # ---- the order that a profile gives ----
    Fault(
        "a profile moves a rule past one with which some of its matches share packets",
        PROFILED,
        "return all(_disjoint(mine, theirs)",
        "return any(_disjoint(mine, theirs)",
    ),
    Fault(
        "a profile takes different values of a field for values that share none",
        PROFILED,
        "not values.overlaps(asked[name])",
        "values != asked[name]",
    ),
    Fault(
        "a profile moves a rule by what a dynamic set holds now",
        PROFILED,
        "name in asked and fields.split_live(name) is None and",
        "name in asked and",
    ),
    Fault(
        "a profile moves rules whatever they share",
        PROFILED,
        "if patience < 0 or not _apart(units[at - 1], unit):",
        "if patience < 0:",
    ),
    # ---- services ----
    Fault(
        "a datagram goes to a backend that was removed",
        BALANCE,
        'f.branch(f.compare("eq", *serials), there, new, likely=True)',
        "f.jump(there)",
    ),
    Fault(
        "a socket that goes elsewhere keeps its service's name",
        BALANCE,
        'f.store(const("i64", 0), f.gep(state, pair_at(0) + PAIR.offset("serial")))',
        "pass",
    ),
    Fault(
        "all datagrams of a socket remembered in one place",
        BALANCE,
        'f.op("add", f.op("and", turn, DATAGRAM_PAIRS - 1), 1)',
        'f.op("add", f.op("and", turn, 0), 1)',
    ),
    Fault(
        "a mapped address taken for one of IPv6",
        BALANCE,
        "MAPPED_WORD = 0xFFFF0000",
        "MAPPED_WORD = 0x0000FFFF",
    ),
    Fault(
        "any port of a backend taken for the service's",
        BALANCE,
        'f.branch(f.compare("eq", port, named), there, no)',
        "f.jump(there)",
    ),
    Fault(
        "affinity outlives its time",
        CHOICE,
        'f.branch(f.compare("ult", f.op("sub", now, f.load("i64", seen)), lasting), fresh, pick)',
        "f.jump(fresh)",
    ),
    Fault(
        "affinity leads to a backend that was removed",
        CHOICE,
        'f.branch(f.compare("eq", *serials), same, pick, likely=True)',
        "f.jump(same)",
    ),
    Fault(
        "affinity leads to a backend that fails",
        CHOICE,
        'f.branch(f.compare("eq", failing, 0), well, pick, likely=True)',
        "f.jump(well)",
    ),
    Fault(
        "the first block of a table is its head",
        CHOICE,
        'f.op("add", f.op("udiv", at, BLOCK_WORDS), 1)',
        'f.op("udiv", at, BLOCK_WORDS)',
    ),
    Fault(
        "clients hashed alike for all services",
        CHOICE,
        'return mixed(f, f.op("add", key, salt))',
        "return mixed(f, key)",
    ),
    Fault(
        "removal ends sockets that went to the backend by themselves",
        BACKENDS,
        "    if value is None:\n        return False\n",
        "    if value is None:\n        return True\n",
    ),
    # ---- the reference decoder: judged by scapy and by what the file tests say ----
    Fault(
        ORACLE + "AH length",
        DECODE,
        "length = (rest[1] + 2) * 4",
        "length = (rest[1] + 1) * 8",
    ),
    Fault(ORACLE + "IHL ignored", DECODE, "packet[header_length:total_length]", "packet[20:total_length]"),
    Fault(
        ORACLE + "padding read as payload",
        DECODE,
        "packet[header_length:total_length]",
        "packet[header_length:]",
    ),
    # ---- other data planes ----
    Fault(
        "nftables: later fragments are judged with the whole packets",
        f"{NFT}/decode.py",
        'f"goto {chain}.ip4-later"',
        'f"goto {chain}.ip4"',
        "nftables",
    ),
    Fault(
        "nftables: an IPv4 packet may end inside its transport header",
        f"{NFT}/decode.py",
        'yield f"ip protocol . ip hdrlength . ip length $short4 {malformed}"',
        "pass",
        "nftables",
    ),
    Fault(
        "nftables: IPv4-mapped addresses are judged",
        f"{NFT}/decode.py",
        """yield f'ip6 {side} ::ffff:0.0.0.0/96 counter name "{chain}/malformed" drop'""",
        "pass",
        "nftables",
    ),
    Fault(
        "nftables: what lies behind an authentication header is judged by what was read",
        f"{NFT}/decode.py",
        "yield f'meta l4proto {{ 51, 135 }} counter name \"{chain}/unread\" drop'",
        "pass",
        "nftables",
    ),
    Fault(
        "nftables: the protocol is looked for in the link header, where a tag is",
        f"{NFT}/matches.py",
        'first = [packets.protocol] if any("ether " in text for text in chosen) else []',
        "first: list[str] = []",
        "nftables",
    ),
    Fault(
        "nftables: not in a dynamic set means in it",
        f"{NFT}/matches.py",
        'f"{word.expression} != {held}"',
        'f"{word.expression} {held}"',
        "nftables",
    ),
    Fault(
        "nftables: a rule that lets packets go on is tried for each of its matches",
        f"{NFT}/lists.py",
        "if on and len(texts) > 1:",
        "if False:",
        "nftables",
    ),
    Fault(
        "nftables: the length of a frame is without its link header",
        f"{NFT}/classes.py",
        '("tc", "ingress"): (("", 14),),',
        '("tc", "ingress"): (("", 0),),',
        "nftables",
    ),
    Fault(
        "nftables: a test of all of some flags is one of any of them",
        f"{NFT}/words.py",
        'return f"tcp flags & {_flags(mask)} == {_flags(always)}"',
        'return f"tcp flags & {_flags(mask)} != 0"',
        "nftables",
    ),
    Fault(
        "nftables: a priority's bits are one off",
        f"{NFT}/classes.py",
        "there=TAGGED, up=5)",
        "there=TAGGED, up=4)",
        "nftables",
    ),
    Fault(
        "nftables: a mark's other bits go",
        f"{NFT}/rules.py",
        'f"meta mark set meta mark & {kept:#x} | {value:#x}" if kept',
        'f"meta mark set {value:#x}" if kept',
        "nftables",
    ),
    Fault(
        "nftables: rules that differ in more than one field are one map",
        f"{NFT}/maps.py",
        'return None if len(differing) > 1 else "".join(differing)',
        'return "".join(differing[-1:])',
        "nftables",
    ),
    Fault(
        "nftables: what is dropped passes",
        f"{NFT}/rules.py",
        '"drop": "drop"}',
        '"drop": "accept"}',
        "nftables",
    ),
    Fault(
        "nftables: whoever sends from another's address is asked no further",
        f"{NFT}/endpoints.py",
        """yield f'counter name "{self.name}/foreign" drop'""",
        'yield "return"',
        "nftables",
    ),
    Fault(
        "nftables: a packet in the midst of nothing opens a flow",
        f"{NFT}/endpoints.py",
        '"tcp flags & (fin|syn|rst|ack) != syn"',
        '"tcp flags & (fin|syn|rst|ack) == 0"',
        "nftables",
    ),
    Fault(
        "nftables: what leaves a tier asks it on",
        f"{NFT}/lists.py",
        'return f"goto {self._chain(packets, rule.resume)}"',
        'return ""',
        "nftables",
    ),
    Fault(
        "nftables: a workload's answers to its host's calls are judged",
        f"{NFT}/endpoints.py",
        'yield f"{word} saddr @{self.name}/host-{family} return"',
        "pass",
        "nftables",
    ),
    Fault(
        "HNS: priorities do not rise",
        f"{HNS}/acl.py",
        "number += (last, action)",
        "0 * (last, action)",
        "HNS",
    ),
    Fault(
        "HNS: local is remote", f"{HNS}/acl.py", "LOCAL[direction] == side", "LOCAL[direction] != side", "HNS"
    ),
    Fault(
        "HNS: a family without an address is both",
        f"{HNS}/acl.py",
        'if values != full or end == "Remote":',
        "if values != full:",
        "HNS",
    ),
    Fault(
        "HNS: what leaves a tier is blocked or let in by its rest",
        "compiler/match/straight.py",
        "yield from _from(program, rule.resume, both)",
        "yield from ()",
        "HNS",
    ),
    Fault(
        "HNS: whoever is not taken by a selection is",
        "compiler/match/residents.py",
        "values & them if inside else values - them",
        "values & them",
        "HNS",
    ),
    Fault("HNS: a range ends early", f"{HNS}/acl.py", 'f"{low}-{high}"', 'f"{low}-{high - 1}"', "HNS"),
    Fault(
        "HNS: a direction that is left alone is closed",
        f"{HNS}/document.py",
        "[acl.default(direction, acl.ALLOW)]",
        "[acl.default(direction, acl.BLOCK)]",
        "HNS",
    ),
    # ---- flows and endpoints ----
    Fault(
        "flows: ports of the two ends change places",
        EMIT_FLOWS,
        'return "subject_port" if self.ends.sends else "peer_port"',
        'return "peer_port" if self.ends.sends else "subject_port"',
        "flows",
    ),
    Fault(
        "flows: an error may quote a packet of anybody",
        EMIT_FLOWS,
        'self._same_address(family, head, "src", "dst", keyless)',
        "pass",
        "flows",
    ),
    Fault(
        "flows: an error may be sent in the name of anybody",
        EMIT_FLOWS,
        'self._same_address(family, head, "dst", "src", keyless)',
        "pass",
        "flows",
    ),
    Fault(
        "flows: what is judged once is judged for ever",
        EMIT_FLOWS,
        "f.branch(self._is_current(entry), current, old, likely=True)",
        "f.jump(current)",
        "flows",
    ),
    Fault(
        "flows: the sides of a flow change places",
        EMIT_FLOWS,
        'f.compare("ne", opener, int(sends))',
        'f.compare("eq", opener, int(sends))',
        "flows",
    ),
    Fault(
        "flows: a flow that is dropped stays",
        EMIT_FLOWS,
        'f.branch(f.compare("eq", r.get(FATE), RENEW), end, done)',
        "f.jump(done)",
        "flows",
    ),
    Fault(
        "flows: addresses are not turned to be judged again",
        EMIT_FLOWS,
        'for name in ("ip4", "th"):',
        'for name in ("th",):',
        "flows",
    ),
    Fault(
        "flows: what comes behind the end makes a flow last",
        EMIT_FLOWS,
        'f.branch(f.compare("eq", f.op("and", state, FINS), FINS), done, seen)',
        "f.jump(seen)",
        "flows",
    ),
    Fault(
        "flows: stateless rules open flows",
        EMIT_FLOWS,
        "f.branch(self._makes(flows.STATELESS), gone, keeps, likely=False)",
        "f.jump(keeps)",
        "flows",
    ),
    Fault(
        "flows: what is kept is judged again",
        EMIT_FLOWS,
        'kept = f.zext(self._makes(flows.KEPT), "i64")',
        'kept = const("i64", 0)',
        "flows",
    ),
    Fault(
        "flows: silence does not end a flow",
        EMIT_FLOWS,
        'return f.compare("slt", silent, limit)',
        'return f.compare("sle", silent, f.op("mul", limit, 2))',
        "flows",
    ),
    Fault(
        "endpoints: a workload sends from any address",
        EMIT_ENDPOINTS,
        "self._is_endpoint(SUBJECT, number, self.exits.foreign)",
        "pass",
        "flows",
    ),
    Fault(
        "endpoints: neighbour discovery from afar passes",
        EMIT_ENDPOINTS,
        '            ("ip.ttl", ON_LINK_TTL),\n',
        "",
        "flows",
    ),
    Fault(
        "endpoints: what is for many is forwarded",
        EMIT_ENDPOINTS,
        "self._stays_here(True, own)",
        "self._stays_here(False, own)",
        "flows",
    ),
    Fault(
        "endpoints: the peer has the subject's labels",
        EMIT_ENDPOINTS,
        "self._copy(peer, PEER)",
        "self._copy(record, PEER)",
        "flows",
    ),
    Fault(
        "endpoints: changes of records are not counted",
        EMIT_ENDPOINTS,
        'f.load("i64", version, volatile=True), 0xFFFFFFFF)',
        'f.load("i64", version, volatile=True), 0)',
        "flows",
    ),
    Fault(
        "endpoints: a host is judged by its own workloads",
        EMIT_ENDPOINTS,
        'f.branch(f.compare("ne", self._member(peer, "ifindex"), 0), free, done)',
        "f.jump(done)",
        "flows",
    ),
    Fault(
        "flows: SYN and its answer confirm a flow",
        STATE_FLOWS,
        "return after | CONFIRMED if state & ANSWERED and not (strict and bits & SYN) else after",
        "return after | CONFIRMED",
        "flows",
    ),
    Fault(
        "flows: who answers may open at once, and is no answer",
        STATE_FLOWS,
        "return state if side == 0 else state | ANSWERED  # both",
        "return state  # both",
        "flows",
    ),
    Fault(
        "flows: a reset is as patient as a close", STATE_FLOWS, "return RESET_S", "return CLOSED_S", "flows"
    ),
    Fault(
        "flows: an echo has one key both ways",
        STATE_FLOWS,
        'REPLY[family]: (0, said["echo"])}',
        'REPLY[family]: (said["echo"], 0)}',
        "flows",
    ),
    Fault(
        "proxies: the proxy's own calls come back to it",
        "compiler/policy/actions.py",
        "            others -= places\n",
        "            others -= EMPTY\n",
        "file tests",
    ),
    Fault(
        "proxies: a socket that went to a proxy once is shown its peer of then",
        "stdlib_bpf/emit/proxies.py",
        "self.set_side(self.known(0, done), NOBODY)",
        "self.set_side(self.known(0, done), CALLER_SIDE)",
        "proxies",
    ),
    Fault(
        "proxies: the proxy is shown the destination as its peer",
        "stdlib_bpf/emit/proxies.py",
        "        self.set_side(entry, PROXY_SIDE)\n",
        "        self.set_side(entry, CALLER_SIDE)\n",
        "proxies",
    ),
)
