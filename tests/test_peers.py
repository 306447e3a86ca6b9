"""Other software in the benchmark: what is missing is left out with a reason, and what hangs is ended."""

from __future__ import annotations

import pytest

from benchmarks import peers
from tests.support.processes import is_gone, wait_for

HANGING = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(600)
"""


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A folder for scripts, without their environments."""
    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path / "environments")
    return tmp_path


@pytest.mark.slow
def test_a_peer_that_cannot_be_installed_is_left_out_with_a_reason(scripts, monkeypatch, capsys):
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    (scripts / "absent.txt").write_text("absent==1.0 --hash=sha256:" + 64 * "0")

    assert peers.contender("absent", "Absent") == {}

    assert "The packages of absent.txt cannot be installed (" in capsys.readouterr().err


@pytest.mark.slow
def test_a_peer_that_hangs_is_ended_with_all_that_it_started(scripts, monkeypatch):
    monkeypatch.setattr(peers, "RUN_S", 3)
    (scripts / "hanging.py").write_text(HANGING)
    started = scripts / "child"

    with pytest.raises(peers.PeerFailed, match=r"hanging\.py had not ended after 3 s"):
        peers.contender("hanging", "Hanging", str(started))["Hanging"]()

    child = int(started.read_text())
    wait_for(lambda: is_gone(child), "the end of what the peer had started")


@pytest.mark.slow
def test_a_peer_that_fails_says_how(scripts):
    (scripts / "failing.py").write_text("raise SystemExit('no such topic')")

    with pytest.raises(peers.PeerFailed, match=r"failing\.py ended with 1 \(no such topic\)"):
        peers.contender("failing", "Failing")["Failing"]()
