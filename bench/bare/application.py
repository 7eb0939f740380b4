"""B is one request to /bare; /parse is what accepting cannot be cheaper than in Flask."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.post("/bare")
def bare() -> str:
    """Nothing but Flask and gunicorn."""
    return "ok"


@app.post("/parse")
def parse() -> Response:
    """Reads the event and answers with as many bytes as accepting one does."""
    event = request.get_json()
    return jsonify(
        id="evt_0123456789abcdefghijkl",
        seq=1,
        stream=event["stream"],
        type=event["type"],
        occurred_at=None,
        created_at="2026-11-20T10:00:00.123Z",
        duplicate=False,
    )


@app.get("/healthz")
def healthz() -> str:
    """It serves."""
    return "ok"
