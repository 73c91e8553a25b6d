"""`sock.cgroup`: what a condition means among the cgroups that other rules name, and what is refused."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.compiler import packet
from lockgate.compiler.match import text as match_text
from lockgate.compiler.match.lower import lower
from lockgate.compiler.match.verify import VerifyError
from lockgate.compiler.match.verify import verify as verify_match
from lockgate.compiler.plan import text as plan_text
from lockgate.compiler.plan.cost import MAX_CGROUPS, over_budget
from lockgate.compiler.plan.verify import verify as verify_plan
from lockgate.compiler.policy.decide import decide
from lockgate.compiler.policy.model import FieldTest
from lockgate.runtime import bundle, plan
from lockgate.runtime.cgroups import numbers
from lockgate.runtime.errors import LockgateError
from lockgate.stdlib_bpf import fields, manifest
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.decode.sock_addr import decode as decode_call
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state import cgroups
from tests.engines import Case, Opened
from tests.unit.front import connect, findings, said, tc, unit

paths = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


def where(rules: str):
    return [rule.where for rule in unit(connect(rules)).chains[0].rules]


def of(*values):
    return IntervalSet.of(*values)


def beyond(*values):
    return of(*values).complement(16)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('sock.cgroup == "/shop"', of((1, 3))),
        ('sock.cgroup == "/shop/"', of((1, 3))),
        ('sock.cgroup != "/shop/web"', beyond((2, 3))),
        ('not sock.cgroup == "/shop/web/a"', beyond(3)),
        ('not sock.cgroup != "/shop/web"', of((2, 3))),
        ('sock.cgroup in { "/shop/web/a", "/zoo" }', of((3, 4))),
        ('not sock.cgroup in { "/shop/web", "/zoo" }', beyond((2, 4))),
    ],
)
def test_a_cgroup_is_with_those_below_it(text, values) -> None:
    others = "".join(
        f'reject if sock.cgroup == "{p}"\n' for p in ("/zoo", "/shop/web", "/shop/web/a", "/shop")
    )
    assert where(f"reject if {text}\n{others}")[0] == FieldTest("sock.cgroup", values)


@given(st.lists(st.tuples(paths, st.sampled_from(("==", "!="))), min_size=1, max_size=6), paths)
def test_a_process_is_in_a_cgroup_or_is_not(asked: list[tuple[str, str]], process: str) -> None:
    """Whatever else is asked about, and wherever the process is."""
    chain = unit(connect("\n".join(f'continue if sock.cgroup {r} "{p}"' for p, r in asked))).chains[0]
    assert chain.cgroups == tuple(sorted({path for path, _ in asked}))
    call = packet.parse(f"connect tcp 10.0.0.1:80 cgroup {process}", chain.lists)
    assert isinstance(call, SocketCall)
    inside = [f"{process}/".startswith(f"{path}/") for path, _ in asked]
    expected = [i for i, (_, relation) in enumerate(asked) if inside[i] == (relation == "==")]
    assert list(decide(chain, decode_call(call), {}).passed) == expected


@given(st.lists(paths, max_size=6).map(lambda found: tuple(sorted(set(found)))), paths)
def test_places_go_down_the_tree(listed: tuple[str, ...], path: str) -> None:
    around = [0, *(n for n, known in enumerate(listed, 1) if f"{path}/".startswith(f"{known}/"))]
    assert cgroups.place(listed, path) == around[-1]
    assert [known for known in cgroups.lineage(path) if known in listed] == [
        listed[n - 1] for n in around[1:]
    ]


def test_rules_of_templates_and_of_other_rules_are_one_list() -> None:
    text = 'template t() { reject tcp if sock.cgroup == "/b" }\n' + connect(
        'use t() allow if sock.cgroup == "/a"'
    )
    chain = unit(text).chains[0]
    assert chain.cgroups == ("/a", "/b")
    assert [rule.where for rule in chain.rules] == [FieldTest("sock.cgroup", of(n)) for n in (2, 1)]


@pytest.mark.parametrize(
    ("rule", "code", "text"),
    [
        ("reject if sock.cgroup == 5", "E0227", "5"),
        ("reject if sock.cgroup == shop", "E0227", "shop"),
        ('reject if sock.cgroup < "/shop"', "E0228", 'sock.cgroup < "/shop"'),
        ("reject if sock.cgroup", "E0228", "sock.cgroup"),
        ('reject if sock.cgroup == "shop"', "E0218", '"shop"'),
        ('reject if sock.cgroup in { "/a", "/a/../b" }', "E0218", '"/a/../b"'),
        (f'reject if sock.cgroup == "{"/a" * 16}"', "E0218", f'"{"/a" * 16}"'),
        ('reject if sock.cgroup == "/"', "E0229", 'sock.cgroup == "/"'),
        ('reject if sock.cgroup != "/"', "E0229", 'sock.cgroup != "/"'),
        (
            'reject if sock.cgroup == "/shop/web" and sock.cgroup != "/shop"',
            "E0229",
            'if sock.cgroup == "/shop/web" and sock.cgroup != "/shop"',
        ),
    ],
)
def test_what_is_refused(rule, code, text) -> None:
    assert said(connect(rule)) == [(code, text)]


def test_an_expectation_cannot_be_in_a_cgroup_and_out_of_one_around_it() -> None:
    asked = 'if sock.cgroup == "/shop/web" and sock.cgroup != "/shop"'
    text = connect('reject if sock.cgroup in { "/shop", "/shop/web" }')
    assert said(f'{text}test "t" {{ expect reject tcp {asked} }}\n') == [("E0229", asked)]


def test_a_template_asks_by_itself() -> None:
    assert said('template t() { reject if sock.cgroup != "/a" }\n' + connect("use t()")) == []


def test_messages() -> None:
    (found,) = findings(tc('drop if sock.cgroup == "/a"'))
    assert (found.code, found.labels[0].text) == ("E0307", "a packet has no process")
    (found,) = findings(connect("reject if sock.cgroup == 5"))
    assert found.labels[0].text == "expected a cgroup's path in quotes"
    (found,) = findings(connect('reject if sock.cgroup == "shop"'))
    assert found.fixes[0].replacement == '"/shop"'
    (found,) = findings(connect('reject if sock.cgroup == "/"'))
    assert "every process is in `/`" in (found.message, *found.notes, *(label.text for label in found.labels))
    assert where(f'reject if sock.cgroup == "{"/a" * 15}"') == [FieldTest("sock.cgroup", of(1))]


def test_an_expectation_is_of_a_process_in_the_cgroup_itself() -> None:
    policy = connect('reject if sock.cgroup == "/shop" or sock.cgroup == "/shop/web"')
    for path, place in (("/shop", 1), ("/shop/web", 2), ("/shop/web/a", 2), ("/shop/other", 1), ("/", 0)):
        text = f'{policy} test "t" of out {{ expect reject tcp if sock.cgroup == "{path}" }}'
        assert unit(text).tests[0].expects[0].packet.cgroup == place
    several = f'{policy} test "t" of out {{ expect reject tcp if sock.cgroup != "/shop" }}'
    assert [d.code for d in findings(several)] == ["E0603"]


# ---- the forms in between ----

HEAD = 'matches "c" at connect default allow\n'
RULE = 'rule 0 "a" reject "x" 1 1\n'


@pytest.mark.parametrize(
    ("lines", "values", "message"),
    [
        ('cgroup "/b"\ncgroup "/a"\n', "1", "cgroups must be sorted"),
        ('cgroup "/a"\ncgroup "/a"\n', "1", "cgroups must be sorted"),
        ('cgroup "/"\n', "1", "none the root"),
        ("", "1", "no such place among 0 cgroups"),
        ('cgroup "/a"\n', "1-2", "no such place among 1 cgroups"),
        ('cgroup "/a"\n', "0, 3-65535", "no such place among 1 cgroups"),
    ],
)
def test_the_verifiers_know_the_places(lines, values, message) -> None:
    with pytest.raises(VerifyError, match=message):
        verify_match(match_text.read(f"{HEAD}{lines}{RULE}match 0 from 0 when sock.cgroup {{{values}}}\n"))
    nodes = f"0: sock.cgroup in {values.rpartition(' ')[2]} ? 1 : 2\n1: decide 0\n2: decide default\n"
    with pytest.raises(VerifyError, match=message):
        verify_plan(plan_text.read(f'plan "c" at connect default allow\n{lines}{RULE}{nodes}'))


def test_packets_have_no_cgroup_in_any_form() -> None:
    with pytest.raises(VerifyError, match="the hook xdp knows no cgroups"):
        verify_match(match_text.read('matches "c" at xdp default pass\ncgroup "/a"\n'))


def test_too_many_cgroups_do_not_fit_a_program() -> None:
    base = plan_text.read('plan "c" at connect default allow\n0: decide default\n')
    many = tuple(f"/{n:05}" for n in range(MAX_CGROUPS + 1))
    assert over_budget(dataclasses.replace(base, cgroups=many[:-1])) is None
    assert over_budget(dataclasses.replace(base, cgroups=many)) is not None


def test_a_bundle_names_them_and_the_plan_finds_them() -> None:
    text = connect('reject if sock.cgroup in { "/b", "/a/c" }')
    with Opened(Case(text, ())) as opened:
        made = bundle.parse(opened.session.bundle())
    (chain,) = made.manifest.chains
    assert chain.cgroups == ("/a/c", "/b")
    loaded = plan.make(made)
    assert "  find  cgroups of out: /a/c, /b" in plan.render(loaded).splitlines()
    raw = json.loads(manifest.to_json(made.manifest))
    del raw["chains"][0]["cgroups"]
    assert manifest.from_json(json.dumps(raw)).chains[0].cgroups == ()
    deep = dataclasses.replace(loaded, cgroups=(plan.CgroupsPlan("out", ("/a" * 16,)),))
    with pytest.raises(LockgateError, match="lies too deep"):
        numbers(deep)


DEEPEST = [pytest.param(False, id="native"), pytest.param(True, id="kernel", marks=pytest.mark.kernel)]


@pytest.mark.parametrize("kernel", DEEPEST)
def test_the_deepest_that_can_be_asked_about_with_one_at_every_level(kernel: bool) -> None:
    listed = ["/a" * n for n in range(1, cgroups.MAX_DEPTH + 1)]
    rules = "\n".join(f'continue if sock.cgroup == "{path}"' for path in listed)
    call = SocketCall("connect", 2, 6, 0x0A000001, 80, cgroup=len(listed))
    with Opened(Case(connect(rules), (call,))) as opened:
        assert opened.judge(kernel)[1] == []
        assert decide(opened.chain, decode_call(call), {}).passed == tuple(range(len(listed)))


# ---- text ----

LISTS = {"cgroup": ("/shop", "/shop/web"), "device": ("eth1", "eth2")}


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("cgroup 2", 2),
        ("cgroup /shop/web", 2),
        ('cgroup "/shop/web"', 2),
        ("cgroup /shop/web/a", 2),
        ("sock.cgroup /shop/other/", 1),
        ("cgroup /", 0),
        ('cgroup "/with a blank"', 0),
    ],
)
def test_packet_text_names_cgroups_of_a_known_list(words, place) -> None:
    made = packet.parse(f"connect tcp 10.0.0.1:80 uid 5 {words}", LISTS)
    assert made == SocketCall("connect", 2, 6, 0x0A000001, 80, 5, place)
    assert packet.parse(packet.describe_call(decode_call(made), LISTS), LISTS) == made


def test_packet_text_names_devices_of_a_known_list() -> None:
    assert packet.parse("tcp meta.iif eth2", LISTS).iif == 2
    assert packet.parse('tcp meta.iif "eth3"', LISTS).iif == 0
    assert packet.parse("tcp meta.iif 1", LISTS).iif == 1


@pytest.mark.parametrize(
    ("words", "lists", "message"),
    [
        ("cgroup 3", LISTS, "it must be 0 to 2"),
        ("cgroup shop", LISTS, "begins with `/`"),
        ("cgroup /a/../b", LISTS, "not allowed"),
        ("cgroup /shop", None, "it must be 0 to 65535"),
        ("cgroup", LISTS, "write `connect tcp"),
        ("ttl 5", LISTS, "write `connect tcp"),
    ],
)
def test_packet_text_that_is_wrong(words, lists, message) -> None:
    with pytest.raises(packet.PacketTextError, match=message):
        packet.parse(f"connect tcp 10.0.0.1:80 {words}", lists)


def test_programs_that_do_not_ask_do_not_look() -> None:
    with Opened(Case(connect("reject if sock.uid == 1"), ())) as opened:
        assert "bpf_helper_123" not in opened.session.module(opened.chain).body


def test_the_lowered_list_is_the_chains() -> None:
    chain = unit(connect('reject if sock.cgroup == "/a"')).chains[0]
    assert lower(chain).cgroups == ("/a",)
    assert fields.lookup("sock.cgroup").style == "cgroup"
