"""What a page owes a reader in the dark, on paper, on a telephone, or who hears it, asserted on its text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import exports
import pyarrow as pa
import pytest

from analysis import markup
from analysis.markup import document, figure, table
from analysis.region import ACTIVE, FEW_TRIALS, audit_error
from analysis.report import page
from analysis.store import Export

LIGHT, DARK = (dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in re.findall(r":root \{(.*?)\}", markup.STYLE))


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_words_stand_out_from_the_page(palette: dict[str, str]) -> None:
    for word in ("ink", "soft"):
        for ground in ("page", "pale"):
            dark, light = sorted(_luminance(palette[name]) for name in (word, ground))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (word, ground)


def test_the_dark_page_changes_every_colour_but_the_paper_of_figures_and_what_is_printed() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert all(LIGHT[name] != DARK[name] for name in LIGHT)
    rules = re.sub(r":root \{.*?\}", "", markup.STYLE)
    assert re.findall(r"#\w{3,6}\b|(?<=: )(?:white|black)", rules) == ["white"]
    assert "figure img { height: auto; display: block; background: white; }" in rules
    assert [medium for medium in re.findall(r"@media ([^{]*) \{", markup.STYLE) if "dark" in medium] == [
        "screen and (prefers-color-scheme: dark)"
    ]


def test_a_table_names_its_rows_and_columns_and_scrolls_without_a_mouse() -> None:
    made = _Page(table("Limits <here>", ["scheme", "limit"], [["he", "3"], ["ll", "4"]]))
    assert [cell["scope"] for cell in made.all("th")] == ["col", "col", "row", "row"]
    assert [cell.get("class") for cell in made.all("td")] == ["number", "number"]
    (frame,) = made.all("div")
    assert (frame["tabindex"], frame["role"], frame["aria-label"]) == ("0", "region", "Limits <here>")
    (unnamed,) = _Page(table("", ["", ""], [["sweep", "one"]], "Provenance")).all("div")
    assert unnamed["aria-label"] == "Provenance"


def test_a_figure_has_words_and_scrolls_without_a_mouse() -> None:
    made = _Page(figure(b"<svg/>", 4.0, "A map", "What it shows"))
    assert made.all("img")[0]["alt"] == "A map"
    assert made.all("figure")[0]["tabindex"] == "0"
    assert len(made.all("figcaption")) == 1


def test_an_error_measured_on_few_trials_is_told_with_its_interval() -> None:
    """0.0 % in large type was of seven trials."""
    export = Export((), *exports.tables(60), {}, None, None, common=True)
    audit = audit_error(export.trials)
    facts = page(export).partition("</header>")[0]
    told = f"map error on {audit.n} audit trials, 95 % interval</dt><dd>{100 * audit.error:.1f} %"
    assert f"{told} ({100 * audit.low:.0f} to {100 * audit.high:.0f} %)</dd>" in facts


@pytest.mark.slow
def test_the_method_is_the_one_by_which_the_figures_were_made() -> None:
    """Below `depth limit by theory at learning rate 0.01` it said that theory does not know the learning rate."""
    trials, replicates = exports.tables(60)
    adam = trials.set_column(trials.column_names.index("optimizer"), "optimizer", pa.array(["adam"] * len(trials)))
    for some, asked in ((trials, True), (adam, False)):
        export = Export((), some, replicates, {}, None, None, common=True)
        made = " ".join(page(export).split())
        assert ("the start of training at learning rates 0.01 to 0.1." in made) == asked
        assert (
            "Of the learning rates it knows 0.01 to 0.1, the least and the greatest that were a trial's best" in made
        ) == asked
        assert ("It does not know the learning rate, the number of steps or the data." in made) != asked
        assert ("the share of them that the criterion asks for. Of the data it knows which share" in made) == asked
        assert "It does not know" in made or asked
        assert f"of at most {ACTIVE} trials" in made
        assert f"of more than {FEW_TRIALS} trials it has those of the most evidence" in made


def test_the_page_has_a_language_a_title_and_a_main_part() -> None:
    made = _Page(document("A sweep", "<h1>A sweep</h1>"))
    assert made.all("html")[0]["lang"] == "en"
    assert len(made.all("title")) == len(made.all("main")) == 1
