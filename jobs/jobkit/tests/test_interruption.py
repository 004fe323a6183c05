"""Blocking calls that a signal can interrupt."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from jobkit.interruption import BackgroundCall, call_interruptibly

STUCK = """
import ctypes, os, signal, sys, threading
from jobkit.interruption import call_interruptibly

def stop(*_):
    sys.exit(143)

signal.signal(signal.SIGTERM, stop)
read_end, _ = os.pipe()

def block():
    print("blocked", flush=True)
    ctypes.CDLL(None).read(read_end, ctypes.create_string_buffer(1), 1)

call_interruptibly(block)
"""


def test_a_call_gives_its_result_and_its_error() -> None:
    assert call_interruptibly(lambda: 42) == 42
    assert call_interruptibly(lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        call_interruptibly(lambda: 1 // 0)


def test_a_call_runs_at_once_and_says_when_it_has_ended() -> None:
    release = threading.Event()
    call = BackgroundCall(release.wait)
    assert (call.has_ended, call.wait(0.01)) == (False, False)
    release.set()
    assert (call.result(), call.has_ended, call.error) == (True, True, None)


def test_sigterm_interrupts_a_call_inside_a_c_library() -> None:
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "blocked\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
