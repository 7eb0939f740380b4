"""How the web process is served. Everything that may differ between machines comes from the environment.

PORT (8000) and HOST (127.0.0.1), or BIND ("host:port", "unix:/path"); WEB_CONCURRENCY (one a core, at most 4).
"""

import os

from app.web import access_log, serving

bind = os.environ.get("BIND") or f"{os.environ.get('HOST') or '127.0.0.1'}:{os.environ.get('PORT') or '8000'}"
workers = int(os.environ.get("WEB_CONCURRENCY") or min(4, os.cpu_count() or 1))
worker_class = "gevent"
worker_connections = 12_000  # per worker: 10,000 streams and room for ordinary requests
backlog = 2048
http_parser = "auto"  # the C parser (gunicorn_h1c) where it is installed

timeout = 30  # a worker whose event loop stands still this long is replaced
graceful_timeout = 20  # streams say good-bye in waves within it
keepalive = 5  # idle connections; a graceful stop waits for them to pass
limit_request_line = 8190  # a URL with a stream token is about 500 bytes
limit_request_fields = 100
limit_request_field_size = 8190
worker_tmp_dir = serving.MEMORY  # of the heartbeat file
control_socket_disable = True  # its default path is one for all servers of a user

logger_class = access_log.Logger
errorlog = "-"
accesslog = "-"
# %(U)s: the path, without the query; %(i)s: the trace id. With LOG_FORMAT=json, access_log.ACCESS names the members.
access_log_format = '%(t)s %(h)s %(m)s %(U)s %(s)s %(B)s %(M)sms %(i)s "%(a)s"'

on_starting = serving.on_starting
when_ready = serving.when_ready
on_reload = serving.on_reload
post_fork = serving.post_fork
post_worker_init = serving.post_worker_init
child_exit = serving.child_exit
on_exit = serving.on_exit
