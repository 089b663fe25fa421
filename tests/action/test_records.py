"""A step has no database: what it found is handed to the next in the check run, signed."""

from __future__ import annotations

import base64
import json
import zlib

from sandbox.github import CheckRun, Fault, checks
from sandbox.models import ModelServer, Planted
from tests.action.conftest import MEAN, READING, Job


def text(run: CheckRun) -> str:
    return str(run.output.get("text") or "")


def entries(run: CheckRun) -> list[list[str]]:
    """Read a record without asking whose it is."""
    packed = text(run).split(" ")[3]
    return list(json.loads(zlib.decompress(base64.b64decode(packed))))


def reviews_asked(job: Job, since: int = 0) -> int:
    return sum("task: review" in seen.prompt for seen in job.model.seen[since:])


def test_what_was_found_before_still_fails_the_gate(job: Job) -> None:
    inputs = {**job.inputs, "fail-on": "major"}
    first = job.on_pull(inputs=inputs)
    assert first.code == 1
    before = job.pull.head_sha
    job.pull.push({"README.md": "# The shop\n"})
    heard = len(job.model.seen)
    second = job.on_pull(inputs=inputs, before=before)
    assert second.code == 1, second.log
    assert [one.conclusion for one in job.home.check_runs] == ["failure", "failure"]
    assert (second.outputs["verdict"], second.outputs["findings"]) == ("findings", "1")
    assert second.outputs["reviewed-lines"] == second.outputs["changed-lines"] == "6"
    (asked,) = [seen.prompt for seen in job.model.seen[heard:]]
    assert "The shop" in asked
    assert "len(items)" not in asked
    assert "1 part reviewed earlier and unchanged" in second.summary
    assert len(job.said()) == 1


def test_a_full_review_asks_about_everything(job: Job) -> None:
    job.on_pull()
    assert reviews_asked(job) == 1
    job.on_pull()
    assert reviews_asked(job) == 1
    job.on_pull(inputs={**job.inputs, "review": "full"})
    assert reviews_asked(job) == 2
    job.on_comment(job.alice, "/review full")
    assert reviews_asked(job) == 3
    job.on_comment(job.alice, "/review")
    assert reviews_asked(job) == 3
    assert len(job.said()) == 1


def test_a_forged_record_hides_nothing(job: Job) -> None:
    job.on_pull()
    (run,) = job.home.check_runs
    honest = text(run)
    quiet = json.dumps([[key, "[]"] for key, _ in entries(run)])
    packed = base64.b64encode(zlib.compress(quiet.encode()))
    other = job.home.open_pull("mean", "The same commit, another pull", author=job.alice)
    proof = honest.split(" ")[2]
    for number, forged in enumerate(
        (
            f"<!-- postil:record:1 {proof} {packed.decode()} -->",
            honest[: len(honest) // 2],
            honest[:-4] + "A" * 1_000_000 + " -->",
            f"{honest} {honest}",
        )
    ):
        run.output["text"] = forged
        ran = job.on_pull()
        assert (ran.outputs["findings"], reviews_asked(job)) == ("1", number + 2), ran.log
    run.output["text"] = honest
    ran = job.on_pull(pull=other)
    assert (ran.outputs["findings"], reviews_asked(job)) == ("1", 6)
    assert len(job.said()) == 1
    assert len(other.review_comments) == 1


def test_a_record_under_another_head_hides_nothing(job: Job) -> None:
    job.on_pull()
    (run,) = job.home.check_runs
    before = job.pull.head_sha
    job.pull.push({"README.md": "# The shop\n"})
    output = {**run.output, "text": text(run)}
    run.output["text"] = ""
    wanted = {"name": "Postil", "head_sha": job.pull.head_sha, "output": output}
    checks.create(job.github, job.home, job.installation.app, wanted)
    heard = len(job.model.seen)
    job.on_pull(before=before)
    assert "len(items)" in "".join(seen.prompt for seen in job.model.seen[heard:])


def test_without_a_secret_nothing_is_handed_on(job: Job) -> None:
    job.on_pull(inputs={"provider": "novita"})
    assert [text(run) for run in job.home.check_runs] == [""]
    job.grant(READING)
    job.on_pull()
    job.on_pull()
    assert reviews_asked(job) == 2


def test_a_secret_is_not_handed_on(job: Job) -> None:
    brain = Planted({r"/ len\(": {"title": f"The key is {job.model.key}"}})
    with ModelServer("novita", brain=brain, key=job.model.key) as model:
        job.on_pull(inputs={**job.inputs, "base-url": model.base_url})
    assert [text(run) for run in job.home.check_runs] == [""]


def test_a_run_that_broke_off_hands_on_what_it_was_handed(job: Job) -> None:
    job.on_pull()
    before = job.pull.head_sha
    job.pull.push({"README.md": "# The shop\n"})
    fault = job.github.inject(Fault("GET", r"/pulls/\d+/files", status=404, times=None))
    assert job.on_pull(before=before).code == 3
    fault.times = 0
    before = job.pull.head_sha
    job.pull.push({"other.py": MEAN.replace("mean", "middle")})
    heard = len(job.model.seen)
    ran = job.on_pull(before=before)
    asked = "".join(seen.prompt for seen in job.model.seen[heard:])
    assert ("def middle" in asked, "def mean" in asked) == (True, False)
    assert ran.outputs["findings"] == "2"


def test_a_record_that_cannot_be_read_only_costs_an_answer(job: Job) -> None:
    job.on_pull()
    before = job.pull.head_sha
    job.pull.push({"README.md": "# The shop\n"})
    job.github.inject(Fault("GET", r"/check-runs/\d+$", status=500, times=None))
    ran = job.on_pull(before=before)
    assert (ran.code, ran.outputs["findings"]) == (0, "1")
    assert reviews_asked(job) == 2
    assert len(job.said()) == 1
