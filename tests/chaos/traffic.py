"""What goes on around a product: two tenants, each with producers, streams, viewers and a customer; all is booked."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import requests
from standardwebhooks import Webhook

from app.client.books.bookkeeper import Bookkeeper
from app.client.books.records import StreamName
from app.demo.producer import DemoEvent, read_answers, request
from tests.chaos.followers import FeedFollower, Follower, StreamFollower
from tests.chaos.product import Product
from tests.chaos.receivers import Customer, Order, Receivers
from tests.processes import eventually

KIND = "chaos"
TENANTS, STREAMS, PRODUCERS = 2, 3, 2  # streams and producers of each tenant
LANES = 8  # streams of a tenant whose endpoint keeps order: one of each is out at a time
IN_ORDER_SECONDS = (0.002, 0.02)  # in which such a customer answers: long enough to be met by a kill
ANSWER_SECONDS = 40.0  # a producer waits so long for an answer: longer than the product may take
REST_SECONDS = (0.01, 0.06)  # between two requests of one producer
ABANDONED = 0.3  # of the POSTs that were not answered, the share that is not repeated: their fate stays unknown
CLOSE_SECONDS = 20.0
OPEN_SECONDS = 20.0
SHAPES = ((1, "object"), (1, "object"), (3, "ndjson"), (2, "array"), (8, "ndjson"))
# Every fifth payload has what a careless reader or writer of JSON would change.
TRICKY = b'"b":1,"a":1.0,"n":12345678901234567890,"e":1e400,"s":"\\u2028\xc3\xa9\xf0\x9f\x98\x80"'


@dataclass(frozen=True, slots=True)
class Asked:
    """One POST of events. at, until: when it was sent and answered (monotonic seconds); status: None for no answer."""

    tenant: int
    at: float
    until: float
    status: int | None


@dataclass
class Tenant:
    """A workspace under load."""

    number: int
    key: str
    key_id: str
    streams: list[StreamName]
    customer: Customer
    endpoint_id: str
    prefix: str  # of its streams' names in journals
    asked: list[Asked] = field(default_factory=list)


class Traffic:
    """Starts paused: `flow` and `rest`. Threads of it end with `close`.

    ordered: the customers' endpoints keep the order of each stream; feed: somebody reads each tenant's feed.
    """

    def __init__(self, product: Product, seed: int, *, ordered: bool = False, feed: bool = False) -> None:
        self.product, self.books = product, Bookkeeper()
        self._is_ordered = ordered
        self.receivers = Receivers()
        self.refused: list[str] = []
        self.round_began = time.time()
        self.read_up_to: Counter[StreamName] = Counter()  # seqs of the API's log that were looked at
        self._chance = random.Random(seed)
        self._run = uuid.uuid4().hex[:8]
        self._flowing, self._over = threading.Event(), threading.Event()
        self._busy = 0
        self._lock = threading.Lock()
        self._numbers = iter(range(1, 10**9))
        self.base_urls = [product.base_url]  # producers take them by chance
        self.tenants = [self._tenant(number) for number in range(TENANTS)]
        self.followers: list[Follower] = [*self._followers(), *(self._feeds() if feed else ())]
        threads = [
            threading.Thread(target=self._produce, args=(tenant, self._chance.randrange(2**32)), daemon=True)
            for tenant in self.tenants
            for _ in range(PRODUCERS)
        ]
        for thread in (*self.followers, *threads):
            thread.start()
        for follower in self.followers:
            assert follower.opened.wait(OPEN_SECONDS), f"{follower.name} is not open"

    def flow(self) -> None:
        """Let the producers post."""
        self._flowing.set()

    def rest(self) -> None:
        """Stop them; returns when no POST is under way."""
        self._flowing.clear()
        eventually(lambda: not self._busy, ANSWER_SECONDS + 20, about="the producers rest")

    def post_together(self, tenant: Tenant, count: int, others: list[dict[str, Any]]) -> None:
        """So many events of a tenant and others' in one request, hence in one commit; only the former are booked."""
        stream, drafts = tenant.streams[0], [self._draft() for _ in range(count)]
        for draft in drafts:
            self.books.posting(draft.key, stream, draft.type, draft.data)
        own = request(stream, drafts, "ndjson")["content"]
        lines = own + b"".join(json.dumps(event).encode() + b"\n" for event in others)
        headers = {"Authorization": f"Bearer {tenant.key}", "Content-Type": "application/x-ndjson"}
        answer = httpx.post(f"{self.product.base_url}/v1/events", content=lines, headers=headers, trust_env=False)
        answers = read_answers(answer, "ndjson", count + len(others))
        for draft, one in zip(drafts, answers[:count], strict=True):
            assert self._settle(draft, one), one

    def close(self) -> None:
        """End everything; the product may be dead by then."""
        self._over.set()
        self._flowing.set()
        with suppress(requests.RequestException):
            for tenant in self.tenants:
                for kind, id in tenant.streams:
                    self.product.ask("POST", f"/v1/streams/{kind}/{id}/end", key=tenant.key)
                self.product.ask("DELETE", f"/v1/endpoints/{tenant.endpoint_id}", key=tenant.key)
                self.product.ask("DELETE", f"/v1/keys/{tenant.key_id}", key=tenant.key)  # which ends views of the feed
        self.receivers.close()

    def watch(self, tenant: Tenant, stream: StreamName, base_url: str, name: str) -> None:
        """One more viewer, from the stream's beginning on, of the server at this address."""
        follower = self._follower(tenant, stream, "httpx-sse", name, base_url)
        self.followers.append(follower)
        follower.start()
        assert follower.opened.wait(OPEN_SECONDS), f"{follower.name} is not open"

    def come_home(self, base_url: str) -> None:
        """Viewers of this address go on at the product's own when their connections end."""
        for follower in self.followers:
            if follower.base_url == base_url:
                follower.base_url = self.product.base_url

    def began_round(self) -> None:
        """Remember the time of day."""
        self.round_began = time.time()

    def _follower(self, tenant: Tenant, stream: StreamName, reader: str, name: str, base_url: str) -> Follower:
        return StreamFollower(base_url, tenant.key, stream, reader, self.books.viewer(name, stream), self._over)

    def _tenant(self, number: int) -> Tenant:
        ask = self.product.ask
        uid = f"chaos-{self._run}-{number}"
        workspace = ask("POST", "/v1/workspaces", {"uid": uid, "name": uid}).json()["id"]
        opens = {"name": uid, "scopes": ["publish", "subscribe", "manage", "operate"]}
        made = ask("POST", "/v1/keys", opens, headers={"X-Workspace": workspace}).json()
        key, key_id = made["key"], made["id"]
        count = LANES if self._is_ordered else STREAMS
        streams = [(KIND, f"{self._run}_{number}_{one}") for one in range(count)]
        for kind, id in streams:
            ask("PUT", f"/v1/streams/{kind}/{id}", {}, key=key)
        customer, url = self.receivers.add(uid)
        wanted = {"url": url, "stream_kinds": [KIND]}
        if self._is_ordered:
            wanted["order"], customer.order, customer.answer = "stream", Order(), self._soon
        made = ask("POST", "/v1/endpoints", wanted, key=key).json()
        verify = Webhook(made["secret"]).verify
        customer.page = self.books.receiver(uid, verify, wants=lambda post: post.stream in streams)
        return Tenant(number, key, key_id, streams, customer, made["id"], f"{KIND}/{self._run}_{number}_")

    def _soon(self, port: int) -> int:
        self._over.wait(self._chance.uniform(*IN_ORDER_SECONDS))
        return 204

    def _feeds(self) -> Iterator[Follower]:
        for tenant in self.tenants:
            pages = {stream: self.books.viewer(f"feed {stream[1]}", stream) for stream in tenant.streams}
            yield FeedFollower(self.product.base_url, tenant.key, KIND, pages, self._over)

    def _followers(self) -> Iterator[Follower]:
        for tenant in self.tenants:
            for stream in tenant.streams[:STREAMS]:
                yield self._follower(tenant, stream, "httpx-sse", f"sse {stream[1]}", self.product.base_url)
            first = tenant.streams[0]
            yield self._follower(tenant, first, "websocket", f"ws {first[1]}", self.product.base_url)

    def _produce(self, tenant: Tenant, seed: int) -> None:
        chance = random.Random(seed)
        with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as http:
            http.headers["Authorization"] = f"Bearer {tenant.key}"
            while True:
                self._flowing.wait()
                if self._over.wait(chance.uniform(*REST_SECONDS)):
                    return
                with self._lock:
                    self._busy += 1
                try:
                    if self._flowing.is_set():
                        self._post(http, tenant, chance)
                finally:
                    with self._lock:
                        self._busy -= 1

    def _post(self, http: httpx.Client, tenant: Tenant, chance: random.Random) -> None:
        """Post some events until they are answered, or leave it after a POST that was not."""
        stream = chance.choice(tenant.streams)
        size, form = chance.choice(SHAPES)
        drafts = [self._draft() for _ in range(size)]
        for draft in drafts:
            self.books.posting(draft.key, stream, draft.type, draft.data)
        give_up_at = time.monotonic() + ANSWER_SECONDS
        while drafts and not self._over.is_set() and time.monotonic() < give_up_at:
            answered, drafts = self._ask(http, tenant, stream, drafts, form, chance)
            if not answered and chance.random() < ABANDONED:
                return
            if drafts:
                self._over.wait(0.2)

    def _ask(
        self,
        http: httpx.Client,
        tenant: Tenant,
        stream: StreamName,
        drafts: list[DemoEvent],
        form: str,
        chance: random.Random,
    ) -> tuple[bool, list[DemoEvent]]:
        """One POST: whether there was an answer, and what has to be posted again."""
        at, status = time.monotonic(), None
        try:
            response = http.post(chance.choice(self.base_urls) + "/v1/events", **request(stream, drafts, form))
            status = response.status_code
            answers = read_answers(response, form, len(drafts))
        except (httpx.HTTPError, ValueError):
            return False, drafts
        finally:
            tenant.asked.append(Asked(tenant.number, at, time.monotonic(), status))
        return True, [draft for draft, answer in zip(drafts, answers, strict=True) if not self._settle(draft, answer)]

    def _settle(self, draft: DemoEvent, answer: dict[str, Any]) -> bool:
        if "seq" in answer and "id" in answer:
            self.books.acknowledged(draft.key, answer["id"], answer["seq"])
            return True
        status = int(answer.get("status", 500))
        if status >= 500 or status == 429:
            return False
        self.books.refused(draft.key, f"{status} {answer.get('code', '')}")
        self.refused.append(f"{status} {answer.get('code', '')}: {answer.get('detail', '')}")
        return True

    def _draft(self) -> DemoEvent:
        number = next(self._numbers)
        extra = b"," + TRICKY if number % 5 == 0 else b""
        return DemoEvent(f"{self._run}-{number}", "chaos.event", b'{"number":%d%b}' % (number, extra))


def killing_sender(senders: Callable[[], list[psutil.Process]]) -> Callable[[int], int]:
    """An answer of a customer whose webhooks kill the process that sends them, as a deadly payload would."""

    def answer(port: int) -> int:
        for sender in senders():
            with suppress(psutil.Error):
                if any(one.laddr and one.laddr.port == port for one in sender.net_connections("tcp4")):
                    sender.kill()
        return 500

    return answer
