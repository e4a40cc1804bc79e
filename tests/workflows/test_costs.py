"""What the paper's runs cost: against numbers worked out by hand, the paper's own, and the guide that shows them."""

import re
from pathlib import Path

import pytest

from models.lm import LMConfig
from models.training import OptimizerConfig
from workflows import costs, equal_info_paper, gin_config
from workflows.costs import Run, chip_hours, run_of

ADAFACTOR = OptimizerConfig(name="adafactor", clip_norm=0.0, weight_decay=0.0)


@pytest.fixture(scope="module")
def m2() -> dict[tuple[str, int], Run]:
    return {(run.name, run.config.model.vocab_size): run for run in costs.m2_runs()}


def test_25m_by_hand(m2) -> None:
    run = m2["25m", 65_538]
    blocks = 6 * (4 * 512 * 512 + 3 * 512 * 2048)
    forward = 2 * (blocks + 65_538 * 512 + 6 * 8 * 64 * (512 + 512 + 128))
    assert run.sequences == 51_200_000
    assert run.tokens == 26_214_400_000
    assert run.flops == 3 * forward * 26_214_400_000
    assert run.flops == pytest.approx(9.7927e18, rel=1e-4)
    assert run.evaluation_flops == 20 * 256 * 512 * forward
    assert chip_hours(run.flops, "v4") == pytest.approx(run.flops / 110e12 / 3600)
    assert chip_hours(run.flops, "v4") == pytest.approx(24.73, abs=0.01)
    assert chip_hours(run.flops, "v5e", 0.5) == pytest.approx(run.flops / 98.5e12 / 3600)
    assert run.text_bytes == 26_214_400_000 * 5.31
    ids = (126 * 1 + (16_384 - 128) * 2 + (65_538 - 16_384) * 3) / 65_536
    assert costs.id_bytes(65_538) == ids
    assert run.read_bytes == pytest.approx(51_200_000 * 10_240 / 5.31 * ids)
    assert costs.input_bytes_per_s(run, "v4") == pytest.approx(run.read_bytes / (run.flops / 110e12))
    assert costs.id_bytes(258) == (126 + 130 * 2) / 256


def test_m1_and_encoding_by_hand() -> None:
    run = run_of("3m", 257)
    forward = 2 * (3_145_728 + 257 * 256 + 3 * 256 * (1024 + 1024 + 128))
    assert run.tokens == 2_500_000 * 128 * 1024
    assert run.flops == 3 * forward * run.tokens
    assert run.text_bytes == run.tokens
    assert run.read_bytes == run.tokens * costs.id_bytes(257)
    assert costs.codec_core_hours(237e6 * 0.69 * 3600) == pytest.approx(1.0)
    assert costs.codec_core_hours(524.288e9) == pytest.approx(0.8906, abs=1e-4)


def test_numbers_in_a_checkpoint_by_hand() -> None:
    model = run_of("25m", 65_538).config.model
    parameters, rest = costs.state_numbers(model, ADAFACTOR)
    assert parameters == 2 * 65_538 * 512 + 25_165_824 + 6 * (128 * 64 + 2 * 512) + 512
    # a factored matrix keeps rows, columns and a place left empty; what is not factored all of it and two such places
    matrices = 2 * (65_538 + 512 + 1) + 6 * 3 * (512 + 2048 + 1)
    attention = 6 * (4 * (512 + 512 + 1) + 128 * 64 + 2)
    norms = 13 * (512 + 2)
    assert rest == matrices + attention + norms + 2  # and two step counters
    small = LMConfig(vocab_size=11, width=8, layers=1, heads=2, head_width=4, mlp_width=16)
    assert costs.state_numbers(small, ADAFACTOR)[0] == 2 * 11 * 8 + small.block_parameters() + 128 * 4 + 3 * 8
    run = run_of("25m", 65_538)
    assert costs.checkpoint_bytes(run) == 4 * (parameters + rest)


def test_the_papers_numbers(m2) -> None:
    sizes = {name: run.config.model.block_parameters() / 1e6 for (name, _), run in m2.items()}
    assert {name: round(size, 1) for name, size in sizes.items()} == {
        "25m": 25.2,
        "113m": 113.2,
        "403m": 402.7,
        "2b": 1610.6,
    }
    assert round(run_of("3m", 257).config.model.block_parameters() / 1e6, 2) == 3.15
    assert {round(run.tokens / 1e9, 1) for run in m2.values()} == {26.2}
    for ids, gigabytes in ((258, 69.6), (65_538, 138.5)):  # Table 12
        assert m2["403m", ids].text_bytes / 1e9 == pytest.approx(gigabytes, rel=0.006)
    row = equal_info_paper.ROWS["greedy_windows:16/16"]
    found = [(row.flops_per_byte(size) or 0) / 1e6 for size in equal_info_paper.SIZES]
    assert found == pytest.approx([15.42, 48.56, 157.8, 759.3], abs=0.05)
    assert 51_200_000 * costs.EXAMPLE_BYTES * equal_info_paper.M1_FLOPS_PER_BYTE == pytest.approx(3.15e18, rel=2e-3)


def test_the_table_follows_the_utilisation_and_refuses_none(capsys) -> None:
    half, full = (costs.markdown(share).splitlines() for share in (0.4, 0.8))
    hours = [
        float(next(line for line in lines if line.startswith("| 2b | 65,538")).split("|")[6]) for lines in (half, full)
    ]
    assert hours[0] == pytest.approx(2 * hours[1], abs=0.2)
    assert costs.main(["--utilisation", "0"]) == 2
    assert "--utilisation=0.0 is no share; give a number above 0" in capsys.readouterr().err
    assert costs.main([]) == 0
    assert capsys.readouterr().out == costs.markdown() + "\n"


@pytest.fixture
def guide(repository: Path) -> str:
    return (repository / "docs" / "tpu_pod.md").read_text()


def test_the_guide_shows_what_the_code_prints(guide: str) -> None:
    assert costs.markdown() in guide


def test_the_guides_commands_name_what_there_is(guide: str, repository: Path) -> None:
    lines = [line for block in re.findall(r"```bash\n(.*?)```", guide, re.DOTALL) for line in _joined(block)]
    runs = [line for line in lines if "--gin_file" in line]
    assert len(runs) == 4
    for line in runs:
        names = re.findall(r"--gin_file[= ](\S+)", line)
        assert names
        text = "".join(_with_includes(repository, name) for name in names)
        for macro in re.findall(r"--gin\.([A-Z_]+)=", line):
            assert re.search(rf"^{macro} = ", text, re.MULTILINE), (macro, names)
    trainer = next(line for line in runs if "workflows.train " in line)
    bindings = [f"{name}={value}" for name, value in re.findall(r"--gin\.([A-Z_]+)=\"('[^\"]*')\"", trainer)]
    gin_config.parse(re.findall(r"--gin_file (\S+)", trainer), bindings)
    config = gin_config.call(costs.TrainConfig)
    assert (config.steps, config.model.vocab_size) == (200_000, 65_664)


def test_the_guides_beam_flags_are_known(guide: str) -> None:
    from beam_jobs.equal_info.__main__ import parser
    from beam_jobs.runner import pipeline_options

    blocks = re.findall(r"```bash\n(.*?)```", guide, re.DOTALL)
    jobs = [line for block in blocks for line in _joined(block) if "beam_jobs.equal_info" in line]
    assert len(jobs) == 2
    for line in jobs:
        assert "'" not in line  # the shell would not fill in what single quotes hold
        words = [word.strip("'\"") for word in line.split("beam_jobs.equal_info ")[1].split()]
        arguments, rest = parser().parse_known_args(words)
        assert arguments.output.endswith("/c4")
        assert arguments.input[0].startswith("tfds:c4/en:3.1.0/")
        assert pipeline_options(rest).get_all_options()["runner"] == "DataflowRunner"


def _joined(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def _with_includes(repository: Path, name: str) -> str:
    text = (repository / name).read_text()
    return text + "".join(
        _with_includes(repository, inner) for inner in re.findall(r"^include '(.*)'", text, re.MULTILINE)
    )


def test_the_guides_own_sums(guide: str) -> None:
    tokens = 26_214_400_000
    assert f"4 bytes a token, {tokens * 4 / 1e9:.0f} GB for the {tokens / 1e9:.1f}B tokens" in guide
    assert f"{tokens * 5.31 / 1e9:.0f} GB of it, about 180" in guide
    assert round(1024 * tokens * 5.31 / 0.792e12, -1) == 180  # 364,868,892 documents of 2,170 bytes, section 3.1
    assert "(2, 2, 1, 1)" in guide
    assert all(size % 4 == 0 for size in (65_664, 16, 4096, 256 // 16))
