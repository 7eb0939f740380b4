"""The running product, as the demo finds and asks it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import httpx

from app.demo.producer import FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS
from app.project import var_directory

ASK_SECONDS = 30.0  # a product that is being restarted is asked again for so long
PROBE_SECONDS = 5.0
ANSWER_SECONDS = 10.0


class DemoError(Exception):
    """The demo cannot run; the text is for the user."""


class Product:
    """The product at `base_url`. key: of a workspace; http: requests with it. Used as a context, which closes `http`.

    http may be used by several threads at once.
    """

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url
        self.key = key
        self.http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=ANSWER_SECONDS,
            trust_env=False,
        )

    def __enter__(self) -> Product:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A 2xx answer's JSON; asks again while the product is away. Raises DemoError for any other answer."""
        give_up_at = time.monotonic() + ASK_SECONDS
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                response = self.http.request(method, path, json=body)
                if response.is_success:
                    return dict(response.json()) if response.content else {}
                trouble = f"{response.status_code} {response.text[:500]}"
                if response.status_code < 500 and response.status_code != 429:
                    raise DemoError(f"{method} {path} was refused: {trouble}")
            except httpx.TransportError as error:
                trouble = repr(error)
            if time.monotonic() > give_up_at:
                raise DemoError(f"{method} {path} is not answered: {trouble}")
            time.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    def delivered(self, endpoint_id: str) -> set[str]:
        """The events that the delivery log calls delivered to this endpoint, by id."""
        path = f"/v1/deliveries?endpoint_id={endpoint_id}&status=delivered&limit=250"
        ids: set[str] = set()
        cursor: str | None = ""
        while cursor is not None:
            page = self.ask("GET", f"{path}&cursor={cursor}" if cursor else path)
            ids |= {row["event_id"] for row in page["data"]}
            cursor = page["next_cursor"]
        return ids


def find_product(environ: Mapping[str, str]) -> Product:
    """The product that `make run` started. Raises DemoError when none is running."""
    path = var_directory(environ) / "dev.json"
    try:
        run = json.loads(path.read_text())
        base_url, key = run["base_url"], run["workspace_key"]
        response = httpx.get(f"{base_url}/readyz", timeout=PROBE_SECONDS, trust_env=False)
    except (OSError, ValueError, KeyError, httpx.TransportError):
        raise DemoError("Twofold is not running here. In another terminal, start it with: make run") from None
    if response.status_code != 200:
        raise DemoError(f"Twofold is not ready: {base_url}/readyz answers {response.status_code}.")
    return Product(base_url, key)
