from __future__ import annotations

from collections.abc import Callable

from app.adapters.analyzers.typos import TYPOS
from app.core.findings import Category, Finding, Severity

Analyze = Callable[..., list[Finding]]


def test_misspelled_words_are_found_on_their_lines(analyze: Analyze) -> None:
    texts = {
        "README.md": "# Name\n\nIt is recieved in seperate parts.\n",
        "src/a.go": "package a\n\n// Reads untill the end\nfunc read() {}\n",
    }
    found = analyze(TYPOS, texts)

    assert {(f.path, f.first, f.title) for f in found} == {
        ("README.md", "R3", "Misspelled: recieved"),
        ("README.md", "R3", "Misspelled: seperate"),
        ("src/a.go", "R3", "Misspelled: untill"),
    }
    assert {(f.severity, f.category) for f in found} == {(Severity.INFO, Category.DOCS)}
    assert found[0].quote == "It is recieved in seperate parts."
    assert found[0].why.startswith("Probably meant: `received`.")


def test_names_are_left_alone(analyze: Analyze) -> None:
    texts = {
        "a.py": "recieve = 1\nself.seperate(recieve)\n",
        "b.md": "See `recieve_all`, recieve-all, recieve.py and UNTILLs in lib/recieve/x.\n",
        "c.py": "# by Colum Recieve\n# see recieve()\n",
    }

    assert analyze(TYPOS, texts) == []


def test_what_is_not_english_prose_is_left_alone(analyze: Analyze) -> None:
    german = "Die Adresse ist seperat und die Nachricht kommt im Oktober oder Januar an.\n"
    texts = {
        "locale/de/messages.md": "recieve\n",
        "requirements.txt": "recieve\n",
        "AUTHORS.md": "Anna Recieve\n",
        "data.json": '{"a": "recieve"}\n',
        "docs/de.md": german * 12,
    }

    assert analyze(TYPOS, texts) == []


def test_a_word_used_throughout_is_vocabulary(analyze: Analyze) -> None:
    texts = {f"docs/{n}.md": "The untill keyword.\n" for n in range(6)}

    assert analyze(TYPOS, texts) == []
    assert len(analyze(TYPOS, dict(list(texts.items())[:5]))) == 5
