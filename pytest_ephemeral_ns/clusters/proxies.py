"""Which proxy the environment names for a server, by the rules of kubectl; this module must never use one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def proxy_for(server: str, environ: Mapping[str, str]) -> str:
    """Return the proxy through which kubectl would reach a server (Go, ``golang.org/x/net/http/httpproxy``).

    Args:
        server: the API server's URL.
        environ: with ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``, in capitals or not.

    Returns:
        The proxy's URL; ``""`` for none. This machine itself is never reached through one.

    Example:
        >>> proxy_for("https://shop.example.com", {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": ".local"})
        'http://proxy:3128'
    """
    url = urlsplit(server)
    proxy = _value(environ, f"{url.scheme}_proxy")
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    if not proxy or not url.hostname or _is_excepted(url.hostname, port, _value(environ, "no_proxy")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.upper(), "") or environ.get(name, "")


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    for item in (part.strip().lower() for part in exceptions.split(",")):
        if item == "*":
            return True
        name, colon, wanted = item.rpartition(":")
        if colon and wanted.isdigit() and not name.count(":"):
            if port != int(wanted):
                continue
            item = name
        if item and (_is_in_network(address, item) if address is not None else _is_in_domain(host, item)):
            return True
    return False


def _is_in_domain(host: str, item: str) -> bool:
    item = item.removeprefix("*")
    if item.startswith("."):  # its sub-domains only
        return host.endswith(item)
    return host == item or host.endswith(f".{item}")


def _is_in_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, item: str) -> bool:
    try:
        return address in ipaddress.ip_network(item, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
