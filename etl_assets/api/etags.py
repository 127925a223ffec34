"""Entity tags: whether a client has an answer already.

A tag stands for the published rows that an answer is made of, what was asked, and the format: it changes when one of
them does, and not when something else was published. It is weak (RFC 9110, 8.8.1): the answer's ``_meta`` names the
publication, and it may travel compressed or not, so that equal tags promise the same rows, not the same bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request

FORMS = 1
"""Raised when an answer of the same rows comes to look different."""


def etag(version: str, asked: Mapping[str, Any], form: str) -> str:
    """The tag of an answer: of some version of the data, for what was asked, in a format."""
    parts = json.dumps([FORMS, version, asked, form], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f'W/"{hashlib.sha256(parts.encode()).hexdigest()[:32]}"'


def has_it(request: Request, tag: str) -> bool:
    """Whether ``If-None-Match`` names the tag, strong or weak, or is ``*``."""
    named = ",".join(request.headers.getlist("If-None-Match"))
    if not named:
        return False
    wanted = tag.removeprefix("W/")
    return any(part.strip().removeprefix("W/") in {wanted, "*"} for part in named.split(","))
