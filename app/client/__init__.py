"""What programs that consume Twofold import: read a stream without missing an event, verify a webhook.

    from app.client import Stream, verify_webhook

Rule: it imports nothing else of this project, and of other packages only `requests` (and `cryptography`, for ed25519
signatures alone), because it becomes a package of its own. So it also cannot share a fault with the server.
Promises: the names below stay. A Stream yields every event once and in order over cuts and restarts, where the contract
replays. verify_webhook returns only what the holder of the secret has signed within the last five minutes.
Who may import it: everybody. Threads: a Stream belongs to the thread that iterates over it, and close() may be called
from any; verify_webhook keeps no state.
"""

from app.client.signatures import SecretError, WebhookVerificationError
from app.client.stream import Stream, StreamRefused
from app.client.webhooks import verify_webhook

__all__ = ["SecretError", "Stream", "StreamRefused", "WebhookVerificationError", "verify_webhook"]
