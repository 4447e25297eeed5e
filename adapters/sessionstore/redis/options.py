"""The options in a URL of Redis: each is checked when the store is made, not at its first use."""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

__all__ = ["UrlError", "checked_query"]


class UrlError(ValueError):
    """Says what is wrong in words of ours: the parsers' own may quote a password."""


class _Rule(NamedTuple):
    """What an option may be, and the words for what it is not."""

    fits: Callable[[str], bool]
    words: str


_BOOLEANS = frozenset({"0", "1", "f", "t", "false", "true", "n", "y", "no", "yes", "on"})
_LARGEST = 2**31  # redis-py's own most of connections
_A_CLIENT = "can't be said in a URL: give the store a client of redis-py"


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _whole(least: int, most: int = _LARGEST) -> _Rule:
    open_ended = "above 0" if least else "of 0 or more"
    bounds = f"from {least} to {most}" if most < _LARGEST else open_ended
    return _Rule(
        lambda value: value.isascii() and value.isdecimal() and least <= int(value[:20]) <= most,
        f"must be a whole number {bounds}",
    )


def _versions(value: str) -> bool:
    return value.isdecimal() and int(value[:20]) in {int(version) for version in ssl.TLSVersion}


def _ciphers(value: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(value)
    except ssl.SSLError:
        return False
    return True


_SECONDS = _Rule(
    lambda value: 0 < _number(value) <= _LARGEST, "must be a number of seconds above 0"
)
_BOOLEAN = _Rule(lambda value: value.lower() in _BOOLEANS, "must be true or false")
_FILE = _Rule(os.path.isfile, "names a file that is not there")
_NEVER = _Rule(lambda _: False, _A_CLIENT)
_BY_SCHEME = _Rule(lambda _: False, "is said by the URL's scheme: redis://, rediss:// or unix://")
_RULES: dict[str, _Rule] = {
    "port": _whole(1, 65_535),
    "db": _whole(0),
    "protocol": _Rule({"2", "3"}.__contains__, "must be 2 or 3"),
    "socket_timeout": _SECONDS,
    "socket_connect_timeout": _SECONDS,
    "health_check_interval": _whole(0),
    "max_connections": _whole(1),
    "socket_keepalive": _BOOLEAN,
    "client_name": _Rule(
        lambda name: name.isascii() and name.isprintable() and " " not in name,
        "must be printable ASCII without blanks",
    ),
    "socket_keepalive_options": _NEVER,
    "credential_provider": _NEVER,
    "ssl": _BY_SCHEME,
    "path": _BY_SCHEME,
    "unix_socket_path": _BY_SCHEME,
    "connection_class": _BY_SCHEME,
    "ssl_keyfile": _FILE,
    "ssl_certfile": _FILE,
    "ssl_ca_certs": _FILE,
    "ssl_ca_path": _Rule(os.path.isdir, "names a folder that is not there"),
    "ssl_ca_data": _Rule(lambda data: "BEGIN CERTIFICATE" in data, "must be certificates in PEM"),
    "ssl_cert_reqs": _Rule(
        {"none", "optional", "required"}.__contains__, "must be none, optional or required"
    ),
    "ssl_check_hostname": _BOOLEAN,
    "ssl_min_version": _Rule(_versions, "must be a number of ssl.TLSVersion, such as 771"),
    "ssl_ciphers": _Rule(_ciphers, "names no cipher that this Python has"),
}
_NUMBERS = ("port", "protocol", "ssl_min_version")  # which redis-py leaves as they are


def checked_query(query: str, scheme: str, topology: str) -> dict[str, Any]:
    """Refuse a URL with an option that redis-py would refuse only when it connects.

    Args:
        query: What is behind the question mark.
        scheme: ``"redis"``, ``"rediss"`` or ``"unix"``.
        topology: ``"sentinel"``, ``"cluster"``, or ``""`` for one machine.

    Returns:
        Those that redis-py does not make numbers of, as numbers.

    Raises:
        UrlError: One has a value that it can't have. The value is not quoted.
    """
    numbers: dict[str, Any] = {}
    for name, value in parse_qsl(query):
        _require_its_place(name, scheme, topology)
        rule = _RULES.get(name)
        if rule is not None and not rule.fits(value):
            raise UrlError(f"{name} {rule.words}")
        if name in _NUMBERS:
            numbers.setdefault(name, int(value))
    return numbers


def _require_its_place(name: str, scheme: str, topology: str) -> None:
    if name in ("host", "port") and (topology or scheme == "unix"):
        raise UrlError(f"{name} is no option here: it goes before the path")
    if name.startswith("ssl_") and scheme != "rediss":  # a password would go unencrypted
        raise UrlError(f"{name} is for TLS: let the URL start with rediss")
    if name.startswith("sentinel_") and topology != "sentinel":
        raise UrlError(f"{name} is for redis+sentinel://")
