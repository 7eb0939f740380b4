"""Loads the contract files: the product's own and those of CONTRACTS_DIR; checks payloads by their schemas."""

from __future__ import annotations

import logging
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match

from app.core.contract import Contract, Rules
from app.core.contract_file import ContractError, read_contract

log = logging.getLogger(__name__)

OWN = Path(__file__).parent / "contracts"


class ContractFileError(ValueError):
    """A contract file cannot be used; the text says which file, which line and why."""


class Schemas:
    """The event types' JSON Schemas, compiled once. `warned` counts the mismatches of types that only warn."""

    def __init__(self, rules: Rules) -> None:
        self._checks = {
            key: (declared.check, Draft202012Validator(dict(declared.schema))) for key, declared in rules.types.items()
        }
        self.warned: Counter[tuple[str, str]] = Counter()

    def refuses(self, kind: str, type: str, data: Any) -> str | None:
        """Why this payload may not be accepted, or None. A type without a schema takes anything."""
        check, validator = self._checks.get((kind, type), ("", None))
        if validator is None or validator.is_valid(data):
            return None
        if check == "reject":
            error = best_match(validator.iter_errors(data))
            place = "data" + "".join(f".{part}" for part in (error.absolute_path if error else ()))
            return f"The contract's schema of {type} refuses {place}: {error.message if error else 'no match'}"
        self.warned[kind, type] += 1
        return None


def load(extra: Path | None) -> Rules:
    """All contracts. Raises ContractFileError."""
    files = sorted(OWN.glob("*.toml"))
    if extra is not None:
        if not extra.is_dir():
            raise ContractFileError(f"CONTRACTS_DIR is {extra}, which is not a folder")
        files += sorted(extra.glob("*.toml"))
    contracts = [read_file(file) for file in files]
    _check_together(contracts, files)
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
        problem = best_match(Draft202012Validator(dict(declared.schema)).iter_errors(dict(declared.example)))
        if problem is not None:
            complaint = (f"events[{index}].example", f"does not fit its own schema: {problem.message}")
            raise ContractFileError(_explain(file, text, [complaint]))
    return contract


def _check_together(contracts: Iterable[Contract], files: Iterable[Path]) -> None:
    seen: dict[tuple[str, str], Path] = {}
    for contract, file in zip(contracts, files, strict=True):
        for route in contract.routes:
            # The names of parameters do not matter: two paths that differ in nothing else would shadow each other.
            place = (route.method, re.sub(r"{\w+}", "{}", route.path))
            if place in seen:
                raise ContractFileError(f"{file}: {route.method} {route.path} is taken by {seen[place]}")
            seen[place] = file


def _explain(file: Path, text: str, complaints: Iterable[tuple[str, str]]) -> str:
    lines = text.split("\n")
    return "\n".join(f"{file}, line {line_of(lines, place)}: {place}: {why}" for place, why in complaints)


def line_of(lines: list[str], place: str) -> int:
    """The line (from 1) on which a place such as routes[1].frame.data stands, or the nearest table above it."""
    at = 0
    for name, index in re.findall(r"(\w[\w-]*)(?:\[(\d+)\])?", place):
        found = _find(lines, at, name, int(index) if index else None)
        if found is None:
            break
        at = found
    return at + 1


def _find(lines: list[str], start: int, name: str, index: int | None) -> int | None:
    header = re.compile(rf"\s*\[\[?\s*([\w-]+\.)*{re.escape(name)}\s*\]")
    matching = [number for number, line in enumerate(lines) if number >= start and header.match(line)]
    if index is not None and matching:
        return matching[index] if index < len(matching) else None
    if matching and index is None:
        return matching[0]
    key = re.compile(rf'(^|[\s{{,])"?{re.escape(name)}"?\s*=')
    for number in range(start, len(lines)):
        if number > start and re.match(r"\s*\[", lines[number]):
            return None  # the next table begins: the key is missing in this one
        if key.search(lines[number]):
            return number
    return None
