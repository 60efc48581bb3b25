#include "worker/constraint/testing/hostile_constraints.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace phalanx {
namespace {

std::string Repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

// The texts of the numbers up to `count`, with a comma between them.
std::string List(int count, const std::function<std::string(int)>& item,
                 const std::string& separator = ",") {
  std::vector<std::string> items;
  items.reserve(count);
  for (int i = 0; i < count; ++i) items.push_back(item(i));
  return absl::StrJoin(items, separator);
}

// Objects of which each has a property of its own.
std::string Alternatives(int count, const std::string& name) {
  return absl::StrCat(R"({"anyOf":[)",
                      List(count,
                           [&](int i) {
                             return absl::StrCat(R"({"type":"object","properties":{")", name, i,
                                                 R"(":{"type":"integer"}},"required":[")", name, i,
                                                 R"("]})");
                           }),
                      "]}");
}

// A definition for each number, and one more, where all references end.
std::string Definitions(int count, const std::function<std::string(int)>& definition) {
  return absl::StrCat(
      R"({"$ref":"#/$defs/d0","$defs":{)",
      List(count, [&](int i) { return absl::StrCat("\"d", i, "\":", definition(i)); }), ",\"d",
      count, R"(":{"type":"string"}}})");
}

std::string RefTo(int i) { return absl::StrCat(R"("$ref":"#/$defs/d)", i, "\""); }

std::vector<HostileConstraint> Schemas() {
  std::vector<HostileConstraint> all;
  const auto add = [&](std::string name, std::string text, bool refused = true) {
    all.push_back({std::move(name), {ConstraintKind::kJsonSchema, std::move(text)}, refused});
  };
  add("10,000 levels of objects", Repeat(R"({"items":)", 10'000) + "{}" + Repeat("}", 10'000));
  add("10,000 levels of arrays", Repeat("[", 10'000) + Repeat("]", 10'000));
  add("1 MB",
      absl::StrCat(R"({"enum":[)",
                   List(100'000, [](int i) { return absl::StrCat("\"x", i + 100'000, "\""); }),
                   "]}"));
  add("100,000 combinations",
      absl::StrCat(R"({"allOf":[)",
                   List(5, [](int i) { return Alternatives(10, std::string(1, 'a' + i)); }), "]}"));
  add("400 times 400 combinations",
      absl::StrCat(R"({"allOf":[)", Alternatives(400, "a"), ",", Alternatives(400, "b"), "]}"));
  add("60 references that double", Definitions(60, [](int i) {
        return absl::StrCat(R"({"anyOf":[{)", RefTo(i + 1), R"(,"minLength":1},{)", RefTo(i + 1),
                            R"(,"maxLength":9}]})");
      }));
  add("references that double in objects", Definitions(40, [](int i) {
        return absl::StrCat(R"({"type":"object","properties":{"a":{)", RefTo(i + 1),
                            R"(,"title":"x"},"b":{"allOf":[{)", RefTo(i + 1), "},{", RefTo(i + 1),
                            "}]}}}");
      }));
  add("1,000 references in a row", Definitions(1'000, [](int i) {
        return absl::StrCat(R"({"allOf":[{)", RefTo(i + 1), "},{}]}");
      }));
  add("a reference to itself", R"({"$ref":"#"})");
  add("a reference to itself beside others",
      R"({"allOf":[{"$ref":"#"},{"$ref":"#"}],"type":"object"})");
  add("24 patterns at once", absl::StrCat(R"({"allOf":[)",
                                          List(24,
                                               [](int i) {
                                                 return absl::StrCat(
                                                     R"({"type":"string","pattern":"(a|b)*a(a|b){)",
                                                     i + 1, "}\"}");
                                               }),
                                          "]}"));
  add("300 patterns of properties",
      absl::StrCat(R"({"type":"object","patternProperties":{)",
                   List(300, [](int i) { return absl::StrCat("\"^", i, "x.*y\":{}"); }), "}}"));
  add("multiples of a large number", R"({"type":"integer","multipleOf":1000003})");
  add("multiples of large numbers", R"({"allOf":[{"type":"integer","multipleOf":10007},
      {"type":"integer","multipleOf":10009},{"type":"integer","multipleOf":99991}]})");
  add("a length next to a pattern",
      R"({"type":"string","pattern":"^(a|b|c)*d$","minLength":5000,"maxLength":100000})");
  add("2,000 optional properties",
      absl::StrCat(
          R"({"type":"object","properties":{)",
          List(2'000, [](int i) { return absl::StrCat("\"p", i, R"(":{"type":"integer"})"); }),
          "}}"));
  add("a billion items", R"({"type":"array","items":{"type":"integer"},"minItems":1000000000})",
      false);
  add("a billion letters", R"({"type":"string","maxLength":1000000000})", false);
  add("100,000 properties", R"({"type":"object","minProperties":100000})", false);
  std::string items = R"({"type":"integer"})";
  for (int i = 0; i < 20; ++i) {
    items = absl::StrCat(R"({"type":"array","minItems":100,"maxItems":100,"items":)", items, "}");
  }
  add("100 to the power of 20 items", items, false);
  return all;
}

std::vector<HostileConstraint> Patterns() {
  std::vector<HostileConstraint> all;
  const auto add = [&](std::string name, std::string text, bool refused = true) {
    all.push_back({std::move(name), {ConstraintKind::kRegex, std::move(text)}, refused});
  };
  add("1 MB of letters", std::string(1 << 20, 'a'));
  add("10,000 groups in one another", Repeat("(", 10'000) + "a" + Repeat(")", 10'000));
  add("240 loops in one another", Repeat("(", 240) + "a+" + Repeat(")*", 240));
  add("20,000 letters that may be there", Repeat("a?", 20'000));
  add("2,000 classes of Unicode", Repeat(R"(\p{L}*)", 2'000));
  add("looking ahead", "(?=a)b");
  add("2 to the power of 30 states", "(a|b)*a(a|b){30}", false);
  add("2 to the power of 500 states", "(a|b)*a(a|b){500}", false);
  add("100 to the power of 5 letters", "((((a{100}){100}){100}){100}){100}", false);
  add("loops in loops", Repeat("(a+)+", 1'000), false);
  add("a million ways", "((a{1,100}){1,100}){1,100}", false);
  add("4,000 letters that may be there, after three",
      "x{3}" + List(
                   4'000,
                   [](int i) {
                     return absl::StrCat("[a-z]?", std::string(1, static_cast<char>('a' + i % 26)),
                                         "?");
                   },
                   ""),
      false);
  add("loops of counted letters, after three",
      "x{3}" + List(
                   300, [](int i) { return absl::StrCat("(a|b{0,", i + 2, "})*"); }, ""),
      false);
  add("words", R"((\p{L}+[\p{P}\s]+){1,200}\p{Lu}{5})", false);
  return all;
}

std::vector<HostileConstraint> Grammars() {
  std::vector<HostileConstraint> all;
  const auto add = [&](std::string name, std::string text, bool refused = true) {
    all.push_back({std::move(name), {ConstraintKind::kLark, std::move(text)}, refused});
  };
  add("39 expressions at once",
      absl::StrCat("start: X\nX: ",
                   List(
                       39, [](int i) { return absl::StrCat("/(.*)a.{", i + 1, "}/"); }, " & ")));
  add("1,500 tokens in one another",
      absl::StrCat(
          "start: R0\n",
          List(
              1'500, [](int i) { return absl::StrCat("R", i, ": R", i + 1, " R", i + 1); }, "\n"),
          "\nR1500: \"a\""));
  add("tokens that double",
      absl::StrCat(
          "start: R0\n",
          List(
              40, [](int i) { return absl::StrCat("R", i, ": R", i + 1, " R", i + 1); }, "\n"),
          "\nR40: \"a\" | \"b\""));
  add("10,000 brackets", "start: " + Repeat("(", 10'000) + "\"a\"" + Repeat(")", 10'000));
  add("3,000 alternatives",
      absl::StrCat("start: ", List(
                                  3'000, [](int i) { return absl::StrCat("\"w", i, "\""); }, "|")),
      false);
  add("nothing", " ");
  add("no grammar", std::string("\0\1{{{{", 6));
  add("every way to cut a text", "start: s\ns: s s s s s | \"a\" | \"aa\" | \"aaa\" | ", false);
  add("every way to cut spaces", "start: s\ns: s s | \" \" | \"  \" | \"    \" | \"a\" | ", false);
  const auto named = [](int count, const std::string& name) {
    return List(
        count, [&](int i) { return absl::StrCat(name, i); }, "|");
  };
  const auto rules = [](int count, const std::function<std::string(int)>& rule) {
    return "\n" + List(count, rule, "\n");
  };
  // What "Z" completes began at every letter before it.
  add("a letter that completes all before it",
      absl::StrCat("start: a\na: ", named(50, "r"), "\nx: /[a-z ]/ a | \"Z\"",
                   rules(50, [](int i) { return absl::StrCat("r", i, ": x w", i); }),
                   rules(50, [](int i) { return absl::StrCat("w", i, ": \"k", i, "\" |"); })),
      false);
  // The first mask, which the compiler makes, has nothing of these yet.
  add("2,500 rules after three letters",
      absl::StrCat("start: \"a\" \"b\" \"c\" big\nbig: ", named(2'500, "n"),
                   rules(2'500, [](int i) { return absl::StrCat("n", i, ": \"", i, "x\" big"); })),
      false);
  add("200 rules that may be nothing",
      absl::StrCat(
          "start: ",
          List(
              200, [](int i) { return absl::StrCat("o", i); }, " "),
          rules(200, [](int i) { return absl::StrCat("o", i, ": \"a", i, "\" | /[a-z]/ |"); })),
      false);
  add("letters or pairs of letters", "start: (c | d)*\nc: /./\nd: /../", false);
  add("a million letters", "start: ((x{100}){100}){100}\nx: \"a\" | \"b\"", false);
  return all;
}

}  // namespace

std::vector<HostileConstraint> HostileConstraints() {
  std::vector<HostileConstraint> all;
  for (auto* list : {&Schemas, &Patterns, &Grammars}) {
    for (HostileConstraint& constraint : (*list)()) all.push_back(std::move(constraint));
  }
  return all;
}

}  // namespace phalanx
