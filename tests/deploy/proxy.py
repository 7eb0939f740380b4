"""nginx with deploy/nginx/twofold.conf, on a port of this machine, before web servers that the tests name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT, eventually, free_port

NGINX = "/usr/sbin/nginx"
EXAMPLE = ROOT / "deploy" / "nginx" / "twofold.conf"
AROUND = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running nginx. certificate: of the authority to trust. log: its access log."""

    base_url: str
    certificate: Path
    log: Path


@contextmanager
def proxied(folder: Path, ports: Sequence[str]) -> Iterator[Proxy]:
    """nginx before the web servers at these ports of this machine."""
    port, certificate, key = free_port(), folder / "twofold.pem", folder / "twofold.key"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"]
    subprocess.run([*make, *names, "-keyout", str(key), "-out", str(certificate)], capture_output=True, check=True)
    configuration = folder / "nginx.conf"
    configuration.write_text(AROUND.format(folder=folder, site=_site(folder, port, certificate, key, ports)))
    command = [NGINX, "-p", str(folder), "-c", str(configuration)]
    with (folder / "out").open("wb") as output:
        run = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        eventually((folder / "nginx.pid").exists, 20, about=(folder / "out").read_text)
        yield Proxy(f"https://127.0.0.1:{port}", certificate, folder / "access.log")
    finally:
        run.terminate()
        run.wait(20)


def _site(folder: Path, port: int, certificate: Path, key: Path, ports: Sequence[str]) -> str:
    """The example with the places of this test: nothing else of it is changed."""
    changes = {
        r"server 127\.0\.0\.1:8000;": " ".join(f"server 127.0.0.1:{one};" for one in ports),
        r"listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        r"server_name events\.example\.com;": "server_name localhost;",
        r"/etc/ssl/twofold\.pem": str(certificate),
        r"/etc/ssl/private/twofold\.key": str(key),
        r"/var/log/nginx/twofold\.log": str(folder / "access.log"),
    }
    text = EXAMPLE.read_text()
    for old, new in changes.items():
        text, found = re.subn(old, new, text)
        assert found == 1, old
    return text
