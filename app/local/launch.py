"""Becomes another program: `python -I -S launch.py PARENT SIGNAL UID GID command [argument …]`.

Run as a script between the supervisor and each of its children, because what it does has to happen in the child, before
the child's own program, and `preexec_fn` is unsafe where there are threads. It imports nothing of the project.

* Linux: the kernel sends SIGNAL to the child when its parent dies, however it dies. (Elsewhere a later run looks for
  leftovers.) The order matters: a change of user clears that request.
* UID and GID, unless -1: the user to become, without supplementary groups.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(arguments: list[str]) -> None:
    """Does not return: the process becomes the command, or ends with 127 and a line that says why."""
    parent, signal_number, uid, gid = (int(text) for text in arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    die_with_parent(signal_number)
    if os.getppid() != parent:
        sys.exit(0)  # it died before the kernel knew of our request
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this process `signal_number` when its parent ends; does nothing where it cannot."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
