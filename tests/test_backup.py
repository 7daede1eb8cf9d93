"""The commands of docs/operations.md, run as they stand there; and the files of docs/deploy."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import postgres
import psycopg
import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from bot.cli.app import app
from bot.settings import check_names
from engine.engine import LocalEngine
from engine.ledger.keys import key_file
from engine.ledger.ledger import new_id
from engine.ledger.storage import upgrade
from engine.plan.router import route
from engine.process.services import open_services
from engine.queues.embedded import EmbeddedQueue
from engine.settings import Settings
from engine.workers.supervisor import environment

DOCS = Path(__file__).parents[1] / "docs"
DEPLOY = DOCS / "deploy"


def commands(title: str) -> str:
    """The shell lines below `# title` in the page."""
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / "operations.md").read_text(), re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(f"# {title}\n")]
    return found


def run(title: str, **env: str) -> None:
    done = subprocess.run(
        ["sh", "-euc", commands(title)], env=os.environ | env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture
async def asked(ledger, registry, make_request):
    """Puts somebody's request into the ledger; its text can be read back."""
    engine = LocalEngine(registry, ledger, EmbeddedQueue(ledger, max_waiting=9), max_length=1200)

    async def ask(asker: str) -> str:
        request = make_request(f"words of {asker}", asker=asker)
        chosen = route("story", request.text, None, registry)
        job = engine.plan(request, new_id()).job
        await ledger.accept(request, chosen, job)
        return job.id

    return ask


@pytest.mark.databases("sqlite", "postgres")
async def test_a_backup_brings_words_back_but_nobody_who_was_forgotten(
    settings, ledger, asked, tmp_path, request
) -> None:
    kind = "sqlite" if ledger.dialect == "sqlite" else "postgres"
    kept, gone = await asked("kept"), await asked("gone")
    backup = tmp_path / "backup"
    backup.mkdir(mode=0o700)
    env = {"BACKUP": str(backup), "PASTICHE_HOME": str(settings.home)}
    restored = settings
    if kind == "postgres":
        server = request.getfixturevalue("postgres_server")
        env["PATH"] = f"{postgres.programs()}:{os.environ['PATH']}"
        env["LEDGER"] = settings.database_url.replace("+psycopg", "")
    run(f"back up {kind}", **env)
    async with open_services(settings) as services:
        await services.forget("terminal", "gone")
    await ledger.close()
    if kind == "postgres":
        url = server.url(server.create())
        env["LEDGER"] = url.replace("+psycopg", "")
        restored = settings.model_copy(update={"database_url": url})
    run(f"restore {kind}", **env)
    async with open_services(restored) as services:
        assert (await services.ledger.answer(kept)).request.text == "words of kept"
        assert await services.ledger.answer(gone) is None


@pytest.mark.databases("sqlite")
async def test_a_new_machine_takes_a_backup_and_makes_an_export_of_nobody_who_was_forgotten(
    settings, ledger, asked, tmp_path
) -> None:
    await asked("gone")
    new, backup = settings.model_copy(update={"home": tmp_path / "new"}), str(tmp_path / "backup")
    run("back up sqlite", BACKUP=backup, PASTICHE_HOME=str(settings.home))
    async with open_services(settings) as services:
        await services.forget("terminal", "gone")
    await ledger.close()
    run("restore sqlite", BACKUP=backup, PASTICHE_HOME=str(new.home))
    shutil.copy(settings.home / "tombstones.jsonl", new.home)
    assert new.ledger_file.stat().st_mode & 0o077 == 0
    keep = {"PASTICHE_KEY_FILE": str(key_file(settings)), "PASTICHE_HOME": str(new.home)}
    for words in (["study", "retention"], ["log", "--out", str(tmp_path / "log.jsonl")]):
        command = [sys.executable, "-m", "bot", *words]
        done = subprocess.run(command, env=os.environ | keep, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    told = (tmp_path / "log.jsonl").read_bytes()
    assert b"words of gone" not in told


def test_nothing_is_backed_up_where_there_is_nothing(tmp_path) -> None:
    env = os.environ | {"BACKUP": str(tmp_path / "backup"), "PASTICHE_HOME": str(tmp_path)}
    line = ["sh", "-euc", commands("back up sqlite")]
    assert subprocess.run(line, env=env, capture_output=True, check=False).returncode != 0
    assert not (tmp_path / "backup" / "ledger.sqlite3").exists()


def test_a_backup_needs_no_file_that_a_key_elsewhere_leaves_out(settings, tmp_path) -> None:
    elsewhere = settings.model_copy(update={"key_file": tmp_path / "key"})
    upgrade(elsewhere)
    assert not (settings.home / "key-name").exists()
    run("back up sqlite", BACKUP=str(tmp_path / "backup"), PASTICHE_HOME=str(settings.home))
    assert (tmp_path / "backup" / "ledger.sqlite3").exists()


def check_command(words: list[str]) -> None:
    """Fail where the command line does not know a command, or an option of it."""
    group = get_command(app)
    while isinstance(group, TyperGroup):
        with group.make_context("pastiche", words, resilient_parsing=True) as context:
            _, group, words = group.resolve_command(context, words)
    group.make_context("pastiche", words)


def test_the_compose_file_and_units_name_what_there_is() -> None:
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = told["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in (v.split(":")[0] for v in service.get("volumes", [])):
            here = volume.startswith("./")
            assert (DEPLOY / volume).exists() if here else volume in told["volumes"]
        if build := service.get("build"):
            assert (DEPLOY / build["context"] / build["dockerfile"]).exists()
            check_command(service["command"])
    for unit in DEPLOY.glob("*.service"):
        for line in re.findall(r"^Exec\w+=\S+/pastiche (.+)$", unit.read_text(), re.MULTILINE):
            check_command(line.split())
    example = (DEPLOY / "env.example").read_text()
    needed = re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text())
    assert all(f"{name}=" in example for name in needed)
    for path in DEPLOY.iterdir():
        check_names(re.findall(r"\b[A-Z]+_[A-Z_]+", path.read_text()))


@pytest.mark.databases("postgres")
def test_the_bots_role_of_compose_is_an_ordinary_one_and_enough(postgres_server, tmp_path) -> None:
    server, password = postgres_server, "o'r$d i\\nary"
    env = {"PATH": f"{postgres.programs()}:{os.environ['PATH']}", "PGHOST": "127.0.0.1"}
    env |= {"PGPORT": str(server.port), "PGPASSWORD": server.password}
    script = ["sh", DEPLOY / "postgres-role.sh"]
    subprocess.run(script, env=os.environ | env | {"PASTICHE_DB_PASSWORD": password}, check=True)
    url = f"postgresql+psycopg://pastiche:{quote(password)}@127.0.0.1:{server.port}/pastiche"
    try:
        upgrade(Settings(home=tmp_path / "home", key_file=tmp_path / "key", database_url=url))
        with psycopg.connect(server.conninfo("pastiche")) as connection:
            query = (
                "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = %s"
            )
            assert connection.execute(query, ("pastiche",)).fetchone() == (False,)
    finally:
        server.drop("pastiche")
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
            connection.execute("DROP ROLE pastiche")


def test_no_container_has_more_rights_or_neighbours_than_it_needs() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["ulimits"] == {"core": 0}, name
        assert not {"ipc", "pid", "privileged", "network_mode"} & set(service), name
        assert service["networks"], name
    ours = [one for name, one in services.items() if one.get("image") == "pastiche"]
    assert len(ours) == 4 and "\nUSER 10001:10001\n" in (DEPLOY / "Dockerfile").read_text()
    assert services["vllm"]["user"] == "10001:10001"  # postgres's own entrypoint leaves root
    assert not set(services["vllm"]["networks"]) & set(services["postgres"]["networks"])
    assert "POSTGRES_USER" not in services["postgres"]["environment"]  # the superuser's


def test_each_container_is_asked_for_its_health_where_that_is_shown(settings: Settings) -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    port = int(re.findall(r"PASTICHE_METRICS_PORT=(\d+)", dockerfile)[0])
    settings = settings.model_copy(update={"metrics_port": port})
    assert f":{port}/healthz" in dockerfile.partition("HEALTHCHECK")[2]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert "healthcheck" not in services["bot"]
    for medium in ("text", "image"):  # of its model's process: who starts that shows none
        *_, code = services[f"{medium}-worker"]["healthcheck"]["test"]
        shown = environment(settings, medium)["PASTICHE_METRICS_PORT"]
        assert re.search(r":(\d+)/healthz", code)[1] == shown
        compile(code, "compose.yaml", "exec")


def test_the_dockerfile_copies_what_there_is_and_holds_no_secret() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()}
    for names in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in names.split():
            assert (DOCS.parent / name).exists() and name in allowed, name
    assert not re.search(r"TOKEN=|PASSWORD=|SECRET=", text)


@pytest.mark.parametrize("unit", ["pastiche-bot.service", "pastiche-worker@.service"])
def test_the_units_keep_their_secrets_and_their_bounds(unit: str) -> None:
    lines = (DEPLOY / unit).read_text().splitlines()
    held = {
        "LimitCORE=0", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "RestrictNamespaces=yes",
        "SystemCallFilter=@system-service", "ProtectProc=invisible", "ProtectKernelModules=yes",
        "LoadCredential=pastiche_key:/etc/pastiche/key",
    }  # fmt: skip
    assert held <= set(lines)
    for name in ("RestrictAddressFamilies", "MemoryMax", "TasksMax"):
        assert any(line.startswith(f"{name}=") for line in lines), name


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not on this machine")
@pytest.mark.parametrize("unit", ["pastiche-bot.service", "pastiche-worker@.service"])
def test_systemd_understands_the_units(unit: str, tmp_path) -> None:
    text = (DEPLOY / unit).read_text().replace("/opt/pastiche/bin/pastiche", "/bin/true")
    (tmp_path / unit).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / unit], capture_output=True, check=False
    )
    assert unit.split("@")[0].encode() not in done.stderr, done.stderr.decode()
