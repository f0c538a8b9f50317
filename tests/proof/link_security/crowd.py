"""Fifty gateways at one broker: each is heard as itself and hears its own; one that is revoked goes alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.proof.link_security.arena import WAIT_S, Arena, Caller, now, request, serial_of
from tests.proof.row import Part, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

CROWD = 50


def check_crowd(arena: Arena) -> Part:
    """Everybody speaks, the cloud answers each, one is revoked, the others speak again."""
    violations: list[Violation] = []
    with contextlib.ExitStack() as leaving:
        cloud = leaving.enter_context(arena.cloud())
        cloud.subscribe("reloop/v1/+/up")
        members = dict(_members(arena, leaving))
        violations += _round(cloud, {name: caller for name, (caller, _) in members.items()}, "first")
        gone, (caller, serial) = next(iter(members.items()))
        arena.revoke(serial)
        arena.evict(gone)
        if not caller.gone.wait(WAIT_S):
            violations.append(Violation("crowd", f"{gone} is revoked and was not dropped"))
        rest = {name: each for name, (each, _) in members.items() if name != gone}
        violations += _round(cloud, rest, "second")
    return Part(len(members), violations)


def _members(arena: Arena, leaving: contextlib.ExitStack) -> Iterator[tuple[str, tuple[Caller, int]]]:
    for number in range(CROWD):
        name = f"drop-point-{number:02}"
        key, csr = request()
        chain = arena.authority.gateway_certificate(csr, name, now())
        caller = leaving.enter_context(arena.caller(name, key, chain))
        for each in (f"reloop/v1/{name}/ack", "reloop/v1/+/ack"):  # the second is not theirs to hear
            caller.subscribe(each)
        yield name, (caller, serial_of(chain))


def _round(cloud: Caller, members: dict[str, Caller], mark: str) -> Iterator[Violation]:
    """Each says something, each is answered; what anybody heard that is not its own is a violation."""
    for name, member in members.items():
        member.publish(f"reloop/v1/{name}/up", f"{mark}/{name}".encode())
    for name, member in members.items():
        try:
            cloud.await_heard(f"{mark}/{name}".encode(), f"{name} is heard")
            cloud.publish(f"reloop/v1/{name}/ack", f"{mark}/ack/{name}".encode())
            member.await_heard(f"{mark}/ack/{name}".encode(), f"{name} hears its ack")
        except TimeoutError as error:
            yield Violation("crowd", str(error))
    for topic, payload in list(cloud.heard):
        if topic.split("/")[2] != payload.decode().rpartition("/")[2]:
            yield Violation("crowd", f"the cloud heard {payload!r} on {topic}")
    for name, member in members.items():
        if any(not payload.endswith(f"/{name}".encode()) for _, payload in list(member.heard)):
            yield Violation("crowd", f"{name} heard what was another's")
        if member.gone.is_set():
            yield Violation("crowd", f"{name} was thrown off")
