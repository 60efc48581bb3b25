// The list of ops against the interface itself, as it is written in ops.h.
#include "kernels/op_list.h"

#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
#include "kernels/ops.h"

namespace phalanx::kernels {
namespace {

// Virtual methods of Backend and Stream that compute nothing. A new method of either class is an op
// unless it is added here.
const std::set<std::string>& MethodsThatAreNoOps() {
  static const auto* const kMethods = new std::set<std::string>{"Describe",
                                                                "Arithmetic",
                                                                "determinism",
                                                                "DecodeBatchSize",
                                                                "activation_dtype",
                                                                "residual_dtype",
                                                                "NewStream",
                                                                "NewSpanTimer",
                                                                "Allocate",
                                                                "PackLinear",
                                                                "PackGatedLinear",
                                                                "WorkspaceBytes",
                                                                "Reserve",
                                                                "LinearBytes",
                                                                "GatedLinearBytes",
                                                                "KvCacheBytes",
                                                                "AllocateKvCache",
                                                                "CopyToBackend",
                                                                "CopyToHost",
                                                                "Synchronize",
                                                                "Abort",
                                                                "Mark",
                                                                "AwaitMark",
                                                                "kv_cache_dtype",
                                                                "calling_cpus",
                                                                "is_asynchronous",
                                                                "can_record",
                                                                "AllocateOnHost",
                                                                "Record",
                                                                "Replay"};
  return *kMethods;
}

// The text of ops.h from "class NAME {" to the brace that ends the class.
std::string TextOfClass(const std::string& name) {
  std::ifstream file("kernels/ops.h");
  std::stringstream text;
  text << file.rdbuf();
  const std::string header = text.str();
  const size_t begin = header.find("class " + name + " {");
  EXPECT_NE(begin, std::string::npos) << name;
  if (begin == std::string::npos) return "";
  return header.substr(begin, header.find("\n};", begin) - begin);
}

// Names of the virtual methods of a class, its destructor left out.
std::set<std::string> VirtualMethods(const std::string& name) {
  const std::string text = TextOfClass(name);
  // The name is the last word before the first opening parenthesis.
  static const auto* const kMethod = new std::regex(R"(\bvirtual\s[^(~;]*?(\w+)\()");
  std::set<std::string> methods;
  for (std::sregex_iterator i(text.begin(), text.end(), *kMethod), end; i != end; ++i) {
    methods.insert((*i)[1]);
  }
  return methods;
}

TEST(OpListTest, HoldsEveryVirtualMethodThatComputes) {
  std::set<std::string> methods = VirtualMethods("Backend");
  methods.merge(VirtualMethods("Stream"));
  std::set<std::string> expected = MethodsThatAreNoOps();
  for (const Op op : kAllOps) expected.insert(OpName(op));
  for (const std::string& method : methods) {
    EXPECT_EQ(expected.count(method), 1u) << method << " of ops.h is missing in op_list.h";
  }
  EXPECT_EQ(methods, expected);
}

TEST(OpListTest, NamesAreThoseOfBackendsMethods) {
  // Compiles only if each op is a method.
#define PHALANX_OP(name) EXPECT_NE(&Backend::name, nullptr);
  PHALANX_FOR_EACH_OP(PHALANX_OP)
#undef PHALANX_OP
  EXPECT_STREQ(OpName(Op::kPagedAttention), "PagedAttention");
}

}  // namespace
}  // namespace phalanx::kernels
