"""When a credential ends, read from the credential itself; this module must never judge whether it is genuine.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x17, 0x18, 0xA0


def certificate_end(pem: str) -> float | None:
    """Return when the first certificate of a PEM text ends (``notAfter``).

    The certificate is walked by hand (X.690 and RFC 5280, 4.1): Python's own ``ssl`` decodes only a peer's, and
    importing ``cryptography`` costs 80 ms.

    Args:
        pem: one or more certificates.

    Returns:
        Seconds since the epoch; ``None`` when it cannot be read.

    Example:
        >>> certificate_end("not a certificate") is None
        True
    """
    found = _CERTIFICATE.search(pem)
    if not found:
        return None
    try:
        _, certificate = next(_elements(base64.b64decode("".join(found[1].split()))))
        _, body = next(_elements(certificate))
        fields = [element for element in _elements(body) if element[0] != _VERSION]
        _, validity = fields[3]  # serial number, signature algorithm, issuer, validity
        _, (tag, end) = list(_elements(validity))[:2]
        return _time(tag, end.decode("ascii"))
    except (binascii.Error, ValueError, IndexError, StopIteration):
        return None


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element of a DER sequence."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        yield tag, der[at : at + length]
        at += length


def _time(tag: int, written: str) -> float | None:
    formats = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}
    if tag not in formats:
        return None
    moment = datetime.strptime(written, formats[tag]).replace(tzinfo=timezone.utc)
    # strptime puts the years from 69 on into the 1900s; RFC 5280 draws the line at 50.
    if tag == _UTC_TIME and moment.year >= 2050:
        moment = moment.replace(year=moment.year - 100)
    return moment.timestamp()


def token_end(token: str) -> float | None:
    """Return when a bearer token ends, if it is a JWT that says so (claim ``exp``, RFC 7519, 4.1.4).

    Args:
        token: any bearer token.

    Returns:
        Seconds since the epoch; ``None`` for an opaque token or one without an end.

    Example:
        >>> token_end("opaque") is None
        True
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    end = claims.get("exp") if isinstance(claims, dict) else None
    return float(end) if isinstance(end, (int, float)) else None


def timestamp(written: str) -> float | None:
    """Return an RFC 3339 time, as ``expirationTimestamp`` is one, in seconds since the epoch; ``None`` if it is none.

    Example:
        >>> timestamp("1970-01-01T00:01:00Z")
        60.0
    """
    # Python 3.10 knows neither Z nor fractions of other lengths than 3 and 6.
    plain = re.sub(r"\.\d+", "", written.strip()).upper().replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(plain).timestamp()
    except ValueError:
        return None


def shown(moment: float) -> str:
    """Return a moment as people read it.

    Example:
        >>> shown(60)
        '1970-01-01 00:01:00 UTC'
    """
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
