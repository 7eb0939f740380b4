"""What every file of commands shares: the exit statuses, and the error that ends a command with one line."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How a command ended. docs/cli.md has the same table."""

    OK = 0
    FAILED = 1
    USAGE = 2  # click's own number for wrong arguments
    UNREACHABLE = 3
    UNAUTHORIZED = 4
    NOT_FOUND = 5
    REFUSED = 6
    INTERRUPTED = 130  # 128 and the number of SIGINT, as shells count
    CLOSED_PIPE = 141  # 128 and the number of SIGPIPE: what `| head` leaves


def status_of(http_status: int) -> Status:
    """The exit status of a refusal, by a server or by this command's own look at the database."""
    if http_status >= 500:
        return Status.UNREACHABLE
    return {401: Status.UNAUTHORIZED, 403: Status.UNAUTHORIZED, 404: Status.NOT_FOUND}.get(http_status, Status.REFUSED)


class CommandError(Exception):
    """The command cannot do what was asked; the text is for the user."""

    def __init__(self, text: str, status: Status = Status.FAILED) -> None:
        super().__init__(text)
        self.status = status
