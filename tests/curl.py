"""curl for machines that have none: libcurl through pycurl, with the options that our pages and examples use.

Put on the PATH by `tests/__init__.py` where there is no curl, so that what the pages tell people to type is run
everywhere. Exit statuses are libcurl's own, which are curl's.
"""

from __future__ import annotations

import getopt
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pycurl

SHORT = "sSNfiGX:H:d:o:m:w:"
LONG = ["silent", "show-error", "no-buffer", "fail", "include", "get", "request=", "header=", "data=", "output=",
        "max-time=", "write-out="]  # fmt: skip
SHORT_OF = {f"--{name.rstrip('=')}": f"-{letter}" for name, letter in zip(LONG, SHORT.replace(":", ""), strict=True)}


def main(arguments: list[str]) -> int:
    """One transfer for each URL; the last failure's status."""
    given, urls = getopt.gnu_getopt(arguments, SHORT, LONG)
    options = [(SHORT_OF.get(name, name), value) for name, value in given]
    status = 0
    for url in urls:
        status = transfer(url, options) or status
    return status


def transfer(url: str, options: list[tuple[str, str]]) -> int:
    """Do one transfer; curl's exit status."""
    values = dict(options)
    output: Any = Path(values["-o"]).open("wb") if "-o" in values else sys.stdout.buffer  # noqa: SIM115 - open to the end
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.WRITEFUNCTION, writer(output))
    if "-i" in values:
        handle.setopt(pycurl.HEADERFUNCTION, writer(output))
    handle.setopt(pycurl.HTTPHEADER, [value for name, value in options if name == "-H"])
    data = [value for name, value in options if name == "-d"]
    if data and "-G" in values:
        handle.setopt(pycurl.URL, f"{url}{'&' if '?' in url else '?'}{'&'.join(data)}")
    elif data:
        body = "".join(Path(part[1:]).read_text() if part.startswith("@") else part for part in data)
        handle.setopt(pycurl.POSTFIELDS, body)
    if "-X" in values:
        handle.setopt(pycurl.CUSTOMREQUEST, values["-X"])
    if "-m" in values:
        handle.setopt(pycurl.TIMEOUT_MS, int(float(values["-m"]) * 1000))
    handle.setopt(pycurl.FAILONERROR, "-f" in values)
    try:
        handle.perform()
    except pycurl.error as error:
        return int(error.args[0])
    finally:
        if "-w" in values:
            code = str(handle.getinfo(pycurl.RESPONSE_CODE))
            output.write(values["-w"].replace("%{http_code}", code).replace("\\n", "\n").encode())
        output.flush()
    return 0


def writer(output: Any) -> Callable[[bytes], None]:
    """Writes at once what arrives."""

    def write(data: bytes) -> None:
        output.write(data)
        output.flush()

    return write


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
