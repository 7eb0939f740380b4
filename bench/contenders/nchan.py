"""nginx with nchan (Debian: nginx, libnginx-mod-nchan): what fan-out is held against."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.contenders.contender import Contender
from bench.programs import BenchError
from bench.stand import Engines, Running, environment

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
MISSING = "nchan is not here (apt-get install nginx libnginx-mod-nchan)"
# One worker, as FACTS of others have it; messages in memory, as many as a viewer may be behind.
CONFIGURATION = """
load_module {module};
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
worker_processes 1;
worker_rlimit_nofile 30000;
events {{ worker_connections 15000; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 100000000;
  nchan_shared_memory_size 256m;
  server {{
    listen 127.0.0.1:{port};
    location = /healthz {{ return 200 ok; }}
    location ~ /v1/events/(.+)$ {{
      nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 1000; nchan_message_timeout 1m;
    }}
    location ~ /v1/streams/[^/]+/([^/]+)/live$ {{
      nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


def is_here() -> bool:
    """Whether it is installed."""
    return MODULE.exists() and shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin") is not None


class Nchan(Contender):
    """One nginx with one worker; events are posted to /v1/events/STREAM."""

    name = "nchan"

    def __init__(self, engines: Engines) -> None:
        super().__init__(engines)
        if not is_here():
            raise BenchError(MISSING)
        directory = engines.directory / "nchan"
        directory.mkdir(exist_ok=True)
        file = directory / "nginx.conf"
        file.write_text(CONFIGURATION.format(module=MODULE, directory=directory, port=self.port))
        command = ["/bin/sh", "-c", f"PATH=$PATH:/usr/sbin exec nginx -c {file} -p {directory}"]
        self.processes["web"] = Running("nchan", command, environment({}), engines.directory / "nchan.log")
        self.processes["web"].wait_for(f"{self.base_url}/healthz")

    def kinds(self) -> dict[str, list[int]]:
        """It uses no engine."""
        return {"web": [self.processes["web"].pid]}
