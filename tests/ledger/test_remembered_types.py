"""What the schemas of a workspace cost its group, and what is kept of them when something else has changed."""

from __future__ import annotations

import json
from typing import Any

from app.contracts import bounded_schema
from app.contracts.bounded_schema import MOST_STEPS_TOGETHER
from app.ledger.remembered_types import GroupSteps, RememberedTypes
from app.ledger.submission import Submission
from tests.cpu_time import costs_less
from tests.ledger.books import draft

HEAVY = json.dumps([0] * 60_000)  # more steps than one check may take


def remembered(*schemas: dict[str, Any], give_way: Any = lambda: None) -> RememberedTypes:
    made = RememberedTypes(give_way=give_way)
    made.learn({"ws": 1}, answer(*schemas))
    return made


def answer(*schemas: dict[str, Any]) -> str:
    """As the database answers: the types are t0, t1 and so on."""
    return json.dumps([["ws", f"t{number}", "reject", json.dumps(one)] for number, one in enumerate(schemas)])


def submission(*datas: str, type: str = "t0") -> Submission:
    return Submission("ws", [draft(type=type, data=data) for data in datas])


def test_a_groups_requests_share_the_steps_of_their_workspace() -> None:
    turns: list[None] = []
    types = remembered({"items": {"minimum": 0}}, give_way=lambda: turns.append(None))
    requests = [submission(HEAVY) for _ in range(200)]
    checked, _ = types.check(requests, GroupSteps())
    answered = [one is not None for one in checked]
    assert answered == [True] * sum(answered) + [False] * (200 - sum(answered))
    assert 1 <= sum(answered) <= 3
    assert len(turns) == 200
    assert costs_less(lambda: types.check(requests, GroupSteps()), 1), "a fifth of that on an idle machine"


def test_a_request_by_itself_is_never_put_off() -> None:
    checked, _ = remembered({"items": {"minimum": 0}}).check([submission(*[HEAVY] * 10)], GroupSteps())
    assert checked[0] is not None
    assert sorted(checked[0].refusals) == list(range(10))


def test_another_workspace_has_steps_of_its_own() -> None:
    group = GroupSteps()
    group.of("ws").left = -1
    assert group.of("other").left == MOST_STEPS_TOGETHER


def test_the_slices_of_a_request_share_its_steps() -> None:
    types = remembered({"items": {"minimum": 0}})
    whole = submission(HEAVY, HEAVY, "[0]")
    for start in range(3):
        (checked,), _ = types.check([whole.part(start, start + 1, 1)], GroupSteps())
        assert checked is not None
        assert list(checked.refusals) == [0]
    assert whole.steps.left == 0


def test_what_has_been_checked_is_not_checked_again_unless_a_schema_has_changed() -> None:
    types, one = remembered({"minimum": 3}), submission("2")
    for version in (2, 3):
        types.check([one], GroupSteps())
        left = one.steps.left
        types.learn({"ws": version}, answer({"minimum": 3}))
        (checked,), versions = types.check([one], GroupSteps())
        assert checked is not None
        assert (list(checked.refusals), versions, one.steps.left) == ([0], {"ws": version}, left)
    types.learn({"ws": 4}, answer({"minimum": 1}))
    (checked,), _ = types.check([one], GroupSteps())
    assert checked is not None
    assert checked.refusals == {}


def test_a_schema_is_held_against_the_schema_of_schemas_at_its_put_alone(monkeypatch: Any) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(bounded_schema, "complaints_about", lambda schema: asked.append(schema) or [])
    types = remembered({"minimum": 3}, {"maximum": 3})
    types.check([submission("2"), submission("2", type="t1")], GroupSteps())
    types.learn({"ws": 2}, answer({"minimum": 3}, {"maximum": 4}))
    types.check([submission("2"), submission("2", type="t1")], GroupSteps())
    assert asked == []
