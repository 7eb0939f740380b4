"""Loads the contract files, the product's own and those of CONTRACTS_DIR, and checks payloads by their schemas."""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry  # what jsonschema itself is built on
from referencing.exceptions import Unresolvable

from app.core.contract.model import Contract, Rules
from app.core.contract.reader import ContractError, read_contract
from app.core.problem import Complaint, complaint

log = logging.getLogger(__name__)

OWN = Path(__file__).parent
QUOTED_LETTERS = 500  # of a payload, in the words that refuse it


class ContractFileError(ValueError):
    """A contract file cannot be used; the text says which file, which line and why."""


class Schemas:
    """The event types' JSON Schemas, compiled once; any number of requests may use them at once.

    on_warning: called with kind and type for each payload that does not fit a schema that only warns.
    """

    def __init__(self, rules: Rules, on_warning: Callable[[str, str], object] = lambda kind, type: None) -> None:
        self._on_warning = on_warning
        self._checks = {key: (declared.check, _validator(declared.schema)) for key, declared in rules.types.items()}
        self._broken: set[tuple[str, str]] = set()  # types whose schema could not be applied, each logged once

    def refuses(self, kind: str, type: str, data: Any) -> Complaint | None:
        """Which field of this payload may not be accepted and why, or None. A type without a schema takes anything."""
        check, validator = self._checks.get((kind, type), ("", None))
        if validator is None:
            return None
        try:
            if validator.is_valid(data):
                return None
            error = best_match(validator.iter_errors(data)) if check == "reject" else None
        except Exception as broken:  # a reference that leads nowhere, a number beyond a float: no event may stop others
            if (kind, type) not in self._broken:
                log.warning("the schema of %s %s cannot be applied: %r", kind, type, broken)
            self._broken.add((kind, type))
            error = None
        if check != "reject":
            self._on_warning(kind, type)
            return None
        if error is None:
            return complaint("data", f"The contract's schema of {type} cannot be applied to this data.")
        # Both may quote the payload, which may be large.
        place, why = cut(place_of(error.absolute_path)), cut(error.message)
        return complaint(cut(field_of(error)), f"The contract's schema of {type} refuses {place}: {why}")


def field_of(error: Any, root: str = "data") -> str:
    """The field that an error of jsonschema is about; of a missing one its own name, rather than its object's."""
    required = error.validator_value if error.validator == "required" else ()
    missing = [name for name in required if name not in error.instance]
    return place_of([*error.absolute_path, *missing[:1]], root)


def place_of(path: Iterable[str | int], root: str = "data") -> str:
    """Where something stands in an event's payload, such as data.items[0].price."""
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def cut(text: str) -> str:
    """A text that may quote a payload, QUOTED_LETTERS of it at most."""
    return text if len(text) <= QUOTED_LETTERS else f"{text[:QUOTED_LETTERS]}…"


def load(extra: Path | None, own_routes: Iterable[tuple[str, str]] = ()) -> Rules:
    """All contracts. extra: CONTRACTS_DIR. own_routes: (method, path) that the product serves itself.

    Raises ContractFileError.
    """
    files = sorted(OWN.glob("*.toml"))
    if extra is not None:
        if not extra.is_dir():
            raise ContractFileError(f"CONTRACTS_DIR is {extra}, which is not a folder")
        files += sorted(extra.glob("*.toml"))
    contracts = [read_file(file) for file in files]
    _check_together(contracts, files, own_routes)
    return Rules(contracts)


def read_file(file: Path) -> Contract:
    """One contract. Raises ContractFileError naming the line."""
    try:
        text = file.read_text(encoding="utf-8")
        contract = read_contract(tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ContractFileError(f"{file}: {error}") from None
    except ContractError as error:
        raise ContractFileError(_explain(file, text, error.complaints)) from None
    for index, declared in enumerate(contract.events):
        try:
            Draft202012Validator.check_schema(dict(declared.schema))
        except SchemaError as error:
            raise ContractFileError(_explain(file, text, [(f"events[{index}].schema", error.message)])) from None
        further = [(f"events[{index}].schema", example) for example in declared.schema.get("examples", ())]
        for place, example in [(f"events[{index}].example", declared.example), *further]:
            try:
                problem = best_match(_validator(declared.schema).iter_errors(example))
            except Unresolvable as error:
                raise ContractFileError(_explain(file, text, [(f"events[{index}].schema", str(error))])) from None
            if problem is not None:
                complaint = f"has an example that does not fit its own schema: {problem.message}"
                raise ContractFileError(_explain(file, text, [(place, complaint)]))
    return contract


def _validator(schema: Mapping[str, Any]) -> Any:
    # A registry of its own: the default one would fetch a `$ref` to a URL from the network.
    return Draft202012Validator(dict(schema), registry=Registry())


def _check_together(
    contracts: Iterable[Contract], files: Iterable[Path], own_routes: Iterable[tuple[str, str]]
) -> None:
    paths = {_pattern(*route): "Twofold itself" for route in own_routes}
    names: dict[str, Path] = {}
    for contract, file in zip(contracts, files, strict=True):
        complaints = []
        if contract.name in names:
            complaints.append(("name", f"{contract.name!r} is taken by {names[contract.name]}"))
        names[contract.name] = file
        for index, route in enumerate(contract.routes):
            place = _pattern(route.method, route.path)
            if place in paths:
                complaints.append((f"routes[{index}].path", f"{route.method} {route.path} is taken by {paths[place]}"))
            paths[place] = str(file)
        if complaints:
            raise ContractFileError(_explain(file, file.read_text(encoding="utf-8"), complaints))


def _pattern(method: str, path: str) -> tuple[str, str]:
    """A route without the names of its parameters: of two paths that differ in nothing else, one hides the other."""
    return method, re.sub(r"{\w+}", "{}", path)


def _explain(file: Path, text: str, complaints: Iterable[tuple[str, str]]) -> str:
    lines = text.split("\n")
    with_lines = sorted((line_of(lines, place), place, why) for place, why in complaints)
    return "\n".join(f"{file}, line {line}: {place}: {why}" for line, place, why in with_lines)


def line_of(lines: list[str], place: str) -> int:
    """The line (from 1) on which a place such as routes[1].frame.data stands, or the nearest table above it."""
    at, end, path = 0, len(lines), ""
    for name, index in re.findall(r"(\w[\w-]*)(?:\[(\d+)\])?", place):
        path = f"{path}.{name}" if path else name
        line = _header(lines, at, end, path, int(index or 0))
        if line is None:
            line = _key(lines, at, end, name)
        if line is None:
            break
        at = line
        below = re.compile(rf"\s*\[\[?\s*{re.escape(path)}\.")
        end = next((n for n in range(at + 1, end) if _HEADER.match(lines[n]) and not below.match(lines[n])), end)
    return at + 1


_HEADER = re.compile(r"\s*\[")


def _header(lines: list[str], start: int, end: int, path: str, index: int) -> int | None:
    """The line of [path], or of the [[path]] with this index."""
    header = re.compile(rf"\s*\[\[?\s*{re.escape(path)}\s*\]")
    matching = [number for number in range(start, end) if header.match(lines[number])]
    return matching[index] if index < len(matching) else None


def _key(lines: list[str], start: int, end: int, name: str) -> int | None:
    """The line on which this key is set in the table that begins at `start`."""
    key = re.compile(rf'(^|[\s{{,])"?{re.escape(name)}"?\s*=')
    for number in range(start, end):
        if number > start and _HEADER.match(lines[number]):
            return None
        if key.search(lines[number]):
            return number
    return None
