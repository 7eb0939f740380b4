"""The contracts: one TOML file for each stream API that is served, and what loads them.

A contract is data: its paths, credentials, frames, heartbeat, replay and errors. A file in CONTRACTS_DIR adds another
without any Python. docs/contracts.md teaches the format; app.core.contract reads and checks it.

It promises:
  - A file that cannot be used stops the start, with the file's name, the line and what is wrong.
  - A path belongs to one contract, and none takes a path of Twofold's own.
  - Checking a payload never touches the network, and never raises: a schema that cannot be applied is logged once.

It imports core only. web may import it, and so may local, which checks the files before it starts anything. What is
loaded does not change; any number of requests may use it at once.
"""
