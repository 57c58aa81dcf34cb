"""The HTML file of results: whole by itself, and what the tables say."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from recipes.reporting import html_report, markdown, results, tables

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (1000).to_bytes(4, "big") + (500).to_bytes(4, "big")


CURVES = {
    ("D4RL/pen/human-v2", name, seed): [{"step": 1.0, "eval/return": score, "eval/d4rl_score": score}]
    for name, seed, score in (("iql", 0, 70.0), ("iql", 1, 74.0), ("bc", 0, 6.0), ("bc", 1, 5.0))
}
NAMES: dict[str, Any] = {"algorithms": ("iql", "bc"), "datasets": ["D4RL/pen/human-v2"], "seeds": (0, 1)}


class Reader(HTMLParser):
    """Collects the tables' cells, addresses, and whether every element is closed."""

    EMPTY = ("meta", "img", "source")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.bold: list[str] = []
        self.addresses: list[str] = []
        self.elements: list[str] = []
        self.attributes: dict[str, list[str]] = {"onload": [], "alt": []}
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]
        self.elements.append(tag)
        for name, value in attributes:
            self.attributes.get(name, []).append(value or "")
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data
        if "b" in self.open:
            self.bold.append(data)


def page(title: str, table: list[list[str]], **texts: Any) -> str:
    return html_report.page(title, texts.pop("about", []), [html_report.Part(texts.pop("caption", ""), table, **texts)])


def test_texts_are_shown_as_they_are_whatever_characters_they_have() -> None:
    rows = [["a<b", "x&y"], ["<script>alert(1)</script>", tables.Best('"1" ± 2')], ["{{ 7 * 7 }}", "3"]]
    texts = {"caption": "a `b<c` d", "heading": "1 < 2", "notes": ["<b>not bold</b>"], "about": ["</p><i>no"]}
    image = html_report.Image(PNG, 'x" onload="alert(1)')
    read = Reader(page("Mine & <yours>", rows, images=[image], **texts))
    assert read.rows == [[*map(str, row)] for row in rows] and read.bold == ['"1" ± 2']
    assert read.open == [] and {"script", "i"} & {*read.elements} == {"script"} and read.elements.count("script") == 1
    assert read.attributes == {"onload": [], "alt": ['x" onload="alert(1)']}
    for text in ("Mine & <yours>", "1 < 2", "a b<c d", "<b>not bold</b>", "</p><i>no"):
        assert text in read.text


def test_an_image_is_in_the_page_itself() -> None:
    text = page("a", [["a"]], images=[html_report.Image(PNG, "what it shows")])
    (address,) = Reader(text).addresses
    assert base64.b64decode(address.removeprefix("data:image/png;base64,")) == PNG
    assert 'alt="what it shows"' in text
    both = Reader(page("a", [["a"]], images=[html_report.Image(b"<svg/>", "b", b"<svg>narrow</svg>")])).addresses
    assert [address[:18] for address in both] == ["data:image/svg+xml"] * 2


def test_a_page_has_contents_a_date_its_numbers_and_links_that_run_nothing() -> None:
    made = results.sections(CURVES, {}, **NAMES, baseline="bc", num_resamples=20)
    links = {"iql": "https://wandb.ai/lab/grasp/runs/1", "bc": "javascript:alert(1)"}
    folders = {"iql": "../iql/a b<", "bc": "../bc"}
    taken = dict(minutes=2.0, updates_per_second=9.0, parameters=5, device="cpu")
    cost = tables.cost_table({("pen", "bc"): [taken]}, "dataset", "algorithm")
    text = html_report.comparison(made, [], {}, Path(), folders=folders, links=links, cost=cost, data='{"a": 1}')
    addresses = Reader(text).addresses
    assert base64.b64decode(addresses[0].removeprefix("data:application/json;base64,")) == b'{"a": 1}'
    assert [f'id="{address[1:]}"' in text for address in addresses[1:4]] == [True] * 3
    assert addresses[4:] == ["../iql/a%20b%3C", "https://wandb.ai/lab/grasp/runs/1", "../bc"]
    assert re.search(r"Written on \d{4}-\d\d-\d\d\.", text) and "updates per second" in text


def is_whole(text: str) -> bool:
    """Whether a browser needs nothing else to show the page."""
    read = Reader(text)
    return all(address.startswith("data:") for address in read.addresses) and not re.search(r"@import|url\(|//", text)


def test_a_page_that_needs_something_else_is_found() -> None:
    assert is_whole(page("a", [["a"], ["b"]]))
    assert not is_whole('<img src="a.png">') and not is_whole('<script src="https://a.b/c.js"></script>')
    assert not is_whole("<style>@import 'a'</style>") and not is_whole("<style>body { background: url(a.png) }</style>")


def test_the_page_of_a_comparison_is_whole_and_has_the_tables_of_the_markdown(tmp_path) -> None:
    made = results.sections(CURVES, {}, **NAMES, baseline="bc", num_resamples=20)
    (tmp_path / "curves_d4rl.png").write_bytes(PNG)
    images = {"d4rl": ["curves_d4rl.png"]}
    text = html_report.comparison(made, ["Made by `mine`."], images, tmp_path)
    assert is_whole(text)
    read = Reader(text)
    assert read.bold == ["72.0 ± 2.0"] and len(read.addresses) == 1 and "Made by mine." in read.text
    lines = [line for line in markdown.to_markdown(made, [], images).splitlines() if line.startswith("| ")]
    cells = [[cell.strip(" *") for cell in line[1:-1].split("|")] for line in lines if "---" not in line]
    assert read.rows == cells
