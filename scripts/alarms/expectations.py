"""Reads `expectations.toml`: what must ring, what may, and how each alarm behaves at its edges."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

FILE: Final = Path(__file__).with_name("expectations.toml")
Levels = dict[str, float]


class ExpectationsError(ValueError):
    """The file cannot be used. Says what is wrong with it."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FaultExpectation(_Table):
    """`must` gives the latest minute by alarm; both may have patterns."""

    must: dict[str, int]
    may: tuple[str, ...] = ()

    def allows(self, alarm: str) -> bool:
        return any(fnmatchcase(alarm, pattern) for pattern in (*self.must, *self.may))


class Edge(_Table):
    """How alarms behave alone; levels are values of their metrics by the minute, none of them for no data."""

    usual: Levels
    bad: Levels
    rings_after: int
    clears_after: int
    quiet: tuple[Levels, ...] = ()
    rings: tuple[Levels, ...] = ()


class Expectations(_Table):
    """By the name of the fault, and by the name or pattern of the alarms."""

    faults: dict[str, FaultExpectation]
    edges: dict[str, Edge]


def load(path: Path = FILE) -> Expectations:
    """Raises ExpectationsError for a file that is missing, no TOML, or has a key that is unknown or absent."""
    try:
        return Expectations.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ExpectationsError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExpectationsError(f"{path} is no TOML: {error}.") from None
    except ValidationError as error:
        found = error.errors()[0]
        raise ExpectationsError(f"{path}: {'.'.join(map(str, found['loc']))}: {found['msg']}.") from None
