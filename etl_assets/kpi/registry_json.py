"""The text of a registry, read strictly: a file that a person edits is asked where it may not say what was meant.

Here: JSON that Python would accept although it is doubtful, names of fields that were probably mistyped, and files
of SQL beside the registry. What the fields mean is in
``registry_model.py``.

What is wrong is told as path and sentence: ``{"analysisConfig.alertThresholds.low": "must be …"}``.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel

MAX_BYTES = 5_000_000
"""A thousand KPIs with a page of SQL each; more is another file than was meant."""

LIKENESS = 0.85
"""Of ``difflib``: finds alertTreshold, depends_on_ and isActive, and leaves sourceUrl and webhookAuth alone."""


class JsonObject(dict[str, Any]):
    """A JSON object that remembers the keys that it has more than once."""

    repeated: tuple[str, ...] = ()

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> "JsonObject":
        """The object of these pairs; of a key that is repeated the last value counts."""
        found = cls(pairs)
        if len(found) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            found.repeated = tuple(key for key, count in counts.items() if count > 1)
        return found


def read_object(text: str | bytes) -> JsonObject:
    """The JSON object that a text holds. Raises ``ValueError``, saying where it is not one."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES / 1e6:g} MB, which no registry is")
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        found = json.loads(decoded, object_pairs_hook=JsonObject.of)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: byte {error.start} is no part of a character") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise ValueError("not JSON that can be read: a number too long, or brackets nested too deep") from None
    if not isinstance(found, JsonObject):
        raise ValueError('not a JSON object: a registry is {"kpis": […], "metadata": {…}}')  # noqa: TRY004
    return found


def oddities(value: object) -> dict[str, str]:
    """What Python's JSON accepts and no reader should guess at, by path: repeated keys, NaN, half characters."""
    found: dict[str, str] = {}
    # Not recursive: what json just could read is nested too deep for a second walk of the same depth.
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        path, item = waiting.pop()
        match item:
            case dict():
                for key in getattr(item, "repeated", ()):
                    found[joined(path, key)] = "is given more than once"
                waiting += [(joined(path, key), part) for key, part in item.items()]
            case list():
                waiting += [(joined(path, n), part) for n, part in enumerate(item)]
            case float() if not math.isfinite(item):
                found[path] = "must be a finite number"
            case str() if not item.isascii() and not _can_be_written(item):
                found[path] = "has half a character (a lone surrogate)"
    return found


def _can_be_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def joined(path: str, part: str | int) -> str:
    """A path and its next part, ``a.b[3]``; a key that is no plain word is quoted."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    word = part if part.isidentifier() and part.isascii() else json.dumps(part[:80])
    return f"{path}.{word}" if path else word


def misspelt(model: type[BaseModel], given: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """Keys that are almost a field of the model, or its other spelling given twice, by path.

    Other keys are some other reader's business and ignored.
    """
    return dict(_misspelt(model, given, path))


def _misspelt(model: type[BaseModel], given: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    fields = {_plain(name): (name, field) for name, field in model.model_fields.items()}
    for key, value in given.items():
        here = joined(path, key)
        plain = _plain(key)
        near = [plain] if plain in fields else get_close_matches(plain, fields, n=1, cutoff=LIKENESS)
        if not near:
            continue
        name, field = fields[near[0]]
        alias = field.alias or name
        if key not in {name, alias}:
            yield here, f"unknown field, did you mean {alias}?"
        elif key == name != alias and alias in given:
            yield here, f"is given as {alias} too"
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, dict):
            yield from _misspelt(inner, value, here)


def _plain(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


def text_beside(folder: Path | None, name: str) -> str:
    """The text of a file in the registry's folder, or below. Raises ``ValueError``, saying why there is none.

    ``folder`` is None where the registry is in no folder: one that came over HTTP names no files of this machine.
    """
    if folder is None:
        raise ValueError("only a registry in a local file can name one; write the query into sql")
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise ValueError("must be a path below the registry's own folder, such as sql/my_kpi.sql")
    try:
        file = (folder / parts).resolve(strict=True)
        if not file.is_relative_to(folder.resolve()):
            raise ValueError("leads out of the registry's own folder")
        # A pipe or a device might never end.
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            raise ValueError("is no file of SQL")
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    except (OSError, RuntimeError):
        raise ValueError("cannot be read: there is no such file beside the registry, or it is protected") from None
    if not text.strip():
        raise ValueError("is empty")
    return text
