"""The C++ rules of this repository: Bazel's own, with precompiled headers. Every BUILD file has them without
loading them, from tools/build_rules/prelude_bazel."""

# gcc 12's optimizer warns without reason in headers of the standard library. It lets that pass where it has read them
# itself, but not where they are precompiled. Clang and the sanitizers look for the same faults.
_UNRELIABLE_WARNINGS = [
    "-Wno-array-bounds",
    "-Wno-dangling-pointer",
    "-Wno-free-nonheap-object",
    "-Wno-maybe-uninitialized",
    "-Wno-restrict",
    "-Wno-stringop-overflow",
    "-Wno-stringop-overread",
    "-Wno-use-after-free",
]

_ENABLED = "//bazel/precompiled:enabled"

def _uses_grpc(deps):
    return any([dep in ("@system//:grpc++", "@system//:protobuf") or dep.startswith("//proto:") for dep in deps])

def _precompile(rule, attributes, is_test):
    copts = attributes.get("copts", [])
    deps = attributes.get("deps", [])
    package = native.package_name()
    if (not attributes.get("srcs") or
        package == "bazel/precompiled" or
        # Flags of its own for which the headers may not fit.
        copts not in ([], ["-w"]) or
        type(deps) != "list"):
        rule(**attributes)
        return
    if _uses_grpc(deps):
        header = "grpc"
    elif is_test or attributes.get("testonly"):
        header = "test"
    else:
        header = "system"
    attributes["deps"] = deps + select({
        _ENABLED: ["//bazel/precompiled:" + header],
        "//conditions:default": [],
    })
    attributes["copts"] = copts + select({
        _ENABLED: _UNRELIABLE_WARNINGS + [
            "-Winvalid-pch",
            "-Wno-error=invalid-pch",
            "-include",
            "$(BINDIR)/bazel/precompiled/compiled/%s.h" % header,
        ],
        "//conditions:default": [],
    })
    rule(**attributes)

def cc_library(**attributes):
    _precompile(native.cc_library, attributes, False)

def cc_binary(**attributes):
    _precompile(native.cc_binary, attributes, False)

def cc_test(**attributes):
    _precompile(native.cc_test, attributes, True)
