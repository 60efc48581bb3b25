"""The rules of ARCHITECTURE.md about who may know whom, as functions from a tree to complaints.

A tree is a dict from path to text. Each rule yields a line for everything that breaks it.
"""

import pathlib
import re
import subprocess

# Folder to the other folders that it may use. What is not here may use everything.
ALLOWED = {
    "base": set(),
    "proto": set(),
    "model": {"base"},
    "kernels": set(),
    "rpc": {"proto", "base"},
    "coordinator": {"proto", "base", "model", "rpc"},
    "worker": {"proto", "base", "model", "kernels", "rpc"},
    "client": {"proto", "base", "model"},
}
# The rooms of a folder, from the lowest up: a file may include those of its own room and of rooms
# below it. "." stands for the files of the folder itself, which otherwise may use all of its rooms.
ROOMS = {
    "model": ("files", "generation", "spec", "text", "checkpoint", "sharding"),
    "coordinator": ("text", "admission", "routing", "server"),
    "coordinator/text": ("tokenizer", "jinja", "schema", "template", "renderer", "answer"),
    "worker": ("net", "comm", "weights", "step", "model", "kv_cache", "constraint", "engine", "group", "server", ".", "bench"),
    "kernels": (".", "sampling", "reference", "cpu", "cuda", "bench"),
    "client": (),
    "base": (),
    "rpc": (),
}
# What the generated headers of proto/ are included as.
PROTO_PREFIXES = ("phalanx/v1/", "phalanx/worker/v1/", "grpc/health/v1/", "google/rpc/")
GRPC_FOLDERS = (
    "rpc/",
    "coordinator/server/",
    "worker/server/",
    "coordinator/routing/",
    "worker/group/",
    "client/",
    "examples/",
    "tests/",
    # Read by the compiler only, once for all.
    "bazel/precompiled/",
    # Logging only, no server: linked by the programs alone.
    "base/grpc_log",
)
CUDA_FOLDERS = (
    "kernels/cuda/",
    "worker/comm/nccl",
    "worker/comm/testing/nccl",
    "worker/nvml_api",
)
# The wall clock may be set at any time: only for dates that people read, never for how long
# something takes.
WALL_CLOCK_FILES = (
    "base/log",
    # Turns waits for the wall clock into waits for the monotonic one.
    "base/monotonic_futex.cc",
    "base/process_collector.cc",
    "coordinator/text/jinja",
    "coordinator/text/jinja/local_jinja.cc",
    "examples/",
)
WALL_CLOCK = re.compile(
    r"\babsl::Now\(|\bsystem_clock\b|\bCLOCK_REALTIME\b|\bgettimeofday\(|\bstd::time\(|"
    r"\bSystemTime\b|\bGPR_CLOCK_REALTIME\b"
)
FOREIGN_MUTEX = re.compile(r"\bstd::(?:recursive_|shared_|timed_)*mutex\b|\babsl::Mutex\b|\bpthread_mutex_t\b")
# Where kernel sources get the words of CUDA from: nvcc, or the emulator of kernels/cuda/testing.
KERNEL_WORDS = ("kernels/cuda/device.h", "kernels/cuda/launch.h", "kernels/cuda/mma.h")
EMPTY_NAMES = {"util", "utils", "common", "misc", "helper", "helpers"}

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)
LABEL = re.compile(r'"(//[^"]*)"')


def read_tree(root):
    """The files that git tracks or would track, as far as they are text."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    tree = {}
    for name in listing.stdout.splitlines():
        path = pathlib.Path(root, name)
        if path.is_file():
            tree[name] = path.read_text(errors="replace")
    return tree


def is_cpp(path):
    return path.endswith((".cc", ".h", ".cu", ".cuh"))


def is_build(path):
    return path.endswith("BUILD.bazel")


def folder_of_include(include):
    if include.startswith(PROTO_PREFIXES):
        return "proto"
    folder = include.split("/")[0]
    return folder if folder in ALLOWED else None


def edges(tree):
    """Includes and BUILD deps between top folders that are not allowed."""
    for path, text in tree.items():
        here = path.split("/")[0]
        if here not in ALLOWED:
            continue
        if is_cpp(path):
            used = {(name, folder_of_include(name)) for name in INCLUDE.findall(text)}
        elif is_build(path):
            # A rule of bazel/ is loaded, not depended on; visibility lists name who may look in.
            rules = re.sub(r"visibility = \[[^\]]*\]", "", text)
            used = {(label, label[2:].split("/")[0].split(":")[0]) for label in LABEL.findall(rules)}
            used = {(label, folder) for label, folder in used if folder in ALLOWED}
        else:
            continue
        for name, folder in sorted(used, key=str):
            if folder and folder != here and folder not in ALLOWED[here]:
                yield f"{path}: {here} may not use {folder} ({name})"


def room_of(path, folder):
    """The room of `folder` that a path below it is in; None without one."""
    if not path.startswith(folder + "/"):
        return None
    inside = path[len(folder) + 1 :]
    return inside.split("/")[0] if "/" in inside else "."


def rooms(tree):
    """Includes of a room above, and folders that are no room."""
    for path, text in tree.items():
        if not is_cpp(path) or "/testing/" in path:
            continue
        for folder, names in ROOMS.items():
            here = room_of(path, folder)
            if here is None:
                continue
            order = names if "." in names else (*names, ".")
            if here not in order:
                yield f"{path}: {here} is no room of {folder}"
                continue
            for include in INCLUDE.findall(text):
                there = room_of(include, folder)
                if there in order and order.index(there) > order.index(here):
                    yield f"{path}: {folder}/{here} may not use {folder}/{there} above it ({include})"


def testing_rooms(tree):
    """What test programs share is in testing/, and only they include it."""
    for path, text in tree.items():
        if not is_cpp(path) or path.startswith(("tests/", "bazel/", "kernels/bench/", "worker/bench/")):
            continue
        if "/testing/" in path or path in KERNEL_WORDS:
            continue
        if re.search(r"(_fixture|/fake_\w+)\.(cc|h)$", path):
            yield f"{path}: belongs into testing/"
        if not re.search(r"_(test|bench)\.cc$", path):
            for include in INCLUDE.findall(text):
                if "/testing/" in include:
                    yield f"{path}: only tests may use {include}"


def circles(tree):
    """Units, a header with its source, that include each other, be it through others."""
    units = {}
    for path, text in tree.items():
        if is_cpp(path):
            unit = path.rsplit(".", 1)[0]
            used = {name.rsplit(".", 1)[0] for name in INCLUDE.findall(text)} - {unit}
            units.setdefault(unit, set()).update(used)
    # A unit is cleared once everything that it uses is; what stays is in a circle or above one.
    left = dict(units)
    while cleared := [unit for unit, used in left.items() if not used & left.keys()]:
        for unit in cleared:
            del left[unit]
    # The same from above: what nobody in the rest uses is in no circle.
    while unused := left.keys() - set().union(*left.values()):
        for unit in unused:
            del left[unit]
    for unit, used in left.items():
        yield f"{unit}: includes itself by way of {', '.join(sorted(used & left.keys()))}"


def grpc_headers(tree):
    for path, text in tree.items():
        if not is_cpp(path) or path.startswith(GRPC_FOLDERS):
            continue
        for name in INCLUDE.findall(text):
            if name.startswith(("grpcpp/", "grpc/")) or name.endswith(".grpc.pb.h"):
                yield f"{path}: no place for gRPC headers ({name})"


def cuda_headers(tree):
    for path, text in tree.items():
        if not is_cpp(path) or path.startswith(CUDA_FOLDERS):
            continue
        for name in INCLUDE.findall(text):
            if re.match(r"(cuda|cublas|nccl|nvml|cub/)", name):
                yield f"{path}: no place for CUDA, NCCL or NVML headers ({name})"


PLATFORM = re.compile(r"kernels/(cpu|cuda|reference)/|worker/comm/(shm|net|nccl)_")


def platforms(tree):
    """Which backend and which transport a worker has, only its platforms know."""
    for path, text in tree.items():
        if not is_cpp(path) or not path.startswith("worker/") or is_for_tests(path):
            continue
        if path.startswith("worker/comm/") or path.endswith(("_platform.cc", "_bench.cc")):
            continue
        for name in INCLUDE.findall(text):
            if PLATFORM.match(name):
                yield f"{path}: only a platform may choose a backend or transport ({name})"


def is_for_tests(path):
    return re.search(r"(_test|_fixture|/fake_\w+|/testing/\w+)\.(cc|h)$", path) is not None


def wall_clock(tree):
    for path, text in tree.items():
        if not (is_cpp(path) or path.endswith(".rs")) or path.startswith(WALL_CLOCK_FILES):
            continue
        if is_for_tests(path):
            continue
        for match in WALL_CLOCK.finditer(text):
            yield f"{path}: {match[0]} is the wall clock; see base/clock.h"


def foreign_mutexes(tree):
    """Clang's thread-safety analysis knows the locks of base/mutex.h only."""
    for path, text in tree.items():
        if not is_cpp(path) or is_for_tests(path) or path == "base/mutex.h":
            continue
        for match in FOREIGN_MUTEX.finditer(text):
            yield f"{path}: {match[0]} escapes the thread-safety analysis; see base/mutex.h"


def mutexes_that_guard_nothing(tree):
    """The analysis finds nothing where a lock does not say what it is for."""
    for path, text in tree.items():
        if not is_cpp(path) or is_for_tests(path):
            continue
        for name in re.findall(r"^\s*(?:mutable )?Mutex (\w+);", text, re.MULTILINE):
            if not re.search(rf"(GUARDED_BY|LOCKS_REQUIRED)\([^)]*\b{name}\b", text):
                yield f"{path}: {name} is the lock of nothing; see GUARDED_BY"


def tests_without_target(tree):
    """A test that no BUILD file names is never run."""
    for path in tree:
        if not re.search(r"_test\.(cc|py|sh)$", path) or path.startswith("bazel/"):
            continue
        folder, name = path.rsplit("/", 1)
        build = tree.get(f"{folder}/BUILD.bazel", "")
        if f'"{name}"' not in build:
            yield f"{path}: in no target of {folder}/BUILD.bazel"


def empty_names(tree):
    for path in tree:
        for part in path.split("/"):
            if part.split(".")[0] in EMPTY_NAMES:
                yield f"{path}: {part} says nothing about what is in it"


def include_guards(tree):
    for path, text in tree.items():
        if not path.endswith(".h"):
            continue
        guard = re.sub(r"[^A-Z0-9]", "_", f"PHALANX_{path}_".upper())
        if f"#ifndef {guard}\n#define {guard}\n" not in text:
            yield f"{path}: the include guard is not {guard}"


def documented_configs(tree):
    """--config=NAME in a document must exist in .bazelrc."""
    known = set(re.findall(r"^\w+:(\w+) ", tree.get(".bazelrc", ""), re.MULTILINE))
    for path, text in tree.items():
        if path.endswith(".md"):
            for name in re.findall(r"--config=(\w+)", text):
                if name not in known:
                    yield f"{path}: .bazelrc has no --config={name}"


def documented_paths(tree):
    """A path in backquotes in ARCHITECTURE.md or CONTRIBUTING.md must exist."""
    folders = {"/".join(path.split("/")[:depth]) for path in tree for depth in range(1, 5)}
    for document in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        for word in re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9.]*)[`: ]", tree.get(document, "")):
            if word.rstrip("/") not in folders and word not in tree:
                yield f"{document}: there is no {word}"


def recipes(tree):
    """The recipes of CONTRIBUTING.md are lists that begin with files, all of which exist."""
    text = tree.get("CONTRIBUTING.md", "")
    _, _, section = text.partition("\n## Recipes\n")
    section = section.partition("\n## ")[0]
    for recipe in section.split("\n### ")[1:]:
        title, _, body = recipe.partition("\n")
        files = [
            name
            for item in re.findall(r"^- ([^:]*):", body, re.MULTILINE)
            for name in re.findall(r"`([^`]+)`", item)
            if not name.startswith(".")
        ]
        if not files:
            yield f"CONTRIBUTING.md: {title}: names no files"
        for name in files:
            if name not in tree:
                yield f"CONTRIBUTING.md: {title}: there is no {name}"


def documented_symbols(tree):
    """`FILE: Symbol` in a document must name a file, and something that is in it."""
    for path, text in tree.items():
        if not path.endswith(".md"):
            continue
        for name, symbol in re.findall(r"`([\w./]+\.(?:cc|h|py)): ([\w:]+)`", text):
            files = [file for file in tree if file == name or file.endswith("/" + name)]
            if len(files) != 1:
                yield f"{path}: {name} is the name of {len(files)} files"
            elif not has_symbol(tree[files[0]], symbol):
                yield f"{path}: {files[0]} has no {symbol}"


def has_symbol(text, symbol):
    """Whether a source defines or declares Function, Class, or Class::Method."""
    if re.search(rf"\b{symbol}\b", text):
        return True
    # A method that is declared in its class.
    name, _, method = symbol.rpartition("::")
    body = re.search(rf"\b(?:class|struct) {name}\b.*?^}};", text, re.DOTALL | re.MULTILINE)
    return bool(name and body and re.search(rf"\b{method}\(", body[0]))


# What a newcomer reads first: tables and code too.
NARROW_DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")


def wide_prose(tree):
    """Documents are read in terminals too: 100 columns, but for tables and code of some."""
    for path, text in tree.items():
        if not path.endswith(".md"):
            continue
        if path in NARROW_DOCUMENTS:
            for number, line in enumerate(text.splitlines(), 1):
                if len(line) > 100:
                    yield f"{path}:{number}: {len(line)} columns"
            continue
        code = False
        for number, line in enumerate(text.splitlines(), 1):
            if line.lstrip().startswith("```"):
                code = not code
            elif not code and not line.lstrip().startswith("|") and len(line) > 100:
                yield f"{path}:{number}: {len(line)} columns"


NAMESPACE = re.compile(r"^namespace ([\w:]*) ?{$")
TYPE = re.compile(r"^(?:class|struct|union|enum(?: class| struct)?) (?:\w+\([^)]*\) )?([\w:]+)\b(?!<)[^;]*$")


def types_of(text):
    """The types that a source defines outside of unnamed namespaces and other types, in full."""
    namespaces = []
    for line in text.splitlines():
        if match := NAMESPACE.match(line):
            namespaces.append(match[1])
        elif line.startswith("}  // namespace") and namespaces:
            namespaces.pop()
        elif (match := TYPE.match(line)) and "" not in namespaces:
            yield "::".join([*namespaces, match[1]])


def types_defined_twice(tree):
    """One definition rule: a program that links both would have undefined behaviour."""
    files = {}
    for path, text in tree.items():
        if is_cpp(path) and not path.startswith("examples/"):
            for name in types_of(text):
                files.setdefault(name, []).append(path)
    for name, paths in files.items():
        if len(paths) > 1:
            yield f"{paths[1]}: {name} is defined in {paths[0]} too"


RULES = (
    edges,
    rooms,
    testing_rooms,
    circles,
    grpc_headers,
    cuda_headers,
    platforms,
    wall_clock,
    foreign_mutexes,
    mutexes_that_guard_nothing,
    tests_without_target,
    empty_names,
    include_guards,
    documented_configs,
    documented_paths,
    recipes,
    documented_symbols,
    wide_prose,
    types_defined_twice,
)
