"""The command line: `twofold …`, one file for each command or group of commands. docs/cli.md is its users' page.

Rule: a command reads its options, calls one thing that does the work, and prints; the work is done elsewhere. A file
imports what takes long (SQLAlchemy, requests, Flask) inside its functions, so that help and completion are quick.
It promises:
  - A failure is one line on standard error and an exit status of its cause (command.py). A missing package is named.
  - `--json` prints one object on each line; without a terminal, output is plain.
  - A key goes to the server that it was given for, and to no other.
  - `migrate`, `web`, `worker` and `beat` are the Procfile's lines, in a checkout and from a wheel: the process becomes
    the program, so that its signals and its exit status are the program's.
Who may import it: nobody; it may import everything but `demo`. Each file has `commands`, by which lazy.py finds them.

main.py lazy.py       finds the command, explains a failure
processes.py up.py    migrate, web, worker, beat; the whole product on this machine
publish.py            sends events · event_lines.py  reads them · publishing.py  repeats until they are stored
tail.py listen.py zoo.py     what is received
events.py streams.py endpoints.py deliveries.py feed.py consumers.py lanes.py   looking and repairing, over HTTP
doctor.py             what is wrong · checkup.py  PostgreSQL, Redis, clocks, workers · trial.py  a test delivery
workspaces.py keys.py users.py partitions.py      what an operator makes
profile.py profiles.py completion.py              servers to work with; shells
command.py api.py database.py shown.py options.py moment.py   what these share
"""
