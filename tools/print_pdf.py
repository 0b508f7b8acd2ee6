"""Print the built book as one PDF, with the browser that shows it (`make pdf`).

The articles of all pages are put into one HTML page, in the order of the table of contents, with
their anchors renamed, so that references between chapters work inside the PDF, the headings become
its bookmarks, and the browser counts its pages.
"""

import argparse
import posixpath
import shutil
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: The browser finds no host but the files on the disk, and keeps quiet.
BROWSER_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
#: Resolves when a page is drawn: fonts, equations, pictures.
DRAWN = """async () => {
    await document.fonts.ready;
    if (window.MathJax) await MathJax.startup.promise;
    await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
}"""


def find_browser() -> str:
    """Path of the first Chromium on the search path.

    Raises:
        FileNotFoundError: If there is none.
    """
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise FileNotFoundError(f"none of {', '.join(BROWSERS)} is installed: run `make chromium`")


def book_pages(toc: Path) -> list[tuple[str, list[str]]]:
    """Parts of the book with their pages, as paths below the site without an extension.

    Args:
        toc: Jupyter Book's table of contents, with or without parts.
    """
    contents = yaml.safe_load(toc.read_text(encoding="utf-8"))
    parts = [("", [contents["root"]])]
    for part in contents.get("parts", [contents]):
        chapters = [chapter["file"] for chapter in part.get("chapters", [])]
        parts.append((part.get("caption", ""), chapters))
    return [(caption, [name.removesuffix(".md") for name in files]) for caption, files in parts]


def target_in_book(page: str, address: str, pages: list[str]) -> str | None:
    """Where a link of a page leads inside the printed book; None if it leads out of it."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return address
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), parts.path))
    target = page if not parts.path else path.removesuffix(".html")
    if target not in pages:
        return None
    return f"#{target}:{parts.fragment}" if parts.fragment else f"#{target}"


def read_article(site: Path, page: str, pages: list[str]) -> Tag:
    """Article of a page with the addresses it has inside the printed book."""
    html = (site / f"{page}.html").read_text(encoding="utf-8")
    article = BeautifulSoup(html, "html.parser").select_one("article.bd-article")
    if article is None:
        raise ValueError(f"{page}.html holds no article.bd-article: the theme has changed")
    for tag in article.select("a.headerlink, .viewcode-link, button"):
        tag.decompose()
    for tag in article.select("[id]"):
        tag["id"] = f"{page}:{tag['id']}"
    for tag in article.select("a[href]"):
        target = target_in_book(page, tag["href"], pages)
        if target is None:
            del tag["href"]
        else:
            tag["href"] = target
    for tag in article.select("[src]"):
        if not urlsplit(tag["src"]).scheme:
            tag["src"] = posixpath.normpath(posixpath.join(posixpath.dirname(page), tag["src"]))
    for tag in article.select("details"):
        tag["open"] = ""
    article["id"] = page
    return article


def join_book(site: Path, toc: Path, title: str, author: str) -> str:
    """HTML of the whole book: a cover with the contents, then every article."""
    parts = book_pages(toc)
    pages = [page for _, files in parts for page in files]
    articles = {page: read_article(site, page, pages) for page in pages}
    contents = ""
    for caption, files in parts:
        contents += f"<p>{escape(caption)}</p><ul>"
        for page in files:
            heading = articles[page].find("h1").get_text().strip()
            contents += f'<li><a href="#{page}">{escape(heading)}</a></li>'
        contents += "</ul>"
    head = head_of(site, pages)
    cover = f"<h1>{escape(title)}</h1><p>{escape(author)}</p>{contents}"
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light" data-content_root="./">
<head><meta charset="utf-8"><title>{escape(title)}</title>{head}</head>
<body><main class="bd-main"><div class="bd-content"><div class="bd-article-container printed-book">
<section class="cover">{cover}</section>
{"".join(map(str, articles.values()))}
</div></div></main></body></html>"""


def head_of(site: Path, pages: list[str]) -> str:
    """Style sheets of the site and its MathJax, addressed from the top of the site."""
    kept = {}
    for page in pages:
        html = (site / f"{page}.html").read_text(encoding="utf-8")
        for tag in BeautifulSoup(html, "html.parser").head.find_all(["link", "script"]):
            is_style = tag.name == "link" and "stylesheet" in tag.get("rel", [])
            if not (is_style or "mathjax" in str(tag).lower()):
                continue
            for name in ("href", "src"):
                if tag.get(name):
                    path = posixpath.join(posixpath.dirname(page), tag[name])
                    tag[name] = posixpath.normpath(path)
            kept[str(tag)] = None
    return "".join(kept)


def print_pdf(html: str, site: Path, out: Path) -> None:
    """Print a page that lies at the top of the site, with its headings as bookmarks."""
    number = '<div style="width:100%;text-align:center;font-size:8px">{}</div>'
    # Inside the site for a moment: a page opened from a file may only use files around it.
    page_file = site / "_print.html"
    page_file.write_text(html, encoding="utf-8")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_browser(), args=list(BROWSER_OPTIONS)
            )
            page = browser.new_page()
            page.set_default_timeout(600_000)  # a whole book, on a machine that may be busy
            page.emulate_media(media="print")
            page.goto(page_file.resolve().as_uri())
            page.evaluate(DRAWN)
            page.pdf(
                path=out,
                format="A4",
                margin={"top": "18mm", "bottom": "18mm", "left": "18mm", "right": "18mm"},
                print_background=True,
                display_header_footer=True,
                header_template=number.format(""),
                footer_template=number.format('<span class="pageNumber"></span>'),
                outline=True,
                tagged=True,
            )
            browser.close()
    finally:
        page_file.unlink()


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="the built site, _build/html")
    parser.add_argument("out", type=Path, help="the PDF to write")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    html = join_book(arguments.site, root / "book" / "_toc.yml", config["title"], config["author"])
    print_pdf(html, arguments.site, arguments.out)


if __name__ == "__main__":
    main()
