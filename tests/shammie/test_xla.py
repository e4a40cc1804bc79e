"""Flags that keep XLA's programs from never ending."""

import os

import pytest

from shammie.xla import keep_in_order


def test_flags_are_set_once_and_those_of_the_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true --xla_force_host_platform_device_count=2")
    for _ in range(2):
        keep_in_order()
        assert os.environ["XLA_FLAGS"].split() == [
            "--xla_cpu_multi_thread_eigen=true",
            "--xla_force_host_platform_device_count=2",
            "--xla_cpu_enable_concurrency_optimized_scheduler=false",
        ]
