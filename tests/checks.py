#!/usr/bin/env python3
"""Checks of the tree that need no compiler: `checks.py features|licences|shell`."""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What may be linked into a program that others ship without asking anybody.
LICENCES = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}


def metadata(*arguments: str) -> dict:
    command = ["cargo", "metadata", "--locked", "--format-version=1", *arguments]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output)


def features() -> int:
    """Prints the features of jarvis-core, each of which has to build alone."""
    package = next(p for p in metadata("--no-deps")["packages"] if p["name"] == "jarvis-core")
    names = [name for name in package["features"] if name != "default"]
    print("\n".join(names))
    return 0 if names else 1


def is_allowed(expression: str) -> bool:
    """Evaluates an SPDX expression: any branch of an OR, every part of an AND."""
    expression = expression.replace("/", " OR ")
    tokens = re.findall(r"\(|\)|\bAND\b|\bOR\b|(?:(?!\bAND\b|\bOR\b)[^()])+", expression)
    code = []
    for token in (token.strip() for token in tokens):
        if token in ("(", ")"):
            code.append(token)
        elif token in ("AND", "OR"):
            code.append(token.lower())
        elif token:
            code.append(str(token in LICENCES))
    return bool(eval(" ".join(code), {"__builtins__": {}}))  # noqa: S307, only and/or/True/False


def licences() -> int:
    """Every dependency has a licence that allows what people do with this library."""
    packages = [package for package in metadata()["packages"] if package["source"]]
    bad = [
        f"{package['name']} {package['version']}: {package['license']}"
        for package in packages
        if not package["license"] or not is_allowed(package["license"])
    ]
    print(f"   {len(packages)} dependencies looked at")
    for line in bad:
        print(f"   not allowed: {line}", file=sys.stderr)
    return 1 if bad or not packages else 0


def shell() -> int:
    """Every shell script parses."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split("\n")
    scripts = []
    for name in listed:
        path = ROOT / name
        if name and path.is_file() and path.open("rb").readline(64).startswith((b"#!/usr/bin/env bash", b"#!/bin/sh", b"#!/bin/bash")):
            scripts.append(name)
    bad = [name for name in scripts if subprocess.run(["bash", "-n", name], cwd=ROOT).returncode]
    print(f"   {len(scripts)} scripts looked at")
    return 1 if bad or not scripts else 0


if __name__ == "__main__":
    checks = {"features": features, "licences": licences, "shell": shell}
    if len(sys.argv) != 2 or sys.argv[1] not in checks:
        sys.exit(__doc__)
    sys.exit(checks[sys.argv[1]]())
