"""The overview: what fails now, how fast it goes, what waits; across all customers."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app

from app.delivery.overview import MOST_FAILING
from app.web.metrics import requests as request_metrics
from app.web.pages.console import charts
from app.web.pages.console.figures import RATE_SECONDS, SPANS, Figures, KeptFigures
from app.web.pages.console.visit import VIEWER, Visit, page

api = Blueprint("overview", __name__)

_FIGURES = "twofold.figures"
_LATE_SECONDS = 10.0  # a due delivery that waits longer than this says that workers do not keep up, or are gone
_SERIES = ("success", "http_error", "timeout", "other")


@page(api, "GET", "/console", role=VIEWER)
def overview(visit: Visit) -> Response:
    name = visit.args.get("span", "")
    span = name if name in SPANS else "1h"
    kept: KeptFigures = current_app.extensions.setdefault(_FIGURES, KeptFigures(visit.engine.pages))
    figures = kept.of(span)
    return visit.show(
        "overview.html",
        figures=figures,
        span=span,
        spans=list(SPANS),
        connections=int(request_metrics.sum_of("twofold_subscribers")),
        rate=None if figures.rate is None else figures.rate / RATE_SECONDS,
        late=figures.backlog is not None and (figures.backlog.oldest_due_seconds or 0) > _LATE_SECONDS,
        most_failing=MOST_FAILING,
        **_charts(figures),
    )


def _charts(figures: Figures) -> dict[str, Any]:
    starts, slots = figures.span.starts(), figures.attempts
    made: dict[str, Any] = {"starts": starts, "outcomes": None, "latency": None, "accepted": None}
    if slots is not None:
        made["outcomes"] = charts.stacked(starts, {name: [getattr(slot, name) for slot in slots] for name in _SERIES})
        latency = {"p50": [slot.p50 for slot in slots], "p95": [slot.p95 for slot in slots]}
        made["latency"] = charts.lines(starts, latency, charts.duration)
        made["total"] = {name: sum(getattr(slot, name) for slot in slots) for name in _SERIES}
    if figures.events is not None:
        made["accepted"] = charts.stacked(starts, {"events": figures.events})
    return made
