"""gunicorn for what is measured beside the product: gunicorn.conf.py's settings without hooks and access log."""

import os

bind = f"127.0.0.1:{os.environ['PORT']}"
workers = int(os.environ.get("WEB_CONCURRENCY") or min(4, os.cpu_count() or 1))
worker_class = "gevent"
worker_connections = 12_000
backlog = 2048
http_parser = "auto"
timeout = 30
graceful_timeout = 2
keepalive = 5
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
control_socket_disable = True
errorlog = "-"
