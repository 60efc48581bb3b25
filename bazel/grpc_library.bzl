"""grpc_library: C++ messages and gRPC stubs of one .proto file."""

load(":cc_rules.bzl", "cc_library")

def grpc_library(name, src, deps = [], services = False, visibility = None):
    """Generates and compiles the C++ code of one .proto file under //proto.

    Args:
      name: the cc_library to make.
      src: the .proto file, for example "phalanx/v1/inference.proto". It is included as
        "phalanx/v1/inference.pb.h", and other .proto files import it by the same path.
      deps: grpc_library targets of the .proto files that it imports.
      services: whether to make the gRPC stubs ("phalanx/v1/inference.grpc.pb.h") as well.
      visibility: as for every rule.
    """
    stem = src[:-len(".proto")]
    outs = [stem + ".pb.h", stem + ".pb.cc"]
    plugin = ""
    if services:
        outs += [stem + ".grpc.pb.h", stem + ".grpc.pb.cc"]
        plugin = " --grpc_out=$(RULEDIR) --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin"
    native.genrule(
        name = name + "_protoc",
        srcs = [src] + [dep + "_srcs" for dep in deps],
        outs = outs,
        cmd = "protoc --experimental_allow_proto3_optional -Iproto --cpp_out=$(RULEDIR)" +
              plugin + " proto/" + src,
        message = "Generating C++ from",
    )
    native.filegroup(
        name = name + "_srcs",
        srcs = [src] + [dep + "_srcs" for dep in deps],
        visibility = ["//visibility:public"],
    )
    cc_library(
        name = name,
        srcs = [out for out in outs if out.endswith(".cc")],
        hdrs = [out for out in outs if out.endswith(".h")],
        copts = ["-w"],  # Generated code is not ours to warn about.
        includes = ["."],
        deps = deps + (["@system//:grpc++"] if services else ["@system//:protobuf"]),
        visibility = visibility,
    )
