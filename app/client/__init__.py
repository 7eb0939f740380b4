"""Twofold seen from outside: a reader of streams and a verifier of webhooks, and the books of a run (books/).

Users install the package `twofold` (clients/python) for this. parse.py, signatures.py, stream.py and webhooks.py are
its files: change them there and copy them here, a test holds them equal. So the server's wheel, of which
`twofold listen` and the books are a part, needs no second distribution.
Rule: it imports nothing else of this project, and of other packages only `requests` (and `cryptography`, for ed25519
signatures alone). So it also cannot share a fault with the server.
Promises: the names below stay. A Stream yields every event once and in order over cuts and restarts, where the contract
replays. verify_webhook and verify_batch return only what the holder of the secret has signed within the last five
minutes.
Who may import it: everybody. Threads: a Stream belongs to the thread that iterates over it, and close() may be called
from any; the verifying functions keep no state.
"""

from app.client.signatures import SecretError, WebhookVerificationError
from app.client.stream import Stream, StreamRefused
from app.client.webhooks import verify_batch, verify_webhook

__all__ = ["SecretError", "Stream", "StreamRefused", "WebhookVerificationError", "verify_batch", "verify_webhook"]
