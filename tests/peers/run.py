#!/usr/bin/env python3
"""Measures Phalanx next to llama.cpp: the same model file, the same prompts and as many threads, in turns.

Builds both (llama.cpp once, by build_llama.sh), loads the model into //worker/bench:engine_bench and
into llama_driver, and asks them in rounds. Prints medians and ratios, least and most in
parentheses. A ratio is taken within a round, so a machine that gets slower meanwhile favours none.

Ours is the whole engine: scheduler, sampler and ranks. llama.cpp's side draws no tokens. Its cache
holds keys and values in float16, ours what the worker's default is.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import measure
import ratios
import service
from ratios import Regime

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("PHALANX_CACHE", pathlib.Path.home() / ".cache/phalanx"))
SMOLLM2 = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT = 16  # Tokens before those that are decoded, where no depth is asked for.
QUICK_SECONDS = 165
TWO_PROCESSES = "2 processes"
OVER_GRPC = "gRPC"
BUSY = 0.5  # Load from which on a machine does something else too.


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        prog="tests/peers/run.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=pathlib.Path, default=SMOLLM2, help="a GGUF file; default: SmolLM2")
    parser.add_argument("--threads", type=int, default=2, help="of each side; default: 2")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=3600, help="no new case begins after that")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"fewer steps and regimes, as many rounds as go into {QUICK_SECONDS} seconds",
    )
    parser.add_argument(
        "--depth", type=int, help="of the last regime; default: 4096, 1024 if --quick; 0 leaves it out"
    )
    parser.add_argument(
        "--only", default="", help="only cases whose names have this, such as '1 stream' or prefill"
    )
    parser.add_argument(
        "--q4_0",
        action="store_true",
        help="llama.cpp also on the same weights in Q4_0, which it repacks for this processor",
    )
    parser.add_argument(
        "--tp", action="store_true", help="ours also as two processes, with half of the threads each"
    )
    parser.add_argument(
        "--service", action="store_true", help="ours also over gRPC: a worker and a coordinator"
    )
    parser.add_argument(
        "--stream_interval", type=int, default=1, help="tokens of an event over gRPC; default: 1"
    )
    parser.add_argument(
        "--no_llama", action="store_true", help="ours alone, for example with --tp or --against"
    )
    parser.add_argument(
        "--against", type=pathlib.Path, help="another engine_bench beside ours, of another commit"
    )
    parser.add_argument(
        "--bench_arguments",
        default="",
        help="more arguments for ours, for example '--weights int8', in one word",
    )
    parser.add_argument("--json", type=pathlib.Path, help="a file for all that was measured")
    parser.add_argument("--engine_bench", type=pathlib.Path, help="the program, in place of building it")
    parser.add_argument("--llama_driver", type=pathlib.Path, help="the program, in place of building it")
    options = parser.parse_args(arguments)
    if not options.model.exists():
        parser.error(f"there is no {options.model}; tools/install run fetches SmolLM2")
    if options.threads < 1 or options.rounds < 1:
        parser.error("--threads and --rounds are at least 1")
    if options.service and options.engine_bench:
        parser.error("--service builds all of ours: leave --engine_bench out")
    if options.stream_interval != 1 and not options.service:
        parser.error("--stream_interval is for --service")
    if options.tp and options.threads % 2:
        parser.error("--tp needs an even number of --threads")
    if options.depth is None:
        options.depth = 1024 if options.quick else 4096
    if options.quick:
        options.seconds = min(options.seconds, QUICK_SECONDS)
    if not regimes_of(options):
        parser.error(f"--only: no case has '{options.only}' in its name")
    return options


def regimes_of(options):
    """What is measured. A large model needs fewer steps for as much time."""
    large = options.model.stat().st_size > 1 << 30
    few = 4 if large else 16
    if options.quick:
        chosen = [Regime("decode", 1, PROMPT, few), Regime("decode", 8, PROMPT, few // 2)]
        chosen += [Regime("decode", 32, PROMPT, few // 4), Regime("prefill", 1, 256)]
    else:
        chosen = [Regime("decode", batch, PROMPT, few) for batch in (1, 8, 16, 32)]
        chosen += [Regime("prefill", 1, 256), Regime("prefill", 1, 512)]
    if options.depth > 0:
        chosen.append(Regime("decode", 1, options.depth, few // 2))
    return [regime for regime in chosen if options.only in regime.name]


def build_ours(options):
    """Paths of our programs by their names."""
    targets = {"engine_bench": "worker/bench/engine_bench"}
    if options.service:
        targets |= {"worker": "worker/worker_cpu", "coordinator": "coordinator/coordinator"}
        targets |= {"phalanx": "client/phalanx"}
    labels = ["//" + ":".join(path.rsplit("/", 1)) for path in targets.values()]
    flags = subprocess.check_output([ROOT / "tools/progress", "--flags"], text=True).split()
    build = subprocess.Popen(
        ["bazel", "build", *flags, *labels], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    subprocess.run([ROOT / "tools/progress", "build"], stdin=build.stdout, stdout=sys.stderr, check=True)
    if build.wait() != 0:
        sys.exit(f"run.py: {' '.join(labels)}: the build failed")
    folder = subprocess.check_output(
        ["bazel", "info", "bazel-bin"], cwd=ROOT, text=True, stderr=subprocess.DEVNULL
    )
    return {name: pathlib.Path(folder.strip()) / path for name, path in targets.items()}


def build_llama():
    """Names and paths of the drivers."""
    lines = subprocess.check_output([ROOT / "tests/peers/build_llama.sh"], text=True).splitlines()
    drivers = dict(line.split(maxsplit=1) for line in lines)
    # One build alone needs no name of its own.
    return {"llama.cpp" if len(drivers) == 1 else f"llama.cpp {name}": drivers[name] for name in drivers}


def in_q4_0(model, driver):
    """The model with matrices in Q4_0, made once."""
    folder = CACHE / "llama.cpp/models"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.stem}-{model.stat().st_size}-as-q4_0.gguf"
    if not path.exists():
        print(f"writing {path}", file=sys.stderr)
        new = path.with_suffix(".new")
        subprocess.run([driver, "--quantize", model, new], check=True, stdout=subprocess.DEVNULL)
        new.rename(path)
    return path


def bench_command(program, options, extra=()):
    command = [program, "--interactive", "--device", "cpu", "--model", options.model]
    command += ["--threads", options.threads, *options.bench_arguments.split()]
    # Of an option that is given twice, CLI11 would complain.
    if extra:
        command[command.index("--threads") + 1] = options.threads // 2
    return [*command, *extra]


def commands_of(options, engine_bench, drivers):
    """What is started, by the names that the table has, ours first."""
    commands = {"ours": bench_command(engine_bench, options)}
    if options.tp:
        commands[TWO_PROCESSES] = bench_command(engine_bench, options, ("--tp", 2))
    if options.against:
        commands["other"] = bench_command(options.against, options)
    for name, driver in drivers.items():
        commands[name] = [driver, options.model, options.threads]
        if options.q4_0:
            commands[f"{name} Q4_0"] = [driver, in_q4_0(options.model, driver), options.threads]
    return commands


def start_programs(options, log, exits):
    """All programs that are compared, ours first."""
    if options.engine_bench:
        ours = {"engine_bench": options.engine_bench}
    else:
        ours = build_ours(options)
    drivers = {}
    if options.llama_driver:
        drivers = {"llama.cpp": options.llama_driver}
    elif not options.no_llama:
        drivers = build_llama()
    programs = []
    for name, command in commands_of(options, ours["engine_bench"], drivers).items():
        print(f"loading {name}", file=sys.stderr)
        programs.append(measure.Program(name, command, log))
        exits.callback(programs[-1].close)
    if options.service:
        print("starting a worker and a coordinator", file=sys.stderr)
        arguments = ["--device", "cpu", *options.bench_arguments.split()]
        programs.append(
            service.Service(
                OVER_GRPC,
                ours,
                options.model,
                options.threads,
                arguments,
                log,
                options.stream_interval,
            )
        )
        exits.callback(programs[-1].close)
    return programs


def report(options, programs, regimes, measured, load):
    """The text for people. `load` is that of the machine before anything was started."""
    setting = programs[0].setting
    lines = [
        f"{options.model.name} on {setting.get('processor')}, {options.threads} threads, "
        f"{measured.rounds} rounds" + (" (cut short)" if measured.cut_short else ""),
        f"ours: {setting.get('backend')}",
    ]
    lines += [f"{program.name}: {program.setting.get('backend')}" for program in programs[1:]]
    if measured.read_rates:
        lines.append(f"the machine reads {ratios.spread(measured.read_rates, 1)} GB/s")
    if load > BUSY:
        lines.append(f"the machine was busy with other work (load {load:.1f}): ratios say little")
    names = [program.name for program in programs]
    variants = (TWO_PROCESSES, OVER_GRPC)
    rows = ratios.compare(measured.rates, regimes, names, measured.read_percents, variants)
    return "\n".join([*lines, "", *ratios.table(rows)])


def as_json(options, programs, measured):
    """All that was measured, for machines."""
    return {
        "model": options.model.name,
        "threads": options.threads,
        "rounds": measured.rounds,
        "cut_short": measured.cut_short,
        "read_gb_per_s": measured.read_rates,
        "programs": {program.name: program.setting for program in programs},
        "measured": [
            {
                "program": name,
                "regime": regime.name,
                "case": regime.kind,
                "sequences": regime.sequences,
                "tokens": regime.tokens,
                "tokens_per_second": rates,
                "median": statistics.median(rates),
            }
            for (name, regime), rates in measured.rates.items()
        ],
    }


def main(arguments):
    options = parse_arguments(arguments)
    regimes = regimes_of(options)
    load = os.getloadavg()[0]
    with contextlib.ExitStack() as exits:
        log = exits.enter_context(
            tempfile.NamedTemporaryFile("w", prefix="phalanx-peers.", suffix=".log", delete=False)
        )
        programs = start_programs(options, log, exits)
        progress = measure.Progress()
        measured = measure.measure(programs, regimes, options.rounds, options.seconds, progress)
        progress.end()
        print(report(options, programs, regimes, measured, load))
        # After an error it stays, since the error names it.
        exits.callback(pathlib.Path(log.name).unlink)
        if options.json:
            options.json.write_text(json.dumps(as_json(options, programs, measured), indent=2) + "\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except measure.PeerError as error:
        sys.exit(f"run.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
