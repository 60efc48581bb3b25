"""cuda_library: kernels, compiled by nvcc for GPUs and by the C++ compiler for tests without one."""

load(":cc_rules.bzl", "cc_library")

# Of programs that tests/gpu/run.sh takes to another machine: they look for libraries in lib/ beside them first, and so do
# these libraries for others.
PACKED_LINKOPTS = [
    "-Wl,-rpath,$$ORIGIN/lib",
    "-Wl,--disable-new-dtags",
]

def _architecture_flags(names):
    """nvcc's flags for names such as "80", "90a" (machine code) and "ptx120" (portable code)."""
    flags = []
    for name in names:
        if name.startswith("ptx"):
            number = name[len("ptx"):]
            flags.append("-gencode=arch=compute_%s,code=compute_%s" % (number, number))
        else:
            flags.append("-gencode=arch=compute_%s,code=sm_%s" % (name, name))
    return flags

_Architectures = provider(fields = ["names"])

def _cuda_architectures_impl(ctx):
    return _Architectures(names = ctx.build_setting_value.split(","))

cuda_architectures = rule(
    implementation = _cuda_architectures_impl,
    build_setting = config.string(flag = True),
    doc = "What GPUs to compile for: a list with commas, see _architecture_flags.",
)

def _cuda_objects_impl(ctx):
    contexts = [dep[CcInfo].compilation_context for dep in ctx.attr.deps]
    headers = depset(ctx.files.hdrs, transitive = [context.headers for context in contexts])
    objects, reports = [], []
    for source in ctx.files.srcs:
        stem = source.basename[:-len(".cu.cc")]
        object = ctx.actions.declare_file("%s/%s.o" % (ctx.label.name, stem))
        report = ctx.actions.declare_file("%s/%s.resources.txt" % (ctx.label.name, stem))
        args = ctx.actions.args()
        args.add_all(["-std=c++20", "-O3", "--expt-relaxed-constexpr", "-Xcompiler=-fPIC,-Wall", "-Werror=all-warnings"])
        args.add_all(["-I.", "-I" + ctx.bin_dir.path, "--resource-usage"])
        for context in contexts:
            args.add_all(context.system_includes, before_each = "-isystem")
        args.add_all(_architecture_flags(ctx.attr._architectures[_Architectures].names))
        args.add_all(ctx.attr.copts)
        args.add_all(["-x", "cu", "-c", source, "-o", object])
        ctx.actions.run_shell(
            inputs = depset([source], transitive = [headers]),
            outputs = [object, report],
            tools = ctx.files._nvcc,
            arguments = [ctx.executable._nvcc_program.path, report.path, args],
            # nvcc finds its own programs and headers beside itself.
            command = """
                nvcc=$1; report=$2; shift 2
                if ! "$nvcc" "$@" >"$report" 2>&1; then cat "$report" >&2; exit 1; fi
            """,
            use_default_shell_env = True,
            mnemonic = "Nvcc",
            progress_message = "Compiling %s for GPUs" % source.short_path,
        )
        objects.append(object)
        reports.append(report)
    return [
        DefaultInfo(files = depset(objects)),
        OutputGroupInfo(resources = depset(reports)),
    ]

_cuda_objects = rule(
    implementation = _cuda_objects_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".cu.cc"]),
        "hdrs": attr.label_list(allow_files = [".h"]),
        "deps": attr.label_list(providers = [CcInfo]),
        "copts": attr.string_list(),
        "_architectures": attr.label(default = "//bazel:cuda_architectures"),
        "_nvcc": attr.label(default = "@cuda//:nvcc"),
        "_nvcc_program": attr.label(default = "@cuda//:nvcc_program", executable = True, allow_single_file = True, cfg = "host"),
    },
)

def cuda_library(name, srcs, hdrs = [], deps = [], cuda_deps = [], copts = [], host_copts = [], **attributes):
    """Makes two libraries of the same kernels: NAME for GPUs, and NAME_emulated for the host.

    Beside them NAME_resources, which says what registers and memory each kernel takes.

    Args:
      name: the library for GPUs. It needs no NVIDIA library to start.
      srcs: sources NAME.cu.cc.
      hdrs: headers; what callers include compiles without nvcc.
      deps: libraries that both are made with.
      cuda_deps: cuda_library targets; the emulated library is made with theirs.
      copts: flags of nvcc beside the usual ones.
      host_copts: flags of the C++ compiler for the emulated library.
      **attributes: of both libraries.
    """
    objects = name + "_objects"
    _cuda_objects(
        name = objects,
        srcs = srcs,
        hdrs = hdrs,
        copts = copts,
        deps = deps + cuda_deps + ["@cuda//:headers"],
        tags = ["no_sanitizer"],
        visibility = ["//visibility:private"],
    )
    native.filegroup(
        name = name + "_resources",
        srcs = [objects],
        output_group = "resources",
        tags = ["no_sanitizer"],
    )
    cc_library(
        name = name,
        srcs = [objects],
        hdrs = hdrs,
        deps = deps + cuda_deps + ["@cuda//:runtime"],
        tags = ["no_sanitizer"],
        **attributes
    )
    cc_library(
        name = name + "_emulated",
        testonly = True,
        srcs = srcs,
        hdrs = hdrs,
        copts = ["-Wno-unknown-pragmas"] + host_copts,
        deps = deps + [dep + "_emulated" for dep in cuda_deps] + [
            "//kernels/cuda/testing:emulator",
            "@cuda//:headers",
        ],
        **attributes
    )
