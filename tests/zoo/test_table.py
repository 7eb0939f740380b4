"""The table of receivers: enough of them, each described, each outcome among them, and the page that lists them."""

from __future__ import annotations

import re

from app.core.webhook.retry import Outcome
from app.zoo.receiver import Group, Listening
from app.zoo.receivers import RECEIVERS
from tests.zoo.page import tables, written


def test_there_are_at_least_sixty_hostile_receivers_and_the_page_says_how_many() -> None:
    hostile = len([receiver for receiver in RECEIVERS if receiver.group is not Group.HEALTHY])
    assert hostile >= 60
    assert f"There are {hostile}, " in written()[0]


def test_every_outcome_of_the_delivery_log_is_to_be_had() -> None:
    of_requests = set(Outcome) - {Outcome.NOT_ACCEPTED}  # which is said of an event among others
    assert {one.outcome for receiver in RECEIVERS for one in receiver.expected} == of_requests


def test_a_status_is_expected_exactly_where_an_answer_is() -> None:
    for receiver in RECEIVERS:
        for one in receiver.expected:
            assert (one.status_code is not None) == (one.outcome in (Outcome.SUCCESS, Outcome.HTTP_ERROR)), (
                receiver.name
            )


def test_names_are_paths_and_belong_to_one_receiver_each() -> None:
    names = [receiver.name for receiver in RECEIVERS]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z0-9.-]+", name)] == []


def test_every_receiver_says_what_it_does() -> None:
    for receiver in RECEIVERS:
        assert re.fullmatch(r"[a-z][^|\n]{10,90}[^.]", receiver.summary), receiver.name
        assert receiver.wire
        assert receiver.steps or receiver.address or receiver.listening is not Listening.ACCEPTS, receiver.name


def test_the_page_lists_what_there_is() -> None:
    assert written()[1] == tables(), "write it anew: python -m tests.zoo.page"
