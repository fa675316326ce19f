"""What holds for the repository as a whole."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "cache": {"infra", "loadtest", "scripts", "local", "tests", "benchmarks", "examples"},
    "infra": {"loadtest", "scripts", "local", "tests", "benchmarks", "examples"},
    "loadtest": {"infra", "scripts", "tests", "benchmarks", "examples"},
    "local": {"loadtest", "scripts", "tests", "benchmarks", "examples"},
    "scripts": {"tests", "benchmarks", "examples"},
    "examples": {"infra", "loadtest", "scripts", "tests", "benchmarks"},
}
# The model must be importable without Locust: importing it patches the whole process for gevent.
LOCUST_ALLOWED = {"loadtest/locustfile.py", "loadtest/locust_steps.py", "loadtest/locust_processes.py"}


def parsed(path: Path) -> ast.Module:
    while True:
        try:
            return ast.parse(path.read_text())
        except SystemError:  # of two threads that parse at once: https://github.com/python/cpython/issues/106905
            continue


def imported(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    return modules


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / folder).rglob("*.py")
        for module in imported(path)
        if module.split(".")[0] in FORBIDDEN[folder]
    }

    assert not wrong


@pytest.mark.parametrize("folder", ["cache", "infra", "loadtest", "local"])
def test_no_module_needs_itself(folder: str) -> None:
    """Imports for annotations count: two modules that know each other's types are one subject."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / folder).rglob("*.py")
    }
    needs = {name: (imported(path) | members(path)) & paths.keys() - {name, folder} for name, path in paths.items()}

    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError, which names them


def members(path: Path) -> set[str]:
    """What is imported from modules, which may be modules too."""
    return {
        f"{node.module}.{alias.name}"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_only_locust_s_own_files_import_it() -> None:
    importers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "loadtest").rglob("*.py")
        if any(module.split(".")[0] in ("locust", "gevent") for module in imported(path))
    }

    assert importers == LOCUST_ALLOWED


def test_the_core_does_no_input_or_output() -> None:
    outside = {"redis", "socket", "asyncio", "time", "threading", "os"}
    core = [ROOT / f"cache/{name}.py" for name in ("layouts", "commands", "codec", "keys", "catalog", "nodes")]
    core += (ROOT / "cache/flows").glob("*.py")

    found = {path.name: imported(path) & outside for path in core}

    assert not any(found.values()), found


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=lambda command: " ".join(command[:2]),
)
def test_code_is_clean(command: list[str]) -> None:
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout + run.stderr


def test_the_wheel_holds_the_library_alone(tmp_path: Path) -> None:
    uv = subprocess.run(["make", "-s", "uv-path"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run([uv, "build", "-q", "--wheel", "-o", tmp_path, ROOT], check=True)
    wheel = next(tmp_path.glob("*.whl"))
    environment = tmp_path / "environment"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, environment], check=True)
    python = environment / "bin/python"
    subprocess.run([uv, "pip", "install", "-q", "--python", python, wheel], check=True)

    listed = subprocess.run(
        [uv, "pip", "list", "-q", "--format=json", "--python", python], capture_output=True, text=True, check=True
    ).stdout
    catalog = subprocess.run(
        [python, "-m", "cache", "catalog", "--json"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    program = "from cache import CacheService; import cache.metrics, cache.middleware, cache.warming.run"
    subprocess.run([python, "-c", program], cwd=tmp_path, check=True)

    # redis-py wants async-timeout below Python 3.11.3.
    installed = {package["name"] for package in json.loads(listed)} - {"async-timeout"}
    assert installed == {"roleferry-cache", "redis", "hiredis", "orjson"}
    assert [cache_type["name"] for cache_type in json.loads(catalog)] == ["match", "company", "ijp", "session"]


def test_a_plain_uv_sync_changes_nothing() -> None:
    uv = subprocess.run(["make", "-s", "uv-path"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    planned = subprocess.run([uv, "sync", "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True).stderr

    assert "Would make no changes" in planned


def test_a_soak_looks_at_more_examples_and_at_others_each_time() -> None:
    commands = subprocess.run(["make", "-n", "soak"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    profile = settings.get_profile(re.findall(r"-m hypothesis --hypothesis-profile=(\w+)", commands)[0])

    assert not profile.derandomize
    assert profile.max_examples > 100 * settings.get_profile("steady").max_examples


@pytest.mark.parametrize(
    "command", [["cache", "catalog"], ["infra", "cost", "--stack", "prod"]], ids=lambda words: words[0]
)
def test_a_reader_who_has_seen_enough_is_no_error_to_tell(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)

    assert run.stderr == b""


def test_the_readme_names_commands_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for target in ("validate", "test", "setup"):
        assert f"make {target}" in readme
        assert f"make {target}" in targets
