"""Size of each page of a built book: ``python -m tests.page_sizes [PROFILE]`` prints a table (it wants Chromium)."""

import re
import shutil
import sys
from pathlib import Path

from ecgstudy.book import build

PICTURE = re.compile(rb'"data:image/[^"]*"|<svg\b.*?</svg>', re.DOTALL)


def pages(built: Path) -> list[str]:
    """Address of every page of a build folder below its html, but for the one that only leads to the first."""
    html = built / "_build" / "html"
    names = (page.relative_to(html) for page in html.rglob("*.html"))
    return sorted(name.as_posix() for name in names if name.parts[0] not in {"_static", "index.html"})


def html_bytes(built: Path, name: str) -> int:
    """Bytes of the HTML of a page without the pictures in it."""
    return len(PICTURE.sub(b"", (built / "_build" / "html" / name).read_bytes()))


def table(built: Path) -> list[tuple[str, int, int, int]]:
    """Of each page its address, bytes of HTML, height in pixels at 1,400 wide, and bytes that its first view loads."""
    from playwright.sync_api import sync_playwright

    rows = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for name in pages(built):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            loaded: list[Path] = []
            page.on("request", lambda request, loaded=loaded: loaded.append(request.url))
            page.goto((built / "_build" / "html" / name).resolve().as_uri(), wait_until="load")
            height = page.evaluate("document.documentElement.scrollHeight")
            files = {url.split("?")[0].split("#")[0].removeprefix("file://") for url in map(str, loaded)}
            size = sum(Path(file).stat().st_size for file in files if Path(file).is_file())
            rows.append((name, html_bytes(built, name), height, size))
            page.close()
        browser.close()
    return rows


if __name__ == "__main__":
    print(f"{'page':<36}{'HTML (kB)':>10}{'height (px)':>13}{'first view (kB)':>17}")
    for name, html, height, first in table(build.build_folder(sys.argv[1] if sys.argv[1:] else "smoke")):
        print(f"{name:<36}{html / 1000:>10.0f}{height:>13,}{first / 1000:>17,.0f}")
