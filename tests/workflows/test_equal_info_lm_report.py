"""The headline numbers: ratios, intervals and distances, by hand."""

from typing import Any

import pytest

from workflows.equal_info_lm_report import _distance, _rate, half_interval, result


def _method(name: str, bits: list[float], density: float, **more: Any) -> dict[str, Any]:
    runs = [
        {"seed": seed, "learning_rate": 3e-3, "bits_per_byte": one, "byte_matched_bits_per_byte": one + 0.1}
        for seed, one in enumerate(bits)
    ]
    tried = [{"learning_rate": rate} for rate in (1e-3, 3e-3, 1e-2)]
    return {
        "method": name,
        "runs": runs,
        "tried": tried,
        "bytes_per_token": density,
        "training_flops": 1e12,
        "flops_per_byte": 1.0,
        "served_bytes_per_s": 1.0,
        "served_bytes_per_step": 1.0,
        "diverged_seeds": [],
        **more,
    }


def test_ours_is_the_first_and_is_set_over_the_better_of_several_settings() -> None:
    methods = [
        _method("words:2048", [2.0], 3.5),
        _method("delay:2048", [2.5], 2.0),
        _method("delay:65536/8", [3.2], 1.5),
        _method("bytes", [2.5], 1.0),
        _method("sentencepiece:2048", [2.2], 2.8),
    ]
    told = result(methods)
    assert told["lm_our_method"] == "words:2048"
    assert told["ours_over_delay_bits_per_byte"] == pytest.approx(2.0 / 2.5)
    assert told["ours_over_delay_density"] == pytest.approx(3.5 / 2.0)
    assert told["ours_over_bytes_bits_per_byte"] == pytest.approx(0.8)
    assert told["ours_over_sentencepiece_density"] == pytest.approx(1.25)
    assert told["ours_over_sentencepiece_byte_matched_bits_per_byte"] == pytest.approx(2.1 / 2.3)
    assert told["lm_delay_65536_8_bits_per_byte"] == 3.2
    assert not any("interval" in key for key in told)
    assert result([]) == {}
    assert "ours_over_bytes_density" not in result(methods[:1])


def test_intervals_are_students_and_those_of_ratios_are_paired_by_seed() -> None:
    assert half_interval([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / 3**0.5, rel=1e-5)
    assert half_interval([1.0]) is None
    # both move alike from seed to seed: the ratio does not move at all
    told = result([_method("words:2048", [2.0, 2.2, 2.4], 3.5), _method("bytes", [2.5, 2.75, 3.0], 1.0)])
    assert told["ours_over_bytes_bits_per_byte_95_interval"] == pytest.approx(0.0, abs=1e-12)
    assert told["lm_bytes_bits_per_byte_95_interval"] == pytest.approx(4.302653 * 0.25 / 3**0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "half", "sign", "told"),
    [
        (0.9, 0.01, "<", ("0.900 ± 0.010", "reached")),
        (0.995, 0.01, "<", ("0.995 ± 0.010", "reached by the mean, not by the whole interval")),
        (1.03, 0.01, "<", ("1.030 ± 0.010", "short by 0.030")),
        (1.03, 0.0, ">", ("1.030", "reached")),
        (0.97, 0.0, ">", ("0.970", "short by 0.030")),
    ],
)
def test_distances_are_told_and_reached_means_the_whole_interval(
    value: float, half: float, sign: str, told: tuple[str, str]
) -> None:
    assert _distance(value, half, sign, 1.0) == told


def test_a_rate_at_the_edge_of_what_was_tried_is_marked_and_lost_seeds_are_told() -> None:
    assert _rate(_method("bytes", [2.0], 1.0)) == "0.003"
    assert _rate(_method("bytes", [2.0], 1.0, tried=[{"learning_rate": 1e-3}, {"learning_rate": 3e-3}])) == "0.003*"
    assert _rate(_method("bytes", [2.0], 1.0, tried=[{"learning_rate": 3e-3}])) == "0.003"
    assert _rate(_method("bytes", [2.0], 1.0, diverged_seeds=[2])) == "0.003, 1 seeds diverged"
