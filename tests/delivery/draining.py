"""A process that drains until it is killed, with the settings of its environment."""

from __future__ import annotations

import os
import time

from app.delivery.wake import Wake
from app.settings import Settings
from workers.drains import make_drain

if __name__ == "__main__":
    settings = Settings.from_env(os.environ)
    drain = make_drain(settings, Wake(settings.redis_url), crew="pool", stopping=lambda: False)
    print("ready", flush=True)
    while True:
        drain.run(1.0)
        time.sleep(0.01)
