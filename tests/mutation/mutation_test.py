"""Tests of what the mutation script makes of universalmutator's mutants and of Bazel's answers."""

import os
import tempfile
import unittest

import mutants
import score
import tree

SOURCE = """\
#include <vector>

namespace phalanx {

// Adds 1 to what is below 3.
int Sum(const std::vector<int>& values, int limit) {
  int sum = 0;
  CHECK(limit > 0) << "limit " << limit
                   << " is not above 0";
  for (const int value : values) {
    if (value < limit) sum += value + 1;
    LOG(INFO) << value;
  }
  Report("sum < 3", -sum);
  return sum;
}

}  // namespace phalanx
""".split("\n")


def line_number(text):
    return next(i for i, line in enumerate(SOURCE, 1) if line.strip().startswith(text))


def sift(text, *replacements):
    """Which of the lines that may stand for the one that begins with `text` are kept."""
    number = line_number(text)
    indent = SOURCE[number - 1][: len(SOURCE[number - 1]) - len(SOURCE[number - 1].lstrip())]
    raw = [(number, indent + replacement + "\n") for replacement in replacements]
    return [mutant.after.strip() for mutant in mutants.sift("a/sum.cc", SOURCE, raw)]


class SiftTest(unittest.TestCase):
    def test_operators_between_spaces_are_changed(self):
        kept = ["if (value <= limit) sum += value + 1;", "if (value < limit) sum += value - 1;"]
        self.assertEqual(sift("if (value", *kept), kept)

    def test_what_only_looks_like_an_operator_is_left_alone(self):
        self.assertEqual(
            sift(
                "int Sum",
                "int Sum(const std::vector>int>& values, int limit) {",
                "int Sum(const std::vector<int>| values, int limit) {",
                "int Sum(int limit, const std::vector<int>& values) {",
            ),
            [],
        )

    def test_names_are_not_changed(self):
        self.assertEqual(sift("if (value", "if (value1 < limit) sum += value + 1;"), [])

    def test_numbers_are_changed_and_sums_of_one_are_written_out(self):
        self.assertEqual(
            sift("int sum", "int sum = 1;", "int sum = (0+1);", "int sum = (0-1);"),
            ["int sum = 1;", "int sum = -1;"],
        )

    def test_messages_comments_log_lines_and_assertions_stay(self):
        self.assertEqual(sift("// Adds", "// Adds 0 to what is below 3."), [])
        self.assertEqual(sift("Report", 'Report("sum > 3", -sum);', 'Report("", -sum);'), [])
        # Commas of messages are no commas between arguments.
        self.assertEqual(sift("Report", 'Report("-sum," sum < 3 );'), [])
        self.assertEqual(sift("LOG", "/*LOG(INFO) << value;*/"), [])
        self.assertEqual(sift("CHECK", 'CHECK(limit >= 0) << "limit " << limit'), [])
        self.assertEqual(sift('<< " is', '/*<< " is not above 0";*/'), [])

    def test_a_minus_sign_goes(self):
        kept = ['Report("sum < 3", sum);']
        self.assertEqual(sift("Report", *kept, 'Report("sum < 3", *sum);'), kept)

    def test_only_whole_statements_are_deleted(self):
        kept = '/*Report("sum < 3", -sum);*/'
        self.assertEqual(sift("Report", kept), [kept])
        self.assertEqual(sift("int sum", "/*int sum = 0;*/"), [])
        self.assertEqual(sift("return", "/*return sum;*/"), [])
        self.assertEqual(sift("for", "/*for (const int value : values) {*/"), [])

    def test_loops_are_left_only_from_inside(self):
        kept = "if (value < limit) sum += value + 1; break;"
        added = "if (value < limit) sum += value + 1;\n    break;"
        self.assertEqual(sift("if (value", added), [kept])
        self.assertEqual(sift("Report", 'Report("sum < 3", -sum);\n  break;'), [])

    def test_conditions_stay_balanced(self):
        self.assertEqual(sift("if (value", "if (!(value < limit) sum += value + 1;"), [])
        kept = "if (!(value < limit)) sum += value + 1;"
        self.assertEqual(sift("if (value", kept), [kept])


class DrawTest(unittest.TestCase):
    def setUp(self):
        self.mutants = [
            mutants.Mutant("a/sum.cc", line, f"x{line} = 1;", f"x{line} = {value};")
            for line in range(1, 21)
            for value in range(2, 5)
        ]

    def test_lines_are_drawn_before_second_changes_of_a_line(self):
        drawn = mutants.draw(self.mutants, seed=1, count=20)
        self.assertEqual(sorted(mutant.line for mutant in drawn), list(range(1, 21)))

    def test_a_seed_draws_the_same_wherever_the_file_is(self):
        moved = [
            mutants.Mutant("b/c/sum.cc", mutant.line + 7, mutant.before, mutant.after)
            for mutant in self.mutants
        ]
        for seed in (1, 2):
            self.assertEqual(
                [mutant.key() for mutant in mutants.draw(self.mutants, seed, 8)],
                [mutant.key() for mutant in mutants.draw(moved, seed, 8)],
            )
        self.assertNotEqual(
            mutants.draw(self.mutants, 1, 8), mutants.draw(self.mutants, 2, 8)
        )

    def test_all(self):
        self.assertEqual(len(mutants.draw(self.mutants, 1, None)), 60)


class FakeTree(tree.Tree):
    """Answers for Bazel: each call of `test` takes the next exit code."""

    def __init__(self, folder, codes, object_code):
        self.folder, self.codes, self.object_code = folder, list(codes), object_code
        self.tested = []
        self.errors = ""
        self._file, self._folders, self._unchanged = None, set(), {"sum.o": "unchanged"}

    def test(self, targets, share_cache=False):
        with open(os.path.join(self.folder, "a/sum.cc"), encoding="utf-8") as file:
            self.tested.append((targets, file.read()))
        return self.codes.pop(0)

    def objects(self, folders):
        return {"sum.o": self.object_code}


class JudgeTest(unittest.TestCase):
    def judge(self, codes, object_code="changed"):
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(os.path.join(folder, "a"))
            path = os.path.join(folder, "a/sum.cc")
            with open(path, "w", encoding="utf-8") as source:
                source.write("one\ntwo\n")
            fake = FakeTree(folder, codes, object_code)
            mutant = mutants.Mutant("a/sum.cc", 2, "two", "three")
            verdict = fake.judge(mutant, [["//a:sum_test"], ["//a:other_test"]])
            with open(path, encoding="utf-8") as source:
                self.assertEqual(source.read(), "one\ntwo\n")
            self.assertTrue(all(content == "one\nthree\n" for _, content in fake.tested))
            self.assertEqual(fake.codes, [])
            return verdict

    def test_a_test_of_either_stage_kills(self):
        self.assertEqual(self.judge([3]), tree.Verdict.KILLED)
        self.assertEqual(self.judge([0, 3]), tree.Verdict.KILLED)

    def test_what_passes_every_stage_survives(self):
        self.assertEqual(self.judge([0, 0]), tree.Verdict.SURVIVED)

    def test_what_does_not_build_is_not_killed(self):
        self.assertEqual(self.judge([1]), tree.Verdict.NOT_COMPILING)

    def test_the_same_object_code_needs_no_more_tests(self):
        self.assertEqual(self.judge([0], object_code="unchanged"), tree.Verdict.SAME_CODE)

    def test_other_exit_codes_of_bazel_are_errors(self):
        with self.assertRaises(RuntimeError):
            self.judge([8])


class SameProgramTest(unittest.TestCase):
    def test_entries_name_file_line_and_change(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("Prose.\n\n@ sum.cc\n- a < b\n+ a <= b\nWhy: b is odd.\n\n- c\n+ d\nWhy.\n")
            file.flush()
            self.assertEqual(
                score.read_same_programs(file.name),
                {("sum.cc", "a < b", "a <= b"), ("sum.cc", "c", "d")},
            )


if __name__ == "__main__":
    unittest.main()
