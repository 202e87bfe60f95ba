"""The glossary on the screens and in the documents."""

import re

import pytest
from markupsafe import Markup

from medvit.explain import METHODS
from medvit.ui import glossary, html

from ..conftest import REPOSITORY


def test_the_documents_have_the_terms_of_the_screens():
    """Otherwise: medvit tables docs/glossary.md."""
    document = (REPOSITORY / "docs" / "glossary.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", document, re.MULTILINE))
    del rows["term"]
    assert rows == glossary.TERMS


def test_every_map_is_explained():
    for method in METHODS.values():
        assert glossary.resolve(method.title)


def test_an_explanation_is_short_and_ids_are_unique():
    assert all(len(text) <= 240 for text in glossary.TERMS.values())
    ids = [glossary.identifier(term) for term in glossary.TERMS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", identifier) for identifier in ids)


def test_aliases_lead_to_terms():
    assert set(glossary.ALIASES.values()) <= set(glossary.TERMS)
    assert glossary.resolve("auroc") == "AUC"
    with pytest.raises(KeyError):
        glossary.resolve("phlogiston")


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Gradient rollout, not rollout", ["gradient rollout", "rollout"]),
        ("Grad-CAM++ and Grad-CAM", ["Grad-CAM++", "Grad-CAM"]),
        ("ECE, then ECE again", ["ECE"]),
        ("recalling dispatches", []),
        ("out-of-distribution", ["out-of-distribution"]),
    ],
)
def test_whole_terms_are_found_once_each(text, terms):
    pieces = list(glossary.split(text))
    assert [term for _, term in pieces if term] == terms
    assert "".join(piece for piece, _ in pieces) == text


def test_terms_are_described_by_their_entry_and_other_text_is_escaped():
    text = html.with_terms("<b> recall")
    assert text.startswith("&lt;b&gt; <span")
    assert 'aria-describedby="glossary-recall">recall</span>' in text
    markup = Markup("<i>recall</i>")
    assert html.with_terms(markup) is markup
