"""A bundle is read wholly or refused with its reason; an ELF object gives a spec or an error, nothing
else."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.runtime import bundle as bundles
from lockgate.runtime import elf, plan
from lockgate.runtime.errors import BundleCorrupt, BundleForeign, BundleTruncated, LockgateError
from tests.kernel.policies import TCP, Live, bundle, chain, nets, rule


@functools.cache
def sample() -> bytes:
    many = nets(*(f"10.{i // 250}.{i % 250}.0/24" for i in range(300)), "2001:db8::/32")
    return bundle(
        "edge",
        chain("edge", "xdp", ("eth0", "blue/eth1"), "pass", rule("drop", "many", src=many, sample=1)),
        chain("edge", "tc", "eth0", "allow", rule("drop", "set", src=Live("bans", 8)), direction="egress"),
        chain("out", "connect", "/system.slice//web/", "allow", rule("reject", "no", proto=TCP, dport=80)),
    )


def _members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(sample())) as archive:
        return {i.filename: archive.read(i) for i in archive.infolist()}


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return out.getvalue()


def _sealed(members: dict[str, bytes]) -> bytes:
    """With the seal made anew, so that only what is behind it is wrong."""
    digest = hashlib.sha256(members["manifest.json"]).hexdigest()
    return _zip({**members, "lockgate-bundle": f"2\nsha256 {digest}\n".encode()})


def test_a_whole_bundle_is_read() -> None:
    whole = bundles.parse(sample())
    assert whole.manifest.name == "edge"
    assert {c.object for c in whole.manifest.chains} <= whole.members.keys()
    assert bundles.looks_like_bundle(sample())


def test_every_beginning_of_a_bundle_is_truncated() -> None:
    data = sample()
    lengths = {*range(1, 60), len(data) - 1, len(data) - 22, len(data) // 2, len(data) // 3}
    for length in lengths:
        with pytest.raises(BundleTruncated):
            bundles.parse(data[:length])


def test_foreign_files() -> None:
    for data in (b"", b"\x7fELF", b"policy", _zip({"other": b"1"})):
        with pytest.raises(BundleForeign):
            bundles.parse(data)
    with pytest.raises(BundleForeign, match="container version `1`"):
        bundles.parse(_zip({**_members(), "lockgate-bundle": b"1\nsha256 0\n"}))
    newer = {
        **_members(),
        "manifest.json": _members()["manifest.json"].replace(b'"version": 2', b'"version": 9'),
    }
    with pytest.raises(BundleForeign, match="version 9"):
        bundles.parse(_sealed(newer))


def test_each_damaged_member_is_found() -> None:
    members = _members()
    for name in members:
        if name == "lockgate-bundle":
            continue
        changed = bytearray(members[name])
        changed[len(changed) // 2] ^= 1
        with pytest.raises(BundleCorrupt):
            bundles.parse(_zip({**members, name: bytes(changed)}))
        with pytest.raises(BundleCorrupt):
            bundles.parse(_zip({k: v for k, v in members.items() if k != name}))
    with pytest.raises(BundleCorrupt, match="`extra` is not in the manifest"):
        bundles.parse(_zip({**members, "extra": b""}))
    with pytest.raises(BundleCorrupt, match="compressed"):
        bundles.parse(_zip(members, zipfile.ZIP_DEFLATED))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_never_crash_the_reader(data: st.DataObject) -> None:
    whole = bytearray(sample())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        bundles.parse(bytes(whole))
    except LockgateError as error:
        assert error.code in ("E0904", "E0905", "E0906")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_broken_object_is_an_error_or_a_spec(data: st.DataObject) -> None:
    object_ = bytearray(_members()["objects/edge.o"])
    if data.draw(st.booleans()):
        del object_[data.draw(st.integers(0, len(object_) - 1)) :]
    for _ in range(data.draw(st.integers(0, 6))):
        if object_:
            object_[data.draw(st.integers(0, len(object_) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(elf.ElfError):
        assert elf.read(bytes(object_)).programs


def test_an_object_gives_the_same_spec_twice() -> None:
    object_ = _members()["objects/edge.o"]
    spec = elf.read(object_)
    assert spec == elf.read(object_)
    assert spec.license == "GPL"
    assert [p.section for p in spec.programs] == ["xdp.frags"]
    assert len(spec.programs[0].insns) % 8 == 0
    assert spec.programs[0].lines[0].insn == 0, "the kernel wants a line for the first instruction"
    assert {line.file.rpartition("/")[2] for line in spec.programs[0].lines} == {"edge.gate"}


def test_plan_places_hooks_and_shares_sets_and_events() -> None:
    made = plan.make(bundles.parse(sample()), netns="red")
    assert [a.point.key for a in made.attachments] == [
        "xdp@red/eth0",
        "xdp@blue/eth1",
        "tcx-egress@red/eth0",
        "connect4@system.slice/web",
        "connect6@system.slice/web",
        "sendmsg4@system.slice/web",
        "sendmsg6@system.slice/web",
    ]
    keys = [m.key for m in made.maps]
    assert len(keys) == len(set(keys))
    assert "events" in keys
    assert any(k.startswith("set:bans:") for k in keys)
    text = plan.render(made)
    assert "attach edge:edge at xdp of red/eth0" in text
    assert text == plan.render(plan.make(bundles.parse(sample()), netns="red"))


def test_two_policies_cannot_share_xdp() -> None:
    data = bundle("two", chain("a", "xdp", "eth0", "pass"), chain("b", "xdp", "eth0", "pass"))
    with pytest.raises(LockgateError, match="two policies of the bundle want XDP on `eth0`"):
        plan.make(bundles.parse(data))
