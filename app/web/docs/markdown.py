"""Pieces of Markdown that the reference is made of: tables, examples, and schemas in words. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
OBJECTS = "api-objects"  # the page that lists them


def members(head: str, schema: Document) -> Iterator[str]:
    """The members of an object as the lines of a table. head: what the first column is called."""
    required = schema.get("required", ())
    rows = [
        (f"`{name}`", type_of(member), about(member, required=name in required))
        for name, member in schema.get("properties", {}).items()
    ]
    if rows:
        yield from table((head, "is", "about"), rows)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A table, with a blank line before it."""
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def example(title: str, value: Any) -> Iterator[str]:
    """A block that shows a value, with its title. Texts as they are, others as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    yield from ("", f"{title}:", "", f"```{'' if isinstance(value, str) else 'json'}", text.rstrip("\n"), "```")


def about(one: Document, *, required: bool) -> str:
    """What a value is for, and its bounds."""
    schema = one.get("schema", one)
    words = [cell(one.get("description", ""))]
    if choices := (schema.get("enum") or schema.get("items", {}).get("enum")):
        words.append("one of " + ", ".join(f"`{choice}`" for choice in choices))
    if "minimum" in schema and "maximum" in schema:
        words.append(f"{schema['minimum']} to {schema['maximum']}")
    if "maxLength" in schema and not choices:
        words.append(f"at most {schema['maxLength']} characters")
    if "maxItems" in schema:
        words.append(f"at most {schema['maxItems']}")
    return "; ".join(filter(None, ["**required**" if required else "", *words]))


def type_of(schema: Document) -> str:
    """What a value is, in words."""
    if "$ref" in schema:
        return linked(schema["$ref"])
    if "anyOf" in schema:
        return " or ".join(type_of(one) for one in schema["anyOf"])
    if "allOf" in schema:
        return type_of(schema["allOf"][0])
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {type_of(schema['items'])}"
    kind = schema.get("type", "any")
    return schema.get("format") or (kind if isinstance(kind, str) else " or ".join(kind))


def linked(reference: str) -> str:
    """The name of an object, linked to its members."""
    name = reference.rpartition("/")[2]
    return f"[{name}](/docs/{OBJECTS}#{name.lower()})"


def sentence(text: str) -> str:
    """The text with a full stop at its end."""
    return text if text.endswith(".") else f"{text}."


def count(number: int, word: str) -> str:
    """A number of things, in words."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def cell(text: str) -> str:
    """A text in a table's cell."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()
