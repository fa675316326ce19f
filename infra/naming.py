"""Physical names and tags. Every name contains the stack's name, so that all stacks live in one account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

APPLICATION: Final = "roleferry"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one stack: `roleferry-{stack}-{part}`, lower case, because ElastiCache lowers names silently."""

    stack: str
    owner: str = "devops"

    def of(self, part: str) -> str:
        return f"{APPLICATION}-{self.stack}-{part}"

    @property
    def replication_group(self) -> str:
        return self.of("cache")

    @property
    def metric_namespace(self) -> str:
        """Where the application publishes its counts. One per stack, so that IAM can keep stacks apart."""
        return f"RoleFerry/Cache/{self.stack}"

    @property
    def dashboard(self) -> str:
        return self.of("cache")

    def tags(self, part: str) -> dict[str, str]:
        return {
            "Application": APPLICATION,
            "Environment": self.stack,
            "ManagedBy": "pulumi",
            "Name": self.of(part),
            "Owner": self.owner,
        }
