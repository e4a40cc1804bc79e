"""A folder of numbered shards: what is there stays, what fails is done again."""

import json
from pathlib import Path

import pytest

from beam_jobs.sharded import DEAD_LETTERS, Shards, read_all
from models.rest_em.records import Sample
from shammie.errors import UserError

CONFIG = {"seed": 0}


def _sample(number: int) -> Sample:
    return Sample("a", number, f"text {number}", tokens=1, finished=True)


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    made = Shards(str(tmp_path / "out"), "samples", 3)
    made.start(CONFIG)
    return made


def test_shards_counters_and_dead_letters_add_up(shards: Shards) -> None:
    shards.write(0, [_sample(0)], {"steps": 2})
    shards.write(1, [_sample(1), _sample(2)], {"steps": 3}, [("b#0", "timeout")])
    assert shards.report(2) is None
    assert shards.finished() == 2
    shards.write(2, [], {})
    manifest = shards.finish(CONFIG, max_bad_share=0.25)
    assert manifest["counters"] == {"records": 3, "steps": 5, "dead_letters": 1}
    assert [one.sample for one in read_all(shards.output, Sample)] == [0, 1, 2]
    assert json.loads((Path(shards.output) / DEAD_LETTERS).read_text()) == {"id": "b#0", "reason": "timeout"}
    assert shards.start(CONFIG) == manifest


def test_too_many_dead_letters_stop_the_job_and_only_their_shards_are_done_again(shards: Shards) -> None:
    for number in (0, 1, 2):
        shards.write(number, [_sample(number)], {}, [("b#0", "refused")] if number == 1 else [])
    with pytest.raises(
        UserError, match=r"1 of 4 samples failed, the first: b#0: refused; .*--max_bad_share \(now 0.2\)"
    ):
        shards.finish(CONFIG, max_bad_share=0.2)
    assert [shards.report(number) is None for number in (0, 1, 2)] == [False, True, False]
    assert shards.start(CONFIG) is None
    shards.write(1, [_sample(1)], {})
    assert shards.finish(CONFIG)["counters"]["dead_letters"] == 0


def test_a_shard_that_is_cut_is_done_again(shards: Shards) -> None:
    shards.write(0, [_sample(0)], {})
    path = Path(shards.output) / shards.shard_name(0)
    path.write_bytes(path.read_bytes()[:-3])
    assert shards.report(0) is None
    with pytest.raises(UserError, match=r"shard 0 of .* went missing"):
        shards.finish(CONFIG)


def test_the_folder_of_another_job_or_of_none_is_refused(shards: Shards, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another seed"):
        Shards(shards.output, "samples", 3).start({"seed": 1})
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds no work of this job"):
            Shards(str(other), "samples", 1).start(CONFIG, overwrite=overwrite)
    assert (other / "thesis.txt").read_text() == "precious"


def test_overwrite_leaves_what_is_not_the_job_s(shards: Shards) -> None:
    shards.write(0, [_sample(0)], {})
    (Path(shards.output) / "notes.txt").write_text("precious")
    assert shards.start({"seed": 1}, overwrite=True) is None
    assert shards.report(0) is None
    assert sorted(path.name for path in Path(shards.output).iterdir()) == ["_work", "notes.txt"]


def test_a_kill_before_the_plan_is_there_leaves_a_folder_to_begin_in(tmp_path: Path) -> None:
    (tmp_path / "_work").mkdir()
    (tmp_path / "_work" / "plan.json.tmp-0123abcd").write_bytes(b'{"con')
    shards = Shards(str(tmp_path), "samples", 1)
    assert shards.start(CONFIG) is None
    (tmp_path / f"{shards.shard_name(0)}.tmp-0123abcd").touch()
    shards.write(0, [_sample(0)], {})
    shards.finish(CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == [DEAD_LETTERS, "manifest.json", shards.shard_name(0)]
