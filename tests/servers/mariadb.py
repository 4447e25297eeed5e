"""A MariaDB server of the tests' own, where there is a ``mariadbd`` on this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess

import pymysql
from servers.watch import Home, free_port, wait_until

_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-grant-tables",
    "--skip-networking=0",
    "--debug-no-sync",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-buffer-pool-size=64M",
    "--max-allowed-packet=64M",
    # As unhelpful as a server may be: its text ignores case and spaces at the end, and lacks emoji.
    "--character-set-server=latin1",
    "--collation-server=latin1_swedish_ci",
)


def binary() -> str | None:
    """Give the path of the server, or ``None`` where there is none."""
    return shutil.which("mariadbd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class MariadbServer:
    """One server with its data in a folder of its own; `stop` leaves nothing behind."""

    def __init__(self, program: str) -> None:
        self._home = Home()
        self.port = free_port()
        common = ("--no-defaults", f"--datadir={self._home.data}", f"--user={getpass.getuser()}")
        try:
            self._home.data.mkdir()
            places = (f"--socket={self._home.path / 'socket'}", f"--port={self.port}")
            with (self._home.path / "log").open("wb") as log:
                self._server = subprocess.Popen(
                    [program, *common, *places, *_OPTIONS],
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            wait_until(self._is_ready, "MariaDB does not start")
        except BaseException:
            self._home.close()
            raise

    def url(self, database: str) -> str:
        """Give the URL of a database."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        """Carry out one statement."""
        with pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection:
            connection.cursor().execute(statement)

    def stop(self) -> None:
        """End the server, and remove all that it wrote."""
        self._server.kill()
        self._server.wait()
        self._home.close()

    def _is_ready(self) -> bool:
        assert self._server.poll() is None, (self._home.path / "log").read_text()
        try:
            self.execute("SELECT 1")
        except pymysql.OperationalError:
            return False
        return True
