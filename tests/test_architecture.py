"""Who may import whom, read from the source: the order of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sngan

PACKAGE = Path(sngan.__file__).parent

ORDER = [
    {"errors", "files", "provenance", "randomness", "earlier", "processes"},
    {"registry", "config", "distributed", "devices"},
    {"layers"},
    {"generators", "discriminators", "losses", "regularizers", "data", "evaluation.extractors"},
    {"training.state", "training.schedule", "training.precision", "training.stop", "training.combinations"},
    {"training.fakes"},
    {"training.step"},
    {
        "training.engine",
        "training.inputs",
        "evaluation.fidelity",
        "evaluation.protocol",
        "evaluation.rounding",
        "evaluation.sampling",
        "evaluation.pictures",
        "evaluation.figures",
        "evaluation.paths",
        "evaluation.sheets",
        "evaluation.films",
        "evaluation.cache",
        "evaluation.reference",
        "evaluation.given",
        "evaluation.lipschitz",
    },
    {"training.checkpoint", "training.log", "training.board", "training.run_folder", "training.result", "evaluation.score"},
    {
        "training.recorder",
        "evaluation.evaluate",
        "evaluation.modes",
        "evaluation.sample",
        "evaluation.inspect",
        "evaluation.report",
    },
    {"training.loop", "benchmark"},
    {"cli", "__main__"},
]
"""Each row may import from its own row and from those above it."""

ONLY_IN = {
    "hydra": "cli",
    "omegaconf": "cli",
    "optuna": "cli",
    "torch_fidelity": "evaluation",
    "torch.utils.tensorboard": "training/board.py",
    "torch.distributed": "distributed.py",
    "av": "evaluation/films.py",
    "jinja2": "evaluation/report/page.py",
    "markupsafe": "evaluation/report",
}
"""Outside packages, and the only place that may know them."""

LAZY = {"torch_fidelity", "torchvision", "safetensors", "matplotlib", "tensorboard", "av", "optuna"}
"""Packages imported inside functions, so that the networks need torch alone."""

FILES = sorted(PACKAGE.rglob("*.py"))


def level(module: str) -> int:
    """The row of a module's name without `sngan.`."""
    for number, row in enumerate(ORDER):
        if any(module == name or module.startswith(f"{name}.") for name in row):
            return number
    raise AssertionError(f"{module} has no place in the order; give it one")


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


@pytest.mark.parametrize("path", [f for f in FILES if f.name != "__init__.py"], ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for name in imports(ast.parse(path.read_text())):
        if (
            name.startswith("sngan.")
            and name != "sngan.__version__"
            and (PACKAGE / name.split(".")[1]).with_suffix(".py").exists() | (PACKAGE / name.split(".")[1]).is_dir()
        ):
            assert level(name.removeprefix("sngan.")) <= level(module), f"{module} imports {name} from above"


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
