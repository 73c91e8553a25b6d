"""What HNS makes of a document: an interpreter written from what is published about access lists, and a
check of the document's form.

The entry with the lowest priority number that matches decides, a `Block` before an `Allow` of that number;
what none matches is blocked (microsoft/Windows-Containers issue 616, microsoft/hcsshim issue 1059). Knows
nothing of the compiler.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = {"object": dict, "array": list, "string": str, "integer": int}


@dataclass(frozen=True)
class Packet:
    """An IP packet as an access list sees it; ports None where there are none."""

    protocol: int
    src: str
    dst: str
    sport: int | None = None
    dport: int | None = None


def judged(request: Mapping[str, Any], packet: Packet, direction: str) -> str:
    """`Allow` or `Block`, for a packet coming (`In`) to an endpoint or leaving (`Out`) it."""
    found = [
        (entry["Priority"], entry["Action"] != "Block", entry["Action"])
        for policy in request["Policies"]
        if (entry := policy["Settings"])["Direction"] == direction and _matches(entry, packet)
    ]
    return min(found)[2] if found else "Block"


def balanced(
    document: Mapping[str, Any], protocol: int, vip: str, port: int
) -> tuple[list[tuple[str, int]], bool]:
    """Who may answer a call, with the port that it is rewritten to, and whether a client stays with one of
    them; nobody where no load balancer has that mapping."""
    for one in document["LoadBalancers"]:
        for mapping in one["Request"]["PortMappings"]:
            asked = (mapping["Protocol"], mapping["ExternalPort"])
            if vip in one["Request"]["FrontendVIPs"] and asked == (protocol, port):
                found = [(address, mapping["InternalPort"]) for address in one["Backends"]]
                return found, mapping["DistributionType"] == 2
    return [], False


def _matches(entry: Mapping[str, Any], packet: Packet) -> bool:
    source, destination = (packet.src, packet.sport), (packet.dst, packet.dport)
    ends = {"Remote": source, "Local": destination}
    if entry["Direction"] == "Out":
        ends = {"Local": source, "Remote": destination}
    protocols = entry.get("Protocols")
    return (protocols is None or str(packet.protocol) in protocols.split(",")) and all(
        _address(entry.get(f"{end}Addresses"), address) and _port(entry.get(f"{end}Ports"), port)
        for end, (address, port) in ends.items()
    )


def _address(listed: str | None, address: str) -> bool:
    if listed is None:
        return True
    value = ipaddress.ip_address(address)
    return any(value in ipaddress.ip_network(prefix) for prefix in listed.split(","))


def _port(listed: str | None, port: int | None) -> bool:
    if listed is None:
        return True
    spans = (span.split("-") for span in listed.split(","))
    return port is not None and any(int(span[0]) <= port <= int(span[-1]) for span in spans)


def check(value: Any, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    """AssertionError for a value that a JSON schema refuses. Only the schema's own keywords are known."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    unknown = schema.keys() - {
        *("$schema", "$comment", "$defs", "type", "required", "additionalProperties", "properties"),
        *("items", "const", "enum", "pattern", "minimum", "maximum"),
    }
    assert not unknown, unknown
    assert "type" not in schema or isinstance(value, KINDS[schema["type"]]), (value, schema)
    assert "const" not in schema or value == schema["const"], (value, schema)
    assert "enum" not in schema or value in schema["enum"], (value, schema)
    assert "pattern" not in schema or re.search(schema["pattern"], value), (value, schema)
    assert (
        schema.get("minimum", 0) <= value <= schema.get("maximum", 1 << 64) if "minimum" in schema else True
    )
    if isinstance(value, dict):
        assert value.keys() >= set(schema.get("required", ())), (value, schema)
        for name, held in value.items():
            assert name in schema["properties"], f"`{name}` is not of the form"
            check(held, schema["properties"][name], whole)
    for held in value if isinstance(value, list) else ():
        check(held, schema["items"], whole)
