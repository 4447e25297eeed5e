"""A MariaDB server of the tests' own, where there is a ``mariadbd`` on this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

import pymysql

from servers.process import free_port, wait_until
from servers.watch import Home

_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-grant-tables",
    "--skip-networking=0",
    "--debug-no-sync",
    "--innodb-flush-log-at-trx-commit=2",  # a killed server keeps what it committed
    "--innodb-buffer-pool-size=64M",
    "--innodb-use-native-aio=0",  # the kernel has few for all its processes
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
        # Of its own: a server that starts deletes what others keep in a folder for temporary files.
        folders = (f"--datadir={self._home.data}", f"--tmpdir={self._home.path}")
        common = ("--no-defaults", *folders, f"--user={getpass.getuser()}")
        places = (f"--socket={self._home.path / 'socket'}", f"--port={self.port}")
        self._command = [program, *common, *places, *_OPTIONS]
        try:
            self._home.data.mkdir()
            self._bootstrap(program, common)
            self.start()
        except BaseException:
            self._home.close()
            raise

    def _bootstrap(self, program: str, options: tuple[str, ...]) -> None:
        """Make the system's tables; ``mariadb-install-db`` wants more of MariaDB installed."""
        scripts = Path(program).resolve().parents[1] / "share" / "mysql"
        names = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")
        system = "".join((scripts / name).read_text() for name in names)
        command = [program, *options, *_OPTIONS, "--bootstrap"]
        script = f"CREATE DATABASE mysql;\nUSE mysql;\n{system}".encode()
        made = subprocess.run(command, input=script, capture_output=True, check=False)
        assert made.returncode == 0, made.stderr.decode()

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        with (self._home.path / "log").open("ab") as log:
            self._server = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._is_ready, "MariaDB does not start")

    def kill(self) -> None:
        """End it at once, as a machine that dies does."""
        self._server.kill()
        self._server.wait()

    def url(self, database: str) -> str:
        """Give the URL of a database."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        """Carry out one statement."""
        with pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection:
            connection.cursor().execute(statement)

    def stop(self) -> None:
        """End the server, and remove all that it wrote."""
        self.kill()
        self._home.close()

    def _is_ready(self) -> bool:
        assert self._server.poll() is None, (self._home.path / "log").read_text()
        try:
            self.execute("SELECT 1")
        except pymysql.OperationalError:
            return False
        return True
