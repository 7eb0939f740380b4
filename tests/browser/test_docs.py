"""/docs in a browser: every page fits a phone and a desk, has no fault of accessibility, and its menu opens."""

from __future__ import annotations

import re

import pytest
import requests

from tests.browser.chromium import Chromium
from tests.browser.console.accessibility import faults
from tests.processes import RunningServer

PHONE, DESK = (390, 844), (1280, 900)
LONGEST_GUIDE = 9_000  # pixels on a phone: what one reads in a sitting


@pytest.fixture(scope="module")
def paths(server: RunningServer) -> list[str]:
    first = requests.get(f"{server.base_url}/docs", timeout=10).text
    found = sorted(set(re.findall(r'href="(/docs[^".#]*)"', first)))
    assert len(found) > 12
    return found


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_page_fits_without_a_fault(
    chromium: Chromium, server: RunningServer, paths: list[str], size: tuple[int, int]
) -> None:
    page = chromium.page(server.base_url + paths[0])
    for number, path in enumerate(paths):
        page.look_like(*size, dark=bool(number % 2))
        page.go(server.base_url + path)
        wide, tall = page.run("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert wide <= size[0], path
        assert tall <= LONGEST_GUIDE or "/api-" in path, path
        assert faults(page) == [], path
    assert page.problems == []


def test_the_menu_of_a_phone_leads_on(chromium: Chromium, server: RunningServer) -> None:
    page = chromium.page(f"{server.base_url}/docs", width=PHONE[0], height=PHONE[1])
    page.click(".menu summary")
    page.click('.menu a[href="/docs/retries"]')
    page.wait_for("location.pathname === '/docs/retries' && document.querySelector('h1')?.textContent === 'Retries'")
