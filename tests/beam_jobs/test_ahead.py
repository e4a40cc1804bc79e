import threading

import pytest

from beam_jobs.ahead import Threads


@pytest.fixture
def threads():
    made = Threads()
    yield made
    made.close()


def test_items_come_in_order_one_ahead(threads):
    made, seen = [], []

    def items():
        for i in range(5):
            made.append(i)
            yield i

    for item in threads.read_ahead(items()):
        seen.append(item)
        assert len(made) <= len(seen) + 1
    assert seen == list(range(5))


def test_errors_of_either_side_are_raised(threads):
    def broken():
        yield 1
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        list(threads.read_ahead(broken()))
    with pytest.raises(ZeroDivisionError), threads.write_behind() as behind:
        list(map(behind, [lambda: 1 / 0] * 5))
    with pytest.raises(ZeroDivisionError), threads.write_behind() as behind:
        behind(lambda: 1 / 0)


def test_writing_stays_two_calls_behind_and_ends_before_the_block(threads):
    gate, done = threading.Event(), []

    def slow(i):
        gate.wait(10)
        done.append(i)

    with threads.write_behind() as behind:
        behind(slow, 0)
        behind(slow, 1)
        third = threading.Thread(target=behind, args=(slow, 2))
        third.start()
        third.join(0.1)
        assert third.is_alive()
        gate.set()
        third.join()
    assert done == [0, 1, 2]


def test_a_reader_can_be_left_early(threads):
    for item in threads.read_ahead(iter(range(100))):
        if item == 3:
            break
    assert list(threads.read_ahead("ab")) == ["a", "b"]
