"""One broker process: start, find, signal and stop it."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from include.local.broker import die_with_parent
from include.local.broker.properties import write_properties
from include.local.broker.security import write_secret
from include.local.errors import BrokerError
from include.local.ports import LOOPBACK
from include.local.processes import has_ended
from include.storage.atomic import remove_leftovers, whole_directory
from include.storage.removal import remove_folder
from include.storage.state import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from include.local.broker.cluster_file import NodeRecord
    from include.local.broker.security import Security

_LOG_CONFIG = Path(__file__).with_name("log4j2.properties")
_MAIN_CLASS = "kafka.Kafka"
_POLL_S = 0.02
_TAIL_LINES = 15
_TAIL_BYTES = 65_536
_ERROR = re.compile(r"\b(ERROR|FATAL|[Ee]rror|\w+Exception|\w+Error)\b")
_STACK_FRAME = re.compile(r"\s+(at |\.\.\. \d+ more)")
_FORMAT_TIMEOUT_S = 120
_KILL_TIMEOUT_S = 10

_JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    f"-Dlog4j2.configurationFile={_LOG_CONFIG.as_uri()}",
)
# Java gets these alone: the other variables may have the secrets of Airflow's connections.
_JAVA_VARIABLES = ("HOME", "JAVA_TOOL_OPTIONS", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The Java executable and the class path of a node."""

    java: Path
    classpath: str


@dataclass(slots=True)
class Node:
    """One node of an embedded cluster, its files under `directory` (absolute)."""

    record: NodeRecord
    directory: Path
    security: Security | None = None
    starter: Callable[[Node, bool], None] | None = field(default=None, repr=False)
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _log_start: int = 0

    @property
    def id(self) -> int:
        """The node's id in Kafka, from 1."""
        return self.record.id

    @property
    def address(self) -> str:
        """`host:port` of this node alone."""
        return f"{LOOPBACK}:{self.record.port}"

    @property
    def pid(self) -> int | None:
        """The process id, None when no process of this node runs."""
        process = self.process()
        return process.pid if process else None

    @property
    def properties_file(self) -> Path:
        """The node's settings; its path in a command line also identifies the process."""
        return self.directory / "server.properties"

    @property
    def log_dir(self) -> Path:
        """Kafka's own folder: topics' logs and metadata."""
        return self.directory / "data"

    @property
    def log_file(self) -> Path:
        """The broker's log; the JVM's own output is in `output_file`."""
        return self.directory / "server.log"

    @property
    def output_file(self) -> Path:
        """Standard output and error of the last process."""
        return self.directory / "output.log"

    def process(self) -> psutil.Process | None:
        """This node's running process, whoever started it, None if there is none.

        A child of this process is known, others by the recorded pid if its command line has the node's settings file:
        another process may have the pid by now. If an owner was killed before it recorded the pid, all processes are
        searched for that file.
        """
        if self._child is not None and self.exit_status() is None:
            return psutil.Process(self._child.pid)
        if self.record.pid is not None:
            with suppress(psutil.Error):
                process = psutil.Process(self.record.pid)
                if self._is_mine(process):
                    return process
        return next((process for process in psutil.process_iter() if self._is_mine(process)), None)

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            command = process.cmdline()  # a zombie has no command line, and an editor's may contain the settings file
            return _MAIN_CLASS in command and str(self.properties_file) in command
        except psutil.Error:
            return False

    def prepare(self, runtime: Runtime, cluster_id: str, properties: Mapping[str, str]) -> None:
        """Write the node's settings and, if it has no storage yet, format it with Kafka's own tool.

        The storage is renamed into place when it is complete, so a killed format leaves no storage.

        Raises:
            BrokerError: the tool failed, or there are data that it would replace.
        """
        make_folder(self.directory)
        write_properties(self.properties_file, {**properties, "log.dirs": str(self.log_dir)})
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        if (self.log_dir / "meta.properties").exists():
            return
        if self.log_dir.exists() and any(self.log_dir.iterdir()):
            raise BrokerError(
                f"{self.log_dir} holds data but no meta.properties, which identifies their cluster: restore that file, "
                "or delete the folder if its topics may go."
            )
        remove_leftovers(self.directory)
        settings = self.directory / "format.properties"
        command = [*self._java(runtime), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings)]
        with whole_directory(self.log_dir) as aside:
            write_properties(settings, {**properties, "log.dirs": str(aside)})
            if self.security is not None:
                users = self.directory / "format.arguments"
                write_secret(users, "".join(f"{argument}\n" for argument in self.security.format_arguments()))
                command.append(f"@{users}")
            try:
                with self.output_file.open("wb") as output:
                    subprocess.run(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        env=_java_environment(),
                        timeout=_FORMAT_TIMEOUT_S,
                        check=True,
                    )
            except (subprocess.SubprocessError, OSError) as error:
                how = f"exit status {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else error
                raise BrokerError(
                    f"The storage of node {self.id} could not be formatted ({how}): correct what its log names, then "
                    f"start the broker again.\n{self.log_tail()}"
                ) from error

    def _java(self, runtime: Runtime) -> list[str]:
        # Native libraries are unpacked to the temporary folder and stay there after a SIGKILL: keep them with the node.
        scratch = self.directory / "tmp"
        remove_folder(self.directory, scratch, missing_ok=True)
        scratch.mkdir()
        own = (f"-Dmillrace.log={self.log_file}", f"-Djava.io.tmpdir={scratch}", "-cp", runtime.classpath)
        return [str(runtime.java), *_JVM, *own]

    def spawn(self, runtime: Runtime, *, tie: bool) -> None:
        """Start the process in a session of its own, and set it in the record, which the caller saves.

        Args:
            runtime: Java and the jars.
            tie: whether the kernel kills the broker when the calling thread ends.
        """
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        command = [*self._java(runtime), _MAIN_CLASS, str(self.properties_file)]
        if tie:
            command = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *command]
        with self.output_file.open("wb") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env=_java_environment(),
                start_new_session=True,
            )
        self.record.pid = self._child.pid

    def start(self, *, wait: bool = True) -> None:
        """Restart this node after `kill` or `stop`.

        Args:
            wait: whether to wait until it has joined its cluster.

        Raises:
            BrokerError: it runs already, its cluster was not started here, or the start fails.
        """
        if self.starter is None:
            raise BrokerError(
                f"Node {self.id} cannot be started alone: start the cluster of {self.directory.parent} first."
            )
        self.starter(self, wait)

    def exit_status(self) -> int | None:
        """The exit status of this object's process (negative: a signal), reaping it; None while it runs."""
        return self._child.poll() if self._child is not None else None

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if process := self.process():
            _send(process, signal.SIGKILL)
            if not self._gone(process, _KILL_TIMEOUT_S):
                raise BrokerError(
                    f"Node {self.id} (pid {process.pid}) still runs {_KILL_TIMEOUT_S} s after SIGKILL: look at what "
                    "holds it (`ps -l`), then try again."
                )

    def terminate(self) -> None:
        """Ask for a clean stop (SIGTERM, and SIGCONT for a paused one) without waiting for it."""
        if process := self.process():
            _send(process, signal.SIGTERM)
            _send(process, signal.SIGCONT)

    def stop(self, *, timeout_s: float = 30) -> None:
        """Stop cleanly and wait; a node that has not ended after `timeout_s` is killed, and a warning logged."""
        if process := self.process():
            self.terminate()
            if not self._gone(process, timeout_s):
                log.warning(
                    "Node %d (pid %d) did not stop within %.0f s and was killed.", self.id, process.pid, timeout_s
                )
                self.kill()

    def _gone(self, process: psutil.Process, timeout_s: float) -> bool:
        # Not process.wait(): without a reaper of orphans (many containers), an ended broker stays a zombie.
        deadline = time.monotonic() + timeout_s
        while self._lives(process):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _lives(self, process: psutil.Process) -> bool:
        if self._child is not None and self._child.pid == process.pid:
            return self.exit_status() is None
        # Not by its command line: that is gone when the first thread has ended, while others still hold the port.
        return not has_ended(process)

    def log_tail(self) -> str:
        """The end of the last start's output, its error lines if there are any, with the files' names."""
        parts = [_tail(self.output_file, 0), _tail(self.log_file, self._log_start)]
        return "\n".join(part for part in parts if part) or f"Nothing was written to {self.log_file}."


def _java_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _JAVA_VARIABLES if name in os.environ}


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _tail(path: Path, start: int) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # A log that is shorter than before was rolled over.
            file.seek(max(start if start <= size else 0, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    # After an error a broker logs its shutdown at length, and a stack trace would hide the error's first line.
    errors = [line for line in lines if _ERROR.search(line) and not _STACK_FRAME.match(line)]
    shown = (errors or lines)[-_TAIL_LINES:]
    return "\n".join([f"The end of {path}:", *(f"  {line}" for line in shown)]) if shown else ""
