"""What workers elsewhere read: shipped by content, checked by the reader, gone at the end."""

import hashlib
from pathlib import Path

import pytest

from beam_jobs.artefacts import check_shipped, ship
from shammie.errors import UserError


def test_a_file_is_shipped_once_under_its_sha256(tmp_path: Path) -> None:
    source = tmp_path / "lm.bin"
    source.write_bytes(b"weights")
    sent = ship(str(source), str(tmp_path / "work"))
    assert sent == f"{tmp_path}/work/artefacts/{hashlib.sha256(b'weights').hexdigest()}.bin"
    assert Path(sent).read_bytes() == b"weights"
    before = Path(sent).stat().st_mtime_ns
    assert ship(str(source), str(tmp_path / "work")) == sent
    assert Path(sent).stat().st_mtime_ns == before
    source.write_bytes(b"others")
    assert ship(str(source), str(tmp_path / "work")) != sent


def test_a_worker_refuses_other_bytes_than_the_driver_sent(tmp_path: Path) -> None:
    source = tmp_path / "lm.bin"
    source.write_bytes(b"weights")
    sent = ship(str(source), str(tmp_path / "work"))
    check_shipped(sent)
    check_shipped(str(source))  # a path of the user's own has no promise in its name
    Path(sent).write_bytes(b"weighty")
    with pytest.raises(UserError, match="is not what the driver sent"):
        check_shipped(sent)
