from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.registry.description import FIRST, LAST, author_of, evidence_of, joined, neat, sha

AUTHORS = ["", "Trained on Monday.", "---\n\n# mine\n", "\r\n a\ttab  \n\n\n", LAST, f"{FIRST}\n", "\n\n---\n\nx"]


@pytest.mark.parametrize("author", AUTHORS)
def test_the_authors_words_are_found_again_byte_for_byte(author: str) -> None:
    whole = joined("evidence", author)

    assert author_of(whole) == author
    assert evidence_of(whole) == "evidence"
    assert author_of(joined("other", author_of(whole))) == author


@given(evidence=st.text(), author=st.text())
def test_whatever_both_wrote(evidence: str, author: str) -> None:
    whole = joined(neat(evidence), author)

    assert evidence_of(whole) == neat(evidence)
    assert author_of(whole) == author


@pytest.mark.parametrize("text", ["", "mine", f"{FIRST}\n\nno end", f"no start\n\n{LAST}"])
def test_where_ours_is_not_whole_all_is_the_authors(text: str) -> None:
    assert evidence_of(text) is None
    assert author_of(text) == text


def test_what_a_person_put_above_ours_is_theirs_and_shows() -> None:
    whole = "ALL GATES PASS\n\n" + joined("evidence", "mine")

    assert evidence_of(whole) not in (None, "evidence")
    assert author_of(whole) == "ALL GATES PASS\n\nmine"


def test_an_editor_that_strips_the_end_changes_no_evidence() -> None:
    assert evidence_of(joined("evidence", "").strip()) == "evidence"
    assert evidence_of(joined("evidence", " ").strip()) == "evidence"


def test_a_rule_that_was_taken_away_loses_nothing() -> None:
    assert author_of(joined("evidence", "mine").replace("---\n\n", "")) == "mine"


def test_evidence_that_quotes_our_own_lines_does_not_end_there() -> None:
    evidence = neat(f"bob says: {LAST}\n{FIRST}")

    assert evidence_of(joined(evidence, "mine")) == evidence
    assert LAST.strip("*") in evidence


def test_evidence_has_the_line_ends_that_a_browser_leaves() -> None:
    assert neat("\na\r\nb\rc\x00\n\n") == "a\nb\nc"
    assert sha("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
