#!/usr/bin/env bash
# sphinx-exercise 1.2.1: a page with two exercises has two elements of one id.
#
# The body of every exercise is a <section> of the same id, `exercise-content`, and that of every solution is
# `solution-content`: a page of five exercises is invalid HTML, which checkers of accessibility report. The exercises'
# own labels are unique, so that references to them work.
#
# Seen with sphinx-exercise 1.2.1, sphinx 7.4.7, myst-parser 3.0.1 on a page of three exercises and two solutions:
#   exercise-content 3 times, solution-content 2 times
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check sphinx-exercise==1.2.1 sphinx==7.4.7 myst-parser==3.0.1
mkdir source
cat > source/conf.py <<'PY'
extensions = ["myst_parser", "sphinx_exercise"]
PY
cat > source/index.md <<'MD'
# Exercises

```{exercise}
:label: one
What is one and one?
```

```{solution} one
Two.
```

```{exercise}
:label: two
What is two and two?
```

```{solution} two
Four.
```

```{exercise}
:label: three
What is three and three?
```
MD
env/bin/sphinx-build -q source html
env/bin/python - <<'PY'
import collections
import importlib.metadata
import re

for name in ("sphinx-exercise", "sphinx", "myst-parser"):
    print(name, importlib.metadata.version(name))
text = open("html/index.html", encoding="utf-8").read()
ids = collections.Counter(re.findall(r'\bid="([^"]+)"', text))
print({name: n for name, n in ids.items() if n > 1})
print(re.findall(r'<section id="exercise-content">', text)[:1])
assert ids["exercise-content"] == 3 and ids["solution-content"] == 2, "the behaviour has changed"
assert all(ids[name] == 1 for name in ("one", "two", "three"))
PY
echo "as described"
