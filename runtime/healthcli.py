"""`lockgate health`: asks the backends of a running policy, and takes out those that fail."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace

import click

from . import backends, expiry, pins, running, show
from .backends import Place
from .errors import BackendError, SetError
from .health import Check, Health, asked, port_of
from .options import output_option, settled_bpffs_option
from .sys import netns as namespaces

NS_PER_S = 1_000_000_000


@click.command("health")
@click.argument("name")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--http", "path", metavar="PATH", help="Ask for PATH by HTTP; without it, connect by TCP.")
@click.option("--port", type=click.IntRange(1, 65535), help="Ask at this port, not where clients are sent.")
@click.option("--interval", default="5s", show_default=True, metavar="DURATION", help="Between two rounds.")
@click.option("--timeout", default="1s", show_default=True, metavar="DURATION", help="For an answer.")
@click.option("--rise", type=click.IntRange(1), default=2, show_default=True, help="Answers in a row: well.")
@click.option("--fall", type=click.IntRange(1), default=3, show_default=True, help="Failures in a row: not.")
@click.option("--netns", metavar="NAME", help="Ask from this network namespace.")
@settled_bpffs_option
@output_option
def health_command(
    name: str,
    services: tuple[str, ...],
    path: str | None,
    port: int | None,
    interval: str,
    timeout: str,
    rise: int,
    fall: int,
    netns: str | None,
    bpffs: str,
    output: str,
) -> None:
    """Ask the backends of the policy NAME whether they are well, until this is ended.

    One that fails takes no calls until it is well again; if all fail, the service is empty. Prints what
    changes. Runs in the foreground, for a supervisor such as systemd; what it found stays when it ends."""
    health = Health(Check(path, port or 0, _seconds(timeout), rise, fall))
    pause = _seconds(interval)
    _known(bpffs, name, services)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    while not over.is_set():
        for place, failing in _round(bpffs, name, services, health, netns).items():
            _say(place, failing, output)
        over.wait(pause)


def _seconds(text: str) -> float:
    try:
        return expiry.duration(text) / NS_PER_S
    except SetError:
        raise BackendError(f"`{text}` is no time span", (), ("for example 500ms, 5s or 1m",)) from None


def _known(bpffs: str, name: str, services: tuple[str, ...]) -> None:
    known = backends.services(running.find(bpffs, name))
    for service in services:
        if service not in known:
            raise BackendError(
                f"policy `{name}` has no service `{service}`",
                (),
                (f"its services: {', '.join(known) or 'none'}",),
            )


def _round(
    bpffs: str, name: str, services: tuple[str, ...], health: Health, netns: str | None
) -> dict[Place, bool]:
    """Ask everybody once; what changed."""
    with pins.locked(bpffs):
        policy = running.find(bpffs, name)
        listed = [one for one in backends.listing(policy) if not services or one.service in services]
    said = {s.name: s for c in policy.state.manifest.chains for s in c.services}
    told = {_bare(one): one.backend.failing for one in listed}
    ports = {place: port_of(health.check, said[place.service], place.backend) for place in told}
    with namespaces.inside(netns):
        answers = asked(health.check, ((place, port) for place, port in ports.items() if port is not None))
    changed = health.heard(answers, told)
    if changed:
        with pins.locked(bpffs):
            backends.mark(running.find(bpffs, name), changed)
    return changed


def _bare(one: Place) -> Place:
    """A backend without what may change of it."""
    return Place(one.service, replace(one.backend, weight=1, draining=False, local=False, failing=False))


def _say(place: Place, failing: bool, output: str) -> None:
    if output == "json":
        show.as_json({"service": place.service, "backend": place.backend.text, "failing": failing})
    else:
        click.echo(f"{place.service}: {place.backend.text} {'fails' if failing else 'is well'}")
