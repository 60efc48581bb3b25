"""What run.py does with what it measures, with stand-ins for the programs."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

import measure
import ratios
import run
import service
from ratios import Regime

# Answers as the programs do: a decode at RATE times the sequences.
STAND_IN = """
import json, sys
print(json.dumps({"backend": "stand-in", "processor": "paper", "arguments": sys.argv[1:]}), flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "ceilings":
        answer = {"read_gb_per_s": 40}
    elif words[0] == "prefill":
        answer = {"tokens_per_second": RATE * 10}
    elif int(words[2]) > 4000:
        answer = {"skipped": "too deep"}
    elif int(words[1]) == 13:
        sys.exit(3)
    elif int(words[1]) == 14:
        answer = None
        print("no JSON", flush=True)
    else:
        answer = {"tokens_per_second": RATE * int(words[1]), "percent_of_read": 50}
    if answer:
        print(json.dumps(answer), flush=True)
"""


class Silent:
    def show(self, text):
        pass

    def end(self):
        pass


class PeersTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.log = open(self.folder / "log", "w+")
        self.addCleanup(self.log.close)
        self.model = self.folder / "model.gguf"
        self.model.write_bytes(b"GGUF")

    def stand_in(self, rate):
        path = self.folder / f"program{rate}"
        path.write_text(f"#!{sys.executable}\nRATE = {rate}\n{STAND_IN}")
        path.chmod(0o755)
        return path

    def program(self, name, rate):
        program = measure.Program(name, [self.stand_in(rate)], self.log)
        self.addCleanup(program.close)
        return program

    # --- Arithmetic ---

    def test_ratios_are_taken_within_rounds(self):
        self.assertEqual(ratios.ratios([10, 30, 50], [5, 10]), [2, 3])

    def test_spread_is_median_least_and_most(self):
        self.assertEqual(ratios.spread([3, 1, 2]), "2.00 (1.00 to 3.00)")
        self.assertEqual(ratios.spread([1.5]), "1.50")
        self.assertEqual(ratios.spread([]), "")

    def test_rates_have_three_figures(self):
        self.assertEqual(ratios.rate([12.34]), "12.3")
        self.assertEqual(ratios.rate([1234.5, 1000, 2000]), "1234")
        self.assertEqual(ratios.rate([]), "")

    def test_table_is_markdown_with_figures_to_the_right(self):
        lines = ratios.table([["regime", "a"], ["decode", "12.5"]])
        self.assertEqual(lines, ["| regime |    a |", "| ------ | ---: |", "| decode | 12.5 |"])

    def test_comparison_has_the_first_over_each_other(self):
        regime, other = Regime("decode", 1, 16, 8), Regime("prefill", 1, 256)
        measured = {("a", regime): [10, 12], ("b", regime): [5, 4], ("a", other): [100]}
        rows = ratios.compare(measured, [regime, other], ["a", "b"], {regime: [60, 70]})
        self.assertEqual(rows[0], ["regime", "a tok/s", "of read", "b tok/s", "a / b"])
        self.assertEqual(
            rows[1], ["decode, 1 stream", "11.0", "65 %", "4.5", "2.50 (2.00 to 3.00)"]
        )
        self.assertEqual(rows[2], ["prefill of 256", "100", "", "", ""])

    def test_another_way_to_run_the_first_is_compared_with_it(self):
        regime = Regime("decode", 1, 16, 8)
        measured = {("a", regime): [10], ("a halved", regime): [9]}
        rows = ratios.compare(measured, [regime], ["a", "a halved"], {}, variants=["a halved"])
        self.assertEqual([rows[0][-1], rows[1][-1]], ["a halved / a", "0.90"])

    def test_regimes_that_nobody_measured_are_left_out(self):
        self.assertEqual(len(ratios.compare({}, [Regime("prefill", 1, 256)], ["a"], {})), 1)

    def test_regimes_have_lines_and_names(self):
        self.assertEqual(Regime("decode", 8, 16, 4).line, "decode 8 16 4")
        self.assertEqual(Regime("prefill", 1, 512).line, "prefill 512")
        self.assertEqual(Regime("decode", 8, 16, 4).name, "decode, 8 streams")
        self.assertEqual(Regime("decode", 1, 4096, 4).name, "decode, 1 stream at depth 4096")

    # --- Rounds ---

    def test_measures_in_rounds(self):
        programs = [self.program("a", 20), self.program("b", 10)]
        regimes = [Regime("decode", 2, 16, 4), Regime("prefill", 1, 256, rounds=1)]
        measured = measure.measure(programs, regimes, 3, 60, Silent())
        self.assertEqual(measured.rates["a", regimes[0]], [40, 40, 40])
        self.assertEqual(measured.rates["b", regimes[0]], [20, 20, 20])
        self.assertEqual(measured.rates["b", regimes[1]], [100])
        self.assertEqual(measured.read_percents, {regimes[0]: [50, 50, 50]})
        self.assertEqual(measured.read_rates, [40, 40, 40])
        self.assertFalse(measured.cut_short)

    def test_no_case_begins_when_time_is_over(self):
        programs = [self.program("a", 20)]
        times = iter(range(0, 1000, 10))
        regimes = [Regime("decode", 2, 16, 4)]
        measured = measure.measure(programs, regimes, 9, 35, Silent(), clock=lambda: next(times))
        self.assertEqual(len(measured.rates["a", regimes[0]]), 3)
        self.assertTrue(measured.cut_short)

    def test_what_a_program_skips_has_no_rate(self):
        deep = Regime("decode", 1, 4096, 4)
        measured = measure.measure([self.program("a", 20)], [deep], 2, 60, Silent())
        self.assertEqual(measured.rates, {})

    def test_a_program_that_ends_is_told_by_name(self):
        program = self.program("a", 20)
        with self.assertRaisesRegex(measure.PeerError, "a ended with 3; see .*log"):
            program.ask("decode 13 16 4")

    def test_an_answer_that_is_no_json_is_told(self):
        with self.assertRaisesRegex(measure.PeerError, "a answered 'no JSON'"):
            self.program("a", 20).ask("decode 14 16 4")

    def test_a_program_that_is_not_there_is_told(self):
        with self.assertRaisesRegex(measure.PeerError, "a cannot be started"):
            measure.Program("a", ["/nonexistent/program"], self.log)

    # --- Over gRPC ---

    def test_the_client_is_asked_for_the_same_load(self):
        self.assertEqual(
            service.bench_flags("decode 8 0 20"),
            ["--concurrency=8", "--requests=8", "--prompt_tokens=1", "--output_tokens=56"],
        )
        self.assertEqual(
            service.bench_flags("prefill 512"),
            ["--concurrency=1", "--requests=1", "--prompt_tokens=512", "--output_tokens=1"],
        )

    def test_rates_come_from_the_medians_of_the_client(self):
        figures = {"inter_token_seconds": {"p50": 0.05}, "time_to_first_token_seconds": {"p50": 2}}
        self.assertEqual(service.answer_of("decode 8 16 20", figures)["tokens_per_second"], 160)
        self.assertEqual(service.answer_of("prefill 512", figures)["tokens_per_second"], 256)

    def test_a_server_tells_its_address(self):
        line = "ready grpc=127.0.0.1:5 metrics=127.0.0.1:6,127.0.0.1:7\n"
        self.assertEqual(service.ready_value(line, "grpc"), "127.0.0.1:5")
        self.assertIsNone(service.ready_value("", "grpc"))

    def server(self, name, text):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def test_a_service_is_started_asked_and_stopped(self):
        programs = {
            "worker": self.server("worker", "echo ready grpc=w:1; exec sleep 100"),
            "coordinator": self.server("coordinator", 'echo "ready grpc=c:$4"; exec sleep 100'),
            "phalanx": self.server(
                "phalanx",
                """case "$1 $3 $6" in
                "health c:w:1 ") ;;
                "bench c:w:1 --stream_interval=4") echo '{"inter_token_seconds": {"p50": 0.5}}' ;;
                *) echo "phalanx: $*" >&2; exit 1 ;;
                esac""",
            ),
        }
        started = service.Service("s", programs, self.model, 2, ["--device", "cpu"], self.log, 4)
        self.addCleanup(started.close)
        self.assertEqual(started.ask("decode 3 16 4"), {"tokens_per_second": 6})
        self.assertIn("skipped", started.ask("decode 1 4096 4"))
        started.close()

    def test_a_server_that_does_not_start_is_told(self):
        programs = {name: self.server(name, "exit 1") for name in ("worker", "coordinator", "phalanx")}
        with self.assertRaisesRegex(measure.PeerError, "s: .*worker did not start; see .*log"):
            service.Service("s", programs, self.model, 2, [], self.log)

    # --- The command ---

    def refused(self, *arguments):
        with contextlib.redirect_stderr(io.StringIO()) as text, self.assertRaises(SystemExit) as end:
            run.parse_arguments(["--model", str(self.model), *arguments])
        self.assertEqual(end.exception.code, 2)
        return text.getvalue()

    def test_arguments_that_make_no_sense_are_refused(self):
        self.assertIn("there is no", self.refused("--model", "/nonexistent"))
        self.assertIn("at least 1", self.refused("--rounds", "0"))
        self.assertIn("--engine_bench", self.refused("--service", "--engine_bench", "x"))
        self.assertIn("is for --service", self.refused("--stream_interval", "4"))
        self.assertIn("even number", self.refused("--tp", "--threads", "3"))

    def test_quick_measures_fewer_regimes_in_limited_time(self):
        quick = run.parse_arguments(["--model", str(self.model), "--quick"])
        full = run.parse_arguments(["--model", str(self.model)])
        self.assertLessEqual(quick.seconds, 180)
        self.assertLess(len(run.regimes_of(quick)), len(run.regimes_of(full)))
        self.assertEqual([r.sequences for r in run.regimes_of(full)[:4]], [1, 8, 16, 32])
        self.assertEqual(run.regimes_of(full)[-1].tokens, 4096)
        self.assertEqual(run.regimes_of(quick)[-1].tokens, 1024)

    def test_depth_zero_leaves_the_deep_regime_out(self):
        options = run.parse_arguments(["--model", str(self.model), "--depth", "0"])
        self.assertFalse(any(regime.tokens >= 1024 for regime in run.regimes_of(options)))

    def test_cases_can_be_chosen_by_their_names(self):
        options = run.parse_arguments(["--model", str(self.model), "--only", "prefill"])
        self.assertEqual([r.name for r in run.regimes_of(options)], ["prefill of 256", "prefill of 512"])
        self.assertIn("no case has 'x'", self.refused("--only", "x"))

    def test_the_whole_command(self):
        json_path = self.folder / "out.json"
        arguments = ["--model", self.model, "--rounds", 2, "--depth", 0, "--tp", "--json", json_path]
        arguments += ["--bench_arguments", "--weights int8", "--engine_bench", self.stand_in(30)]
        arguments += ["--llama_driver", self.stand_in(10)]
        with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.redirect_stderr(io.StringIO()):
            run.main([str(argument) for argument in arguments])
        self.assertIn("model.gguf on paper, 2 threads, 2 rounds", text.getvalue())
        self.assertRegex(text.getvalue(), r"\| decode, 8 streams +\| +240 \|.*3.00 \(3.00 to 3.00\)")
        written = json.loads(json_path.read_text())
        self.assertEqual(written["rounds"], 2)
        of_llama = [m for m in written["measured"] if m["program"] == "llama.cpp"]
        self.assertEqual(of_llama[0]["tokens_per_second"], [10, 10])
        ours = written["programs"]["ours"]["arguments"]
        self.assertEqual(ours[ours.index("--threads") + 1], "2")
        self.assertEqual(ours[-2:], ["--weights", "int8"])
        halves = written["programs"]["2 processes"]["arguments"]
        self.assertEqual(halves[halves.index("--threads") + 1], "1")
        self.assertEqual(halves[-2:], ["--tp", "2"])


if __name__ == "__main__":
    unittest.main()
