"""Writes table contents into a compiled object. Knows ELF sections; knows nothing of what they mean."""

from __future__ import annotations

import io

from .module import DataSection


def fill(elf: bytes, data: tuple[DataSection, ...]) -> bytes:
    """The object with the bytes of its in-place tables, so that it runs as it is under any loader.
    ValueError when a section is missing or has another size."""
    if not data:
        return elf
    from elftools.elf.elffile import ELFFile

    out = bytearray(elf)
    sections = {s.name: s for s in ELFFile(io.BytesIO(elf)).iter_sections()}
    for table in data:
        section = sections.get(table.section)
        if section is None or section["sh_size"] != len(table.data):
            raise ValueError(f"the object has no section {table.section} of {len(table.data)} bytes")
        at = section["sh_offset"]
        out[at : at + len(table.data)] = table.data
    return bytes(out)
