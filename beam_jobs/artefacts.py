"""Models, codecs and problems on their way to workers elsewhere: copied beside the output, named by their sha256.

A path of the driver's machine means nothing to a cluster's worker, and a file that is changed while a job runs would
give samples of two models. So the driver copies what its workers read into the job's work folder, which every worker
reaches anyway, and a worker checks what it reads against the name.
"""

import hashlib
import os

from beam_jobs import storage
from shammie.errors import UserError
from shammie.files import copy, join, sha256_of

FOLDER = "artefacts"


def ship(path: str, work: str) -> str:
    """Copies a file into a job's work folder, unless it is there.

    Args:
        path: the file, local or remote.
        work: the work folder.

    Returns:
        Its new path, WORK/artefacts/SHA256.ENDING.
    """
    ending = os.path.splitext(path)[1]
    target = join(work, FOLDER, sha256_of(path) + ending)
    if not storage.exists(target):
        storage.make_directory(join(work, FOLDER))
        copy(path, target)
    return target


def check_shipped(path: str) -> None:
    """Checks a file's bytes against its name, where `ship` gave it that; other files pass.

    Raises:
        UserError: it holds other bytes.
    """
    folder, name = os.path.split(path)
    if os.path.basename(folder) != FOLDER:
        return
    expected = os.path.splitext(name)[0]
    found = hashlib.sha256(storage.read_bytes(path)).hexdigest()
    if found != expected:
        raise UserError(
            f"{path} is not what the driver sent: its sha256 is {found[:16]}…", "start over with --overwrite"
        )
