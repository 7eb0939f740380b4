"""The web process as it is served: tokens in a query reach no log, paths cannot forge one, TLS is refused, a reload
reads new code, and what cannot start is explained once."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from app.local import children, procfile
from app.log_lines import WithoutSecrets
from app.web.serving import FIGURES, remove_left_folders
from tests.processes import ROOT, START_SECONDS, RunningServer, environment, eventually, free_port

TOKEN = "eyJhbGciOiJIUzI1NiJ9.very-secret.c2ln"


def said_by(server: RunningServer, request: bytes) -> bytes:
    """The answer to these bytes."""
    with socket.create_connection(("127.0.0.1", urlsplit(server.base_url).port or 0), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def logged_with(server: RunningServer, mark: str) -> str:
    """What the web process has logged, once that has `mark` in it."""
    return eventually(lambda: mark in server.web.log_text() and server.web.log_text())


@pytest.mark.parametrize("query", [f"token={TOKEN}", f"after_seq=1&token={TOKEN}", f"token=%65{TOKEN}"])
def test_a_token_in_a_query_is_not_logged(server: RunningServer, query: str) -> None:
    path = f"/healthz/{free_port()}"
    requests.get(f"{server.base_url}{path}?{query}", timeout=10)
    assert TOKEN not in logged_with(server, path)


@pytest.mark.parametrize(
    "request_line",
    [
        f"GET /x?token={TOKEN} HTTP/9.9",
        f"GET /x?token={TOKEN}",
        f"get /x?token={TOKEN} HTTP/1.1",
        f"GET /x?token={TOKEN}\x01 HTTP/1.1",
        f"GET x?token={TOKEN} HTTP/1.1",
    ],
)
def test_a_token_in_a_request_that_cannot_be_read_is_not_logged(server: RunningServer, request_line: str) -> None:
    answer = said_by(server, f"{request_line}\r\nHost: x\r\n\r\n".encode())
    assert b" 4" in answer.split(b"\r\n")[0]
    path = f"/after-that/{free_port()}"
    requests.get(server.base_url + path, timeout=10)
    assert TOKEN not in logged_with(server, path)


def test_a_path_cannot_forge_a_line_of_the_log(server: RunningServer) -> None:
    said_by(server, b"GET /a%0A127.0.0.1%20GET%20/forged HTTP/1.0\r\nHost: x\r\n\r\n")
    assert "\n127.0.0.1 GET /forged" not in logged_with(server, "/a%0A127.0.0.1%20GET%20/forged")


def test_tls_is_refused_in_so_many_words() -> None:
    done = subprocess.run(
        ["gunicorn", "-c", "gunicorn.conf.py", "--certfile", "cert.pem", "--keyfile", "key.pem", "app:create_app()"],
        cwd=ROOT,
        env=environment({"PORT": str(free_port())}),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "Twofold does not serve TLS itself" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reload_reads_new_code_the_hooks_module_included(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "clients").mkdir()
    for name in ("app", "gunicorn.conf.py", "clients/vectors.json"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    port = free_port()
    env = environment({**environ, "PORT": str(port), "WEB_CONCURRENCY": "1"})
    log = tmp_path / "log"
    with log.open("wb") as output:
        web = children.spawn(procfile.command(procfile.lines()["web"]), env=env, directory=tmp_path, output=output)
    try:
        eventually(lambda: health(port) == "ok", START_SECONDS, about=log.read_text)
        web_folder = tmp_path / "app" / "web"
        change(web_folder / "serving.py", "\nWATCH_SECONDS = ", "\nSTATUS = 'new'\nWATCH_SECONDS = ")
        change(web_folder / "probes.py", '{"status": "ok"}', '{"status": serving.STATUS}')
        change(web_folder / "probes.py", "\nimport logging\n", "\nimport logging\nfrom app.web import serving\n")
        web.send_signal(signal.SIGHUP)
        eventually(lambda: health(port) == "new", START_SECONDS, about=log.read_text)
    finally:
        web.terminate()
        assert web.wait(30) == 0


def health(port: int) -> str | None:
    """What the web process says of itself; None while there is none."""
    try:
        return str(requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).json()["status"])
    except (requests.ConnectionError, requests.Timeout, KeyError, ValueError):
        return None


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_start_that_cannot_succeed_is_explained_once_and_fails(environ: dict[str, str]) -> None:
    env = environment({**environ, "PORT": str(free_port()), "WEB_CONCURRENCY": "2", "RETENTION_DAYS": "never"})
    command = procfile.command(procfile.lines()["web"])
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("RETENTION_DAYS is 'never'") == 1
    assert "Traceback" not in done.stderr


def test_a_worker_class_without_greenlets_is_refused_at_the_start(environ: dict[str, str]) -> None:
    env = environment({**environ, "PORT": str(free_port()), "WEB_CONCURRENCY": "2"})
    command = [*procfile.command(procfile.lines()["web"]), "--worker-class", "gthread"]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("Live streams need gevent") == 1
    assert "Traceback" not in done.stderr


def test_the_master_imports_nothing_that_the_workers_have_to_import_themselves() -> None:
    imported = said_by_python("import sys, app.web.serving\nprint(*{name.partition('.')[0] for name in sys.modules})")
    assert {"gunicorn", "app"} <= set(imported.split())
    assert set(imported.split()) & {"flask", "gevent", "prometheus_client", "psycopg", "redis", "sqlalchemy"} == set()


def test_the_first_of_several_processes_reports() -> None:
    claims = said_by_python(
        "import os\nfrom app.web.serving import FirstToReport\nfirst = FirstToReport()\n"
        "child = os.fork() or os._exit(10 + first.claim())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), first.claim(), FirstToReport().claim())"
    )
    assert claims == "11 False True\n"


def said_by_python(program: str) -> str:
    """What a program prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_only_the_folders_of_servers_that_are_gone_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, ours, other = (tmp_path / f"{FIGURES}{name}" for name in (f"{gone.pid}-abc", f"{os.getpid()}-abc", "x-abc"))
    for folder in (left, ours, other, tmp_path / "unrelated"):
        folder.mkdir()
        (folder / "file").write_text("x")
    remove_left_folders(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([ours, other, tmp_path / "unrelated"])


@pytest.mark.parametrize(
    ("limits", "wanted", "then"),
    [((100, 500), 300, 300), ((100, 500), 900, 500), ((400, 500), 300, 400)],
    ids=["raised", "raised to the hard limit", "never lowered"],
)
def test_open_files_are_allowed_as_far_as_the_system_lets_us(limits: tuple[int, int], wanted: int, then: int) -> None:
    soft = said_by_python(
        "import resource\nfrom app.web.serving import allow_open_files\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, {limits})\nallow_open_files({wanted})\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    assert int(soft) == then


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("GET /x?token=abc HTTP/1.1", "GET /x?[redacted] HTTP/1.1"),
        ("'/x?after_seq=1&token=a.b-c' and ?b=2", "'/x?[redacted]' and ?[redacted]"),
        ("what? nothing=here", "what? nothing=here"),
    ],
)
def test_a_query_in_a_line_of_the_log_is_left_out(line: str, shown: str) -> None:
    record = logging.LogRecord("gunicorn.error", logging.ERROR, "file", 1, "%s", (line,), None)
    assert WithoutSecrets("%(message)s").format(record) == shown
