"""Numbers to text and back; the only module that does either.

GiB, MiB and KiB are powers of 1024; GB, MB and KB powers of 1000.
"""

from __future__ import annotations

import math
import re

from autobatch.errors import SettingsError

_BYTES_PER_UNIT = {
    "b": 1,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_SECONDS_PER_UNIT = {
    "": 1.0,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "m": 60.0,
    "h": 3600.0,
}

_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|[KMGT]?i?B|us|ms|s|min|h|\w+/s)(?!\w))")


def parse_bytes(text: str) -> int:
    """Read a memory size such as ``8GiB``, ``500 MB`` or ``1073741824B``.

    Args:
        text: A positive number and its unit: 8 may be bytes or GiB.

    Returns:
        The size in bytes.

    Raises:
        SettingsError: If the text is not a positive size.
    """
    match = _SIZE.fullmatch(text)
    factor = _BYTES_PER_UNIT.get(match[2].lower()) if match else None
    size = float(match[1]) * factor if match and factor else 0.0
    num_bytes = round(size) if size < math.inf else 0
    if num_bytes <= 0:
        raise SettingsError(f"{text!r} is not a memory size", hint="write it like 8GiB or 500MB")
    return num_bytes


def add_unit(text: str) -> str:
    """Guess the memory size that a number without a unit was meant to be: ``8`` is ``8GiB``.

    Returns:
        The number with a unit; empty if the text is no whole number above 0.
    """
    number = text.strip()
    if not re.fullmatch(r"[1-9]\d{0,14}", number):
        return ""
    value = int(number)
    return number + ("GiB" if value < 512 else "MiB" if value < 2**20 else "B")


def parse_fraction(text: str) -> float:
    """Read a fraction such as ``10%`` or ``0.1``.

    Returns:
        The fraction, at least 0 and below 1.

    Raises:
        SettingsError: If the text is not such a fraction.
    """
    stripped = text.strip()
    try:
        fraction = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        fraction = math.nan
    if not 0 <= fraction < 1:
        raise SettingsError(
            f"{text!r} is not a fraction from 0 up to, not including, 1",
            hint="write it like 10% or 0.1",
        )
    return fraction


def parse_seconds(text: str) -> float:
    """Read a time such as ``90``, ``90s``, ``250us``, ``1.5min`` or ``2h``.

    Returns:
        The time in seconds, above 0.

    Raises:
        SettingsError: If the text is not a positive time.
    """
    match = _SIZE.fullmatch(text)
    factor = _SECONDS_PER_UNIT.get(match[2].lower()) if match else None
    seconds = float(match[1]) * factor if match and factor else 0.0
    if seconds <= 0:
        raise SettingsError(f"{text!r} is not a time", hint="write it like 90s or 5min")
    return seconds


def parse_shape(text: str) -> tuple[int, ...]:
    """Read the shape of one sample, such as ``3x224x224``.

    Raises:
        SettingsError: If the text is not a shape.
    """
    if not re.fullmatch(r"\d+(x\d+)*", text):
        raise SettingsError(
            f"{text!r} is not a shape", hint="write it like 3x224x224, without the batch size"
        )
    return tuple(int(size) for size in text.split("x"))


def parse_grid(text: str) -> int | None:
    """Read ``powers`` (``None``) or ``multiple:8`` (8).

    Raises:
        SettingsError: If the text is neither.
    """
    match = re.fullmatch(r"powers|multiple:(\d+)", text)
    if not match or match[1] == "0":
        raise SettingsError(f"{text!r} is not a grid", hint="write powers, or multiple:8")
    return int(match[1]) if match[1] else None


def format_bytes(num_bytes: float) -> str:
    """Write a number of bytes with a binary unit, three digits at most: ``1.5 GiB``."""
    sign = "-" if num_bytes < 0 else ""
    value, unit = abs(float(num_bytes)), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1023.5:
            break
        value, unit = value / 1024, larger
    digits = 0 if unit == "B" or value >= 99.95 else 1
    return f"{sign}{value:.{digits}f} {unit}"


def format_seconds(seconds: float) -> str:
    """Write a time with a suitable unit: ``3.2 ms``, ``12 s``, ``2 h 05 min``."""
    if seconds >= 3599.5:
        minutes = round(seconds / 60)
        return f"{minutes // 60:,} h {minutes % 60:02d} min"
    if seconds >= 99.5:
        whole = round(seconds)
        return f"{whole // 60} min {whole % 60:02d} s"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        value = seconds * factor
        if value >= 0.9995 or unit == "us":
            break
    return f"{value:.3g} {unit}"


def format_rate(samples_per_s: float, unit: str = "samples") -> str:
    """Write a throughput: ``3,290 samples/s``, ``1.52 samples/s``.

    Args:
        samples_per_s: How many a second.
        unit: Of what.
    """
    digits = 0 if samples_per_s >= 99.95 else 1 if samples_per_s >= 9.995 else 2
    return f"{samples_per_s:,.{digits}f} {unit}/s"


def format_fraction(fraction: float) -> str:
    """Write a fraction in percent: ``5 %``, ``0.4 %``."""
    percent = fraction * 100
    return f"{percent:.0f} %" if abs(percent) >= 0.95 or percent == 0 else f"{percent:.1f} %"


def format_change(fraction: float) -> str:
    """Write how much more or less something is, in percent: ``+1.2 %``, ``-30 %``."""
    percent = fraction * 100
    digits = 1 if abs(percent) < 9.95 else 0
    text = f"{percent:+.{digits}f} %"
    return text if float(text[1:-2]) else "0.0 %"


def bind_units(text: str, blank: str) -> str:
    """Put another blank between each figure and its unit, so that no line breaks there.

    Args:
        text: Prose with figures in it.
        blank: What a line is not broken at.
    """
    return _BEFORE_UNIT.sub(blank, text)


def format_count(count: float) -> str:
    """Write a count with thousands separated: ``24,000``."""
    return f"{count:,.0f}"


def format_learning_rate(learning_rate: float) -> str:
    """Write a learning rate with four significant digits: ``3.2``, ``0.0001414``."""
    return f"{learning_rate:.4g}"


def format_price(price: float) -> str:
    """Write an amount of money, in cents from 1 on and to three digits below."""
    return f"{price:,.2f}" if price >= 1 else f"{price:.3g}"


def format_factor(factor: float) -> str:
    """Write what a rate is multiplied by: ``8``, ``0.5``, ``0.3536``, ``1/64``."""
    text = format_learning_rate(factor)
    if not 0 < factor < 1 or float(text) == factor:
        return text
    inverse = round(1 / factor)
    return f"1/{inverse:,}" if math.isclose(inverse * factor, 1, rel_tol=1e-9) else text


def format_beta(beta: float) -> str:
    """Write a decay rate so that its distance from 1 keeps two digits: ``0.9969``, ``0.999969``."""
    digits = max(1, 1 - math.floor(math.log10(1 - beta))) if beta < 1 else 1
    return f"{beta:.{digits}f}".rstrip("0").rstrip(".") or "0"
