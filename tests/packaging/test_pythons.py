"""Every Python that this machine has, from 3.11 on, installs the wheel, accepts an event and delivers it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.packaging.installation import customer, installation
from tests.packaging.interpreters import Interpreter, found
from tests.processes import eventually

OURS_WARNED = re.compile(r"^.*/(?:app|workers)/[\w/]+\.py:\d+: \w*Warning: .*$", re.MULTILINE)


@pytest.mark.parametrize("interpreter", found(), ids=lambda interpreter: interpreter.version)
def test_it_installs_starts_and_delivers(
    interpreter: Interpreter, wheel: Path, tmp_path: Path, engine_directory: Path
) -> None:
    with installation(interpreter, wheel, tmp_path, engine_directory / f"python-{interpreter.version}") as made:
        assert "migrate" in made.run("--help")
        made.run("migrate")
        made.serve()
        key = made.make_key()
        with customer() as webhooks:
            webhooks.secret = made.api(key, "POST", "/v1/endpoints", {"url": webhooks.url})["secret"]
            made.publish(key, "call.started")
            eventually(lambda: webhooks.taken == ["call.started"], 30, about=made.log("worker").read_text)
        assert made.stop() == [0, 0]
        for name in ("web", "worker"):
            assert OURS_WARNED.findall(made.log(name).read_text()) == []
