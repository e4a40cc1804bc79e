"""A Flink cluster's processes on loopback: job manager, task managers, Beam's job server, pool of Python workers.

    driver ── job server ── job manager ──┬── task manager 1 ──┐
                                          └── task manager 2 ──┴── worker pool ── a Python process for each

Python workers are of Beam's environment type EXTERNAL: the pool starts each with this interpreter, so that it has our
code as this process has it, and needs no container. Task managers find them ready (`workers.WorkerPool`), and Beam's
classes on their own class path.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from beam_jobs.flink.artefacts import flink_classpath, java, job_server_classpath
from shammie.errors import UserError
from shammie.packages import home

HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 90.0, 10.0
WORKER_LINGERS_MS = 20_000
JOB_MANAGER_HEAP, TASK_MANAGER_HEAP, DIRECT_MEMORY = "512m", "512m", "384m"
# what Flink's own start script opens to it, since Java 17 closes it
EXPORTS = ("java.base/sun.net.util", "java.rmi/sun.rmi.registry")
OPENS = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent")
OPENS += ("util.concurrent.atomic", "util.concurrent.locks")
CONFIG = """\
jobmanager: {{rpc: {{address: {host}, port: {rpc}}}, bind-host: {host}}}
rest: {{address: {host}, bind-address: {host}, port: {rest}}}
taskmanager:
  bind-host: {host}
  host: {host}
  numberOfTaskSlots: {slots}
  cpu: {{cores: {slots}.0}}
  memory:
    task: {{heap: {{size: 384m}}, off-heap: {{size: 128m}}}}
    framework: {{heap: {{size: 128m}}, off-heap: {{size: 128m}}}}
    network: {{min: 64m, max: 64m}}
    managed: {{size: 128m}}
    jvm-metaspace: {{size: 256m}}
    jvm-overhead: {{min: 192m, max: 192m}}
heartbeat: {{interval: 1000, timeout: 10000}}
restart-strategy: {{type: fixed-delay, fixed-delay: {{attempts: 3, delay: 2 s}}}}
io: {{tmp: {{dirs: {folder}/tmp}}}}
blob: {{storage: {{directory: {folder}/blobs}}}}
"""
# Beam (2.70) leaves jars below such a folder where they are
UNSENT = "gradle/wrapper"
# becomes a program that is killed when we die, even by SIGKILL; of a process with threads no fork may run code first
TIED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])"
LOGGING = """\
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=Console
appender.console.name=Console
appender.console.type=CONSOLE
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1} %m%n
"""


@dataclass
class Cluster:
    """A cluster that stands.

    Attributes:
        folder: logs, and what Flink keeps while it runs.
        flags: Beam's flags that submit a job to it.
        web: where its web page is.
        task_managers: their processes, to be killed by a test of faults.
        workers: the process of the pool that starts Python workers.
    """

    folder: Path
    flags: tuple[str, ...]
    web: str
    workers: subprocess.Popen[bytes]
    start_task_manager: Callable[[], subprocess.Popen[bytes]]
    task_managers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_task_manager(self) -> None:
        """Starts one more, as an operator of a cluster does in place of one that died, and waits until it is in."""
        before = self.task_managers_in()
        self.task_managers.append(self.start_task_manager())
        _wait(lambda: self.task_managers_in() > before, self.task_managers[-1], self.folder)

    def task_managers_in(self) -> int:
        """How many the job manager counts."""
        return int(_overview(self.web).get("taskmanagers", 0))


@contextmanager
def standing(folder: str, *, task_managers: int = 2, slots: int = 1) -> Iterator[Cluster]:
    """A cluster while the context lasts; whatever was started is stopped at its end, and dies with this process.

    Args:
        folder: for logs and Flink's temporary files; made where it is not there.
        task_managers: how many.
        slots: of each; every task manager has one Python worker.

    Raises:
        UserError: Java or the programs cannot be had, or one of them ends early; its log's last words are told.
    """
    path = Path(folder).resolve()
    (path / "tmp").mkdir(parents=True, exist_ok=True)
    program, flink, server = java(), flink_classpath(), job_server_classpath()
    cluster_jars = flink
    if os.pathsep in server:  # the one jar of all holds Flink's classes too, so that it goes with each job
        server = _unsent(server, path / UNSENT)
        cluster_jars = os.pathsep.join([flink, *_runner_jars(server)])
    rpc, rest, job, artifacts, expansion, pool = _free_ports(6)
    config = CONFIG.format(host=HOST, rpc=rpc, rest=rest, slots=slots, folder=path)
    (path / "config.yaml").write_text(config)
    (path / "log4j.properties").write_text(LOGGING)
    opens = [f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTS]
    opens += [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in OPENS]
    opens += ["--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", f"-Dlog4j.configurationFile={path}/log4j.properties"]
    web, entry = f"http://{HOST}:{rest}", "org.apache.flink.runtime"
    environment = {**os.environ, "PYTHONPATH": _python_path()}
    with ExitStack() as stack:

        def start(name: str, *command: str) -> subprocess.Popen[bytes]:
            return stack.enter_context(_running(command, path / f"{name}.log", environment))

        def start_task_manager() -> subprocess.Popen[bytes]:
            number = len(cluster.task_managers) + 1
            return start(
                f"task_manager_{number}",
                *(program, f"-Xmx{TASK_MANAGER_HEAP}", f"-XX:MaxDirectMemorySize={DIRECT_MEMORY}", *opens),
                *("-cp", cluster_jars, f"{entry}.taskexecutor.TaskManagerRunner", "--configDir", str(path)),
                *("-D", f"taskmanager.resource-id=task-manager-{number}"),
            )

        manager = start(
            "job_manager",
            *(program, f"-Xmx{JOB_MANAGER_HEAP}", *opens, "-cp", cluster_jars),
            *(f"{entry}.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", str(path)),
            *("--executionMode", "cluster"),
        )
        ready = 2 * task_managers  # a job's own workers, and those that linger of the job before
        asked = (f"--service_port={pool}", f"--host={HOST}", f"--ready={ready}")
        workers = start("workers", sys.executable, "-m", "beam_jobs.flink.workers", *asked)
        jobs = start(
            "job_server",
            *(
                program,
                "-Xmx1g",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-cp",
                server,
                "org.apache.beam.runners.flink.FlinkJobServerDriver",
            ),
            *(f"--flink-master={HOST}:{rest}", f"--job-host={HOST}", f"--job-port={job}"),
            *(f"--artifact-port={artifacts}", f"--expansion-port={expansion}", f"--artifacts-dir={path}/artifacts"),
        )
        flags = (
            "--runner=PortableRunner",
            *(f"--job_endpoint={HOST}:{job}", f"--artifact_endpoint={HOST}:{artifacts}"),
            *("--environment_type=EXTERNAL", f"--environment_config={HOST}:{pool}"),
            # a worker lasts from one stage to the next, else each stage waits for imports
            *(f"--environment_cache_millis={WORKER_LINGERS_MS}", f"--parallelism={task_managers * slots}"),
        )
        cluster = Cluster(path, flags, web, workers, start_task_manager)
        _wait(lambda: bool(_overview(web)), manager, path)
        for _ in range(task_managers):
            cluster.task_managers.append(start_task_manager())
        for one in cluster.task_managers:
            _wait(lambda: cluster.task_managers_in() == task_managers, one, path)
        _wait(lambda: _listens(pool), workers, path)
        _wait(lambda: _listens(job) and _listens(artifacts), jobs, path)
        yield cluster


def _unsent(classpath: str, folder: Path) -> str:
    """The same jars, in a folder from which Beam's job server sends none with a job.

    It would send all of its own class path, some 150 MB in 160 jars, through Flink's REST service to the job manager
    and from there to the task managers, and each job's classes would be loaded and compiled anew: some 20 s a job.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for jar in classpath.split(os.pathsep):
        try:
            os.link(jar, folder / os.path.basename(jar))  # Beam would follow a symbolic one
        except OSError:  # another disk
            shutil.copy(jar, folder)
    return os.pathsep.join(str(folder / os.path.basename(jar)) for jar in classpath.split(os.pathsep))


def _runner_jars(classpath: str) -> list[str]:
    """Of the job server's jars those that the cluster needs: all but Flink's own, and loggers."""
    jars = classpath.split(os.pathsep)
    return [jar for jar in jars if not os.path.basename(jar).startswith(("flink-", "slf4j-"))]


def _python_path() -> str:
    """Ours first: a worker must have the code that this process has, whatever is installed."""
    return os.pathsep.join(filter(None, [home(), os.environ.get("PYTHONPATH", "")]))


@contextmanager
def _running(command: tuple[str, ...], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a group of its own, which is ended as a whole."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            (sys.executable, "-c", TIED, *command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _signal(process, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        _signal(process, signal.SIGKILL)  # whoever of its group is left
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            how = "did not start in time" if process.poll() is None else f"ended with code {process.returncode}"
            raise UserError(f"{str(process.args)[-80:]} {how}", f"read the logs in {folder}")
        time.sleep(0.2)


def _overview(web: str) -> dict[str, int]:
    import requests

    try:
        return requests.get(f"{web}/overview", timeout=5).json()
    except (requests.RequestException, ValueError):
        return {}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
