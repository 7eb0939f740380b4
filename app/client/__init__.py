"""What programs that consume Twofold import: verify a webhook, read a stream, keep the books of a run.

The stream reader and the book-keeper know nothing of the server's own code, so that a fault there cannot excuse itself
here; the verifier shares only `app.core.signing`, which is held against published vectors and an independent package.
"""

from app.client.stream import Stream, StreamRefused
from app.client.webhooks import WebhookVerificationError, verify_webhook

__all__ = ["Stream", "StreamRefused", "WebhookVerificationError", "verify_webhook"]
