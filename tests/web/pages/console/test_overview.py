"""The overview says what fails, or that nothing does, to operators and viewers alike."""

from __future__ import annotations

import pytest
from flask import Flask

from app.database.connection import Database
from app.web.pages.console.figures import KeptFigures
from tests.web.doors import Door
from tests.web.pages.console.people import Person


def test_an_empty_server_says_that_all_is_well(ana: Person, vic: Person) -> None:
    for person in (ana, vic):
        page = person.get("/console")
        assert "Nothing is failing." in page
        assert "Everything that ended was delivered." in page
        assert page.count("<svg") == 3


def test_a_failing_endpoint_is_named_with_its_customer_without_a_click(
    acme: Door, database: Database, ana: Person
) -> None:
    endpoint = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/<hook>"})["id"]
    with database.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE endpoints SET failing_since = now(), consecutive_failures = 1234, last_outcome = 'timeout'"
        )
    page = ana.get("/console")
    assert f'href="/console/endpoints/{endpoint}"' in page
    assert f'href="/console/workspaces/{acme.workspace_id}"' in page
    assert "1,234" in page
    assert "<hook>" not in ana.client.get("/console").get_data(as_text=True)


@pytest.mark.parametrize("span", ["1h", "6h", "24h", "", "1y", "%00"])
def test_a_span_is_one_of_three(ana: Person, span: str) -> None:
    assert 'aria-current="true"' in ana.get(f"/console?span={span}")


def test_figures_are_counted_again_after_a_while_and_not_before(app: Flask, acme: Door, database: Database) -> None:
    now = [0.0]
    kept = KeptFigures(database, clock=lambda: now[0])
    assert kept.of("1h").rate == 0
    acme.publish("call", "c1", "call.started")
    assert kept.of("1h").rate == 0
    now[0] = 5.0
    assert kept.of("1h").rate == 1


def test_a_figure_that_takes_too_long_is_left_out_and_the_others_are_shown(
    acme: Door, database: Database, ana: Person
) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME TO events_away")
    page = ana.get("/console")
    assert "There are too many events in this span to count in time." in page
    assert "Nothing is failing." in page
