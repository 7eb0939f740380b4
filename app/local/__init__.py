"""`make run`: the whole product on one machine, with its own PostgreSQL and Redis.

Rule: for development, trying out and tests. Production runs the Procfile's lines under a supervisor of its own, and
needs of this folder only procfile.py.
It promises:
  - All files of a run are in one directory (var/), and one run uses it at a time.
  - Whatever dies is started again; when the run ends, however it ends, nothing that it started goes on (on Linux at
    once, elsewhere at the next run).
  - The environment decides: a DATABASE_URL or REDIS_URL that is set is used instead of an embedded engine.
  - The modes of folders that others made stay as they are.
Who may import it: `cli` and the tests. One thread drives a run; only the console has another, which writes.

run.py          a run from its lock to the last child's end
place.py        its directory, address and environment
procfile.py     the Procfile's lines
supervisor.py   keeps processes alive · children.py launch.py  start and end them · console.py  prints their lines
embedded/       PostgreSQL and Redis · unprivileged.py  PostgreSQL when we are root
keys.py private_file.py run_lock.py stopping.py welcome.py
"""
