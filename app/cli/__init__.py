"""The command line: `twofold …`, one file for each group of commands.

Rule: a command reads its options, calls what does the work, and prints; the work is done elsewhere. Settings come from
the environment, as for every other process.
It promises:
  - Exit status 0, or 1 and one line on standard error that says what is wrong. A missing package is named.
  - `migrate`, `web`, `worker` and `beat` are the Procfile's lines, in a checkout and from a wheel: the process becomes
    the program, so that its signals and its exit status are the program's.
Who may import it: nobody; it may import everything but `demo`. Each file has add(commands), which main.py calls.

main.py        finds the command, explains a failure
processes.py   migrate, web, worker, beat
dev.py         the whole product on this machine
listen.py      a receiver that prints webhooks
keys.py users.py workspaces.py partitions.py   what an operator makes in the database
command.py database.py                what these share
"""
