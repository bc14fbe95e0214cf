"""`sngan watch`: the report over HTTP, and nothing else."""

from __future__ import annotations

import http.client
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from sngan.__main__ import main
from sngan.report.request import Watch
from sngan.report.serve import Server


@pytest.fixture
def run(sweep: Path) -> Path:
    return Path(shutil.copytree(sweep / "loss-hinge" / "seed0", "run"))


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    with Server(
        Watch(paths=(run,), port=0, every=1, neighbours=0, device="cpu", plugins=()), command=lambda config: None
    ) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: Server, path: str = "/", host: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
    return connection.getresponse()


def test_the_page_is_the_report_and_asks_to_be_renewed(server: Server) -> None:
    answer = ask(server)
    assert (answer.status, answer.headers["Refresh"], answer.headers["Cache-Control"]) == (200, "1", "no-store")
    assert "fd_32_shapes-train_small_resnet" in answer.read().decode().replace("<wbr>", "")


@pytest.mark.parametrize("path", ["/run/config.json", "/../../etc/passwd", "//etc/passwd", "/?", "/config.json"])
def test_no_file_is_served(path: str, server: Server) -> None:
    assert ask(server, path).status == 404


def test_a_name_that_leads_here_from_the_web_is_refused(server: Server) -> None:
    assert ask(server, host="evil.example:80").status == 404
    assert server.server_address[0] == "127.0.0.1"


def test_the_page_shows_what_the_run_has_become(run: Path, server: Server) -> None:
    server.every = 0
    assert "finished" in ask(server).read().decode()
    (run / "result.json").unlink()
    assert "unfinished" in ask(server).read().decode()
    (run / "scalars.jsonl").write_text("<b>\n")
    said = ask(server).read().decode()
    assert "is not a record of a step" in said
    assert "<b>" not in said


def test_the_command_says_where_the_page_is_and_ends_by_ctrl_c(run: Path) -> None:
    words = [sys.executable, "-m", "sngan", "watch", str(run), "port=0", "device=cpu"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "sngan: interrupted\n"
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing given"),
        (["nowhere"], "nowhere: no such folder"),
        (["run", "port=70000"], "port=70000"),
        (["run", "every=0"], "every=0"),
    ],
)
def test_a_mistake_is_told(words: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_port_in_use_is_told(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "run", f"port={server.server_port}"]) == 2
    assert f"port={server.server_port} cannot be served (Address already in use)" in capsys.readouterr().err
