"""The scenarios, as data. Those of one build stand together: they are tried at one product while all goes well."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from app.failpoints import POINTS
from tests.acceptance.another_server import BACKUP, REPLICA
from tests.chaos import (
    everything,
    fail_over,
    kills,
    lanes,
    namespaces,
    postgres_faults,
    redis_faults,
    releases,
    rows,
    ticker,
    times,
)
from tests.chaos.product import HOUR_SECONDS, Build
from tests.chaos.stage import Scenario

RELAYED = Build(relays=True)
LONG_ATTEMPTS = Build(settings=(("SEND_TOTAL_SECONDS", "15"), ("LEASE_SECONDS", "20")))
NO_COMPILER = "" if shutil.which("cc") else "there is no C compiler (cc) to build a library that shifts clocks"
NO_MOUNT = "" if os.geteuid() == 0 and shutil.which("mount") else "a small disk cannot be mounted without being root"

# For those who must not wait for the end of a fault: less than that lasts (12 s, and 26 s where processes are frozen).
UNNOTICED, TAKEN_OVER = 10.0, 20.0


def _kills() -> list[Scenario]:
    return [
        Scenario("web child killed", "SIGKILL for one of gunicorn's workers", kills.kill_web_child, short=True),
        Scenario("web killed", "SIGKILL for gunicorn and all its workers, started again", kills.kill_web, share=0.2),
        Scenario("pool child killed", "SIGKILL for one of Celery's processes", kills.kill_pool_child, short=True),
        Scenario(
            "worker killed", "SIGKILL for Celery and its pool, started again", kills.kill_worker, share=0.4, short=True
        ),
        Scenario(
            "worker parent killed",
            "SIGKILL for Celery's parent alone, started again",
            kills.kill_worker_parent,
            share=0.4,
        ),
        *(
            Scenario(f"killed at {point}", f"SIGKILL {about}", kills.killed_at(point), failpoint=True, short=True)
            for point, about in POINTS.items()
        ),
        *(
            Scenario(
                f"frozen at {point}",
                f"SIGSTOP beyond the lease {POINTS[point]}",
                kills.frozen_at(point),
                failpoint=True,
                share=0.1,
                short=point == "drain.claimed",
            )
            for point in ("drain.claimed", "drain.answered")
        ),
        Scenario(
            "frozen at drain.commit",
            f"SIGSTOP for 26 s {POINTS['drain.commit']}",
            kills.frozen_at("drain.commit", kills.LONG_FROZEN_SECONDS),
            within_seconds=TAKEN_OVER,
            failpoint=True,
            share=0.1,
        ),
        Scenario(
            "pool child frozen",
            "SIGSTOP for one of Celery's processes beyond the lease",
            kills.freeze_pool_child,
            share=0.2,
        ),
        Scenario(
            "pool frozen", "SIGSTOP for all of them, for 26 s", kills.freeze_pool, within_seconds=TAKEN_OVER, share=0.2
        ),
        Scenario("rolling restart", "SIGHUP with viewers", kills.reload_web, share=0.4, feed=True),
    ]


def _in_order() -> list[Scenario]:
    """Endpoints keep the order of each stream."""
    return [
        Scenario("lanes: pool child killed", "SIGKILL, order is kept", kills.kill_pool_child, short=True, ordered=True),
        Scenario(
            "lanes: worker killed", "the same for Celery and its pool", kills.kill_worker, share=0.4, ordered=True
        ),
        *(
            Scenario(
                f"lanes: killed at {point}",
                f"SIGKILL {POINTS[point]}, order is kept",
                kills.killed_at(point),
                share=0.5,
                failpoint=True,
                ordered=True,
            )
            for point in ("drain.commit", "drain.claimed", "drain.answered")
        ),
        Scenario(
            "lanes: pool child frozen",
            "SIGSTOP for one of Celery's processes beyond the lease, order is kept",
            kills.freeze_pool_child,
            share=0.2,
            short=True,
            ordered=True,
        ),
        Scenario(
            "lane blocked",
            "an event of one stream is refused for 6 s, and its stream waits; all others measured",
            lanes.block_lane,
            within_seconds=UNNOTICED,
            share=0.4,
            short=True,
            ordered=True,
        ),
    ]


def _feed() -> list[Scenario]:
    """The feed is read; or readers of all kinds have another database under them."""
    return [
        Scenario(
            "ticker killed",
            "SIGKILL for the web process that makes the feed's ticks, or its connection ended, each 2 s, 4 times,"
            " beside a transaction that stays open",
            ticker.kill,
            share=0.4,
            short=True,
            feed=True,
        ),
        Scenario(
            "replica promoted",
            "PostgreSQL killed, and the replica that follows it takes over; viewers, readers of the feed, a consumer",
            fail_over.fail_over(REPLICA),
            share=0.2,
            short=True,
        ),
        Scenario(
            "backup restored",
            "PostgreSQL killed, and a backup that lacks its last seconds takes over; the same readers",
            fail_over.fail_over(BACKUP),
            share=0.2,
            short=True,
        ),
    ]


def _redis() -> list[Scenario]:
    return [
        Scenario("redis refused", "Redis away for 6 s, then empty", redis_faults.refuse, share=0.4, short=True),
        Scenario("redis restarted", "Redis restarted at once, empty", redis_faults.restart_empty, short=True),
        Scenario("redis frozen", "SIGSTOP for 8 s", redis_faults.freeze, share=0.2),
        Scenario("redis flushed", "FLUSHALL 15 times in 3 s", redis_faults.flush, share=0.4),
        Scenario("redis full", "maxmemory reached, noeviction, for 5 s", redis_faults.fill, share=0.4, short=True),
    ]


def _rows() -> list[Scenario]:
    return [
        Scenario(
            "stream locked",
            "one stream's row locked for 12 s; all others measured",
            rows.lock_stream,
            within_seconds=UNNOTICED,
            share=0.2,
            short=True,
        ),
        Scenario(
            "deliveries locked",
            "one endpoint's pending rows locked for 12 s; the other workspace measured",
            rows.lock_deliveries,
            within_seconds=UNNOTICED,
            share=0.2,
            short=True,
        ),
        Scenario(
            "endpoint locked",
            "an endpoint's row locked for 12 s; the other workspace measured",
            rows.lock_endpoint,
            within_seconds=UNNOTICED,
            share=0.2,
        ),
        Scenario("poison row", "a delivery that kills each process that sends it", rows.poison, share=0.2),
        Scenario(
            "damaged headers",
            "an endpoint's sealed headers are a list",
            rows.damage_headers,
            within_seconds=UNNOTICED,
            share=0.2,
        ),
        Scenario("damaged rates", "rate limits 0, −1 and NaN", rows.damage_rates, within_seconds=UNNOTICED, share=0.2),
    ]


def _postgres() -> list[Scenario]:
    return [
        Scenario("postgres restarted", "fast shutdown and start", postgres_faults.restart, short=True),
        Scenario("postgres killed", "SIGKILL and start", postgres_faults.crash, short=True, feed=True),
        Scenario(
            "connections terminated",
            "pg_terminate_backend for all, 10 times in 2 s",
            postgres_faults.terminate,
            short=True,
        ),
        Scenario("postgres frozen", "SIGSTOP for all its processes for 20 s", postgres_faults.freeze, share=0.2),
        Scenario(
            "postgres read-only",
            "default_transaction_read_only for 5 s",
            postgres_faults.read_only,
            share=0.4,
            short=True,
        ),
        Scenario("out of connections", "all taken by others for 5 s", postgres_faults.crowd_out, share=0.2),
    ]


def _relayed() -> list[Scenario]:
    scenarios = [
        Scenario(
            "commits of events cut",
            "the answer to COMMIT of events lost with its connection, 10 times",
            postgres_faults.cut_commits("web"),
            short=True,
        ),
        Scenario(
            "commits of outcomes cut",
            "the answer to COMMIT of outcomes lost with its connection, 10 times",
            postgres_faults.cut_commits("worker"),
            short=True,
        ),
        Scenario("postgres black-holed", "nothing passes for 8 s", postgres_faults.black_hole, share=0.2, short=True),
        Scenario(
            "connections fall silent",
            "open connections to PostgreSQL carry nothing any more",
            postgres_faults.fall_silent,
            share=0.2,
        ),
        Scenario(
            "acknowledgements lost",
            "3 of Celery's acknowledgements lost, each with its connection to Redis",
            redis_faults.lose_acknowledgements,
            share=0.4,
        ),
        Scenario("redis connections cut", "15 times in 3 s", redis_faults.cut, share=0.2),
        Scenario("redis black-holed", "nothing passes for 8 s", redis_faults.black_hole, share=0.2),
        Scenario("redis black-holed again and again", "for 6 s, 4 times", redis_faults.black_holes, share=0.1),
        Scenario("everything at once", "all of this by chance for 20 s", everything.everything, share=0.4, short=True),
        Scenario(
            "everything at once, in order",
            "the same with endpoints that keep order and readers of the feed",
            everything.everything,
            share=0.4,
            ordered=True,
            feed=True,
        ),
        Scenario(
            "lanes: commits of outcomes cut",
            "the answer to COMMIT lost with its connection, 10 times, order is kept",
            postgres_faults.cut_commits("worker"),
            share=0.4,
            ordered=True,
        ),
    ]
    return [_with(scenario, RELAYED) for scenario in scenarios]


def _others() -> list[Scenario]:
    return [
        Scenario(
            "endpoints hang",
            "500 endpoints begin to hang at once; the others measured",
            rows.hang,
            within_seconds=UNNOTICED,
            build=LONG_ATTEMPTS,
            share=0.2,
        ),
        Scenario(
            "a day of failure",
            "24 hours of 500s by moving rows' times; one customer recovers for the last attempt",
            times.day_of_failure,
            build=times.DAY,
            share=0.2,
            excused=("window_exhausted",),
        ),
        Scenario(
            "housekeeping ahead",
            "housekeeping with a clock 120 days ahead",
            times.keep_house_ahead,
            share=0.2,
            impossible=NO_COMPILER,
        ),
        Scenario(
            "web an hour behind",
            "the clock of web is an hour behind",
            times.go_on,
            build=Build(web_clock=-HOUR_SECONDS),
            share=0.2,
            impossible=NO_COMPILER,
        ),
        Scenario(
            "worker an hour ahead",
            "the clock of the workers is an hour ahead",
            times.go_on,
            build=Build(worker_clock=HOUR_SECONDS),
            share=0.2,
            impossible=NO_COMPILER,
        ),
        Scenario(
            "one of each cut off",
            "two web and two worker processes; one of each, in network namespaces of their own, cut off for 12 s",
            namespaces.cut_off,
            share=0.2,
            impossible=namespaces.why_impossible(),
        ),
        Scenario(
            "disk full",
            "PostgreSQL's disk full for 5 s",
            postgres_faults.fill_disk,
            build=Build(small_disk=True),
            share=0.2,
            impossible=NO_MOUNT,
        ),
    ]


def scenarios(release: str) -> list[Scenario]:
    """All of them. release: a git revision to run beside this one, "" for none."""
    no_release = "" if release else "git knows no older release"
    return [
        *_kills(),
        *_in_order(),
        *_feed(),
        *_redis(),
        *_rows(),
        *_postgres(),
        Scenario(
            "old and new release",
            f"web and worker of {release or 'an older release'} beside this one's, which then go",
            releases.side_by_side,
            share=0.2,
            impossible=no_release,
        ),
        *_relayed(),
        *_others(),
    ]


def _with(scenario: Scenario, build: Build) -> Scenario:
    return replace(scenario, build=build)
