"""Rust crates with a C interface, as libraries for C++."""

load("@assets//:paths.bzl", "CACHE")

# What tells libFuzzer which code an input reached, as -fsanitize=fuzzer-no-link does for C++.
_COVERAGE_FLAGS = " ".join([
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
])

def rust_crate(name, message):
    """The crate in this package's folder, and all that it needs.

    Cargo builds it from the registry folder that tools/install filled. A file patches/NAME.patch
    changes the crate NAME of the registry.

    Args:
      name: of the target; the crate is called phalanx_NAME, and its C header NAME.h.
      message: what is built, for the one who waits: "Building the template engine".
    """
    library = "libphalanx_%s.a" % name
    native.genrule(
        name = name + "_crate",
        srcs = ["Cargo.lock", "Cargo.toml"] + native.glob(
            ["src/**/*.rs", "patches/*.patch"],
        ),
        outs = [library],
        cmd = select({
            "//bazel:fuzz": "export RUSTFLAGS='%s'\n" % _COVERAGE_FLAGS,
            "//conditions:default": "",
        }) + "$(execpath //bazel:build_rust_crate.sh) %s $$(dirname $(execpath Cargo.toml)) $@" % CACHE,
        message = message,
        tags = ["no-sandbox"],
        tools = ["//bazel:build_rust_crate.sh"],
    )
    native.cc_library(
        name = name,
        srcs = [library],
        hdrs = [name + ".h"],
        linkopts = [
            "-lpthread",
            "-ldl",
            "-lm",
        ],
        linkstatic = True,
    )
