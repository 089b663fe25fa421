"""One pull request from its opening to a change of its base, to be played step by step.

Whoever reviews it, each finding is said once, stands while it holds, and is closed when it is
mended; and the model is asked about what a step changed and about nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sandbox.github import GitHub, Pull, Repository, User, reviews, threads
from sandbox.github.state import Author, Thread
from sandbox.models import Planted
from sandbox.models.brain import read_lines, read_task

NAMES = ("one", "two", "three", "four", "five", "six", "seven")
LINES = 60
MORE = tuple(f"more_{number} = {number}\n" for number in range(15))
LOCK = b"# yarn lockfile v1\n"
BRAIN = Planted({rf'"risk {name}"': f"Risk {name} is taken" for name in NAMES})
"""Finds every planted line."""
Files = Mapping[str, bytes | None]


def risk(name: str) -> str:
    return f'{name} = "risk {name}"\n'


def text(letter: str, *first: str, **after: int) -> bytes:
    """Write a file of calm lines: before them ``first``, and each name's risk after a line."""
    calm = [f"{letter}_{number} = {number}\n" for number in range(LINES)]
    for name, number in after.items():
        calm[number] += risk(name)
    return "".join([*first, *calm]).encode()


BASE: Files = {"a.py": text("a"), "b.py": text("b")}
NEW = "".join(f"new_{number} = {number}\n" for number in range(9)) + risk("three")


@dataclass(slots=True)
class Stage:
    """The pull request and its people; ``before`` is its head before the last push."""

    github: GitHub
    home: Repository
    robin: User
    alice: User
    before: str | None = None

    @property
    def pull(self) -> Pull:
        return self.home.pulls[1]

    def open(self, files: Files) -> None:
        self.home.commit(files, branch="work", author=self.robin)
        self.home.open_pull("work", "Take some risks", author=self.robin)

    def push(self, files: Files, parent: str | None = None) -> None:
        self.before = self.pull.head_sha
        self.home.commit(files, branch="work", author=self.robin, parent=parent)

    def thread(self, name: str) -> Thread:
        (found,) = [one for one in self.pull.threads if names(one.comments[0].body) == [name]]
        return found

    def resolve(self, name: str) -> None:
        reviews.resolve(self.github, self.pull, self.thread(name), self.alice)

    def dislike(self, name: str) -> None:
        self.github.react(self.thread(name).comments[0].reactions, self.alice, "-1")

    def answer(self, name: str, words: str) -> None:
        first = self.thread(name).comments[0]
        reviews.reply(self.github, first, Author(self.alice), {}, body=words)

    def change_base(self, branch: str) -> None:
        pull = self.pull
        changes = {"base": {"ref": {"from": pull.base_ref}, "sha": {"from": pull.base_sha}}}
        pull.base_ref, pull.base_sha = branch, self.home.git.branches()[branch]
        threads.follow_head(self.github, pull)
        self.github.pull_event(pull, "edited", self.robin, changes=changes)

    # what is to be seen

    def said(self) -> list[str]:
        """Name what was said on a line or without one, as often as it was said."""
        comments = [one.body for one in self.pull.review_comments if one.author.app is not None]
        comments += [one.body or "" for one in self.pull.reviews]
        comments += [one.body for one in self.pull.comments]
        return sorted(name for words in comments for name in names(words))

    def closed(self) -> set[str]:
        """Name what a person resolved, or we called mended."""
        return {
            name
            for thread in self.pull.threads
            for name in names(thread.comments[0].body)
            if thread.resolved_by is not None
            or any("no longer holds" in one.body for one in thread.comments)
        }

    def told(self) -> set[str]:
        """Name what the newest check run on the head tells of."""
        runs = [one for one in self.home.check_runs if one.suite.head_sha == self.pull.head_sha]
        assert runs
        assert all(one.status == "completed" for one in runs)
        return set(names(str(runs[-1].output["summary"])))


def names(words: str) -> list[str]:
    return re.findall(r"Risk (\w+) is taken", words)


def asked(prompt: str) -> set[str]:
    """Name the planted lines that a request for a review shows as added."""
    if read_task(prompt)[0] != "review":
        return set()
    lines = [line.text for line in read_lines(prompt) if line.mark == "+"]
    return {name for name in NAMES if risk(name).rstrip() in lines}


@dataclass(frozen=True, slots=True)
class Step:
    """What happens, what is asked about, and what is then true of the pull request."""

    name: str
    happen: Callable[[Stage], None]
    asks: str = ""
    says: str = ""
    closes: str = ""
    tells: str = ""


def _open(stage: Stage) -> None:
    stage.open({"a.py": text("a", one=25, two=50), "new.py": NEW.encode()})


def _mend(stage: Stage) -> None:
    stage.push({"a.py": text("a", two=50)})


def _move(stage: Stage) -> None:
    stage.push({"a.py": text("a", *MORE, risk("four"), two=50)})


def _rename(stage: Stage) -> None:
    stage.push({"new.py": None, "renamed.py": NEW.encode()})


def _resolve_and_touch_nothing(stage: Stage) -> None:
    stage.resolve("two")
    stage.push({"yarn.lock": LOCK})


def _dislike_and_touch_it(stage: Stage) -> None:
    stage.dislike("four")
    stage.push({"a.py": text("a", *MORE, risk("four"), "near = 1\n", two=50)})


def _answer_and_add(stage: Stage) -> None:
    stage.answer("three", "This is on purpose.")
    stage.push({"b.py": text("b", five=30)})


def _rebase(stage: Stage) -> None:
    tip = stage.home.commit({"other.py": text("o", seven=30)}, branch="main")
    stage.push(
        {
            "a.py": text("a", *MORE, risk("four"), "near = 1\n", two=50),
            "b.py": text("b", five=30),
            "renamed.py": NEW.encode(),
            "yarn.lock": LOCK,
        },
        parent=tip,
    )


def _force(stage: Stage) -> None:
    stage.push(
        {
            "a.py": text("a", *MORE, risk("four"), "near = 1\n", two=50),
            "d.py": text("d", six=30),
            "renamed.py": NEW.encode(),
        },
        parent=stage.home.git.branches()["main"],
    )


def _change_base(stage: Stage) -> None:
    stage.change_base("next")


def _bring_back(stage: Stage) -> None:
    stage.push({"a.py": text("a", *MORE, risk("four"), "near = 1\n", one=25, two=50)})


STEPS = (
    Step("it is opened", _open, "one two three", "one two three", "", "one two three"),
    Step("one is mended", _mend, "", "", "one", "two three"),
    Step("two moves", _move, "four", "four", "", "two three four"),
    Step("a file is renamed", _rename, "three", "", "", "two three four"),
    Step("nothing to review", _resolve_and_touch_nothing, "", "", "two", "two three four"),
    Step("a thumbs-down", _dislike_and_touch_it, "four", "", "", "two three four"),
    Step("an answer", _answer_and_add, "five", "five", "", "two three four five"),
    Step("a rebase", _rebase, "", "", "", "two three four five"),
    Step("a force-push", _force, "six", "six", "five", "two three four six"),
    Step("another base", _change_base, "seven", "seven", "", "two three four six seven"),
    Step("one is back", _bring_back, "", "", "", "one two three four six seven"),
)


def prepare(home: Repository) -> None:
    """Make the branch that is to be the other base."""
    home.commit({"calm.md": b"Calm.\n"}, branch="next")
