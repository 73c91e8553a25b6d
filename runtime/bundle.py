"""Reads a bundle file and checks every byte of it against its digest. Knows the container, not what is in it.

A bundle is a ZIP whose members are stored, not compressed. First member `lockgate-bundle`: the line "2"
(version of the container) and the line "sha256 HEX" (digest of `manifest.json`). `manifest.json` is
`stdlib_bpf.manifest` and has the digest of every other member: `objects/CHAIN.o`, and `images/CHAIN/MAP.bin`
(all keys, then all values).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lockgate.stdlib_bpf import manifest as manifests

from .errors import BundleCorrupt, BundleForeign, BundleTruncated, LockgateError

MARK, MANIFEST = "lockgate-bundle", "manifest.json"
CONTAINER_VERSION = str(manifests.VERSION)
# a ZIP begins with a local file header; 30 bytes in front of the member's name (APPNOTE 4.3.7)
_LOCAL_HEADER = b"PK\x03\x04"
_NAME_AT = 30
# and ends with a record of at least 22 bytes (APPNOTE 4.3.16)
_END, _END_BYTES = b"PK\x05\x06", 22


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. `members`: every member but mark and manifest; `digest`: SHA-256 of the manifest,
    which stands for the whole since the manifest has all other digests."""

    manifest: manifests.Manifest
    members: Mapping[str, bytes]
    digest: str


def looks_like_bundle(data: bytes) -> bool:
    """Whether a file begins like a bundle; says nothing about the rest."""
    return data.startswith(_LOCAL_HEADER) and data[_NAME_AT : _NAME_AT + len(MARK)] == MARK.encode()


def read(path: str | Path) -> Bundle:
    """Read and check a file. Raises BundleForeign, BundleTruncated or BundleCorrupt."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BundleForeign(str(path), (error.strerror or str(error)).lower()) from None
    return parse(data, str(path))


def parse(data: bytes, file: str = "bundle") -> Bundle:
    """Check a bundle held in memory; `file` names it in messages."""
    if not looks_like_bundle(data):
        begins = (_LOCAL_HEADER + data[len(_LOCAL_HEADER) : _NAME_AT] + MARK.encode())[: len(data)]
        if data and data == begins:
            raise BundleTruncated(file, len(data))
        raise BundleForeign(file, "the file is empty" if not data else "it is no lockgate bundle")
    try:
        members = _members(data, file)
    except LockgateError:
        raise
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, OverflowError) as error:
        if not 0 <= data.rfind(_END) <= len(data) - _END_BYTES:
            raise BundleTruncated(file, len(data)) from None
        raise BundleCorrupt(file, f"its directory cannot be read ({error})") from None
    return _check(members, file)


def _members(data: bytes, file: str) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        out: dict[str, bytes] = {}
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(data):
                raise BundleCorrupt(file, f"member `{info.filename}` is compressed")
            if info.filename in out:
                raise BundleCorrupt(file, f"member `{info.filename}` is there twice")
            try:
                out[info.filename] = archive.read(info)
            except (zipfile.BadZipFile, RuntimeError, EOFError) as error:
                raise BundleCorrupt(file, f"member `{info.filename}`: {error}") from None
        return out


def _check(members: dict[str, bytes], file: str) -> Bundle:
    version, _, rest = members.pop(MARK, b"").decode("ascii", "replace").partition("\n")
    if version != CONTAINER_VERSION:
        raise BundleForeign(
            file, f"it has container version `{version}`, this lockgate reads {CONTAINER_VERSION}"
        )
    if MANIFEST not in members:
        raise BundleCorrupt(file, "it has no manifest")
    text = members.pop(MANIFEST)
    digest = hashlib.sha256(text).hexdigest()
    if rest.strip() != f"sha256 {digest}":
        raise BundleCorrupt(file, "the manifest does not have its digest")
    try:
        manifest = manifests.from_json(text.decode())
    except UnicodeDecodeError:
        raise BundleCorrupt(file, "the manifest is not UTF-8") from None
    except manifests.ManifestError as error:
        raise BundleForeign(file, str(error)) from None
    expected = dict(manifest.members)
    for name in sorted(expected.keys() | members.keys()):
        if name not in members:
            raise BundleCorrupt(file, f"member `{name}` is missing")
        if name not in expected:
            raise BundleCorrupt(file, f"member `{name}` is not in the manifest")
        if hashlib.sha256(members[name]).hexdigest() != expected[name]:
            raise BundleCorrupt(file, f"member `{name}` does not have its digest")
    _check_references(manifest, members, file)
    return Bundle(manifest, members, digest)


def _check_references(manifest: manifests.Manifest, members: Mapping[str, bytes], file: str) -> None:
    for chain in manifest.chains:
        if chain.object not in members:
            raise BundleCorrupt(
                file, f"chain `{chain.name}` names object `{chain.object}`, which is not there"
            )
        for map_ in chain.maps:
            if map_.image is None:
                continue
            image = members.get(map_.image)
            if image is None or len(image) != map_.image_count * (map_.key_size + map_.value_size):
                raise BundleCorrupt(file, f"map `{map_.name}` of chain `{chain.name}` lacks its contents")
