"""The tree keeps to the rules of architecture.py, and the rules catch what breaks them."""

import unittest

import architecture


class TreeTest(unittest.TestCase):
    TREE = architecture.read_tree(".")

    def test_the_tree_was_read(self):
        self.assertIn("kernels/ops.h", self.TREE)
        self.assertGreater(len(self.TREE), 200)

    def test_the_tree_keeps_to_every_rule(self):
        for rule in architecture.RULES:
            with self.subTest(rule.__name__):
                self.assertEqual(list(rule(self.TREE)), [])


class RuleTest(unittest.TestCase):
    def assert_caught(self, rule, tree, times=1):
        self.assertEqual(len(list(rule(tree))), times, list(rule(tree)))

    def test_an_include_across_a_forbidden_edge(self):
        self.assert_caught(architecture.edges, {"kernels/a.cc": '#include "base/log.h"\n'})
        self.assert_caught(architecture.edges, {"coordinator/a.h": '#include "worker/b.h"\n'})
        self.assert_caught(architecture.edges, {"model/a.h": '#include "phalanx/v1/a.pb.h"\n'})
        self.assert_caught(architecture.edges, {"worker/a.h": '#include "kernels/ops.h"\n'}, 0)

    def test_a_dependency_across_a_forbidden_edge(self):
        dep = 'cc_library(deps = ["//worker/comm:communicator"])'
        self.assert_caught(architecture.edges, {"client/BUILD.bazel": dep})
        self.assert_caught(architecture.edges, {"tests/e2e/BUILD.bazel": dep}, 0)
        seen = 'package(default_visibility = ["//worker:__subpackages__"])'
        self.assert_caught(architecture.edges, {"kernels/BUILD.bazel": seen}, 0)

    def test_an_include_of_a_room_above(self):
        rule = architecture.rooms
        self.assert_caught(rule, {"model/files/a.cc": '#include "model/spec/b.h"\n'})
        self.assert_caught(rule, {"model/files/a_test.cc": '#include "model/text/b.h"\n'})
        self.assert_caught(rule, {"coordinator/text/answer/a.h": '#include "coordinator/text/b.h"\n'})
        self.assert_caught(rule, {"coordinator/text/a.h": '#include "coordinator/server/b.h"\n'})
        self.assert_caught(rule, {"kernels/a.h": '#include "kernels/cpu/b.h"\n'})
        allowed = {
            "model/spec/a.cc": '#include "model/spec/b.h"\n#include "model/files/c.h"\n',
            "model/a.cc": '#include "model/sharding/b.h"\n',
            "model/testing/a.h": '#include "model/sharding/b.h"\n',
            "kernels/cpu/a.cc": '#include "kernels/b.h"\n#include "kernels/testing/c.h"\n',
            "worker/main.cc": '#include "model/files/a.h"\n',
        }
        self.assert_caught(rule, allowed, 0)
        self.assert_caught(rule, {"model/tensors/a.h": ""})

    def test_a_fixture_outside_of_testing(self):
        rule = architecture.testing_rooms
        self.assert_caught(rule, {"worker/engine/fake_model.h": "", "worker/a_fixture.cc": ""}, 2)
        used = '#include "worker/testing/a_fixture.h"\n'
        self.assert_caught(rule, {"worker/a.cc": used})
        self.assert_caught(rule, {"worker/a_test.cc": used, "worker/testing/a_fixture.h": ""}, 0)

    def test_units_that_include_each_other(self):
        tree = {
            "a/below.h": "",
            "a/one.h": '#include "a/below.h"\n',
            "a/one.cc": '#include "a/one.h"\n#include "a/two.h"\n',
            "a/two.h": '#include "a/three.h"\n',
            "a/above.h": '#include "a/one.h"\n',
        }
        self.assert_caught(architecture.circles, tree, 0)
        self.assert_caught(architecture.circles, {**tree, "a/three.h": '#include "a/one.h"\n'}, 3)

    def test_grpc_where_it_does_not_belong(self):
        text = "#include <grpcpp/grpcpp.h>\n"
        self.assert_caught(architecture.grpc_headers, {"worker/engine/a.cc": text})
        self.assert_caught(architecture.grpc_headers, {"worker/server/a.cc": text}, 0)

    def test_cuda_where_it_does_not_belong(self):
        text = "#include <nccl.h>\n#include <cuda_runtime.h>\n#include <nvml.h>\n"
        self.assert_caught(architecture.cuda_headers, {"worker/model/a.cc": text}, 3)
        self.assert_caught(architecture.cuda_headers, {"kernels/cuda/a.cu": text}, 0)

    def test_a_backend_that_is_not_chosen_by_a_platform(self):
        rule = architecture.platforms
        text = '#include "kernels/cpu/a.h"\n#include "worker/comm/shm_a.h"\n'
        self.assert_caught(rule, {"worker/group/a.cc": text}, 2)
        allowed = ("worker/cpu_platform.cc", "worker/group/a_test.cc", "worker/comm/shm_a.cc")
        self.assert_caught(rule, dict.fromkeys(allowed, text), 0)

    def test_the_wall_clock_where_time_is_measured(self):
        text = "const absl::Time deadline = absl::Now() + timeout;\n"
        self.assert_caught(architecture.wall_clock, {"worker/group/a.cc": text})
        self.assert_caught(architecture.wall_clock, {"base/a.h": "std::chrono::system_clock x;"})
        allowed = {"base/log.cc": text, "worker/a_test.cc": text, "client/testing/fake_server.cc": text}
        self.assert_caught(architecture.wall_clock, allowed, 0)
        steady = {"worker/a.cc": "MonotonicClock()->Now(); std::chrono::steady_clock::now();"}
        self.assert_caught(architecture.wall_clock, steady, 0)

    def test_a_lock_that_the_analysis_does_not_know(self):
        rule = architecture.foreign_mutexes
        for kind in ("std::mutex", "std::shared_mutex", "std::recursive_timed_mutex", "absl::Mutex"):
            self.assert_caught(rule, {"worker/a.h": f"  {kind} mutex_;\n"})
        allowed = {"base/mutex.h": "std::mutex mutex_;\n", "worker/a_test.cc": "std::mutex mutex;\n"}
        self.assert_caught(rule, {**allowed, "worker/b.h": "  mutable Mutex mutex_;\n"}, 0)

    def test_a_lock_of_nothing(self):
        rule = architecture.mutexes_that_guard_nothing
        lock = "  mutable Mutex mutex_;\n"
        self.assert_caught(rule, {"worker/a.h": lock + "  int a_;\n"})
        self.assert_caught(rule, {"worker/a.h": lock + "  int a_ GUARDED_BY(other_mutex_);\n"})
        self.assert_caught(rule, {"worker/a.h": lock + "  int a_ GUARDED_BY(mutex_);\n"}, 0)
        self.assert_caught(rule, {"worker/a.h": lock + "  void F() EXCLUSIVE_LOCKS_REQUIRED(mutex_);\n"}, 0)

    def test_a_test_that_is_never_run(self):
        tree = {"base/a_test.cc": "", "base/BUILD.bazel": 'srcs = ["b_test.cc"]'}
        self.assert_caught(architecture.tests_without_target, tree)

    def test_a_name_that_says_nothing(self):
        self.assert_caught(architecture.empty_names, {"base/utils.h": "", "worker/misc/a.h": ""}, 2)

    def test_a_wrong_include_guard(self):
        self.assert_caught(architecture.include_guards, {"base/a.h": "#ifndef A\n#define A\n"})

    def test_documents_that_name_what_does_not_exist(self):
        tree = {"A.md": "--config=msan", ".bazelrc": "build:asan --x\n"}
        self.assert_caught(architecture.documented_configs, tree)
        tree = {"ARCHITECTURE.md": "`base/gone.cc` and `base/log.h`", "base/log.h": ""}
        self.assert_caught(architecture.documented_paths, tree)

    def test_a_recipe_that_names_a_file_that_does_not_exist(self):
        items = "- `a/b.h` and `.cc`,\n  `c.md`: into `what.h`.\n"
        text = f"# C\n\n## Recipes\n\n### Add a thing\n\n{items}\n## Commits\n\n- `x.h`: no.\n"
        tree = {"CONTRIBUTING.md": text, "a/b.h": "", "c.md": ""}
        self.assert_caught(architecture.recipes, tree, 0)
        self.assert_caught(architecture.recipes, {"CONTRIBUTING.md": text, "c.md": ""})
        self.assert_caught(architecture.recipes, {"CONTRIBUTING.md": "\n## Recipes\n\n### One\n\nProse\n"})

    def test_documents_that_name_a_function_that_moved(self):
        source = "class Call {\n  void Parse();\n};\nvoid Call::Arrive() { Next(); }\n"
        there = "`a/call.cc: Call::Arrive`, `call.cc: Call::Parse`, `call.cc: Next`"
        tree = {"A.md": there, "a/call.cc": source}
        self.assert_caught(architecture.documented_symbols, tree, 0)
        for gone in ("call.cc: Call::Pump", "call.cc: Pump", "call.cc: Other::Arrive", "gone.cc: Next"):
            self.assert_caught(architecture.documented_symbols, {**tree, "A.md": f"`{gone}`"})
        self.assert_caught(architecture.documented_symbols, {**tree, "b/call.cc": source}, 2)

    def test_prose_that_is_too_wide(self):
        wide = "x" * 101
        tree = {"A.md": f"{wide}\n| {wide} |\n```\n{wide}\n```\n{wide}\n", "a.cc": wide}
        self.assert_caught(architecture.wide_prose, tree, 2)
        tree = {"README.md": f"| {wide} |\n```\n{wide}\n```\n", "docs/a.md": f"| {wide} |\n"}
        self.assert_caught(architecture.wide_prose, tree, 2)

    def test_a_type_that_is_defined_twice(self):
        def source(namespace, definition):
            return f"namespace {namespace}{{\n{definition}\n}}  // namespace\n"

        limits = source("phalanx ", "struct Limits {\n};")
        rule = architecture.types_defined_twice
        self.assert_caught(rule, {"worker/a.h": limits, "coordinator/b.cc": limits})
        derived = source("phalanx ", "class Limits final : public A,\n                     public B {\n};")
        self.assert_caught(rule, {"worker/a.h": limits, "coordinator/b.cc": derived})
        others = [
            source("other ", "struct Limits {\n};"),
            source("phalanx ", "struct Limits;"),
            source("phalanx ", "struct Call::Limits {\n};"),
            source("phalanx ", "enum class Other {\n};\nvoid Limits();"),
            source("", "struct Limits {\n};"),
            source("phalanx ", "template <>\nstruct Limits<int> : Other {\n};"),
        ]
        for other in others:
            self.assert_caught(rule, {"worker/a.h": limits, "coordinator/b.cc": other}, 0)


if __name__ == "__main__":
    unittest.main()
