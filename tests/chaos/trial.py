"""One scenario's rounds at one product: traffic, the deed, waiting for everything to arrive, the verdict."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from app.client.books.records import StreamName
from tests.chaos import journals
from tests.chaos.product import Product
from tests.chaos.stage import Effect, Scenario, Stage
from tests.chaos.traffic import Tenant, Traffic
from tests.chaos.verdict import Verdict, holes_of, judge, worst_seconds
from tests.processes import eventually

BEFORE_SECONDS = (0.4, 1.2)  # of traffic before the deed, so that it meets different moments
AFTER_SECONDS = 0.5
SETTLE_SECONDS = 60.0  # what has not come by then is lost
POLL_SECONDS = 0.2
ANSWER_SECONDS = 20.0  # a POST is answered within about 12 s, or its connection ends; the rest is for a busy machine
PAGE = 250
OUTCOMES_SEEN = {"success", "http_error"}  # attempts that an endpoint has answered


def run(
    scenario: Scenario, rounds: int, product: Product, chance: random.Random, directory: Path, release: str
) -> Verdict:
    """Do it so often, or until it goes wrong; the verdict on all of it."""
    traffic = Traffic(product, chance.randrange(2**32), ordered=scenario.ordered, feed=scenario.feed)
    try:
        trial = Trial(scenario, Stage(product, traffic, chance, directory, release))
        for _ in range(rounds):
            if not trial.round():
                break
        return trial.verdict()
    finally:
        traffic.close()


class Trial:
    """A scenario that is being tried."""

    def __init__(self, scenario: Scenario, stage: Stage) -> None:
        self._scenario, self._stage, self._traffic = scenario, stage, stage.traffic
        self._figures = Verdict()
        self._unsettled = ""

    def round(self) -> bool:
        """Do it once; whether everything arrived."""
        stage, traffic = self._stage, self._traffic
        traffic.began_round()
        began = time.monotonic()
        traffic.flow()
        stage.pass_time(stage.chance.uniform(*BEFORE_SECONDS))
        self._figures.times += 1
        try:
            effect = self._scenario.deed(stage)
            self._supervise()
            stage.pass_time(AFTER_SECONDS)
            traffic.rest()
            self._settle()
        except Exception as error:  # the product's fault or the scenario's: it is told, and the next one is tried
            self._unsettled = f"{type(error).__name__}: {error}".splitlines()[0]
            effect = Effect(began)
            with suppress(AssertionError):
                traffic.rest()
        self._measure(effect)
        return not self._unsettled and not stage.faults

    def verdict(self) -> Verdict:
        """On all rounds; reads the API's log of everything once more."""
        customers = [tenant.customer for tenant in self._traffic.tenants]
        try:
            for tenant in self._traffic.tenants:
                self._read_log(tenant)
                if not self._unsettled:
                    self._read_deliveries(tenant)
        except (requests.RequestException, AssertionError, KeyError, ValueError) as error:
            self._figures.faults.append(f"the API does not answer at the end: {error!r}"[:300])
        found = judge(self._traffic.books, customers)
        found.add(self._figures)
        if found.is_good:  # else it says the same once more
            found.faults += self._second_opinion()
        if self._unsettled:
            found.faults.insert(0, self._unsettled)
        found.faults += self._stage.faults
        found.faults += [f"{follower.name}: {follower.fault}" for follower in self._traffic.followers if follower.fault]
        found.count("misreported", (f"an event was refused: {reason}" for reason in self._traffic.refused))
        return found

    def _second_opinion(self) -> list[str]:
        tenants = [(tenant.customer.page, tenant.prefix) for tenant in self._traffic.tenants if tenant.customer.page]
        viewers = [page for follower in self._traffic.followers for page in follower.pages.values()]
        return journals.check(self._traffic.books, tenants, viewers, self._stage.directory / "journals")

    def _settle(self) -> None:
        """Wait until everything acknowledged, and what was stored without an answer, is everywhere."""
        deadline = time.monotonic() + SETTLE_SECONDS
        steps: tuple[tuple[Callable[[], bool], str | Callable[[], str]], ...] = (
            (self._resolve_unknown, "the API tells what is stored"),
            (self._is_complete, self._lacking),
            (self._has_ended, "no delivery is pending"),
        )
        for ready, about in steps:
            left = max(deadline - time.monotonic(), POLL_SECONDS)
            eventually(ready, left, about=about, poll_seconds=POLL_SECONDS)

    def _is_complete(self) -> bool:
        self._supervise()
        if self._scenario.excused:
            self._excuse()
        return self._traffic.books.is_complete()

    def _supervise(self) -> None:
        """Start again what has ended by itself: that is a fault, but the other figures should not show it, too."""
        self._stage.faults += self._stage.product.supervise()

    def _lacking(self) -> str:
        counts = self._traffic.books.counts()
        return "missing: " + ", ".join(f"{count.missing} at {name}" for name, count in counts.items() if count.missing)

    def _has_ended(self) -> bool:
        try:
            return not any(
                list(itertools.islice(self._deliveries(tenant, "pending"), 1)) for tenant in self._traffic.tenants
            )
        except (requests.RequestException, AssertionError):
            return False

    def _excuse(self) -> None:
        """Let pass what the API says has ended for one of the scenario's reasons."""
        try:
            for tenant in self._traffic.tenants:
                for row in self._deliveries(tenant, "failed"):
                    if str(row["reason"]).startswith(self._scenario.excused) and tenant.customer.page:
                        tenant.customer.page.excuse(row["event_id"], row["reason"])
        except (requests.RequestException, AssertionError):
            return

    def _resolve_unknown(self) -> bool:
        """Take events whose POST was not answered into the books when the API's log has them."""
        self._supervise()
        try:
            for tenant in self._traffic.tenants:
                for stream in tenant.streams:
                    self._resolve(stream, self._events(tenant, stream))
        except (requests.RequestException, AssertionError):
            return False
        return True

    def _resolve(self, stream: StreamName, events: list[dict[str, Any]]) -> None:
        books = self._traffic.books
        unknown = {
            json.loads(post.data, parse_int=str)["number"]: post
            for post in books.posts()
            if post.stream == stream and post.acknowledged_at is None and not post.refused
        }
        for event in events:
            post = unknown.get(str(event["data"]["number"]))
            if post is not None:
                books.acknowledged(post.key, event["id"], event["seq"])

    def _measure(self, effect: Effect) -> None:
        """How long this round's recovery took, and how long each POST waited for its answer."""
        traffic = self._traffic
        pages = [page for follower in traffic.followers for page in follower.pages.values()]
        receivers = [tenant.customer.page for tenant in traffic.tenants if tenant.customer.page]
        worst = worst_seconds(traffic.books, [*pages, *receivers], effect.since, effect.spared)
        self._figures.worst_seconds = max(self._figures.worst_seconds, worst)
        if worst > self._scenario.within_seconds:
            limit = self._scenario.within_seconds
            self._figures.count("slow", [f"it took {worst:.1f} s, and may take {limit:.0f} s"])
        self._check_answers()

    def _check_answers(self) -> None:
        """Of all POSTs since the last round."""
        asked = [one for tenant in self._traffic.tenants for one in tenant.asked]
        for tenant in self._traffic.tenants:
            tenant.asked.clear()
        slowest = max((one.until - one.at for one in asked), default=0.0)
        if slowest > ANSWER_SECONDS:
            self._figures.count("slow", [f"a POST waited {slowest:.1f} s, and may wait {ANSWER_SECONDS:.0f} s"])
        strange = Counter(one.status for one in asked if one.status and one.status >= 500 and one.status != 503)
        self._figures.count("misreported", (f"{count} POSTs were answered {code}" for code, count in strange.items()))

    def _read_log(self, tenant: Tenant) -> None:
        """Hold what the API reads back against the books, stream by stream."""
        posts = [post for post in self._traffic.books.posts() if post.acknowledged_at is not None]
        for stream in tenant.streams:
            events = self._events(tenant, stream, from_start=True)
            ids = {event["id"]: event["seq"] for event in events}
            gone = [post.event_id for post in posts if post.stream == stream and ids.get(post.event_id) != post.seq]
            self._figures.count("lost", (f"{id} of {stream[1]} is not in the log as acknowledged" for id in gone))
            holes = holes_of([event["seq"] for event in events])
            self._figures.count("holes", (f"seq {seq} of {stream[1]} is not in the log" for seq in holes))

    def _read_deliveries(self, tenant: Tenant) -> None:
        """Every delivery is called delivered, and has no attempt that did not come."""
        posts, excused = tenant.customer.posts, tenant.customer.page.log.excused if tenant.customer.page else {}
        for row in self._deliveries(tenant):
            event_id = row["event_id"]
            if row["status"] != "delivered" and event_id not in excused:
                self._figures.count("lost", [f"{row['id']} of {event_id} is {row['status']}: {row['reason']}"])
            if row["attempt_count"] > posts[event_id]:
                self._check_attempts(tenant, row["id"], posts[event_id])

    def _check_attempts(self, tenant: Tenant, delivery_id: str, posts: int) -> None:
        found = self._get(tenant, f"/v1/deliveries/{delivery_id}")
        answered = [attempt for attempt in found["attempts"] if attempt["outcome"] in OUTCOMES_SEEN]
        if len(answered) > posts:
            words = f"{delivery_id} has {len(answered)} answered attempts in the log, and {posts} POSTs came"
            self._figures.count("misreported", [words])

    def _events(self, tenant: Tenant, stream: StreamName, *, from_start: bool = False) -> list[dict[str, Any]]:
        """A stream's events by the API: those since the last look, or all."""
        found: list[dict[str, Any]] = []
        known = self._traffic.read_up_to
        while True:
            last = found[-1]["seq"] if found else 0 if from_start else known[stream]
            query = f"stream_kind={stream[0]}&stream_id={stream[1]}&limit={PAGE}&after_seq={last}"
            page = self._get(tenant, f"/v1/events?{query}")["data"]
            found += page
            if not page:
                break
        known[stream] = max([known[stream], *(event["seq"] for event in found)])
        return found

    def _deliveries(self, tenant: Tenant, status: str = "") -> Iterator[dict[str, Any]]:
        query = f"/v1/deliveries?endpoint_id={tenant.endpoint_id}&limit={PAGE}" + (
            f"&status={status}" if status else ""
        )
        cursor: str | None = ""
        while cursor is not None:
            page = self._get(tenant, f"{query}&cursor={cursor}" if cursor else query)
            yield from page["data"]
            cursor = page["next_cursor"]

    def _get(self, tenant: Tenant, path: str) -> Any:
        answer = self._stage.product.ask("GET", path, key=tenant.key)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text[:200]}"
        return answer.json()
