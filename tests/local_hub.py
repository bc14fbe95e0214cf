"""A Hub on this machine, to which Hugging Face's libraries go as to their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

SHA = "0" * 40
"""The one commit of each repository."""


class Handler(BaseHTTPRequestHandler):
    """How a Hub answers; a subclass says what."""

    def send_file(self, content: bytes, etag: str) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", SHA)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def answer(self, content: object, status: int = 200, code: str = "RepoNotFound") -> None:
        """`code` says what is missing, if the status is 404."""
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if status == 404:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[Handler], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Inside the block the Hub is here, at the address that is given."""
    from huggingface_hub import constants

    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        here = f"http://127.0.0.1:{server.server_port}"  # HF_ENDPOINT is read when huggingface_hub is imported
        monkeypatch.setattr(constants, "ENDPOINT", here)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", here + "/{repo_id}/resolve/{revision}/{filename}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield here
        server.shutdown()
        thread.join()
