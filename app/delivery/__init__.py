"""Delivers events to everyone who registered: webhooks, at least once, tried for 24 hours.

An accepted event has a delivery row for each endpoint that wants it, and a row in `due` for as long as that is pending,
committed with the event itself. The rows of `due` are the queue. The way of one: `wake` rings the `doorbell` at which
the `drain` waits; that asks, in one call of a function of the database (`round_calls`), for what `claims` and `grants`
say, `sending` makes the requests, and the next call records what `outcomes` has decided about each (`attempts` are what
is logged); `endpoint_health` disables endpoints that are gone, and `cancelling` ends what waits for one that is
disabled or deleted. `endpoints` and `deliveries` are what people register and change, by `endpoint_rules` and into
`endpoint_rows`; `endpoint_history` is what an endpoint has been, `missed` what a recovery brings. `reads` is the
delivery log, `live_log` the same log as it happens, `lane_reads` what stands still in order.

What holds:
* A row is sent by the drain that holds its lease, and by no other while the lease lasts. A drain that dies costs its
  rows that time; an event may then arrive twice, always with the same webhook-id and bytes.
* Every attempt is in the log. No outcome leads out of a terminal state; only a person's retry or recovery does.
* An endpoint that hangs, fails or has much waiting does not delay another one's first attempt.
* Redis is a doorbell. Without it nothing is lost or wrong, only a second later.
* Times of day are the database's, in-process deadlines the monotonic clock's.
* Whoever waits for locks takes them in one order: a workspace, its endpoint, the deliveries; rows of a table by id.
  Claims and health updates skip what is locked instead.

Row modules (all but those named next) know the database, and nothing of flask, Celery, Redis or libcurl; their
functions work in the caller's transaction. Connections to others (sending, wake, doorbell, live_log)
know nothing of the database. Only the drain knows both.

Imported by `web`, `workers` and what lies above them; never by `live`, which is the other delivery. Row modules may be
used from any thread or greenlet, each with its own transaction. A `Wake` may be shared by threads, greenlets and forks,
a `LogReader` by threads and greenlets. `Drain`, `Doorbell`, `Sender` and `LogTeller` belong to one thread of one
process, and are made after the fork.
"""
