"""The loop from end to end at toy size, its variants as steps, and what its gin files promise."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.sharded import Shards, read_all, read_manifest
from models.lm import LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from models.rest_em.records import Graded, Problem, read_records, write_records
from seqio_tasks.pairs import read_pairs, splits_of
from shammie.errors import UserError
from workflows import gin_config, rest_em, rest_em_steps
from workflows.cli import main
from workflows.dag import Running, Step, load_records, plan
from workflows.dag_step import in_order
from workflows.rest_em import Settings, Size, Variant, steps
from workflows.rest_em_data import problems_in, splits_in

TINY = ["--size", "tiny"]


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rest_em")
    assert main(["run", "rest_em", *TINY, "--out", str(out)]) == 0
    return out


def _folder(out: Path, name: str) -> Path:
    return next(out.glob(f"{name}-*"))


def _steps(size: str, *bindings: str) -> list[Any]:
    gin_config.parse([f"gin/rest_em/{size}.gin"], bindings, modules=["workflows.rest_em"])
    return in_order(gin_config.call(rest_em.steps))


def test_the_result_is_what_the_evaluations_say(tiny_run: Path) -> None:
    result = json.loads((tiny_run / "result.json").read_text())
    assert all(isinstance(value, int | float) for value in result.values())
    shares = sorted(
        json.loads(path.read_text())["test"]["pass_at_1"] for path in tiny_run.glob("evaluate-*/measures.json")
    )
    assert len(shares) == 3
    base, last = result["tiny_base_pass_at_1"], result["tiny_rest_em_pass_at_1"]
    assert {base, last} <= set(shares)
    assert result["tiny_gain_points"] == pytest.approx(100 * (last - base))
    assert result["tiny_rest_em_test_gain_points"] == result["tiny_gain_points"]
    assert (
        result["tiny_gain_points_problems_low"]
        <= result["tiny_gain_points"]
        <= result["tiny_gain_points_problems_high"]
    )
    assert "tiny_gain_points_low" not in result  # of one seed nothing is known of others
    assert {"tiny_base_drawn_pass_at_4", "tiny_rest_em_drawn_majority_at_2"} <= set(result)


def test_what_is_trained_on_passed_and_is_what_is_kept(tiny_run: Path) -> None:
    prompts = {one.id: one.prompt for one in problems_in(str(_folder(tiny_run, "problems")), "train")}
    for select in tiny_run.glob("select-*"):
        kept = read_records(str(select / "pairs" / "kept.jsonl"), Graded)
        assert kept
        assert all(one.passed and one.finished for one in kept)
        assert read_pairs(str(select / "pairs"), "train") == [(prompts[one.problem], one.text) for one in kept]
    graded = [one for grade in tiny_run.glob("grade-*") for one in read_all(str(grade / "graded"), Graded)]
    assert {one.verifier for one in graded} == {"number@1", "python@2"}
    assert any(one.passed for one in graded)
    assert not all(one.passed for one in graded)


def test_each_iteration_samples_from_the_last_model_and_tunes_the_base(tiny_run: Path) -> None:
    plain = _steps("tiny")
    bases = [step for step in plain if step.name == "base"]
    samples, tunes = ([step for step in plain if step.name == name] for name in ("sample", "tune"))
    assert [step.inputs["model"] for step in samples] == [bases[0], tunes[0]]
    assert [step.inputs["start"] for step in tunes] == [bases[0], bases[0]]
    first, second = (read_manifest(str(tiny_run / step.directory_name / "samples"))["config"] for step in samples)
    models = [(tiny_run / step.directory_name / "lm.bin").read_bytes() for step in (bases[0], tunes[0])]
    assert models[0] != models[1]
    assert first["model"]["lm"] != second["model"]["lm"]
    assert (first["iteration"], second["iteration"]) == (1, 2)


def test_equal_samples_are_judged_alike_and_kept_ones_are_marked(tiny_run: Path) -> None:
    page = (tiny_run / "report.html").read_text()
    last = max(tiny_run.glob("select-*"), key=lambda path: path.stat().st_mtime_ns)
    kept = read_records(str(last / "pairs" / "kept.jsonl"), Graded)
    shown = [one.id for one in problems_in(str(_folder(tiny_run, "problems")), "train")][:40]
    assert page.count("passed, kept") == sum(one.problem in shown for one in kept) > 0


def test_splits_are_disjoint_and_of_their_families(tiny_run: Path) -> None:
    folder = str(_folder(tiny_run, "problems"))
    assert splits_in(folder) == {
        "base": 600, "train": 48, "validation": 16, "test": 32, "arithmetic_transfer": 16, "programs_transfer": 16
    }  # fmt: skip
    prompts = [one.prompt for split in splits_in(folder) for one in problems_in(folder, split)]
    assert len(set(prompts)) == len(prompts)


def test_the_report_shows_pictures_tables_and_samples(tiny_run: Path) -> None:
    page = (tiny_run / "report.html").read_text()
    assert page.count("<svg") == 4
    assert not re.search(r'(src|href)="?http', page)
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings[0] == "Reward by iteration"
    assert "Samples and verdicts" in headings
    assert "wrong answer" in page
    assert page.count('<div class="sample ') > 40


def test_a_second_run_does_nothing_and_a_lost_step_alone_is_made_again(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(tiny_run, out)
    before = {path.name: path.read_bytes() for path in out.glob("*-*/lm.bin")}
    grade = max(out.glob("grade-*"), key=lambda path: path.stat().st_mtime_ns)
    kept = {path.name: path.read_bytes() for path in (grade / "graded").iterdir()}
    shutil.rmtree(grade)
    shutil.rmtree(next(out.glob("report-*")))  # a finished report asks for nothing
    done = {record["directory"] for record in load_records(str(out))}
    assert main(["run", "rest_em", *TINY, "--out", str(out)]) == 0
    assert {path.name: path.read_bytes() for path in (grade / "graded").iterdir()} == kept
    assert {path.name: path.read_bytes() for path in out.glob("*-*/lm.bin")} == before
    assert {str(grade)} < {record["directory"] for record in load_records(str(out))} - done


LM = LMConfig(width=16, layers=1, heads=1, head_width=16, mlp_width=16)
SIZES = (Size("s", LM), Size("l", replace(LM, width=32)))


def _chain(*variants: Variant, sizes: tuple[Size, ...] = SIZES) -> list[Any]:
    return in_order(steps(Settings(sizes=sizes, variants=variants)))


def _of(plain: list[Any], name: str) -> list[Any]:
    return [step for step in plain if step.name == name]


def test_rest_goes_on_from_the_last_model_and_shares_the_first_iteration() -> None:
    two = Variant(iterations=2)
    plain = _chain(two, replace(two, name="rest", start="last"), sizes=SIZES[:1])
    assert len(_of(plain, "tune")) == 3  # the first iteration of both is one
    assert len(_of(plain, "sample")) == 2
    (base,) = _of(plain, "base")
    assert sorted(step.inputs["start"].name for step in _of(plain, "tune")) == ["base", "base", "tune"]
    assert {step.inputs["model"] for step in _of(plain, "evaluate")} == {base, *_of(plain, "tune")}


def test_the_largest_teaches_the_others() -> None:
    plain = _chain(Variant(iterations=2), Variant(name="distill", iterations=1, source="teacher"))
    bases = {step.config["model"]["width"]: step for step in _of(plain, "base")}
    taught = [step for step in _of(plain, "tune") if step.inputs["start"] is bases[16]]
    large = [step for step in _of(plain, "tune") if step.inputs["start"] is bases[32]]
    assert (len(taught), len(large)) == (3, 2)
    assert len({step.inputs["select"] for step in taught} & {step.inputs["select"] for step in large}) == 1
    with pytest.raises(UserError, match="Variant distill has no teacher"):
        _chain(Variant(name="distill", iterations=1, source="teacher"))


def test_one_iteration_draws_as_often_as_several() -> None:
    once = Variant(name="one_iteration", iterations=1, samples=8, times=3)
    (sample,) = _of(_chain(once, sizes=SIZES[:1]), "sample")
    assert sample.config["samples"] == 24
    small = [step.config["samples"] for step in _of(_steps("small"), "sample")]
    assert sorted(set(small)) == [4, 12]
    assert sorted({step.config["samples"] for step in _of(_steps("small", "SAMPLES=2"), "sample")}) == [2, 6]


def test_rft_keeps_every_path_and_the_human_ones() -> None:
    gin_config.parse(
        ["gin/rest_em/main.gin"],
        ["VARIANTS=(@rft/rest_em_settings.Variant(), @star/rest_em_settings.Variant())"],
        modules=["workflows.rest_em"],
    )
    plain: Any = in_order(gin_config.call(rest_em.steps))
    selected = [step.config for step in _of(plain, "select")]
    assert [one["cap"] for one in selected] == [0, 10, 10, 10]
    assert [(one["distinct"], one["with_human"]) for one in selected][:2] == [("equations", True), ("text", False)]
    assert len(_of(plain, "sample")) == 1 + 2 * 3


def test_human_solutions_need_no_samples() -> None:
    plain = _chain(Variant(name="sft", iterations=1, source="human"), sizes=SIZES[:1])
    assert not _of(plain, "sample")
    assert len(_of(plain, "tune")) == 1


def test_star_tries_unsolved_problems_again_with_the_answer() -> None:
    greedy = Sampling(temperature=0.0)
    star = Variant(name="star", iterations=1, samples=1, sampling=greedy, hint="It is {answer}. ")
    plain = _chain(star, sizes=SIZES[:1])
    first, hinted = _of(plain, "sample")
    (select,) = _of(plain, "select")
    assert hinted.inputs["failed"] is _of(plain, "grade")[0]
    assert hinted.config["hint"] == "It is {answer}. "
    assert "hint" not in first.config
    assert select.inputs["grade_hinted"].inputs["sample"] is hinted


@pytest.mark.slow
def test_every_variant_runs_and_is_told_of(tmp_path: Path) -> None:
    names = ("rest_em", "star", "rft", "rest", "sft", "one_iteration", "distill")
    variants = ", ".join(f"@{name}/rest_em_settings.Variant()" for name in names)
    given = {"FAMILIES": "('arithmetic',)", "VARIANTS": f"({variants})"}
    flags = [f"--gin.{name}={value}" for name, value in given.items()]
    two_sizes = tmp_path / "two_sizes.gin"
    two_sizes.write_text(
        "from __gin__ import dynamic_registration\n"
        "from workflows import rest_em_settings\n"
        "include 'gin/rest_em/sizes.gin'\n"
        "SIZES = (@tiny/rest_em_settings.Size(), %LARGE)\n"
    )
    out = tmp_path / "out"
    assert main(["run", "rest_em", *TINY, "--gin_file", str(two_sizes), "--out", str(out), *flags]) == 0
    result = json.loads((out / "result.json").read_text())
    for name in names:
        assert f"tiny_{name}_test_gain_points" in result
        assert (f"0.4m_{name}_test_gain_points" in result) == (name != "distill")
    hinted = [path for path in out.glob("sample-*/hinted.jsonl")]
    assert hinted
    answers = [
        one.prompt.startswith(f"Answer: {one.answer}") for path in hinted for one in read_records(str(path), Problem)
    ]
    assert all(answers)
    kept = [read_records(str(path), Graded) for path in out.glob("select-*/pairs/kept.jsonl")]
    chosen = [str(path) for path in out.glob("select-*/pairs") if "train" in splits_of(str(path))]  # or nothing passed
    prompts = {pair[0] for path in chosen for pair in read_pairs(path, "train")}
    assert any(kept)
    assert not any(prompt.startswith("Answer:") for prompt in prompts)  # solutions are trained on without the hint


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda: Variant(iterations=0), "Variant.iterations of rest_em is 0"),
        (lambda: Variant(start="first"), "unknown Variant.start 'first'"),  # pyright: ignore[reportArgumentType]
        (lambda: Variant(source="human"), "has 3 iterations over human solutions"),
        (lambda: Settings(families=("arithmetics",)), "unknown family 'arithmetics'; did you mean arithmetic"),
        (lambda: Settings(variants=(Variant(), Variant())), "names one twice: rest_em, rest_em"),
        (lambda: Settings(seeds=()), "seeds is empty"),
        (lambda: Settings(families=("programs",), variants=(Variant(hint="x"),)), "a hint tells the answer"),
        (lambda: Settings(variants=(Variant(iterations=1, source="teacher"),)), "the largest of several sizes"),
        (lambda: Settings(test_problems=0), "test_problems is 0"),
        (lambda: Settings(data={"train": "gsm8k:x"}), "data has only train"),
        (lambda: Settings(base="lm.bin"), "base is set, but no codec"),
        (
            lambda: steps(Settings(data={"train": "gsm9k:x", "test": "math:y"})),
            "unknown format 'gsm9k'; did you mean gsm8k",
        ),
        (lambda: steps(Settings(data={"train": "x.jsonl", "test": "math:y"})), "data of train is 'x.jsonl'"),
        (lambda: steps(input=["x"]), "rest_em reads no plain --input"),
    ],
)
def test_wrong_settings_are_named(wrong: Any, error: str) -> None:
    with pytest.raises(UserError, match=re.escape(error)):
        wrong()


def test_small_and_paper_are_what_they_say(tmp_path: Path) -> None:
    small = _steps("small")
    assert len(_of(small, "base")) == 6
    assert {step.config["seed"] for step in _of(small, "base")} == {0, 1, 2}
    (tmp_path / "train.jsonl").write_text("")
    given = [f"{name}='{tmp_path / 'train.jsonl'}'" for name in ("BASE", "CODEC")]
    data = f"DATA={{'train': 'gsm8k:{tmp_path / 'train.jsonl'}', 'test': 'gsm8k:{tmp_path / 'train.jsonl'}'}}"
    paper = _steps("paper", *given, data)
    sampled = _of(paper, "sample")[0].config
    assert (sampled["samples"], sampled["sampling"]["top_k"], sampled["sampling"]["temperature"]) == (32, 40, 0.7)
    assert {step.config["samples"] for step in _of(paper, "sample")} == {32, 96}
    assert {step.config["cap"] for step in _of(paper, "select") if "cap" in step.config} == {10}
    model = LMConfig(**_of(paper, "tune")[0].config["model"])
    assert model.block_parameters() == pytest.approx(1.2e9, rel=0.02)


def test_files_has_room_for_released_solutions(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("")
    data = f"DATA={{'train': 'gsm8k:{tmp_path / 'x.jsonl'}', 'test': 'math:{tmp_path / 'x.jsonl'}'}}"
    plain = _steps("files", data)
    assert {step.config["max_tokens"] for step in _of(plain, "select")} == {512}
    assert _of(plain, "problems")[0].config["formats"] == {"train": "gsm8k", "test": "math"}


def test_released_files_become_splits_without_what_was_trained_on(tmp_path: Path) -> None:
    def row(n: int) -> str:
        return json.dumps({"question": f"What is {n} plus {n}?", "answer": f"{n}+{n}={2 * n}\n#### {2 * n}"}) + "\n"

    (tmp_path / "train.jsonl").write_text("".join(map(row, range(60))))
    (tmp_path / "test.jsonl").write_text("".join(map(row, range(50, 80))))
    data = {"train": f"gsm8k:{tmp_path / 'train.jsonl'}", "test": f"gsm8k:{tmp_path / 'test.jsonl'}"}
    targets = steps(Settings(data=data, test_problems=100))
    problems = next(step for step in in_order(targets) if step.name == "problems")
    from workflows.dag import run

    run([problems], str(tmp_path / "out"))
    folder = str(tmp_path / "out" / problems.directory_name)
    sizes = splits_in(folder)
    assert sizes["train"] + sizes["validation"] + sizes["base"] == 60
    assert min(sizes["train"], sizes["base"]) > 15
    assert {one.id for one in problems_in(folder, "base")}.isdisjoint(one.id for one in problems_in(folder, "train"))
    left_out = json.loads((Path(folder) / "left_out.json").read_text())
    assert sizes["test"] == 30 - len([one for one in left_out if one["split"] == "test"])
    assert len(left_out) == 10
    assert {one["why"] for one in left_out} == {"same text"}
    (tmp_path / "train.jsonl").write_text("".join(map(row, range(61))))
    changed = plan(steps(Settings(data=data, test_problems=100)), str(tmp_path / "out"))
    assert changed[0].state in ("missing", "stale")


def test_a_base_of_the_user_s_must_read_the_codec_s_ids(tiny_run: Path, tmp_path: Path) -> None:
    base = _folder(tiny_run, "base") / "lm.bin"
    codec = _folder(tiny_run, "codec") / "codec.bin"
    problems = [Problem(id=f"p/{n}", prompt=f"{n}=", verifier="number", answer=str(n)) for n in range(40)]
    write_records(str(tmp_path / "p.jsonl"), problems)
    data = {split: f"jsonl:{tmp_path / 'p.jsonl'}" for split in ("train", "test")}
    from workflows.dag import run

    def base_of(codec_path: str) -> Step:
        settings = Settings(data=data, base=str(base), codec=codec_path)
        return next(step for step in in_order(steps(settings)) if step.name == "base")

    with pytest.raises(UserError, match="split test holds no problem"):  # all of them are trained on
        run([base_of(str(codec))], str(tmp_path / "out"))
    data["test"] = f"jsonl:{tmp_path / 'q.jsonl'}"
    write_records(
        str(tmp_path / "q.jsonl"), [replace(one, id="q" + one.id, prompt="?" + one.prompt * 3) for one in problems]
    )
    done = run([base_of(str(codec))], str(tmp_path / "out"))  # without a solution: there is a base already
    assert TrainedLM.from_bytes((Path(done[-1].directory) / "lm.bin").read_bytes()).config.width == 64
    with pytest.raises(UserError, match="the language model reads ids of"):
        run([base_of("bytes")], str(tmp_path / "out"))


def test_where_nothing_passed_each_sample_is_told_of_and_no_pairs_are_written(tmp_path: Path) -> None:
    shards = Shards(str(tmp_path / "grade" / "graded"), "graded", 1)
    (tmp_path / "grade" / "graded").mkdir(parents=True)
    shards.start({})
    shards.write(0, [Graded("p", 0, "x", 1, True, False, "wrong answer", "", "number@1")], {})
    shards.finish({})
    step = Step(
        "select", rest_em_steps.select, config={"with_human": False}, inputs={"grade": Step("grade", lambda _: {})}
    )
    running = Running(step, str(tmp_path / "out"), {"grade": str(tmp_path / "grade")})
    assert rest_em_steps.select(running) == {"kept": 0}
    (line,) = (tmp_path / "out" / "pairs" / "dropped.jsonl").read_text().splitlines()
    assert json.loads(line) == {"problem": "p", "sample": 0, "reason": "wrong answer"}
    assert splits_of(str(tmp_path / "out" / "pairs")) == []
