"""
What the documentation shows is run: commands, Python, tables of fields, links, and the figures it quotes.

A `console` block is commands after `$ ` and, where given, their output; `...` stands for anything. A command may
fail only if `echo $?` comes next. A block with a file name is that file. Blocks of a page share one folder, in order.
"""

from __future__ import annotations

import doctest
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/**/*.md"))
BLOCK = re.compile(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMING = [page for page in PAGES if page.name != "CHANGELOG.md" and page.parent.name != "decisions"]
"""Pages that name files as they are now; the others keep the names of their day."""
END = "end of a command, with status"


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int
    language: str
    file: str
    text: str


def name_of(page: Path) -> str:
    """A page's path inside the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield Block(text.count("\n", 0, match.start()) + 2, match[1], match[2] or "", match[3])


def commands(block: Block) -> list[tuple[str, str]]:
    """Commands of a console block, each with the output shown below it."""
    parts = re.split(r"^\$ ((?:.*\\\n)*.*\n)", block.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"line {block.line}: output before the first command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def run(block: Block, environment: dict[str, str], folder: Path) -> None:
    """Run a console block in one shell and hold its output against what is shown."""
    shown = commands(block)
    # Each command's status is printed and then restored for an `echo $?` that may follow.
    script = "".join(f"{command}status=$?; echo; echo '{END}' $status; (exit $status)\n" for command, _ in shown)
    shell, pipe, same = ["bash", "-c", script], subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run(shell, cwd=folder, env=environment, stdout=pipe, stderr=same, text=True)
    *outputs, _ = re.split(rf"\n{END} (\d+)\n", done.stdout)
    following = [command.strip() for command, _ in shown[1:]] + [""]
    results = zip(shown, outputs[::2], outputs[1::2], following, strict=True)
    for (command, expected), output, status, after in results:
        where = f"block at line {block.line}: $ {command}{output}"
        assert status == "0" or after == "echo $?", f"{where}status {status}"
        if expected.strip():
            assert matches(expected, output), f"{where}\nexpected\n{expected}"


def matches(expected: str, output: str) -> bool:
    """Whether an output is the expected one; `...` stands for anything, one space for any number of them."""
    text = plain(output)
    first, *parts = plain(expected).split("...")
    if not parts or not text.startswith(first):
        return text == first
    place = len(first)
    for part in parts[:-1]:  # each as early as it can be; a regular expression may try for ever
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return text.endswith(parts[-1]) and len(text) - len(parts[-1]) >= place


def plain(text: str) -> str:
    """Lines with single spaces between words."""
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where `simcluster` and `python` are those that run the tests."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, arguments in (("python", ""), ("simcluster", "-m simcluster")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    # Compiled packages are kept for the next command, also where they cannot be kept beside their sources.
    cache = {"PYTHONPYCACHEPREFIX": str(tmp_path.parent / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    path = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return os.environ | cache | path


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page))], ids=name_of)
def test_what_a_page_shows_happens(
    page: Path, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of a page print what it says they print, and its Python runs."""
    folder = tmp_path / "reader"
    folder.mkdir()
    for name in ("docs", "scenarios", "topologies"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            run(block, environment, folder)
        elif block.language == "python" and ">>>" in block.text:
            examples = doctest.DocTestParser().get_doctest(block.text, names, page.name, str(page), block.line - 1)
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            reported: list[str] = []
            doctest.DocTestRunner(optionflags=flags).run(examples, out=reported.append, clear_globs=False)
            assert not reported, "".join(reported)
            names = examples.globs
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links and pictures of a page exist, and so do the headings they point at."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        address, _, heading = next(filter(None, target)).partition("#")
        if "://" in address or address.startswith("mailto:"):
            continue
        file = page.parent / address if address else page
        assert file.exists(), f"{address} is not there"
        if heading:
            assert heading in anchors(file), f"{address} has no heading #{heading}"


@pytest.mark.parametrize("page", NAMING, ids=name_of)
def test_named_files_are_there(page: Path) -> None:
    """Files and modules of the project that a page names exist."""
    text = page.read_text(encoding="utf-8")
    files = re.findall(r"(?<![\w/])((?:simcluster|tests|benchmarks|docs)/[\w./-]*\w)(?![\w<*-])", text)
    modules = re.findall(r"(?:from|import) (simcluster(?:\.\w+)+)", text)
    paths = [ROOT / file for file in files] + [ROOT / module.replace(".", "/") for module in modules]
    missing = {
        str(path.relative_to(ROOT)) for path in paths if not (path.exists() or path.with_suffix(".py").exists())
    }

    assert set() == missing


def anchors(page: Path) -> set[str]:
    """The headings of a page as they are linked to."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_begins_with_the_two_commands() -> None:
    """The first two blocks of the README are `./dev demo` and `./dev test`, and `dev` knows both."""
    first, second, *_ = blocks(ROOT / "README.md")
    assert ("./dev demo\n", "./dev test\n") == (first.text, second.text)
    jobs = re.findall(r"^(\w+)\)$", (ROOT / "dev").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "test"} <= set(jobs)


def test_pictures_are_small() -> None:
    """No picture of the documentation is larger than 150 kB."""
    assert [] == [file.name for file in (ROOT / "docs").rglob("*.svg") if file.stat().st_size > 150_000]


def test_tables_of_fields_are_those_of_the_code() -> None:
    """The generated tables in the documentation are what `docs/examples/field_tables.py` makes of the code now."""
    tables = runpy.run_path(str(ROOT / "docs/examples/field_tables.py"))
    assert {} == tables["outdated"](), "python docs/examples/field_tables.py --write renews them"


def test_plausible_figures() -> None:
    """Without noise the simulated speeds and first-token times lie in the ranges that published figures allow."""
    cases = runpy.run_path(str(ROOT / "docs/examples/plausibility.py"))["CASES"]
    outside = {case.what: value for case in cases if not case.low <= (value := case.simulated()) <= case.high}
    assert {} == outside
