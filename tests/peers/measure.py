"""Runs programs that measure what they are asked for, in turns."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import time


class PeerError(Exception):
    """A program could not be started or has ended."""


class Program:
    """A program that answers each line with a line of JSON, after a first one that describes it."""

    def __init__(self, name, command, log):
        self.name = name
        self._command = [str(word) for word in command]
        self._log = log
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
            )
        except OSError as error:
            raise PeerError(f"{name} cannot be started: {error}") from error
        self.setting = self._read()

    def ask(self, line):
        """The answer to a line, as a dict."""
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # It has ended, which reading will tell.
        return self._read()

    def close(self):
        """Ends the program."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise PeerError(f"{self.name} ended with {code}; see {self._log.name}")
        try:
            return json.loads(line)
        except json.JSONDecodeError as error:
            raise PeerError(f"{self.name} answered {line.rstrip()!r}, which is no JSON") from error


@dataclasses.dataclass
class Measured:
    """What came of it, by (program's name, regime): a list with a figure for each round."""

    rates: dict = dataclasses.field(default_factory=dict)
    read_percents: dict = dataclasses.field(default_factory=dict)  # By regime: of the first program.
    read_rates: list = dataclasses.field(default_factory=list)  # GB/s that the machine can read.
    rounds: int = 0
    cut_short: bool = False


class Progress:
    """A line that is written over on a terminal, and lines elsewhere."""

    def __init__(self, stream=None):
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()

    def show(self, text):
        self._stream.write(f"\r{text}\x1b[K" if self._terminal else text + "\n")
        self._stream.flush()

    def end(self):
        if self._terminal:
            self._stream.write("\n")


def measure(programs, regimes, rounds, seconds, progress, clock=time.monotonic):
    """Measures each regime with each program in each round; another program begins each time.

    No program is asked for more once `seconds` are over, or by Ctrl-C: what was measured by then is
    returned.
    """
    measured = Measured()
    end = clock() + seconds
    try:
        for number in range(rounds):
            measured.rounds = number + 1
            _ask_ceilings(programs[0], measured)
            for turn, regime in enumerate(regimes):
                if number >= regime.rounds:
                    continue
                begin = (number + turn) % len(programs)
                for program in programs[begin:] + programs[:begin]:
                    if clock() >= end:
                        measured.cut_short = True
                        return measured
                    answer = program.ask(regime.line)
                    _note(program, regime, answer, programs[0], measured)
                _tell(number, rounds, regime, programs, measured, progress)
    except KeyboardInterrupt:
        measured.cut_short = True
    return measured


def _ask_ceilings(program, measured):
    read = program.ask("ceilings").get("read_gb_per_s", 0)
    if read:
        measured.read_rates.append(read)


def _note(program, regime, answer, first, measured):
    if "skipped" in answer:
        return
    measured.rates.setdefault((program.name, regime), []).append(answer["tokens_per_second"])
    if program is first and "percent_of_read" in answer:
        measured.read_percents.setdefault(regime, []).append(answer["percent_of_read"])


def _tell(number, rounds, regime, programs, measured, progress):
    figures = []
    for program in programs:
        rates = measured.rates.get((program.name, regime))
        figures.append(f"{program.name} {rates[-1]:.1f}" if rates else f"{program.name} -")
    progress.show(f"round {number + 1} of {rounds}, {regime.name}: {', '.join(figures)} tok/s")
