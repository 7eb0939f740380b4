"""What gunicorn does with our processes: starting, reloading, stopping. gunicorn.conf.py hooks it in.

The master imports this module and reloading.py, and nothing else of the product. They import neither flask nor
prometheus_client, which reads its environment when it is imported.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from app.web import one_send, protocol_errors
from app.web.reloading import Generations, ReplacedWorker, may_send_away, serve_until_replaced

if TYPE_CHECKING:
    from app.live.hub import Hub

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # for small files that must not wait for a disk
# With the machine's name: containers may share the memory, and each has process ids of its own.
FIGURES = f"twofold-figures-{platform.node()}-"
OTHER_FILES = 1_000  # of a worker: its connections to PostgreSQL and Redis, its metrics

# A peer that vanished without a word is found after a minute: 30 s of silence, then three probes.
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}

YOUNG_OBJECTS = 5_000  # made and not ended since the last look for cycles, each of which may keep a body until then

ALIVE_SECONDS = 0.5  # gunicorn itself looks once a second whether a process is to end
WATCH_SECONDS = 0.1  # and how often, then, whether its streams may be closed
# For all processes of the old generation to close their listeners: gunicorn looks once a second whether it is to end.
# A process that is stuck keeps the others waiting no longer.
LISTENERS_SECONDS = 5.0
CLOSING_SECONDS = 3.0  # over which a process that ends closes its streams; gunicorn's graceful_timeout is 20
MASTER_SECONDS = 0.05  # how often a worker that cannot start looks whether the master ends it


class FirstToReport:
    """A pipe holding one byte: whoever reads it first may report the error. Made in the master before it forks."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()  # both stay open: without a writer, reading would give an end
        os.write(self._writing, b"!")
        os.set_blocking(self._reading, False)

    def claim(self) -> bool:
        """True for the first process of this server that asks."""
        try:
            return bool(os.read(self._reading, 1))
        except BlockingIOError:
            return False


@dataclass(slots=True)
class MasterState:
    """What the master keeps between hooks. figures: the folder of metrics, if this server has made it."""

    first: FirstToReport
    generations: Generations
    figures: str | None


class Server(Protocol):
    """What is used of gunicorn's master. twofold: set by on_starting()."""

    cfg: Any
    LISTENERS: list[Any]
    twofold: MasterState


class Worker(ReplacedWorker, Protocol):
    """What is used of gunicorn's worker. generations, ready: set by post_fork()."""

    pid: int
    ppid: int
    cfg: Any
    app: Any
    wsgi: Any
    generations: Generations
    ready: Callable[[], None]


def on_starting(server: Server) -> None:
    """Refuse TLS: live frames are written straight to the client's socket, past any TLS layer. Make what the workers
    are to share, the folder of their metrics included: its name has to be known before they import anything."""
    if server.cfg.is_ssl:
        sys.exit("Twofold does not serve TLS itself (streams write to the plain socket). Put a proxy in front of it.")
    figures = None
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        remove_left_folders(Path(MEMORY or tempfile.gettempdir()))
        figures = tempfile.mkdtemp(prefix=f"{FIGURES}{os.getpid()}-", dir=MEMORY)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures
    server.twofold = MasterState(FirstToReport(), Generations(), figures)
    allow_open_files(server.cfg.worker_connections + OTHER_FILES)
    forget_code()


def when_ready(server: Server) -> None:
    """Look for dead peers on every connection: accepted sockets inherit the options of the listening one (tcp(7))."""
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if listener.sock.family in (socket.AF_INET, socket.AF_INET6):
            for name, value in KEEPALIVE.items():
                if hasattr(socket, name):  # macOS, where people develop, has not all of them
                    listener.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def on_reload(server: Server) -> None:
    """SIGHUP: gunicorn.conf.py has been read again, and the new generation of workers is about to be forked."""
    server.twofold.generations.begin(server.cfg.workers)
    forget_code()


def post_fork(server: Server, worker: Worker) -> None:
    """In a new worker: take part in reloads, and end a start that cannot succeed with an explanation."""
    protocol_errors.install()
    one_send.install()
    remember_settings(worker.cfg)
    worker.generations = server.twofold.generations
    worker.ready = serve_until_replaced(worker, server.twofold.generations)
    load = worker.app.load
    worker.app.load = lambda: load_or_explain(worker, load, server.twofold.first)


def remember_settings(cfg: Any) -> None:
    """Have a worker's settings read as plain attributes. gunicorn looks each up in two steps of Python, some thirty
    times for each request; a reload forks new workers with settings of their own."""
    vars(cfg).update({name: setting.get() for name, setting in cfg.settings.items()})


def post_worker_init(worker: Worker) -> None:
    """In a worker that serves now: have its streams closed when it ends, in waves, each with a farewell, and have it
    look at what it takes."""
    import gevent

    gevent.config.track_greenlet_tree = False  # who spawned each greenlet, and where: 700 bytes that nobody looks at
    generations = worker.generations
    worker.wsgi.extensions["twofold.watch"](lambda: worker.alive, lambda: may_send_away(worker, generations))
    worker.wsgi.extensions["twofold.look"]()
    settle_collector()
    worker.ready()


def settle_collector() -> None:
    """Have Python's collector look for cycles among what requests leave behind only, and not each time that some
    hundred objects have been made: what has been loaded stays, and most of what a request makes ends with it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def child_exit(server: Server, worker: Worker) -> None:
    """Take what a worker had at the moment (such as its subscribers) out of the metrics; what it has counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    server.twofold.generations.mark_deaf(worker.age)
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Server) -> None:
    """Remove the folder of metrics, if we have made it. Status 1 if a worker could not load the application."""
    if server.twofold.figures:
        shutil.rmtree(server.twofold.figures, ignore_errors=True)
    if not server.twofold.first.claim():
        sys.exit(1)


def load_or_explain(worker: Worker, load: Callable[[], Any], first: FirstToReport) -> Any:
    """Load the application. What it cannot be served with is explained without a traceback: a setting, a contract file,
    a worker class of gunicorn that has no greenlets.

    gunicorn's own way for this (AppImportError) ends in a traceback as soon as a second worker fails, too. So the first
    worker explains and asks the master to stop, and all of them wait until it stops them.
    """
    from app.contracts.load import ContractFileError
    from app.live.rounds import NoGreenletsError, require_greenlets
    from app.settings import SettingsError

    try:
        require_greenlets()
        return load()
    except (ContractFileError, NoGreenletsError, SettingsError) as error:
        if first.claim():
            print(error, file=sys.stderr, flush=True)
            os.kill(worker.ppid, signal.SIGTERM)
    while worker.alive and os.getppid() == worker.ppid:
        time.sleep(MASTER_SECONDS)
    sys.exit(0)


def remove_left_folders(place: Path) -> None:
    """Remove the folders of metrics that this machine's servers left in `place` when they were killed."""
    for folder in place.glob(f"{FIGURES}*-*"):
        try:
            os.kill(int(folder.name.removeprefix(FIGURES).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):
            pass  # somebody else's, or no folder of ours


def allow_open_files(most: int) -> None:
    """Let each process open so many, as far as the system's hard limit goes: a live connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def forget_code() -> None:
    """Make the master forget that it has imported modules of the product (the hooks that it holds go on working).

    Workers are forks of it: they would have these modules from the time of its start and all others from the disk,
    which after a reload may be another version.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "app"]:
        del sys.modules[name]


Watch = Callable[[Callable[[], bool], Callable[[], bool]], None]


def close_streams_when_stopping(hub: Hub) -> Watch:
    """Returns a function: given is_alive and may_send_away, it closes all streams once the first is false and the
    second true."""

    def watch(is_alive: Callable[[], bool], may_send_away: Callable[[], bool]) -> None:
        def run() -> None:
            while is_alive():
                threading.Event().wait(ALIVE_SECONDS)
            until = time.monotonic() + LISTENERS_SECONDS
            while not may_send_away() and time.monotonic() < until:
                threading.Event().wait(WATCH_SECONDS)
            hub.close_all("restart", CLOSING_SECONDS)

        threading.Thread(target=run, name="watch", daemon=True).start()

    return watch
