"""fuzz_test: a libFuzzer target, and a test that replays its corpus."""

def fuzz_test(name, src, deps):
    """Makes two programs of one source with LLVMFuzzerTestOneInput.

    NAME_fuzzer looks for inputs that break it: built with --config=fuzz only, by run.sh.
    NAME_replay_test runs the inputs in corpus/NAME once: in every build, as a plain test.

    Args:
      name: of the target and of its folder in corpus/.
      src: the source.
      deps: what it uses.
    """
    native.cc_library(
        name = name + "_target",
        testonly = True,
        srcs = [src],
        # A sanitizer finds the options that a source defines in the program only, in no shared library.
        linkstatic = True,
        deps = deps,
        alwayslink = True,
    )
    native.cc_binary(
        name = name + "_fuzzer",
        testonly = True,
        linkopts = ["-fsanitize=fuzzer"],
        # gcc has no such sanitizer.
        tags = [
            "fuzz",
            "manual",
        ],
        deps = [name + "_target"],
    )
    corpus = "corpus/" + name
    native.cc_test(
        name = name + "_replay_test",
        size = "small",
        args = [native.package_name() + "/" + corpus],
        data = native.glob([corpus + "/*"]),
        deps = [
            name + "_target",
            ":replay_main",
        ],
    )
