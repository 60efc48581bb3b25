"""e2e_test: a pytest file that drives the real programs."""

_PROGRAMS = {
    "COORDINATOR": "//:coordinator",
    "PHALANX": "//:phalanx",
    "PYTHON": "@assets//:python",
    "SMOLLM2": "@assets//:smollm2",
    "WORKER": "//:worker",
}

def e2e_test(name, src, files = {}, data = [], **kwargs):
    """Runs one file of tests.

    Args:
      name: of the target.
      src: the pytest file.
      files: further labels that the tests find by path_of(KEY).
      data: further files.
      **kwargs: as for every test.
    """
    paths = dict(_PROGRAMS, **files)
    native.sh_test(
        name = name,
        srcs = ["run_pytest.sh"],
        args = ["$(rootpath %s)" % src],
        data = data + [
            src,
            "conftest.py",
            "harness.py",
            "metrics_page.py",
            ":stubs",
        ] + paths.values(),
        env = {"PHALANX_" + key: "$(rootpath %s)" % label for key, label in paths.items()},
        # They measure and kill; beside other tests they would be slow and disturb them.
        tags = [
            "exclusive",
            "no_sanitizer",
        ],
        **kwargs
    )
