"""A generator goes to a Hub and comes back: huggingface_hub speaks with a server here that keeps its files in a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from local_hub import SHA, Handler, serving

import sngan
from conftest import finished_run


class Hub(Handler):
    """The parts of the Hub's interface that pushing and loading use."""

    folder: Path
    tokens: list[str]

    def do_POST(self) -> None:
        self.tokens.append(self.headers.get("Authorization", ""))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            self.answer({"url": f"http://{self.headers['Host']}/me/shapes"})
        elif self.path.endswith("/preupload/main"):
            files = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    (self.folder / line["value"]["path"]).write_bytes(base64.b64decode(line["value"]["content"]))
            self.answer({"commitUrl": f"http://{self.headers['Host']}/me/shapes/commit/{SHA}", "commitOid": SHA})
        else:
            self.answer({"errors": [], "warnings": []})  # of the card's head

    def do_GET(self) -> None:
        if match := re.fullmatch(rf"/me/shapes/resolve/{SHA}/([\w.]+)", self.path):
            content = (self.folder / match[1]).read_bytes()
            self.send_file(content, hashlib.sha1(content).hexdigest())
        elif self.path.startswith("/api/models/me/shapes/tree/"):
            files = [(path.name, path.read_bytes()) for path in self.folder.iterdir()]
            self.answer([{"type": "file", "path": name, "size": len(b), "oid": hashlib.sha1(b).hexdigest()} for name, b in files])
        elif self.path.startswith("/api/models/me/shapes"):
            names = [path.name for path in self.folder.iterdir()]
            self.answer({"id": "me/shapes", "sha": SHA, "siblings": [{"rfilename": name} for name in names]})
        else:
            self.answer({"error": "Repository not found"}, status=404)

    do_HEAD = do_GET


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a Hub, to which huggingface_hub goes."""
    Hub.folder, Hub.tokens = tmp_path / "hub", []
    Hub.folder.mkdir()
    monkeypatch.setenv("HF_TOKEN", "secret")
    with serving(Hub, monkeypatch):
        yield Hub.folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> sngan.Run:
    return sngan.Run(finished_run(tmp_path_factory.mktemp("run"), "steps=1", "protocol=none", "evaluate_every=0", "sample_every=0"))


def test_a_generator_that_was_pushed_is_loaded_by_its_name(hub: Path, run: sngan.Run) -> None:
    assert run.push("me/shapes", license="mit").endswith("/me/shapes")
    assert sorted(path.name for path in hub.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert all(b"/tmp" not in path.read_bytes() for path in hub.iterdir())
    assert set(Hub.tokens) == {"Bearer secret"}
    G = sngan.load_generator("hf://me/shapes")
    assert torch.equal(G.sample(4, seed=3), run.sample(4, seed=3))
    assert torch.equal(sngan.load_generator("hf://me/shapes@main").sample(1), run.sample(1))


def test_what_is_not_there_is_told(hub: Path) -> None:
    with pytest.raises(sngan.UserError, match=r"hf://me/nothing cannot be had: .*404"):
        sngan.load_generator("hf://me/nothing")


@pytest.mark.parametrize("source", ["hf://", "hf://name", "hf://a/b/c", "hf://../../etc"])
def test_a_name_of_another_form_is_told(source: str) -> None:
    with pytest.raises(sngan.UserError, match="give "):
        sngan.load_generator(source)


def test_a_push_begins_with_a_look_at_the_name(run: sngan.Run) -> None:
    with pytest.raises(sngan.UserError, match="shapes: give user/name"):
        run.push("shapes")
