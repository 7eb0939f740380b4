"""The functions of the guide "Verify a webhook", as they are written there, against our own signatures."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.guides import code, signed

ANSWERS = {True: "yes", False: "no"}
JAVASCRIPT = """
const fs = require("node:fs");
const [secret, id, timestamp, signature] = process.argv.slice(2);
const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature };
console.log(verify(secret, headers, fs.readFileSync("body")) ? "yes" : "no");
"""
GO = """package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	header := http.Header{}
	header.Set("webhook-id", os.Args[2])
	header.Set("webhook-timestamp", os.Args[3])
	header.Set("webhook-signature", os.Args[4])
	body, _ := os.ReadFile("body")
	fmt.Println(map[bool]string{true: "yes", false: "no"}[Verify(os.Args[1], header, body)])
}
"""
JAVA = """
class Main {
    public static void main(String[] given) throws Exception {
        byte[] body = java.nio.file.Files.readAllBytes(java.nio.file.Path.of("body"));
        System.out.println(Webhook.verify(given[0], given[1], given[2], given[3], body) ? "yes" : "no");
    }
}
"""


def javascript(folder: Path) -> list[str]:
    (folder / "verify.js").write_text(code("verify", "javascript") + JAVASCRIPT)
    return ["node", "verify.js"]


def go(folder: Path) -> list[str]:
    (folder / "go.mod").write_text("module verify\n\ngo 1.20\n")
    (folder / "verify.go").write_text(code("verify", "go").replace("package webhook", "package main", 1))
    (folder / "main.go").write_text(GO)
    subprocess.run(["go", "build", "-o", "verify", "."], cwd=folder, check=True, capture_output=True)
    return ["./verify"]


def java(folder: Path) -> list[str]:
    (folder / "Main.java").write_text(code("verify", "java") + JAVA)
    subprocess.run(["javac", "Main.java"], cwd=folder, check=True, capture_output=True)
    return ["java", "Main"]


# Those that this machine has; Python is tried with the other guides.
INSTALLED = [found for found, program in ((javascript, "node"), (go, "go"), (java, "javac")) if shutil.which(program)]


@pytest.mark.parametrize("language", INSTALLED, ids=lambda language: language.__name__)
def test_a_guide_s_function_verifies_what_we_sign_and_nothing_else(language: object, tmp_path: Path) -> None:
    assert callable(language)
    command = language(tmp_path)
    for body, age_seconds, changed, good in (
        (b'{"a":1}', 0, b"", True),
        ('{"a":"ü"}'.encode(), 0, b"", True),
        (b'{"a":1}', 0, b" ", False),
        (b'{"a":1}', 400, b"", False),
    ):
        secret, headers = signed(body, int(time.time()) - age_seconds)
        (tmp_path / "body").write_bytes(body + changed)
        done = subprocess.run(
            [*command, secret, *headers.values()], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == ANSWERS[good], done.stderr
