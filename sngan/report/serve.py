"""`sngan watch`: the report as a page that renews itself, for browsers of this machine alone."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from sngan import devices
from sngan.errors import UserError
from sngan.report.report import page_of
from sngan.report.request import Report, Watch
from sngan.runs.run import find_runs

HOST = "127.0.0.1"


class Server(ThreadingHTTPServer):
    """Serves the report of the request's runs as they are now. Raises `UserError` if there are none, or the port is in use."""

    daemon_threads = True

    def __init__(self, request: Watch, *, command: Callable[[Mapping[str, Any]], str | None]):
        if not request.paths:
            raise UserError("nothing given; name runs, or folders of them: sngan watch runs/shapes")
        find_runs(request.paths)
        self.every, self._device, self._command = request.every, devices.resolve(request.device), command
        self._report = Report(out=None, format="html", **request.model_dump(include={"paths", "neighbours", "device", "plugins"}))
        self._lock, self._page, self._made_at = Lock(), "", -float("inf")
        try:
            super().__init__((HOST, request.port), Answer)
        except OSError as error:
            raise UserError(
                f"port={request.port} cannot be served ({error.strerror}); give another port=N, or port=0 for a free one"
            ) from None

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self.server_port}/"

    def page(self) -> str:
        """The page, made anew if it is older than `every` seconds; while a run's file cannot be read, the reason."""
        with self._lock:
            if time.monotonic() - self._made_at >= self.every:
                try:
                    self._page, _, _ = page_of(self._report, "html", Path(), self._device, command=self._command)
                except UserError as error:
                    self._page = f"<!doctype html><title>sngan watch</title><p>{html.escape(str(error))}</p>"
                self._made_at = time.monotonic()
            return self._page


class Answer(BaseHTTPRequestHandler):
    """Answers `/` with the page; whatever else is asked for, such as a file, is not there."""

    server: Server

    def do_GET(self) -> None:
        """Sends the page, and says when a browser is to ask again."""
        # a page of the web could give its own name this address, and read what is here
        if self.path != "/" or self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
            self.send_error(404)
            return
        content = self.server.page().encode(errors="replace")  # a file name may hold what is no text
        self.send_response(200)
        for name, value in {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Refresh": str(self.server.every),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
