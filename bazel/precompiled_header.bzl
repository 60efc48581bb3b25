"""precompiled_header: headers of libraries, read once by the compiler for all sources that include them."""

# Those of .bazelrc and of Bazel's C++ toolchain: gcc takes a precompiled header only if the flags are the same.
# Where they are not it says so (-Winvalid-pch) and reads the plain header.
_FLAGS = " ".join([
    "-U_FORTIFY_SOURCE -fstack-protector -Wall -Wunused-but-set-parameter -Wno-free-nonheap-object",
    "-fno-omit-frame-pointer -g0 -O2 -D_FORTIFY_SOURCE=1 -DNDEBUG -ffunction-sections -fdata-sections",
    "-fPIC -std=c++20 -Wextra -Wno-unused-parameter -fno-canonical-system-headers",
    "-Wno-builtin-macro-redefined -D__DATE__='\"redacted\"' -D__TIMESTAMP__='\"redacted\"'",
    "-D__TIME__='\"redacted\"'",
])

def precompiled_header(name):
    """Compiles NAME.h of this package. Use it through cc_rules.bzl.

    Args:
      name: the cc_library to make: what includes "compiled/NAME.h" first depends on it.
    """
    native.genrule(
        name = name + "_compiled",
        srcs = native.glob(["*.h"]),
        outs = ["compiled/%s.h" % name, "compiled/%s.h.gch" % name],
        cmd = """
            echo '#include "bazel/precompiled/{name}.h"' > $(@D)/compiled/{name}.h
            /usr/bin/gcc {flags} -I. -x c++-header $(@D)/compiled/{name}.h -o $(@D)/compiled/{name}.h.gch
        """.format(name = name, flags = _FLAGS),
        message = "Precompiling headers",
    )
    native.cc_library(
        name = name,
        hdrs = native.glob(["*.h"]) + [":%s_compiled" % name],
    )
