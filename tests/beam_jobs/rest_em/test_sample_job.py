"""The sampling job: real RunInference with the real handler on a tiny model."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from beam_jobs.inference import lm_handler
from beam_jobs.inference.lm_handler import load_lm
from beam_jobs.inference.requests import seed_of
from beam_jobs.rest_em import sample
from beam_jobs.rest_em.__main__ import main
from beam_jobs.rest_em.sample import LocalModel, plan, problems_of, run
from beam_jobs.sharded import read_all, read_manifest
from models.lm import DecoderLM
from models.lm.decoding import Sampling, generate
from models.lm.sampler import Slots
from models.rest_em.records import Sample, write_records
from shammie.errors import UserError
from shammie.files import sha256_of

FOUR = ["--direct_num_workers=4", "--runner=DirectRunner"]


def test_every_problem_has_its_samples_and_the_counters_add_up(job, problems):
    manifest = run(job())
    samples = read_all(job().output, Sample)
    assert Counter(one.problem for one in samples) == {problem.id: 4 for problem in problems}
    assert {one.sample for one in samples} == {0, 1, 2, 3}
    counters = manifest["counters"]
    assert counters["records"] == len(samples) == 80
    assert counters["tokens"] == sum(one.tokens for one in samples) == counters["slot_steps_used"]
    assert all(1 <= one.tokens <= 6 and (one.log_probability or 0) < 0 for one in samples)
    assert any(one.finished for one in samples) or all(one.tokens == 6 for one in samples)
    assert not os.path.exists(os.path.join(job().output, "_work"))


def test_samples_of_a_problem_differ_and_have_the_model_s_log_probability(job, lm_path):
    run(job(generation=replace(job().generation, new_tokens=2)))  # noise is ASCII now and then if it is short
    one = next(one for one in read_all(job().output, Sample) if one.text.isascii() and not one.finished)
    model = load_lm(lm_path, "bytes")
    prompt = next(problem.prompt for problem in problems_of(job().problems) if problem.id == one.problem)
    (given,) = model.prompt_ids([prompt])
    drawn = model.prompt_ids([one.text])[0][1:]
    logits = DecoderLM(model.model.config).apply({"params": model.model.params}, np.append(given, drawn)[None, :-1])
    wide = np.asarray(logits, np.float64)[0, len(given) - 1 :]
    nats = np.log(np.exp(wide).sum(-1)) - wide[np.arange(len(drawn)), drawn]
    assert one.log_probability == pytest.approx(-nats.sum(), abs=1e-3)
    texts = [one.text for one in read_all(job().output, Sample)]
    assert len(set(texts)) > len(texts) / 2


def test_greedy_samples_are_those_of_generate(job, lm_path):
    run(job(samples=1, generation=replace(job().generation, sampling=Sampling(temperature=0.0))))
    model = load_lm(lm_path, "bytes")
    for problem, one in zip(
        problems_of(job().problems), sorted(read_all(job().output, Sample), key=lambda s: s.problem), strict=True
    ):
        (ids,) = model.prompt_ids([problem.prompt])
        out = generate(
            DecoderLM(model.model.config), model.model.params, ids[None], np.array([len(ids)]), jax.random.key(0),
            new_tokens=6, sampling=Sampling(temperature=0.0),
        )  # fmt: skip
        assert one.text == model.text(np.asarray(out.tokens)[0][: int(out.lengths[0])])


@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_four_workers_give_the_same_bytes(job, mode, hashes):
    run(job())
    run(job("again"), [*FOUR, f"--direct_running_mode={mode}"])
    assert hashes(job().output) == hashes(job("again").output)


def test_workers_elsewhere_read_shipped_copies_alone(job, hashes, monkeypatch):
    """Model and problems lie in the work folder by their sha256 while the job runs, and are gone after it."""
    config = job("there")
    read = []
    monkeypatch.setattr(sample, "check_shipped", read.append)
    monkeypatch.setattr(lm_handler, "check_shipped", read.append)
    problems_of.cache_clear()
    run(job())
    assert not any("/artefacts/" in path for path in read)
    run(config, [*FOUR, "--direct_running_mode=multi_threading"])
    sent = {os.path.basename(path) for path in read if "/artefacts/" in path}
    assert sent == {sha256_of(config.model.model) + ".bin", sha256_of(config.problems) + ".jsonl"}
    assert hashes(config.output) == hashes(job().output)
    assert not os.path.exists(os.path.join(config.output, "_work"))


def test_what_decides_a_sample(job):
    first = run(job())
    assert run(job("seed", seed=1))["shards"] != first["shards"]
    assert run(job("iteration", iteration=2))["shards"] != first["shards"]
    assert run(job("same"))["shards"] == first["shards"]
    seeds = {
        seed_of(*parts) for parts in ((0, 1, "a", 0), (1, 1, "a", 0), (0, 2, "a", 0), (0, 1, "b", 0), (0, 1, "a", 1))
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 1 << 63 for seed in seeds)


def test_later_samples_are_others_and_numbered_on(job):
    run(job(first_sample=4))
    assert {one.sample for one in read_all(job().output, Sample)} == {4, 5, 6, 7}


KILLED = """
import os, signal, sys
from beam_jobs.rest_em import sample
real = sample.WriteSamples.process
def then_die(self, answered):
    yield from real(self, answered)
    if answered.number == {last}:
        os.kill(os.getpid(), signal.SIGKILL)
sample.WriteSamples.process = then_die
from beam_jobs.rest_em import sample
from beam_jobs.rest_em.__main__ import main
main(sys.argv[1:])
"""


def _flags(config) -> list[str]:
    flags = {"problems": config.problems, "output": config.output, "model": config.model.model, "codec": "bytes"}
    flags |= {"samples": 4, "group_samples": 12, "new_tokens": 6}
    return ["sample", *(f"--{name}={value}" for name, value in flags.items())]


def test_kill_9_and_resume_on_four_workers_gives_the_same_bytes(job, tmp_path, hashes):
    assert main(_flags(job("whole"))) == 0
    killed = subprocess.run(
        [sys.executable, "-c", KILLED.format(last=2), *_flags(job())], stderr=subprocess.DEVNULL, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    done = sorted(path.name for path in Path(job().output).glob("*.jsonl"))
    assert 0 < len(done) < 7
    times = {name: (Path(job().output) / name).stat().st_mtime_ns for name in done}
    assert main([*_flags(job()), *FOUR]) == 0
    assert hashes(job().output) == hashes(job("whole").output)
    assert {name: (Path(job().output) / name).stat().st_mtime_ns for name in done} == times


def test_groups_hold_whole_problems_of_like_length_whatever_their_order(problems):
    groups = plan(problems, 4, 12)
    assert sorted(place for group in groups for place in group) == list(range(20))
    assert max(map(len, groups)) == 3
    backwards = list(reversed(problems))
    assert [{backwards[p].id for p in g} for g in plan(backwards, 4, 12)] == [
        {problems[p].id for p in g} for g in groups
    ]
    lengths = [len(problems[place].prompt).bit_length() for group in groups for place in group]
    assert lengths == sorted(lengths)
    assert plan(problems, 100, 12) == [(place,) for group in plan(problems, 12, 12) for place in group]


def test_a_finished_job_is_only_read_and_another_is_refused(job, monkeypatch):
    manifest = run(job())
    monkeypatch.setattr("beam_jobs.sharded_job.run_pipeline", lambda *_: 1 / 0)
    assert run(job()) == manifest
    with pytest.raises(UserError, match=r"samples holds another job's files \(another seed\)"):
        run(job(seed=1))
    monkeypatch.undo()
    assert run(job(seed=1, overwrite=True))["config"]["seed"] == 1
    os.remove(os.path.join(job().output, manifest["shards"][1]["name"]))
    with pytest.raises(UserError, match="is missing or damaged"):
        run(job(seed=1))


def test_a_model_of_another_codec_is_refused_before_any_work(job, lm_path):
    with pytest.raises(UserError, match="the language model reads ids of"):
        run(job(model=LocalModel(lm_path, "default")))
    assert not os.path.exists(job().output)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (['{"id": "a", "prompt": "x", "verifier": "number"}', "{"], "line 2: .*each line is a Problem"),
        (['{"id": "a", "verifier": "number"}'], "line 1: missing 1 required positional argument: 'prompt'"),
        (['{"id": "a", "prompt": "x", "verifier": "guess"}'], "line 1: verifier 'guess' is none of number"),
        (['{"id": "a", "prompt": "x", "verifier": "number", "hint": 1}'], "line 1: Problem has no field 'hint'"),
        (['{"id": "a", "prompt": "x", "verifier": "number"}'] * 2, "two problems of the id 'a'"),
        ([], "holds no problem"),
    ],
)
def test_bad_problems_are_named(job, tmp_path, lines, error):
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(UserError, match=error):
        run(job(problems=str(path)))


def test_the_command_says_what_is_wrong(job, capsys):
    config = job()
    flags = _flags(config)
    for wrong, words in [
        ([*flags, "--endpoint=http://x/v1"], "give either --model or --endpoint"),
        ([flag for flag in flags if "codec" not in flag], "--model needs --codec"),
        ([*flags, "--top_p=2"], "Sampling.top_p must be above 0 and at most 1, got 2.0"),
        ([*flags, "--direct_num_worker=2"], "did you mean --direct_num_workers"),
        ([*flags, "--samples=0"], "samples=0 is below 1"),
        ([*flags, "stray"], "unexpected argument 'stray'"),
    ]:
        assert main(wrong) != 0
        assert words in capsys.readouterr().err.replace("\n", " ")
    assert main(flags) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 80


HOLDER = """
import sys, time
from shammie.lock import holding
with holding(sys.argv[1], if_dead=""):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_jobs_at_once_are_refused(job):
    os.makedirs(job().output)
    with subprocess.Popen([sys.executable, "-c", HOLDER, job().output], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(UserError, match=f"is held by process {holder.pid}"):
                run(job())
        finally:
            holder.kill()


def test_a_prompt_prefix_stands_before_every_prompt(job, tmp_path, problems):
    prefixed = tmp_path / "prefixed.jsonl"
    write_records(str(prefixed), [replace(one, prompt="1 + 1 = 2\n" + one.prompt) for one in problems])
    run(job("by_file", problems=str(prefixed), group_samples=80))
    run(job("by_flag", prompt_prefix="1 + 1 = 2\n", group_samples=80))
    by_id = lambda folder: {(s.problem, s.sample): s.text for s in read_all(str(tmp_path / folder), Sample)}  # noqa: E731
    assert by_id("by_file") == by_id("by_flag")


def test_many_slots_or_few_draw_alike(job):
    run(job("few"))
    run(job("many", slots=Slots(slots=16, prompts=8)))
    few, many = (read_all(job(name).output, Sample) for name in ("few", "many"))
    same = np.mean([a.text == b.text for a, b in zip(few, many, strict=True)])
    assert same > 0.9  # other shapes may round otherwise, which turns a draw now and then
    assert read_manifest(job("few").output)["digest"] != read_manifest(job("many").output)["digest"]
