"""Where the cluster's programs come from: Flink of its Python package, Beam's job server of its Maven artefacts.

Both are fetched once, by pip and mvn as they are set up on this machine, into the cache folder. Beam's own downloader
is not used: it knows one address. Places of one's own go first: SHAMMIE_FLINK_LIB (a distribution's lib folder) and
SHAMMIE_FLINK_JOB_SERVER (Beam's job server jar, or a folder of jars).
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import apache_beam

from shammie.errors import UserError
from shammie.files import cache_directory

FLINK = "1.19.3"
MINOR = FLINK.rpartition(".")[0]
PACKAGE = f"apache-flink-libraries=={FLINK}"
JOB_SERVER = f"org.apache.beam:beam-runners-flink-{MINOR}-job-server"
LIB, SERVER = "SHAMMIE_FLINK_LIB", "SHAMMIE_FLINK_JOB_SERVER"
OLDEST_JAVA = 11
FETCH_SECONDS = 900.0


def java() -> str:
    """The path of a Java that runs Flink.

    Raises:
        UserError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    found = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if not found or not os.path.exists(found):
        raise UserError("no java is on the PATH", "install a Java runtime, such as Debian's openjdk-17-jre-headless")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version.group(1)) < OLDEST_JAVA:
        raise UserError(f"{found} is too old for Flink {FLINK}: {said.strip()[:80]!r}", f"install Java {OLDEST_JAVA}")
    return found


def flink_classpath() -> str:
    """Flink's own jars, as a Java class path.

    Raises:
        UserError: they cannot be had.
    """
    given = os.environ.get(LIB)
    if given:
        return _jars(given, LIB)
    folder = cache_directory() / f"flink-{FLINK}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache_directory()) as scratch:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
            _fetch([*command, "--dest", scratch, PACKAGE], f"set {LIB} to the lib folder of a Flink {MINOR}")
            _unpack(next(Path(scratch).glob("apache*flink*libraries*.tar.gz")), Path(scratch) / "lib")
            _keep(Path(scratch) / "lib", folder)
    return _jars(str(folder), PACKAGE)


def job_server_classpath() -> str:
    """Beam's job server for this Flink, as a Java class path: its one jar, or else the libraries of pom.xml.

    Raises:
        UserError: neither can be had.
    """
    given = os.environ.get(SERVER)
    if given:
        return given if given.endswith(".jar") and os.path.exists(given) else _jars(given, SERVER)
    folder = cache_directory() / f"flink-job-server-{MINOR}-{apache_beam.__version__}"
    if not folder.exists():
        if shutil.which("mvn") is None:
            raise UserError("Beam's Flink job server needs mvn, to be fetched", f"install Maven, or set {SERVER}")
        with tempfile.TemporaryDirectory(dir=cache_directory()) as scratch:
            _fetch_job_server(Path(scratch))
            _keep(Path(scratch) / "jars", folder)
    return _jars(str(folder), "Beam's Flink job server")


def _keep(fetched: Path, folder: Path) -> None:
    """Gives a fetched folder its name, unless another process was faster."""
    try:
        os.replace(fetched, folder)
    except OSError:
        if not folder.exists():
            raise


def _fetch_job_server(scratch: Path) -> None:
    """Into scratch/jars."""
    jars = scratch / "jars"
    one = f"-Dartifact={JOB_SERVER}:{apache_beam.__version__}"
    try:
        _fetch(["mvn", "-q", "-B", "dependency:copy", one, f"-DoutputDirectory={jars}"], "")
    except UserError as error:
        shutil.rmtree(jars, ignore_errors=True)
        shutil.copy(Path(__file__).with_name("pom.xml"), scratch / "pom.xml")
        copy = ["mvn", "-q", "-B", "-f", str(scratch / "pom.xml"), "dependency:copy-dependencies"]
        cure = f"set {SERVER} to Beam's job server jar for Flink {MINOR} (its one jar: {error.problem[:120]})"
        _fetch([*copy, "-DincludeScope=runtime", f"-DoutputDirectory={jars}"], cure)


def _fetch(command: list[str], cure: str) -> None:
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=FETCH_SECONDS
        )
    except subprocess.CalledProcessError as error:
        said = (error.stdout + error.stderr).strip().splitlines()
        why = next((line for line in said if "ERROR" in line), said[-1] if said else f"exit code {error.returncode}")
        raise UserError(f"{Path(command[0]).name} could not fetch {command[-1]}: {why[:200]}", cure) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]} did not end in {FETCH_SECONDS:g} s", cure) from error


def _unpack(archive: Path, target: Path) -> None:
    """The jars of the package's lib folder, by their bare names."""
    target.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and Path(member.name).parent.name == "lib" and member.name.endswith(".jar"):
                member.name = Path(member.name).name
                tar.extract(member, target, filter="data")


def _jars(folder: str, what: str) -> str:
    found = sorted(glob.glob(os.path.join(folder, "*.jar")))
    if not found:
        raise UserError(
            f"no jars lie in {folder} ({what})", "remove the folder to fetch them again, or mend the setting"
        )
    return os.pathsep.join(found)
