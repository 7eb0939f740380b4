"""What Twofold costs, and beside what: loads as data, a load generator of its own, one table. `make bench` is this.

The product is seen from outside alone: HTTP, the CPU of its processes, what PostgreSQL tells. So the same bench runs
against any tree of it (`TREE=…`).
"""
