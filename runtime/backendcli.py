"""`lockgate backend …`: who answers for services of loaded policies."""

from __future__ import annotations

from dataclasses import replace

import click

from lockgate.stdlib_bpf.balance.services import Backend

from . import backends, pins, running, show
from .errors import BackendError
from .options import output_option, settled_bpffs_option
from .running import Running


@click.group(name="backend")
def backend_group() -> None:
    """Show and change who answers for services of loaded policies."""


service_policy_option = click.option(
    "--policy", metavar="NAME", help="The policy, where several have a service of this name."
)
STATES = ("draining", "failing", "local")
backend_argument = click.argument("backend", metavar="ADDRESS[:PORT]")
service_argument = click.argument("service")


def _with_service(name: str, policy: str | None, bpffs: str) -> Running:
    """The policy that has the service."""
    policies = [running.find(bpffs, policy)] if policy else running.everything(bpffs)
    having = [p for p in policies if name in backends.services(p)]
    if len(having) == 1:
        return having[0]
    if having:
        raise BackendError(
            f"several policies have a service `{name}`",
            (),
            (f"add --policy, one of: {', '.join(p.name for p in having)}",),
        )
    known = sorted({n for p in policies for n in backends.services(p)})
    raise BackendError(
        f"no loaded policy has a service `{name}`",
        (),
        (f"services: {', '.join(known)}" if known else "no service is loaded",),
    )


def _backend_changed(output: str, service: str, backend: Backend, done: str, **more: int) -> None:
    if output == "json":
        show.as_json({"service": service, "backend": backend.text, "done": done, **more})
        return
    counted = "".join(f", {count} {what}" for what, count in more.items())
    click.echo(f"{service}: {backend.text} {done}{counted}")


@backend_group.command(name="add")
@service_argument
@backend_argument
@click.option("--weight", type=int, default=1, show_default=True, help="Its share of the calls.")
@click.option("--local", is_flag=True, help="It is on this host (for `spread local-first`).")
@service_policy_option
@settled_bpffs_option
@output_option
def backend_add(
    service: str, backend: str, weight: int, local: bool, policy: str | None, bpffs: str, output: str
) -> None:
    """Send calls for SERVICE to another backend, too."""
    new = replace(backends.parse(backend), weight=weight, local=local)
    with pins.locked(bpffs):
        backends.add(_with_service(service, policy, bpffs), service, new)
    _backend_changed(output, service, new, "added")


@backend_group.command(name="del")
@service_argument
@backend_argument
@service_policy_option
@settled_bpffs_option
@output_option
def backend_del(service: str, backend: str, policy: str | None, bpffs: str, output: str) -> None:
    """Send no call for SERVICE to a backend any more, and end the sockets that are connected to it."""
    old = backends.parse(backend)
    with pins.locked(bpffs):
        ended = backends.remove(_with_service(service, policy, bpffs), service, old)
    _backend_changed(output, service, old, "removed", sockets=ended)


@backend_group.command(name="weight")
@service_argument
@backend_argument
@click.argument("weight", type=int)
@service_policy_option
@settled_bpffs_option
@output_option
def backend_weight(
    service: str, backend: str, weight: int, policy: str | None, bpffs: str, output: str
) -> None:
    """Give a backend of SERVICE another share of the calls."""
    old = backends.parse(backend)
    with pins.locked(bpffs):
        backends.weight(_with_service(service, policy, bpffs), service, old, weight)
    _backend_changed(output, service, old, f"has weight {weight}")


@backend_group.command(name="drain")
@service_argument
@backend_argument
@click.option("--off", is_flag=True, help="Send it new clients again.")
@service_policy_option
@settled_bpffs_option
@output_option
def backend_drain(service: str, backend: str, off: bool, policy: str | None, bpffs: str, output: str) -> None:
    """Send no new client of SERVICE to a backend; it keeps those that it has."""
    old = backends.parse(backend)
    with pins.locked(bpffs):
        backends.drain(_with_service(service, policy, bpffs), service, old, not off)
    _backend_changed(output, service, old, "takes clients" if off else "is draining")


def _state(backend: Backend) -> tuple[bool, ...]:
    return backend.draining, backend.failing, backend.local


@backend_group.command(name="list")
@click.argument("service", required=False)
@service_policy_option
@settled_bpffs_option
@output_option
def backend_list(service: str | None, policy: str | None, bpffs: str, output: str) -> None:
    """Show services and who answers for them."""
    with pins.locked(bpffs):
        if service is not None:
            policies = [_with_service(service, policy, bpffs)]
        else:
            policies = [running.find(bpffs, policy)] if policy else running.everything(bpffs)
        rows = [
            (p.name, one.service, one.backend.text, one.backend.weight, *_state(one.backend))
            for p in policies
            for one in backends.listing(p, service)
        ]
    columns = ("policy", "service", "backend", "weight", *STATES)
    if output == "json":
        show.as_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show.table(columns, [(*row[:4], *("yes" if so else "" for so in row[4:])) for row in rows])
