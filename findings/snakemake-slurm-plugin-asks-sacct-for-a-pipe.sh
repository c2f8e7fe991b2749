#!/usr/bin/env bash
# snakemake-executor-plugin-slurm 2.8.0: the account is never found by itself, and --slurm-no-account changes nothing.
#
# Without a slurm_account the plugin asks sacct for the account of your recent jobs, and pipes the answer to tail. No shell
# runs that line: sacct gets the pipe, "tail" and "-1" as arguments, and SLURM's own sacct refuses "-1". So on every site
# you get a warning and no account, whatever sacct knows. The option --slurm-no-account, meant for sites without accounts,
# is declared and read nowhere: the question is asked all the same.
#
# Seen with snakemake-executor-plugin-slurm 2.8.0, snakemake 9.9.0 (here sacct is a script that tells what it is given):
#   sacct is given: -nu NAME -o Account%256 | tail -1
#   places that read no_account: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check snakemake==9.9.0 snakemake-executor-plugin-slurm==2.8.0 2>/dev/null
mkdir bin
printf '#!/bin/sh\necho "$@" > %s/given\necho research\n' "$folder" > bin/sacct
chmod +x bin/sacct
PATH="$folder/bin:$PATH" env/bin/python - <<'PY'
import getpass
import logging
import re
from importlib.metadata import version
from pathlib import Path

import snakemake_executor_plugin_slurm as plugin
from snakemake_executor_plugin_slurm.accounts import get_account

get_account(logging.getLogger())
given = Path("given").read_text().split()
print("snakemake-executor-plugin-slurm", version("snakemake-executor-plugin-slurm"))
print("sacct is given:", " ".join(given).replace(getpass.getuser(), "NAME"))
assert given[-3:] == ["|", "tail", "-1"], "the behaviour has changed"
source = "".join(path.read_text() for path in Path(plugin.__file__).parent.glob("*.py"))
read = len(re.findall(r"\.no_account\b", source))
print("places that read no_account:", read)
assert "no_account: bool" in source and read == 0, "the behaviour has changed"
PY
echo "as described"
