from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.jobs import Job
from serving.shards import Shard

NAMES = st.sets(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1).filter(lambda t: t != "."))


def jobs_named(names: set[str]) -> list[Job]:
    return [Job(Path("in") / name, Path("out") / name) for name in sorted(names)]


@given(NAMES, st.integers(1, 9))
def test_the_shares_of_all_machines_are_the_whole(names: set[str], machines: int) -> None:
    shares = [Shard(number, machines).of(jobs_named(names)) for number in range(1, machines + 1)]
    whole = jobs_named(names)
    assert sorted(whole.index(job) for share in shares for job in share) == [*range(len(whole))]


@given(NAMES, NAMES, st.integers(1, 9))
def test_files_that_come_or_go_change_nobodys_share_of_the_others(
    names: set[str], others: set[str], machines: int
) -> None:
    for number in range(1, machines + 1):
        before = {job for job in Shard(number, machines).of(jobs_named(names)) if job.target.name not in others}
        after = {job for job in Shard(number, machines).of(jobs_named(names | others)) if job.target.name not in others}
        assert before == after


def test_shares_are_about_equal_and_the_same_on_every_machine() -> None:
    jobs = [Job(Path(f"in/img_{number:05}.png"), Path(f"out/img_{number:05}.png")) for number in range(10000)]
    sizes = [len(Shard(number, 20).of(jobs)) for number in range(1, 21)]
    assert (min(sizes), max(sizes), sum(sizes)) == (473, 541, 10000)
    elsewhere = [Job(job.source, Path("/mnt/other") / job.target.name) for job in jobs]
    assert [job.source for job in Shard(7, 20).of(jobs)] == [job.source for job in Shard(7, 20).of(elsewhere)]


def test_a_share_is_given_by_its_number_or_by_a_variable_that_counts_from_0() -> None:
    assert Shard.parsed("3/4") == Shard(3, 4)
    assert Shard.parsed("JOB_COMPLETION_INDEX/4", {"JOB_COMPLETION_INDEX": "0"}) == Shard(1, 4)
    assert Shard.parsed("SLURM_ARRAY_TASK_ID/4", {"SLURM_ARRAY_TASK_ID": "3"}) == Shard(4, 4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "0/2",
        "3/2",
        "1/0",
        "-1/2",
        "1/2/3",
        "a/b",
        "a/0",
        "/2",
        "1/ 2",
        "1.0/2",
        "2a/3",
        "\u0663/4",
        "1/" + "9" * 5000,
    ],
)
def test_a_share_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not I/N with I from 1 to N$"):
        Shard.parsed(text, {"a": "0"})


@pytest.mark.parametrize("value", ["4", "-1", "", "1.5", " 1", "\u0663", "9" * 5000])
def test_a_variable_of_another_value_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^the environment variable I is '.*', not a number from 0 to 3$"):
        Shard.parsed("I/4", {"I": value})


def test_a_variable_that_is_not_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the environment variable JOB_COMPLETION_INDEX is not set; it has to hold"):
        Shard.parsed("JOB_COMPLETION_INDEX/4", {})
