"""The verdict: what the book-keeper, the API's own log and the clock say about a scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

from app.client.books.bookkeeper import Bookkeeper, Receiver, Viewer
from app.client.books.records import Finding, Posted, Seen
from tests.chaos.receivers import Customer

# Which figure of the verdict a finding of the books is (app/client/books/audit.py says what each means).
FIGURES = {
    "missing": "lost",
    "gap": "holes",
    "out of order": "disorder",
    "repeated": "disorder",  # on a stream: an event that comes again after a later one
    "not verified": "changed",
    "changed": "changed",
    "changed repeat": "changed",
    "unreadable": "changed",
    "clash": "invented",
    "never posted": "invented",
    "refused but sent": "invented",
    "unwanted": "invented",
}
SHOWN = 5  # findings of one kind that are told
Spared = Callable[[Posted], bool]


@dataclass
class Verdict:
    """Figures of one scenario; those of several runs are added up.

    times: how often it was done. lost: acknowledged and not everywhere, or the log does not call it delivered.
    repeated: webhooks that a customer had already taken (allowed). changed: other bytes or a signature that fails.
    holes: on streams. disorder: on streams, and of webhooks where an endpoint keeps order. invented: seen without
    having been accepted. misreported: attempts in the log that nobody got, and answers that are neither 2xx nor
    "unavailable". worst_seconds: of a recovery. faults: in words.
    """

    times: int = 0
    acknowledged: int = 0
    unknown: int = 0
    lost: int = 0
    repeated: int = 0
    changed: int = 0
    holes: int = 0
    disorder: int = 0
    invented: int = 0
    misreported: int = 0
    slow: int = 0
    worst_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Nothing is wrong, and it was done at least once."""
        wrong = (self.lost, self.changed, self.holes, self.disorder, self.invented, self.misreported, self.slow)
        return self.times > 0 and not any(wrong) and not self.faults

    def add(self, other: Verdict) -> None:
        """Take up another run's figures."""
        for name, value in asdict(other).items():
            own = getattr(self, name)
            setattr(self, name, max(own, value) if name == "worst_seconds" else own + value)

    def count(self, figure: str, words: Iterable[str]) -> None:
        """Add faults to a figure, the first few of them in words."""
        found = list(words)
        setattr(self, figure, getattr(self, figure) + len(found))
        self.faults += found[:SHOWN] + ([f"… and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])


def judge(books: Bookkeeper, customers: Sequence[Customer] = ()) -> Verdict:
    """The verdict on what is in the books, when nothing more is on its way."""
    posts, verdict = books.posts(), Verdict()
    verdict.acknowledged = sum(post.acknowledged_at is not None for post in posts)
    verdict.unknown = sum(post.acknowledged_at is None and not post.refused for post in posts)
    verdict.repeated = sum(count - 1 for customer in customers for count in customer.taken.values() if count)
    by_figure: dict[str, list[Finding]] = {}
    for finding in books.findings():
        by_figure.setdefault(FIGURES.get(finding.kind, "invented"), []).append(finding)
    for figure, findings in by_figure.items():
        verdict.count(figure, _told(findings))
    for customer in customers:
        already = {finding.subject for finding in by_figure.get("changed", [])}
        verdict.count("changed", (f"{id} came with different bytes" for id in sorted(customer.changed - already)))
        verdict.count("disorder", customer.order.broken if customer.order else ())
    return verdict


def holes_of(seqs: Sequence[int]) -> list[int]:
    """The seqs from 1 on that a stream's log leaves out."""
    return sorted(set(range(1, max(seqs, default=0) + 1)) - set(seqs))


def worst_seconds(books: Bookkeeper, pages: Iterable[Viewer | Receiver], since: float, spared: Spared) -> float:
    """The longest wait of an acknowledged event for its answer or for one of the pages, as far as it was after `since`
    (seconds of the books' clock). spared: which events are looked at."""
    posts = {post.event_id: post for post in books.posts() if post.event_id and spared(post)}
    worst = 0.0
    for post in posts.values():
        if post.acknowledged_at is not None and post.acknowledged_at > since:
            worst = max(worst, post.acknowledged_at - max(post.posted_at, since))
    for page in pages:
        for event_id, at in first_arrivals(page).items():
            if event_id in posts and at > since:
                worst = max(worst, at - max(posts[event_id].posted_at, since))
    return worst


def first_arrivals(page: Viewer | Receiver) -> dict[str, float]:
    """When each event came to a viewer or receiver first, by its id."""
    found: dict[str, float] = {}
    if isinstance(page, Viewer):
        for seen in page.log.entries:
            if isinstance(seen, Seen) and seen.event_id is not None:
                found.setdefault(seen.event_id, seen.at)
    else:
        for got in page.log.entries:
            if not got.fault:
                found.setdefault(got.webhook_id, got.at)
    return found


def _told(findings: Sequence[Finding]) -> list[str]:
    """Findings in words, those of different kinds first."""
    rank: Counter[str] = Counter()
    order: list[tuple[int, str]] = []
    for finding in findings:
        order.append((rank[finding.kind], str(finding)))
        rank[finding.kind] += 1
    return [text for _, text in sorted(order, key=lambda pair: pair[0])]
