#!/usr/bin/env bash
# myst-nb 1.4.0 with Sphinx 7.4.7: the same book built twice has other HTML the second time, on every page.
#
# Sphinx adds a checksum to the address of a stylesheet (?v=…), which it takes from the file in the output folder. The
# stylesheet of myst-nb is written there only after the pages' links were made. So the first build, into an empty
# folder, links it without a checksum, and a second build of unchanged sources with it: who compares two builds byte by
# byte, or deploys what a diff of them shows, sees all pages changed.
#
# Seen with myst-nb 1.4.0, sphinx 7.4.7, one page of one line:
#   first build:  mystnb.<hash>.css
#   second build: mystnb.<hash>.css?v=8cd3d715
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check myst-nb==1.4.0 sphinx==7.4.7
mkdir source
printf 'extensions = ["myst_nb"]\nnb_execution_mode = "off"\n' > source/conf.py
printf '# A page\n\nOne line.\n' > source/index.md
linked() {
  env/bin/python -m sphinx -q -E -a -b html source html
  grep -o 'mystnb\.[0-9a-f]*\.css[^"]*' html/index.html | sed 's/[0-9a-f]\{64\}/<hash>/'
}
first=$(linked)
second=$(linked)
echo "first build:  $first"
echo "second build: $second"
[ "$first" = "mystnb.<hash>.css" ]
case "$second" in "mystnb.<hash>.css?v="*) ;; *) exit 1 ;; esac
