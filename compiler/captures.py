"""Reads packets from captures. Knows file formats through dpkt; knows no policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dpkt

_ETHERNET = 1  # LINKTYPE_ETHERNET


class CaptureError(ValueError):
    """Not a capture we can read; the message says why."""


def read(path: Path) -> Iterator[bytes]:
    """The frames of a pcap or pcapng file, in order. CaptureError when it is neither, is cut short, or holds
    frames of another link type than Ethernet; OSError when it cannot be read."""
    with path.open("rb") as file:
        try:
            reader = dpkt.pcap.UniversalReader(file)
        except (ValueError, dpkt.Error, EOFError, OSError) as error:
            raise CaptureError(f"{path} is neither pcap nor pcapng: {error}") from None
        if reader.datalink() != _ETHERNET:
            raise CaptureError(f"{path} holds link type {reader.datalink()}, and only Ethernet (1) is judged")
        packets = iter(reader)
        while True:
            try:
                _, frame = next(packets)
            except StopIteration:
                return
            except (ValueError, dpkt.Error, EOFError) as error:
                raise CaptureError(f"{path} is cut short: {error}") from None
            yield bytes(frame)
