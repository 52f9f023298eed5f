"""Hooks of the documentation site: files of the repository that a page links to become part of the site.

On a code host such a link leads to the file. A site that is built from `docs/` alone does not have the file, so its
text is copied next to the pages, and the link leads there. A link to nothing fails the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[([^]]*)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")
FOLDER = "repository"

_linked: set[str] = set()


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links that leave `docs/` into links to the copies. HTML, because the copies are made after the pages."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def turned(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        if path.startswith("docs/"):
            return match[0]
        if not (ROOT / path).exists():
            raise PluginError(f"{page.file.src_uri} links to {path}, which is not in the repository")
        _linked.add(path)
        href = posixpath.relpath(f"{FOLDER}/{path}.txt", posixpath.dirname(page.file.dest_uri) or ".")
        return f'<a href="{href}">{match[1].replace("`", "")}</a>'

    return LINK.sub(turned, markdown)


def on_post_build(*, config: Any) -> None:
    """Copy the files: their text unchanged; of a folder, the names in it."""
    for path in _linked:
        copy = Path(config.site_dir, FOLDER, f"{path}.txt")
        copy.parent.mkdir(parents=True, exist_ok=True)
        source = ROOT / path
        names = (str(file.relative_to(source)) for file in sorted(source.rglob("*")) if file.is_file())
        copy.write_text("\n".join(names) if source.is_dir() else source.read_text())
