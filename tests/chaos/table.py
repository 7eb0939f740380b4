"""The scenarios, as data. Those of one build stand together: they are tried at one product while all goes well."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from app.failpoints import POINTS
from tests.chaos import everything, kills, postgres_faults, redis_faults, releases, rows, times
from tests.chaos.product import HOUR_SECONDS, Build
from tests.chaos.stage import Scenario

RELAYED = Build(relays=True)
LONG_ATTEMPTS = Build(settings=(("SEND_TOTAL_SECONDS", "15"), ("LEASE_SECONDS", "20")))
NO_COMPILER = "" if shutil.which("cc") else "there is no C compiler (cc) to build a library that shifts clocks"
NO_MOUNT = "" if os.geteuid() == 0 and shutil.which("mount") else "a small disk cannot be mounted without being root"

# What a recovery may take, on a machine that is busy with other things, too: somebody who must not notice a fault; a
# process that is started again, or a lost claim that waits for the end of its lease (5 s here); deliveries for which no
# process works, which another one takes up after 10 s.
QUICK, RESTARTED, LEASED, ALONE = 8.0, 16.0, 16.0, 20.0


def _kills() -> list[Scenario]:
    return [
        Scenario("web child killed", "SIGKILL for one of gunicorn's workers", kills.kill_web_child, RESTARTED),
        Scenario(
            "web killed",
            "SIGKILL for gunicorn and all its workers, started again",
            kills.kill_web,
            RESTARTED,
            share=0.6,
        ),
        Scenario("pool child killed", "SIGKILL for one of Celery's processes", kills.kill_pool_child, LEASED),
        Scenario(
            "worker killed", "SIGKILL for Celery and its pool, started again", kills.kill_worker, LEASED, share=0.6
        ),
        Scenario(
            "worker parent killed",
            "SIGKILL for Celery's parent alone, started again",
            kills.kill_worker_parent,
            LEASED,
            share=0.4,
        ),
        *(
            Scenario(
                f"killed at {point}",
                f"SIGKILL {about}",
                kills.killed_at(point),
                LEASED if point.startswith("drain.") else RESTARTED,
                failpoint=True,
            )
            for point, about in POINTS.items()
        ),
        *(
            Scenario(
                f"frozen at {point}",
                f"SIGSTOP beyond the lease {POINTS[point]}",
                kills.frozen_at(point),
                LEASED,
                failpoint=True,
                share=0.3,
            )
            for point in ("drain.claimed", "drain.answered")
        ),
        Scenario(
            "frozen at drain.commit",
            f"SIGSTOP for 26 s {POINTS['drain.commit']}",
            kills.frozen_at("drain.commit", kills.LONG_FROZEN_SECONDS),
            ALONE,
            failpoint=True,
            share=0.2,
        ),
        Scenario(
            "pool child frozen",
            "SIGSTOP for one of Celery's processes beyond the lease",
            kills.freeze_pool_child,
            LEASED,
            share=0.4,
        ),
        Scenario("pool frozen", "SIGSTOP for all of them, for 26 s", kills.freeze_pool, ALONE, share=0.4),
        Scenario("rolling restart", "SIGHUP with viewers", kills.reload_web, RESTARTED, share=0.6),
    ]


def _redis() -> list[Scenario]:
    return [
        Scenario("redis refused", "Redis away for 6 s, then empty", redis_faults.refuse, ALONE, share=0.6),
        Scenario("redis restarted", "Redis restarted at once, empty", redis_faults.restart_empty, RESTARTED),
        Scenario("redis frozen", "SIGSTOP for 8 s", redis_faults.freeze, ALONE, share=0.4),
        Scenario("redis flushed", "FLUSHALL 15 times in 3 s", redis_faults.flush, QUICK, share=0.6),
        Scenario("redis full", "maxmemory reached, noeviction, for 5 s", redis_faults.fill, ALONE, share=0.6),
    ]


def _rows() -> list[Scenario]:
    return [
        Scenario(
            "stream locked", "one stream's row locked for 12 s; all others measured", rows.lock_stream, QUICK, share=0.4
        ),
        Scenario(
            "deliveries locked",
            "one endpoint's pending rows locked for 12 s; the other workspace measured",
            rows.lock_deliveries,
            QUICK,
            share=0.4,
        ),
        Scenario(
            "endpoint locked",
            "an endpoint's row locked for 12 s; the other workspace measured",
            rows.lock_endpoint,
            QUICK,
            share=0.4,
        ),
        Scenario("poison row", "a delivery that kills each process that sends it", rows.poison, ALONE, share=0.2),
        Scenario("damaged headers", "an endpoint's sealed headers are a list", rows.damage_headers, QUICK, share=0.4),
        Scenario("damaged rates", "rate limits 0, −1 and NaN", rows.damage_rates, QUICK, share=0.4),
    ]


def _postgres() -> list[Scenario]:
    return [
        Scenario("postgres restarted", "fast shutdown and start", postgres_faults.restart, RESTARTED),
        Scenario("postgres killed", "SIGKILL and start", postgres_faults.crash, RESTARTED),
        Scenario(
            "connections terminated", "pg_terminate_backend for all, 10 times in 2 s", postgres_faults.terminate, LEASED
        ),
        Scenario(
            "postgres frozen", "SIGSTOP for all its processes for 20 s", postgres_faults.freeze, LEASED, share=0.2
        ),
        Scenario(
            "postgres read-only", "default_transaction_read_only for 5 s", postgres_faults.read_only, LEASED, share=0.6
        ),
        Scenario("out of connections", "all taken by others for 5 s", postgres_faults.crowd_out, LEASED, share=0.6),
    ]


def _relayed() -> list[Scenario]:
    scenarios = [
        Scenario(
            "commits of events cut",
            "the answer to COMMIT lost, 10 times in 2 s, in web",
            postgres_faults.cut_commits_of_events,
            RESTARTED,
        ),
        Scenario(
            "commits of outcomes cut",
            "the answer to COMMIT lost, 10 times in 2 s, in workers",
            postgres_faults.cut_commits_of_outcomes,
            LEASED,
        ),
        Scenario("postgres black-holed", "nothing passes for 8 s", postgres_faults.black_hole, LEASED, share=0.6),
        Scenario(
            "connections fall silent",
            "open connections to PostgreSQL carry nothing any more",
            postgres_faults.fall_silent,
            ALONE,
            share=0.4,
        ),
        Scenario(
            "acknowledgements lost",
            "5 of Celery's acknowledgements lost, each with its connection to Redis",
            redis_faults.lose_acknowledgements,
            ALONE,
            share=0.6,
        ),
        Scenario("redis connections cut", "15 times in 3 s", redis_faults.cut, ALONE, share=0.6),
        Scenario("redis black-holed", "nothing passes for 8 s", redis_faults.black_hole, ALONE, share=0.4),
        Scenario("redis black-holed again and again", "for 6 s, 4 times", redis_faults.black_holes, ALONE, share=0.2),
        Scenario("everything at once", "all of this by chance for 20 s", everything.everything, ALONE, share=0.6),
    ]
    return [_with(scenario, RELAYED) for scenario in scenarios]


def _others() -> list[Scenario]:
    return [
        Scenario(
            "endpoints hang",
            "500 endpoints begin to hang at once; the others measured",
            rows.hang,
            QUICK,
            LONG_ATTEMPTS,
            share=0.2,
        ),
        Scenario(
            "a day of failure",
            "24 hours of 500s by moving rows' times; one customer recovers for the last attempt",
            times.day_of_failure,
            ALONE,
            times.DAY,
            share=0.2,
            excused=("window_exhausted",),
        ),
        Scenario(
            "housekeeping ahead",
            "housekeeping with a clock 120 days ahead",
            times.keep_house_ahead,
            QUICK,
            share=0.2,
            impossible=NO_COMPILER,
        ),
        Scenario(
            "web an hour behind",
            "the clock of web is an hour behind",
            times.go_on,
            QUICK,
            Build(web_clock=-HOUR_SECONDS),
            share=0.2,
            impossible=NO_COMPILER,
        ),
        Scenario(
            "worker an hour ahead",
            "the clock of the workers is an hour ahead",
            times.go_on,
            QUICK,
            Build(worker_clock=HOUR_SECONDS),
            share=0.2,
            impossible=NO_COMPILER,
        ),
        Scenario(
            "disk full",
            "PostgreSQL's disk full for 5 s",
            postgres_faults.fill_disk,
            LEASED,
            Build(small_disk=True),
            share=0.4,
            impossible=NO_MOUNT,
        ),
    ]


def scenarios(release: str) -> list[Scenario]:
    """All of them. release: a git revision to run beside this one, "" for none."""
    no_release = "" if release else "no older release is named (REV=…)"
    return [
        *_kills(),
        *_redis(),
        *_rows(),
        *_postgres(),
        Scenario(
            "old and new release",
            f"web of {release or 'an older release'} beside this one",
            releases.side_by_side,
            RESTARTED,
            share=0.2,
            impossible=no_release,
        ),
        *_relayed(),
        *_others(),
    ]


def _with(scenario: Scenario, build: Build) -> Scenario:
    return replace(scenario, build=build)
