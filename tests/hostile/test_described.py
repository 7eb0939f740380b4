"""Requests that are made from the API's description, and others that break it: no 5xx, no status that is not described,
and nothing that fits the description is refused.

`make test` makes a few of them for each route, `make test-long` more, the same each time; `make test-api` makes many,
with another seed each time, which it prints.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import requests
from schemathesis import GenerationMode

from tests.conftest import StartServer
from tests.hostile.described import Surroundings, cases, operations

WANTED = os.environ.get("API_EXAMPLES")  # of each route; 8 take some 15 s
EXAMPLES = [int(WANTED)] if WANTED else [3, pytest.param(8, marks=pytest.mark.long)]
SEED = int(os.environ.get("API_SEED") or (random.randrange(2**32) if WANTED else 1))
# Many live views are opened and left at once.
SETTINGS = {"MAX_LOG_VIEWERS": "10000"}


@pytest.fixture
def surroundings(start_server: StartServer) -> Surroundings:
    server = start_server(**SETTINGS)
    document: dict[str, Any] = requests.get(f"{server.base_url}/openapi.json", timeout=10).json()
    return Surroundings(server, document)


def answer_all(
    surroundings: Surroundings, document: dict[str, Any], mode: GenerationMode, examples: int
) -> tuple[int, list[str]]:
    """Send requests to every route; how many were sent, and every fault of an answer."""
    sent, faults = 0, []
    for operation in operations(document):
        # A route without parameters and body cannot be asked in a wrong way.
        if mode is GenerationMode.NEGATIVE and not (operation.definition.raw.get("parameters") or operation.body):
            continue
        for case in cases(operation, mode, examples, SEED):
            fits = mode is GenerationMode.POSITIVE
            if fits:
                surroundings.aim(case)
            with surroundings.send(case) as answer:
                sent += 1
                for fault in surroundings.faults(case, answer, fits=fits):
                    asked = f"{answer.request.method} {answer.request.url} {answer.request.body!r:.600}"
                    faults.append(f"{fault}: {asked} -> {answer.status_code} {answer.text[:400]}")
    return sent, faults


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=["fitting", "broken"])
def test_every_answer_is_described_and_no_fitting_request_is_refused(
    surroundings: Surroundings, mode: GenerationMode, examples: int
) -> None:
    document = requests.get(f"{surroundings.server.base_url}/openapi.json", timeout=10).json()
    sent, faults = answer_all(surroundings, document, mode, examples)
    print(f"{sent} requests, seed {SEED}")
    assert sent > 40 * min(examples, 4)
    assert faults == [], f"seed {SEED}:\n" + "\n\n".join(faults[:40])
