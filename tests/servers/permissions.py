"""What the documentation says that a user of Redis must be permitted, and such a user."""

from __future__ import annotations

import re
from pathlib import Path

from servers.redis import Cluster, Guarded, Server

_PAGE = Path(__file__).parent.parent.parent / "docs" / "stores" / "redis.md"


def _listed() -> tuple[list[str], list[str]]:
    text = _PAGE.read_text(encoding="utf-8").split("## Permissions")[1].split("\n## ")[0]
    always, more = text.split("| also | for |")
    return re.findall(r"\+([a-z|]+)", always), re.findall(r"\+([a-z|]+)", more)


ALWAYS, MORE = _listed()
"""The commands for every use, and those for some."""


def permit(
    url: str, servers: list[Server], commands: list[str], keys: str = "~sessionstore:*"
) -> str:
    """Make a user of these servers, or change the one there is, and give the URL for that one."""
    rules = ("reset", "on", ">limited", keys, *(f"+{command}" for command in commands))
    for server in servers:
        server.run("ACL", "SETUSER", "limited", *rules)
    return url.replace("://", "://limited:limited@")


def permitted(servers: Server | Cluster | Guarded) -> str:
    """Give the URL for a user of all that the page lists for such servers, and of nothing else."""
    if isinstance(servers, Cluster):
        return permit(servers.url, servers.servers, [*ALWAYS, *MORE])
    if isinstance(servers, Guarded):
        return permit(servers.url, [servers.master, servers.replica], ALWAYS)
    return permit(servers.url, [servers], [*ALWAYS, "multi", "exec", "copy"])
