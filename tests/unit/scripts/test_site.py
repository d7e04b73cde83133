"""What the site's hook makes of a page."""

from __future__ import annotations

from scripts.site import on_page_content, on_page_markdown


def test_an_option_is_not_broken_at_its_hyphens() -> None:
    page = on_page_content("<p>a--b <code>x --min-free 30GiB</code></p>")
    assert page == (
        '<p>a--b <code>x <span style="white-space: nowrap">--min-free</span> 30GiB</code></p>'
    )


def test_a_link_to_the_source_is_its_words_and_help_stands_for_itself() -> None:
    page = on_page_markdown("[stop](../autobatch/decide/stop.py) [faq](faq.md)\n@help show\n")
    assert page.startswith("stop [faq](faq.md)\n```text\nUsage: autobatch show ")
