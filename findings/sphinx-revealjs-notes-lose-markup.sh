#!/usr/bin/env bash
# sphinx-revealjs 3.2.1: speaker's notes lose their markup. A list in them becomes lines of text that run together.
#
# The text of a slide is Markdown or reST, as everywhere in Sphinx. That of the directive `revealjs-notes` is parsed, too, but only
# the text is kept of it: no emphasis, no list, no paragraph is left in <aside class="notes">, and the browser joins its lines.
# Nothing warns of it.
#
# Seen with sphinx-revealjs 3.2.1, sphinx 7.4.7, myst-parser 3.0.1: <aside class="notes">In the notes emphasis is none.
# and a list is no list</aside>
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check sphinx-revealjs==3.2.1 sphinx==7.4.7 myst-parser==3.0.1
mkdir source
printf 'extensions = ["myst_parser", "sphinx_revealjs"]\n' > source/conf.py
cat > source/index.md <<'MD'
# Deck

## Slide

On the slide *emphasis* is emphasis.

```{revealjs-notes}
In the notes *emphasis* is none.

- and a list
- is no list
```
MD
env/bin/sphinx-build -q -b revealjs source out
env/bin/python - <<'PY'
import importlib.metadata
import re

print("sphinx-revealjs", importlib.metadata.version("sphinx-revealjs"))
text = open("out/index.html", encoding="utf-8").read()
(notes,) = re.findall(r'<aside class="notes"[^>]*>.*?</aside>', text, re.DOTALL)
print(notes)
assert "<em>emphasis</em> is emphasis" in text
assert "notes emphasis is none" in notes, "the behaviour has changed"
assert not re.search("<em|<li|<p|<br|data-markdown", notes), "the behaviour has changed"
PY
echo "as described"
