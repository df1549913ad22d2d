# SPDX-License-Identifier: Apache-2.0 OR MIT
"""lines.py DIRECTORY PATCH...: counts the lines of code that patches add, and prints a table (see `lines`).

DIRECTORY holds the files that they touch. A line is code if something is left of it without comments; so each patch is
applied, and its lines are looked up in the files as they then are, of which the comments are taken away.
"""

import re
import subprocess
import sys
from pathlib import Path

NOT_COUNTED = re.compile(r"Documentation/|tools/|include/uapi/|drivers/misc/ckpt/|MAINTAINERS$|.*_(kunit|test)\.c$")
SOCKETS = re.compile(r"(include/)?net/")

# What may hold something that looks like a comment, and comments. A quote that is none of a character is a lifetime.
TOKEN = re.compile(
    r"""(?P<raw>\bb?r(?P<hashes>\#*)".*?"(?P=hashes)) | (?P<string>"(?:\\.|[^"\\])*") | (?P<character>'(?:\\[^\n][^'\n]*|[^\\'\n])')
    | (?P<line>//(?:\\\n|[^\n])*) | (?P<block>/\*)""",
    re.VERBOSE | re.DOTALL,
)


def without_comments(text, nested):
    """The text of a C or Rust file, with the same number of lines."""
    out, at = [], 0
    while match := TOKEN.search(text, at):
        out.append(text[at : match.start()])
        at = match.end()
        if match["block"]:
            depth = 1
            while depth:
                mark = re.compile(r"/\*|\*/" if nested else r"\*/").search(text, at)
                depth += 1 if mark[0] == "/*" else -1
                at = mark.end()
        comment = match["block"] or match["line"]
        whole = text[match.start() : at]
        out.append("\n" * whole.count("\n") if comment else whole)
    out.append(text[at:])
    return "".join(out)


def code(file, text):
    """The lines of a file, those without code being empty."""
    if file.endswith((".c", ".h", ".S", ".rs")):
        text = without_comments(text, nested=file.endswith(".rs"))
    elif re.search(r"(^|/)(Makefile|Kbuild|Kconfig)[^/]*$", file):
        text = re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE)
        if "Kconfig" in file:  # The text after `help`, which is indented by more than that
            text = re.sub(r"^\thelp\n((?:\t  .*)?\n)*?(?=\S|\t\S|\Z)", lambda help: "\n" * help[0].count("\n"), text, flags=re.MULTILINE)
    else:
        sys.exit(f"lines: what is code in {file}?")
    return [line.strip() for line in text.split("\n")]


def added(patch):
    """The file, the number and the text of each line that a patch adds."""
    file = number = None
    for line in patch.split("\n"):
        if line.startswith("diff --git "):
            number = None
        elif line.startswith("+++ ") and number is None:
            file = line[4:].partition("/")[2]
        elif hunk := re.match(r"@@ -\d+(?:,\d+)? \+(\d+)", line):
            number = int(hunk[1])
        elif number is not None and line.startswith("+"):
            yield file, number, line[1:]
            number += 1
        elif number is not None and line.startswith(" "):
            number += 1


def main(directory, patches):
    total = [0, 0, 0]
    print(f"{'added':>6} {'tasks':>6} {'sockets':>7}")
    for patch in map(Path, patches):
        subprocess.run(
            ["patch", "-p1", "-d", directory, "--batch", "--no-backup-if-mismatch", "--quiet", "-i", patch], check=True
        )
        counts, files = [0, 0, 0], {}
        for file, number, line in added(patch.read_text()):
            if NOT_COUNTED.match(file):
                continue
            if file not in files:
                text = (Path(directory) / file).read_text()
                files[file] = text.split("\n"), code(file, text)
            whole, stripped = files[file]
            if whole[number - 1] != line:
                sys.exit(f"lines: {patch.name} does not apply where it says: {file}:{number}")
            counts[0] += 1
            if stripped[number - 1]:
                counts[2 if SOCKETS.match(file) else 1] += 1
        print(f"{counts[0]:>6} {counts[1]:>6} {counts[2]:>7}  {patch.name}")
        total = [sum(pair) for pair in zip(total, counts)]
    print(f"{total[0]:>6} {total[1]:>6} {total[2]:>7}  all; of code {total[1] + total[2]}")


main(sys.argv[1], sys.argv[2:])
