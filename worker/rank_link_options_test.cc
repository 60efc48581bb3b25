#include "worker/rank_link_options.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

const std::vector<std::string> kTls = {"--rank_tls_cert=c", "--rank_tls_key=k", "--rank_tls_ca=a"};

RankLinkOptions Parse(std::vector<std::string> arguments) {
  RankLinkOptions options;
  int number = 0;
  CLI::App app;
  CLI::Option* const world = app.add_option("--world", number);
  AddRankLinkOptions(app, "Ranks", world, options);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return options;
}

// The complaint about a command line; empty if there is none.
std::string Complaint(std::vector<std::string> arguments) {
  arguments.push_back("--world=2");
  return std::string(CheckRankLinkOptions(Parse(arguments)).message());
}

std::vector<std::string> With(std::vector<std::string> first,
                              const std::vector<std::string>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

TEST(RankLinkOptionsTest, NothingIsForOneHost) {
  EXPECT_EQ(Complaint({}), "");
  EXPECT_FALSE(Parse({}).over_tcp());
}

TEST(RankLinkOptionsTest, CertificatesAreEnoughAndASecretMayComeOnTop) {
  EXPECT_EQ(Complaint(With(kTls, {"--leader=host:1"})), "");
  EXPECT_EQ(Complaint(With(kTls, {"--leader=host:1", "--group_listen=10.0.0.1:2"})), "");
  EXPECT_EQ(Complaint(With(kTls, {"--leader=host:1", "--group_secret_file=s"})), "");
}

TEST(RankLinkOptionsTest, ASecretAloneNeedsTheWordInsecure) {
  EXPECT_EQ(Complaint({"--leader=host:1", "--group_secret_file=s", "--insecure_rank_link"}), "");
  EXPECT_NE(Complaint({"--leader=host:1", "--group_secret_file=s"}).find("--insecure_rank_link"),
            std::string::npos);
  EXPECT_NE(Complaint({"--leader=host:1", "--insecure_rank_link"}).find("--group_secret_file"),
            std::string::npos);
  EXPECT_NE(Complaint({"--leader=host:1"}).find("--rank_tls_cert"), std::string::npos);
  EXPECT_NE(Complaint(With(kTls, {"--leader=host:1", "--insecure_rank_link"})).find("one of the"),
            std::string::npos);
}

TEST(RankLinkOptionsTest, TheThreeFilesOfTlsBelongTogether) {
  for (size_t i = 0; i < kTls.size(); ++i) {
    std::vector<std::string> two = With(kTls, {"--leader=host:1"});
    two.erase(two.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_NE(Complaint(two).find("belong together"), std::string::npos) << kTls[i];
  }
}

TEST(RankLinkOptionsTest, WhatIsForSeveralHostsNeedsALeader) {
  for (const std::string& flag :
       With(kTls, {"--group_listen=[::]:1", "--group_secret_file=s", "--insecure_rank_link"})) {
    const std::string complaint = Complaint({flag});
    EXPECT_NE(complaint.find(flag.substr(0, flag.find('='))), std::string::npos) << complaint;
    EXPECT_NE(complaint.find("--leader"), std::string::npos) << complaint;
  }
}

TEST(RankLinkOptionsTest, RankZeroListensEverywhereAtTheLeadersPortUnlessToldOtherwise) {
  EXPECT_EQ(GroupListenAddress(Parse({"--world=2", "--leader=host:7"})).ToString(), "[::]:7");
  EXPECT_EQ(GroupListenAddress(Parse({"--world=2", "--leader=host:7", "--group_listen=10.0.0.1:8"}))
                .ToString(),
            "10.0.0.1:8");
}

TEST(RankLinkOptionsTest, ALeaderIsAHostAndAPort) {
  for (const char* bad : {"", "host", "host:", "host:0", ":7", "::1:7"}) {
    EXPECT_THROW(Parse({"--world=2", std::string("--leader=") + bad}), CLI::ParseError) << bad;
  }
  EXPECT_THROW(Parse({"--leader=host:1"}), CLI::ParseError) << "no --world";
}

}  // namespace
}  // namespace phalanx
