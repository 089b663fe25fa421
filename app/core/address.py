"""Which network addresses an operator may name: one rule for every service."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # not in typeshed

from app.errors import SettingsError


def check_address(name: str, address: str, *, allow_insecure: bool = False) -> str:
    """Return the address without a trailing slash, or raise SettingsError naming ``name``.

    https everywhere; plain http to loopback always, elsewhere only when the operator allows it. No
    user information, query or fragment: a key has no place in an address. The address itself is not
    repeated in the error, since it may hold one.
    """
    text = address.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError(f"{name} is not a web address") from None
    if parts.scheme not in {"http", "https"} or not host or any(ord(c) <= 32 for c in text):  # noqa: PLR2004 - blanks and control characters
        raise SettingsError(f"{name} must be a web address such as https://host/v1")
    if parts.username is not None or parts.password is not None:
        raise SettingsError(f"{name} must not hold a user name or password")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise SettingsError(f"{name} must not hold a query or fragment")
    if port == 0:
        raise SettingsError(f"{name} names port 0")
    if parts.scheme == "http" and not is_loopback(host) and not allow_insecure:
        raise SettingsError(
            f"{name} uses plain http beyond this machine: use https, or set POSTIL_ALLOW_INSECURE=1"
        )
    return text.rstrip("/")


def choose_proxy(proxies: Mapping[str, str], address: str) -> str | None:
    """Choose the proxy on the way to an address; None: there is none. Raises SettingsError.

    ``proxies`` holds what HTTP_PROXY, HTTPS_PROXY and NO_PROXY say, under "http", "https" and "no";
    they are read as urllib reads them (docs.python.org/3/library/urllib.request.html).
    """
    parts = urlsplit(address)
    proxy = proxies.get(parts.scheme)
    if proxy is None or is_loopback(parts.hostname or ""):
        return None
    if proxy_bypass_environment(parts.netloc, dict(proxies)):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise SettingsError(f"{parts.scheme.upper()}_PROXY must begin with http:// or https://")
    return proxy


def is_loopback(host: str) -> bool:
    """Tell whether a host name can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
