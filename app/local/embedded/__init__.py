"""A real PostgreSQL and a real Redis as children of this process, each with its files in one directory.

    engine = EmbeddedPostgres(directory)
    url = engine.start()
    engine.stop()

Rule: for `make run` and the tests; production has its own. Both listen on 127.0.0.1 alone, on a port that is chosen
once and then kept, with a generated password, so that psql and redis-cli can look in.
Promises: an engine ends with the process that started it, however that ends; a start finds and ends what a killed one
left; PostgreSQL's data survive; the mode of a folder that was there before is not changed.
Who may import it: app.local and the tests. One thread at a time.
"""

from app.local.embedded.postgres import EmbeddedPostgres
from app.local.embedded.redis import EmbeddedRedis
from app.local.embedded.server import EmbeddedError, EmbeddedServer

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedRedis", "EmbeddedServer"]
