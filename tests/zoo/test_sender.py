"""The product's sender in the zoo: each attempt ends in time, as documented, as one request, and cheaply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from app.delivery.sending.resolver import Resolver
from app.delivery.sending.sender import Sender
from app.zoo.receiver import Group
from app.zoo.receivers import RECEIVERS
from app.zoo.receivers.healthy import HEALTHY
from tests.zoo.drive import Round, shortcomings, visit_all, warm_up
from tests.zoo.running import RunningZoo

LOOPBACK = (ip_network("127.0.0.0/8"),)
TOTAL_SECONDS, CONNECT_SECONDS = 3.0, 2.0
GROWTH_BYTES = 5 * 2**20
# A round lasts a second at least, and the next POST is made a hundredth after the last: fewer than a slow machine
# manages, and far more than would be answered if they waited for any of the others.
HEALTHY_POSTS = 25
# Two for the body, and two for all the handshakes and answers of the others that begin at the same moment.
ANSWERED_SECONDS = 4.0
# One round after the other, so that the growth of each is known; all receivers of a round at once.
ROUNDS = (
    (Group.CONNECTION, Group.REUSED, Group.NAME),
    (Group.HEAD, Group.LENGTH, Group.BODY, Group.STATUS),
    (Group.TLS,),
    (Group.HTTP2,),
)
WARM_UP = {"healthy": 200, "healthy-tls": 50, "healthy-http2": 50}


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[RunningZoo]:
    """Fresh: its counts are this test's."""
    running = RunningZoo(tmp_path)
    yield running
    running.stop()


def visit(sender: Sender, zoo: RunningZoo, groups: Iterable[Group]) -> Round:
    receivers = [receiver for receiver in zoo.receivers.values() if receiver["group"] in groups]
    return visit_all(sender, receivers, zoo.receivers["healthy"]["url"])


def judged(done: Round, zoo: RunningZoo, deadline_seconds: float) -> list[str]:
    """What fell short, in sentences."""
    seen = zoo.seen()
    assert set(done.healthy) == {"success"}
    assert done.healthy.total() >= HEALTHY_POSTS
    return [said for one in done.visits for said in shortcomings(one, seen[one.receiver["name"]], deadline_seconds)]


def test_no_receiver_gets_more_of_the_sender_than_it_should(
    zoo: RunningZoo, capsys: pytest.CaptureFixture[str]
) -> None:
    resolver = Resolver(zoo.look_up)
    sender = Sender(LOOPBACK, TOTAL_SECONDS, CONNECT_SECONDS, ca_file=str(zoo.authority), resolver=resolver)
    for name, times in WARM_UP.items():
        warm_up(sender, zoo.receivers[name]["url"], times)
    rounds = [visit(sender, zoo, groups) for groups in ROUNDS]
    sender.close()
    fell_short = [said for done in rounds for said in judged(done, zoo, TOTAL_SECONDS)]
    visited = sum(len(done.visits) for done in rounds)
    growth = max(done.growth_bytes for done in rounds)
    with capsys.disabled():
        names = {said.partition(":")[0] for said in fell_short}
        print(f"\nzoo: {visited} hostile receivers, {len(names)} fell short; grew by {growth // 1024} KiB at most")
    assert not fell_short, "\n".join(fell_short)
    assert growth < GROWTH_BYTES
    assert visited == len(RECEIVERS) - len(HEALTHY)


@pytest.mark.load
def test_with_the_limits_of_the_product_only_what_decides_is_waited_for(zoo: RunningZoo) -> None:
    """All receivers at once. An answer whose head is complete is not waited for until the deadline."""
    sender = Sender(LOOPBACK, ca_file=str(zoo.authority), resolver=Resolver(zoo.look_up))
    done = visit(sender, zoo, [group for groups in ROUNDS for group in groups])
    sender.close()
    fell_short = judged(done, zoo, deadline_seconds=15)
    for one in done.visits:
        for result, seconds in zip(one.results, one.seconds, strict=True):
            if result.status_code is not None and seconds > ANSWERED_SECONDS:
                fell_short.append(f"{one.receiver['name']}: answered, and ended only after {seconds:.1f} s")
    assert not fell_short, "\n".join(fell_short)
