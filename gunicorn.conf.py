"""How the web process is served. Everything that may differ between machines comes from the environment.

PORT (8000) and HOST (127.0.0.1), or BIND ("host:port", "unix:/path"); WEB_CONCURRENCY (one a core, at most 4).
"""

import logging
import mmap
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time

from gunicorn import glogging

# A query string may carry a stream token. It appears in no log: the access log has the path alone, and this takes it
# out of gunicorn's own error lines, tracebacks included.
QUERY = re.compile(r"\?[\w.~%+-]+=[^\s\"'<>]*")


class WithoutQuery(logging.Formatter):
    """A formatter whose finished lines hold no query string."""

    def format(self, record: logging.LogRecord) -> str:
        return QUERY.sub("?[redacted]", super().format(record))


class Logger(glogging.Logger):
    """gunicorn's logger; its error log goes through WithoutQuery."""

    def setup(self, cfg):
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(WithoutQuery(self.error_fmt, self.datefmt))

    def atoms(self, resp, req, environ, request_time):
        found = super().atoms(resp, req, environ, request_time)
        found["U"] = environ["RAW_URI"].partition("?")[0]  # as sent: a decoded path could forge log lines with %0A
        return found


def on_starting(server):
    """Refuse TLS here: live frames are written straight to the client's socket, past any TLS layer. Make the folder in
    which the workers join their figures: it has to be known before they import anything."""
    if server.cfg.is_ssl:
        sys.exit("Twofold does not serve TLS itself (streams write to the plain socket). Put a proxy in front of it.")
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        remove_left_folders()
        server.figures = tempfile.mkdtemp(prefix=f"{FIGURES}{os.getpid()}-", dir=MEMORY)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = server.figures
    server.word = word_of_one()
    server.shift = mmap.mmap(-1, mmap.PAGESIZE)
    allow_open_files(worker_connections + OTHER_FILES)


def remove_left_folders():
    """Remove the folders of figures of this machine's servers that were killed."""
    for folder in pathlib.Path(MEMORY or tempfile.gettempdir()).glob(f"{FIGURES}*-*"):
        try:
            os.kill(int(folder.name.removeprefix(FIGURES).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):
            pass  # somebody else's, or no folder of ours


def on_reload(server):
    """SIGHUP: a new shift of workers begins (SHIFT: its number, how many they are to be; then one byte for each)."""
    number = SHIFT.unpack_from(server.shift)[0] + 1
    server.shift[:] = bytes(len(server.shift))
    SHIFT.pack_into(server.shift, 0, number, server.cfg.workers)


def overlap(server, worker):
    """Let a worker of the old shift serve on until the new one does.

    gunicorn sends SIGTERM to the old workers as soon as the new ones are forked, some seconds before those can serve.
    """
    own = SHIFT.unpack_from(server.shift)[0]
    stop = worker.handle_exit

    def relieved():
        number, needed = SHIFT.unpack_from(server.shift)
        return number == own or sum(server.shift[SHIFT.size :]) >= needed

    def wait():
        import gevent

        until = time.monotonic() + OVERLAP_SECONDS
        while not relieved() and time.monotonic() < until:
            gevent.sleep(0.1)
        worker.alive = False

    def handle_exit(sig, frame):
        import gevent

        worker.handle_exit = stop
        signal.signal(signal.SIGTERM, stop)  # asked twice, it goes at once
        gevent.spawn(wait)

    worker.handle_exit = handle_exit
    worker.relieve = lambda: server.shift.__setitem__(SHIFT.size + worker.age % (mmap.PAGESIZE - SHIFT.size), 1)


def child_exit(server, worker):
    """Take what a worker had at the moment (such as its subscribers) out of the figures; what it has counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(server):
    """Remove the folder of figures, if we have made it. Status 1 if a worker could not load the application."""
    if hasattr(server, "figures"):
        shutil.rmtree(server.figures, ignore_errors=True)
    if not first_to(server.word):
        sys.exit(1)


def post_fork(server, worker):
    """Let a setting or a contract file that cannot be used end the start with its explanation, not a traceback.

    gunicorn's own way for this (AppImportError) ends in a traceback as soon as a second worker fails, too. So the first
    worker explains and asks the master to stop, and all of them wait for the master's word.
    """
    overlap(server, worker)
    load = worker.app.load

    def load_or_explain():
        from app.contracts.load import ContractFileError
        from app.settings import SettingsError

        try:
            return load()
        except (ContractFileError, SettingsError) as error:
            if first_to(server.word):
                print(error, file=sys.stderr, flush=True)
                os.kill(worker.ppid, signal.SIGTERM)
        while worker.alive and os.getppid() == worker.ppid:
            time.sleep(0.05)
        sys.exit(0)

    worker.app.load = load_or_explain


def first_to(word):
    """Whether no process of this server has taken the word before."""
    try:
        return bool(os.read(word, 1))
    except BlockingIOError:
        return False


def word_of_one():
    """A pipe's end that gives one byte, once, to whichever process of this server reads first."""
    reading, writing = os.pipe()
    os.write(writing, b"!")
    os.set_blocking(reading, False)
    return reading  # the other end stays open: a closed one would read as an end, not as "nothing left"


def allow_open_files(most):
    """Let each process open so many, as far as the system's hard limit goes: a live connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def post_worker_init(worker):
    """Tell the application when its process is to end, so that streams are closed in waves, each with a farewell."""
    worker.wsgi.extensions["twofold.watch"](lambda: worker.alive)
    worker.relieve()


MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # for small files that must not wait for a disk
# With the machine's name: containers may share the memory, and each has process ids of its own.
FIGURES = f"twofold-figures-{platform.node()}-"
SHIFT = struct.Struct("II")
OVERLAP_SECONDS = 14  # then the old workers go anyhow, within the master's patience (graceful_timeout)
OTHER_FILES = 1_000  # of a worker: its connections to PostgreSQL and Redis, its figures

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
worker_tmp_dir = MEMORY  # of the heartbeat file
control_socket_disable = True  # its default path is one for all servers of a user

logger_class = Logger
errorlog = "-"
accesslog = "-"
access_log_format = '%(h)s %(m)s %(U)s %(s)s %(B)s %(M)sms "%(a)s"'  # %(U)s: the path, without the query
