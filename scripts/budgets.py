#!/usr/bin/env python3
"""Checks the sizes the project set itself, and that every `unsafe` says why it is sound."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE = 600
MAX_MEDIAN = 200
MAX_LIB = 80
MAX_FUNCTION = 60
# How far above an `unsafe` its comment may begin.
SAFETY_REACH = 8
CODE = {".rs", ".sql", ".py", ".sh"}
UNSAFE = re.compile(r"\bunsafe\s*(\{|impl\b)")
FUNCTION = re.compile(r"^(\s*)(pub(\([a-z:]+\))? )?(const |async |unsafe |extern \"[^\"]*\" )*fn (\w+)")


def sources() -> list[Path]:
    """The code files git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    paths = (ROOT / line for line in listed.stdout.splitlines())
    return sorted(path for path in paths if path.suffix in CODE and path.exists())


def is_test(path: Path) -> bool:
    return "tests" in path.relative_to(ROOT).parts or path.stem == "tests"


def check_unsafe(path: Path, lines: list[str]) -> list[str]:
    """`unsafe` blocks and impls without a SAFETY comment on the line or just above."""
    problems = []
    for number, line in enumerate(lines):
        code = line.split("//")[0]
        if UNSAFE.search(code) and "SAFETY:" not in line:
            above = lines[max(0, number - SAFETY_REACH) : number]
            if not any("SAFETY:" in text for text in above):
                problems.append(f"{path}:{number + 1}: unsafe without a SAFETY comment")
    return problems


def is_declaration(lines: list[str]) -> bool:
    """Whether a signature ends in `;`: a foreign function or a trait's, which has no body."""
    for line in lines:
        code = line.split("//")[0].rstrip()
        if code.endswith((";", "{", "}")):
            return code.endswith(";")
    return True


def check_functions(path: Path, lines: list[str]) -> list[str]:
    """Functions over the limit; rustfmt puts the closing brace below the `fn`."""
    problems = []
    for number, line in enumerate(lines):
        if re.match(r"\s*#\[cfg\(test\)\]", line):
            break
        found = FUNCTION.match(line)
        if not found or is_declaration(lines[number:]):
            continue
        closing = found.group(1) + "}"
        rest = enumerate(lines[number:], start=1)
        length = next((count for count, text in rest if text.rstrip() == closing), 0)
        if length > MAX_FUNCTION:
            name = found.group(5)
            problems.append(f"{path}:{number + 1}: fn {name} has {length} lines (limit {MAX_FUNCTION})")
    return problems


def main() -> int:
    problems: list[str] = []
    lengths: list[int] = []
    for path in sources():
        name = path.relative_to(ROOT)
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > MAX_FILE and not is_test(path):
            problems.append(f"{name}: {len(lines)} lines (limit {MAX_FILE})")
        if path.suffix == ".rs":
            if path.name == "lib.rs" and len(lines) > MAX_LIB:
                problems.append(f"{name}: {len(lines)} lines (limit {MAX_LIB}: a table of contents)")
            problems += check_unsafe(name, lines)
            if not is_test(path):
                lengths.append(len(lines))
                problems += check_functions(name, lines)
    median = statistics.median(lengths)
    if median > MAX_MEDIAN:
        problems.append(f"the median Rust file has {median} lines (limit {MAX_MEDIAN})")
    for problem in problems:
        print(problem)
    print(f"{len(lengths)} Rust files, median {median:g} lines, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
