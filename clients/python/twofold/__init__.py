"""Twofold for producers, viewers and receivers: publish events, follow live streams, verify webhooks.

from twofold import Client, Publisher, Stream, verify_webhook
"""

from .calls import Refused
from .client import Client
from .parse import StreamEvent
from .publisher import EventRefused, NotSent, Publisher, QueueFull, Unsent
from .signatures import SecretError, WebhookVerificationError
from .stream import Stream, StreamRefused
from .webhooks import verify_batch, verify_webhook

__version__ = "0.1.0"

__all__ = [
    "Client",
    "EventRefused",
    "NotSent",
    "Publisher",
    "QueueFull",
    "Refused",
    "SecretError",
    "Stream",
    "StreamEvent",
    "StreamRefused",
    "Unsent",
    "WebhookVerificationError",
    "verify_batch",
    "verify_webhook",
]
