"""A PgBouncer of the tests' own, in transaction mode, where there is one on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress

import psycopg

from servers.postgres import PASSWORD, PostgresServer
from servers.process import free_port, wait_until
from servers.watch import Home

_SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=postgres password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
"""


def binary() -> str | None:
    """Give the path of the program, or ``None`` where there is none."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class PgBouncer:
    """Stands before a server, and shares a few connections among many clients."""

    def __init__(self, server: PostgresServer) -> None:
        self.port = free_port()
        self._home = Home()
        self._home.data.mkdir()
        settings = self._home.data / "settings"
        settings.write_text(_SETTINGS.format(server=server.port, password=PASSWORD, port=self.port))
        command = [str(binary()), str(settings)]
        if os.geteuid() == 0:
            for path in (self._home.path, self._home.data, settings):
                shutil.chown(path, "nobody")
            command[1:1] = ["-u", "nobody"]
        with (self._home.path / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._home.data, start_new_session=True
            )
        wait_until(lambda: self._is_ready(server), "PgBouncer does not start")

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._home.close()

    def _is_ready(self, server: PostgresServer) -> bool:
        assert self._process.poll() is None, (self._home.path / "log").read_text()
        with suppress(psycopg.OperationalError):
            psycopg.connect(server.url(port=self.port)).close()
            return True
        return False
