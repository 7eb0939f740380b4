"""The table of receivers, a file for each group."""

from app.zoo.receiver import Receiver
from app.zoo.receivers.bodies import BODIES
from app.zoo.receivers.connections import CONNECTIONS
from app.zoo.receivers.heads import HEADS
from app.zoo.receivers.healthy import HEALTHY
from app.zoo.receivers.http2 import HTTP2
from app.zoo.receivers.lengths import LENGTHS
from app.zoo.receivers.names import NAMES
from app.zoo.receivers.reused import REUSED
from app.zoo.receivers.statuses import STATUSES
from app.zoo.receivers.tls import TLS

RECEIVERS: tuple[Receiver, ...] = (
    *HEALTHY,
    *CONNECTIONS,
    *HEADS,
    *LENGTHS,
    *BODIES,
    *STATUSES,
    *REUSED,
    *TLS,
    *HTTP2,
    *NAMES,
)
