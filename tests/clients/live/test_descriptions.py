"""The descriptions of the API and of the streams, as a linter that others wrote finds them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app import create_app
from app.settings import Settings
from app.web.engine import engine_of
from tests.clients.live.programs import HERE, run, tool


@pytest.fixture(scope="module")
def linter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the linter and its ruleset."""
    folder = tmp_path_factory.mktemp("linter") / "linter"
    shutil.copytree(HERE / "linter", folder)
    install = ["install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    run([tool("npm"), *install], folder)
    return folder


def test_the_linter_has_nothing_against_the_descriptions(linter: Path, settings: Settings) -> None:
    app = create_app(settings)
    for name in ("openapi.json", "asyncapi.json"):
        found = app.test_client().get(f"/{name}").get_json()
        (linter / name).write_text(json.dumps(found))
    engine_of(app).close()
    spectral = str(linter / "node_modules/.bin/spectral")
    lint = [spectral, "lint", "--ruleset", "ruleset.yaml", "--fail-severity", "hint", "openapi.json", "asyncapi.json"]
    assert "No results with a severity of 'hint' or higher found" in run(lint, linter)
    (linter / "broken.json").write_text((linter / "openapi.json").read_text().replace('"operationId"', '"operation"'))
    with pytest.raises(AssertionError, match="operation-operationId"):
        run([spectral, "lint", "--ruleset", "ruleset.yaml", "--fail-severity", "hint", "broken.json"], linter)
