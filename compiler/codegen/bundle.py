"""Writes the bundle: one ZIP file whose members are stored as they are (`docs/bundle.md`).

The same members give the same bytes: no compression (its output differs between zlib versions), no times,
no attributes of the machine. The first member says what the file is and seals the manifest; the manifest
seals the rest.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace

from lockgate.stdlib_bpf import manifest

MAGIC_MEMBER, MANIFEST_MEMBER = "lockgate-bundle", "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write(description: manifest.Manifest, members: dict[str, bytes]) -> bytes:
    """The bundle's bytes. `members`: name → contents of objects and images; their digests replace
    `description.members`."""
    digests = tuple((name, hashlib.sha256(members[name]).hexdigest()) for name in sorted(members))
    text = manifest.to_json(replace(description, members=digests)).encode()
    seal = f"{manifest.VERSION}\nsha256 {hashlib.sha256(text).hexdigest()}\n".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [(MAGIC_MEMBER, seal), (MANIFEST_MEMBER, text), *sorted(members.items())]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data)
    return out.getvalue()
