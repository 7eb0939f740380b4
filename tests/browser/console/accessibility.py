"""What a person with a keyboard or a screen reader needs of a page, checked in the browser that shows it.

An equal of the common checkers for the rules that matter here: names of controls, headings, landmarks, the order of
focus, contrast of text (WCAG 2.2, 1.4.3), duplicate ids, tables, images, language and title.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.chromium import Page

# Returns a list of faults, each a sentence. Runs in the page.
CHECK = Path(__file__).with_suffix(".js").read_text()

# Where the focus is: a path that names the element.
FOCUSED = "((it) => it && it !== document.body ? it.outerHTML.slice(0, 150) : '')(document.activeElement)"
OUTLINE = (
    "((s) => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))"
)
REACHABLE = (
    "[...document.querySelectorAll("
    "'a[href], button:not(:disabled), input:not([type=hidden]), select, textarea, summary, [tabindex=\"0\"]')]"
    ".filter((it) => it.checkVisibility()).length"
)


def faults(page: Page) -> list[str]:
    """What is wrong with the page as it is shown now."""
    found: list[str] = page.run(CHECK)
    return found


def press(page: Page, key: str, code: int, text: str = "") -> None:
    """One key."""
    for kind in ("keyDown", "keyUp"):
        values: dict[str, Any] = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
        page.tell("Input.dispatchKeyEvent", **values, **({"text": text} if text and kind == "keyDown" else {}))


def tab_through(page: Page) -> list[str]:
    """Every element that Tab leads to, in order, until the focus leaves the page; each must show that it has it."""
    reached: list[str] = []
    for _ in range(int(page.run(REACHABLE)) + 20):
        press(page, "Tab", 9)
        at = page.run(FOCUSED)
        if not at:
            break
        assert page.run(OUTLINE), f"the focus is not seen: {at}"
        reached.append(at)
    return reached
