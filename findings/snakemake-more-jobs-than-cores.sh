#!/usr/bin/env bash
# snakemake 9.15.0: with --cores 2 three jobs of one thread each run at once, after a moment with only one job to run.
#
# One job must end before the next four can start, as where a cohort is built before networks train on it. While that
# first one is all there is to run, it is started without being counted; when it ends, its core is given back all the
# same, so that from then on there is one core more than was allowed. Memory limits (--resources mem_mb) go the same way.
# 9.9.0 never has more than two at once, and nor has 9.17.3, which needs other versions of packaging and SQLAlchemy.
#
# Seen with snakemake 9.15.0 and 9.9.0:
#   snakemake 9.15.0 --cores 2: at most 3 jobs at once
#   snakemake 9.9.0 --cores 2: at most 2 jobs at once
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > Snakefile <<'RULES'
rule all:
    input: expand("out/{n}", n=range(4))
rule zero:
    output: touch("out/zero")
    shell: "sleep 1"
rule one:
    input: "out/zero"
    output: touch("out/{n}")
    wildcard_constraints: n=r"\d"
    shell: "echo + >> running; sleep 4; echo - >> running"
RULES
most() {
    python3 -m venv "env-$1"
    "env-$1/bin/pip" install --quiet --disable-pip-version-check "snakemake==$1"
    rm -rf out running .snakemake
    "env-$1/bin/snakemake" --cores 2 --scheduler greedy > log 2>&1 || { cat log; exit 1; }
    python3 - "$1" "$2" <<'PY'
import sys

now = most = 0
for sign in open("running").read().split():
    now += 1 if sign == "+" else -1
    most = max(most, now)
print(f"snakemake {sys.argv[1]} --cores 2: at most {most} jobs at once")
assert most == int(sys.argv[2]), "the behaviour has changed"
PY
}
most 9.15.0 3
most 9.9.0 2
echo "as described"
