# SPDX-License-Identifier: Apache-2.0
"""Does the code on the pages run as it stands, and print what the pages say?"""

import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n((?:   .*\n|\n)+)", re.MULTILINE)
PAGES = ["README.rst", *sorted(f"docs/{path.name}" for path in (TOP / "docs").glob("*.rst"))]


def blocks(page):
    """Yields the language, options and text of each code block of a page."""
    for language, body in BLOCK.findall((TOP / page).read_text(encoding="utf-8")):
        lines = textwrap.dedent(body).strip("\n").split("\n")
        options = [line for line in lines if re.fullmatch(r":\w+:.*", line)]
        yield language, options, "\n".join(line for line in lines if line not in options).strip("\n") + "\n"


def program(page):
    """Returns the Python code of a page as one program."""
    return "\n".join(text for language, _, text in blocks(page) if language == "python")


def output(page):
    """Returns what a page says that its program prints."""
    return "".join(text for language, options, text in blocks(page) if ":class: output" in options)


WITH_CODE = [page for page in PAGES if program(page)]


def run(code, folder):
    script = folder / "page.py"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "error", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_pages_with_code_are_found():
    assert {"README.rst", "docs/getting_started.rst", "docs/persistence.rst"} <= set(WITH_CODE)


@pytest.mark.parametrize("page", WITH_CODE)
def test_code_of_a_page_prints_what_the_page_says(page, tmp_path):
    code = program(page).replace("/tmp/", f"{tmp_path}/")
    done = run(code, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (output(page), "", 0)


def test_first_flow_of_the_readme_is_short():
    first = next(text for language, _, text in blocks("README.rst") if language == "python")
    assert len([line for line in first.splitlines() if line.strip()]) <= 16
