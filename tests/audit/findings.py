"""What the tools found, and what becomes of it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Finding:
    """One check of one tool on one resource."""

    tool: str
    check: str
    resource: str
    has_failed: bool
    text: str


@dataclass(frozen=True)
class Waiver:
    """Why a check may fail, on the resources whose names match `resource`."""

    tool: str
    check: str
    reason: str
    resource: str = ""

    def covers(self, finding: Finding) -> bool:
        return (
            self.tool == finding.tool
            and re.fullmatch(self.check, finding.check) is not None
            and re.search(self.resource, finding.resource) is not None
        )


@dataclass(frozen=True)
class Verdict:
    """`silent` checks were expected to report and did not: the tool has gone blind. `new` ones are not expected yet."""

    failed: tuple[Finding, ...]
    waived: Mapping[Waiver, tuple[Finding, ...]]
    passed: Mapping[str, int]
    silent: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def unused(self) -> tuple[Waiver, ...]:
        return tuple(waiver for waiver, findings in self.waived.items() if not findings)

    @property
    def is_good(self) -> bool:
        return not (self.failed or self.silent or self.new or self.unused)


def judge(findings: Sequence[Finding], waivers: Sequence[Waiver], expected: Iterable[str]) -> Verdict:
    """`expected` are the checks that must report, each as `tool:check`."""
    failed = [finding for finding in findings if finding.has_failed]
    waived = {waiver: tuple(finding for finding in failed if waiver.covers(finding)) for waiver in waivers}
    reported, wanted = {f"{finding.tool}:{finding.check}" for finding in findings}, set(expected)
    tools = sorted({finding.tool for finding in findings})
    return Verdict(
        failed=tuple(finding for finding in failed if not any(waiver.covers(finding) for waiver in waivers)),
        waived=waived,
        passed={tool: sum(f.tool == tool and not f.has_failed for f in findings) for tool in tools},
        silent=tuple(sorted(wanted - reported)),
        new=tuple(sorted(reported - wanted)),
    )
