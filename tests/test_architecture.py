"""Who may import whom, read from the source: the order of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sngan

PACKAGE = Path(sngan.__file__).parent

FLOORS = [
    {"__main__"},
    {"__init__"},
    {"api"},
    {"cli"},
    {"report"},
    {"benchmark", "inspection", "doctor", "export", "imports"},
    {"training"},
    {"evaluation"},
    {"sampling"},
    {"runs"},
    {"state", "networks"},
    {"augmentations"},
    {"generators", "discriminators", "regularizers", "losses", "optimizer"},
    {"layers", "data"},
    {"config"},
    {"registry", "precision", "signals"},
    {"distributed", "devices", "files", "cache"},
    {"processes", "watch", "launch"},
    {"errors", "keys", "provenance", "randomness"},
]
"""The rooms of the house from the top floor to the bottom: each imports from floors below its own alone.

The optimiser is below training, because its moments are part of the state and of checkpoints. Three places name modules in text, which
they import when a user asks: `__init__` the homes of public names, `__main__` the command, `registry` its groups.
"""

MOST = 1 / 5
"""Of the package's lines in one folder: beyond it a second idea has moved in."""

ONLY_IN = {
    "hydra": "cli",
    "omegaconf": "cli",
    "optuna": "cli",
    "torch_fidelity": "evaluation",
    "torch.utils.tensorboard": "training/board.py",
    "torch.distributed": "distributed.py",
    "av": "sampling/video.py",
    "jinja2": "report/page.py",
    "markupsafe": "report",
    "onnx": "export/formats/onnx.py",
    "onnxruntime": "export/formats/onnx.py",
    "huggingface_hub": "runs/hub.py",
    "lmdb": "data/lsun.py",
    "datasets": "data/huggingface.py",
}
"""Outside packages, and the only place that may know them."""

LAZY = {
    "torch_fidelity",
    "torchvision",
    "safetensors",
    "matplotlib",
    "tensorboard",
    "av",
    "optuna",
    "onnxruntime",
    "huggingface_hub",
    "lmdb",
    "datasets",
}
"""Packages imported inside functions, so that the networks need torch alone."""

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """Its name without `sngan.`; a package is its `__init__`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {module_of(path): path for path in FILES}


def floor(module: str) -> int:
    """Counted from the top."""
    for number, rooms in enumerate(FLOORS):
        if module.split(".")[0] in rooms:
            return number
    raise AssertionError(f"{module} is on no floor; give it one")


def own_imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in it and whatever for."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {own_module(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"{path}: relative imports hide where a name lives"
            found |= {own_module(f"{node.module}.{alias.name}") for alias in node.names}
    return {module for module in found if module}


def own_module(name: str) -> str | None:
    """The module that holds an imported name, if it is one of the package."""
    top, *parts = name.split(".")
    if top != "sngan":
        return None
    for n in range(len(parts), -1, -1):
        for module in (".".join(parts[:n]), ".".join([*parts[:n], "__init__"])):
            if module in MODULES:
                return module
    raise AssertionError(name)


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a tree imports, except for type checking."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name lives"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imports(node)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    for other in own_imports(MODULES[module]):
        if other.split(".")[0] != module.split(".")[0]:
            assert floor(other) > floor(module), f"{module} imports {other}, which is not below it"


def test_every_room_of_the_list_is_there() -> None:
    assert set().union(*FLOORS) == {module.split(".")[0] for module in MODULES}
    assert sum(map(len, FLOORS)) == len(set().union(*FLOORS))


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter(
        {module: own_imports(path) for module, path in MODULES.items()}
    ).prepare()  # raises CycleError, which names them


def test_no_folder_holds_more_than_a_fifth_of_the_package() -> None:
    lines = Counter(path.relative_to(PACKAGE).parts[0] for path in FILES for _ in path.read_text().splitlines())
    shares = {room: n / lines.total() for room, n in lines.items() if (PACKAGE / room).is_dir()}
    assert max(shares.values()) <= MOST, sorted(shares.items(), key=lambda share: -share[1])


@pytest.mark.parametrize("path", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_each_outside_package_is_known_in_one_place(path: Path) -> None:
    for name in imports(ast.parse(path.read_text())):
        for package, home in ONLY_IN.items():
            if name == package or name.startswith(f"{package}."):
                assert str(path.relative_to(PACKAGE)).startswith(home), f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imports(ast.Module(body=[node], type_ignores=[])):
                assert name.split(".")[0] not in LAZY, f"{path} imports {name} at its top"


def test_import_of_the_package_loads_nothing_heavy() -> None:
    code = "import sys, sngan; print(sorted({'torch', 'hydra', 'torchvision', 'pydantic', 'torch_fidelity', 'tensorboard'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in sngan.__all__:
        assert getattr(sngan, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sngan.nothing


POSIX_ONLY_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_ONLY = {
    "os": {"chown", "chroot", "fork", "forkpty", "getgid", "getloadavg", "getpgid", "getuid", "geteuid", "killpg", "mkfifo", "nice",
           "open", "kill", "sched_getaffinity", "sched_setaffinity", "setpgid", "setsid", "sysconf", "uname", "wait", "waitpid"},
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1", "SIGUSR2", "alarm",
               "pause", "pthread_kill", "setitimer", "sigwait"},
}  # fmt: skip
"""What Windows has not, or has with another meaning (`os.kill`, and `os.open` of folders)."""


@pytest.mark.parametrize("path", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_what_only_some_systems_have_is_used_in_one_file(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = {name for name in imports(tree) if name.split(".")[0] in POSIX_ONLY_MODULES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in POSIX_ONLY.get(node.value.id, ()):
            found.add(f"{node.value.id}.{node.attr}")
    for name in imports(tree):
        module, _, attribute = name.partition(".")
        if attribute in POSIX_ONLY.get(module, ()):
            found.add(name)
    assert not found or path.name == "processes.py", (
        f"{path} uses {', '.join(sorted(found))}; sngan/processes.py is the place for it"
    )
