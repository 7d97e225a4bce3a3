"""The page's Markdown: what each construct becomes, while it grows too, and that no text is slow."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

_SHOW = """async (texts) => {
    const { showMarkdown } = await import("/static/markdown-dom.js");
    const element = document.createElement("div");
    for (const text of texts) showMarkdown(element, text);
    for (const button of element.querySelectorAll("button")) button.remove();
    for (const each of [element, ...element.querySelectorAll("*")]) {
        for (const name of ["tabindex", "role", "aria-label", "rel", "target"]) each.removeAttribute(name);
    }
    return element.innerHTML;
}"""
LINK = '<a href="https://example.org/">'


def figure(language: str, code: str) -> str:
    """A block of code."""
    caption = f"<figcaption><span>{language}</span></figcaption>"
    return f'<figure class="code">{caption}<pre><code>{code}</code></pre></figure>'


CASES = {
    "plain text": ("hello", "<p>hello</p>"),
    "two paragraphs, a line break": ("a\nb\n\nc", "<p>a<br>b</p><p>c</p>"),
    "headings": (
        "# One\n## Two ##\n###### Six",
        "<h3>One</h3><h4>Two</h4><h6>Six</h6>",
    ),
    "no heading without a blank": ("#hash", "<p>#hash</p>"),
    "bold and struck": ("**b** __b__ ~~s~~", "<p><strong>b</strong> <strong>b</strong> <del>s</del></p>"),
    "italic, and both": ("*i* _i_ ***x***", "<p><em>i</em> <em>i</em> <em><strong>x</strong></em></p>"),
    "nested": ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
    "stars that are none": ("2 * 3 * 4, *open, snake_case_name", "<p>2 * 3 * 4, *open, snake_case_name</p>"),
    "escapes": (r"\*a\* \` \\", r"<p>*a* ` \</p>"),
    "code in a line": ("`a*b*` and ``x`y``", "<p><code>a*b*</code> and <code>x`y</code></p>"),
    "code that is not closed": ("`a *b*", "<p>`a <em>b</em></p>"),
    "a link": ("[text](https://example.org)", f"<p>{LINK}text</a></p>"),
    "a bare address": ("see https://example.org/.", f"<p>see {LINK}https://example.org/</a>.</p>"),
    "an address in brackets": ("<https://example.org/>", f"<p>{LINK}https://example.org/</a></p>"),
    "mail": ("[m](mailto:a@example.org)", '<p><a href="mailto:a@example.org">m</a></p>'),
    "an image is a link": ("![alt](https://example.org)", f"<p>{LINK}alt</a></p>"),
    "what is no link": ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
    "HTML is text": ("<b>x</b> &amp;", "<p>&lt;b&gt;x&lt;/b&gt; &amp;amp;</p>"),
    "a list": ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
    "a list from three": ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    "nested lists": (
        "1. a\n   - b\n   - c\n2. d",
        "<ol><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ol>",
    ),
    "a list with blank lines": ("- a\n\n- b\n\nc", "<ul><li>a</li><li>b</li></ul><p>c</p>"),
    "paragraphs in an item": ("- a\n\n  b", "<ul><li><p>a</p><p>b</p></li></ul>"),
    "code in an item": (
        "- a\n  ```\n  x\n  ```",
        f"<ul><li>a{figure('text', 'x')}</li></ul>",
    ),
    "a quote": ("> a\n> - b", "<blockquote><p>a</p><ul><li>b</li></ul></blockquote>"),
    "a rule": ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
    "a table": (
        "| a | b |\n|:--|--:|\n| 1 | `x\\|y` |",
        '<div class="table"><table><thead><tr><th class="to-start">a</th><th class="to-end">b</th></tr>'
        '</thead><tbody><tr><td class="to-start">1</td><td class="to-end"><code>x|y</code></td></tr>'
        "</tbody></table></div>",
    ),
    "a table's head alone": ("| a | b |", "<p>| a | b |</p>"),
    "a fence": (
        "```js\na < b\n\n*c*\n```\nd",
        figure("js", "a &lt; b\n\n*c*") + "<p>d</p>",
    ),
    "a fence that is not closed": (
        "a\n```\nb",
        "<p>a</p>" + figure("text", "b"),
    ),
    "a fence in a longer one": (
        "````\n```\n````",
        figure("text", "```"),
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
async def test_what_is_written_becomes_these_elements(modules: Page, text: str, expected: str) -> None:
    """And the same ones when it came letter by letter."""
    assert await modules.evaluate(_SHOW, [text]) == expected
    assert await modules.evaluate(_SHOW, [text[:end] for end in range(1, len(text) + 1)]) == expected


async def test_what_has_not_changed_is_left_alone(modules: Page) -> None:
    """A reader's selection in a paragraph stays while the reply grows behind it."""
    same = await modules.evaluate(
        """async () => {
            const { showMarkdown } = await import("/static/markdown-dom.js");
            const element = document.createElement("div");
            showMarkdown(element, "one\\n\\n```\\ncode");
            const [paragraph, figure] = element.children;
            showMarkdown(element, "one\\n\\n```\\ncode grows\\n```\\n\\ntwo");
            const { children } = element;
            return [children[0] === paragraph, children[1] === figure, children.length];
        }"""
    )
    assert same == [True, True, 3]


SLOW = {
    "stars": "*a " * 20_000,
    "pairs of stars": "**" * 30_000,
    "brackets": "[" * 60_000,
    "links half": "[a](" * 15_000,
    "backticks": "".join("`" * length + "a" for length in range(1, 250)),
    "quotes": "> " * 20_000,
    "markers": "- " * 20_000,
    "items": "- a\n" * 15_000,
    "loose items": "- a\n\n" * 15_000,
    "deeper and deeper": "".join(" " * depth + "- a\n" for depth in range(250)),
    "columns": "|" * 30_000 + "\n" + "|-" * 15_000,
    "mixed marks": "_a*b~~c" * 8_000,
    "addresses": "https://" * 8_000,
    "blanks": " " * 60_000 + "x",
    "blank lines": "\n" * 60_000,
    "fences": "```\n~~~\n" * 8_000,
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
@pytest.mark.timeout(20, func_only=True)
async def test_no_text_holds_the_page_up(modules: Page, text: str) -> None:
    """It takes time in proportion to its length; what takes the square of it takes minutes here."""
    await modules.evaluate(
        """async (text) => {
            const { parseMarkdown } = await import("/static/markdown.js");
            parseMarkdown(text);
        }""",
        text,
    )
