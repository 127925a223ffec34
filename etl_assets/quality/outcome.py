"""The answer to a check, whatever it was asked of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FIRST_OFFENDERS = 5
"""Named in a check's metadata; its query has all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one check for one partition. ``is_error`` is false where a person should merely look."""

    passed: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_error: bool = True
    pictures: Mapping[str, str] = field(default_factory=dict)
