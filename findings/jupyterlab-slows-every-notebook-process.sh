#!/usr/bin/env bash
# JupyterLab 4.6 beside papermill: each process that imports nbformat takes several times as long to start.
#
# jupyter-events, which JupyterLab's server needs, asks for jsonschema[format-nongpl], and that installs rfc3987-syntax. It
# builds a parser of the grammar of IRIs when it is imported, and jsonschema imports it whenever it is there, whether or
# not a schema has the format "iri". nbformat imports jsonschema, and papermill, nbclient, jupytext and Sphinx's myst-nb
# import nbformat. So what was installed to look at notebooks slows down everything that executes them.
#
# Seen with rfc3987-syntax 1.1.0, lark 1.3.1, jsonschema 4.26.0, nbformat 5.11.1, Python 3.11 (CPU seconds of `import nbformat`,
# least of three): 0.22 without it, 2.88 with it. The ratio is what is tested, generously.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check nbformat==5.11.1 jsonschema==4.26.0 rfc3987-syntax==1.1.0 lark==1.3.1
cat > measure.py <<'PY'
import subprocess
import sys

CODE = "import time, nbformat, sys; print(time.process_time(), 'rfc3987_syntax' in sys.modules)"


def least():
    """CPU seconds of a process that imports nbformat, least of three, and whether it loaded the grammar."""
    told = [subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True, text=True).stdout.split() for _ in range(4)]
    return min(float(seconds) for seconds, _ in told[1:]), told[0][1] == "True"


print(*least())
PY
read -r with loaded < <(env/bin/python measure.py)
env/bin/pip uninstall --quiet --yes rfc3987-syntax
read -r without loaded_then < <(env/bin/python measure.py)
echo "import nbformat: $with s with rfc3987-syntax (loaded: $loaded), $without s without (loaded: $loaded_then)"
[ "$loaded" = True ] && [ "$loaded_then" = False ] || { echo "the behaviour has changed"; exit 1; }
python3 -c "import sys; sys.exit(0 if $with > 2 * $without else 'the behaviour has changed')"
echo "as described"
