"""Ways to damage a saved finding, or to make it do damage."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

_STRANGE_VALUES: tuple[Any, ...] = (
    None, True, "", "text", "\ud800", "\x1b[31m\x00", -1, 0, 2**63, 10**4000, -1e308,
    float("inf"), float("nan"), [], {}, [[]], {"": None}, [None] * 1000,
)  # fmt: skip


def damage(content: bytes, source: Random) -> bytes:
    """One of many ways, at random."""
    return source.choice(_WAYS)(content, source)


def _truncate(content: bytes, source: Random) -> bytes:
    return content[: source.randrange(len(content))]


def _flip_bits(content: bytes, source: Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(source.choice((1, 10, 1000))):
        flipped[source.randrange(len(flipped))] ^= 1 << source.randrange(8)
    return bytes(flipped)


def _replace_values(content: bytes, source: Random) -> bytes:
    document = json.loads(content)
    for _ in range(source.choice((1, 1, 3, 30))):
        holder, key = _pick(document, source)
        holder[key] = source.choice(_STRANGE_VALUES)
    return json.dumps(document).encode()


def _remove_values(content: bytes, source: Random) -> bytes:
    document = json.loads(content)
    for _ in range(source.choice((1, 3))):
        holder, key = _pick(document, source)
        del holder[key]
    return json.dumps(document).encode()


def _swap_values(content: bytes, source: Random) -> bytes:
    document = json.loads(content)
    (holder, key), (other, other_key) = _pick(document, source), _pick(document, source)
    if isinstance(holder[key], (dict, list)) or isinstance(other[other_key], (dict, list)):
        holder[key] = json.loads(json.dumps(other[other_key]))
    else:
        holder[key], other[other_key] = other[other_key], holder[key]
    return json.dumps(document).encode()


def _nest(content: bytes, source: Random) -> bytes:
    depth = source.choice((500, 900, 5_000, 500_000))
    if source.random() < 0.5:
        return b"[" * depth + b"]" * depth
    deep = '{"a":' * depth + "1" + "}" * depth
    key = source.choice(("trials", "settings", "warnings", "memory_curve", "unheard_of"))
    return re.sub(rf'"{key}": ', f'"{key}": {deep}, "x": ', content.decode(), count=1).encode()


def _grow_numbers(content: bytes, source: Random) -> bytes:
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    for match in source.sample(numbers, k=source.choice((1, 5))):
        digits = source.choice((19, 100, 400, 10_000))
        huge = source.choice(("9" * digits, f"1e{digits}", "-" + "9" * digits, f"1e-{digits}"))
        content = content.replace(match.group(), huge.encode(), 1)
    return content


def _make_binary(content: bytes, source: Random) -> bytes:
    noise = source.randbytes(source.choice((1, 100, 10_000)))
    place = source.randrange(len(content))
    return source.choice((noise, content[:place] + noise + content[place:], b"\x00" * 100))


def _make_other(content: bytes, source: Random) -> bytes:
    text = content.decode()
    return source.choice(
        (
            b"",
            b"null",
            b"[1, 2]",
            b'"text"',
            b"{}",
            content + content,
            content[:-2] + b', "batch_size": 3}\n',
            text.encode("utf-16"),
            b"\xef\xbb\xbf" + content,
            content.replace(b'"schema_version": 1', b'"schema_version": 2'),
        )
    )


_WAYS: tuple[Callable[[bytes, Random], bytes], ...] = (
    _truncate, _flip_bits, _replace_values, _replace_values, _remove_values, _swap_values, _nest,
    _grow_numbers, _make_binary, _make_other,
)  # fmt: skip


def _pick(document: Any, source: Random) -> tuple[Any, Any]:
    """A place in a document: what holds it, and the key or the index."""
    holder = document
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = source.choice(keys)
        inner = holder[key]
        if not isinstance(inner, (dict, list)) or not inner or source.random() < 0.3:
            return holder, key
        holder = inner
